"""`serve` on the embedded API server: pods that become ready, fail, vanish, and an API server in trouble."""

import gc
from contextlib import AsyncExitStack
from random import Random

import pytest

from grove_dp.clock import SystemClock
from grove_dp.frontend.pods import PodWorkers
from grove_dp.kube.access import connect
from grove_dp.routing.workers import Registry
from grove_dp.settings import Kubernetes, Settings, Workers
from grove_dp.testing.controlplane.nodes import node
from grove_dp.testing.frontend import Frontend
from grove_dp.testing.http import post
from grove_dp.testing.kubeapi import Scheduler, Server
from grove_dp.testing.kubeapi.serve import serving
from grove_dp.testing.kubelet import Kubelet
from grove_dp.testing.worker import ScriptedWorker

PODS = "/api/v1/namespaces/default/pods"


class Loopback:
    """Every pod is at 127.0.0.1; its worker listens on the port of its annotation."""

    async def start(self, pod):
        return "127.0.0.1"

    async def stop(self, pod):
        pass


class Cluster:
    def __init__(self, server, api, kubelet, kubeconfig, stack):
        self.server, self.api, self.kubelet, self.kubeconfig = server, api, kubelet, kubeconfig
        self._stack = stack

    async def pod(self, name, model="m"):
        """A worker, and the pod that it is."""
        worker = await self._stack.enter_async_context(ScriptedWorker(model))
        metadata = {
            "name": name,
            "labels": {"app": "vllm"},
            "annotations": {"grove-dp.io/port": str(worker.port)},
        }
        spec = {"containers": [{"name": "vllm", "image": "vllm:1"}]}
        await self.api.create(PODS, {"metadata": metadata, "spec": spec})
        return worker

    async def serve(self):
        frontend = Frontend(
            workers={"kubernetes": "app=vllm"}, kubernetes={"kubeconfig": str(self.kubeconfig)}
        )
        self._stack.push_async_exit(frontend.__aexit__)
        await frontend.start("/livez")
        return frontend


@pytest.fixture
async def cluster(tmp_path):
    server = Server(SystemClock())
    async with (
        AsyncExitStack() as stack,
        serving(server, tmp_path) as served,
        await connect(served.kubeconfig) as api,
        Scheduler(server),
        Kubelet(api, containers=Loopback()) as kubelet,
    ):
        await api.create("/api/v1/nodes", node("n1"))
        made = Cluster(server, api, kubelet, served.kubeconfig, stack)
        yield made
        await stack.aclose()


async def ask(frontend):
    return await frontend.ask(post("/v1/completions", b'{"prompt": "hi"}', close=True))


async def test_a_pod_serves_while_it_is_ready_and_no_longer(cluster):
    worker = await cluster.pod("a")
    frontend = await cluster.serve()
    await frontend.worker_until("a", state="ready")
    assert (await ask(frontend)).status == 200
    await cluster.kubelet.set_ready("default", "a", False)
    row = await frontend.worker_until("a", state="draining")
    assert row["reason"] == "PodNotReady"
    assert (await ask(frontend)).status == 503
    await cluster.kubelet.set_ready("default", "a", True)
    await frontend.worker_until("a", state="ready")
    assert (await ask(frontend)).status == 200
    assert len(worker.calls) == 2


async def test_a_pod_that_failed_or_is_gone_is_no_worker_any_more(cluster):
    await cluster.pod("fails")
    await cluster.pod("goes")
    frontend = await cluster.serve()
    await frontend.worker_until("fails", state="ready")
    await frontend.worker_until("goes", state="ready")
    await cluster.kubelet.fail("default", "fails")
    await cluster.api.delete(f"{PODS}/goes")
    await frontend.worker_until("fails", state=None)
    await frontend.worker_until("goes", state=None)
    assert await frontend.workers() == {}


async def test_a_pod_of_the_same_name_is_a_worker_of_its_own(cluster):
    await cluster.pod("a")
    frontend = await cluster.serve()
    await frontend.worker_until("a", state="ready")
    await cluster.api.delete(f"{PODS}/a", grace_s=0)
    second = await cluster.pod("a")
    await frontend.worker_until("a", state="ready", url=f"http://127.0.0.1:{second.port}")
    assert (await ask(frontend)).status == 200
    assert len(second.calls) == 1


async def test_pods_are_followed_through_a_gap_an_expired_past_and_a_silent_watch(cluster):
    await cluster.pod("a")
    frontend = await cluster.serve()
    await frontend.worker_until("a", state="ready")
    cluster.server.faults.lose_events(2)
    await cluster.pod("b")
    cluster.server.faults.forget()
    cluster.server.faults.end_watches()
    await frontend.worker_until("b", state="ready")
    cluster.server.faults.refuse("GET", "*/pods", times=3, code=429, retry_after_s=0.1)
    cluster.server.faults.cut_watches()
    await cluster.pod("c")
    await frontend.worker_until("c", state="ready")


async def test_what_the_kubernetes_package_brings_is_no_work_for_the_collector(cluster):
    settings = Settings(
        workers=Workers(kubernetes="app=vllm"), kubernetes=Kubernetes(kubeconfig=str(cluster.kubeconfig))
    )
    pods = PodWorkers(Registry(1), lambda: settings, lambda: None, SystemClock(), Random(1))
    gc.unfreeze()
    try:
        await pods.open()
        assert gc.get_freeze_count() > 40_000
        assert sum(len(gc.get_objects(generation)) for generation in range(3)) < 5_000
    finally:
        gc.unfreeze()
        await pods._api.close()
