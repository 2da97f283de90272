"""What becomes of pods, hour by hour, in no time: the kubelet on the fake API server."""

import asyncio
import math

import pytest

from grove_dp.kube.access import Access
from grove_dp.kube.errors import NotFound
from grove_dp.testing.controlplane.nodes import node
from grove_dp.testing.kubeapi import InProcess, Scheduler, Server
from grove_dp.testing.kubelet import Course, Kubelet
from grove_dp.testing.loopclock import LoopClock

pytestmark = pytest.mark.looptime
PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
def server():
    return Server(LoopClock())


@pytest.fixture
async def api(server):
    async with Access(InProcess(server)) as made:
        await made.create("/api/v1/nodes", node("n1"))
        yield made


def kubelet(api, server, **course):
    return Kubelet(api, server.clock, course=lambda _: Course(**course))


async def place(api, name="a", node="n1", inits=0, **spec):
    containers = [{"name": "m", "image": "i"}]
    init = [{"name": f"init-{number}", "image": "i"} for number in range(inits)]
    whole = {"containers": containers, "initContainers": init, "nodeName": node, **spec}
    await api.create(PODS, {"metadata": {"name": name}, "spec": whole})


async def status(api, name="a"):
    return (await api.get(f"{PODS}/{name}"))["status"]


async def ready(api, name="a"):
    conditions = {one["type"]: one["status"] for one in (await status(api, name)).get("conditions") or []}
    return conditions.get("Ready")


async def gone(api, name="a"):
    try:
        await api.get(f"{PODS}/{name}")
    except NotFound:
        return True
    return False


async def test_a_pod_runs_at_once_and_is_ready_after_its_time(api, server):
    async with kubelet(api, server, ready_s=120):
        await place(api)
        await asyncio.sleep(1)
        assert (await status(api))["phase"] == "Running"
        assert await ready(api) == "False"
        await asyncio.sleep(118)
        assert await ready(api) == "False"
        await asyncio.sleep(2)
        assert await ready(api) == "True"


async def test_a_pod_that_was_there_before_runs_too(api, server):
    await place(api)
    async with kubelet(api, server):
        await asyncio.sleep(1)
        assert await ready(api) == "True"


async def test_init_containers_succeed_one_after_the_other(api, server):
    async with kubelet(api, server, init_s=10):
        await place(api, inits=2)
        seen = []
        for _ in range(3):
            await asyncio.sleep(5)
            told = await status(api)
            seen.append((told["phase"], [next(iter(one["state"])) for one in told["initContainerStatuses"]]))
            await asyncio.sleep(5)
    assert seen == [
        ("Pending", ["running", "waiting"]),
        ("Pending", ["terminated", "running"]),
        ("Running", ["terminated", "terminated"]),
    ]
    assert await ready(api) == "True"


