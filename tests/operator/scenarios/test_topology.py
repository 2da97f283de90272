"""Pods of a gang close together: levels of the cluster, asked for by sets, groups and cliques.

56 nodes: two zones of 28, four blocks of 14, eight racks of 7; a host has room for one pod of 80 MiB unless a
test says otherwise.
"""

from collections import defaultdict

import pytest
from grove_operator.api import GANGS, NODES
from grove_operator.naming import L

from grove_dp.testing.controlplane.nodes import node
from tests.operator.scenarios.harness import scenario
from tests.operator.scenarios.world import condition, labels, name

HOST = "kubernetes.io/hostname"
KEYS = {
    "zone": "kubernetes.io/zone",
    "block": "kubernetes.io/block",
    "rack": "kubernetes.io/rack",
    "host": HOST,
}


def pack(required=None, preferred=None):
    levels = {"required": required, "preferred": preferred}
    return {"pack": {key: value for key, value in levels.items() if value}}


def clique(called, count, minimum=None, **levels):
    resources = {"requests": {"memory": "80Mi"}}
    container = {"name": "main", "image": "registry.test/worker:1", "resources": resources}
    spec = {"roleName": called, "replicas": count, "podSpec": {"containers": [container]}}
    if minimum is not None:
        spec["minAvailable"] = minimum
    return {"name": called, "spec": spec, **({"topologyConstraint": pack(**levels)} if levels else {})}


def group(called, *members, count=1, minimum=1, **levels):
    constraint = {"topologyConstraint": pack(**levels)} if levels else {}
    return {
        "name": called,
        "cliqueNames": list(members),
        "replicas": count,
        "minAvailable": minimum,
        **constraint,
    }


def a_set(*parts, count=1, **levels):
    """One topology is named, wherever levels are asked for."""
    cliques = [part for part in parts if "spec" in part]
    template = {"cliques": cliques, "podCliqueScalingGroups": [part for part in parts if part not in cliques]}
    if levels:
        template["topologyConstraint"] = pack(**levels)
    for part in (template, *parts):
        if "topologyConstraint" in part:
            part["topologyConstraint"]["topologyName"] = "topology"
    return {
        "apiVersion": "grove.io/v1alpha1",
        "kind": "PodCliqueSet",
        "metadata": {"name": "t"},
        "spec": {"replicas": count, "template": template},
    }


def roomy(pods):
    """Nodes with room for so many pods of 80 MiB."""
    return lambda called, places: node(called, gpus=0, memory=f"{80 * pods + 10}Mi", labels=places)


async def cluster(scene, count=56, make=None):
    await scene.topology()
    await (scene.nodes(count, make) if make else scene.nodes(count))


def domains(world, level, *parts):
    """Where the pods of these cliques are, at that level."""
    where = {name(one): labels(one)[KEYS[level]] for one in world.of(NODES)}
    return {where[one] for one in world.on(*parts)}


# ------------------------------------------------------------ one level


@scenario
async def test_tas2_cliques_each_with_a_level_of_its_own(scene):
    await cluster(scene)
    await scene.apply(a_set(clique("w-rack", 3, required="rack"), clique("w-block", 4, required="block")))
    world = await scene.reaches(running=7)
    assert len(domains(world, "rack", "t-0-w-rack")) == 1
    assert len(domains(world, "block", "t-0-w-block")) == 1


@scenario
async def test_tas3_a_whole_set_in_a_rack(scene):
    await cluster(scene)
    parts = (clique("a", 2), clique("b", 2), clique("c", 3), group("sg", "b", "c"))
    await scene.apply(a_set(*parts, required="rack"))
    assert len(domains(await scene.reaches(running=7), "rack")) == 1


@scenario
async def test_tas4_each_replica_of_a_group_in_a_rack(scene):
    await cluster(scene)
    parts = (clique("b", 2), clique("c", 3), group("sg", "b", "c", count=3, minimum=3, required="rack"))
    await scene.apply(a_set(*parts))
    world = await scene.reaches(running=15)
    for index in range(3):
        assert len(domains(world, "rack", f"t-0-sg-{index}")) == 1


@scenario
async def test_tas5_two_pods_on_one_host(scene):
    await cluster(scene, 7, roomy(2))
    await scene.apply(a_set(clique("pair", 2, required="host")))
    world = await scene.reaches(running=2)
    assert len(set(world.on())) == 1


@scenario
async def test_tas6_four_pods_in_a_zone(scene):
    await cluster(scene)
    await scene.cordon(*[f"n{number:02}" for number in (*range(2, 28), *range(31, 56))])
    await scene.apply(a_set(clique("w", 4, required="zone")))
    await scene.stays(running=0, pending=4)
    await scene.uncordon("n55")
    assert domains(await scene.reaches(running=4), "zone") == {"zone-1"}


@scenario
async def test_tas7_without_a_constraint_the_gang_has_none(scene):
    await cluster(scene, 7)
    await scene.apply(a_set(clique("w", 2)))
    world = await scene.reaches(running=2)
    gang = world.named(GANGS, "t-0")
    assert "topologyConstraint" not in gang["spec"]
    assert "topologyConstraint" not in gang["spec"]["podgroups"][0]


