"""A whole set before the real API server: stored, planned, made, read again, and nothing left to do."""

import msgspec
import pytest
from grove_operator.api import (
    CLIQUES,
    GANGS,
    GROUPS,
    KINDS,
    SETS,
    PodClique,
    PodCliqueScalingGroup,
    PodCliqueSet,
)
from grove_operator.crds import __main__ as generator
from grove_operator.crds import definitions
from grove_operator.plan.diff import diff
from grove_operator.plan.expand import Rules, expand
from grove_operator.plan.hashing import template_hash
from grove_operator.plan.order import parents
from grove_operator.plan.pods import PodRules, pod, pod_names
from grove_operator.plan.tree import Live, tree
from grove_operator.plan.victims import victims

from grove_dp.kube.access import connect
from grove_dp.kube.objects import PODS, Pod
from grove_dp.testing.frontend import eventually
from tests.operator.plan_samples import clique, group

pytestmark = pytest.mark.controlplane

CUSTOM = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
RULES = Rules(
    PodRules(init_image="registry.test/grove-dp:1", priority=False), {"t": {"rack": "topology/rack"}}
)
SEED = b"chance"
PACKED = {"topologyName": "t", "pack": {"required": "rack"}}
SPEC = {
    "containers": [
        {
            "name": "main",
            "image": "registry.test/worker:1",
            "ports": [{"containerPort": 8000}],
            "resources": {"limits": {"cpu": "0.5", "memory": "0.5Gi"}},
        }
    ],
    "schedulingGates": [{"name": "users.io/quota"}],
}
SET = {
    "apiVersion": SETS.api_version,
    "kind": SETS.kind,
    "metadata": {"name": "w", "labels": {"team": "a"}, "annotations": {"note": "b"}},
    "spec": {
        "replicas": 2,
        "template": {
            "cliqueStartupType": "CliqueStartupTypeInOrder",
            "terminationDelay": "4h",
            "topologyConstraint": PACKED,
            "cliques": [
                clique("a", 2, pod_spec=SPEC, autoScalingConfig={"minReplicas": 2, "maxReplicas": 4}),
                clique("b", 1, pod_spec=SPEC, labels={"tier": "x"}, annotations={"note": "y"}),
                clique("c", 2, pod_spec=SPEC),
            ],
            "podCliqueScalingGroups": [
                group(
                    "g",
                    "b",
                    "c",
                    replicas=2,
                    topologyConstraint=PACKED,
                    scaleConfig={"minReplicas": 1, "maxReplicas": 3},
                )
            ],
        },
    },
}


@pytest.fixture(scope="module")
def served(controlplane):
    """The control plane, once it serves Grove's kinds."""
    controlplane.kubectl("apply", "--server-side", "-f", str(generator.CRDS))
    for document in definitions():
        controlplane.api.until(f"{CUSTOM}/{document['metadata']['name']}", established, 10, "it is served")
    for kind in (SETS, CLIQUES, GROUPS, GANGS):
        controlplane.api.until(kind.path(), lambda _: True, 10, "it answers")
    return controlplane


def established(definition):
    conditions = definition.get("status", {}).get("conditions") or []
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


class Namespace:
    """A set in a namespace of its own, and the shortest operator there is."""

    def __init__(self, api, name):
        self.api, self.name = api, name

    async def create(self, resource, document):
        return await self.api.create(f"{resource.path(self.name)}?fieldValidation=Strict", document)

    async def observed(self):
        """All objects of the set, but pods."""
        kinds = [kind for kind in KINDS.values() if kind.namespaced and kind not in (PODS, SETS)]
        found = {}
        for kind in kinds:
            if kind.kind in ("Event", "Lease", "ResourceClaim"):
                continue
            listed = await self.api.get(
                kind.path(self.name), query={"labelSelector": "app.kubernetes.io/part-of=w"}
            )
            found |= {(kind.kind, one["metadata"]["name"]): one for one in listed["items"]}
        return found

    async def owner(self):
        return await self.api.get(SETS.path(self.name, "w"), into=PodCliqueSet)

    async def plan(self):
        """What is to be done now, and what is there."""
        owner, observed = await self.owner(), await self.observed()
        groups = [
            msgspec.convert(held, PodCliqueScalingGroup)
            for (kind, _), held in observed.items()
            if kind == GROUPS.kind
        ]
        live = Live(
            cliques={
                name: held["spec"]["replicas"]
                for (kind, name), held in observed.items()
                if kind == CLIQUES.kind
            },
            groups={held.metadata.name: held.spec.replicas for held in groups},
            owners={held.metadata.name: held.metadata for held in groups},
        )
        pods = {
            unit.name: pod_names(unit.name, unit.count, SEED)
            for replica in tree(owner, live)
            for unit in replica.units
        }
        uids = {owner.metadata.uid, *(held.metadata.uid for held in groups)}
        return diff(expand(owner, live, RULES, pods), observed, uids), live

    async def apply(self, steps):
        for one in steps.deletes:
            await self.api.merge(one.path, {"metadata": {"finalizers": None}})
            await self.api.delete(one.path, uid=one.uid)
        for one in steps.creates:
            await self.create(one.resource, one.document)
        for one in steps.patches:
            await self.api.merge(f"{one.path}?fieldValidation=Strict", one.patch)

    async def settle(self):
        """Plans carried out until there is nothing to do; how many that took."""
        for rounds in range(5):
            steps, _ = await self.plan()
            if not steps and not steps.leaving:
                return rounds
            await self.apply(steps)
        raise AssertionError(f"not settled: {steps}")

    async def make_pods(self):
        owner, (_, live) = await self.owner(), await self.plan()
        for replica in tree(owner, live):
            order = parents(owner.spec.template, replica)
            for unit in replica.units:
                held = await self.api.get(CLIQUES.path(self.name, unit.name), into=PodClique)
                for index, name in enumerate(pod_names(unit.name, unit.count, SEED)):
                    wanted = pod(owner, unit, held, name, index, RULES.pods, order[unit.name])
                    await self.create(PODS, wanted.document)


