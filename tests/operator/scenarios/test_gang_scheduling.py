"""Gangs are all or nothing, on a scheduler that knows of none: Grove's own scenarios, and what it cannot do.

Nodes have room for one pod each, so what runs is what nodes allow.
"""

import pytest
from grove_operator.api import GANGS, PODS
from grove_operator.naming import GATE

from tests.operator.scenarios.harness import load, replicas, scenario
from tests.operator.scenarios.world import condition, name

A, B0, C0, B1, C1 = (
    f"wl2-0-{one}" for one in ("pc-a", "sg-x-0-pc-b", "sg-x-0-pc-c", "sg-x-1-pc-b", "sg-x-1-pc-c")
)


def minimum_runs(world, *cliques):
    """Exactly one pod of each."""
    assert [len(world.running(clique)) for clique in cliques] == [1] * len(cliques)


def apart(world):
    """Each pod has a node of its own."""
    nodes = world.on()
    assert len(nodes) == len(set(nodes))


# ------------------------------------------------------------ everything must be there


@scenario(real=True)
async def test_gs1_ten_pods_wait_for_the_tenth_node(scene):
    await scene.nodes(10, cordoned=1)
    await scene.apply("workload1")
    await scene.stays(running=0, pending=10)
    await scene.uncordon(1)
    apart(await scene.reaches(running=10))


@scenario
async def test_gs2_a_group_replica_that_is_added_waits_as_a_whole(scene):
    await scene.nodes(14, cordoned=5)
    await scene.apply("workload1")
    await scene.stays(running=0, pending=10)
    await scene.uncordon(1)
    await scene.reaches(running=10)
    await scene.scale_group("wl1-0-sg-x", 3)
    await scene.stays(running=10, pending=4)
    await scene.uncordon(3)
    await scene.stays(running=10, pending=4)
    await scene.uncordon(1)
    apart(await scene.reaches(running=14))


@scenario
async def test_gs3_a_replica_of_the_set_that_is_added_waits_as_a_whole(scene):
    await scene.nodes(20, cordoned=11)
    await scene.apply("workload1")
    await scene.stays(running=0, pending=10)
    await scene.uncordon(1)
    await scene.reaches(running=10)
    await scene.scale_set("wl1", 2)
    await scene.stays(running=10, pending=10)
    await scene.uncordon(9)
    await scene.stays(running=10, pending=10)
    await scene.uncordon(1)
    apart(await scene.reaches(running=20))


@scenario
async def test_gs4_groups_and_the_set_grow_in_turn(scene):
    await scene.nodes(28, cordoned=19)
    await scene.apply("workload1")
    await scene.stays(running=0, pending=10)
    await scene.uncordon(1)
    await scene.reaches(running=10)
    await scene.scale_group("wl1-0-sg-x", 3)
    await scene.stays(running=10, pending=4)
    await scene.uncordon(4)
    await scene.reaches(running=14)
    await scene.scale_set("wl1", 2)
    await scene.stays(running=14, pending=10)
    await scene.uncordon(10)
    await scene.reaches(running=24)
    await scene.scale_group("wl1-1-sg-x", 3)
    await scene.stays(running=24, pending=4)
    await scene.uncordon(4)
    apart(await scene.reaches(running=28))


# ------------------------------------------------------------ minima


@scenario(real=True)
async def test_gs5_with_room_for_three_the_three_that_must_be_there_run(scene):
    await scene.nodes(10, cordoned=8)
    await scene.apply("workload2")
    await scene.stays(running=0, pending=10)
    await scene.uncordon(1)
    minimum_runs(await scene.reaches(running=3, pending=7), A, B0, C0)
    await scene.uncordon(7)
    apart(await scene.reaches(running=10))


@scenario
async def test_gs6_a_group_replica_that_is_added_begins_with_its_minimum(scene):
    await scene.nodes(14, cordoned=12)
    await scene.apply("workload2")
    await scene.stays(running=0, pending=10)
    await scene.uncordon(1)
    await scene.reaches(running=3, pending=7)
    await scene.uncordon(7)
    await scene.reaches(running=10)
    await scene.scale_group("wl2-0-sg-x", 3)
    await scene.stays(running=10, pending=4)
    await scene.uncordon(1)
    await scene.stays(running=10, pending=4)
    await scene.uncordon(1)
    minimum_runs(await scene.reaches(running=12, pending=2), "wl2-0-sg-x-2-pc-b", "wl2-0-sg-x-2-pc-c")
    await scene.uncordon(2)
    apart(await scene.reaches(running=14))


