"""What has gone wrong with operators of this kind before, and what an adversary can do."""

import asyncio
import math
from random import Random

import pytest
from grove_operator.api import (
    AUTOSCALERS,
    CLIQUES,
    GANGS,
    GROUPS,
    PODS,
    ROLES,
    SERVICE_ACCOUNTS,
    SERVICES,
    SETS,
)
from grove_operator.naming import L

from grove_dp.testing.kubelet import Course
from tests.operator.scenarios.harness import IMAGE, clique_of, image, scenario
from tests.operator.scenarios.test_objects import SAMPLES, a_set, clique, group, roomy
from tests.operator.scenarios.world import MADE, labels, name, ours, uid

EVERYTHING = (SETS, *MADE)


def nothing_left(world):
    return not any(ours(one) or kind is SETS for kind in EVERYTHING for one in world.of(kind))


async def running(scene, workload="workload1", total=10, nodes=28):
    await scene.nodes(nodes)
    called = await scene.apply(workload)
    await scene.reaches(running=total)
    return called


# ------------------------------------------------------------ A: identity


def worker(called, count, picture, **more):
    made = clique(called, count, **more)
    made["spec"]["podSpec"]["containers"][0]["image"] = picture
    return made


@scenario
async def test_a_clique_whose_name_ends_as_another_has_its_own_template(scene):
    await scene.nodes(2, roomy)
    await scene.apply(a_set("s", worker("worker", 2, "x:aa"), worker("prefill-worker", 3, "x:prefill")))
    world = await scene.reaches(running=5)
    assert world.images("s-0-worker") == ["x:aa"] * 2
    assert world.images("s-0-prefill-worker") == ["x:prefill"] * 3


@scenario
async def test_names_that_contain_each_other_and_digits(scene):
    await scene.nodes(3, roomy)
    parts = [worker("a", 1, "x:a"), worker("a-0", 2, "x:a-0"), worker("a-0-b", 1, "x:a-0-b")]
    parts += [worker("b", 2, "x:b"), worker("xa", 1, "x:xa")]
    await scene.apply(a_set("s", *parts, group("g", "b", count=2)))
    await scene.apply(a_set("s-0", worker("a", 3, "x:other")))
    world = await scene.reaches(running=12)
    for clique_, picture, count in (
        ("s-0-a", "x:a", 1),
        ("s-0-a-0", "x:a-0", 2),
        ("s-0-a-0-b", "x:a-0-b", 1),
        ("s-0-xa", "x:xa", 1),
        ("s-0-g-1-b", "x:b", 2),
        ("s-0-0-a", "x:other", 3),
    ):
        pods = [pod for pod in world.pods if labels(pod)[L.CLIQUE] == clique_]
        assert [pod["spec"]["containers"][0]["image"] for pod in pods] == [picture] * count, clique_
    await scene.remove("s-0")
    world = await scene.reaches(running=9)
    assert world.names(SETS) == ["s"]


@scenario
async def test_a_parent_is_known_by_more_than_the_beginning_of_its_name(scene):
    parent, other = clique("x", 1), clique("x-b", 1)
    child = clique("c", 1, ["x"])
    scene.courses["s-0-x-b"] = Course(ready_s=0.5)
    scene.courses["s-0-x"] = Course(ready_s=50)
    await scene.nodes(2, roomy)
    await scene.apply(a_set("s", parent, other, child, order="CliqueStartupTypeExplicit"))
    await scene.until(lambda world: len(world.running("s-0-x-b")) == 1)
    await scene.always(lambda world: not world.running("s-0-c"), 40, "it waits for its parent")
    await scene.until(lambda world: len(world.running()) == 3)


@scenario
async def test_names_as_long_as_they_may_be(scene):
    await scene.nodes(2, roomy)
    members = [clique("c" * 15, 1)]
    await scene.apply(a_set("s" * 15, *members, group("g" * 15, "c" * 15, count=2)))
    await scene.reaches(running=2)


# ------------------------------------------------------------ C: expectations, stale caches


@scenario
async def test_a_set_deleted_and_made_again_under_its_name(scene):
    await running(scene)
    before = await scene.world()
    await scene.remove("wl1")
    await scene.until(lambda world: not world.of(SETS))
    await scene.apply("workload1")
    world = await scene.reaches(running=10)
    assert not before.uids() & world.uids()


