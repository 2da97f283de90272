"""A node, as far as room for pods goes: what it has, and what keeps pods away from it."""

from collections.abc import Mapping
from typing import Final

import msgspec

from grove_dp.kube.objects import Condition, Meta
from grove_operator.gang.needs import Toleration, amount

__all__ = ["CORDON", "RoomNode", "Taints", "more_room", "same_room", "tolerated"]

Taints = tuple[tuple[str, str, str], ...]  # key, value, effect

HARD: Final = ("NoSchedule", "NoExecute")
CORDON: Final = ("node.kubernetes.io/unschedulable", "", "NoSchedule")


class _Partial(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A part of a node."""


class Taint(_Partial, frozen=True):
    """Of a node."""

    key: str = ""
    value: str = ""
    effect: str = ""


class RoomNodeSpec(_Partial, frozen=True):
    """Of a node."""

    unschedulable: bool = False
    taints: tuple[Taint, ...] | None = None


class RoomNodeStatus(_Partial, frozen=True):
    """Of a node; quantities as they travel."""

    allocatable: Mapping[str, str | int | float] | None = None
    conditions: tuple[Condition, ...] | None = None


class RoomNode(_Partial, frozen=True):
    """A node, as far as room for pods goes."""

    metadata: Meta = Meta()
    spec: RoomNodeSpec = RoomNodeSpec()
    status: RoomNodeStatus = RoomNodeStatus()

    @property
    def ready(self) -> bool:
        """Its condition Ready is True, or it has none yet."""
        conditions = self.status.conditions or ()
        return all(one.status == "True" for one in conditions if one.type == "Ready")

    @property
    def taints(self) -> Taints:
        """Those that keep pods away; a cordon's own is told by `unschedulable`."""
        taints = ((one.key, one.value, one.effect) for one in self.spec.taints or () if one.effect in HARD)
        return tuple(sorted(one for one in taints if not (self.spec.unschedulable and one == CORDON)))


def tolerated(tolerations: tuple[Toleration, ...], taints: Taints) -> bool:
    """Whether a pod with these bears with all of them."""
    return all(any(one.tolerates(*taint) for one in tolerations) for taint in taints)


def same_room(before: RoomNode, after: RoomNode) -> bool:
    """Whether no pod could tell the difference."""
    return (
        before.spec == after.spec
        and before.status.allocatable == after.status.allocatable
        and before.ready == after.ready
        and before.metadata.labels == after.metadata.labels
    )


def more_room(before: RoomNode, after: RoomNode) -> bool:
    """Whether a pod may fit now that did not before."""
    had, has = before.status.allocatable or {}, after.status.allocatable or {}
    return (
        before.metadata.labels != after.metadata.labels
        or (after.ready and not before.ready)
        or (before.spec.unschedulable and not after.spec.unschedulable)
        or not set(before.taints) <= set(after.taints)
        or any(amount(name, value) > amount(name, had.get(name, 0)) for name, value in has.items())
    )