@scenario
async def test_gs7_minima_come_before_what_is_more(scene):
    await scene.nodes(14, cordoned=12)
    await scene.apply("workload2")
    await scene.stays(running=0, pending=10)
    await scene.uncordon(1)
    minimum_runs(await scene.reaches(running=3, pending=7), A, B0, C0)
    await scene.uncordon(2)
    minimum_runs(await scene.reaches(running=5, pending=5), A, B0, C0, B1, C1)
    await scene.uncordon(5)
    await scene.reaches(running=10)
    await scene.scale_group("wl2-0-sg-x", 3)
    await scene.stays(running=10, pending=4)
    await scene.uncordon(2)
    await scene.reaches(running=12, pending=2)
    await scene.uncordon(2)
    apart(await scene.reaches(running=14))


@scenario
async def test_gs8_a_group_that_grows_while_all_wait(scene):
    await scene.nodes(14, cordoned=12)
    await scene.apply("workload2")
    await scene.stays(running=0, pending=10)
    await scene.scale_group("wl2-0-sg-x", 3)
    await scene.stays(running=0, pending=14)
    await scene.uncordon(1)
    minimum_runs(await scene.reaches(running=3, pending=11), A, B0, C0)
    await scene.uncordon(4)
    more = ("wl2-0-sg-x-2-pc-b", "wl2-0-sg-x-2-pc-c")
    minimum_runs(await scene.reaches(running=7, pending=7), A, B0, C0, B1, C1, *more)
    await scene.uncordon(7)
    apart(await scene.reaches(running=14))


@scenario
async def test_gs9_a_second_replica_of_the_set_begins_with_its_minimum(scene):
    await scene.nodes(20, cordoned=18)
    await scene.apply("workload2")
    await scene.uncordon(1)
    await scene.reaches(running=3, pending=7)
    await scene.uncordon(7)
    await scene.reaches(running=10)
    await scene.scale_set("wl2", 2)
    await scene.stays(running=10, pending=10)
    await scene.uncordon(3)
    await scene.reaches(running=13, pending=7)
    second = ("wl2-1-pc-a", "wl2-1-sg-x-0-pc-b", "wl2-1-sg-x-0-pc-c")
    minimum_runs(await scene.world(), *second)
    await scene.uncordon(7)
    apart(await scene.reaches(running=20))


@scenario
async def test_gs10_two_replicas_of_the_set_from_the_start(scene):
    await scene.nodes(20, cordoned=18)
    await scene.apply("workload2")
    await scene.scale_set("wl2", 2)
    await scene.stays(running=0, pending=20)
    await scene.uncordon(4)
    minimum_runs(await scene.reaches(running=6, pending=14), A, B0, C0, "wl2-1-pc-a")
    await scene.uncordon(4)
    minimum_runs(await scene.reaches(running=10, pending=10), A, B1, C1, "wl2-1-sg-x-1-pc-c")
    await scene.uncordon(10)
    apart(await scene.reaches(running=20))


@scenario
async def test_gs11_groups_and_the_set_grow_from_minimum_to_minimum(scene):
    await scene.nodes(28, cordoned=26)
    await scene.apply("workload2")
    await scene.stays(running=0, pending=10)
    await scene.uncordon(1)
    await scene.reaches(running=3, pending=7)
    await scene.uncordon(2)
    await scene.reaches(running=5, pending=5)
    await scene.uncordon(5)
    await scene.reaches(running=10)
    await scene.scale_group("wl2-0-sg-x", 3)
    await scene.uncordon(2)
    await scene.reaches(running=12, pending=2)
    await scene.uncordon(2)
    await scene.reaches(running=14)
    await scene.scale_set("wl2", 2)
    await scene.stays(running=14, pending=10)
    await scene.uncordon(3)
    await scene.reaches(running=17, pending=7)
    await scene.uncordon(2)
    await scene.reaches(running=19, pending=5)
    await scene.uncordon(5)
    await scene.reaches(running=24)
    await scene.scale_group("wl2-1-sg-x", 3)
    await scene.uncordon(2)
    await scene.reaches(running=26, pending=2)
    await scene.uncordon(2)
    apart(await scene.reaches(running=28))


