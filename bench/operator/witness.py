"""Notes when each pod came, got a node, was Ready, went: an informer in a thread with a loop of its own.

An informer and no bare watch: the API server drops a watch whose reader is slow, and what a new one starts
with are no times any more. The informer goes on from the last version it saw, so nothing is missed.
"""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import uvloop

from grove_dp.kube.access import connect
from grove_dp.kube.informer import Change, Informer
from grove_dp.kube.objects import PODS, Condition, Meta

__all__ = ["Seen", "Witness"]


class _Container(msgspec.Struct, frozen=True):
    image: str = ""


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    node_name: str = ""
    containers: tuple[_Container, ...] | None = None  # null in a bookmark


class _Status(msgspec.Struct, frozen=True):
    conditions: tuple[Condition, ...] | None = None


class _Pod(msgspec.Struct, frozen=True):
    metadata: Meta = Meta()
    spec: _Spec = _Spec()
    status: _Status = _Status()

    @property
    def ready(self) -> bool:
        conditions = self.status.conditions or ()
        return any(one.type == "Ready" and one.status == "True" for one in conditions)


class Seen(msgspec.Struct):
    """Of a pod; times in seconds of the monotonic clock, 0 for what has not happened."""

    name: str
    clique: str
    image: str
    made: float
    bound: float = 0.0
    ready: float = 0.0
    gone: float = 0.0


class Witness:
    """Sees the pods of a namespace between entry and exit of its `with`. Other threads may read."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.changed = time.monotonic()
        self._pods: dict[str, Seen] = {}  # by uid: a name can come again
        self._there: dict[str, Seen] = {}
        self._kubeconfig, self._namespace = kubeconfig, namespace
        self._started, self._failure = threading.Event(), None
        self._thread = threading.Thread(target=self._run, name="witness", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        if not self._thread.is_alive():
            raise RuntimeError("nobody watches the pods")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()

    def there(self, prefix: str = "") -> list[Seen]:
        """Pods that are there, of cliques whose names begin so."""
        return [seen for seen in list(self._there.values()) if seen.clique.startswith(prefix)]

    def all(self, prefix: str = "") -> list[Seen]:
        """Those that are gone, too."""
        return [seen for seen in list(self._pods.values()) if seen.clique.startswith(prefix)]

    # ------------------------------------------------------------ in the thread

    def _run(self) -> None:
        try:
            uvloop.run(self._watch())
        finally:
            self._started.set()

    async def _watch(self) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        async with await connect(self._kubeconfig) as api:
            pods = Informer(api, PODS, _Pod, namespace=self._namespace)
            pods.listen(self._told)
            watching = asyncio.create_task(pods.run())
            await pods.synced()
            self._started.set()
            await self._ending.wait()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    def _told(self, change: Change[_Pod]) -> None:
        now = self.changed = time.monotonic()
        pod = change.last
        meta = pod.metadata
        if (seen := self._pods.get(meta.uid)) is None:
            image = pod.spec.containers[0].image if pod.spec.containers else ""
            seen = Seen(meta.name, meta.label("grove.io/podclique") or "", image, now)
            self._pods[meta.uid] = self._there[meta.uid] = seen
        if pod.spec.node_name:
            seen.bound = seen.bound or now
        if pod.ready:
            seen.ready = seen.ready or now
        if change.new is None:
            seen.gone = now
            del self._there[meta.uid]
