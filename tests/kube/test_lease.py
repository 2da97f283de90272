"""Who leads, in virtual time: never two at once, and soon another."""

import asyncio
import contextlib
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grove_dp.clock import SystemClock
from grove_dp.kube.access import Access
from grove_dp.kube.candidate import Candidate, LeaseTimes
from grove_dp.kube.controller import Controller
from grove_dp.kube.errors import ApiError
from grove_dp.kube.lease import WorkStuck, lead, lead_as
from grove_dp.testing.kubeapi import InProcess, Server
from tests.kube.election import GIVEN_BACK, LEASE, TIMES, Place

QUICK = LeaseTimes(duration_s=0.6, deadline_s=0.3, stop_s=0.1, retry_s=0.1, fresh=True)


@pytest.fixture
async def place():
    made = Place()
    await made.make_lease()
    yield made
    made.assert_never_two()
    await made.end()


@pytest.fixture
async def pair(place):
    """A leader, and one that stands by."""
    first, second = place.machine("first"), place.machine("second")
    first.start()
    await place.pass_(1)
    second.start()
    await place.pass_(9)
    assert place.leaders() == ["first"]
    return first, second


# ------------------------------------------------------------ taking


async def test_a_lease_that_nobody_holds_is_taken_at_once(place):
    machine = place.machine("only")
    machine.start()
    await place.pass_(0.001)
    assert machine.working
    assert await place.lease() == {
        "holderIdentity": "only",
        "leaseDurationSeconds": 15,
        "acquireTime": "2027-01-15T08:00:00.000000Z",
        "renewTime": "2027-01-15T08:00:00.000000Z",
        "leaseTransitions": 4,
    }


async def test_a_lease_that_is_not_there_may_have_been_deleted_under_a_leader():
    place = Place()
    machine = place.machine("only")
    machine.start()
    await place.pass_(14.9)
    assert not machine.working
    await place.pass_(0.2)
    assert machine.working
    await place.end()


async def test_who_knows_that_there_is_no_other_need_not_wait():
    place = Place()
    machine = place.machine("only", times=LeaseTimes(fresh=True))
    machine.start()
    await place.pass_(0.001)
    assert machine.working
    await place.end()


async def test_of_many_that_come_at_once_one_leads(place):
    for number in range(5):
        place.machine(f"m{number}").start()
    for _ in range(60):
        await place.pass_(1)
        assert len(place.leaders()) == 1
    assert len(place.spans()) == 1


@pytest.mark.parametrize("spec", [{}, None, {"holderIdentity": None, "leaseDurationSeconds": None}])
async def test_a_lease_with_nothing_in_it_is_waited_for(spec):
    place = Place()
    spoken = {} if spec is None else {"spec": spec}
    await place.make_lease({"metadata": {"name": "operator"}, **spoken})
    machine = place.machine("only")
    machine.start()
    await place.pass_(14.9)
    assert not machine.working
    await place.pass_(0.2)
    assert machine.working
    await place.end()


async def test_the_longer_duration_of_another_is_honoured(place):
    long = place.machine("long", times=LeaseTimes(duration_s=60, deadline_s=40, stop_s=10))
    long.start()
    await place.pass_(1)
    short = place.machine("short")
    short.start()
    long.kill()
    await place.pass_(59)
    assert not short.working
    await place.pass_(2)
    assert short.working


# ------------------------------------------------------------ handing over


async def test_who_stops_properly_is_followed_within_a_retry(place, pair):
    first, second = pair
    await first.stop()
    assert (await place.lease())["holderIdentity"] == ""
    await place.pass_(TIMES.retry_s * 1.2 + 0.1)
    assert second.working
    assert (await place.lease())["leaseTransitions"] == 5


async def test_who_dies_is_followed_within_twenty_seconds(place, pair):
    first, second = pair
    for _ in range(5):
        first.kill()
        died = place.now()
        await place.pass_(20)
        assert second.working
        assert 12 <= second.spans[-1][0] - died <= 18
        first.line.refused = False
        first.start()
        await place.pass_(5.3)
        first, second = second, first


