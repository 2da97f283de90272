"""When a gang that lacks pods is made anew, which of it, and how often."""

import copy

import msgspec
import pytest
from grove_operator.api import PodCliqueSet
from grove_operator.plan.recovery import MAX_RESTARTS, Recovery, delay_s, recovery
from grove_operator.plan.times import duration_s, moment_s
from hypothesis import given, settings
from hypothesis import strategies as st

from grove_dp.kube.stamps import second_time
from tests.operator.picture_samples import T0, Scene
from tests.operator.plan_samples import a_set, clique, group, workload

HOUR = 3600.0
DELAY = 100.0


def two(minimum=2, **meta):
    """A scene of cliques `a`, of two pods, and `b`, of one; all ready, and written down as such."""
    cliques = [clique("a", 2, minimum), clique("b", 1)]
    scene = Scene(a_set(cliques, meta=meta or None, terminationDelay="100s")).all("ready")
    scene.write()
    return scene


def grouped(replicas=2, minimum=1):
    """Grove's workload, ready."""
    scene = Scene(workload(sg_replicas=replicas, sg_minimum=minimum, terminationDelay="100s")).all("ready")
    scene.write()
    return scene


def broken(scene, **words):
    """A breach, as it is seen and written down."""
    scene.put(**words).write()
    return scene


def ended(found):
    """Cliques whose pods go."""
    return sorted({name.rpartition("-")[0] for name in pods(found)})


def pods(found):
    return [pod.metadata.name for pod in found.terminate]


def revive(scene):
    """All pods come back, and are ready."""
    scene.all("ready").write()
    return scene


# ------------------------------------------------------------ which breaches count


def test_nothing_is_ended_while_nothing_is_breached():
    scene = two()
    assert scene.later(99 * HOUR).recover() == Recovery()


def test_a_breach_ends_the_whole_replica_after_the_delay_and_not_before():
    scene = broken(two(), a="ready pending")
    assert scene.recover() == Recovery(look_again_s=DELAY)
    scene.later(DELAY - 1)
    assert scene.recover() == Recovery(look_again_s=1.0)
    scene.later(1)
    found = scene.recover()
    assert ended(found) == ["w-0-a", "w-0-b"]
    assert len(found.terminate) == 3
    record = {"healthy": False, "terminations": 1, "lastTerminatedAt": second_time(T0 + DELAY)}
    assert found.cliques == {"w-0-a": record, "w-0-b": record}
    assert found.look_again_s is None
    ((reason, message),) = found.told
    assert reason == "GangTerminated"
    assert "replica 0" in message
    assert "w-0-a has 1 of the 2 pods" in message


@pytest.mark.parametrize(
    ("minimum", "a", "counts"),
    [
        (2, "ready ready", False),
        (2, "ready recovered", False),  # an old failure of a pod that is ready
        (2, "ready probing", False),  # a start-up probe takes its time
        (2, "bound bound", False),
        (2, "ready crashing", True),
        (2, "ready crashed", True),
        (2, "ready running", True),
        (2, "ready refused", True),
        (2, "ready gated", True),
        (2, "ready failed", True),
        (2, "ready leaving", True),
        (2, "ready", True),
        (2, "", True),
        (1, "ready crashing", False),
        (1, "ready", False),
        (1, "crashing crashing", True),
        (1, "", True),
    ],
)
def test_a_breach_is_too_few_pods_that_hold(minimum, a, counts):
    scene = broken(two(minimum), a=a)
    assert bool(scene.later(2 * DELAY).recover().terminate) == counts


@pytest.mark.parametrize("word", ["gated", "pending", "bound", "running", "crashing"])
def test_what_never_was_ready_is_never_ended(word):
    scene = Scene(a_set([clique("a", 2)], terminationDelay="100s")).all(word)
    scene.write()
    assert scene.later(99 * HOUR).recover() == Recovery()


def test_it_is_healthy_once_its_minimum_was_ready_and_no_sooner():
    scene = Scene(a_set([clique("a", 3, 2)], terminationDelay="100s")).put(a="ready bound bound")
    scene.write()
    assert "recovery" not in scene.status("a")
    scene.turn_into(a="ready ready bound").write()
    assert scene.status("a")["recovery"] == {"healthy": True}
    broken(scene, a="ready crashing crashing")
    assert scene.status("a")["recovery"] == {"healthy": True}
    assert ended(scene.later(DELAY).recover()) == ["w-0-a"]


