"""Where scenarios play: an API server in this process, whose hours take milliseconds, or the real one.

Both give hands (an Access for the test), lines for operators (that count what is written, and can be cut as
a process is killed), a view of all objects, and a kubelet.
"""

import asyncio
import itertools
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from random import Random

import msgspec
from grove_operator.api import BINDINGS, GANGS, NODES, PODS, SETS
from grove_operator.crds import definitions

from grove_dp.clock import SystemClock
from grove_dp.kube.access import Access, connect
from grove_dp.kube.cluster import open_cluster
from grove_dp.kube.informer import Informer
from grove_dp.kube.objects import Meta
from grove_dp.testing.controlplane.api import ApiRefused
from grove_dp.testing.controlplane.nodes import node
from grove_dp.testing.kubeapi import InProcess, Scheduler, Server
from grove_dp.testing.kubelet import Course, Kubelet
from grove_dp.testing.loopclock import LoopClock
from tests.operator.scenarios.diary import Diary
from tests.operator.scenarios.world import CLUSTER_KINDS, KINDS, World

CUSTOM = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
QUIET = ("/leases", "/events")  # not of the world that is judged


class Ticking(LoopClock):
    """Virtual time goes in microseconds: who sleeps for less would wake at the same moment, for ever."""

    async def sleep(self, seconds):
        await super().sleep(seconds + 2e-6 if seconds > 0 else 0)


class Write(msgspec.Struct, frozen=True):
    """A call of an operator that meant to change something."""

    method: str
    path: str
    status: int
    body: bytes | None

    def __str__(self):
        said = (self.body or b"").decode(errors="replace")
        return f"{self.method} {self.path} -> {self.status} {said[:600]}"


class Line:
    """A transport of one operator: it counts, and once it is cut nothing comes through."""

    def __init__(self, transport, writes):
        self.host, self.namespace = transport.host, transport.namespace
        self._transport = transport
        self._writes = writes
        self._streams = set()
        self.cut = False
        self.trouble = None  # a Random: some calls are lost, and some answers

    async def exchange(self, method, target, headers, body):
        self._check()
        self._disturb()
        answer = await self._transport.exchange(method, target, headers, body)
        path = target.partition("?")[0]
        if method != "GET" and not any(part in path for part in QUIET):
            self._writes.append(Write(method, path, answer.status, body))
        self._check()
        self._disturb()
        return answer

    def _disturb(self):
        if self.trouble is not None and self.trouble.random() < 0.02:
            raise ConnectionResetError("trouble on the line")

    @asynccontextmanager
    async def stream(self, target, headers):
        self._check()
        async with self._transport.stream(target, headers) as stream:
            yield stream

    async def close(self):
        await self._transport.close()

    def _check(self):
        if self.cut:
            raise ConnectionResetError("the process is gone")


def minima(document):
    """The minimum of each clique of a gang, as its PodGang says."""
    return {one["name"]: one.get("minReplicas", 0) for one in document["spec"].get("podgroups") or ()}


class Embedded:
    """The API server of this process, in the loop's time."""

    real = False
    moment_s = 0.05  # of looking again, where nobody tells

    def __init__(self, seed=1, scheduler_after_s=0.0):
        self.clock = Ticking()
        self.namespace = "default"
        self.server = Server(self.clock, Random(seed))
        self.faults = self.server.faults
        self.api = Access(InProcess(self.server))
        self.writes = []
        self.changed = asyncio.Event()
        self.bindings = []
        self.courses = {}  # by the beginning of a clique's name: what becomes of its pods
        self.diary = Diary(self.clock, self._minima)
        self._scheduler = Scheduler(self.server, after_s=scheduler_after_s)
        self._stack = AsyncExitStack()

    async def __aenter__(self):
        for document in definitions():
            await self.api.create(CUSTOM, document)
        self.server.store.listeners.append(self._told)
        await self._stack.enter_async_context(self._scheduler)
        self.kubelet = await self._stack.enter_async_context(
            Kubelet(Access(InProcess(self.server)), self.clock, course=self._course)
        )
        return self

    async def __aexit__(self, *details):
        await self._stack.aclose()

    async def line(self):
        return Line(InProcess(self.server), self.writes)

    async def world(self):
        return self.now()

    def now(self):
        """The world at this very moment."""
        held = {}
        for kind in (*KINDS, *CLUSTER_KINDS):
            table = self.server.store.table((kind.group, kind.plural))
            held[kind.plural] = [stored.document for stored in table.list()]
        return World(held)

    async def add_nodes(self, documents):
        for document in documents:
            await self.api.create(NODES.path(), document)

    def _course(self, pod):
        clique = (pod["metadata"].get("labels") or {}).get("grove.io/podclique", "")
        return next(
            (course for part, course in self.courses.items() if clique.startswith(part)),
            self.courses.get("", Course()),
        )

    def _told(self, resource, change):
        if resource == ("", "pods"):
            self.diary.told(
                change.old.document if change.old else None, change.new.document if change.new else None
            )
        self.changed.set()

    def _minima(self, gang):
        table = self.server.store.table((GANGS.group, GANGS.plural))
        stored = table.get((self.namespace, gang))
        owners = stored.metadata.get("ownerReferences") if stored is not None else None
        if not owners:
            return None
        held = self.server.store.table((SETS.group, SETS.plural)).get((self.namespace, owners[0]["name"]))
        if held is None or "deletionTimestamp" in held.metadata or staged(held.document):
            return None
        return minima(stored.document)