async def test_work_that_ends_ends_the_leading_and_the_lease_is_given_back(place):
    async def work():
        await place.clock.sleep(5)
        return 42

    task = asyncio.create_task(lead(place.api, "default", "operator", "me", work, clock=place.clock))
    await place.pass_(6)
    assert task.result() == 42
    assert (await place.lease())["holderIdentity"] == ""


async def test_work_that_fails_tells_its_caller_and_the_lease_is_given_back(place):
    async def work():
        await place.clock.sleep(5)
        raise KeyError("bug")

    task = asyncio.create_task(lead(place.api, "default", "operator", "me", work, clock=place.clock))
    await place.pass_(6)
    with pytest.raises(KeyError, match="bug"):
        await task
    assert (await place.lease())["holderIdentity"] == ""


async def test_while_the_work_ends_the_lease_is_still_held(place, pair):
    first, second = pair
    first.wind_down_s = 3.9
    stopping = asyncio.create_task(first.stop())
    await place.pass_(3.8)
    assert first.working
    assert (await place.lease())["holderIdentity"] == "first"
    stopping.cancel()  # asking twice changes nothing
    await place.pass_(3)
    assert second.working


# ------------------------------------------------------------ trouble on the line


@pytest.mark.parametrize("fault", ["cut", "refused"])
async def test_a_leader_that_is_cut_off_stops_before_another_begins(place, pair, fault):
    first, second = pair
    first.wind_down_s = 3.5
    setattr(first.line, fault, True)
    cut = place.now()
    await place.pass_(20)
    assert second.working
    assert cut + 10 - TIMES.retry_s * 1.2 <= first.spans[0][1] - 3.5 <= cut + 10
    assert first.spans[0][1] < second.spans[0][0]
    assert not first.stuck
    setattr(first.line, fault, False)
    await place.pass_(60)
    assert place.leaders() == ["second"]


@pytest.mark.parametrize("phase_s", [0, 0.5, 1, 1.5, 2, 3, 4, 5])
@pytest.mark.parametrize(
    "trouble", [{"back_s": (3.2, 3.2)}, {"back_s": (0, 3.3)}, {"every_lost": 2}, {"every_lost": 3}]
)
async def test_what_is_held_counts_from_before_the_call_however_late_its_answer(place, trouble, phase_s):
    first, keen = place.machine("first"), place.machine("keen", times=LeaseTimes(retry_s=0.1))
    first.start()
    await place.pass_(1)
    keen.start()
    first.wind_down_s = 3.9
    for name, value in trouble.items():
        setattr(first.line, name, value)
    await place.pass_(7 + phase_s)
    first.line.cut = True
    await place.pass_(25)
    assert keen.working
    place.assert_never_two()


async def test_a_cut_that_is_short_enough_costs_nothing(place, pair):
    first, _ = pair
    for _ in range(5):
        first.line.cut = True
        await place.pass_(4)
        first.line.cut = False
        await place.pass_(10)
    assert place.leaders() == ["first"]
    assert len(place.spans()) == 1


async def test_when_nobody_can_be_reached_the_same_one_goes_on_afterwards(place, pair):
    for machine in pair:
        machine.line.refused = True
    await place.pass_(120)
    assert place.leaders() == []
    for machine in pair:
        machine.line.refused = False
    await place.pass_(10)
    assert len(place.leaders()) == 1


async def test_an_answer_that_never_comes_does_not_end_the_leading_if_the_call_came_through(place, pair):
    first, _ = pair
    first.line.every_lost = 3
    await place.pass_(300)
    assert place.leaders() == ["first"]
    assert len(place.spans()) == 1


async def test_slow_answers_are_lived_with(place, pair):
    first, _ = pair
    first.line.there_s = first.line.back_s = (1.0, 1.5)
    await place.pass_(300)
    assert len(place.spans()) == 1


