"""The memo is bounded, forgets what was used least, and a child never outlives its parent."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from grove_dp.tokens.memo import Memo, Node
from grove_dp.tokens.parsed import ParsedMessages
from grove_dp.tokens.tokenizer import NO_IDS

NAMES = np.arange(40, dtype=np.uint64)


def grown(memo, keys, parent=None):
    node = parent or Node.start(7)
    for key in keys:
        names = NAMES[key % 7 : key % 7 + 4].tobytes()
        node = Node(key, node, 1, names, NO_IDS, node.tokens + 64)
        memo.put(node)
    memo.touch(node)
    return node


def keys_of(memo):
    return [node.key for node in memo]


def test_a_prompt_is_the_names_of_all_nodes_above_it():
    memo = Memo()
    prompt = grown(memo, [1, 2, 3]).prompt()
    assert prompt.tokens == 192
    assert prompt.chain.tolist() == [1, 2, 3, 4, 2, 3, 4, 5, 3, 4, 5, 6]


def test_the_deepest_known_node_is_found():
    memo = Memo()
    grown(memo, [1, 2, 3])
    count, node = memo.deepest([1, 2, 9, 8])
    assert (count, node.key) == (2, 2)
    assert memo.deepest([5]) == (0, None)
    assert memo.deepest([]) == (0, None)


def test_what_is_looked_up_stays_and_all_above_it():
    size = Node(1, None, 1, NAMES[:4].tobytes(), NO_IDS, 64).size
    memo = Memo(6 * size)
    grown(memo, [1, 2, 3])
    grown(memo, [11, 12, 13])
    assert memo.get(3) is not None
    grown(memo, [21, 22, 23])
    assert keys_of(memo) == [3, 2, 1, 23, 22, 21]
    assert memo.evicted == 3
    assert memo.bytes == 6 * size


def test_a_node_larger_than_the_memo_is_not_kept():
    memo = Memo(100)
    grown(memo, [1])
    assert len(memo) == memo.bytes == 0


def test_nothing_is_left_after_clear():
    memo = Memo()
    grown(memo, [1, 2])
    memo.clear()
    assert (len(memo), memo.bytes, memo.get(2)) == (0, 0, None)


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), max_size=20), st.integers(0, 4000))
def test_a_parent_is_never_forgotten_before_its_child(paths, bytes_max):
    memo = Memo(bytes_max)
    for path in paths:
        keys = [int("".join(map(str, path[: n + 1]))) for n in range(len(path))]
        count, node = memo.deepest(keys)
        grown(memo, keys[count:], node)
        assert memo.bytes == sum(found.size for found in memo) <= bytes_max
        known = set(keys_of(memo))
        for node in memo:
            while (node := node.parent) is not None and node.key:
                assert node.key in known


@given(st.lists(st.integers(1, 12), max_size=30), st.integers(600, 6000))
def test_parsed_messages_are_those_that_were_sent(lengths, bytes_max):
    parsed = ParsedMessages(bytes_max)
    for length in lengths:
        raw = b"".join(b'{"n":%d}' % n for n in range(10, 10 + length))
        places = [(n * 8, n * 8 + 8) for n in range(length)]
        assert parsed.of(raw, places, range(length)) == [{"n": n} for n in range(10, 10 + length)]
        assert parsed.bytes <= bytes_max


def test_a_known_message_is_not_parsed_again():
    parsed = ParsedMessages(10_000)
    first = parsed.of(b'{"a":1}', [(0, 7)], [5])
    again = parsed.of(b'{"a":1},[2]', [(0, 7), (8, 11)], [5, 6])
    assert again == [{"a": 1}, [2]]
    assert again[0] is first[0]
