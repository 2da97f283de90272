"""The eleven sets of Grove's samples and user guide, in one cluster: what each is made into, by name."""

import re

import yaml
from grove_operator.api import AUTOSCALERS, CLIQUES, GANGS, GROUPS, SERVICES
from grove_operator.naming import L

from grove_dp.testing.controlplane.nodes import node
from tests.operator.scenarios.harness import WORKLOADS, scenario
from tests.operator.scenarios.world import labels, name

SAMPLES = {
    document["metadata"]["name"]: document
    for document in yaml.safe_load_all((WORKLOADS / "grove-samples.yaml").read_text())
}
# Without the name of the set: PodCliques, scaling groups, PodGangs, HPAs; and how many pods.
MADE = {
    "simple1": (
        ("0-pca", "0-pcd", "0-sga-0-pcb", "0-sga-0-pcc"),
        ("0-sga",),
        ("0",),
        ("0-pca", "0-sga"),
        9,
    ),
    "simple2": (("0-pca", "0-pcb", "0-pcc", "0-pcd"), (), ("0",), ("0-pca",), 9),
    "simple3": (
        (
            "0-pca",
            "0-pce",
            *(f"0-sga-{index}-{clique}" for index in range(3) for clique in ("pcb", "pcc", "pcd")),
        ),
        ("0-sga",),
        ("0", "0-sga-0"),
        (),
        23,
    ),
    "single-node-aggregated": (("0-model-worker",), (), ("0",), (), 2),
    "single-node-disaggregated": (("0-decode", "0-prefill"), (), ("0",), (), 5),
    "multinode-aggregated": (
        tuple(f"0-model-instance-{index}-{clique}" for index in (0, 1) for clique in ("leader", "worker")),
        ("0-model-instance",),
        ("0", "0-model-instance-0"),
        (),
        8,
    ),
    "multinode-disaggregated": (
        (
            *(f"0-decode-0-{clique}" for clique in ("dleader", "dworker")),
            *(f"0-prefill-{index}-{clique}" for index in (0, 1) for clique in ("pleader", "pworker")),
        ),
        ("0-decode", "0-prefill"),
        ("0", "0-prefill-0"),
        (),
        13,
    ),
    "comp-inf-ppln": (
        (
            *(f"0-decode-cluster-0-{clique}" for clique in ("dleader", "dworker")),
            "0-frontend",
            *(f"0-prefill-0-{clique}" for clique in ("pleader", "pworker")),
            "0-vision-encoder",
        ),
        ("0-decode-cluster", "0-prefill"),
        ("0",),
        (),
        11,
    ),
    "mn-disagg": (
        (
            *(f"0-decode-0-{clique}" for clique in ("dleader", "dworker")),
            "0-frontend",
            *(f"0-prefill-{index}-{clique}" for index in (0, 1) for clique in ("pleader", "pworker")),
        ),
        ("0-decode", "0-prefill"),
        ("0", "0-prefill-0"),
        (),
        13,
    ),
    "env-demo-standalone": (("0-frontend",), (), ("0",), (), 2),
    "env-demo-pcsg": (
        tuple(f"0-model-instance-{index}-{clique}" for index in (0, 1) for clique in ("leader", "worker")),
        ("0-model-instance",),
        ("0", "0-model-instance-0"),
        (),
        8,
    ),
}
GROVES = {
    "GROVE_PCS_NAME",
    "GROVE_PCS_INDEX",
    "GROVE_PCLQ_NAME",
    "GROVE_PCLQ_POD_INDEX",
    "GROVE_HEADLESS_SERVICE",
}
OF_GROUPS = {
    "GROVE_PCSG_NAME",
    "GROVE_PCSG_INDEX",
    "GROVE_PCSG_POD_INDEX",
    "GROVE_PCSG_TEMPLATE_NUM_PODS",
}


def made_of(world, kind, owner):
    """Names of what *owner* has of a kind, without its own."""
    ours = sorted(name(one) for one in world.of(kind) if labels(one).get(L.PART_OF) == owner)
    return tuple(one.removeprefix(f"{owner}-") for one in ours)


def environment(pod):
    """The variables of a pod's container, as the kubelet would fill them in."""
    found = {}
    for variable in pod["spec"]["containers"][0]["env"]:
        if "valueFrom" in variable:
            (label,) = re.findall(r"'(.*)'", variable["valueFrom"]["fieldRef"]["fieldPath"])
            found[variable["name"]] = labels(pod)[label]
        else:
            found[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda match: found[match[1]], variable["value"])
    return found


def address(pod):
    """By which DNS finds it."""
    spec = pod["spec"]
    return f"{spec['hostname']}.{spec['subdomain']}.{pod['metadata']['namespace']}.svc.cluster.local"


def roomy(called, places):
    return node(called, labels=places)


@scenario
async def test_each_is_made_into_the_objects_that_grove_makes_of_it(scene):
    await scene.nodes(2, roomy)
    for document in SAMPLES.values():
        await scene.apply(document)
    world = await scene.reaches(running=sum(made[-1] for made in MADE.values()))
    for owner, (*objects, pods) in MADE.items():
        found = tuple(made_of(world, kind, owner) for kind in (CLIQUES, GROUPS, GANGS, AUTOSCALERS))
        assert (owner, *found) == (owner, *objects)
        assert made_of(world, SERVICES, owner) == ("0",)
        assert len(world.crew(f"{owner}-0-")) == pods
    addresses = {address(pod) for pod in world.pods}
    assert len(addresses) == len(world.pods)
    for pod in world.pods:
        variables = environment(pod)
        member = L.GROUP in labels(pod)
        assert variables.keys() >= GROVES
        assert OF_GROUPS & variables.keys() == (OF_GROUPS if member else set())
        own = f"{variables['GROVE_PCLQ_NAME']}-{variables['GROVE_PCLQ_POD_INDEX']}"
        assert f"{own}.{variables['GROVE_HEADLESS_SERVICE']}" == address(pod)
        assert variables.get("ADDRESS", address(pod)) == address(pod)
        assert variables.get("LEADER", address(pod)) in addresses
    for index in ("0", "1"):
        engine = [environment(pod) for pod in world.crew(f"env-demo-pcsg-0-model-instance-{index}-")]
        assert {one["GROVE_PCSG_TEMPLATE_NUM_PODS"] for one in engine} == {"4"}
        ranks = {one["RANK"]: one["GROVE_PCLQ_NAME"].rpartition("-")[-1] for one in engine}
        assert ranks == {"0": "leader", "1": "worker", "2": "worker", "3": "worker"}