async def test_an_answer_to_the_taking_that_is_lost_is_found_out():
    place = Place()
    await place.make_lease()
    machine = place.machine("only")
    place.server.faults.lose_answer("PATCH", "*/leases/*", times=1)
    machine.start()
    await place.pass_(TIMES.retry_s * 1.2 + 0.1)
    assert machine.working
    await place.end()


async def test_a_taking_that_arrives_late_is_still_ours():
    place = Place()
    await place.make_lease()
    machine = place.machine("only")
    machine.line.there_s = (4, 4)  # longer than a call may take
    machine.start()
    await place.pass_(30)
    assert not machine.working
    machine.line.there_s = (0, 0)
    await place.pass_(6)
    assert machine.working
    await place.end()


@pytest.mark.parametrize(
    ("code", "retry_after_s"), [(429, None), (500, None), (503, None), (429, 30), (409, None)]
)
async def test_a_server_in_trouble_is_asked_again(place, pair, code, retry_after_s):
    place.server.faults.refuse("PATCH", "*/leases/*", times=3, code=code, retry_after_s=retry_after_s)
    await place.pass_(60)
    assert place.leaders() == ["first"]
    assert len(place.spans()) == 1


async def test_trouble_is_logged_when_it_begins_and_when_it_is_over(place, pair, caplog):
    caplog.set_level("INFO")
    caplog.clear()
    place.server.faults.refuse("PATCH", "*/leases/*", times=4, code=403)
    await place.pass_(60)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "403 Forbidden" in caplog.records[0].getMessage()


# ------------------------------------------------------------ hands and clocks


async def test_a_lease_that_is_deleted_is_made_again_by_its_leader(place, pair):
    await place.api.delete(LEASE)
    await place.pass_(60)
    assert place.leaders() == ["first"]
    assert len(place.spans()) == 1
    assert (await place.lease())["holderIdentity"] == "first"


async def test_a_lease_that_is_given_to_another_by_hand_is_let_go(place, pair):
    first, _ = pair
    first.wind_down_s = 3
    await place.api.merge(LEASE, {"spec": {"holderIdentity": "somebody"}})
    await place.pass_(TIMES.retry_s * 1.2 + 3.1)
    assert place.leaders() == []
    await place.pass_(16)
    assert len(place.leaders()) == 1


@pytest.mark.parametrize(
    "spec", [None, {"holderIdentity": ""}, {"holderIdentity": None, "acquireTime": None}]
)
async def test_a_lease_that_is_emptied_is_still_its_leaders(place, pair, spec):
    await place.api.merge(LEASE, {"spec": spec})
    await place.pass_(60)
    assert place.leaders() == ["first"]
    assert len(place.spans()) == 1
    assert (await place.lease())["holderIdentity"] == "first"


async def test_a_lease_deleted_twice_was_not_absent_all_the_time(place):
    """Found by chance: who looked before and after another had made it believed that nobody held it."""
    first, second = place.machine("first"), place.machine("second")
    second.start()
    await place.api.delete(LEASE)
    await place.pass_(14)
    second.line.refused = True
    await place.api.merge(LEASE, {"spec": GIVEN_BACK["spec"]})
    first.start()
    await place.pass_(0.5)
    assert first.working
    await place.api.delete(LEASE)
    second.line.refused = False
    await place.pass_(30)
    assert place.leaders() == ["first"]


async def test_what_others_write_beside_it_does_not_matter(place, pair):
    for number in range(100):
        await place.api.merge(LEASE, {"metadata": {"labels": {"number": str(number)}}})
        await place.pass_(0.7)
    assert len(place.spans()) == 1


async def test_a_jump_of_the_wall_clock_does_not_matter(place, pair):
    first, second = pair
    for offset in (1e6, -1e6, 0):
        first.clock.wall_offset = offset
        second.clock.wall_offset = -offset
        await place.pass_(20)
    assert len(place.spans()) == 1


async def test_two_with_the_same_name_are_two(place):
    first, second = place.machine("twin-a"), place.machine("twin-b")
    first.start("twin")
    await place.pass_(1)
    second.start("twin")
    await place.pass_(60)
    assert place.leaders() == ["twin-a"]
    first.kill()
    await place.pass_(20)
    assert place.leaders() == ["twin-b"]


