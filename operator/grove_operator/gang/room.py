"""Room in the cluster: what is left of each node, kept up to date by changes.

    free[resource, slot] = allocatable - the needs of pods there - what is reserved there

A pod holds room on the node that it is bound to, or, released, on the one that it is pinned to; until it has
ended or is gone, for one on its way out still runs. A reservation holds room for a pod that is to be released
later; once the pod holds that room itself, both count once. So nothing is ever counted twice or forgotten
between a release and the watch that tells of it.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
import numpy as np

from grove_operator.gang.columns import Flags, Ints
from grove_operator.gang.needs import Needs, Port, amount, needs
from grove_operator.gang.node import RoomNode, more_room, same_room
from grove_operator.gang.nodes import Roster
from grove_operator.gang.occupants import Occupants
from grove_operator.gang.ports import TakenPorts
from grove_operator.gang.space import PodKey, Spared
from grove_operator.pods import Pod, PodSpec

__all__ = ["Occupant", "PodKey", "Room", "RoomNode"]

ITSELF: Final = ""  # the pod, among the owners of reservations


class _Held(msgspec.Struct, frozen=True):
    """A pod as it was last seen."""

    spec: PodSpec
    counts: bool
    node: str
    needs: Needs
    ends: str | None  # when its grace is over, of one on its way out

    @property
    def host(self) -> str:
        """The node that it is bound to, and holds room on."""
        return self.spec.node_name if self.counts else ""


class Occupant(msgspec.Struct, frozen=True):
    """A pod that has a node."""

    key: PodKey
    priority: int
    needs: Needs
    ends: str | None  # when its grace is over, if it is on its way out


class Room:
    """What is free on which node."""

    def __init__(self) -> None:
        self.nodes = Roster()
        self.freed = 0  # rises whenever there may be more room than before
        self.resources: dict[str, int] = {}  # the row of each
        self._free: Ints = np.zeros((8, 0), np.int64)
        self._allocatable: Ints = np.zeros((8, 0), np.int64)
        self._pods: dict[PodKey, _Held] = {}
        self._claims: dict[
            str, dict[PodKey, dict[str, Needs]]
        ] = {}  # by node and pod, of the pod and of owners
        self._reserved: dict[str, dict[PodKey, tuple[str, Needs]]] = {}
        self._ports = TakenPorts()
        self.occupants = Occupants(self._row)
        self.leaving: dict[PodKey, str] = {}  # pods on their way out, and the nodes that they are on

    @property
    def free(self) -> Ints:
        """By resource and slot; below 0 where more is used than there is."""
        return self._free[:, : len(self.nodes.nodes)]

    @property
    def allocatable(self) -> Ints:
        """By resource and slot: what would be free if no pod were there."""
        return self._allocatable[:, : len(self.nodes.nodes)]

    def put_node(self, node: RoomNode) -> None:
        """A node is new, or has changed."""
        name = node.metadata.name
        slot = self.nodes.slots.get(name)
        before = None if slot is None else self.nodes.nodes[slot]
        if before is not None and same_room(before, node):
            return
        slot = self.nodes.put(node)
        if slot >= self._free.shape[1]:
            self._resize(self._free.shape[0], slot + slot // 2 + 64)
        if before is None or before.status.allocatable != node.status.allocatable:
            self._recount(slot, node)
        if before is None or more_room(before, node):
            self.freed += 1

    def drop_node(self, name: str) -> None:
        """A node is gone; its pods go with changes of their own."""
        if name in self.nodes.slots:
            slot = self.nodes.drop(name)
            self._free[:, slot] = self._allocatable[:, slot] = 0
            self.occupants.clear(slot)

    def put_pod(self, pod: Pod) -> None:
        """A pod is new, or has changed."""
        key = (pod.metadata.namespace, pod.metadata.name)
        held = self._pods.get(key)
        counts, ends = not pod.over, pod.metadata.deletion_timestamp
        same = held is not None and (held.spec is pod.spec or held.spec == pod.spec)
        if held is not None and same and (held.counts, held.ends) == (counts, ends):
            return
        node = (pod.spec.node_name or ("" if pod.gated else pod.pinned)) if counts else ""
        asked = needs(pod)
        now = self._pods[key] = _Held(pod.spec, counts, node, asked, ends)
        self._host(key, held, now)
        if held is not None and held.node and (held.node, held.needs) != (node, asked):
            self._release(held.node, key, ITSELF)
        if node:
            self._hold(node, key, ITSELF, asked)

    def drop_pod(self, namespace: str, name: str) -> None:
        """A pod is gone."""
        held = self._pods.pop((namespace, name), None)
        if held is not None:
            self._host((namespace, name), held, None)
        if held is not None and held.node:
            self._release(held.node, (namespace, name), ITSELF)

    def _host(self, key: PodKey, before: _Held | None, after: _Held | None) -> None:
        """Keep what is known of pods that are bound."""
        if before is not None and before.host:
            self._occupy(before, -1)
            if before.ends:
                del self.leaving[key]
        if after is not None and after.host:
            self._occupy(after, 1)
            if after.ends:
                self.leaving[key] = after.host

    def _occupy(self, held: _Held, sign: int) -> None:
        self.occupants.count(held.spec.priority or 0, self.nodes.slots.get(held.host), held.needs, sign)

    def there(self, node: str) -> Iterator[Occupant]:
        """The pods that are bound to *node*."""
        for key in self._claims.get(node, ()):
            held = self._pods.get(key)
            if held is not None and held.host == node:
                yield Occupant(key, held.spec.priority or 0, held.needs, held.ends)

    def reserve(self, owner: str, placement: Mapping[PodKey, tuple[str, Needs]]) -> None:
        """Hold room for pods that are to be released; what *owner* held before is given back."""
        before = self._reserved.pop(owner, {})
        for key, (node, asked) in placement.items():
            if before.get(key) != (node, asked):
                self._hold(node, key, owner, asked)
        for key, (node, _) in before.items():
            if key not in placement or placement[key][0] != node:
                self._release(node, key, owner)
        if placement:
            self._reserved[owner] = dict(placement)

    def unreserve(self, owner: str) -> None:
        """Give back what is reserved for *owner*; pods that are there keep their room."""
        self.reserve(owner, {})

    def reserved(self, owner: str) -> Mapping[PodKey, tuple[str, Needs]]:
        """What is held for *owner*."""
        return self._reserved.get(owner, {})

    def going(self) -> Iterator[tuple[str, Occupant]]:
        """Pods that are bound and on their way out, with their nodes."""
        for key, node in self.leaving.items():
            held = self._pods[key]
            yield node, Occupant(key, held.spec.priority or 0, held.needs, held.ends)

    def priority_of(self, key: PodKey) -> int | None:
        """Of a pod that has a node."""
        held = self._pods.get(key)
        return held.spec.priority or 0 if held is not None and held.host else None

    def node_of(self, key: PodKey) -> str:
        """Where the pod holds room; empty: nowhere."""
        held = self._pods.get(key)
        return held.node if held is not None else ""

    def clashing(self, ports: tuple[Port, ...], counts: Spared | None = None) -> Iterator[int]:
        """Slots of nodes where one of these ports is taken, by a pod that *counts*."""
        for node, key in self._ports.clashing(ports):
            slot = self.nodes.slots.get(node)
            if slot is not None and (counts is None or counts(slot, key)):
                yield slot

    def rows(self, asked: Needs) -> list[tuple[int, int]] | None:
        """Row and amount of each resource; None: no node has one of them."""
        found = [(self.resources.get(name, -1), value) for name, value in asked.requests]
        return None if any(row < 0 for row, _ in found) else found

    def open(self, asked: Needs) -> Flags:
        """The slots that such a pod may go to, full or not."""
        return self.nodes.open(asked.where)

    def _hold(self, node: str, key: PodKey, owner: str, asked: Needs) -> None:
        holders = self._claims.setdefault(node, {}).setdefault(key, {})
        before = _effective(holders)
        holders[owner] = asked
        self._settle(node, key, before, _effective(holders))

    def _release(self, node: str, key: PodKey, owner: str) -> None:
        pods = self._claims[node]
        holders = pods[key]
        before = _effective(holders)
        del holders[owner]
        after = _effective(holders)
        if not holders:
            del pods[key]
            if not pods:
                del self._claims[node]
        self._settle(node, key, before, after)

    def _settle(self, node: str, key: PodKey, before: Needs | None, after: Needs | None) -> None:
        """The claim on *node* was for *before*, and is for *after* now."""
        if before is after or before == after:
            return
        slot = self.nodes.slots.get(node)
        if before is not None:
            self._count(slot, before, +1)
            self._ports.give_back(node, key, before)
            self.freed += 1
        if after is not None:
            self._count(slot, after, -1)
            self._ports.take(node, key, after)

    def _count(self, slot: int | None, asked: Needs, sign: int) -> None:
        if slot is not None:
            for name, value in asked.requests:
                self._free[self._row(name), slot] += sign * value

    def _row(self, resource: str) -> int:
        row = self.resources.get(resource)
        if row is None:
            row = self.resources[resource] = len(self.resources)
            if row == self._free.shape[0]:
                self._resize(2 * row, self._free.shape[1])
        return row

    def _resize(self, rows: int, slots: int) -> None:
        for name in ("_free", "_allocatable"):
            held: Ints = getattr(self, name)
            larger = np.zeros((rows, slots), np.int64)
            larger[: held.shape[0], : held.shape[1]] = held
            setattr(self, name, larger)

    def _recount(self, slot: int, node: RoomNode) -> None:
        self._allocatable[:, slot] = 0
        for name, value in (node.status.allocatable or {}).items():
            self._allocatable[self._row(name), slot] = amount(name, value, up=False)
        self._free[:, slot] = self._allocatable[:, slot]
        self.occupants.clear(slot)
        for one in self.there(node.metadata.name):
            self.occupants.fill(one.priority, slot, one.needs)
        for holders in self._claims.get(node.metadata.name, {}).values():
            asked = _effective(holders)
            if asked is not None:
                self._count(slot, asked, -1)


def _effective(holders: Mapping[str, Needs]) -> Needs | None:
    """What a pod itself holds goes before what is reserved for it."""
    return holders.get(ITSELF) or next(iter(holders.values()), None)
