"""The native splitter against its plain twin, and against a JSON parser."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from grove_dp.native import spans
from grove_dp.native.plain import spans as plain
from grove_dp.tokens import requests

from .mutation import mutated

SAMPLES = [
    b'{"model":"m","messages":[{"role":"user","content":"a \\"b\\" \\\\"}],"n":1, "tools" : null }',
    b'[{"role":"user","content":"hi"},{"role":"assistant","content":null,"tool_calls":[{"id":"x"}]}]',
    b' [1, "]", [[]], {"a":{}} ,null, -1.5e3, "\xc3\xa9\\u00e9"]\n',
    b'{ "a\\u0062" : {"}":"]"} , "x":-1.5e3, "x" : true }',
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(mutated(SAMPLES))
@settings(max_examples=500, deadline=None)
def test_parts_are_found_where_the_twin_finds_them(data):
    assert spans.fields(data) == plain.fields(data)
    assert spans.items(data, 0, len(data), 7) == plain.items(data, 0, len(data), 7)


_BODIES = [
    b'{"model":"m","messages":[{"role":"user","content":"a"}],"tools":[],"seed":1,"cache_salt":"s"}',
    b'{"prompt":"x","add_special_tokens":false,"suffix":"y"}',
    b'{"input":[1],"instructions":"i","reasoning":{"effort":"low"},"x\\u0061":2}',
]


@given(mutated(_BODIES), st.integers(0, 2**64 - 1))
@settings(max_examples=500, deadline=None)
def test_a_prompt_has_the_name_that_the_twin_gives_it(data, seed):
    assert spans.prompt_key(data, seed) == plain.prompt_key(data, seed)


@given(st.binary(max_size=200), st.integers(0, 2**64 - 1))
def test_bytes_have_the_key_that_the_twin_gives_them(data, seed):
    assert spans.key64(data, seed) == plain.key64(data, seed)
    assert spans.hash64(data, seed) == plain.hash64(data, seed)


def test_bytes_that_differ_in_a_bit_have_keys_that_differ_in_half_of_theirs():
    data, seeds, flips = bytes(range(150)), range(40), []
    for seed in seeds:
        for bit in range(0, 1200, 7):
            other = bytearray(data)
            other[bit // 8] ^= 1 << bit % 8
            flips.append((spans.key64(data, seed) ^ spans.key64(bytes(other), seed)).bit_count())
    assert 31.5 < sum(flips) / len(flips) < 32.5
    assert min(flips) > 8
    assert len({spans.key64(bytes(n), 3) for n in range(300)}) == 300


@given(st.lists(VALUES, max_size=6), st.sampled_from([None, 1]))
def test_the_items_of_an_array_are_its_values(values, indent):
    written = b"x" + json.dumps(values, indent=indent).encode()
    found, keys = spans.items(written, 1, len(written), 3)
    assert [json.loads(written[a:b]) for a, b in found] == values
    assert len(keys) == len(values)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), VALUES, max_size=6))
def test_the_fields_of_an_object_are_its_values(values):
    written = json.dumps(values).encode()
    told = {key.decode(): json.loads(written[a:b]) for key, (a, b) in spans.fields(written).items()}
    assert told == values


def test_a_key_names_every_item_before_it():
    one = spans.items(b'[{"a":1},{"b":2}]', 0, 17, 5)[1]
    other = spans.items(b'[{"a":1}, {"b":2},{"c":3}]', 0, 26, 5)[1]
    assert one == other[:2]
    assert one != spans.items(b'[{"a":1},{"b":2}]', 0, 17, 6)[1]
    assert one[1] != spans.items(b'[{"a":0},{"b":2}]', 0, 17, 5)[1][1]


def test_an_array_of_too_many_items_is_refused():
    assert spans.items(b"[" + b"1," * 70_000 + b"1]", 0, 140_003, 0) is None


PARTS = st.lists(st.sampled_from(["<|t|>", "<|", "|>", "a", "é", "漢\n", "👧", "\ud800"]), max_size=40)
MARKS = st.sampled_from(["<|t|>", "é<", "漢", "👧a"])


@given(PARTS, MARKS, st.integers(1, 12))
@settings(max_examples=300, deadline=None)
def test_a_text_is_cut_where_the_twin_cuts_it(parts, mark, least):
    text = "".join(parts)
    ends, keys = spans.cuts(text, mark, least, 9)
    assert (ends, keys) == plain.cuts(text, mark, least, 9)
    assert all(text[end:].startswith(mark) for end in ends)


@given(PARTS, st.integers(0, 100), st.integers(1, 9))
@settings(deadline=None)
def test_a_text_that_goes_on_has_the_cuts_of_its_beginning(parts, length, least):
    text = "".join(parts)
    ends, keys = spans.cuts(text, "<|t|>", least, 9)
    fewer = spans.cuts(text[:length], "<|t|>", least, 9)
    assert fewer[0] == ends[: len(fewer[0])]
    if max(text, default="") < "\u0100" or max(text[:length], default="") == max(text):
        assert fewer[1] == keys[: len(fewer[1])]


def test_what_only_looks_like_a_mark_in_memory_is_none():
    assert spans.cuts("a\u3c00\u013e<>", "<\u013e", 1, 0)[0] == []
    assert spans.cuts("a\u3c00<\u013e<>", "<\u013e", 1, 0)[0] == [2]


def test_texts_of_the_same_bytes_but_other_characters_have_other_keys():
    wide, narrow = "\u6261<", "ab<\x00"
    assert wide.encode("utf-16-le") == narrow.encode("latin-1")
    assert spans.cuts(wide + "\u0100", "\u0100", 1, 5)[1] != spans.cuts(narrow + "~", "~", 1, 5)[1]


def test_a_text_has_at_most_4096_cuts():
    assert len(spans.cuts("<>x" * 5000, "<>", 1, 0)[0]) == 4096


def test_what_the_reader_of_prompts_refuses_has_no_name_in_the_core():
    """Two lists, one in C: a body that is never read must never be remembered."""
    for name in requests._REFUSED:
        body = b'{"messages":[1],"%b":1}' % name
        assert spans.prompt_key(body, 1) == plain.prompt_key(body, 1) == 0, name
