"""A controller: when it runs again, what it makes of errors, how it ends."""

import asyncio
import logging
from types import SimpleNamespace

import pytest

from grove_dp.errors import GroveError
from grove_dp.kube.controller import Again, Controller, Key, own_key, owner_key
from grove_dp.kube.errors import ApiUnreachable, Conflict, NotFound, TooManyRequests
from grove_dp.kube.objects import Meta, Owner
from grove_dp.kube.pace import Pace
from grove_dp.kube.store import Change

A, B = Key("web", "a"), Key("web", "b")


class World:
    """Reconciles by a script: what each run of a key returns or raises; None when it is at its end."""

    def __init__(self, clock):
        self.clock = clock
        self.script = {}
        self.runs = []
        self.now = set()
        self.most = 0
        self.gate = None
        self.cancelled = []

    async def reconcile(self, key):
        assert key not in self.now, "twice at once"
        self.now.add(key)
        self.most = max(self.most, len(self.now))
        self.runs.append((key, self.clock.now()))
        try:
            if self.gate is not None:
                await self.gate.wait()
            steps = self.script.get(key, [])
            step = steps.pop(0) if steps else None
            if isinstance(step, BaseException):
                raise step
            return step
        except asyncio.CancelledError:
            self.cancelled.append(key)
            raise
        finally:
            self.now.discard(key)

    def times(self, key=A):
        return [round(at - 1_000.0, 3) for ran, at in self.runs if ran == key]


@pytest.fixture
def world(clock):
    return World(clock)


@pytest.fixture
async def run(world, clock, rng):
    """run(**options) starts a controller of the world."""
    tasks = []

    def started(**options):
        controller = Controller("test", world.reconcile, clock=clock, rng=rng, **options)
        tasks.append(asyncio.create_task(controller.run()))
        controller.task = tasks[-1]
        return controller

    yield started
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def refused(kind, code, retry_after_s=None):
    return kind("PATCH /x", code, "Why", "because", retry_after_s)


# ------------------------------------------------------------ when it runs


async def test_a_key_that_is_well_is_left_alone(run, world, clock):
    run().queue.add(A)
    await clock.advance(3_600)
    assert world.times() == [0]


async def test_it_is_asked_again_when_it_said_so(run, world, clock):
    world.script[A] = [Again(5), Again(2.5)]
    run().queue.add(A)
    await clock.advance(60)
    assert world.times() == [0, 5, 7.5]


async def test_a_change_comes_before_the_time_that_was_asked_for(run, world, clock):
    world.script[A] = [Again(60)]
    controller = run()
    controller.queue.add(A)
    await clock.advance(10)
    controller.queue.add(A)
    await clock.advance(600)
    assert world.times() == [0, 10]


async def test_at_most_as_many_keys_as_workers_are_in_work(run, world, clock):
    world.gate = asyncio.Event()
    controller = run(workers=3)
    for number in range(10):
        controller.queue.add(Key("web", str(number)))
    await clock.advance(1)
    assert len(world.now) == 3
    world.gate.set()
    await clock.advance(1)
    assert len(world.runs) == 10
    assert world.most == 3


async def test_asking_again_at_once_for_ever_is_slowed_and_counted(run, world, clock):
    world.script[A] = [Again(0)] * 100_000
    controller = run(pace=Pace(10, 5))
    controller.queue.add(A)
    controller.queue.add(B)
    await clock.advance(100)
    assert len(world.times(A)) == pytest.approx(10 + 500, abs=1)
    assert world.times(B) == [0]
    assert controller.reading().queue.slowed >= 498


async def test_a_reconcile_that_never_waits_does_not_stop_the_loop(run, world):
    controller = run(pace=Pace(1_000_000, 1_000_000.0))
    for number in range(2_000):
        controller.queue.add(Key("web", str(number)))
    turns = 0
    while len(world.runs) < 2_000:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 100


# ------------------------------------------------------------ errors


async def test_failures_are_tried_again_later_and_later(run, world, clock, caplog):
    world.script[A] = [ValueError("bug")] * 12
    controller = run()
    controller.queue.add(A)
    await clock.advance(600)
    gaps = [after - before for before, after in zip(world.times(), world.times()[1:], strict=False)]
    assert len(gaps) == 12
    assert all(min(0.05 * 2**n, 60) / 2 <= gap <= min(0.05 * 2**n, 60) for n, gap in enumerate(gaps))
    reading = controller.reading()
    assert reading.errors == {"ValueError": 12}
    assert reading.runs == 13
    lines = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(lines) == 12
    assert lines[0].key == "web/a"
    assert lines[0].reason == "ValueError"
    assert lines[0].exc_info
    assert lines[-1].setbacks == 12


async def test_a_key_that_fails_at_every_change_is_logged_once_a_step(run, world, clock, caplog):
    world.script[A] = [refused(NotFound, 404)] * 1_000
    controller = run()
    for _ in range(200):
        controller.queue.add(A)
        await clock.advance(0.1)
    assert controller.reading().errors["NotFound"] >= 150
    lines = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert 1 <= len(lines) <= 12
    assert not lines[0].exc_info  # expected trouble has no traceback
    assert lines[0].getMessage() == "reconcile failed: PATCH /x: 404 Why: because"


async def test_after_it_was_well_the_back_off_begins_anew(run, world, clock):
    world.script[A] = [ValueError()] * 8 + [None, ValueError()]
    controller = run()
    controller.queue.add(A)
    await clock.advance(100)
    controller.queue.add(A)
    await clock.advance(1)
    assert world.times()[-1] - world.times()[-2] <= 0.05


