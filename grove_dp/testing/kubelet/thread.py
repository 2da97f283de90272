"""A kubelet for tests that block: the same, in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from grove_dp.kube.access import connect
from grove_dp.testing.kubelet.agent import Containers, Course, Kubelet, ordinary
from grove_dp.testing.kubelet.status import Document

if TYPE_CHECKING:  # PERF: it brings certificates, which a kubelet of our own API server does without
    from grove_dp.testing.controlplane.api import Api

__all__ = ["FakeKubelet"]

T = TypeVar("T")


class FakeKubelet:
    """A `Kubelet` in a thread, between `start` and `close`; what runs in pods runs in that thread's loop."""

    def __init__(
        self,
        api: Api,
        *,
        course: Callable[[Document], Course] = ordinary,
        containers: Containers | None = None,
    ) -> None:
        self._kubeconfig = api.access.kubeconfig
        self._course = course
        self._containers = containers
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="kubelet", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._kubelet: Kubelet
        self._closing: asyncio.Event

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """From now on pods run."""
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Pods stay as they are."""
        with suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def set_ready(self, namespace: str, name: str, ready: bool) -> Document:
        """The pod passes its readiness probe, or fails it."""
        return self._done(self._kubelet.set_ready(namespace, name, ready))

    def fail(self, namespace: str, name: str, code: int = 1, reason: str = "Error") -> Document:
        """All containers end with this exit code, and nothing starts them again."""
        return self._done(self._kubelet.fail(namespace, name, code, reason))

    def lose(self, node: str) -> None:
        """Nobody hears of the node any more."""
        self._done(self._kubelet.lose(node))

    def find(self, node: str) -> None:
        """It is back."""
        self._done(self._kubelet.find(node))

    def _done(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._closing = asyncio.Event()
        try:
            await self._act()
        except BaseException as error:
            self._failure = error
            raise
        finally:
            self._started.set()

    async def _act(self) -> None:
        async with (
            await connect(self._kubeconfig) as api,
            Kubelet(api, course=self._course, containers=self._containers) as self._kubelet,
        ):
            self._started.set()
            await self._closing.wait()
