"""Whole workloads, counted: cliques, groups, gangs, autoscalers and pods, as Grove makes of its samples."""

import pytest
from grove_operator.plan.expand import Rules, expand
from grove_operator.plan.tree import tree

from tests.operator.plan_samples import a_set, clique, group, names, owners

ONE = {"maxReplicas": 9}
EXPLICIT = {"cliqueStartupType": "CliqueStartupTypeExplicit"}

# name: (set, groups, cliques, gangs, autoscalers, pods)
WORKLOADS = {
    "simple": (
        a_set(
            [
                clique("pca", 3, autoScalingConfig={"maxReplicas": 5}),
                clique("pcb", 2),
                clique("pcc", 2),
                clique("pcd", 2),
            ],
            [group("sga", "pcb", "pcc", scaleConfig={"maxReplicas": 6})],
        ),
        (1, 4, ["w-0"], ["w-0-pca", "w-0-sga"], 9),
    ),
    "explicit, no group": (
        a_set(
            [
                clique("a", 3, autoScalingConfig=ONE),
                clique("b", 2, startsAfter=["a"]),
                clique("c", 2, startsAfter=["a"]),
                clique("d", 2, startsAfter=["b", "c"]),
            ],
            **EXPLICIT,
        ),
        (0, 4, ["w-0"], ["w-0-a"], 9),
    ),
    "explicit, with a group": (
        a_set(
            [clique("pca", 3), clique("pcb", 2), clique("pcc", 2), clique("pcd", 2), clique("pce", 2)],
            [group("sga", "pcb", "pcc", "pcd", replicas=3, minimum=2)],
            **EXPLICIT,
        ),
        (1, 11, ["w-0", "w-0-sga-0"], [], 23),
    ),
    "one node, aggregated": (a_set([clique("model", 2)]), (0, 1, ["w-0"], [], 2)),
    "one node, disaggregated": (
        a_set([clique("prefill", 3), clique("decode", 2)]),
        (0, 2, ["w-0"], [], 5),
    ),
    "many nodes, aggregated": (
        a_set([clique("leader"), clique("worker", 3)], [group("model", "leader", "worker", replicas=2)]),
        (1, 4, ["w-0", "w-0-model-0"], [], 8),
    ),
    "many nodes, disaggregated": (
        a_set(
            [clique("pleader"), clique("pworker", 4), clique("dleader"), clique("dworker", 2)],
            [group("prefill", "pleader", "pworker", replicas=2), group("decode", "dleader", "dworker")],
        ),
        (2, 6, ["w-0", "w-0-prefill-0"], [], 13),
    ),
    "a whole pipeline": (
        a_set(
            [
                clique("frontend", 2),
                clique("vision", 1),
                clique("pleader"),
                clique("pworker", 4),
                clique("dleader"),
                clique("dworker", 2),
            ],
            [group("prefill", "pleader", "pworker"), group("decode", "dleader", "dworker")],
        ),
        (2, 6, ["w-0"], [], 11),
    ),
    "two replicas of the set": (
        a_set([clique("leader"), clique("worker", 3)], [group("g", "leader", "worker", replicas=2)], 2),
        (2, 8, ["w-0", "w-0-g-0", "w-1", "w-1-g-0"], [], 16),
    ),
}


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_comes_to_groves_objects(name):
    owner, (groups, cliques, gangs, autoscalers, pods) = WORKLOADS[name]
    live = owners(owner)
    found = [wanted.key for wanted in expand(owner, live, Rules())]
    assert len(names(found, "PodCliqueScalingGroup")) == groups
    assert len(names(found, "PodClique")) == cliques
    assert names(found, "PodGang") == gangs
    assert names(found, "HorizontalPodAutoscaler") == autoscalers
    assert sum(unit.count for replica in tree(owner, live) for unit in replica.units) == pods
    assert len(names(found, "Service")) == owner.spec.replicas