@scenario
async def test_events_that_come_late_make_nothing_twice(scene):
    await scene.nodes(28)
    scene.cluster.faults.delay("*", "*/pods", 2, times=200)
    await scene.apply("workload1")
    await scene.reaches(running=10)
    assert len(scene.diary.times("made")) == 10


@scenario
@pytest.mark.parametrize("trouble", ["refuse", "lose_answer", "lose_call", "too_many"])
async def test_calls_that_fail_half_way_leave_nothing_out_and_nothing_twice(scene, trouble):
    faults = scene.cluster.faults
    for path in ("*/pods", "*/pods/*", "*/podcliques", "*/podgangs", "*/services"):
        match trouble:
            case "refuse":
                faults.refuse("*", path, times=3, code=500)
            case "too_many":
                faults.refuse("*", path, times=3, code=429, retry_after_s=1)
            case "lose_answer":
                faults.lose_answer("*", path, times=3)
            case "lose_call":
                faults.lose_call("*", path, times=3)
    await scene.nodes(28)
    faults_left = scene.cluster.server.faults
    await scene.apply("workload1")
    await scene.reaches(running=10)
    faults_left.clear()


@scenario
@pytest.mark.parametrize("trouble", ["cut_watches", "end_watches", "forget"])
async def test_watches_that_end_lose_nothing(scene, trouble):
    await running(scene)
    getattr(scene.cluster.faults, trouble)()
    if trouble == "forget":
        scene.cluster.faults.cut_watches()
    await scene.scale_group("wl1-0-sg-x", 3)
    await scene.reaches(running=14)
    await scene.remove("wl1")
    await scene.until(nothing_left)


# ------------------------------------------------------------ F: whose count it is


@scenario
async def test_live_counts_outlive_a_change_of_the_template(scene):
    await running(scene, "workload2")
    await scene.scale_clique("wl2-0-pc-a", 4)
    await scene.scale_group("wl2-0-sg-x", 3)
    await scene.reaches(running=16)

    def other_counts(document):
        clique_of(document, "pc-a")["spec"]["replicas"] = 3
        document["spec"]["template"]["podCliqueScalingGroups"][0]["replicas"] = 4

    await scene.edit("wl2", other_counts)
    await scene.reaches(running=16)


@scenario
async def test_selectors_are_there_at_zero_too(scene):
    await running(scene, "workload2")
    await scene.scale_clique("wl2-0-pc-a", 0)
    await scene.scale_group("wl2-0-sg-x", 0)
    await scene.reaches(running=0)
    world = await scene.world()
    assert world.status(CLIQUES, "wl2-0-pc-a")["hpaPodSelector"]
    assert world.status(GROUPS, "wl2-0-sg-x")["selector"]
    await scene.scale_clique("wl2-0-pc-a", 1)
    await scene.scale_group("wl2-0-sg-x", 1)
    await scene.reaches(running=5)


# ------------------------------------------------------------ G: gates


@scenario
async def test_a_bare_bind_releases_what_waits_for_it(scene):
    """Nobody says more of a pod than that it has a node."""
    scene.courses["wl2-0-pc-a"] = Course(ready_s=math.inf)
    scene.courses["wl2-0-sg-x-0"] = Course(ready_s=math.inf)
    await scene.nodes(10)
    await scene.apply("workload2")
    await scene.until(lambda world: len(world.running("wl2-0-sg-x-1")) == 4, within_s=5)


@scenario
async def test_a_gang_is_released_though_a_clique_went_while_it_waited(scene):
    await scene.nodes(10, cordoned=1)
    await scene.apply("workload1")
    await scene.stays(running=0, pending=10)
    await scene.api.delete(CLIQUES.path(scene.namespace, "wl1-0-pc-a"))
    await scene.clock.sleep(1)
    await scene.stays(running=0, pending=10)
    await scene.uncordon()
    await scene.reaches(running=10)


# ------------------------------------------------------------ H: deletion


@scenario(real=True)
async def test_a_set_that_is_deleted_leaves_nothing(scene):
    await running(scene)
    await scene.remove("wl1")
    await scene.until(nothing_left, what="nothing is left")


