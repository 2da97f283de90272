"""The scheduler of the fake API server: who gets which node, and what is said to the others."""

import asyncio

import pytest

from grove_dp.kube.access import Access
from grove_dp.testing.controlplane.nodes import node
from grove_dp.testing.kubeapi import InProcess, Scheduler, Server
from grove_dp.testing.kubeapi.scheduler import quantity
from grove_dp.testing.loopclock import LoopClock

pytestmark = pytest.mark.looptime
PODS = "/api/v1/namespaces/default/pods"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


@pytest.fixture
async def api():
    server = Server(LoopClock())
    async with Access(InProcess(server)) as made, Scheduler(server):
        yield made


async def bound(api):
    await asyncio.sleep(0.1)
    return {item["metadata"]["name"]: item["spec"].get("nodeName") for item in (await api.get(PODS))["items"]}


async def scheduled(api, name):
    conditions = (await api.get(f"{PODS}/{name}"))["status"]["conditions"]
    return next(one for one in conditions if one["type"] == "PodScheduled")


async def place(api, name, gpus=0, **spec):
    limits = {"nvidia.com/gpu": str(gpus)} if gpus else {}
    containers = [{"name": "m", "image": "i", "resources": {"limits": limits}}]
    await api.create(PODS, {"metadata": {"name": name}, "spec": {"containers": containers, **spec}})


async def add(api, name, **shape):
    await api.create("/api/v1/nodes", node(name, **shape))


async def test_pods_spread_over_nodes_with_room(api):
    for name in ("n1", "n2"):
        await add(api, name, gpus=2)
    for number in range(4):
        await place(api, f"p{number}", gpus=1)
    assert sorted((await bound(api)).values()) == ["n1", "n1", "n2", "n2"]
    assert (await scheduled(api, "p0"))["status"] == "True"


async def test_what_does_not_fit_waits_and_is_told_why(api):
    await add(api, "n1", gpus=2)
    await add(api, "n2", gpus=0)
    await place(api, "big", gpus=4)
    assert await bound(api) == {"big": None}
    told = await scheduled(api, "big")
    assert (told["status"], told["reason"]) == ("False", "Unschedulable")
    assert told["message"] == "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."


async def test_of_eight_pods_with_room_for_five_five_are_bound(api):
    await add(api, "n1", gpus=5)
    for number in range(8):
        await place(api, f"p{number}", gpus=1)
    assert list((await bound(api)).values()).count("n1") == 5


async def test_room_that_appears_is_used(api):
    await place(api, "first", gpus=1)
    await asyncio.sleep(0.1)
    assert (await scheduled(api, "first"))["message"] == "no nodes available to schedule pods"
    await add(api, "n1", gpus=1)
    await place(api, "second", gpus=1)
    assert await bound(api) == {"first": "n1", "second": None}
    await api.delete(f"{PODS}/first", grace_s=0)
    assert await bound(api) == {"second": "n1"}


async def test_a_pod_that_has_ended_takes_no_room(api):
    await add(api, "n1", gpus=1)
    await place(api, "first", gpus=1)
    await asyncio.sleep(0.1)
    await place(api, "second", gpus=1)
    await api.merge(f"{PODS}/first/status", {"status": {"phase": "Failed"}})
    assert await bound(api) == {"first": "n1", "second": "n1"}


async def test_gated_pods_are_left_alone_until_their_gates_are_gone(api):
    await add(api, "n1")
    await place(api, "gated", schedulingGates=[{"name": "t.test/g"}])
    assert await bound(api) == {"gated": None}
    await api.merge(f"{PODS}/gated", {"spec": {"schedulingGates": None}})
    assert await bound(api) == {"gated": "n1"}


async def test_a_pod_is_bound_where_its_affinity_pins_it(api):
    for name in ("n1", "n2", "n3"):
        await add(api, name)
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["n3"]}
    field = {"key": "metadata.name", "operator": "In", "values": ["n2"]}
    for name, term in (
        ("by-label", {"matchExpressions": [expression]}),
        ("by-name", {"matchFields": [field]}),
    ):
        await place(api, name, affinity={"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [term]}}})
    assert await bound(api) == {"by-label": "n3", "by-name": "n2"}


async def test_node_selectors_choose(api):
    await add(api, "n1", labels={"rack": "a"})
    await add(api, "n2", labels={"rack": "b"})
    await place(api, "p", nodeSelector={"rack": "b"})
    await place(api, "q", nodeSelector={"rack": "c"})
    assert await bound(api) == {"p": "n2", "q": None}
    words = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
    assert (await scheduled(api, "q"))["message"] == words


async def test_taints_keep_away_who_does_not_tolerate_them(api):
    await add(api, "n1", taints=[{"key": "gpu", "value": "only", "effect": "NoSchedule"}])
    await place(api, "other")
    await place(api, "meant", tolerations=[{"key": "gpu", "operator": "Equal", "value": "only"}])
    assert await bound(api) == {"meant": "n1", "other": None}


async def test_nodes_that_are_cordoned_or_not_ready_get_no_pods(api):
    await add(api, "n1")
    await add(api, "n2")
    await api.merge("/api/v1/nodes/n1", {"spec": {"unschedulable": True}})
    unknown = [{"type": "Ready", "status": "Unknown"}]
    await api.merge("/api/v1/nodes/n2/status", {"status": {"conditions": unknown}})
    await place(api, "p")
    assert await bound(api) == {"p": None}
    assert "1 node(s) were unschedulable" in (await scheduled(api, "p"))["message"]
    await api.merge("/api/v1/nodes/n1", {"spec": {"unschedulable": None}})
    assert await bound(api) == {"p": "n1"}


async def test_another_schedulers_pods_are_not_touched(api):
    await add(api, "n1")
    await place(api, "p", schedulerName="kai-scheduler")
    assert await bound(api) == {"p": None}


async def test_higher_priorities_go_first():
    server = Server(LoopClock())
    async with Access(InProcess(server)) as api:
        await add(api, "n1", gpus=1)
        await place(api, "low", gpus=1)
        await place(api, "high", gpus=1, priority=10)
        async with Scheduler(server):
            assert await bound(api) == {"high": "n1", "low": None}


async def test_it_can_take_its_time():
    server = Server(LoopClock())
    async with Access(InProcess(server)) as api, Scheduler(server, after_s=5):
        await add(api, "n1")
        await place(api, "p")
        await asyncio.sleep(4)
        assert await bound(api) == {"p": None}
        await asyncio.sleep(2)
        assert await bound(api) == {"p": "n1"}


def test_quantities():
    assert [quantity(text) for text in ("2", "500m", 1, "1Ki", "2G", 0.5)] == [
        2_000,
        500,
        1_000,
        1_024_000,
        2_000_000_000_000,
        500,
    ]
