"""The intake before real sockets: every way in which a publisher, a wire or the sink may fail."""

import asyncio
import logging
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from grove_dp.routing.kvaudit import Bounds
from grove_dp.routing.kvevents import IntakeLimits, Kind, KvEvents, UnreachableSource
from grove_dp.routing.kvreplay import ReplayLimits
from grove_dp.routing.kvsources import KvSource
from grove_dp.testing.net import FaultProxy
from tests.routing.kvpublisher import Publisher

SLOT = 7
LIMITS = IntakeLimits(
    replay=ReplayLimits(idle_s=5.0, total_s=20.0), full_pause_s=0.01, relink_pause_s=0.01, expire_s=20.0
)


class Ring:
    """A sink that shows what a reader of it would know."""

    def __init__(self):
        self.applied: list[str] = []
        self.kinds: list[Kind] = []
        self.full = False
        self.changed = asyncio.Event()

    def push(self, slot, kind, payload):
        assert slot == SLOT
        assert isinstance(payload, memoryview)
        self.changed.set()
        if self.full:
            return False
        self.kinds.append(Kind(kind))
        if kind == Kind.EVENTS:
            self.applied.append(bytes(payload).decode())
        else:
            self.applied.clear()
        return True

    async def until(self, holds):
        """Wait for news until *holds*."""
        async with asyncio.timeout(20):
            while not holds():
                self.changed.clear()
                await self.changed.wait()


def batches(life, upto, first=0):
    return [f"{life}:{seq}" for seq in range(first, upto)]


@asynccontextmanager
async def intake(source, limits=LIMITS, **options):
    ring = Ring()
    events = KvEvents(ring, limits, lambda slot: ring.changed.set(), **options)
    async with events:
        events.follow(SLOT, "w", source)
        yield events, ring


def state_of(events):
    return next(iter(events.states()))


@pytest.mark.parametrize("frames", [3, 4])
async def test_what_was_published_before_comes_first(frames):
    async with Publisher(frames=frames) as publisher:
        publisher.publish(5)
        async with intake(publisher.source) as (events, ring):
            assert await events.settled(SLOT, 20)
            assert ring.applied == batches(1, 5)
            assert not events.cold(SLOT)
            publisher.publish(5)
            await ring.until(lambda: len(ring.applied) == 10)
            assert ring.applied == batches(1, 10)
            assert publisher.asked == [0]
            seen = state_of(events)
            assert (seen.state, seen.reason, seen.seq, seen.messages, seen.gaps) == ("live", "", 9, 10, 0)
            assert (seen.worker, seen.endpoint, seen.replays) == ("w", publisher.source.endpoint, 1)
            assert seen.bytes == 10 * len("1:0")


async def test_a_worker_that_is_not_there_yet_is_met_when_it_comes():
    async with Publisher() as publisher:
        await publisher.stop()
        async with intake(publisher.source) as (events, ring):
            assert not await events.settled(SLOT, 0.05)
            assert state_of(events).state == "disconnected"
            publisher.start()
            publisher.publish(3)
            assert await events.settled(SLOT, 20)
            assert ring.applied == batches(2, 3)


@pytest.mark.parametrize("frames", [3, 4])
async def test_a_gap_is_filled_in_order(frames):
    async with Publisher(frames=frames) as publisher, intake(publisher.source) as (events, ring):
        await events.settled(SLOT, 20)
        publisher.publish(2)
        publisher.publish(3, unheard=True)
        publisher.publish(2)
        await ring.until(lambda: len(ring.applied) == 7)
        assert ring.applied == batches(1, 7)
        assert (state_of(events).gaps, state_of(events).lost, state_of(events).state) == (1, 0, "live")
        assert publisher.asked == [0, 1]


async def test_a_gap_behind_the_memory_makes_the_worker_cold(caplog):
    caplog.set_level(logging.INFO, logger="grove_dp")
    async with Publisher(kept=3) as publisher, intake(publisher.source, heal=True) as (events, ring):
        await events.settled(SLOT, 20)
        publisher.publish(2)
        await ring.until(lambda: len(ring.applied) == 2)
        assert not events.heals(SLOT)
        publisher.publish(6, unheard=True)
        publisher.publish(1)
        await ring.until(lambda: state_of(events).state == "cold")
        assert ring.applied == batches(1, 9, first=6)
        assert (state_of(events).reason, state_of(events).lost) == ("ReplayTruncated", 4)
        assert events.cold(SLOT)
        assert events.heals(SLOT)
        events.warmed(SLOT)
        assert not events.cold(SLOT)
    told = [(record.getMessage(), getattr(record, "reason", "")) for record in caplog.records]
    assert told.count(("kv events are cold", "ReplayTruncated")) == 1
    assert told[-1] == ("kv events are live", "")