def test_a_breach_that_has_passed_is_forgotten():
    scene = broken(two(), a="ready pending")
    scene.later(DELAY - 1).put(a="ready ready")
    assert scene.recover() == Recovery()  # though the status has yet to say so
    scene.write()
    broken(scene, a="ready pending")
    assert scene.recover() == Recovery(look_again_s=DELAY)


def test_a_breach_that_no_status_tells_of_yet_begins_now():
    scene = two().later(5 * HOUR).put(a="ready pending")
    assert scene.recover() == Recovery(look_again_s=DELAY)


def test_a_clique_scaled_to_0_is_left_alone_and_begins_anew():
    scene = broken(two(), a="ready pending")
    scene.counts["w-0-a"] = 0
    scene.put(a="").write()
    assert scene.later(2 * DELAY).recover() == Recovery()
    assert "recovery" not in scene.status("a")
    scene.counts["w-0-a"] = 2
    broken(scene, a="pending pending")
    assert scene.later(2 * DELAY).recover() == Recovery()  # it has not run since


def test_nothing_is_ended_while_its_own_update_runs():
    scene = two()
    scene.image("2").reach("a")
    broken(scene, a="ready bound")
    broken(scene, a="pending bound")
    assert scene.condition("a", "MinAvailableBreached")[0] == "Unknown"
    assert scene.later(99 * HOUR).recover() == Recovery()


def test_an_update_of_another_clique_hinders_nothing():
    scene = two()
    scene.image("2").reach("b").write()
    broken(scene, a="ready pending")
    assert ended(scene.later(DELAY).recover()) == ["w-0-a", "w-0-b"]


def test_a_clique_that_is_not_there_is_waited_for():
    scene = broken(two(), a="ready pending")
    scene.missing.add("w-0-b")
    assert scene.later(2 * DELAY).recover() == Recovery()
    scene.missing.clear()
    assert scene.recover().terminate


def test_a_set_that_is_being_deleted_is_left_to_it():
    scene = broken(two(deletionTimestamp="2026-01-01T00:00:00Z"), a="ready pending")
    assert scene.later(2 * DELAY).recover() == Recovery()


# ------------------------------------------------------------ levels


def test_a_breach_in_a_group_ends_that_replica_of_it_alone():
    scene = broken(grouped(), sg_x_1_pc_c="ready crashing ready")
    found = scene.later(DELAY).recover()
    assert ended(found) == ["w-0-sg-x-1-pc-b", "w-0-sg-x-1-pc-c"]
    assert sorted(found.cliques) == ended(found)
    assert "replica 1 of PodCliqueScalingGroup w-0-sg-x" in found.told[0][1]


def test_one_below_minavailable_of_its_group_goes_alone_too_if_enough_are_left():
    scene = broken(grouped(replicas=2, minimum=1), sg_x_0_pc_b="")
    assert ended(scene.later(DELAY).recover()) == ["w-0-sg-x-0-pc-c"]


def test_two_replicas_of_a_group_go_each_for_itself():
    scene = broken(grouped(replicas=3), sg_x_1_pc_b="crashing", sg_x_2_pc_b="crashing")
    found = scene.later(DELAY).recover()
    assert {name[: len("w-0-sg-x-1")] for name in ended(found)} == {"w-0-sg-x-1", "w-0-sg-x-2"}
    assert len(found.told) == 2


def test_a_group_below_its_minimum_ends_the_whole_replica_of_the_set():
    scene = broken(grouped(replicas=2, minimum=2), sg_x_1_pc_b="crashing")
    assert scene.recover().look_again_s == DELAY
    found = scene.later(DELAY).recover()
    assert len(found.cliques) == 5
    assert "w-0-pc-a" in ended(found)


def test_the_group_too_must_have_been_breached_for_that_long():
    scene = broken(grouped(replicas=2, minimum=1), sg_x_0_pc_b="crashing")
    broken(scene.later(DELAY - 10), sg_x_1_pc_b="crashing")
    assert scene.later(10).recover() == Recovery(look_again_s=DELAY - 10)
    found = scene.later(DELAY - 10).recover()
    assert "w-0-pc-a" in ended(found)


def test_one_replica_after_the_other_then_the_whole():
    scene = broken(grouped(), sg_x_0_pc_c="")
    first = scene.later(DELAY).recover()
    assert ended(first) == ["w-0-sg-x-0-pc-b"]
    scene.put(sg_x_0_pc_b="pending", sg_x_0_pc_c="pending pending pending").write()
    assert scene.later(9 * DELAY).recover() == Recovery()  # its one fire is spent
    broken(scene, sg_x_1_pc_c="ready crashing ready")
    second = scene.later(DELAY).recover()
    assert len(second.cliques) == 5
    assert second.cliques["w-0-sg-x-0-pc-b"]["terminations"] == 2
    assert second.cliques["w-0-pc-a"]["terminations"] == 1


