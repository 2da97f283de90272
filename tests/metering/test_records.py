"""The ring of records: every record once, in order, and what was overwritten is counted."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from grove_dp.metering.records import DTYPE, ClassNames, RecordRing


class Source:
    """Leaves numbered records, as I/O threads do."""

    def __init__(self):
        self.waiting = []

    def leave(self, numbers):
        self.waiting.extend(numbers)

    def drain(self, room):
        fits = len(room) // DTYPE.itemsize
        taken, self.waiting = self.waiting[:fits], self.waiting[fits:]
        records = np.zeros(len(taken), DTYPE)
        records["arrival_ns"] = taken
        room[: records.nbytes] = records.view(np.uint8).data
        return len(taken)


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=30))
def test_a_reader_gets_each_record_once_and_knows_what_it_missed(steps):
    source, said, seen, lost, at = Source(), 0, [], 0, 0
    ring = RecordRing(source.drain, size=16)
    for count, reads in steps:
        source.leave(range(said, said + count))
        said += count
        assert ring.drain() == count
        if reads:
            part = ring.since(at)
            lost += part.lost
            seen += part.records["arrival_ns"].tolist()
            at = part.next_seq
    part = ring.since(at)
    lost += part.lost
    seen += part.records["arrival_ns"].tolist()
    assert part.next_seq == ring.next_seq == said
    assert len(seen) + lost == said
    assert seen == sorted(set(seen))
    assert seen[-16:] == list(range(said))[-16:]


def test_a_reader_may_take_a_few_at_a_time_and_ask_for_what_is_not_there_yet():
    source = Source()
    ring = RecordRing(source.drain, size=16)
    source.leave(range(20))
    ring.drain()
    part = ring.since(0, most=3)
    assert (part.first, part.lost, part.records["arrival_ns"].tolist()) == (4, 4, [4, 5, 6])
    assert ring.since(part.next_seq).records["arrival_ns"].tolist() == list(range(7, 20))
    early = ring.since(99)
    assert (early.next_seq, early.lost, len(early.records)) == (20, 0, 0)


def test_an_array_is_not_copied_but_around_the_end():
    source = Source()
    ring = RecordRing(source.drain, size=16)
    source.leave(range(16))
    ring.drain()
    assert np.shares_memory(ring.since(3).records, ring.since(0).records)


def test_a_class_keeps_its_number():
    names = ClassNames()
    assert [names.number(name) for name in ("default", "batch", "chat", "batch")] == [0, 1, 2, 1]
    assert list(names) == ["default", "batch", "chat"]
    assert {names.number(f"c{i}") for i in range(400)} == {0, *range(3, 256)}