async def test_a_restart_drops_the_entries_of_the_former_life():
    async with Publisher() as publisher, intake(publisher.source) as (events, ring):
        await events.settled(SLOT, 20)
        publisher.publish(4)
        await ring.until(lambda: len(ring.applied) == 4)
        await publisher.stop()
        await ring.until(lambda: state_of(events).state == "disconnected")
        assert ring.applied == batches(1, 4)  # it may have been the wire only
        publisher.start()
        publisher.publish(6)
        await ring.until(lambda: ring.applied == batches(2, 6))
        await ring.until(lambda: state_of(events).state == "live")
        assert Kind.RESTART in ring.kinds
        assert state_of(events).restarts == 1


async def test_a_cut_wire_costs_no_entries():
    async with (
        Publisher() as publisher,
        FaultProxy(publisher.ports[0]) as wire,
        FaultProxy(publisher.ports[1]) as replay_wire,
        intake(publisher.source_at(wire.port, replay_wire.port)) as (events, ring),
    ):
        await events.settled(SLOT, 20)
        publisher.publish(4)
        await ring.until(lambda: len(ring.applied) == 4)
        wire.cut_all()
        replay_wire.cut_all()
        await ring.until(lambda: state_of(events).state == "disconnected")
        publisher.publish(3)
        await ring.until(lambda: len(ring.applied) == 7)
        await ring.until(lambda: state_of(events).state == "live")
        assert ring.applied == batches(1, 7)
        assert publisher.asked == [0, 3]
        assert ring.kinds.count(Kind.EVENTS) == 7


async def test_a_replay_that_is_cut_is_asked_again():
    async with Publisher() as publisher, FaultProxy(publisher.ports[1]) as wire:
        publisher.publish(2000)
        wire.default.cut_down_after = 20_000
        async with intake(publisher.source_at(publisher.ports[0], wire.port)) as (events, ring):
            assert await events.settled(SLOT, 20)
            await ring.until(lambda: state_of(events).state == "live")
            assert ring.applied == batches(1, 2000)
            assert len(publisher.asked) > 1


async def test_a_replay_with_holes_makes_the_worker_cold():
    async with Publisher() as publisher:
        publisher.publish(6)
        publisher.unsaid = {3}
        async with intake(publisher.source) as (events, ring):
            await ring.until(lambda: state_of(events).state == "cold")
            assert (state_of(events).reason, state_of(events).lost) == ("ReplayGap", 1)
            assert publisher.asked == [0, 2, 2, 2]
            assert ring.applied == batches(1, 6, first=4)


async def test_a_mute_replay_socket_makes_the_worker_cold_and_live_events_count():
    async with Publisher() as publisher:
        publisher.publish(5)
        publisher.mute = True
        limits = IntakeLimits(replay=ReplayLimits(idle_s=0.05))
        async with intake(publisher.source, limits) as (events, ring):
            assert await events.settled(SLOT, 20)
            assert (state_of(events).state, state_of(events).reason) == ("cold", "ReplayTimeout")
            publisher.publish(2)
            await ring.until(lambda: len(ring.applied) == 2)
            assert ring.applied == batches(1, 7, first=5)


async def test_a_replay_endpoint_that_zmq_refuses_makes_the_worker_cold_and_live_events_count():
    async with Publisher() as publisher:
        source = KvSource(0, publisher.source.endpoint, "tcp://nowhere", publisher.source.topic)
        async with intake(source) as (events, ring):
            assert await events.settled(SLOT, 20)
            assert (state_of(events).state, state_of(events).reason) == ("cold", "ReplayUnreachable")
            await publisher.heard.wait()
            publisher.publish(2)
            await ring.until(lambda: len(ring.applied) == 2)


async def test_many_more_workers_than_zmq_has_sockets_by_default():
    class Nowhere:
        def push(self, slot, kind, payload):
            return True

    count = 400  # of three sockets each, and four files: 4,096 slots need 16,384
    async with Publisher() as publisher, KvEvents(Nowhere(), LIMITS) as events:
        for slot in range(count):
            events.follow(slot, "w", publisher.source_at(publisher.ports[0], 0))
        assert all([await events.settled(slot, 20) for slot in range(count)])
        assert [state.reason for state in events.states()] == ["NoReplay"] * count


async def test_without_a_replay_socket_only_a_worker_seen_from_its_start_is_not_cold():
    async with (
        Publisher() as publisher,
        intake(publisher.source_at(publisher.ports[0], 0)) as (events, ring),
    ):
        await events.settled(SLOT, 20)
        assert (state_of(events).state, state_of(events).reason) == ("cold", "NoReplay")
        await publisher.heard.wait()  # a handshake is a moment older than the subscription
        publisher.publish(2)
        await ring.until(lambda: len(ring.applied) == 2)
        await ring.until(lambda: state_of(events).state == "live")
        publisher.publish(1, unheard=True)
        publisher.publish(1)
        await ring.until(lambda: ring.applied == ["1:3"])
        assert state_of(events).reason == "NoReplay"


