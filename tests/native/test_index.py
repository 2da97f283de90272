"""The native index against its plain twin: whatever happens, both hold the same and answer the same."""

import hashlib
from functools import cache

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from grove_dp.native.index import CPU, GPU, PREDICTED, SLOTS, STORAGE, Index, Misfit, UnknownParent
from grove_dp.native.plain import index as plain

SLOT = st.sampled_from([0, 1, 2, 63, 64, 130])
TOLD = st.sampled_from([GPU, GPU, GPU, CPU, STORAGE])
PATH = st.lists(st.sampled_from("aaab"), min_size=1, max_size=12).map("".join)  # much in common
WIDE = 131


@cache
def name_of(path):
    return int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest())


def names(path, begin=0):
    """The names of the blocks of a way through a tree: each stands for all of the way up to it."""
    return np.array([name_of(path[: i + 1]) for i in range(begin, len(path))], np.uint64)


class Twins(RuleBasedStateMachine):
    """Two worlds that get the same events."""

    @initialize(megabytes=st.sampled_from([2, 64]))
    def begin(self, megabytes):
        self.fast = Index(bytes_max=megabytes << 20, predicted_percent=100)
        self.truth = plain.Index()
        self.settled = True

    def settle(self):
        """What the fast one puts off is done: both know the same."""
        for _ in range(2):
            while self.fast.step(self.truth.now_s + 3):
                pass
            self.truth.step(self.truth.now_s + 3)
        self.settled = True

    def knows(self, name):
        """The fast one may know more as long as it is not settled."""
        if self.fast.depth(name) != self.truth.depth(name):
            assert not self.settled
            self.settle()
        assert self.fast.depth(name) == self.truth.depth(name)
        return self.truth.depth(name) is not None

    @rule(slot=SLOT, path=PATH, medium=TOLD, begin=st.integers(0, 4))
    def store(self, slot, path, medium, begin):
        begin = min(begin, len(path) - 1)
        blocks = names(path, begin)
        parent = int(names(path[:begin])[-1]) if begin else None
        if parent is not None and not self.knows(parent):
            with pytest.raises(UnknownParent):
                self.fast.store(slot, blocks, parent=parent, medium=medium)
            return
        kept = self.fast.store(slot, blocks, parent=parent, medium=medium)
        assert kept == self.truth.store(slot, blocks.tolist(), parent=parent, medium=medium) == len(blocks)

    @rule(slot=SLOT, path=PATH, ttl_s=st.integers(1, 9))
    def predict(self, slot, path, ttl_s):
        blocks = names(path)
        assert self.fast.predict(slot, blocks, ttl_s=ttl_s) == len(blocks)
        self.truth.predict(slot, blocks.tolist(), ttl_s=ttl_s)

    @rule(slot=SLOT, path=PATH, last=st.integers(1, 4), medium=TOLD)
    def remove(self, slot, path, last, medium):
        blocks = names(path)[-last:][::-1].copy()
        told = self.fast.remove(slot, blocks, medium=medium)
        assert told == self.truth.remove(slot, blocks.tolist(), medium=medium)

    @rule(slot=SLOT)
    def clear(self, slot):
        self.fast.clear(slot)
        self.truth.clear(slot)
        self.settled = False

    @rule(path=PATH, slot=SLOT)
    def store_where_it_does_not_belong(self, path, slot):
        stranger = names(path)
        if len(stranger) < 2 or not self.knows(int(stranger[-1])):
            return
        with pytest.raises(Misfit):
            self.fast.store(slot, stranger[-1:])

    @rule(seconds=st.integers(0, 4), budget=st.integers(0, 5))
    def step(self, seconds, budget):
        self.fast.step(self.truth.now_s + seconds, budget)
        self.truth.step(self.truth.now_s + seconds)
        self.settled = False

    @rule()
    def rest(self):
        self.settle()
        assert self.fast.stats.blocks == len(self.truth)

    @rule(path=PATH, column=st.sampled_from([GPU, CPU, STORAGE, PREDICTED]), more=st.integers(0, 3))
    def match(self, path, column, more):
        blocks = names(path + "z" * more)
        expected = self.truth.match(blocks.tolist(), slots=WIDE, medium=column)
        assert self.fast.match(blocks, slots=WIDE, medium=column).tolist() == expected
        everything = self.fast.lookup(blocks, slots=WIDE)
        assert everything[1 + column].tolist() == expected
        assert everything.known >= self.truth.known(blocks.tolist())
        assert everything.known == self.truth.known(blocks.tolist()) or not self.settled

    @rule(path=PATH, slot=SLOT, medium=st.sampled_from([GPU, CPU, STORAGE]))
    def holds(self, path, slot, medium):
        block = int(names(path)[-1])
        assert self.fast.holds(slot, block, medium=medium) == self.truth.holds(slot, block, medium=medium)

    @invariant()
    def memory_stays_below_the_cap(self):
        if hasattr(self, "fast"):
            assert self.fast.stats.bytes <= self.fast.stats.bytes_max


Twins.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestTwins = Twins.TestCase


def test_a_match_is_as_wide_as_asked_for():
    index = Index()
    index.store(5, names("abc"))
    assert index.match(names("abcd")).tolist() == [0, 0, 0, 0, 0, 3]
    assert index.match(names("ab"), slots=2).tolist() == [0, 0]
    assert index.match(names("ab"), slots=0).tolist() == []
    assert index.match(names("")).tolist() == [0] * 6
    assert index.match(names("ab"), slots=SLOTS + 70).sum() == 2


def test_a_match_goes_where_it_is_told():
    index, out = Index(), np.full(7, 99, np.uint32)
    index.store(5, names("abc"))
    assert index.match(names("abcd"), out=out) is out
    assert out.tolist() == [0, 0, 0, 0, 0, 3, 0]


@pytest.mark.parametrize(
    "blocks", [np.zeros(3, np.uint32), np.zeros(3, np.float64), np.zeros((2, 2), np.uint64), np.arange(8.0)]
)
def test_arrays_of_another_kind_are_refused(blocks):
    index = Index()
    with pytest.raises(ValueError, match="BadArray"):
        index.match(blocks)
    with pytest.raises(ValueError, match=r"Buffer|dtype"):
        index.store(0, blocks)
    with pytest.raises(ValueError, match="BadArray"):
        index.match(names("a"), out=np.zeros(3, np.uint64))


def test_slots_and_media_out_of_range_are_refused():
    index = Index()
    for slot in (-1, SLOTS):
        with pytest.raises(ValueError, match="BadSlot"):
            index.store(slot, names("a"))
    with pytest.raises(ValueError, match="BadMedium"):
        index.store(0, names("a"), medium=PREDICTED)
    with pytest.raises(ValueError, match="BadMedium"):
        index.match(names("a"), medium=4)
    index.step(5)
    with pytest.raises(ValueError, match="BackInTime"):
        index.step(4)


def test_what_was_stored_last_survives_the_cap():
    index = Index(bytes_max=1 << 20)
    rows = np.random.default_rng(3).integers(1, 2**63, (2000, 100), np.uint64)
    for row in rows:
        assert index.store(1, row) == 100
    assert index.match(rows[-1]).tolist() == [0, 100]
    assert index.match(rows[0]).tolist() == [0, 0]
    assert index.stats.evicted > 100_000
    assert index.stats.bytes <= 1 << 20
