"""What a set is made into: the objects of Grove's samples, counted, and nothing beside them."""

from itertools import chain

import pytest
from grove_operator.api import (
    AUTOSCALERS,
    CLIQUES,
    GANGS,
    GROUPS,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    SETS,
)

from grove_dp.testing.controlplane.nodes import node
from tests.operator.scenarios.harness import group_of, scenario
from tests.operator.scenarios.world import condition

EXPLICIT = "CliqueStartupTypeExplicit"


def clique(called, count, after=(), most=0):
    container = {"name": "main", "image": "registry.test/worker:1"}
    spec = {"roleName": called, "replicas": count, "podSpec": {"containers": [container]}}
    if after:
        spec["startsAfter"] = list(after)
    if most:
        spec["autoScalingConfig"] = {"maxReplicas": most}
    return {"name": called, "spec": spec}


def group(called, *members, count=1, minimum=1, most=0):
    scale = {"scaleConfig": {"maxReplicas": most}} if most else {}
    return {"name": called, "cliqueNames": list(members), "replicas": count, "minAvailable": minimum, **scale}


def a_set(called, *parts, order=None, count=1):
    cliques = [part for part in parts if "spec" in part]
    template = {"cliques": cliques, "podCliqueScalingGroups": [part for part in parts if part not in cliques]}
    if order:
        template["cliqueStartupType"] = order
    return {
        "apiVersion": "grove.io/v1alpha1",
        "kind": "PodCliqueSet",
        "metadata": {"name": called},
        "spec": {"replicas": count, "template": template},
    }


# set, names of cliques, of groups, of gangs, of HPAs, pods
SAMPLES = {
    "simple1": (
        a_set(
            "simple1",
            clique("pca", 3, most=5),
            clique("pcb", 2),
            clique("pcc", 2),
            clique("pcd", 2),
            group("sga", "pcb", "pcc", most=6),
        ),
        ["simple1-0-pca", "simple1-0-pcd", "simple1-0-sga-0-pcb", "simple1-0-sga-0-pcc"],
        ["simple1-0-sga"],
        ["simple1-0"],
        ["simple1-0-pca", "simple1-0-sga"],
        9,
    ),
    "simple2": (
        a_set(
            "simple2",
            clique("a", 3, most=5),
            clique("b", 2, ["a"]),
            clique("c", 2, ["a"]),
            clique("d", 2, ["b", "c"]),
            order=EXPLICIT,
        ),
        [f"simple2-0-{one}" for one in "abcd"],
        [],
        ["simple2-0"],
        ["simple2-0-a"],
        9,
    ),
    "simple3": (
        a_set(
            "simple3",
            clique("pca", 3),
            clique("pcb", 2, ["pca"]),
            clique("pcc", 2, ["pcb"]),
            clique("pcd", 2, ["pcc"]),
            clique("pce", 2, ["pca"]),
            group("sga", "pcb", "pcc", "pcd", count=3, minimum=2),
            order=EXPLICIT,
        ),
        sorted(
            [
                "simple3-0-pca",
                "simple3-0-pce",
                *(f"simple3-0-sga-{index}-{one}" for index in range(3) for one in ("pcb", "pcc", "pcd")),
            ]
        ),
        ["simple3-0-sga"],
        ["simple3-0", "simple3-0-sga-0"],
        [],
        23,
    ),
    "aggregated": (
        a_set("aggregated", clique("worker", 2)),
        ["aggregated-0-worker"],
        [],
        ["aggregated-0"],
        [],
        2,
    ),
    "disaggregated": (
        a_set("disaggregated", clique("prefill", 3), clique("decode", 2)),
        ["disaggregated-0-decode", "disaggregated-0-prefill"],
        [],
        ["disaggregated-0"],
        [],
        5,
    ),
    "multi-agg": (
        a_set(
            "multi-agg", clique("leader", 1), clique("worker", 3), group("model", "leader", "worker", count=2)
        ),
        [f"multi-agg-0-model-{index}-{one}" for index in (0, 1) for one in ("leader", "worker")],
        ["multi-agg-0-model"],
        ["multi-agg-0", "multi-agg-0-model-0"],
        [],
        8,
    ),
    "multi-dis": (
        a_set(
            "multi-dis",
            clique("pleader", 1),
            clique("pworker", 4),
            clique("dleader", 1),
            clique("dworker", 2),
            group("prefill", "pleader", "pworker", count=2),
            group("decode", "dleader", "dworker"),
        ),
        sorted(
            chain(
                (f"multi-dis-0-decode-0-{one}" for one in ("dleader", "dworker")),
                (f"multi-dis-0-prefill-{index}-{one}" for index in (0, 1) for one in ("pleader", "pworker")),
            )
        ),
        ["multi-dis-0-decode", "multi-dis-0-prefill"],
        ["multi-dis-0", "multi-dis-0-prefill-0"],
        [],
        13,
    ),
    "pipeline": (
        a_set(
            "pipeline",
            clique("frontend", 2),
            clique("vision", 1),
            clique("pleader", 1),
            clique("pworker", 4),
            clique("dleader", 1),
            clique("dworker", 2),
            group("prefill", "pleader", "pworker"),
            group("decode", "dleader", "dworker"),
        ),
        [
            "pipeline-0-decode-0-dleader",
            "pipeline-0-decode-0-dworker",
            "pipeline-0-frontend",
            "pipeline-0-prefill-0-pleader",
            "pipeline-0-prefill-0-pworker",
            "pipeline-0-vision",
        ],
        ["pipeline-0-decode", "pipeline-0-prefill"],
        ["pipeline-0"],
        [],
        11,
    ),
}


