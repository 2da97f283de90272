"""Letting pods go, and taking them back: writes that nobody waits for, and that tell when they are done."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from grove_dp.errors import GroveError
from grove_dp.kube.objects import PODS
from grove_operator.applying import Writer
from grove_operator.gang.pins import GangKey
from grove_operator.gang.release import Labels, release_patch
from grove_operator.pods import Pod

__all__ = ["Releases"]

log = logging.getLogger(__name__)

Document = dict[str, Any]


class Releases:
    """Of all gangs."""

    def __init__(
        self, writer: Writer, landed: Callable[[GangKey, Pod, bool], None], taken: Callable[[GangKey], None]
    ) -> None:
        """*landed*: a pod's patch is through (True), or has failed. *taken*: pods of a gang are deleted."""
        self._writer = writer
        self._landed = landed
        self._taken = taken
        self._tasks: set[asyncio.Task[None]] = set()

    def let_go(self, key: GangKey, pod: Pod, node: str, within: Labels) -> None:
        """Off with our gate, and on to *node*, or wherever the scheduler likes *within* these labels."""
        self._begin(self._release(key, pod, release_patch(pod, node, within)), f"release {pod.metadata.uid}")

    def take_back(self, key: GangKey, pods: Sequence[Pod]) -> None:
        """Delete them: who makes pods makes them anew, gated."""
        self._begin(self._delete(key, pods), f"anew {key}")

    def cancel(self) -> None:
        """End what is on its way."""
        for task in self._tasks:
            task.cancel()

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _release(self, key: GangKey, pod: Pod, patch: Document) -> None:
        meta = pod.metadata
        fine = True
        try:
            await self._writer.merge(PODS, meta.namespace, meta.name, patch)
        except GroveError as error:
            log.warning("pod %s/%s is not released: %s", meta.namespace, meta.name, error)
            fine = False
        self._landed(key, pod, fine)

    async def _delete(self, key: GangKey, pods: Sequence[Pod]) -> None:
        try:
            await self._writer.delete_pods(pods)
        except (GroveError, ExceptionGroup) as error:
            log.warning("gang %s: pods are not taken back: %s", key, error)
        self._taken(key)