async def test_a_process_that_was_stopped_finds_out_before_it_writes(place, pair):
    first, second = pair
    assert first.candidate.holding
    first.clock.sleep = lambda seconds: asyncio.Event().wait()  # its timers do not ring
    await place.pass_(30)
    assert not first.candidate.holding
    first.kill()
    first.spans[0][1] = second.spans[0][0]  # it did nothing in between


# ------------------------------------------------------------ work that does not end


async def test_work_that_does_not_end_calls_for_the_end_of_the_process_in_time(place, pair):
    first, second = pair
    first.wind_down_s = 1_000
    first.line.cut = True
    await place.pass_(14)
    assert first.stuck == [pytest.approx(first.candidate.lapses_at - 1_000 + TIMES.stop_s)]
    with pytest.raises(WorkStuck):
        await first.task
    assert not second.working
    first.kill()  # what it was called for
    await place.pass_(6)
    assert second.working


async def test_work_that_does_not_end_at_a_proper_stop_calls_for_it_too(place, pair):
    first, _ = pair
    first.wind_down_s = 1_000
    stopping = asyncio.create_task(first.stop())
    await place.pass_(4.1)
    assert len(first.stuck) == 1
    assert (await place.lease())["holderIdentity"] == "first"  # not given back
    first.kill()
    await stopping


async def test_a_loop_that_hangs_is_ended_by_a_thread():
    called = threading.Event()

    async def work():
        while not called.is_set():  # as if in a computation without end
            time.sleep(0.01)  # noqa: ASYNC251

    api = Access(InProcess(Server(SystemClock())))
    started = time.monotonic()
    await lead(api, "default", "operator", "me", work, times=QUICK, stuck=called.set)
    assert QUICK.deadline_s + QUICK.stop_s < time.monotonic() - started < QUICK.duration_s + 1


HANGS = """
import asyncio, itertools
from grove_dp.kube.access import Access
from grove_dp.kube.lease import LeaseTimes, lead
from grove_dp.testing.kubeapi import InProcess, Server

async def work():
    print("leading", flush=True)
    for _ in itertools.count():
        pass

times = LeaseTimes(duration_s=0.6, deadline_s=0.3, stop_s=0.1, retry_s=0.1, fresh=True)
asyncio.run(lead(Access(InProcess(Server())), "default", "operator", "me", work, times=times))
"""


def test_unless_told_otherwise_a_process_whose_work_hangs_ends():
    ended = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=30)
    assert ended.returncode == 1
    assert ended.stdout == "leading\n"
    assert (
        ended.stderr
        == "leading is over and the work has not ended: leaving at once, so that another can lead\n"
    )


async def test_what_was_in_work_when_leading_was_lost_is_done_when_it_is_regained(place, rng):
    began, ended = [], []

    async def reconcile(key):
        began.append(key)
        await place.clock.sleep(20)
        ended.append(key)

    controller = Controller("test", reconcile, clock=place.clock, rng=rng)
    line = place.machine("only").line
    leading = asyncio.create_task(
        lead(Access(line), "default", "operator", "only", controller.run, clock=place.clock, rng=rng)
    )
    await place.pass_(1)
    controller.queue.add("a")
    line.refused = True
    await place.pass_(15)
    assert (began, ended) == (["a"], [])
    controller.queue.add("b")  # the informers go on
    await place.pass_(15)
    assert began == ["a"]
    line.refused = False
    await place.pass_(30)
    assert sorted(ended) == ["a", "b"]
    stopping = asyncio.create_task(controller.stop())
    await place.pass_(1)
    await stopping
    await leading
    assert (await place.lease())["holderIdentity"] == ""


async def test_the_thread_does_nothing_while_all_is_well():
    called = []
    candidate = Candidate(Access(InProcess(Server())), "default", "operator", "me", times=QUICK)

    async def work():
        await asyncio.sleep(1)

    before = threading.active_count()
    await lead_as(candidate, work, stuck=lambda: called.append(1))
    assert not called
    assert candidate.renewals >= 5
    assert threading.active_count() == before


