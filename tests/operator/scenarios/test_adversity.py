"""Hands that meddle: things changed at the worst moment, by people and by what else runs in a cluster."""

import pytest
from grove_operator.api import CLIQUES, GANGS, GROUPS, NODES, PODS, SERVICES, SETS
from grove_operator.naming import MANAGED_BY, L

from grove_dp.testing.kubelet import Course
from tests.operator.scenarios.harness import IMAGE, clique_of, image, replicas, scenario
from tests.operator.scenarios.test_updates import mid_roll, running, updated
from tests.operator.scenarios.world import labels, name, uid

SG = "wl1-0-sg-x"


async def merge(scene, kind, called, patch, sub=None):
    await scene.api.merge(kind.path(scene.namespace, called, sub), patch)


async def delete(scene, kind, called, **options):
    await scene.api.delete(kind.path(scene.namespace, called), **options)


async def force(scene, pod):
    """Delete a pod whose kubelet is gone."""
    await delete(scene, PODS, name(pod), query={"gracePeriodSeconds": "0"})


async def hold(scene, *pods, finalizers=("example.com/hold",)):
    """Have pods hang in their end: somebody's finalizer is on them."""
    for called in pods:
        await merge(scene, PODS, called, {"metadata": {"finalizers": list(finalizers) or None}})


def strategy(word):
    def changed(document):
        document["spec"]["updateStrategy"] = {"type": word}

    return changed


def delay(text):
    def changed(document):
        document["spec"]["template"]["terminationDelay"] = text

    return changed


def bounds(**given):
    def changed(document):
        clique_of(document, "pc-a")["rollingUpdate"] = given

    return changed


# ------------------------------------------------------------ updates


@scenario
async def test_a_set_that_goes_to_zero_and_back_in_mid_roll_comes_back_new(scene):
    await running(scene)
    await scene.edit("wl1", image())
    await mid_roll(scene)
    await scene.scale_set("wl1", 0)
    await scene.until(lambda world: not world.of(PODS))
    await scene.scale_set("wl1", 1)
    await updated(scene, 10)


@scenario
@pytest.mark.parametrize("moment_s", [0.0, 0.05, 1.0, 4.0])
async def test_a_template_that_changes_while_a_gang_is_terminated_reaches_all_of_it(scene, moment_s):
    scene.courses[""] = Course(ready_s=5.0)
    await scene.nodes(10)
    await scene.apply("workload1-gt")
    await scene.reaches(running=10)
    world = await scene.world()
    old = world.uids()
    pod = min(world.running("wl1-0-pc-a"), key=name)
    await scene.cordon(pod["spec"]["nodeName"])
    await scene.kill_pod(pod)
    await scene.until(lambda world: not old & world.uids(), 60)
    await scene.clock.sleep(moment_s)
    await scene.edit("wl1", image())
    await scene.clock.sleep(3)
    await scene.uncordon()
    await updated(scene, 10)


@scenario
@pytest.mark.parametrize(
    ("kind", "called"),
    [(CLIQUES, "wl1-0-pc-a"), (CLIQUES, f"{SG}-0-pc-c"), (GROUPS, SG), (GANGS, "wl1-0"), (SERVICES, "wl1-0")],
)
async def test_what_is_deleted_by_hand_in_mid_roll_is_made_again(scene, kind, called):
    await running(scene)
    await scene.edit("wl1", image())
    await mid_roll(scene)
    await delete(scene, kind, called)
    await updated(scene, 10)


@scenario
async def test_a_finalizer_that_is_taken_off_by_hand_is_put_back(scene):
    await running(scene)
    for kind, called in ((CLIQUES, "wl1-0-pc-a"), (GROUPS, SG), (SETS, "wl1")):
        await merge(scene, kind, called, {"metadata": {"finalizers": None}})
    await scene.rest()
    world = await scene.world()
    for kind, called in ((CLIQUES, "wl1-0-pc-a"), (GROUPS, SG), (SETS, "wl1")):
        assert world.named(kind, called)["metadata"].get("finalizers"), called


@scenario
@pytest.mark.parametrize(
    ("key", "value"),
    [
        (L.TEMPLATE_HASH, "deadbeefdeadbeef"),
        (L.TEMPLATE_HASH, None),
        (L.GANG, "x"),
        (L.SET_REPLICA, None),
        (L.SET_REPLICA, "7"),
        (L.PART_OF, None),
        (MANAGED_BY, "Helm"),
    ],
)
async def test_a_cliques_mark_changed_by_hand_is_put_right_and_costs_no_pod(scene, key, value):
    await running(scene)
    old = (await scene.world()).uids()
    await merge(scene, CLIQUES, "wl1-0-pc-a", {"metadata": {"labels": {key: value}}})
    await scene.rest()
    world = await scene.reaches(running=10)
    assert world.uids() == old
    assert labels(world.named(CLIQUES, "wl1-0-pc-a")).get(key) not in (None, value)


