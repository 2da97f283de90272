"""A worker's KV events applied: recordings of real engines, and the core's feed against its plain twin."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grove_dp.native import kv
from grove_dp.native.plain import chain as plain_chain
from grove_dp.native.plain import kvfeed as plain

from .recordings import ADAPTERS, CHATS, VERSIONS, payloads_of, recorded, since

BLOCK = 32
KEY, TWIN = kv.ChainKey(b"secret"), plain_chain.ChainKey(b"secret")


def names_of(tokens, lora="", salt=""):
    whole = np.array(tokens, np.uint32)
    return kv.chain(KEY, kv.root(KEY, "m", lora, salt, BLOCK), whole, BLOCK).tolist()


def on_gpu(names):
    return {(kv.GPU, name) for name in names}


class Oracle:
    """Prompts by the engine's hashes: a salt, and all tokens up to the block's end."""

    def __init__(self):
        self.copies, self.prompt = {}, {}

    def apply(self, payload, asked):
        for event in kv.decode(payload).events:
            if event.kind == kv.CLEARED:
                self.copies.clear()
            salt = event.extras[0][2].decode() if event.extras else ""
            for i, digest in enumerate(event.hashes):
                if event.kind == kv.REMOVED:
                    self.copies[digest] -= 1
                    continue
                root, before = self.prompt.get(event.hashes[i - 1] if i else event.parent, (salt, ()))
                self.prompt[digest] = (root, (*before, *event.tokens[i * BLOCK : (i + 1) * BLOCK]))
                self.copies[digest] = max(1, self.copies.get(digest, 0) + (not asked))

    @property
    def index(self):
        prompts = [self.prompt[digest] for digest, copies in self.copies.items() if copies]
        return {(kv.GPU, names_of(tokens, salt=salt)[-1]) for salt, tokens in prompts}


def test_a_recording_is_followed_block_by_block():
    batches, steps = recorded(CHATS)
    report = next(step for step in steps if step["label"].startswith("8"))
    feed, oracle = kv.Feed(KEY, "m"), Oracle()
    for when, payload in batches:
        asked = report["t0"] <= when <= report["t1"] + 0.4
        feed.apply(payload, asked=asked)
        oracle.apply(payload, asked)
        assert feed.index == oracle.index
        assert len(feed) == len(feed.index) <= 31  # blocks that the engine had
    counts = feed.counts
    assert (counts.unknown_removed, counts.waiting, counts.uneven, counts.other_groups) == (0, 0, 0, 0)
    assert counts.copies == 4  # the block of a prompt that is exactly two, and the report of three


@pytest.mark.parametrize("label", ["6", "9.0", "9.3"])
def test_the_chain_of_a_prompt_is_what_the_events_say(label):
    batches, steps = recorded(CHATS)
    step = next(step for step in steps if step["label"].startswith(label + " "))
    feed = kv.Feed(KEY, "m")
    for when, payload in batches:
        if when <= step["t1"] + 0.4:
            feed.apply(payload)
    assert on_gpu(names_of(step["request"]["prompt"])) <= feed.index


def test_adapters_and_salts_are_kept_apart():
    batches, _ = recorded(ADAPTERS)
    feed = kv.Feed(KEY, "m")
    scopes = {("", ""): [], ("tiny-lora", ""): [], ("tiny-lora", "tenant-b"): []}
    for _, payload in batches:
        feed.apply(payload)
        for event in kv.decode(payload).events:
            salt = "tenant-b" if any(name == b"tenant-b" for _, _, name, _ in event.extras) else ""
            if event.kind == kv.CLEARED:
                scopes = {scope: [] for scope in scopes}
            elif event.parent is None:
                scopes[event.lora.decode(), salt].append(event.tokens)
    assert all(scopes.values())
    expected = [names_of(tokens, *scope) for scope, prompts in scopes.items() for tokens in prompts]
    assert on_gpu(set().union(*expected)) <= feed.index
    assert len(set().union(*expected)) == sum(map(len, expected))
    assert feed.counts.cleared == 3


# --------------------------------------------- against the twin ---------------------------------------------

HASHES = st.integers(0, 11) | st.sampled_from([bytes(range(32)), b"\2" * 16])
KEYS = st.sampled_from(
    [
        None,
        ["ad"],
        ["s"],
        ["ad", "s"],
        ["ad", "ad"],
        [["mm", "p", 3]],
        [["p", 0], "s"],
        [["cache_salt", "t"]],
        [["lora", "ad", "x"]],
        [{}],
    ]
)


@st.composite
def stores(draw):
    n = draw(st.integers(0, 3))
    size = draw(st.sampled_from([2, 2, 2, 2, 1, 0]))
    tokens = draw(st.lists(st.integers(0, 1), min_size=n * size, max_size=n * size))
    event = {
        "type": "BlockStored",
        "block_hashes": draw(st.lists(HASHES, min_size=n, max_size=n)),
        "parent_block_hash": draw(st.none() | HASHES),
        "token_ids": tokens + [0] * draw(st.sampled_from([0, 0, 0, 0, 0, 1])),
        "block_size": size,
        "lora_id": draw(st.sampled_from([None, None, 0, 7])),
        "lora_name": draw(st.sampled_from([None, None, "ad"])),
        "medium": draw(st.sampled_from(["GPU", "GPU", "GPU", "CPU", "tape"])),
        "extra_keys": draw(st.lists(KEYS, max_size=3)),
    }
    if draw(st.booleans()):
        event |= {"group_idx": draw(st.sampled_from([0, 0, 0, 1]))}
        event |= {"kv_cache_spec_kind": draw(st.sampled_from(["full_attention", "full_attention", "mamba"]))}
    return event


@st.composite
def removals(draw):
    event = {"type": "BlockRemoved", "block_hashes": draw(st.lists(HASHES, max_size=3))}
    event["medium"] = draw(st.sampled_from(["GPU", "GPU", None, "CPU"]))
    if draw(st.integers(0, 3)) == 0:
        event["remaining_copy_counts"] = draw(st.lists(st.integers(0, 2), min_size=2, max_size=2))
    return event


CLEARINGS = st.just({"type": "AllBlocksCleared"})
EVENTS = st.integers(0, 11).flatmap(lambda d: stores() if d < 7 else removals() if d < 11 else CLEARINGS)


def consistent(events):
    """An engine's hash has one meaning: stores that say another one are let go."""
    meaning = {}
    for event in events:
        if event["type"] == "BlockStored" and event["token_ids"]:
            about = {name: value for name, value in event.items() if name not in ("medium", "group_idx")}
            before = repr(event["parent_block_hash"])
            for i, digest in enumerate(event["block_hashes"]):
                told = (before, i, repr(about))
                if meaning.setdefault(repr(digest), told) != told:
                    break
                before = repr(digest)
            else:
                yield event
        else:
            yield event


