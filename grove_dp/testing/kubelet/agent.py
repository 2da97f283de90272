"""The kubelet itself: pods bound to a node run, fail, end.

    pod gets a node ──► init containers, one by one ──► Running ──► Ready ──► (fails)      its Course
    pod is deleted  ──► its end, at most its grace period ──► gone, if it is still the same pod
    node is lost    ──► NotReady; its pods are not Ready, and whatever is deleted there stays

Each pod has a task of its own that follows its course in the clock's time; writes go out a few at a time, and
again until they are heard. A pod is known by its uid: what was meant for one never hits another of its name.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Final, Protocol, Self

import msgspec

from grove_dp.clock import Clock, SystemClock
from grove_dp.kube.access import Access
from grove_dp.kube.errors import ApiError, ApiUnreachable, Conflict, Invalid, NotFound
from grove_dp.kube.informer import Change, Informer
from grove_dp.kube.objects import NODES, PODS, Meta
from grove_dp.testing.kubelet.status import Document, failed, initialising, running, unready

__all__ = ["Containers", "Course", "Kubelet", "Nothing"]

RETRY_S: Final = 0.1
WRITERS: Final = 16


class Course(msgspec.Struct, frozen=True):
    """What becomes of a pod that has a node. Infinity is never."""

    init_s: float = 0.0  # each init container takes so long
    ready_s: float = 0.0  # from Running to Ready
    fails_s: float = math.inf  # from Running until its containers end
    code: int = 1  # with which they end; 0: the pod has succeeded
    ends_s: float = 0.0  # from its deletion until it is gone, at most its grace period; infinity: it hangs


class Containers(Protocol):
    """What really runs in pods, if anything does."""

    async def start(self, pod: Document) -> str:
        """Start what runs in *pod*; returns its IP address. OSError: it will be tried again."""
        ...

    async def stop(self, pod: Document) -> None:
        """Return when nothing runs in it any more."""
        ...


class Nothing:
    """Pods have addresses, each its own, and nothing behind them."""

    def __init__(self, address: Callable[[Document], str] | None = None) -> None:
        self._numbers = itertools.count(1)
        self._address = address or (lambda _: f"10.64.{(number := next(self._numbers)) >> 8}.{number & 255}")

    async def start(self, pod: Document) -> str:
        return self._address(pod)

    async def stop(self, pod: Document) -> None:
        pass


class _Meta(Meta, frozen=True, kw_only=True, rename="camel", gc=False):
    deletion_grace_period_seconds: int | None = None


class _Pod(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()
    spec: Document = {}
    status: Document = {}

    @property
    def document(self) -> Document:
        return {"metadata": msgspec.to_builtins(self.metadata), "spec": self.spec, "status": self.status}

    @property
    def path(self) -> str:
        return PODS.path(self.metadata.namespace, self.metadata.name)

    @property
    def node(self) -> str:
        node: str = self.spec.get("nodeName", "")
        return node


def ordinary(_: Document) -> Course:
    return Course()


class Kubelet:
    """Acts between entry and exit of its `async with`. *course* says what becomes of each pod."""

    def __init__(
        self,
        api: Access,
        clock: Clock | None = None,
        *,
        course: Callable[[Document], Course] = ordinary,
        containers: Containers | None = None,
    ) -> None:
        self._api = api
        self._clock: Clock = clock or SystemClock()
        self._course = course
        self._containers = containers or Nothing()
        self._pods = Informer(api, PODS, _Pod, fields="spec.nodeName!=", clock=self._clock)
        self._lives: dict[str, asyncio.Task[None]] = {}  # by uid: what is being done with the pod
        self._ending: set[str] = set()
        self._lost: set[str] = set()
        self._writing = asyncio.Semaphore(WRITERS)

    async def __aenter__(self) -> Self:
        self._pods.listen(self._told)
        self._intake = asyncio.create_task(self._pods.run(), name="kubelet")
        await self._pods.synced()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [self._intake, *self._lives.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------ what happens to containers

    async def set_ready(self, namespace: str, name: str, ready: bool) -> Document:
        """The pod passes its readiness probe, or fails it."""
        pod = await self._read(namespace, name)
        return await self._write(pod, running(pod, pod["status"]["podIP"], ready, self._now()))

    async def fail(self, namespace: str, name: str, code: int = 1, reason: str = "Error") -> Document:
        """All containers end with this exit code, and nothing starts them again."""
        pod = await self._read(namespace, name)
        if (life := self._lives.pop(pod["metadata"]["uid"], None)) is not None:
            life.cancel()
        return await self._write(pod, failed(pod, code, reason, self._now()))

    # ------------------------------------------------------------ what happens to nodes

    async def lose(self, node: str) -> None:
        """Nobody hears of the node any more: it is NotReady, so are its pods, and what is deleted stays."""
        self._lost.add(node)
        for pod in self._on(node):
            if (life := self._lives.pop(pod.metadata.uid, None)) is not None:
                life.cancel()
            self._ending.discard(pod.metadata.uid)
            if pod.status.get("phase") == "Running":
                with suppress(NotFound):
                    await self._write(pod.document, unready(pod.document, "NodeNotReady", self._now()))
        await self._write_node(node, "Unknown", "NodeStatusUnknown")

    async def find(self, node: str) -> None:
        """It is back, and does what it missed."""
        self._lost.discard(node)
        for pod in self._on(node):
            self._told(Change(None, pod))
        await self._write_node(node, "True", "KubeletReady")
        for pod in self._on(node):
            address = pod.status.get("podIP")
            if address and pod.status.get("phase") == "Running" and not pod.metadata.deletion_timestamp:
                await self._write(pod.document, running(pod.document, address, True, self._now()))

    def _on(self, node: str) -> list[_Pod]:
        return [pod for pod in self._pods if pod.node == node]

    async def _write_node(self, node: str, ready: str, reason: str) -> None:
        path = NODES.path(name=node)
        try:
            found = await self._api.get(path)
        except NotFound:  # pods can be bound to a node that is no object
            return
        condition = {"type": "Ready", "status": ready, "reason": reason, "lastTransitionTime": self._now()}
        others = [other for other in found["status"].get("conditions") or [] if other["type"] != "Ready"]
        await self._api.merge(f"{path}/status", {"status": {"conditions": [*others, condition]}})

    # ------------------------------------------------------------ the loop

    def _told(self, change: Change[_Pod]) -> None:
        pod = change.new
        if pod is None:
            assert change.old is not None
            self._forget(change.old.metadata.uid)
        elif pod.node in self._lost:
            return
        elif pod.metadata.deletion_timestamp is not None:
            self._begin_end(pod)
        elif pod.metadata.uid not in self._lives and pod.status.get("phase", "Pending") == "Pending":
            self._lives[pod.metadata.uid] = asyncio.create_task(self._live(pod))

    def _forget(self, uid: str) -> None:
        self._ending.discard(uid)
        if (life := self._lives.pop(uid, None)) is not None:
            life.cancel()

    def _begin_end(self, pod: _Pod) -> None:
        uid = pod.metadata.uid
        if uid in self._ending and pod.metadata.deletion_grace_period_seconds:
            return
        if (life := self._lives.pop(uid, None)) is not None:
            life.cancel()
        self._ending.add(uid)
        self._lives[uid] = asyncio.create_task(self._end(pod))

    async def _live(self, pod: _Pod) -> None:
        document, course = pod.document, self._course(pod.document)
        for done in range(len(pod.spec.get("initContainers") or []) if course.init_s else 0):
            await self._try(document, partial(initialising, document, done, self._now()))
            await self._clock.sleep(course.init_s)
        address = await self._start(document)
        ready = course.ready_s <= 0
        await self._try(document, lambda: running(document, address, ready, self._now()))
        fails = course.fails_s < math.inf
        if not ready and course.ready_s < course.fails_s:
            await self._clock.sleep(course.ready_s)
            await self._try(document, lambda: running(document, address, True, self._now()))
        if fails:
            await self._clock.sleep(course.fails_s - min(max(course.ready_s, 0.0), course.fails_s))
            reason = "Completed" if course.code == 0 else "Error"
            await self._try(document, lambda: failed(document, course.code, reason, self._now()))

    async def _start(self, pod: Document) -> str:
        while True:
            try:
                return await self._containers.start(pod)
            except OSError:
                await self._clock.sleep(RETRY_S)

    async def _end(self, pod: _Pod) -> None:
        ends_s = self._course(pod.document).ends_s
        if ends_s == math.inf:
            return
        await self._containers.stop(pod.document)
        grace = pod.metadata.deletion_grace_period_seconds
        await self._clock.sleep(min(ends_s, grace or 0))
        while True:
            try:
                async with self._writing:
                    await self._api.delete(pod.path, uid=pod.metadata.uid, grace_s=0)
            except NotFound:
                return
            except (ApiError, ApiUnreachable):
                if not self._is_there(pod):  # a new one may have its name
                    return
                await self._clock.sleep(RETRY_S)
            else:
                return

    def _is_there(self, pod: _Pod) -> bool:
        held = self._pods.get(pod.metadata.namespace, pod.metadata.name)
        return held is not None and held.metadata.uid == pod.metadata.uid

    # ------------------------------------------------------------ calls

    async def _try(self, pod: Document, status: Callable[[], Document]) -> None:
        """Write until it is written, or the pod is gone."""
        while True:
            try:
                pod["status"] = (await self._write(pod, status()))["status"]
            except (NotFound, Conflict, Invalid):  # Invalid: another pod has the name now
                return
            except (ApiError, ApiUnreachable):
                await self._clock.sleep(RETRY_S)
            else:
                return

    async def _read(self, namespace: str, name: str) -> Document:
        return await self._api.get(PODS.path(namespace, name))

    async def _write(self, pod: Document, status: Document) -> Document:
        metadata = pod["metadata"]
        path = PODS.path(metadata["namespace"], metadata["name"], "status")
        async with self._writing:
            return await self._api.merge(path, {"metadata": {"uid": metadata["uid"]}, "status": status})

    def _now(self) -> str:
        return datetime.fromtimestamp(int(self._clock.wall()), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
