"""`serve` follows the pods of a real control plane: a Deployment of simulated workers under load."""

import asyncio
import itertools
from contextlib import AsyncExitStack

import msgspec
import pytest

from grove_dp.testing.controlplane import ControlPlane
from grove_dp.testing.frontend import PATIENCE_S, Frontend, eventually, free_port
from grove_dp.testing.kubelet import FakeKubelet
from grove_dp.testing.simpods import SimPods

pytestmark = [pytest.mark.controlplane("kube-scheduler", "kube-controller-manager"), pytest.mark.timeout(400)]

NAMESPACE = "default"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
LOADERS = 12


class Cluster:
    """A control plane of its own, whose kubelet runs every container as a worker-sim."""

    def __init__(self, plane, port):
        self.plane, self.api, self.port = plane, plane.api, port

    def deploy(self, name, replicas, pre_stop_s=0):
        container = {
            "name": "vllm",
            "image": "vllm:1",
            "ports": [{"name": "http", "containerPort": self.port}],
        }
        if pre_stop_s:
            container["lifecycle"] = {"preStop": {"sleep": {"seconds": pre_stop_s}}}
        self.api.create(
            DEPLOYMENTS,
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": {"app": name}},
                    "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                    "template": {
                        "metadata": {"labels": {"app": name}},
                        "spec": {"containers": [container], "terminationGracePeriodSeconds": 20},
                    },
                },
            },
        )

    def set_image(self, name, image):
        change = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]
        self.api.patch(f"{DEPLOYMENTS}/{name}", change, "json")

    def pods(self, name):
        found = self.api.get(PODS, labelSelector=f"app={name}")["items"]
        return {pod["metadata"]["name"]: pod for pod in found}

    async def rolled_out(self, name, within_s=90.0):
        """Every pod is of the newest template and ready, and no other is left."""

        async def look():
            deployment = await asyncio.to_thread(self.api.get, f"{DEPLOYMENTS}/{name}")
            status, want = deployment["status"], deployment["spec"]["replicas"]
            seen = status.get("observedGeneration") == deployment["metadata"]["generation"]
            counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "readyReplicas")]
            return seen and counts == [want] * 3 and len(await asyncio.to_thread(self.pods, name)) == want

        await eventually(look, bool, within_s, f"{name} is rolled out")


@pytest.fixture(scope="module")
def cluster():
    port = free_port()
    arguments = ["--profile", "tiny-cpu", "--answer-tokens", "4", "--shutdown-timeout", "10"]
    with (
        ControlPlane(scheduler=True, controller_manager=True) as plane,
        SimPods(port, arguments) as containers,
        FakeKubelet(plane.api, containers=containers),
    ):
        plane.add_nodes(2)
        yield Cluster(plane, port)


@pytest.fixture
async def serve(cluster):
    async with AsyncExitStack() as stack:

        async def start(name, **settings):
            frontend = Frontend(
                workers={"kubernetes": f"app={name}"},
                kubernetes={"kubeconfig": str(cluster.plane.admin.kubeconfig)},
                routing={"policy": "least_load"},
                **settings,
            )
            stack.push_async_exit(frontend.__aexit__)
            await frontend.start("/livez")
            return frontend

        yield start


async def ready_ids(frontend):
    return {key for key, row in (await frontend.workers()).items() if row["state"] == "ready"}


async def chat(frontend, number):
    body = msgspec.json.encode(
        {
            "messages": [{"role": "user", "content": f"say {number}"}],
            "max_tokens": 4,
            "stream": number % 2 == 0,
        }
    )
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return await frontend.ask(f"{head}Content-Length: {len(body)}\r\n\r\n".encode(), body)


class Load:
    """Chats all the time, from several clients; every answer is judged."""

    def __init__(self, frontend):
        self._frontend = frontend
        self._numbers = itertools.count()
        self.good, self.bad = 0, []

    async def __aenter__(self):
        self._tasks = [asyncio.create_task(self._run()) for _ in range(LOADERS)]
        return self

    async def __aexit__(self, *_):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self):
        while True:
            number = next(self._numbers)
            try:
                answer = await chat(self._frontend, number)
            except (ConnectionError, OSError) as error:
                self.bad.append(repr(error))
                continue
            ended = b"[DONE]" in answer.body if number % 2 == 0 else b'"usage"' in answer.body
            if answer.status == 200 and ended and b'"error"' not in answer.body:
                self.good += 1
            else:
                self.bad.append(f"{answer.status} {answer.body[-300:]!r}")