@scenario
@pytest.mark.parametrize(
    ("key", "value"),
    [
        (L.GANG, None),
        (L.GANG, "x"),
        (L.SET_REPLICA, None),
        (L.SET_REPLICA, "7"),
        (L.PART_OF, None),
        (MANAGED_BY, "Helm"),
        (L.CLIQUE, "other"),
        (L.CLIQUE, None),
        (L.POD_INDEX, None),
        (L.POD_INDEX, "0"),
    ],
)
async def test_a_pods_mark_changed_by_hand_is_put_right_and_costs_no_pod(scene, key, value):
    await running(scene)
    world = await scene.world()
    old = world.uids()
    pod = max(world.crew("wl1-0-pc-a"), key=lambda one: labels(one)[L.POD_INDEX])
    await merge(scene, PODS, name(pod), {"metadata": {"labels": {key: value}}})
    await scene.until(lambda world: labels(world.named(PODS, name(pod))) == labels(pod), 1)
    world = await scene.reaches(running=10)
    assert world.uids() == old


@scenario
async def test_a_pod_whose_template_nobody_can_tell_any_more_is_replaced(scene):
    await running(scene)
    pod = (await scene.world()).crew("wl1-0-pc-a")[0]
    await merge(scene, PODS, name(pod), {"metadata": {"labels": {L.TEMPLATE_HASH: None}}})
    await scene.until(lambda world: world.count() == (10, 0) and uid(pod) not in world.uids())


@scenario
async def test_a_pod_that_hangs_in_its_end_does_not_stop_an_update(scene):
    await running(scene)
    world = await scene.world()
    held = [name(pod) for pod in world.crew("wl1-0-pc-a", SG + "-0")]
    await hold(scene, *held)
    await scene.edit("wl1", image())
    await scene.until(lambda world: world.images() == [IMAGE] * 10 and len(world.running()) == 10, 600)
    await hold(scene, *held, finalizers=())
    await updated(scene, 10)


@scenario
async def test_a_strategy_that_changes_in_mid_roll_stops_it_and_starts_it_again(scene):
    await running(scene, "workload1", replicas(2), total=20)
    await scene.edit("wl1", image())
    await mid_roll(scene, made=2)
    await scene.edit("wl1", strategy("OnDelete"))
    await scene.rest()
    world = await scene.world()
    assert 0 < world.images().count(IMAGE) < 20
    assert len(world.running()) == 20
    status = world.status(SETS, "wl1")
    assert status["updateProgress"].get("updateEndedAt"), status
    await scene.edit("wl1", strategy("RollingRecreate"))
    await updated(scene, 20)


@scenario
async def test_templates_that_go_back_and_forth_end_with_the_last(scene):
    await running(scene)
    for turn in range(6):
        await scene.edit("wl1", image(f"x:{turn % 2}"))
        await scene.clock.sleep(3.0)
    await updated(scene, 10, wanted="x:1")


@scenario
async def test_a_template_that_cannot_run_is_mended_by_the_next(scene):
    await running(scene, "workload1", replicas(2), total=20)
    scene.courses[""] = Course(ready_s=1e9)
    await scene.edit("wl1", image("x:broken"))
    await scene.until(lambda world: "x:broken" in world.images())
    await scene.clock.sleep(60)
    scene.courses[""] = Course(ready_s=5)
    await scene.edit("wl1", image())
    await updated(scene, 20)


@scenario
async def test_a_clique_goes_to_zero_in_mid_roll_and_comes_back_new(scene):
    await running(scene)
    await scene.edit("wl1", image())
    await mid_roll(scene)
    await scene.scale_clique("wl1-0-pc-a", 0)
    await scene.scale_clique(SG + "-1-pc-c", 0)
    await scene.until(lambda world: world.count() == (5, 0) and world.images() == [IMAGE] * 5, 600)
    await scene.scale_clique("wl1-0-pc-a", 2)
    await scene.scale_clique(SG + "-1-pc-c", 3)
    await updated(scene, 10)


@scenario
async def test_a_group_goes_to_zero_in_mid_roll_and_comes_back_new(scene):
    await running(scene)
    await scene.edit("wl1", image())
    await mid_roll(scene)
    await scene.scale_group(SG, 0)
    await scene.until(lambda world: world.count() == (2, 0) and world.images() == [IMAGE] * 2, 600)
    await scene.scale_group(SG, 3)
    await updated(scene, 14)


