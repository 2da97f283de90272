"""The whole system on this machine: a cluster without machines, the operator, the autoscaler, a frontend.

    load ──HTTP──► grove-dp serve ──HTTP──► worker-sim …            processes; a worker is a pod's container
                     │ /signals  ▲ pods           ▲ kubelet
                     ▼           │                │
    autoscaler ── /scale, drain ─► API server ◄── operator          in this process (or the real API server)

Real are all but the GPUs, the machines and the model: the operator makes and gates the pods, they are bound
to nodes with GPUs, their containers run, the frontend finds them by its watch, the autoscaler reads the
frontend's signals. The API server is the embedded one, or with `real` the real one with its scheduler and
controllers. Operator and autoscaler run in here, since their own processes would cost two seconds each to
start on a small machine.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from grove_dp.kube.lease import LeaseTimes
from grove_dp.kube.objects import NODES
from grove_dp.metering.signals import Signals, decode
from grove_dp.scaling.admin import PORT, ScalingAdmin
from grove_dp.scaling.fleet import Fleet
from grove_dp.scaling.settings import Settings
from grove_dp.sim.apiservers import embedded, is_served, real
from grove_dp.sim.client import Endpoint, LoadClient
from grove_dp.sim.manifests import NAMESPACE
from grove_dp.sim.pods import WorkerPods
from grove_dp.sim.processes import Child, end_all, free_port
from grove_dp.sim.waiting import until
from grove_dp.sim.workerset import WorkerSet
from grove_dp.testing.controlplane.nodes import node
from grove_dp.testing.kubelet import Kubelet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from grove_dp.clock import Clock

__all__ = ["Cluster", "ClusterPlan"]

_FAREWELL_S: Final = 0.5  # of the frontend: what it still streams when the demo ends, nobody reads
_CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class ClusterPlan(msgspec.Struct, frozen=True):
    """What there is of it."""

    nodes: int = 2
    gpus: int = 4  # of each node
    port: int = 8000
    admin_port: int = 9090
    scaling_port: int = PORT  # of the autoscaler's admin API
    worker_port: int = 8200
    max_inflight: int = 12  # of one worker; what is beyond waits at the frontend
    worker_flags: str = "--speed 0.2 --num-gpu-blocks 2000 --max-model-len 16384"
    tick_s: float = 0.5  # of the autoscaler
    window_s: float = 5.0
    real: bool = False
    ready_s: float = 60.0


class Cluster:
    """Everything is up between `async with`; what runs beside may be looked at."""

    def __init__(
        self, plan: ClusterPlan, *, clock: Clock, rng: Random, announce: Callable[[str], None]
    ) -> None:
        self.plan = plan
        self.fleet: Fleet | None = None
        self._clock = clock
        self._rng = rng
        self._tell = announce
        self._up = AsyncExitStack()
        self._beside: list[asyncio.Task[None]] = []
        self.port = free_port(plan.port)
        self.admin_port = free_port(plan.admin_port, (self.port,))
        self.scaling_port = free_port(plan.scaling_port, (self.port, self.admin_port))
        self._worker_port = free_port(plan.worker_port, (self.port, self.admin_port, self.scaling_port))
        self._admin = LoadClient(Endpoint("127.0.0.1", self.admin_port), clock=clock, timeout_s=2.0)

    @property
    def url(self) -> str:
        """The base URL for clients."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        """The frontend's admin API."""
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def scaling_url(self) -> str:
        """The autoscaler's."""
        return f"http://127.0.0.1:{self.scaling_port}"

    @property
    def pids(self) -> list[int]:
        """Of all processes beside this one."""
        return [*self.pods.pids, self._frontend.pid]

    # ------------------------------------------------------------ up and down

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._up.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._up.aclose()

    async def _start(self) -> None:
        up = self._up
        folder = Path(up.enter_context(tempfile.TemporaryDirectory(prefix="grove-dp-demo-")))
        self.pods = WorkerPods(folder, clock=self._clock)
        up.push_async_callback(self.pods.close)
        made = "etcd, kube-apiserver, their scheduler and controllers" if self.plan.real else "an API server"
        self._tell(f"starting {made}")
        cluster = (real if self.plan.real else embedded)(folder, self._clock)
        self.api, self.kubeconfig = await up.enter_async_context(cluster)
        self.workers = WorkerSet(self.api, self._worker_port, self.plan.worker_flags)
        await self._furnish()
        await up.enter_async_context(Kubelet(self.api, self._clock, containers=self.pods))
        self._tell("starting the operator, the autoscaler and a frontend")
        self._run(self._operator())
        self.fleet = await self._autoscaler()
        self._run(self.fleet.run())
        await up.enter_async_context(ScalingAdmin(self.fleet, port=self.scaling_port))
        self._frontend = Child("frontend", self._serve_command(), folder / "frontend.log")
        up.push_async_callback(end_all, [self._frontend], _FAREWELL_S)
        await self._frontend.start()
        up.callback(self._admin.close)
        await self._until(self._frontend_lives, "the frontend answers")

    async def _furnish(self) -> None:
        """Kinds and machines."""
        import grove_operator.crds

        import grove_dp.scaling.crds

        kinds = [*grove_operator.crds.definitions(), *grove_dp.scaling.crds.definitions()]
        for document in kinds:
            await self.api.create(_CRDS, document)
        for document in kinds:
            await self._until(partial(is_served, self.api, document), document["metadata"]["name"])
        for number in range(self.plan.nodes):
            await self.api.create(NODES.path(), node(f"node-{number + 1}", gpus=self.plan.gpus))

    def _operator(self) -> Coroutine[None, None, None]:
        from grove_operator.main import Operator
        from grove_operator.settings import Leader, OperatorSettings

        settings = OperatorSettings(leader=Leader(enabled=False))
        return Operator(self.api, settings, clock=self._clock, rng=self._rng).run()

    async def _autoscaler(self) -> Fleet:
        import aiohttp

        from grove_dp.metering.external.overview import fetch_with

        session = await self._up.enter_async_context(aiohttp.ClientSession())
        settings = Settings(
            namespace=NAMESPACE,
            frontends=(self.admin_url,),
            tick_seconds=self.plan.tick_s,
            window_seconds=self.plan.window_s,
        )
        times = LeaseTimes(fresh=True)  # there cannot be another
        return Fleet(
            self.api, settings, fetch_with(session), self._clock, self._rng, identity="demo", times=times
        )

    def _serve_command(self) -> list[str]:
        flags = (
            f"--http.port {self.port} --admin.port {self.admin_port} "
            "--workers.kubernetes grove.io/podclique "
            f"--kubernetes.kubeconfig {self.kubeconfig} --kubernetes.namespace {NAMESPACE} "
            f"--workers.max_inflight {self.plan.max_inflight} --queue.no_worker_s 60 "
            "--routing.expose_headers --drain.delay_s 0 --drain.grace_s 1"
        )
        return [sys.executable, "-m", "grove_dp", "serve", *flags.split()]

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        """Have it go on beside, until the end."""
        task = asyncio.ensure_future(work)
        self._beside.append(task)
        self._up.push_async_callback(_ended, task)

    async def hold(self, story: Coroutine[None, None, None]) -> None:
        """Play *story*, as long as everything else works."""
        playing = asyncio.ensure_future(story)
        try:
            await asyncio.wait([playing, *self._beside], return_when=asyncio.FIRST_COMPLETED)
            for task in self._beside:
                if task.done():
                    task.result()
            await playing
        finally:
            await _ended(playing)

    # ------------------------------------------------------------ what is asked of it

    async def deploy(self, replicas: int) -> None:
        """The set of workers; returns when the frontend serves by all of them."""
        await self.workers.create(replicas)
        await self._until(lambda: self._serves(replicas), f"{replicas} workers serve")

    async def undeploy(self) -> None:
        """No set, no pod."""
        await self.workers.delete()
        await self._until(self._empty, "all pods are gone")

    async def update(self, version: int) -> None:
        """Another template; returns when every pod is of it."""
        await self.workers.change(version)
        await self._until(self.workers.is_updated, "the update is over")

    async def signals(self) -> Signals:
        """What the frontend tells."""
        return decode(await self._admin.get("/signals"))

    @property
    def decision(self) -> dict[str, Any]:
        """The autoscaler's last tick; empty while there is none."""
        found = self.fleet.explained() if self.fleet is not None else []
        return found[0] if found else {}

    async def _serves(self, count: int) -> bool:
        workers = (await self.signals()).workers
        return sum(worker.state == "ready" for worker in workers) == count

    async def _empty(self) -> bool:
        return not self.pods.running and await self._serves(0)

    async def _frontend_lives(self) -> bool:
        if not self._frontend.alive:
            raise self._frontend.failure("ended while starting")
        await self._admin.get("/livez")
        return True

    async def _until(self, true: Callable[[], Awaitable[bool]], what: str) -> None:
        await until(true, what, clock=self._clock, within_s=self.plan.ready_s)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