@pytest.mark.parametrize("pre_stop_s", [0, 1])
async def test_a_rolling_update_under_load_fails_no_request(cluster, serve, pre_stop_s):
    name = f"roll-{pre_stop_s}"
    await asyncio.to_thread(cluster.deploy, name, 2, pre_stop_s)
    frontend = await serve(name)
    await cluster.rolled_out(name)
    before = set(await asyncio.to_thread(cluster.pods, name))
    await eventually(lambda: ready_ids(frontend), before.__eq__, PATIENCE_S, "the frontend has the pods")
    async with Load(frontend) as load:
        await asyncio.sleep(0.5)
        await asyncio.to_thread(cluster.set_image, name, "vllm:2")
        await cluster.rolled_out(name)
        after = set(await asyncio.to_thread(cluster.pods, name))
        await eventually(lambda: ready_ids(frontend), after.__eq__, PATIENCE_S, "it has the new pods")
        await asyncio.sleep(0.5)
    assert not before & after
    assert load.bad == []
    assert load.good > 50
    rows = await frontend.workers()
    assert set(rows) == after, "workers of pods that are gone are gone"
    await frontend.settled()


async def test_a_pod_that_becomes_ready_serves_within_a_second_and_one_that_does_not_gets_nothing(
    cluster, serve
):
    name = "scale"
    await asyncio.to_thread(cluster.deploy, name, 1)
    frontend = await serve(name)
    await cluster.rolled_out(name)
    (first,) = await asyncio.to_thread(cluster.pods, name)
    await eventually(lambda: ready_ids(frontend), {first}.__eq__, 10, "the first pod serves")
    drain = {"metadata": {"annotations": {"grove-dp.io/drain-until": "2030-01-01T00:00:00Z"}}}
    await asyncio.to_thread(cluster.api.patch, f"{PODS}/{first}", drain)
    row = await frontend.worker_until(first, within_s=5.0, state="draining")
    assert row["reason"] == "PodDrained"
    answer = await chat(frontend, 1)
    assert (answer.status, b"NoReadyWorker" in answer.body) == (503, True), answer
    undo = {"metadata": {"annotations": {"grove-dp.io/drain-until": None}}}
    await asyncio.to_thread(cluster.api.patch, f"{PODS}/{first}", undo)
    await frontend.worker_until(first, within_s=5.0, state="ready")
    assert (await chat(frontend, 1)).status == 200


async def test_an_api_server_that_is_gone_takes_no_worker_away(cluster, serve):
    name = "outage"
    await asyncio.to_thread(cluster.deploy, name, 1)
    frontend = await serve(name)
    await cluster.rolled_out(name)
    (pod,) = await asyncio.to_thread(cluster.pods, name)
    await frontend.worker_until(pod, state="ready")
    await asyncio.to_thread(cluster.plane.restart, "kube-apiserver")
    assert (await chat(frontend, 1)).status == 200
    await asyncio.to_thread(cluster.api.patch, f"{DEPLOYMENTS}/{name}/scale", {"spec": {"replicas": 2}})
    await cluster.rolled_out(name)
    pods = set(await asyncio.to_thread(cluster.pods, name))
    await eventually(lambda: ready_ids(frontend), pods.__eq__, PATIENCE_S, "the frontend sees pods again")


async def test_what_cannot_be_followed_is_told_with_its_remedy(cluster):
    frontend = Frontend(
        workers={"kubernetes": "app in ("},
        kubernetes={"kubeconfig": str(cluster.plane.admin.kubeconfig)},
    )
    with pytest.raises(AssertionError, match="ended with 2"):
        await frontend.start("/never")
    assert "workers.kubernetes: 'app in (' is no label selector" in frontend.log()