async def test_an_old_picture_is_looked_at_again_soon_and_not_logged(run, world, clock, caplog):
    world.script[A] = [refused(Conflict, 409)] * 30
    controller = run()
    controller.queue.add(A)
    await clock.advance(60)
    gaps = [after - before for before, after in zip(world.times(), world.times()[1:], strict=False)]
    assert len(gaps) == 30
    assert max(gaps) <= 1
    assert controller.reading().errors == {"Conflict": 30}
    assert caplog.records == []


async def test_a_server_that_wants_to_be_asked_later_is(run, world, clock):
    world.script[A] = [refused(TooManyRequests, 429, 17.0)]
    run().queue.add(A)
    await clock.advance(60)
    assert world.times() == [0, 17]


async def test_of_several_errors_at_once_the_worst_decides(run, world, clock, caplog):
    group = ExceptionGroup("tasks", [refused(Conflict, 409), refused(TooManyRequests, 429, 9.0)])
    world.script[A] = [group, ExceptionGroup("tasks", [ApiUnreachable("no answer"), KeyError("bug")])]
    controller = run()
    controller.queue.add(A)
    await clock.advance(60)
    assert world.times()[:2] == [0, 9]
    assert controller.reading().errors == {"TooManyRequests": 1, "KeyError": 1}


async def test_an_error_of_ours_is_counted_by_its_reason(run, world, clock):
    class Odd(GroveError):
        reason = "QuotaExceeded"

    world.script[A] = [Odd("x"), ApiUnreachable("y")]
    controller = run()
    controller.queue.add(A)
    await clock.advance(60)
    assert controller.reading().errors == {"QuotaExceeded": 1, "KubernetesUnreachable": 1}


# ------------------------------------------------------------ the end


async def test_stop_lets_the_keys_in_work_finish(run, world, clock):
    world.gate = asyncio.Event()
    controller = run(workers=2, grace_s=10)
    for key in (A, B, Key("web", "c")):
        controller.queue.add(key)
    await clock.advance(1)
    stopping = asyncio.create_task(controller.stop())
    await clock.advance(9)
    assert not stopping.done()
    world.gate.set()
    await clock.advance(0.1)
    await stopping
    await controller.task
    assert [key for key, _ in world.runs] == [A, B]  # nothing was begun after it
    assert world.cancelled == []


async def test_after_the_grace_what_is_in_work_is_cancelled(run, world, clock, caplog):
    world.gate = asyncio.Event()
    controller = run(grace_s=10)
    controller.queue.add(A)
    await clock.advance(1)
    stopping = asyncio.create_task(controller.stop())
    await clock.advance(10)
    await stopping
    await controller.task
    assert world.cancelled == [A]
    assert controller.reading().cut == 1
    assert [record.key for record in caplog.records] == ["web/a"]


async def test_cancelling_ends_the_work_at_once_and_keeps_its_keys_for_the_next_time(run, world, clock):
    world.gate = asyncio.Event()
    controller = run(workers=1)
    controller.queue.add(A)
    controller.queue.add(B)
    await clock.advance(1)
    controller.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await controller.task
    assert world.cancelled == [A]
    assert controller.reading().queue.in_work == 0
    world.gate = None
    again = asyncio.create_task(controller.run())
    await clock.advance(1)
    assert sorted(key for key, _ in world.runs) == [A, A, B]
    await controller.stop()
    await again


# ------------------------------------------------------------ what it follows


class Objects:
    """Changes by hand."""

    def __init__(self):
        self.listeners = []

    def listen(self, told):
        self.listeners.append(told)

    def change(self, old, new):
        for told in self.listeners:
            told(Change(old, new))


def pod(name, owner=None, kind="PodClique"):
    owners = (Owner(kind="Other", name="x"), Owner(kind=kind, name=owner, controller=True)) if owner else None
    return SimpleNamespace(metadata=Meta(name=name, namespace="web", owner_references=owners))


async def test_changes_become_keys(run, world, clock):
    controller = run()
    objects, pods = Objects(), Objects()
    controller.follow(objects, own_key)
    controller.follow(pods, owner_key("PodClique"))
    objects.change(None, pod("a"))
    pods.change(pod("p", "b"), None)
    pods.change(pod("q", "c"), pod("q", "d"))  # of another owner now: both want to know
    pods.change(None, pod("alone"))
    pods.change(None, pod("foreign", "f", kind="ReplicaSet"))
    await clock.advance(1)
    assert sorted(key.name for key, _ in world.runs) == ["a", "b", "c", "d"]


async def test_a_mapping_that_fails_hurts_nobody_else(run, world, clock, caplog):
    controller = run()
    objects = Objects()
    controller.follow(objects, lambda change: [Key("web", {}[change.last.metadata.name])])
    controller.follow(objects, own_key)
    objects.change(None, pod("a"))
    await clock.advance(1)
    assert world.times(A) == [0]
    assert controller.reading().errors == {"MappingFailed": 1}
    assert caplog.records[0].object == "a"


async def test_its_figures(run, world, clock):
    async def slow(key):
        await clock.sleep(0.2 if key == A else 20)

    controller = Controller("slow", slow, clock=clock)
    task = asyncio.create_task(controller.run())
    controller.queue.add(A)
    controller.queue.add(B)
    await clock.advance(30)
    reading = controller.reading()
    assert (reading.name, reading.runs, round(reading.seconds, 3)) == ("slow", 2, 20.2)
    assert reading.buckets[0.1] == 0
    assert reading.buckets[0.25] == reading.buckets[10.0] == 1
    assert reading.buckets[float("inf")] == 2
    await controller.stop()
    await task
