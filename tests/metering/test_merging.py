"""Frontends merged: sums and rates, and when a picture is not complete."""

import asyncio
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest

from grove_dp.clock import ManualClock
from grove_dp.metering.merging import Frontends
from grove_dp.metering.records import DTYPE
from grove_dp.metering.signals import (
    BadSignals,
    CurveSignal,
    ModelSignal,
    Signals,
    WorkerSignal,
    decode,
    encode,
)
from grove_dp.native.plane import RECORD

A, B = "http://a:9090", "http://b:9090"


class Fake:
    """A frontend that counts records and work, and may die, lie or hang."""

    def __init__(self, boot="1"):
        self.boot, self.seq, self.now_ns, self.work_s, self.size = boot, 0, 0, 0.0, 1000
        self.trouble = None
        self.workers = ["w"]

    def serve(self, count, seconds, work_s=0.0):
        self.seq += count
        self.now_ns += int(seconds * 1e9)
        self.work_s += work_s

    def restart(self):
        self.boot, self.seq, self.work_s, self.now_ns = self.boot + "'", 0, 0.0, 5

    def answer(self, since, boot):
        since = since if boot == self.boot else 0
        first = max(since, self.seq - self.size)
        records = np.zeros(self.seq - first, DTYPE)
        records["arrival_ns"] = np.arange(first, self.seq)
        return encode(
            Signals(
                boot_id=self.boot,
                now_ns=self.now_ns,
                wall_offset_ns=0,
                first_seq=first,
                next_seq=self.seq,
                newest_seq=self.seq,
                lost=first - since,
                itl_s=0.06,
                workers=[
                    WorkerSignal(slot=0, id=name, state="ready", inflight=2, decode=1.0, work_s=self.work_s)
                    for name in self.workers
                ],
                models=[ModelSignal(model="m", queued=3, arrived=self.seq, queue_wait={-10: 2.0})],
                curves=[
                    CurveSignal(class_of=0, models=["m"], prefill=[0.0], prefill_n=1, step=[0.0], step_n=9)
                ],
                startups=[4.0],
                dtype=RECORD,
                records=records.tobytes(),
            )
        )


class Net:
    """Answers for the fakes."""

    def __init__(self, **fakes):
        self.fakes = fakes

    async def fetch(self, url):
        parts = urlsplit(url)
        fake = self.fakes[parts.hostname]
        if fake.trouble == "hang":
            await asyncio.sleep(60)
        if fake.trouble is not None:
            raise fake.trouble
        asked = dict(parse_qsl(parts.query, keep_blank_values=True))
        return fake.answer(int(asked["since"]), asked["boot"])


def made(**fakes):
    clock = ManualClock()
    frontends = Frontends(Net(**fakes).fetch, clock, timeout_s=0.05)
    frontends.sync([f"http://{name}:9090" for name in fakes])
    return frontends, clock


async def test_sums_and_rates_of_two_frontends():
    a, b = Fake(), Fake()
    frontends, _ = made(a=a, b=b)
    await frontends.poll()
    first = frontends.merged()
    assert first.missing == (f"{A}: FirstAnswer", f"{B}: FirstAnswer")
    a.serve(10, 10.0, work_s=5.0)
    b.serve(20, 20.0, work_s=5.0)
    await frontends.poll()
    merged = frontends.merged()
    assert merged.complete
    [worker], [model] = merged.workers, merged.models
    assert (worker.inflight, worker.decode) == (4, 2.0)
    assert worker.work_s_per_s == pytest.approx(0.5 + 0.25)
    assert (model.queued, model.arrived_per_s) == (6, pytest.approx(2.0))
    assert model.times.queue_wait == {-10: 4.0}
    assert (merged.window_s, merged.itl_s, merged.startups) == (10.0, 0.06, (4.0, 4.0))


async def test_no_record_comes_twice_also_when_a_frontend_starts_anew():
    a = Fake()
    frontends, _ = made(a=a)
    seen = []
    for step in range(6):
        a.serve(7, 1.0)
        if step == 3:
            a.restart()
            a.serve(4, 1.0)
        polled = await frontends.poll()
        seen.append(polled.records[A]["arrival_ns"].tolist())
    assert seen[:3] == [list(range(n, n + 7)) for n in (0, 7, 14)]
    assert seen[3:] == [[0, 1, 2, 3], list(range(4, 11)), list(range(11, 18))]
    assert frontends.merged().restarts == 1


