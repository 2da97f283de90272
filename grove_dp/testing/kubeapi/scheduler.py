"""A scheduler: binds pods to nodes that have room for them, one after the other, as the default one does.

    filter   node ready and schedulable, taints tolerated, node selector, required node affinity, room
    choose   the node with the fewest pods; by name among equals
    else     PodScheduled=False, Unschedulable, with what was wrong with how many nodes

It knows nothing of gangs: of eight pods with room for five, five are bound. That is the default scheduler's
way, and what our own admission is for. Not here: affinity between pods, spreading, preemption.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from grove_dp.testing.kubeapi.answers import Document
from grove_dp.testing.kubeapi.builtin import PODS
from grove_dp.testing.kubeapi.pods import ENDED, REQUIRED, with_condition
from grove_dp.testing.kubeapi.selectors import matches
from grove_dp.testing.kubeapi.server import Server
from grove_dp.testing.kubeapi.store import Change, Key, Stored
from grove_dp.testing.kubeapi.subresources import bind

__all__ = ["Scheduler", "quantity"]

NODES: Final = ("", "nodes")
POD: Final = ("", "pods")
KEEPS_AWAY: Final = ("NoSchedule", "NoExecute")
UNITS: Final[Mapping[str, float]] = {
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
Room = Counter[str]


def quantity(value: str | float) -> int:
    """In thousandths, so that sums stay exact."""
    text = str(value)
    unit = next(
        (unit for unit in ("Ki", "Mi", "Gi", "Ti", "m", "k", "M", "G", "T") if text.endswith(unit)), ""
    )
    return round(float(text.removesuffix(unit)) * UNITS.get(unit, 1) * 1000)


class Scheduler:
    """Binds the pods that name it, between entry and exit of its `async with`, *after_s* they could be."""

    def __init__(self, server: Server, *, name: str = "default-scheduler", after_s: float = 0.0) -> None:
        self._server = server
        self._name = name
        self._after_s = after_s
        self._wake = asyncio.Event()
        self._used: dict[str, Room] = {}
        self._untried: dict[Key, None] = {}
        self._failed: dict[Key, None] = {}

    async def __aenter__(self) -> Self:
        for stored in self._server.store.table(POD).list():
            self._told(POD, Change(None, stored, stored.version))
        self._server.store.listeners.append(self._told)
        self._task = asyncio.create_task(self._run(), name="scheduler")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.store.listeners.remove(self._told)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            if self._after_s:
                await self._server.clock.sleep(self._after_s)
            self._wake.clear()
            self._schedule()

    # ------------------------------------------------------------ what changed

    def _told(self, resource: tuple[str, str], change: Change) -> None:
        if resource == POD:
            self._count(change.old, -1)
            self._count(change.new, 1)
            self._queue(change)
            if change.old is not None and _occupies(change.old) and not _occupies(change.new):
                self._look_again()
        elif resource == NODES:
            self._look_again()

    def _count(self, stored: Stored | None, sign: int) -> None:
        if stored is not None and _occupies(stored):
            node = stored.document["spec"]["nodeName"]
            used = self._used.setdefault(node, Counter())
            for name, amount in _request(stored.document["spec"]).items():
                used[name] += sign * amount

    def _queue(self, change: Change) -> None:
        key = change.last.key
        if change.new is None or not self._is_ours(change.new.document):
            self._untried.pop(key, None)
            self._failed.pop(key, None)
        elif change.old is None or change.old.document["spec"] != change.new.document["spec"]:
            self._failed.pop(key, None)
            self._untried[key] = None
            self._wake.set()

    def _is_ours(self, pod: Document) -> bool:
        spec = pod["spec"]
        return (
            not spec.get("nodeName")
            and not spec.get("schedulingGates")
            and "deletionTimestamp" not in pod["metadata"]
            and spec.get("schedulerName") == self._name
        )

    def _look_again(self) -> None:
        """There may be room now."""
        if self._failed:
            self._untried |= self._failed
            self._failed = {}
            self._wake.set()

    # ------------------------------------------------------------ placing

    def _schedule(self) -> None:
        """Try every pod that may fit; higher priorities first, older ones first."""
        table = self._server.store.table(POD)
        pods = [pod for key in self._untried if (pod := table.get(key)) is not None]
        pods.sort(key=lambda pod: -(pod.document["spec"].get("priority") or 0))
        self._untried = {}
        nodes = [stored.document for stored in self._server.store.table(NODES).list()]
        for pod in pods:
            spec = pod.document["spec"]
            wanted = _request(spec)
            found = {node["metadata"]["name"]: self._objection(node, spec, wanted) for node in nodes}
            fitting = [name for name, objection in found.items() if objection is None]
            if fitting:
                self._bind(pod, min(fitting, key=lambda name: (self._used.get(name, Room())["pods"], name)))
            else:
                self._failed[pod.key] = None
                self._refuse(pod, _words(list(found.values())))

    def _objection(self, node: Document, spec: Document, wanted: Room) -> str | None:
        """Why the pod cannot be there; None if it can."""
        for objection in _unsuitable(node, spec):
            return objection
        allocatable = (node.get("status") or {}).get("allocatable") or {}
        used = self._used.get(node["metadata"]["name"], Room())
        short = [
            name
            for name, amount in wanted.items()
            if used[name] + amount > quantity(allocatable.get(name, 0))
        ]
        return (
            ", ".join("Too many pods" if name == "pods" else f"Insufficient {name}" for name in short) or None
        )

    def _bind(self, pod: Stored, node: str) -> None:
        binding = {"metadata": {"name": pod.key[1], "uid": pod.uid}, "target": {"name": node}}
        bind(self._server.registry, PODS, pod.key, msgspec.json.encode(binding))

    def _refuse(self, pod: Stored, words: str) -> None:
        conditions = pod.document["status"].get("conditions") or []
        old: Document = next((one for one in conditions if one["type"] == "PodScheduled"), {})
        if (old.get("reason"), old.get("message")) == ("Unschedulable", words):
            return
        now = self._server.registry.timestamp()
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": words,
            "lastProbeTime": None,
            "lastTransitionTime": old.get("lastTransitionTime", now) if old.get("status") == "False" else now,
        }
        status = with_condition(pod.document["status"], condition)
        self._server.registry.overwrite(PODS, pod, {**pod.document, "status": status})


def _occupies(stored: Stored | None) -> bool:
    """It is on a node, and takes room there."""
    if stored is None or not stored.document["spec"].get("nodeName"):
        return False
    return (stored.document.get("status") or {}).get("phase") not in ENDED


def _request(spec: Document) -> Room:
    """What a pod takes: the sum of its containers, or the largest init container."""
    room: Room = Counter()
    for container in spec.get("containers") or []:
        room.update(_named(container))
    for container in spec.get("initContainers") or []:
        room |= Counter(_named(container))
    room["pods"] = quantity(1)
    return room


def _named(container: Document) -> dict[str, int]:
    requests: Mapping[str, Any] = (container.get("resources") or {}).get("requests") or {}
    return {name: quantity(amount) for name, amount in requests.items()}


def _unsuitable(node: Document, spec: Document) -> Iterator[str]:
    """Room aside."""
    conditions = (node.get("status") or {}).get("conditions") or []
    taints = list(node["spec"].get("taints") or [])
    if not any(one["type"] == "Ready" and one["status"] == "True" for one in conditions):
        taints.append({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"})
    if node["spec"].get("unschedulable"):
        yield "node(s) were unschedulable"
    for taint in taints:
        if taint.get("effect") in KEEPS_AWAY and not _tolerated(taint, spec.get("tolerations") or []):
            yield "node(s) had untolerated taint(s)"
    if not _selected(node, spec):
        yield "node(s) didn't match Pod's node affinity/selector"


def _tolerated(taint: Document, tolerations: list[Document]) -> bool:
    return any(
        toleration.get("effect", taint["effect"]) == taint["effect"]
        and toleration.get("key", taint["key"]) == taint["key"]
        and (toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", ""))
        for toleration in tolerations
    )


def _selected(node: Document, spec: Document) -> bool:
    labels: Mapping[str, str] = node["metadata"].get("labels") or {}
    if not (spec.get("nodeSelector") or {}).items() <= labels.items():
        return False
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(REQUIRED)
    if affinity is None:
        return True
    fields = {"metadata.name": node["metadata"]["name"]}
    return any(
        (term.get("matchExpressions") or term.get("matchFields"))
        and matches(term.get("matchExpressions") or [], labels)
        and matches(term.get("matchFields") or [], fields)
        for term in affinity["nodeSelectorTerms"]
    )


def _words(objections: list[str | None]) -> str:
    """As kube-scheduler sums them up."""
    if not objections:
        return "no nodes available to schedule pods"
    counted = Counter(reason for objection in objections if objection for reason in objection.split(", "))
    reasons = sorted(f"{count} {reason}" for reason, count in counted.items())
    return f"0/{len(objections)} nodes are available: {', '.join(reasons)}."
