"""Events: what is written, what is counted, what is lost, and that nobody waits for it."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grove_dp.kube.access import Access
from grove_dp.kube.events import EVENTS, Recorder, Reference
from grove_dp.kube.objects import PODS, Meta
from grove_dp.kube.occurrence import cut
from grove_dp.kube.pace import Pace
from grove_dp.testing.kubeapi import InProcess, Server
from tests.kube.election import Line, Virtual

POD = Reference(api_version="v1", kind="Pod", namespace="default", name="web-0", uid="u-1")
NODE = Reference(api_version="v1", kind="Node", name="node-0")


class Place:
    def __init__(self, rng):
        self.clock = Virtual()
        self.server = Server(self.clock)
        self.line = Line(InProcess(self.server), self.clock, rng)
        self.api = Access(self.line)
        self.reader = Access(InProcess(self.server))
        self.rng = rng

    def recorder(self, **options):
        options.setdefault("pace", Pace(1_000, 1_000.0))
        return Recorder(
            self.api, "grove-dp.io/operator", "operator-0", clock=self.clock, rng=self.rng, **options
        )

    @asynccontextmanager
    async def recording(self, **options):
        """Its end takes virtual time, too."""
        recorder = self.recorder(**options)
        await recorder.__aenter__()
        yield recorder
        ending = asyncio.create_task(recorder.__aexit__(None, None, None))
        await self.clock.advance(3)
        await ending

    async def events(self, namespace="default"):
        found = await self.reader.get(EVENTS.path(namespace))
        return found["items"]

    def writes(self):
        return [write.method for write in self.server.writes]


@pytest.fixture
async def place(rng):
    made = Place(rng)
    yield made
    await made.line.close()


@pytest.fixture
async def recorder(place):
    async with place.recording() as made:
        yield made


def scheduled(recorder, note="placed on node-0", regarding=POD, **more):
    recorder.record(regarding, "Scheduled", note, action="Binding", **more)


# ------------------------------------------------------------ one


async def test_an_event_as_the_api_wants_it(place, recorder):
    scheduled(recorder, related=NODE)
    await place.clock.advance(1)
    [event] = await place.events()
    assert event["metadata"]["name"].startswith("web-0.")
    assert (
        event.items()
        >= {
            "eventTime": "2027-01-15T08:00:00.000000Z",
            "type": "Normal",
            "reason": "Scheduled",
            "action": "Binding",
            "note": "placed on node-0",
            "regarding": {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": "default",
                "name": "web-0",
                "uid": "u-1",
            },
            "related": {"apiVersion": "v1", "kind": "Node", "name": "node-0"},
            "reportingController": "grove-dp.io/operator",
            "reportingInstance": "operator-0",
        }.items()
    )


async def test_objects_without_a_namespace_have_theirs_in_default(place, recorder):
    scheduled(recorder, regarding=NODE, kind="Warning")
    await place.clock.advance(1)
    [event] = await place.events("default")
    assert event["regarding"] == {"apiVersion": "v1", "kind": "Node", "name": "node-0"}
    assert event["type"] == "Warning"


async def test_a_reference_is_made_of_what_an_informer_holds():
    meta = Meta(name="web-0", namespace="default", uid="u-1", resource_version="7")
    assert Reference.to(PODS, meta) == POD


@pytest.mark.parametrize("name", ["system:node-role.x/", "UPPER", "x" * 253, "é", "a.b-c.d"])
async def test_whatever_the_object_is_called_the_event_has_a_name(place, recorder, name):
    scheduled(recorder, regarding=Reference(api_version="v1", kind="Pod", namespace="default", name=name))
    await place.clock.advance(1)
    [event] = await place.events()
    assert len(event["metadata"]["name"]) <= 253
    assert recorder.written == 1


@given(text=st.text(), limit=st.integers(3, 60))
def test_a_note_is_cut_between_characters(text, limit):
    short = cut(text, limit)
    assert len(short.encode()) <= limit
    assert short == text or short.endswith("…")


# ------------------------------------------------------------ the same again


async def test_the_same_again_is_counted_in_one_patch_a_minute(place, recorder):
    for _ in range(100):
        scheduled(recorder)
        await place.clock.advance(1.2)
    await place.clock.advance(61)
    [event] = await place.events()
    assert event["series"] == {"count": 100, "lastObservedTime": "2027-01-15T08:01:58.800000Z"}
    assert place.writes() == ["POST", "PATCH", "PATCH"]
    assert (recorder.written, recorder.patched) == (1, 2)


async def test_repeated_before_it_is_written_it_begins_as_a_series(place, recorder):
    place.server.faults.refuse("POST", "*/events", code=503)
    scheduled(recorder)
    await place.clock.advance(0.01)
    scheduled(recorder)
    await place.clock.advance(2)
    [event] = await place.events()
    assert event["series"]["count"] == 2
    await place.clock.advance(120)
    assert place.writes() == ["POST", "POST"]  # nothing more to tell


async def test_another_note_is_another_event(place, recorder):
    scheduled(recorder, "placed on node-0")
    scheduled(recorder, "placed on node-1")
    await place.clock.advance(1)
    assert sorted(event["note"] for event in await place.events()) == ["placed on node-0", "placed on node-1"]


async def test_after_a_long_silence_it_is_a_new_event(place, recorder):
    scheduled(recorder)
    await place.clock.advance(601)
    scheduled(recorder)
    await place.clock.advance(1)
    assert len(await place.events()) == 2


async def test_an_event_that_the_server_has_dropped_is_written_anew(place, recorder):
    scheduled(recorder)
    await place.clock.advance(1)
    [event] = await place.events()
    await place.reader.delete(EVENTS.path("default", event["metadata"]["name"]))
    scheduled(recorder)
    scheduled(recorder)
    await place.clock.advance(61)
    [event] = await place.events()
    assert event["series"]["count"] == 2
    assert event["eventTime"] == "2027-01-15T08:00:01.000000Z"
    assert not recorder.lost


# ------------------------------------------------------------ bounds


async def test_one_object_cannot_drown_the_others(place):
    async with place.recording(pace=Pace(5, 1 / 60)) as recorder:
        for number in range(50):
            scheduled(recorder, f"note {number}")
            scheduled(recorder, regarding=NODE)
        await place.clock.advance(1)
        assert len(await place.events()) == 6
        assert recorder.lost == {"RateLimited": 45}
        await place.clock.advance(60)
        scheduled(recorder, "another")
        await place.clock.advance(1)
        assert recorder.written == 7


async def test_while_the_server_is_away_no_more_than_so_many_wait(place):
    async with place.recording(waiting=10) as recorder:
        place.line.refused = True
        for number in range(50):
            scheduled(recorder, f"note {number}")
        await place.clock.advance(1)
        assert recorder.lost == {"QueueFull": 40}
        place.line.refused = False
        await place.clock.advance(10)
        assert len(await place.events()) == 10


async def test_memory_is_bounded(place):
    async with place.recording(remembered=20) as recorder:
        for number in range(500):
            scheduled(recorder, f"note {number}")
            await place.clock.advance(0.01)
        assert len(recorder._told) <= 20
        assert recorder.written == 500
        await place.clock.advance(700)
        scheduled(recorder)
        assert len(recorder._told) == 1


async def test_recording_is_cheap_and_waits_for_nothing(place):
    async with place.recording(waiting=100) as recorder:
        place.line.cut = True
        started = time.process_time()
        for number in range(1_000):
            scheduled(recorder, f"note {number % 10}")
        assert (time.process_time() - started) / 1_000 < 100e-6


# ------------------------------------------------------------ trouble


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_trouble_that_passes_delays_it(place, recorder, code):
    place.server.faults.refuse("POST", "*/events", code=code, times=3)
    scheduled(recorder)
    await place.clock.advance(30)
    assert len(await place.events()) == 1
    assert not recorder.lost


async def test_an_answer_that_is_lost_does_not_make_it_two(place, recorder):
    place.server.faults.lose_answer("POST", "*/events")
    scheduled(recorder)
    await place.clock.advance(10)
    assert len(await place.events()) == 1
    assert recorder.written == 1


async def test_what_the_server_refuses_is_lost_counted_and_told_once(place, recorder, caplog):
    place.server.faults.refuse("POST", "*/events", code=403, times=3)
    for number in range(3):
        scheduled(recorder, f"note {number}")
    await place.clock.advance(1)
    assert recorder.lost == {"Forbidden": 3}
    assert [record.reason for record in caplog.records] == ["Forbidden"]
    scheduled(recorder, "note 0")  # it is not remembered as written
    await place.clock.advance(1)
    assert len(await place.events()) == 1


async def test_what_is_no_text_is_told_as_far_as_it_goes(place, recorder):
    scheduled(recorder, "placed on \udcff")
    await place.clock.advance(1)
    assert [event["note"] for event in await place.events()] == ["placed on ?"]


async def test_a_fault_of_ours_costs_one_event_and_not_the_recorder(place, recorder, caplog):
    scheduled(recorder, related=object())
    scheduled(recorder, "another")
    await place.clock.advance(1)
    assert [event["note"] for event in await place.events()] == ["another"]
    assert recorder.lost == {"InternalError": 1}
    assert caplog.records[0].exc_info


async def test_trouble_that_does_not_pass_loses_it_in_the_end(place, recorder):
    place.line.refused = True
    scheduled(recorder)
    await place.clock.advance(120)
    assert recorder.lost == {"ApiUnreachable": 1}


async def test_the_end_writes_what_waits_and_what_series_have_to_tell(place):
    async with place.recorder() as recorder:
        scheduled(recorder)
        await place.clock.advance(1)
        scheduled(recorder)
        scheduled(recorder, "another")
    assert [event.get("series", {}).get("count") for event in await place.events()].count(2) == 1
    assert len(await place.events()) == 2
    assert not recorder.lost


async def test_the_end_does_not_wait_for_a_server_that_is_away(place):
    async def briefly():
        async with place.recorder() as recorder:
            place.line.cut = True
            scheduled(recorder)
        return recorder

    task = asyncio.create_task(briefly())
    await place.clock.advance(2.1)
    assert task.result().lost == {"Closed": 1}