@scenario
async def test_gs12_everything_is_asked_for_before_anything_runs(scene):
    await scene.nodes(28, cordoned=26)
    await scene.apply("workload2")
    await scene.scale_set("wl2", 2)
    await scene.stays(running=0, pending=20)
    for group in ("wl2-0-sg-x", "wl2-1-sg-x"):
        await scene.scale_group(group, 3)
    await scene.stays(running=0, pending=28)
    await scene.uncordon(4)
    await scene.reaches(running=6, pending=22)
    await scene.uncordon(8)
    await scene.reaches(running=14, pending=14)
    await scene.uncordon(14)
    apart(await scene.reaches(running=28))


# ------------------------------------------------------------ what Grove does not do here


def eight(document):
    """One gang of eight."""
    template = document["spec"]["template"]
    template["cliques"] = template["cliques"][:1]
    template["cliques"][0]["spec"].update(replicas=8, minAvailable=8)
    template.pop("podCliqueScalingGroups")


@scenario(real=True)
async def test_of_a_gang_of_eight_with_room_for_five_none_runs_and_it_is_said_why(scene):
    await scene.nodes(8, cordoned=3)
    await scene.apply("workload1", eight)
    await scene.stays(running=0, pending=8)
    world = await scene.world()
    assert not [pod for pod in world.pods if "schedulingGates" not in pod["spec"]]
    gang = world.named(GANGS, "wl1-0")
    assert condition(gang, "Initialized")[0] == "True"
    assert condition(gang, "Scheduled")[0] == "False"
    message = next(one["message"] for one in gang["status"]["conditions"] if one["type"] == "Scheduled")
    assert message
    await scene.uncordon(3)
    await scene.reaches(running=8)
    gang = (await scene.world()).named(GANGS, "wl1-0")
    assert condition(gang, "Scheduled")[0] == "True"
    assert gang["status"]["phase"] == "Running"


@scenario
async def test_room_that_appears_is_taken_within_a_second(scene):
    await scene.nodes(8, cordoned=3)
    await scene.apply("workload1", eight)
    await scene.stays(running=0, pending=8)
    await scene.uncordon(3)
    await scene.until(lambda world: len(world.running()) == 8, within_s=1)


@scenario
async def test_room_that_a_pod_of_others_leaves_is_taken(scene):
    await scene.nodes(8)
    await scene.foreign_pod("squatter")
    await scene.until(
        lambda world: any(name(pod) == "squatter" and pod["spec"].get("nodeName") for pod in world.of(PODS))
    )
    await scene.apply("workload1", eight)
    await scene.stays(running=0, pending=8)
    await scene.kill_pod("squatter")
    await scene.reaches(running=8)


@scenario
async def test_a_small_gang_goes_past_a_large_one_that_waits_and_takes_nothing_from_it_for_ever(scene):
    await scene.nodes(12, cordoned=6)
    await scene.apply("workload1", eight)

    def small(document):
        eight(document)
        document["metadata"]["name"] = "small"
        document["spec"]["template"]["cliques"][0]["spec"].update(replicas=2, minAvailable=2)

    await scene.apply("workload1", small)
    await scene.reaches("small", running=2)
    await scene.stays("wl1", running=0, pending=8)
    await scene.uncordon(4)
    await scene.reaches(running=10)


@scenario
async def test_a_users_own_gate_holds_the_gang_and_is_not_taken_off(scene):
    await scene.nodes(8)

    def gated(document):
        eight(document)
        document["spec"]["template"]["cliques"][0]["spec"]["podSpec"]["schedulingGates"] = [
            {"name": "user/gate"}
        ]

    await scene.apply("workload1", gated)
    await scene.stays(running=0, pending=8)
    world = await scene.world()
    for pod in world.pods:
        gates = {gate["name"] for gate in pod["spec"]["schedulingGates"]}
        assert "user/gate" in gates
    for pod in world.pods:
        kept = [gate for gate in pod["spec"]["schedulingGates"] if gate["name"] == GATE]
        await scene.api.merge(
            PODS.path(scene.namespace, name(pod)), {"spec": {"schedulingGates": kept or None}}
        )
    await scene.reaches(running=8)


@pytest.mark.parametrize("workload", ["workload1", "workload2"])
async def test_workloads_are_those_of_the_table(workload):
    document = load(workload)
    counts = [one["spec"]["replicas"] for one in document["spec"]["template"]["cliques"]]
    assert counts == [2, 1, 3]


@scenario
async def test_a_set_of_nothing_has_nothing(scene):
    await scene.nodes(1)
    await scene.apply("workload1", replicas(0))
    await scene.stays(running=0, pending=0)