async def test_malformed_messages_are_counted_and_do_no_harm(caplog):
    async with Publisher() as publisher, intake(publisher.source) as (events, ring):
        await events.settled(SLOT, 20)
        for frames in ([], [b"\0" * 7, b""], [b"\0" * 8], [b"\0" * 8, b"", b""], [b"", b""]):
            publisher.send(publisher.topic, *frames)
        publisher.publish(1)
        await ring.until(lambda: len(ring.applied) == 1)
        assert state_of(events).dropped == 5
        assert state_of(events).state == "live"
    assert [record.getMessage() for record in caplog.records].count("kv event message dropped") == 1


async def test_what_a_full_sink_refused_comes_later():
    async with Publisher() as publisher, intake(publisher.source) as (events, ring):
        await events.settled(SLOT, 20)
        publisher.publish(3)
        await ring.until(lambda: len(ring.applied) == 3)
        ring.full = True
        publisher.publish(5)
        await ring.until(lambda: state_of(events).reason == "SinkFull")
        assert events.cold(SLOT)
        assert not events.heals(SLOT)
        ring.full = False
        await ring.until(lambda: len(ring.applied) == 8)
        await ring.until(lambda: state_of(events).state == "live")
        assert ring.applied == batches(1, 8)
        assert ring.kinds.count(Kind.EVENTS) == 8


async def test_live_batches_wait_for_a_replay_within_bounds():
    limits = IntakeLimits(replay=LIMITS.replay, held=Bounds(held=10))
    async with Publisher() as publisher, FaultProxy(publisher.ports[1]) as wire:
        publisher.publish(50)
        async with intake(publisher.source_at(publisher.ports[0], wire.port), limits) as (events, ring):
            await ring.until(lambda: state_of(events).state == "replaying")
            publisher.publish(100)
            await ring.until(lambda: len(ring.applied) == 150)
            await ring.until(lambda: state_of(events).state == "live")
            assert ring.applied == batches(1, 150)


async def test_a_reset_of_ours_clears_at_once():
    async with Publisher() as publisher, intake(publisher.source) as (events, ring):
        await events.settled(SLOT, 20)
        publisher.publish(3)
        await ring.until(lambda: len(ring.applied) == 3)
        events.cleared(SLOT)
        assert (ring.applied, ring.kinds[-1]) == ([], Kind.CLEAR)
        publisher.publish(1)
        await ring.until(lambda: ring.applied == ["1:3"])
        assert state_of(events).state == "live"


async def test_a_worker_that_stays_away_loses_its_entries():
    limits = IntakeLimits(replay=LIMITS.replay, expire_s=0.05)
    async with Publisher() as publisher, intake(publisher.source, limits) as (events, ring):
        await events.settled(SLOT, 20)
        publisher.publish(3)
        await ring.until(lambda: len(ring.applied) == 3)
        await publisher.stop()
        await ring.until(lambda: ring.applied == [])
        publisher.start()
        await ring.until(lambda: state_of(events).state == "live")


async def test_a_port_where_somebody_else_hangs_up_is_not_knocked_at_all_the_time():
    knocks = []

    async def hang_up(_reader, writer):
        knocks.append(asyncio.get_running_loop().time())
        writer.close()

    limits = IntakeLimits(replay=LIMITS.replay, relink_pause_s=0.04)
    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        endpoint = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with intake(KvSource(0, endpoint), limits) as (events, _), asyncio.timeout(20):
            while len(knocks) < 6:  # noqa: ASYNC110 - the server has no more to tell
                await asyncio.sleep(0.01)
            assert events.cold(SLOT)
    pauses = [later - sooner for sooner, later in pairwise(knocks)]
    assert all(pause >= least for pause, least in zip(pauses, (0, 0.04, 0.08, 0.16, 0.32), strict=True))


async def test_another_source_for_a_slot_begins_with_an_empty_picture():
    async with Publisher() as publisher, Publisher() as other, intake(publisher.source) as (events, ring):
        await events.settled(SLOT, 20)
        publisher.publish(3)
        await ring.until(lambda: len(ring.applied) == 3)
        events.follow(SLOT, "w", publisher.source)
        assert len(ring.applied) == 3
        other.publish(1)
        events.follow(SLOT, "w", other.source)
        assert ring.applied == []
        await ring.until(lambda: ring.applied == ["1:0"])
        publisher.publish(1)
        events.unfollow(SLOT)
        assert list(events.states()) == []
        assert events.cold(SLOT)


async def test_an_endpoint_that_zmq_refuses_is_named():
    async with KvEvents(Ring()) as events:
        with pytest.raises(UnreachableSource, match="tcp://nowhere of w"):
            events.follow(SLOT, "w", KvSource(0, "tcp://nowhere"))
        assert list(events.states()) == []