def test_a_scaled_replica_that_never_ran_ends_nothing():
    scene = grouped(replicas=2)
    scene.group_counts["w-0-sg-x"] = 3
    broken(scene, sg_x_2_pc_b="pending", sg_x_2_pc_c="pending pending pending")
    assert scene.later(99 * HOUR).recover() == Recovery()


def test_a_standalone_clique_outweighs_a_group():
    scene = broken(grouped(), pc_a="ready pending", sg_x_1_pc_b="crashing")
    found = scene.later(DELAY).recover()
    assert len(found.cliques) == 5
    assert len(found.told) == 1


# ------------------------------------------------------------ once for each breach


def test_a_breach_ends_its_gang_once_also_across_a_restart_of_the_operator():
    scene = broken(two(), a="ready pending").later(DELAY)
    assert scene.recover().terminate
    assert scene.recover() == Recovery()
    scene.put(a="leaving leaving").write()
    assert scene.condition("gang w-0", "DisruptionTarget") == ("True", "GangTermination")
    scene.put(a="pending pending", b="pending").write()  # there is no room
    assert scene.condition("gang w-0", "DisruptionTarget") is None
    assert scene.later(99 * HOUR).recover() == Recovery()
    assert scene.status("a")["recovery"]["healthy"] is False
    assert scene.condition("gang w-0", "Unhealthy")[0] == "True"
    revive(scene)
    assert scene.status("a")["recovery"] == {
        "healthy": True,
        "terminations": 1,
        "lastTerminatedAt": second_time(T0 + DELAY),
    }
    assert scene.condition("gang w-0", "Unhealthy")[0] == "False"


def test_an_operator_that_starts_in_the_middle_waits_for_the_rest_of_the_delay():
    scene = broken(two(), a="ready pending").later(60)
    assert recovery(scene.picture(), scene.now) == Recovery(look_again_s=DELAY - 60)


def test_pods_that_a_crash_left_behind_are_ended_by_the_next_operator():
    scene = broken(two(), a="ready pending").later(DELAY)
    found = recovery(scene.picture(), scene.now)
    for name, record in found.cliques.items():  # written; then the operator dies
        scene.statuses[name]["recovery"] = record
    scene.later(30)
    assert scene.write() == set()  # pods that were to go make nobody healthy
    left = scene.recover()
    assert sorted(pods(left)) == sorted(pods(found))
    assert (left.cliques, left.told) == ({}, ())
    scene.put(a="pending pending", b="pending").write()
    assert scene.later(1).recover() == Recovery()


def test_a_clock_that_is_a_little_ahead_ends_no_new_pods():
    scene = broken(two(), a="ready pending").later(DELAY)
    scene.recover()
    scene.later(-20).put(a="ready ready", b="ready").later(20)  # dated by the API server
    assert scene.recover() == Recovery()
    scene.write()
    assert scene.status("a")["recovery"]["healthy"] is True


def test_a_group_says_while_it_is_started_anew():
    scene = broken(grouped(), pc_a="ready pending").later(DELAY)
    scene.recover()
    scene.write()
    held = scene.condition("sg_x", "GangTerminationInProgress")
    assert held == ("True", "GangTerminationActive")
    revive(scene)
    assert scene.condition("sg_x", "GangTerminationInProgress") is None


# ------------------------------------------------------------ in a row


def fires(scene, times, after=1.0, **words):
    """Seconds from breach to fire, *times*; the gang comes back *after* each, and is breached at once."""
    waits = []
    for _ in range(times):
        broken(scene, **words)
        found = recovery(scene.picture(), scene.now)
        waits.append(found.look_again_s)
        scene.later(found.look_again_s)
        assert scene.recover().terminate
        revive(scene.later(after))
    return waits


def test_each_fire_in_a_row_waits_twice_as_long_and_an_hour_longer_at_most():
    waits = fires(two(), 8, a="ready pending")
    assert waits == [100, 200, 400, 800, 1600, 3200, 3700, 3700]


def test_a_long_delay_grows_by_an_hour_at_most():
    scene = Scene(a_set([clique("a", 2)])).all("ready")
    scene.write()
    assert fires(scene, 3, a="ready pending") == [4 * HOUR, 5 * HOUR, 5 * HOUR]