@scenario
@pytest.mark.parametrize("after_s", [0, 0.001, 0.05, 0.5, 1, 3])
async def test_a_set_that_is_deleted_at_any_moment_leaves_nothing(scene, after_s):
    scene.courses[""] = Course(ready_s=1, ends_s=1)
    await scene.nodes(28)
    await scene.apply("workload3")
    await scene.clock.sleep(after_s)
    await scene.remove("wl3")
    await scene.until(nothing_left, what="nothing is left")


@scenario
async def test_a_set_whose_update_is_on_its_way_can_be_deleted(scene):
    scene.courses[""] = Course(ready_s=5, ends_s=1)
    await running(scene)
    await scene.edit("wl1", image())
    await scene.until(lambda world: IMAGE in world.images())
    await scene.remove("wl1")
    await scene.until(nothing_left, what="nothing is left")


@scenario
async def test_a_set_that_was_deleted_while_no_operator_ran(scene):
    await running(scene)
    await scene.stop_operator()
    await scene.remove("wl1")
    await scene.clock.sleep(60)
    await scene.start_operator()
    await scene.until(nothing_left, what="nothing is left")


@scenario
@pytest.mark.parametrize("kind", [SETS, CLIQUES, PODS])
async def test_a_foreign_finalizer_holds_its_object_and_no_other(scene, kind):
    await running(scene)
    held = next(one for one in (await scene.world()).of(kind) if kind is SETS or ours(one))
    path = kind.path(scene.namespace, name(held))
    marks = [*(held["metadata"].get("finalizers") or []), "example.org/held"]
    await scene.api.merge(path, {"metadata": {"finalizers": marks}})
    await scene.rest()
    await scene.remove("wl1")
    await scene.clock.sleep(60)
    world = await scene.world()
    assert name(held) in [name(one) for one in world.of(kind)]
    assert len(world.of(PODS)) <= 1
    now = await scene.api.get(path)
    left = [mark for mark in now["metadata"].get("finalizers") or [] if mark != "example.org/held"]
    await scene.api.merge(path, {"metadata": {"finalizers": left or None}})
    await scene.until(nothing_left, what="nothing is left")


@scenario
async def test_foreground_deletion_leaves_nothing(scene):
    await running(scene)
    await scene.remove("wl1", propagation="Foreground")
    await scene.until(nothing_left, what="nothing is left")


@scenario
async def test_a_pod_that_hangs_on_a_lost_node_is_replaced_when_somebody_forces_it(scene):
    await running(scene, "workload2", nodes=11)
    pod = (await scene.world()).running("wl2-0-sg-x-0-pc-c")[0]
    await scene.lose_node(pod["spec"]["nodeName"])
    await scene.kill_pod(pod)
    await scene.until(lambda world: len(world.running()) == 10)
    await scene.kill_pod(pod, grace_s=0)
    await scene.reaches(running=10)


# ------------------------------------------------------------ J: merging, and self-healing


@scenario
async def test_marks_of_others_survive_and_so_does_what_they_changed_beside_ours(scene):
    await running(scene)
    for kind in (SETS, CLIQUES, GROUPS, GANGS, SERVICES, SERVICE_ACCOUNTS, ROLES, PODS):
        for one in (await scene.world()).of(kind):
            patch = {"metadata": {"labels": {"other/l": "1"}, "annotations": {"other/a": "1"}}}
            if name(one) != "default":
                await scene.api.merge(kind.path(scene.namespace, name(one)), patch)
    await scene.edit("wl1", image(IMAGE, "pc-a"))
    await scene.until(lambda world: world.images("wl1-0-pc-a") == [IMAGE] * 2 and world.count() == (10, 0))
    await scene.rest()
    world = await scene.world()
    for kind in (SETS, CLIQUES, GROUPS, GANGS, SERVICES, SERVICE_ACCOUNTS, ROLES):
        for one in world.of(kind):
            if kind is SETS or ours(one):
                assert labels(one).get("other/l") == "1", (kind.kind, name(one))
                assert one["metadata"]["annotations"].get("other/a") == "1", (kind.kind, name(one))