def staged(document):
    """Whether the cliques of a set start one after the other."""
    order = document["spec"]["template"].get("cliqueStartupType")
    return order not in (None, "CliqueStartupTypeAnyOrder")


class _Seen(msgspec.Struct, frozen=True):
    metadata: Meta = Meta()
    spec: dict = {}
    status: dict = {}

    @property
    def document(self):
        held = msgspec.to_builtins(self.metadata)
        held = {key: value for key, value in held.items() if value is not None}
        return {"metadata": held, "spec": self.spec, "status": self.status}


class Real:
    """A namespace of the real control plane, with nodes of its own."""

    real = True
    moment_s = 0.1
    _numbers = itertools.count(1)

    def __init__(self, plane, kubelet, namespace):
        self.clock = SystemClock()
        self.namespace = namespace
        self.kubelet = _Threaded(kubelet)
        self.writes = []
        self.changed = asyncio.Event()
        self.courses = {}
        self.bindings = []
        self.diary = Diary(self.clock, self._minima)
        self._kubeconfig = plane.admin.kubeconfig
        self._mark = f"{namespace}-{next(self._numbers)}"
        self._nodes = []
        self._stack = AsyncExitStack()
        self._tasks = []

    async def __aenter__(self):
        self.api = await self._stack.enter_async_context(await connect(self._kubeconfig))
        self._gangs = Informer(self.api, GANGS, _Seen, namespace=self.namespace)
        self._sets = Informer(self.api, SETS, _Seen, namespace=self.namespace)
        self._pods = Informer(self.api, PODS, _Seen, namespace=self.namespace)
        self._pods.listen(
            lambda change: self._told(
                change.old.document if change.old else None, change.new.document if change.new else None
            )
        )
        for informer in (self._gangs, self._sets, self._pods):
            self._tasks.append(asyncio.create_task(informer.run()))
            await informer.synced()
        return self

    async def __aexit__(self, *details):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for document in (await self.api.get(SETS.path(self.namespace)))["items"]:
            await self.api.merge(
                SETS.path(self.namespace, document["metadata"]["name"]), {"metadata": {"finalizers": None}}
            )
            await self.api.delete(SETS.path(self.namespace, document["metadata"]["name"]))
        for name in self.bindings:
            await self.api.delete(BINDINGS.path(name=name))
        for name in self._nodes:
            await self.api.delete(NODES.path(name=name))
        await self._stack.aclose()

    async def line(self):
        return Line(await open_cluster(self._kubeconfig, None), self.writes)

    async def world(self):
        kinds = (*KINDS, *CLUSTER_KINDS)
        found = await asyncio.gather(*(self.api.get(kind.path(self.namespace)) for kind in kinds))
        held = {kind.plural: one["items"] for kind, one in zip(kinds, found, strict=True)}
        held["nodes"] = [one for one in held["nodes"] if one["metadata"]["name"] in self._nodes]
        return World(held)

    async def add_nodes(self, documents):
        """Nobody else's pods come to them."""
        for document in documents:
            document["metadata"]["labels"]["gdp.test/scene"] = self._mark
            taint = {"key": "gdp.test/scene", "value": self._mark, "effect": "NoSchedule"}
            document["spec"].setdefault("taints", []).append(taint)
            await self.api.create(NODES.path(), document)
            self._nodes.append(document["metadata"]["name"])

    def keep(self, document):
        """Pods of this set come to our nodes, and to no others."""
        for clique in document["spec"]["template"]["cliques"]:
            spec = clique["spec"]["podSpec"]
            spec.setdefault("nodeSelector", {})["gdp.test/scene"] = self._mark
            spec.setdefault("tolerations", []).append({"key": "gdp.test/scene", "operator": "Exists"})

    def _told(self, old, new):
        self.diary.told(old, new)
        self.changed.set()

    def _minima(self, gang):
        held = self._gangs.get(self.namespace, gang)
        owner = held and held.metadata.owner
        whole = owner and self._sets.get(self.namespace, owner.name)
        if not whole or whole.metadata.deletion_timestamp or staged(whole.document):
            return None
        return minima(held.document)


def serve(plane):
    """Have the real API server know our kinds. Once is enough."""
    for document in definitions():
        with suppress(ApiRefused):  # it is there
            plane.api.create(CUSTOM, document)
    for kind in KINDS:
        plane.api.until(kind.path("default"), lambda _: True, 30, "it is served")


class _Threaded:
    """The kubelet of the session, that lives in a thread."""

    def __init__(self, kubelet):
        self._kubelet = kubelet

    def __getattr__(self, name):
        method = getattr(self._kubelet, name)

        async def called(*words):
            return await asyncio.to_thread(method, *words)

        return called


def room_for_one(name, labels):
    """A node for one pod of 80 MiB."""
    return node(name, gpus=0, cpu="8", memory="150Mi", labels=labels)