def roomy(called, places):
    return node(called, labels=places)


@pytest.mark.parametrize("sample", SAMPLES)
@scenario
async def test_a_sample_is_made_into_these_objects(scene, sample):
    document, cliques, groups, gangs, autoscalers, pods = SAMPLES[sample]
    await scene.nodes(2, roomy)
    await scene.apply(document)
    await scene.reaches(running=pods)
    world = await scene.world()
    assert world.names(CLIQUES) == cliques
    assert world.names(GROUPS) == groups
    assert world.names(GANGS) == gangs
    assert world.names(AUTOSCALERS) == autoscalers
    assert world.names(SERVICES) == [f"{sample}-0"]
    for kind in (SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS):
        assert len(world.names(kind)) == 1
    assert world.names(SECRETS) == []  # order is kept by gates, nobody needs a token


@scenario
async def test_every_level_shrinks_without_a_trace_and_grows_again(scene):
    document = SAMPLES["multi-dis"][0]
    await scene.nodes(4, roomy)
    await scene.apply(document)
    await scene.scale_set("multi-dis", 3)
    await scene.reaches(running=39)
    await scene.scale_group("multi-dis-1-prefill", 3)
    await scene.reaches(running=44)
    await scene.scale_group("multi-dis-1-prefill", 1)
    await scene.reaches(running=34)
    await scene.scale_set("multi-dis", 1)
    world = await scene.reaches(running=13)
    assert world.names(SERVICES) == ["multi-dis-0"]
    assert world.names(GANGS) == SAMPLES["multi-dis"][3]
    await scene.scale_set("multi-dis", 0)
    world = await scene.reaches(running=0)
    for kind in (SERVICES, GANGS, CLIQUES, GROUPS):
        assert world.names(kind) == []
    await scene.scale_set("multi-dis", 1)
    await scene.reaches(running=13)


@scenario
async def test_cliques_and_groups_go_to_zero_and_back(scene):
    await scene.nodes(2, roomy)
    await scene.apply(SAMPLES["multi-dis"][0])
    await scene.reaches(running=13)
    await scene.scale_group("multi-dis-0-decode", 0)
    await scene.reaches(running=10)
    await scene.scale_group("multi-dis-0-decode", 1)
    await scene.reaches(running=13)
    await scene.apply(SAMPLES["disaggregated"][0])
    await scene.reaches("disaggregated", running=5)
    await scene.scale_clique("disaggregated-0-prefill", 0)
    world = await scene.reaches("disaggregated", running=2)
    assert "hpaPodSelector" in world.status(CLIQUES, "disaggregated-0-prefill")
    await scene.scale_clique("disaggregated-0-prefill", 1)  # under its minimum of 3, which counts
    await scene.reaches("disaggregated", running=5)


@scenario
async def test_replicas_of_a_set_come_and_go_from_the_top(scene):
    await scene.nodes(2, roomy)
    await scene.apply(SAMPLES["disaggregated"][0])
    await scene.scale_set("disaggregated", 4)
    world = await scene.reaches(running=20)
    kept = world.uids("disaggregated-0", "disaggregated-1")
    await scene.scale_set("disaggregated", 2)
    assert (await scene.reaches(running=10)).uids() == kept


@scenario
async def test_a_group_that_shrinks_loses_its_last_replicas(scene):
    await scene.nodes(2, roomy)
    await scene.apply(SAMPLES["multi-agg"][0])
    await scene.reaches(running=8)
    await scene.scale_group("multi-agg-0-model", 4)
    world = await scene.reaches(running=16)
    kept = world.uids("multi-agg-0-model-0", "multi-agg-0-model-1")
    await scene.scale_group("multi-agg-0-model", 2)
    assert (await scene.reaches(running=8)).uids() == kept


@scenario
async def test_statuses_say_what_there_is(scene):
    await scene.nodes(2, roomy)
    await scene.apply(SAMPLES["multi-dis"][0])
    world = await scene.reaches(running=13)
    await scene.rest()
    world = await scene.world()
    held = world.of(SETS)
    status = held[0]["status"]
    assert (status["replicas"], status["availableReplicas"]) == (1, 1)
    assert status["hpaPodSelector"]
    group = world.status(GROUPS, "multi-dis-0-prefill")
    assert (group["replicas"], group["scheduledReplicas"], group["availableReplicas"]) == (2, 2, 2)
    assert group["selector"]
    for gang in world.of(GANGS):
        assert gang["status"]["phase"] == "Running"
        for type_ in ("Initialized", "Scheduled", "Ready"):
            assert condition(gang, type_)[0] == "True", type_
    for one in world.of(CLIQUES):
        assert condition(one, "PodCliqueScheduled") == ("True", "SufficientScheduledPods")
        assert condition(one, "MinAvailableBreached") == ("False", "SufficientReadyPods")


@scenario
async def test_a_set_stored_before_there_were_webhooks_runs(scene):
    """No defaults, an old minAvailable, nobody looked at it."""
    document = SAMPLES["multi-agg"][0]
    await scene.nodes(2, roomy)
    await scene.apply(document, lambda stored: group_of(stored, "model").pop("minAvailable"), admitted=False)
    await scene.reaches(running=8)


@scenario
async def test_a_role_is_there_before_it_is_bound(scene):
    """The API server refuses a RoleBinding whose Role it does not know."""
    scene.cluster.faults.delay("POST", "*/roles", 1)
    await scene.nodes(2, roomy)
    await scene.apply(SAMPLES["aggregated"][0])
    await scene.reaches(running=2)
    made = [one.path.rsplit("/", 1)[-1] for one in scene.writes if one.method == "POST"]
    assert made.index("roles") < made.index("rolebindings")