@scenario
@pytest.mark.parametrize("kind", [SERVICES, GANGS, CLIQUES, GROUPS, SERVICE_ACCOUNTS, ROLES, AUTOSCALERS])
async def test_what_is_deleted_by_hand_is_there_again_within_a_second(scene, kind):
    await scene.nodes(2, roomy)
    await scene.apply(SAMPLES["simple1"][0])
    await scene.reaches(running=9)
    held = next(one for one in (await scene.world()).of(kind) if ours(one))
    await scene.api.delete(kind.path(scene.namespace, name(held)))
    await scene.until(
        lambda world: (world.named(kind, name(held)) or held)["metadata"]["uid"] != uid(held), within_s=1
    )
    await scene.clock.sleep(1)
    await scene.reaches(running=9)


@scenario
async def test_what_is_changed_by_hand_is_put_right_within_a_second(scene):
    await running(scene)
    service = SERVICES.path(scene.namespace, "wl1-0")
    right = (await scene.api.get(service))["spec"]["selector"]
    await scene.api.merge(service, {"spec": {"selector": {"x": "y"}, "publishNotReadyAddresses": False}})
    await scene.until(lambda world: world.named(SERVICES, "wl1-0")["spec"]["selector"] == right, within_s=1)
    path = CLIQUES.path(scene.namespace, "wl1-0-pc-a")
    await scene.api.merge(path, {"metadata": {"labels": {L.SET_REPLICA: None, L.PART_OF: "other"}}})
    await scene.until(
        lambda world: labels(world.named(CLIQUES, "wl1-0-pc-a")).get(L.SET_REPLICA) == "0", within_s=1
    )
    await scene.reaches(running=10)


@scenario
async def test_failed_evicted_and_finished_pods_are_replaced(scene):
    await running(scene)
    world = await scene.world()
    pods = world.running("wl1-0-sg-x-0-pc-c")
    await scene.fail_pod(pods[0])
    await scene.api.merge(
        PODS.path(scene.namespace, name(pods[1]), "status"),
        {"status": {"phase": "Failed", "reason": "Evicted"}},
    )
    await scene.api.merge(
        PODS.path(scene.namespace, name(pods[2]), "status"), {"status": {"phase": "Succeeded"}}
    )
    gone = {uid(pod) for pod in pods}
    await scene.until(lambda now: not gone & now.uids() and len(now.running()) == 10)


@scenario
async def test_a_priority_class_reaches_the_pods(scene):
    await scene.nodes(10)

    def urgent(document):
        document["spec"]["template"]["priorityClassName"] = "system-cluster-critical"

    await scene.apply("workload1", urgent)
    await scene.until(lambda world: len(world.crew()) == 10)
    world = await scene.world()
    assert {pod["spec"].get("priorityClassName") for pod in world.pods} == {"system-cluster-critical"}


@scenario
async def test_a_gate_of_the_user_is_kept(scene):
    await scene.nodes(10)

    def gated(document):
        clique_of(document, "pc-a")["spec"]["podSpec"]["schedulingGates"] = [{"name": "user/gate"}]

    await scene.apply("workload1", gated)
    await scene.until(lambda world: len(world.crew()) == 10)
    for pod in (await scene.world()).crew("wl1-0-pc-a"):
        assert "user/gate" in [gate["name"] for gate in pod["spec"]["schedulingGates"]]


# ------------------------------------------------------------ Grove's five-second polls


@scenario
async def test_a_new_set_runs_within_a_third_of_a_second_and_so_does_its_scaled_gang(scene):
    """In virtual time, where only waiting takes any: nothing is polled."""
    await scene.nodes(28)
    await scene.apply("workload2")
    await scene.until(lambda world: len(world.running()) == 10, within_s=0.3)
    await scene.scale_group("wl2-0-sg-x", 4)
    await scene.until(lambda world: len(world.running()) == 18, within_s=0.3)
    pod = (await scene.world()).running()[0]
    await scene.kill_pod(pod)
    await scene.until(
        lambda world: uid(pod) not in world.uids() and len(world.running()) == 18, within_s=0.15
    )


@scenario
async def test_a_set_costs_few_writes(scene):
    await scene.nodes(28)
    await scene.apply("workload1")
    await scene.reaches(running=10)
    await scene.rest()
    made = len(scene.writes)
    await scene.remove("wl1")
    await scene.until(nothing_left)
    await scene.rest()
    assert made <= 6 * 10 + 12, made  # twelve: what the set itself has
    assert len(scene.writes) - made <= 2 * 10, len(scene.writes) - made


# ------------------------------------------------------------ adversaries