@given(
    st.lists(st.tuples(st.lists(EVENTS, max_size=4), st.integers(0, 9).map(lambda d: d == 0)), max_size=14)
)
@settings(max_examples=200, deadline=None)
def test_a_feed_holds_what_its_twin_holds(batches):
    feed, twin = kv.Feed(KEY, "m", blocks=1, waiting_max=1 << 20), plain.Feed(TWIN, b"m")
    flat = iter(list(consistent(event for events, _ in batches for event in events)))
    kept = {id(event) for event in flat}
    for events, asked in batches:
        payload = msgspec.msgpack.encode([1.0, [event for event in events if id(event) in kept], 0])
        feed.apply(payload, asked=asked)
        twin.apply(payload, asked=asked)
        assert feed.index == twin.index
        assert len(feed) == len(twin)
        assert feed.counts._asdict() == {name: twin.counts[name] for name in kv.Counts._fields}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_release_is_followed(version):
    """Its second block has a key of its own, its second store another group, where a release tells such."""
    feed = kv.Feed(KEY, "m")
    first, second, third = payloads_of(version)
    feed.apply(first)
    key = kv.extra(KEY, 0, kv.EXTRA_MM, b"salt") if since(version, "0.18.0") else 0
    tokens, extras = np.array([*range(8), 300, 70000, 1, 2], np.uint32), np.array([0, key, 0], np.uint64)
    *names, last = kv.chain(KEY, kv.root(KEY, "m", block_size=4), tokens, 4, extras).tolist()
    assert feed.index == on_gpu(names)
    feed.apply(second)
    assert feed.index == on_gpu(names[1:] if since(version, "0.20.2") else [names[1], last])
    assert feed.counts.other_groups == since(version, "0.20.2")
    feed.apply(third)
    assert not feed.index


def test_a_malformed_payload_changes_nothing():
    batches, _ = recorded(CHATS)
    feed = kv.Feed(KEY, "m")
    feed.apply(batches[0][1])
    held, size = set(feed.index), feed.bytes_held
    for cut in range(len(batches[1][1])):
        with pytest.raises(kv.BadPayload):
            feed.apply(batches[1][1][:cut])
    assert (feed.index, feed.bytes_held) == (held, size)
    feed.clear()
    assert not feed.index
