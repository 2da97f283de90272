"""Replicas of a set in different domains, where there is a choice."""

from tests.operator.scenarios.harness import scenario
from tests.operator.scenarios.test_topology import a_set, clique, cluster, domains

RACK = "kubernetes.io/rack"


def spread(document):
    document["metadata"].setdefault("annotations", {})["grove-dp.io/spread"] = RACK


def replicas(number):
    def change(document):
        document["spec"]["replicas"] = number

    return change


@scenario
async def test_replicas_of_a_set_go_to_different_racks(scene):
    await cluster(scene)
    await scene.apply(a_set(clique("w", 2, required="rack")), spread, replicas(3))
    world = await scene.reaches(running=6)
    assert len(domains(world, "rack")) == 3


@scenario
async def test_more_replicas_than_racks_run_all_the_same(scene):
    await cluster(scene)
    await scene.apply(a_set(clique("w", 2, required="rack")), spread, replicas(6))
    await scene.reaches(running=12)