async def test_a_pod_fails_when_its_time_has_come_and_stays_failed(api, server):
    async with kubelet(api, server, ready_s=5, fails_s=60, code=3):
        await place(api)
        await asyncio.sleep(30)
        assert await ready(api) == "True"
        await asyncio.sleep(31)
        told = await status(api)
        assert told["phase"] == "Failed"
        assert told["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
        await asyncio.sleep(3600)
        assert (await status(api))["phase"] == "Failed"


async def test_a_pod_can_fail_before_it_was_ever_ready(api, server):
    async with kubelet(api, server, ready_s=100, fails_s=10):
        await place(api)
        await asyncio.sleep(200)
        assert (await status(api))["phase"] == "Failed"


async def test_a_pod_may_succeed(api, server):
    async with kubelet(api, server, fails_s=10, code=0):
        await place(api)
        await asyncio.sleep(11)
        assert (await status(api))["phase"] == "Succeeded"


async def test_a_deleted_pod_takes_its_time_but_no_more_than_its_grace(api, server):
    async with kubelet(api, server, ends_s=20):
        for name, grace in (("quick", 60), ("cut", 10)):
            await place(api, name, terminationGracePeriodSeconds=grace)
        await asyncio.sleep(1)
        for name in ("quick", "cut"):
            await api.delete(f"{PODS}/{name}")
        await asyncio.sleep(11)
        assert (await gone(api, "quick"), await gone(api, "cut")) == (False, True)
        await asyncio.sleep(10)
        assert await gone(api, "quick")


async def test_a_pod_can_hang_in_its_end_until_it_is_forced(api, server):
    async with kubelet(api, server, ends_s=math.inf):
        await place(api)
        await asyncio.sleep(1)
        await api.delete(f"{PODS}/a")
        await asyncio.sleep(24 * 3600)
        assert not await gone(api)
        await api.delete(f"{PODS}/a", grace_s=0)
        assert await gone(api)


async def test_pods_of_a_lost_node_are_not_ready_and_stuck_until_it_is_found(api, server):
    async with kubelet(api, server) as acting:
        for name in ("stays", "deleted"):
            await place(api, name)
        await asyncio.sleep(1)
        await acting.lose("n1")
        lost = (await api.get("/api/v1/nodes/n1"))["status"]["conditions"]
        assert [one["status"] for one in lost if one["type"] == "Ready"] == ["Unknown"]
        assert await ready(api, "stays") == "False"
        await api.delete(f"{PODS}/deleted")
        await asyncio.sleep(3600)
        assert not await gone(api, "deleted")
        await acting.find("n1")
        await asyncio.sleep(1)
        assert await gone(api, "deleted")
        assert await ready(api, "stays") == "True"


async def test_a_pod_bound_to_a_lost_node_starts_when_it_is_found(api, server):
    async with kubelet(api, server) as acting:
        await acting.lose("n1")
        await place(api)
        await asyncio.sleep(60)
        assert (await status(api))["phase"] == "Pending"
        await acting.find("n1")
        await asyncio.sleep(1)
        assert await ready(api) == "True"


async def test_a_pod_of_the_same_name_is_another(api, server):
    async with kubelet(api, server, ready_s=10):
        await place(api)
        await asyncio.sleep(5)
        await api.delete(f"{PODS}/a", grace_s=0)
        await place(api)
        await asyncio.sleep(6)
        assert await ready(api) == "False"
        await asyncio.sleep(5)
        assert await ready(api) == "True"


async def test_it_tries_again_until_it_is_heard(api, server):
    async with kubelet(api, server, ends_s=5):
        server.faults.refuse("PATCH", "*/status", times=5, code=500)
        server.faults.lose_answer("PATCH", "*/status", times=2)
        await place(api)
        await asyncio.sleep(5)
        assert await ready(api) == "True"
        await api.delete(f"{PODS}/a")
        server.faults.refuse("DELETE", "*", times=2, code=503)
        server.faults.lose_call("DELETE", "*", times=2)
        server.faults.lose_answer("DELETE", "*")
        await asyncio.sleep(10)
        assert await gone(api)


async def test_conditions_of_others_stay(api, server):
    async with Scheduler(server), kubelet(api, server):
        await place(api, node="")
        await asyncio.sleep(1)
        told = {one["type"]: one["status"] for one in (await status(api))["conditions"]}
    assert told["PodScheduled"] == "True"
    assert told["Ready"] == "True"


async def test_times_of_conditions_change_only_with_them(api, server):
    async with kubelet(api, server, ready_s=60):
        await place(api)
        await asyncio.sleep(120)
        times = {one["type"]: one["lastTransitionTime"] for one in (await status(api))["conditions"]}
    assert times["Initialized"] < times["Ready"]


async def test_every_pod_has_a_course_of_its_own(api, server):
    courses = {"slow": Course(ready_s=100), "fast": Course()}
    async with Kubelet(api, server.clock, course=lambda pod: courses[pod["metadata"]["name"]]):
        for name in courses:
            await place(api, name)
        await asyncio.sleep(50)
        assert (await ready(api, "slow"), await ready(api, "fast")) == ("False", "True")


async def test_a_thousand_pods_run_through_scheduler_and_kubelet(api, server):
    for number in range(10):
        await api.create("/api/v1/nodes", node(f"big-{number}", pods=110))
    async with Scheduler(server), kubelet(api, server):
        for number in range(1_000):
            await place(api, f"p{number}", node="")
        await asyncio.sleep(5)
        running = await api.get(PODS, query={"fieldSelector": "status.phase=Running"})
        assert len(running["items"]) == 1_000
