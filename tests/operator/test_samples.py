"""The samples: right by our own rules, what they say they make, and at work in a real cluster."""

import asyncio
import time
from pathlib import Path

import msgspec
import pytest
import yaml
from grove_operator.admission.defaults import defaulted
from grove_operator.admission.subject import World
from grove_operator.admission.validate import validate
from grove_operator.api import GANGS, PodCliqueSet
from grove_operator.crds.__main__ import CRDS
from grove_operator.main import Operator
from grove_operator.plan.expand import Rules, expand
from grove_operator.plan.tree import Live, tree
from grove_operator.settings import Cluster, Leader, OperatorSettings

from grove_dp.cli import main as cli
from grove_dp.kube.access import connect
from grove_dp.kube.objects import PODS, Meta
from grove_dp.testing.frontend import eventually

SAMPLES = Path(__file__).parents[2] / "operator" / "samples"
FILES = sorted(SAMPLES.glob("*.yaml"))
WORLD = World(topologies={"racks": ("zone", "rack", "host")})

MADE = {  # cliques, gangs, HPAs, pods, as the head of each file says
    "simple": (["simple-0-worker"], ["simple-0"], [], 2),
    "disaggregated": (
        ["chat-0-router", "chat-0-prefill", "chat-0-decode"],
        ["chat-0"],
        ["chat-0-decode"],
        6,
    ),
    "multi-node": (
        [f"large-0-engine-{index}-{name}" for index in (0, 1) for name in ("leader", "worker")],
        ["large-0", "large-0-engine-0"],
        [],
        8,
    ),
    "explicit-order": (
        [f"ordered-0-{name}" for name in ("cache", "prefill", "decode", "router")],
        ["ordered-0"],
        [],
        6,
    ),
    "topology": (
        [f"packed-0-engine-{index}-{name}" for index in (0, 1) for name in ("leader", "worker")],
        ["packed-0", "packed-0-engine-0"],
        [],
        6,
    ),
}


def documents(file):
    return list(yaml.safe_load_all(file.read_text()))


def the_set(file):
    (found,) = (each for each in documents(file) if each["kind"] == "PodCliqueSet")
    return found


def containers():
    for file in FILES:
        for clique in the_set(file)["spec"]["template"]["cliques"]:
            for container in clique["spec"]["podSpec"]["containers"]:
                if container["image"].startswith("grove-dp:"):
                    yield pytest.param(container["args"], id=f"{file.stem}-{clique['name']}")


def test_there_is_one_of_each_kind():
    assert sorted(MADE) == sorted(file.stem for file in FILES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_breaks_no_rule(file):
    document = the_set(file)
    document["metadata"]["namespace"] = "default"
    verdict = validate(defaulted(document), None, WORLD)
    assert [str(fault) for fault in verdict.faults] == []
    assert list(verdict.warnings) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_makes_what_its_head_says(file):
    document = the_set(file)
    document["metadata"] |= {"namespace": "default", "uid": "u"}
    owner = msgspec.convert(defaulted(document), PodCliqueSet)
    replicas = tree(owner, Live())
    groups = {
        each.name: Meta(name=each.name, namespace="default", uid=each.name)
        for replica in replicas
        for each in replica.groups
    }
    made = expand(owner, Live(owners=groups), Rules())

    def names(kind):
        return [one.name for one in made if one.resource.kind == kind]

    pods = sum(unit.count for replica in replicas for unit in replica.units)
    found = (names("PodClique"), names("PodGang"), names("HorizontalPodAutoscaler"), pods)
    assert found == MADE[file.stem]
    head = file.read_text().split("apiVersion")[0]
    assert f"{pods} pods" in head
    for name in found[1]:
        assert name in head


@pytest.mark.parametrize("words", list(containers()))
def test_its_arguments_are_ones_that_the_command_takes(words, monkeypatch):
    module = f"grove_dp.cli.{words[0].replace('-', '_')}"
    monkeypatch.setattr(f"{module}.run", lambda args: 0)
    assert cli.main(words) == 0


# ------------------------------------------------------------ in a real cluster


@pytest.fixture
def cluster(controlplane, kube_namespace):
    """One zone of two racks of two nodes, and our kinds."""
    controlplane.kubectl("apply", "--server-side", "-f", str(CRDS))
    deadline = time.monotonic() + 20  # clients hear of a kind a second or two after it is served
    while any(controlplane.kubectl("explain", kind, check=False).returncode for kind in ("pcs", "ct")):
        assert time.monotonic() < deadline
    for rack in ("one", "two"):
        labels = {"topology.kubernetes.io/zone": kube_namespace, "example.com/rack": rack}
        controlplane.add_nodes(2, f"{kube_namespace}-{rack}", labels=labels)
    yield controlplane
    controlplane.kubectl("delete", "clustertopologybindings", "racks", "--ignore-not-found", check=False)


@pytest.mark.controlplane("kube-scheduler")
async def test_all_of_them_run(cluster, kube_namespace):
    settings = OperatorSettings(cluster=Cluster(namespace=kube_namespace), leader=Leader(enabled=False))
    async with await connect(cluster.admin.kubeconfig) as api:
        running = asyncio.create_task(Operator(api, settings).run())
        try:
            for file in FILES:
                words = ("apply", "--validate=strict", "-n", kube_namespace, "-f", str(file))
                await asyncio.to_thread(cluster.kubectl, *words)

            async def gangs():
                assert not running.done(), running.exception()
                found = await api.get(GANGS.path(kube_namespace))
                return {
                    gang["metadata"]["name"]: gang.get("status", {}).get("phase") for gang in found["items"]
                }

            wanted = {name: "Running" for made in MADE.values() for name in made[1]}
            await eventually(gangs, lambda found: found == wanted, 40, "every gang runs")
            pods = (await api.get(PODS.path(kube_namespace)))["items"]
            assert len(pods) == sum(made[3] for made in MADE.values())
            assert await racks(api, pods) == {"packed-0": 1, "packed-0-engine-0": 1}
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def racks(api, pods):
    """In how many racks the pods of each gang of the packed set are."""
    nodes = {node["metadata"]["name"]: node for node in (await api.get("/api/v1/nodes"))["items"]}
    found = {}
    for pod in pods:
        labels = pod["metadata"]["labels"]
        if labels["app.kubernetes.io/part-of"] == "packed":
            rack = nodes[pod["spec"]["nodeName"]]["metadata"]["labels"]["example.com/rack"]
            found.setdefault(labels["grove.io/podgang"], set()).add(rack)
    return {gang: len(each) for gang, each in found.items()}