async def thief(scene, seconds, chance):
    """Takes nodes away, and gives them back."""
    end = scene.clock.now() + seconds
    taken = []
    while scene.clock.now() < end:
        await scene.clock.sleep(chance.uniform(0.01, 3))
        if taken and chance.random() < 0.5:
            await scene.uncordon(taken.pop(chance.randrange(len(taken))))
        elif len(taken) < 20:
            taken.append(chance.choice(scene.open_nodes))
            await scene.cordon(taken[-1])
    if taken:
        await scene.uncordon(*taken)


async def squatters(scene, seconds, chance):
    """Pods of others, that come where they like, and leave."""
    end = scene.clock.now() + seconds
    there = []
    number = 0
    while scene.clock.now() < end:
        await scene.clock.sleep(chance.uniform(0.01, 2))
        if there and chance.random() < 0.5:
            await scene.kill_pod(there.pop(), grace_s=0)
        else:
            number += 1
            there.append(f"squatter-{number}")
            await scene.foreign_pod(there[-1])
    for one in there:
        await scene.kill_pod(one, grace_s=0)


@scenario(scheduler_after_s=0.05)
@pytest.mark.parametrize("seed", range(4))
async def test_against_thieves_and_squatters_no_gang_stays_half_bound(scene, seed):
    chance = Random(seed)
    await scene.nodes(24)
    await scene.apply("workload1")
    await scene.apply("workload2")
    await asyncio.gather(thief(scene, 120, chance), squatters(scene, 120, chance))
    await scene.until(lambda world: len(world.running()) == 20, 900)


@scenario
@pytest.mark.parametrize("seed", range(4))
async def test_operators_that_are_killed_at_any_moment_leave_a_whole_world(scene, seed):
    chance = Random(seed)
    scene.courses[""] = Course(ready_s=0.2, ends_s=0.1)
    await scene.nodes(28)
    await scene.apply("workload1")
    for step in range(12):
        await scene.clock.sleep(chance.expovariate(3))
        await scene.kill_operator()
        match step % 4:
            case 0:
                await scene.edit("wl1", image(f"registry.test/worker:{step + 2}"))
            case 1:
                await scene.scale_set("wl1", chance.choice((1, 2)))
            case 2:
                for pod in chance.sample((await scene.world()).pods, min(2, len((await scene.world()).pods))):
                    await scene.kill_pod(pod)
        await scene.start_operator()
    await scene.scale_set("wl1", 2)
    await scene.until(lambda world: world.count() == (20, 0), 600)


@scenario(scheduler_after_s=0.1)
@pytest.mark.parametrize("moment_s", [0, 0.001, 0.01, 0.05, 0.2, 1])
async def test_an_operator_killed_in_mid_admission_leaves_no_half_gang(scene, moment_s):
    await scene.nodes(10)
    await scene.apply("workload1")
    await scene.clock.sleep(moment_s)
    await scene.kill_operator()
    await scene.clock.sleep(5)
    await scene.start_operator()
    await scene.reaches(running=10)


@scenario(real=True)
async def test_a_new_operator_writes_nothing(scene):
    await running(scene, nodes=10)
    await scene.rest()
    mark = len(scene.writes)
    for _ in range(3):
        await scene.restart_operator()
        await scene.rest()
    assert scene.writes[mark:] == []


@scenario
async def test_a_lost_node_and_its_pods(scene):
    """The node's pods are unready; who deletes them by force is followed."""
    await running(scene, "workload2", nodes=12)
    node = (await scene.world()).on("wl2-0-pc-a")[0]
    await scene.lose_node(node)
    await scene.until(lambda world: len(world.running()) == 9)
    for pod in (await scene.world()).pods:
        if pod["spec"].get("nodeName") == node:
            await scene.kill_pod(pod, grace_s=0)
    await scene.reaches(running=10)
    await scene.find_node(node)


@scenario
async def test_two_operators_without_election_do_no_lasting_harm(scene):
    """Nobody should; a rolling update of the operator without leases does."""
    await scene.nodes(28)
    await scene.start_operator("two")
    await scene.apply("workload1")
    await scene.until(lambda world: world.count() == (10, 0))
    await scene.kill_operator()
    scene.operator = scene.lines[-1][2]
    await scene.reaches(running=10)