@pytest.mark.parametrize(
    "times",
    [{"retry_s": 10}, {"deadline_s": 11}, {"stop_s": 5}, {"stop_s": 0}, {"duration_s": 10}, {"retry_s": 0}],
)
def test_times_that_cannot_be_kept_are_refused(times):
    with pytest.raises(ValueError, match="got"):
        LeaseTimes(**times)


# ------------------------------------------------------------ whatever happens

WHO = st.integers(0, 2)
DELAYS = st.sampled_from([(0, 0), (0, 0.1), (0.5, 3), (2, 9), (0, 20)])
LOSS = st.sampled_from([0, 0, 0.1, 0.5, 0.9])
STEPS = st.lists(
    st.tuples(
        st.one_of(
            st.tuples(st.just("line"), WHO, DELAYS, DELAYS, LOSS, LOSS),
            st.tuples(st.sampled_from(["cut", "refused", "well", "kill", "start", "stop", "jump"]), WHO),
            st.tuples(st.sampled_from(["delete", "empty", "null", "steal", "label"])),
            st.tuples(st.just("refuse"), st.sampled_from([409, 429, 500, 503]), st.integers(1, 5)),
        ),
        st.sampled_from([0, 0.5, 2, 7, 11, 16, 30]),
    ),
    max_size=12,
)


def to_machine(machine, what, *how):
    """Something becomes of one of them, or of its line."""
    match what:
        case "line":
            machine.line.there_s, machine.line.back_s, machine.line.lost_there, machine.line.lost_back = how
        case "cut" | "refused":
            setattr(machine.line, what, True)
        case "well":
            machine.mend()
        case "kill":
            machine.kill()
        case "start" if machine.task.done():
            machine.mend()
            machine.start()
        case "stop":
            machine.task.cancel()
        case "jump":
            machine.clock.wall_offset += 86_400 * machine.rng.uniform(-1, 1)


async def to_lease(place, what):
    """Somebody does something to it by hand."""
    patches = {
        "empty": {"spec": {"holderIdentity": ""}},
        "null": {"spec": None},
        "steal": {"spec": {"holderIdentity": "thief", "acquireTime": None}},
        "label": {"metadata": {"labels": {"at": str(int(place.now()))}}},
    }
    call = place.api.delete(LEASE) if what == "delete" else place.api.merge(LEASE, patches[what])
    with contextlib.suppress(ApiError):  # there may be none, or the server may be in trouble
        await call


async def happen(place, what, *how):
    if what == "refuse":
        place.server.faults.refuse("*", "*/leases*", code=how[0], times=how[1])
    elif how:
        to_machine(place.machines[how[0]], what, *how[1:])
    else:
        await to_lease(place, what)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=STEPS,
    seed=st.integers(0, 1_000),
    rates=st.tuples(*[st.floats(0.97, 1.03)] * 3),
    wind_downs=st.tuples(*[st.sampled_from([0, 0, 2, 3.8])] * 3),
)
async def test_whatever_happens_there_are_never_two_leaders_and_soon_one(steps, seed, rates, wind_downs):
    place = Place()
    await place.make_lease()
    for number in range(3):
        machine = place.machine(f"m{number}", rates[number], seed=seed + 10 * number)
        machine.wind_down_s = wind_downs[number]
        machine.start()
    try:
        for step, seconds in steps:
            await happen(place, *step)
            await place.pass_(seconds)
            assert len(place.leaders()) <= 1
        place.server.faults.clear()
        for number in range(3):
            await happen(place, "well", number)
        await happen(place, "start", 0)
        await place.pass_(TIMES.duration_s + 3 * TIMES.retry_s + TIMES.deadline_s + 5)
        assert len(place.leaders()) == 1
        place.assert_never_two()
        assert not any(machine.stuck for machine in place.machines)
    finally:
        await place.end()