@pytest.fixture
async def namespace(served, kube_namespace):
    async with await connect(served.admin.kubeconfig) as api:
        made = Namespace(api, kube_namespace)
        await made.create(SETS, SET)
        yield made


async def test_a_set_is_made_in_two_rounds_and_then_left_alone(namespace):
    """The second makes the cliques of groups, which have to be there first."""
    assert await namespace.settle() == 2
    kinds = [kind for kind, _ in await namespace.observed()]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "PodClique": 10,
        "PodCliqueScalingGroup": 2,
        "PodGang": 4,
        "Service": 2,
        "ServiceAccount": 1,
        "Secret": 1,
        "Role": 1,
        "RoleBinding": 1,
        "HorizontalPodAutoscaler": 4,
    }


async def test_pods_are_those_that_the_gangs_name(namespace):
    await namespace.settle()
    await namespace.make_pods()
    pods = await namespace.api.get(PODS.path(namespace.name))
    found = {one["metadata"]["name"] for one in pods["items"]}
    gangs = [held for (kind, _), held in (await namespace.observed()).items() if kind == GANGS.kind]
    parts = [part for gang in gangs for part in gang["spec"]["podgroups"]]
    assert {one["name"] for part in parts for one in part["podReferences"]} == found
    assert len(found) == 2 * (2 + 2 * 3)
    assert all(gang["spec"]["topologyConstraint"]["packConstraint"] for gang in gangs)
    gates = {gate["name"] for one in pods["items"] for gate in one["spec"]["schedulingGates"]}
    assert gates == {"users.io/quota", "grove.io/podgang-pending-creation"}
    assert await namespace.settle() == 0


async def test_scaling_in_leaves_nothing_of_what_is_gone(namespace):
    await namespace.settle()
    await namespace.api.merge(SETS.path(namespace.name, "w"), {"spec": {"replicas": 1}})
    await namespace.api.merge(GROUPS.path(namespace.name, "w-0-g"), {"spec": {"replicas": 1}})

    async def left():
        await namespace.settle()
        kinds = ("PodGang", "PodClique", "Service")
        return sorted(name for kind, name in await namespace.observed() if kind in kinds)

    wanted = ["w-0", "w-0", "w-0-a", "w-0-g-0-b", "w-0-g-0-c"]
    await eventually(left, wanted.__eq__, 15, "what is gone has left nothing")


async def test_what_a_hand_has_changed_is_mended_and_the_hands_own_stays(namespace):
    await namespace.settle()
    path = CLIQUES.path(namespace.name, "w-0-g-0-b")
    await namespace.api.merge(
        path,
        {
            "metadata": {"labels": {"tier": None, "theirs": "1"}},
            "spec": {"minAvailable": 1, "podSpec": {"nodeSelector": {"by": "hand"}}},
        },
    )
    assert await namespace.settle() == 1
    held = await namespace.api.get(path)
    assert (held["metadata"]["labels"]["tier"], held["metadata"]["labels"]["theirs"]) == ("x", "1")
    assert "nodeSelector" not in held["spec"]["podSpec"]


async def test_a_template_keeps_its_hash_once_it_is_stored(namespace):
    sent = msgspec.convert(SET, PodCliqueSet).spec.template.cliques
    stored = (await namespace.owner()).spec.template.cliques
    assert [template_hash(one) for one in stored] == [template_hash(one) for one in sent]


async def test_pods_as_they_come_back_can_be_ranked(namespace):
    await namespace.settle()
    await namespace.make_pods()
    path = PODS.path(namespace.name)
    name = pod_names("w-0-a", 2, SEED)[1]
    await namespace.api.merge(
        f"{path}/{name}", {"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1"}}}
    )
    listed = await namespace.api.get(path, query={"labelSelector": "grove.io/podclique=w-0-a"})
    pods = [msgspec.convert(one, Pod) for one in listed["items"]]
    assert [one.metadata.name for one in victims(pods, 1, "")] == [name]
