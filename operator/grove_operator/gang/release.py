"""Letting pods go, and taking them back. One patch lets a pod go: our gate off, and its node pinned.

A gated pod's affinity may only be narrowed, and a pin cannot be changed later, so both are done at once, at
the last moment. Terms of a node selector are alternatives: the pin goes into every one of them. Gates of
others stay. The uid makes sure that it is that very pod.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from grove_dp.errors import GroveError
from grove_dp.kube.objects import PODS
from grove_operator.applying import Writer
from grove_operator.gang.pins import GangKey
from grove_operator.naming import GATE
from grove_operator.pods import Pod

__all__ = ["Labels", "Releases", "release_patch"]

log = logging.getLogger(__name__)

Document = dict[str, Any]
Labels = Sequence[tuple[str, str]]
REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"


def release_patch(pod: Pod, node: str = "", within: Labels = ()) -> Document:
    """A merge patch; without *node* the scheduler chooses, among nodes with the labels *within*."""
    gates = [{"name": gate.name} for gate in pod.spec.scheduling_gates or () if gate.name != GATE]
    spec: Document = {"schedulingGates": gates or None}
    pin = {"matchFields": [_in("metadata.name", node)]} if node else {}
    pin |= {"matchExpressions": [_in(key, value) for key, value in within]} if within else {}
    if pin:
        spec["affinity"] = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": _narrowed(pod, pin)}}}
    return {"metadata": {"uid": pod.metadata.uid}, "spec": spec}


def _in(key: str, value: str) -> Document:
    return {"key": key, "operator": "In", "values": [value]}


def _narrowed(pod: Pod, pin: Document) -> list[Document]:
    affinity = (pod.spec.affinity or {}).get("nodeAffinity") or {}
    terms = (affinity.get(REQUIRED) or {}).get("nodeSelectorTerms") or [{}]
    return [
        {**term, **{part: [*(term.get(part) or ()), *more] for part, more in pin.items()}} for term in terms
    ]


class Releases:
    """Writes that let pods go or take them back; nobody waits for them."""

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