@scenario
async def test_a_node_that_is_deleted_with_its_pod_in_mid_roll(scene):
    await running(scene)
    await scene.edit("wl1", image())
    await mid_roll(scene)
    world = await scene.world()
    for part in ("wl1-0-pc-a", SG + "-1"):
        pod = world.bound(part)[0]
        node = pod["spec"]["nodeName"]
        await scene.api.delete(NODES.path(name=node))
        await force(scene, pod)
    await updated(scene, 10)


@scenario
async def test_a_set_made_again_beside_pods_of_its_former_life(scene):
    await running(scene)
    world = await scene.world()
    held = [name(pod) for pod in world.crew("wl1-0-pc-a")]
    await hold(scene, *held)
    await scene.remove("wl1")
    await scene.until(lambda world: not world.of(SETS))
    await scene.apply("workload1")
    await scene.until(lambda world: len([p for p in world.running() if name(p) not in held]) == 10)
    await hold(scene, *held, finalizers=())
    await scene.reaches(running=10)


@scenario
async def test_a_set_whose_objects_were_orphaned_takes_them_back(scene):
    await running(scene)
    old = (await scene.world()).uids()
    await scene.remove("wl1", query={"propagationPolicy": "Orphan"})
    await scene.until(lambda world: not world.of(SETS))
    await scene.always(lambda world: world.uids() == old, what="all that it made stays")
    await scene.apply("workload1")
    world = await scene.reaches(running=10)
    assert world.uids() == old


@scenario
async def test_a_delay_that_is_shortened_in_an_episode_counts(scene):
    await scene.nodes(10)
    await scene.apply("workload1-gt", delay("4h"))
    await scene.reaches(running=10)
    world = await scene.world()
    old = world.uids()
    pod = min(world.running("wl1-0-pc-a"), key=name)
    await scene.cordon(pod["spec"]["nodeName"])
    await scene.kill_pod(pod)
    await scene.clock.sleep(30)
    await scene.edit("wl1", delay("40s"))
    await scene.until(lambda world: not old & world.uids(), 30)
    await scene.uncordon()
    await scene.reaches(running=10)


@scenario
async def test_a_breach_in_the_other_replica_while_one_rolls(scene):
    await scene.nodes(28)
    scene.courses[""] = Course(ready_s=5.0)
    await scene.apply("workload1-gt", replicas(2))
    await scene.reaches(running=20)
    await scene.edit("wl1", image())
    await mid_roll(scene)
    world = await scene.world()
    which = "wl1-1" if IMAGE in world.images("wl1-0") else "wl1-0"
    pod = min(world.running(which + "-pc-a"), key=name)
    await scene.kill_pod(pod)
    await updated(scene, 20)


@scenario
async def test_bounds_change_in_mid_roll(scene):
    await running(scene, "workload1", bounds(maxSurge=1, maxUnavailable=0))
    await scene.edit("wl1", image())
    await mid_roll(scene, "wl1-0-pc-a")
    await scene.edit("wl1", bounds(maxUnavailable=2))
    await updated(scene, 10)


@scenario
async def test_all_nodes_go_in_mid_roll_and_others_come(scene):
    await running(scene)
    await scene.edit("wl1", image())
    await mid_roll(scene)
    for node in list(scene.all_nodes):
        await scene.api.delete(NODES.path(name=node))
    for pod in (await scene.world()).bound():
        await force(scene, pod)
    await scene.clock.sleep(60)
    await scene.nodes(12)
    await updated(scene, 10)


@scenario
async def test_marks_of_the_set_reach_its_gangs(scene):
    await running(scene)
    await merge(scene, SETS, "wl1", {"metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}}})
    await scene.rest()
    gang = (await scene.world()).named(GANGS, "wl1-0")
    assert labels(gang).get("team") == "a"
    await merge(scene, SETS, "wl1", {"metadata": {"labels": {"team": None}, "annotations": {"note": None}}})
    await scene.rest()
    gang = (await scene.world()).named(GANGS, "wl1-0")
    assert "team" not in labels(gang)
    assert "note" not in (gang["metadata"].get("annotations") or {})


@scenario
async def test_a_group_that_shrinks_while_its_replica_is_terminated(scene):
    await scene.nodes(10)
    await scene.apply("workload2-gt")
    await scene.reaches(running=10)
    world = await scene.world()
    for pod in world.running("wl2-0-sg-x-1-pc-b"):
        await scene.cordon(pod["spec"]["nodeName"])
        await scene.kill_pod(pod)
    await scene.clock.sleep(10.2)
    await scene.scale_group("wl2-0-sg-x", 1)
    await scene.clock.sleep(5)
    await scene.scale_group("wl2-0-sg-x", 2)
    await scene.uncordon()
    await scene.reaches(running=10)