@pytest.mark.parametrize(("quiet", "row"), [(590.0, [100, 200, 400]), (610.0, [100, 100, 100])])
def test_a_row_ends_after_ten_quiet_minutes(quiet, row):
    scene = two()
    waits = []
    for _ in range(3):
        waits += fires(scene, 1, a="ready pending")
        scene.later(quiet)
    assert waits == row


def test_a_row_ends_after_twice_the_delay_where_that_is_longer():
    scene = Scene(a_set([clique("a", 2)], terminationDelay="1h")).all("ready")
    scene.write()
    fires(scene, 1, a="ready pending")
    assert fires(scene.later(1.9 * HOUR), 1, a="ready pending") == [2 * HOUR]
    assert fires(scene.later(2.1 * HOUR), 1, a="ready pending") == [HOUR]


def test_a_bound_on_restarts_is_kept_and_told():
    scene = two(annotations={MAX_RESTARTS: "2"})
    fires(scene, 2, a="ready pending")
    broken(scene, a="ready pending")
    found = scene.later(HOUR).recover()
    assert (found.terminate, found.cliques, found.look_again_s) == ((), {}, None)
    ((reason, message),) = found.told
    assert reason == "GangRestartsExhausted"
    assert MAX_RESTARTS in message
    revive(scene).later(700)
    assert fires(scene, 1, a="ready pending") == [100]  # a new row


@pytest.mark.parametrize(("given", "fired"), [("0", False), ("1", True), ("many", True), ("", True)])
def test_a_bound_is_a_number(given, fired):
    scene = broken(two(annotations={MAX_RESTARTS: given}), a="ready pending")
    assert bool(scene.later(DELAY).recover().terminate) == fired


# ------------------------------------------------------------ delays


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(None, 4 * HOUR), ("", 4 * HOUR), ("90s", 90), ("1h30m", 5400), ("-1s", 4 * HOUR), ("soon", 4 * HOUR)],
)
def test_a_delay_is_four_hours_unless_a_set_says_otherwise(given, seconds):
    assert delay_s(a_set([clique("a", 1)], terminationDelay=given)) == seconds


def test_durations_and_moments_are_read_or_none():
    assert (duration_s("1.5h"), duration_s("h")) == (5400.0, None)
    assert moment_s("2027-01-15T08:00:00Z") == moment_s("2027-01-15T09:00:00+01:00") == T0
    assert [moment_s(text) for text in (None, "", "now", "2027-01-15T08:00:00")] == [None] * 4


# ------------------------------------------------------------ whatever happens

WORDS = st.sampled_from(["ready", "pending", "crashing", "bound", "running", "leaving", "gated"])
NAMES = st.sampled_from(["pc_a", "sg_x_0_pc_b", "sg_x_0_pc_c", "sg_x_1_pc_b", "sg_x_1_pc_c"])
STEPS = st.tuples(NAMES, st.lists(WORDS, max_size=3).map(" ".join), st.sampled_from([1.0, 50.0, 150.0, 9e3]))


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, max_size=8), st.integers(1, 2))
def test_a_gang_is_ended_only_after_the_delay_and_once_until_it_is_ready_again(steps, minimum):
    scene = grouped(minimum=minimum)
    since = {}
    for name, words, wait in steps:
        scene.put(**{name: words}).write()
        for seen in scene.picture().cliques.values():
            breached = scene.condition(seen.unit.name.replace("-", "_"), "MinAvailableBreached")[0]
            since = {**since, seen.unit.name: since.get(seen.unit.name, scene.now)}
            if breached != "True":
                del since[seen.unit.name]
        scene.later(wait)
        before = copy.deepcopy(scene.picture())
        found = recovery(scene.picture(), scene.now)
        assert scene.picture() == before
        healthy = {n: (one.held.status.recovery or Nothing).healthy for n, one in before.cliques.items()}
        if found.cliques:
            assert any(scene.now - begun >= DELAY and healthy[at] for at, begun in since.items())
        if found.look_again_s is not None:
            assert found.look_again_s > 0
        scene.recover()
        again = recovery(scene.picture(), scene.now)
        assert not again.terminate
        assert not set(again.cliques) & set(found.cliques)


class Nothing:
    """No record."""

    healthy = False


def test_a_template_that_names_no_delay_is_read_as_grove_reads_it():
    document = msgspec.to_builtins(a_set([clique("a", 1)], [group("g", "a")]))
    assert delay_s(msgspec.convert(document, PodCliqueSet)) == 4 * HOUR