async def test_a_rate_does_not_go_below_zero_when_a_frontend_starts_anew():
    a = Fake()
    frontends, _ = made(a=a)
    a.serve(1, 1.0, work_s=100.0)
    await frontends.poll()
    a.restart()
    await frontends.poll()
    assert frontends.merged().missing == (f"{A}: FirstAnswer",)
    a.serve(1, 2.0, work_s=1.0)
    await frontends.poll()
    assert frontends.merged().workers[0].work_s_per_s == pytest.approx(0.5)


async def test_records_that_were_overwritten_make_the_picture_incomplete_for_a_window():
    a = Fake()
    frontends, clock = made(a=a)
    await frontends.poll()
    a.serve(1500, 1.0)
    polled = await frontends.poll()
    assert (len(polled.records[A]), frontends.merged().lost, frontends.merged().complete) == (
        1000,
        500,
        False,
    )
    await clock.advance(61.0)
    a.serve(1, 61.0)
    await frontends.poll()
    assert frontends.merged().complete


@pytest.mark.parametrize(
    ("trouble", "why"), [(OSError("gone"), "OSError"), ("hang", "TimedOut"), (BadSignals("x"), "BadSignals")]
)
async def test_a_frontend_that_does_not_answer_is_missing_until_it_does(trouble, why):
    a, b = Fake(), Fake()
    frontends, _ = made(a=a, b=b)
    for _ in range(2):
        a.serve(1, 1.0)
        b.serve(1, 1.0)
        await frontends.poll()
    assert frontends.merged().complete
    b.trouble = trouble
    a.serve(1, 1.0)
    polled = await frontends.poll()
    assert polled.failed == {B: why}
    assert frontends.merged().missing == (f"{B}: {why}",)
    assert frontends.merged().workers[0].inflight == 2
    b.trouble = None
    b.serve(5, 1.0)
    polled = await frontends.poll()
    assert len(polled.records[B]) == 5
    assert frontends.merged().complete
    frontends.sync([A])
    assert frontends.merged().frontends == 1


async def test_a_worker_that_came_later_has_no_rate_from_before():
    a = Fake()
    frontends, _ = made(a=a)
    await frontends.poll()
    a.serve(1, 1.0, work_s=8.0)
    a.workers = ["w", "new"]
    await frontends.poll()
    rates = {worker.told.id: worker.work_s_per_s for worker in frontends.merged().workers}
    assert rates == {"w": 8.0, "new": 0.0}


async def test_what_a_new_worker_does_counts_from_when_it_was_first_told_of():
    a = Fake()
    frontends, _ = made(a=a)
    await frontends.poll()
    a.workers = ["w", "new"]
    a.serve(1, 5.0, work_s=5.0)
    await frontends.poll()
    a.serve(1, 5.0, work_s=5.0)
    await frontends.poll()
    rates = {worker.told.id: worker.work_s_per_s for worker in frontends.merged().workers}
    assert rates == {"w": 1.0, "new": 0.5}  # of ten seconds, five


async def test_what_a_worker_did_that_left_counts_until_the_window_has_passed_it():
    a = Fake()
    frontends, _ = made(a=a)
    a.workers = ["w", "going"]
    await frontends.poll()
    a.serve(1, 5.0, work_s=5.0)
    await frontends.poll()
    a.serve(1, 5.0, work_s=5.0)
    a.workers = ["w"]
    await frontends.poll()
    merged = frontends.merged()
    assert {worker.told.id: worker.work_s_per_s for worker in merged.workers} == {"w": 1.0}
    [gone] = merged.left
    assert (gone.told.state, gone.told.id, gone.inflight, gone.work_s_per_s) == ("gone", "going", 0, 0.5)
    for _ in range(20):
        a.serve(0, 5.0)
        await frontends.poll()
    assert frontends.merged().left == ()
    a.workers = ["w", "going"]
    await frontends.poll()
    assert frontends.merged().left == ()


def test_what_is_no_signals_is_refused():
    for body in (
        b"",
        b"\x80",
        b'{"v":1}',
        encode(
            Signals(
                v=2, boot_id="", now_ns=0, wall_offset_ns=0, first_seq=0, next_seq=0, newest_seq=0, lost=0
            )
        ),
    ):
        with pytest.raises(BadSignals):
            decode(body)
    told = Signals(boot_id="", now_ns=0, wall_offset_ns=0, first_seq=0, next_seq=0, newest_seq=0, lost=0)
    told.dtype, told.records = {"names": ["a"], "formats": ["<u8"], "offsets": [0], "itemsize": 8}, b"123"
    with pytest.raises(BadSignals):
        told.array()
