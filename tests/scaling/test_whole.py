"""Everything real but the GPUs: operator, autoscaler, frontend, workers as pods; load comes and goes.

clients ──► grove-dp serve (process) ──► worker-sims, the containers of pods
                 │ /signals                  ▲ kubelet
                 ▼                           │
fleet ── /scale, drain ──► embedded API server ◄── operator
"""

import asyncio
import itertools
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

import aiohttp
import msgspec
import pytest
from grove_operator.crds import definitions as grove_definitions
from grove_operator.main import Operator
from grove_operator.settings import Leader, OperatorSettings

from grove_dp.clock import SystemClock
from grove_dp.kube.access import connect
from grove_dp.kube.candidate import LeaseTimes
from grove_dp.metering.external.overview import fetch_with
from grove_dp.scaling.crds import definitions
from grove_dp.scaling.fleet import Fleet
from grove_dp.scaling.kinds import AUTOSCALERS, CLIQUES, SETS
from grove_dp.scaling.manifests import Install, documents, to_yaml
from grove_dp.scaling.settings import Settings
from grove_dp.testing.controlplane import ControlPlane
from grove_dp.testing.controlplane.nodes import node
from grove_dp.testing.frontend import Frontend, eventually, free_port
from grove_dp.testing.kubeapi import Scheduler, Server
from grove_dp.testing.kubeapi.serve import serving
from grove_dp.testing.kubelet import FakeKubelet, Kubelet
from grove_dp.testing.simpods import SimPods
from tests.scaling.world import CRDS, autoscaler

pytestmark = pytest.mark.timeout(150)

NAMESPACE = "default"
CLIQUE = CLIQUES.path(NAMESPACE, "chat-0-decode")
THINK_S = 0.4
PACE = {"holdSeconds": 6, "startupSeconds": 3, "drainSeconds": 30, "pendingSeconds": 30}


class Clients:
    """So many chat, think, and chat again; every answer is judged."""

    def __init__(self, frontend):
        self.frontend = frontend
        self.numbers = itertools.count()
        self.good, self.bad, self.tasks = 0, [], []
        self.wanted = 0

    def be(self, number):
        """From now on; whoever is too many goes after the answer."""
        new = range(self.wanted, number)
        self.wanted = number
        self.tasks += [asyncio.create_task(self.run(place)) for place in new]

    async def run(self, place):
        while place < self.wanted:
            number = next(self.numbers)
            content = f"{number} " + "say something else each time " * 20
            told = {"messages": [{"role": "user", "content": content}], "max_tokens": 24, "stream": True}
            body = msgspec.json.encode(told)
            head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            answer = await self.frontend.ask(f"{head}Content-Length: {len(body)}\r\n\r\n".encode(), body)
            if answer.status == 200 and b"[DONE]" in answer.body and b'{"error"' not in answer.body:
                self.good += 1
            else:
                self.bad.append(f"{answer.status} {answer.body[-300:]!r}")
            await asyncio.sleep(THINK_S)

    async def end(self):
        self.be(0)
        await asyncio.gather(*self.tasks)


def chat_set(port):
    container = {
        "name": "vllm",
        "image": "vllm:1",
        "ports": [{"name": "http", "containerPort": port}],
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    }
    spec = {"roleName": "decode", "replicas": 1, "minAvailable": 1, "podSpec": {"containers": [container]}}
    template = {"cliques": [{"name": "decode", "spec": spec}]}
    return {
        "apiVersion": "grove.io/v1alpha1",
        "kind": "PodCliqueSet",
        "metadata": {"name": "chat"},
        "spec": {"replicas": 1, "template": template},
    }


@asynccontextmanager
async def running(work):
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def embedded(containers, folder):
    """The API server of this process: kubeconfigs for everybody and for the autoscaler."""
    server = Server(SystemClock())
    async with (
        serving(server, folder) as served,
        await connect(served.kubeconfig) as api,
        Scheduler(server),
        Kubelet(api, containers=containers),
    ):
        for document in (*grove_definitions(), *definitions()):
            await api.create(CRDS, document)
        await api.create("/api/v1/nodes", node("n1"))
        yield served.kubeconfig, served.kubeconfig


@asynccontextmanager
async def real(containers, folder):
    """A control plane of its own; the autoscaler has the rights of the shipped Role and no more."""
    with ControlPlane(scheduler=True) as plane, FakeKubelet(plane.api, containers=containers):
        plane.add_nodes(1)
        plane.namespace(NAMESPACE)
        to = Install(namespace=NAMESPACE)
        wanted = [one for one in documents(to) if one["kind"] != "Deployment"]
        file = folder / "install.yaml"
        file.write_text(to_yaml([*grove_definitions(), *wanted]))
        plane.kubectl("apply", "--server-side", "-f", str(file))
        for kind in ("grove.io/v1alpha1/podcliquesets", "grove-dp.io/v1alpha1/tokenautoscalers"):
            plane.api.until(f"/apis/{kind}", lambda _: True, 10, "it is served")
        yield plane.admin.kubeconfig, plane.service_account(NAMESPACE, to.name).kubeconfig


CLUSTERS = [
    embedded,
    pytest.param(real, marks=[pytest.mark.controlplane("kube-scheduler"), pytest.mark.timeout(240)]),
]


@pytest.fixture(params=CLUSTERS)
async def system(request, tmp_path):
    """An Access for the test, and the frontend."""
    port = free_port()
    arguments = ["--profile", "tiny-cpu", "--max-num-seqs", "4", "--shutdown-timeout", "10"]
    async with AsyncExitStack() as stack:
        containers = stack.enter_context(SimPods(port, arguments))
        everybody, ours = await stack.enter_async_context(request.param(containers, tmp_path))
        api = await stack.enter_async_context(await connect(everybody))
        settings = OperatorSettings(leader=Leader(enabled=False))
        await stack.enter_async_context(running(Operator(api, settings).run()))
        await api.create(SETS.path(NAMESPACE), chat_set(port))
        frontend = Frontend(
            workers={"kubernetes": "grove.io/podclique"},
            kubernetes={"kubeconfig": str(everybody), "namespace": NAMESPACE},
        )
        stack.push_async_exit(frontend.__aexit__)
        await frontend.start()
        session = await stack.enter_async_context(aiohttp.ClientSession())
        fleet = Fleet(
            await stack.enter_async_context(await connect(ours)),
            Settings(
                namespace=NAMESPACE, frontends=(frontend.admin_url,), tick_seconds=0.5, window_seconds=5.0
            ),
            fetch_with(session),
            SystemClock(),
            Random(1),
            identity="whole",
            times=LeaseTimes(fresh=True),
        )
        await stack.enter_async_context(running(fleet.run()))
        yield api, frontend


async def test_load_comes_and_goes_and_no_request_fails(system):
    api, frontend = system
    component = {"name": "decode", "maxReplicas": 4, "decodeTokensPerSecond": 150}
    await api.create(AUTOSCALERS.path(NAMESPACE), autoscaler(component, behavior=PACE))

    async def replicas():
        return (await api.get(CLIQUE))["spec"]["replicas"]

    async def ready():
        return sum(row["state"] == "ready" for row in (await frontend.workers()).values())

    clients = Clients(frontend)
    clients.be(14)
    await eventually(replicas, lambda count: count >= 3, 30, "more are asked for")
    await eventually(ready, lambda count: count >= 3, 30, "and serve")
    clients.be(1)
    await eventually(replicas, lambda count: count == 1, 60, "fewer are left")
    await eventually(ready, lambda count: count == 1, 30, "and the others are gone")
    await clients.end()
    assert clients.bad == []
    assert clients.good > 20