# ------------------------------------------------------------ several levels


@scenario(real=True)
async def test_tas8_a_block_for_all_a_rack_for_each_group_replica_a_host_for_each_clique(scene):
    await cluster(scene, 28, roomy(2))
    parts = (
        clique("leader", 2, required="host"),
        clique("worker", 2, required="host"),
        group("sg", "leader", "worker", count=2, minimum=2, required="rack"),
    )
    await scene.apply(a_set(*parts, required="block"))
    world = await scene.reaches(running=8)
    assert len(domains(world, "block")) == 1
    for index in (0, 1):
        assert len(domains(world, "rack", f"t-0-sg-{index}")) == 1
        for one in ("leader", "worker"):
            assert len(set(world.on(f"t-0-sg-{index}-{one}"))) == 1


@scenario
async def test_tas10_scaled_gangs_keep_the_level_of_their_group(scene):
    await cluster(scene)
    parts = (clique("b", 2), clique("c", 3), group("sg", "b", "c", count=3, minimum=1, required="rack"))
    await scene.apply(a_set(*parts))
    world = await scene.reaches(running=15)
    for index in range(3):
        assert len(domains(world, "rack", f"t-0-sg-{index}")) == 1
    await scene.scale_group("t-0-sg", 5)
    world = await scene.reaches(running=25)
    for index in range(5):
        assert len(domains(world, "rack", f"t-0-sg-{index}")) == 1


@scenario
async def test_tas13_ten_pods_that_want_a_rack_of_seven_wait(scene):
    await cluster(scene)
    await scene.apply(a_set(clique("w", 10, required="rack")))
    await scene.stays(running=0, pending=10)
    gang = (await scene.world()).named(GANGS, "t-0")
    assert condition(gang, "Scheduled")[0] == "False"
    said = next(one["message"] for one in gang["status"]["conditions"] if one["type"] == "Scheduled")
    assert "rack" in said


@scenario
async def test_tas14_each_replica_of_a_set_in_a_rack_of_its_own(scene):
    await cluster(scene)
    parts = (clique("a", 3), clique("b", 3))
    await scene.apply(a_set(*parts, count=2, required="rack"))
    world = await scene.reaches(running=12)
    racks = [domains(world, "rack", f"t-{index}") for index in (0, 1)]
    assert [len(one) for one in racks] == [1, 1]
    assert racks[0] != racks[1]


# ------------------------------------------------------------ what had better be


@scenario
async def test_tas23_a_preference_is_passed_on_and_kept_where_it_can_be(scene):
    await cluster(scene)
    await scene.apply(a_set(clique("w", 4, preferred="rack"), required="zone"))
    world = await scene.reaches(running=4)
    gang = world.named(GANGS, "t-0")
    assert gang["spec"]["topologyConstraint"]["packConstraint"] == {"required": KEYS["zone"]}
    assert gang["spec"]["podgroups"][0]["topologyConstraint"]["packConstraint"] == {"preferred": KEYS["rack"]}
    assert len(domains(world, "rack")) == 1


@scenario
async def test_a_preference_that_cannot_be_kept_stops_nobody(scene):
    await cluster(scene)
    await scene.apply(a_set(clique("w", 10, preferred="rack")))
    world = await scene.reaches(running=10)
    assert len(domains(world, "rack")) == 2


# ------------------------------------------------------------ later


@scenario
@pytest.mark.parametrize("level", ["rack", "host"])
async def test_a_pod_comes_back_to_the_domain_of_its_gang(scene, level):
    await cluster(scene, 14, roomy(3))
    await scene.apply(a_set(clique("w", 3, required=level)))
    before = await scene.reaches(running=3)
    pod = before.crew()[0]
    await scene.kill_pod(pod)
    await scene.until(lambda world: name(pod) not in [name(one) for one in world.crew()])
    world = await scene.reaches(running=3)
    assert domains(world, level) == domains(before, level)


@scenario
async def test_a_pod_whose_domain_is_full_waits_for_it(scene):
    await cluster(scene, 14)
    await scene.apply(a_set(clique("w", 3, minimum=2, required="rack")))
    before = await scene.reaches(running=3)
    (rack,) = domains(before, "rack")
    free = [
        name(one)
        for one in before.of(NODES)
        if labels(one)[KEYS["rack"]] == rack and name(one) not in before.on()
    ]
    pod = before.crew()[0]
    await scene.cordon(*free, pod["spec"]["nodeName"])
    await scene.kill_pod(pod)
    await scene.reaches(running=2, pending=1)
    await scene.uncordon()
    assert domains(await scene.reaches(running=3), "rack") == {rack}


@scenario
async def test_gangs_of_one_group_share_no_more_than_they_must(scene):
    await cluster(scene)
    parts = (clique("b", 7), group("sg", "b", count=2, minimum=2, required="rack"))
    await scene.apply(a_set(*parts))
    world = await scene.reaches(running=14)
    racks = defaultdict(set)
    for pod in world.pods:
        racks[labels(pod)[L.GROUP_REPLICA]] |= domains(world, "rack", labels(pod)[L.CLIQUE])
    assert len(set().union(*racks.values())) == 2
