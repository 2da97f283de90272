"""Cliques start one after the other: the next once the one before has its minimum Ready, in the base gang.

Pods take their time to get Ready, each clique another, so that an order that holds is no accident.
"""

from itertools import pairwise

from grove_dp.testing.kubelet import Course
from tests.operator.scenarios.harness import scenario

READY_S = {"pc-a": 30.0, "pc-b": 7.0, "pc-c": 13.0}


def slow(scene, set_name):
    """Every clique takes a while; those named first take longest."""
    if scene.cluster.real:
        return
    for clique, seconds in READY_S.items():
        for index in ("", *(f"sg-x-{number}-" for number in range(4))):
            scene.courses[f"{set_name}-0-{index}{clique}"] = Course(ready_s=seconds)


def started(scene, *cliques):
    """When the first of them ran: was released to its node."""
    return min(scene.diary.times("bound", *cliques))


def up(scene, minimum, *cliques):
    """When *minimum* of them were Ready for the first time."""
    return sorted(scene.diary.times("ready", *cliques))[minimum - 1]


async def whole(scene, workload, total=10):
    await scene.nodes(total)
    name = await scene.apply(workload, lambda document: slow(scene, document["metadata"]["name"]))
    await scene.until(lambda world: world.count() == (total, 0), 300)
    return name


def one_after_the_other(scene, stages):
    """*stages*: cliques that start together, and how many of each must be Ready before the next begins."""
    for (before, minimum), (after, _) in pairwise(stages):
        for clique in before:
            assert up(scene, minimum, clique) <= started(scene, *after), (clique, after)


@scenario(real=True)
async def test_so1_in_order_the_whole_of_each_clique(scene):
    await whole(scene, "workload3")
    members = [[f"wl3-0-sg-x-{index}-{clique}" for index in (0, 1)] for clique in ("pc-b", "pc-c")]
    one_after_the_other(scene, [(["wl3-0-pc-a"], 2), (members[0], 1), (members[1], 3)])


@scenario
async def test_so2_in_order_the_minimum_of_each_clique_and_scaled_gangs_on_their_own(scene):
    await whole(scene, "workload4")
    one_after_the_other(scene, [(["wl4-0-pc-a"], 1), (["wl4-0-sg-x-0-pc-b"], 1), (["wl4-0-sg-x-0-pc-c"], 1)])
    one_after_the_other(scene, [(["wl4-0-sg-x-1-pc-b"], 1), (["wl4-0-sg-x-1-pc-c"], 1)])


@scenario
async def test_so2_a_scaled_gang_does_not_wait_for_parents_outside_of_it(scene):
    scene.courses["wl4-0-pc-a"] = Course(ready_s=1000)
    await scene.nodes(10)
    await scene.apply("workload4")
    await scene.until(lambda world: len(world.running("wl4-0-sg-x-1")) == 4, 100)
    assert (await scene.world()).count("wl4-0-sg-x-0") == (0, 4)
    await scene.until(lambda world: world.count() == (10, 0), 2500)


@scenario
async def test_so3_explicit_as_the_template_says(scene):
    await whole(scene, "workload5")
    members = [[f"wl5-0-sg-x-{index}-{clique}" for index in (0, 1)] for clique in ("pc-b", "pc-c")]
    one_after_the_other(scene, [(["wl5-0-pc-a"], 2), (members[1], 3), (members[0], 1)])


@scenario
async def test_so4_explicit_minimum(scene):
    await whole(scene, "workload6")
    for index in (0, 1):
        group = f"wl6-0-sg-x-{index}"
        one_after_the_other(scene, [([f"{group}-pc-b"], 1), ([f"{group}-pc-c"], 1)])


@scenario
async def test_later_stages_have_their_places_while_they_wait(scene):
    """What has begun to start can be finished: nobody takes the room of the stages to come."""
    scene.courses["wl3-0-pc-a"] = Course(ready_s=60)
    await scene.nodes(12)
    await scene.apply("workload3")
    await scene.until(lambda world: len(world.bound("wl3-0-pc-a")) == 2)

    def other(document):
        template = document["spec"]["template"]
        document["metadata"]["name"] = "other"
        template["cliques"] = template["cliques"][:1]
        template["cliques"][0]["spec"].update(replicas=4, minAvailable=4)
        template.pop("podCliqueScalingGroups")

    await scene.apply("workload1", other)
    await scene.always(lambda world: not world.bound("other"), 40, "the other gang waits")
    await scene.until(lambda world: len(world.running("wl3")) == 10)
    assert not (await scene.world()).bound("other")


@scenario
async def test_a_gang_that_fits_only_without_its_last_stage_does_not_begin(scene):
    await scene.nodes(10, cordoned=1)
    await scene.apply("workload3")
    await scene.stays(running=0, pending=10)


@scenario
async def test_a_parent_that_restarts_later_stops_nobody(scene):
    await whole(scene, "workload3")
    before = await scene.world()
    pod = before.running("wl3-0-pc-a")[0]
    await scene.kill_pod(pod)
    await scene.until(lambda world: len(world.running()) == 9)
    await scene.until(lambda world: len(world.running()) == 10)
    assert len((await scene.world()).uids() & before.uids()) == 9
