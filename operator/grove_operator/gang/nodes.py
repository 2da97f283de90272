"""The nodes as columns: one slot each, and what they say as arrays over all slots.

    slot      0     1     2     3            a dropped node's slot is given to the next new one
    name     n-a   n-b    -    n-c
    rack      0     0    -1     1            codes of the label's values; -1: without, or no node

A rule of a pod is judged once for each value that occurs (a rack, a set of taints), not once for each node,
and then looked up: 5,000 nodes cost 20 us. What came out is kept until a node changes.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Final

import msgspec
import numpy as np

from grove_operator.gang.columns import Column, Flags, Ints
from grove_operator.gang.needs import Requirement, Where
from grove_operator.gang.node import CORDON, RoomNode, tolerated

__all__ = ["Domains", "Roster"]

KEPT: Final = 512  # masks and domains that are kept at most
SLACK: Final = 1024  # values that no node has any more, before a column is made anew


class Domains(msgspec.Struct, frozen=True):
    """Nodes by what they have in common. *codes* by slot, -1 for none; *parents* and *rank* by code."""

    codes: Ints
    count: int
    parents: Ints  # codes in the domains of all keys but the last
    rank: Ints  # in the order of their names
    names: tuple[str, ...]  # values of the last key


class Roster:
    """All nodes by slot."""

    def __init__(self) -> None:
        self.nodes: list[RoomNode | None] = []
        self.slots: dict[str, int] = {}
        self._spare: list[int] = []
        self._labels: dict[str, Column] = {}
        self._taints = Column(0)
        self._ready: Flags = np.zeros(0, np.bool_)
        self._cordoned: Flags = np.zeros(0, np.bool_)
        self._kept: dict[Hashable, Flags] = {}
        self._domains: dict[tuple[str, ...], Domains] = {}
        self._rank: Ints | None = None

    @property
    def ready(self) -> Flags:
        """Which slots have a node that is ready."""
        return self._ready[: len(self.nodes)]

    @property
    def cordoned(self) -> Flags:
        """Which slots have a node that takes no new pods."""
        return self._cordoned[: len(self.nodes)]

    @property
    def rank(self) -> Ints:
        """Of each slot in the order of names."""
        if self._rank is None:
            self._rank = np.zeros(len(self.nodes), np.int64)
            self._rank[[self.slots[name] for name in sorted(self.slots)]] = np.arange(len(self.slots))
        return self._rank

    def put(self, node: RoomNode) -> int:
        """The slot of *node*, which may be new there."""
        name = node.metadata.name
        slot = self.slots.get(name)
        if slot is None:
            slot = self.slots[name] = self._spare.pop() if self._spare else self._grown()
            self._rank = None
        before, self.nodes[slot] = self.nodes[slot], node
        self._ready[slot] = node.ready
        self._cordoned[slot] = node.spec.unschedulable
        self._taints.put(slot, node.taints)
        if before is None or before.metadata.labels != node.metadata.labels:
            labels = node.metadata.labels or {}
            for key, column in self._labels.items():
                column.put(slot, labels.get(key))
            self._regrouped()
        self._kept.clear()
        return slot

    def drop(self, name: str) -> int:
        """The slot that it leaves."""
        slot = self.slots.pop(name)
        self._spare.append(slot)
        self.nodes[slot] = None
        self._ready[slot] = self._cordoned[slot] = False
        for column in (self._taints, *self._labels.values()):
            column.put(slot, None)
        self._rank = None
        self._regrouped()
        return slot

    def _grown(self) -> int:
        slot = len(self.nodes)
        self.nodes.append(None)
        if slot == len(self._ready):
            more = slot // 2 + 64
            self._ready = np.concatenate([self._ready, np.zeros(more, np.bool_)])
            self._cordoned = np.concatenate([self._cordoned, np.zeros(more, np.bool_)])
            for column in (self._taints, *self._labels.values()):
                column.codes = np.concatenate([column.codes, np.full(more, -1, np.int32)])
        return slot

    def _regrouped(self) -> None:
        self._kept.clear()
        self._domains.clear()
        for key in [
            key for key, one in self._labels.items() if len(one.values) > 2 * len(self.slots) + SLACK
        ]:
            del self._labels[key]

    def _label(self, key: str) -> Column:
        column = self._labels.get(key)
        if column is None:
            column = self._labels[key] = Column(len(self._ready))
            for slot, node in enumerate(self.nodes):
                if node is not None:
                    column.put(slot, node.metadata.label(key))
        return column

    def domains(self, keys: tuple[str, ...]) -> Domains:
        """The nodes by the values of all of these labels; those without one of them are in none."""
        found = self._domains.get(keys)
        if found is None:
            found = self._domains[keys] = self._parted(keys) if keys else self._whole()
        return found

    def _whole(self) -> Domains:
        codes = np.full(len(self.nodes), -1, np.int64)
        codes[list(self.slots.values())] = 0
        return Domains(codes, 1, np.zeros(1, np.int64), np.zeros(1, np.int64), ("",))

    def _parted(self, keys: tuple[str, ...]) -> Domains:
        outer, column = self.domains(keys[:-1]), self._label(keys[-1])
        within = column.codes[: len(self.nodes)].astype(np.int64)
        pairs = np.where((outer.codes >= 0) & (within >= 0), outer.codes * len(column.values) + within, -1)
        distinct, codes = np.unique(pairs, return_inverse=True)
        codes = codes.astype(np.int64)
        if distinct.size and distinct[0] < 0:
            distinct, codes = distinct[1:], codes - 1
        width = max(1, len(column.values))
        names = tuple(str(column.values[code]) for code in distinct % width)
        parents = distinct // width
        order = sorted(range(len(names)), key=lambda code: (outer.rank[parents[code]], names[code]))
        rank = np.zeros(len(names), np.int64)
        rank[order] = np.arange(len(names))
        return Domains(codes, len(names), parents, rank, names)

    def open(self, where: Where) -> Flags:
        """The slots that such a pod may go to as far as their nodes go: ready, tolerated, and asked for."""
        return self._remembered(
            ("open", where), lambda: self.ready & self.uncordoned(where) & self.fits(where)
        )

    def fits(self, where: Where) -> Flags:
        """The slots whose taints the pod tolerates and whose labels it asks for, be they ready or not."""
        return self._remembered(("fits", where), lambda: self.tolerated(where) & self.asked(where))

    def uncordoned(self, where: Where) -> Flags:
        """The slots that take new pods, or pods such as this."""
        return ~self.cordoned | tolerated(where.tolerations, (CORDON,))

    def tolerated(self, where: Where) -> Flags:
        """The slots whose taints the pod tolerates."""

        def good(taints: Hashable) -> bool:
            return isinstance(taints, tuple) and tolerated(where.tolerations, taints)

        found: Flags = self._taints.where(good, absent=False)[: len(self.nodes)]
        return found

    def asked(self, where: Where) -> Flags:
        """The slots whose labels and names the pod asks for."""
        found: Flags = self.domains(()).codes == 0
        for key, value in where.selector:
            found = found & self._label(key).among([value])[: len(found)]
        if where.terms is not None:
            any_term = np.zeros(len(found), np.bool_)
            for term in where.terms:
                any_term |= self._term(term)
            found &= any_term
        return found

    def _term(self, term: tuple[Requirement, ...]) -> Flags:
        """All of it must hold; an empty one never does."""
        found = np.full(len(self.nodes), bool(term), np.bool_)
        for one in term:
            found &= self._names(one) if one.field else self._values(one)[: len(found)]
        return found

    def _names(self, one: Requirement) -> Flags:
        found = np.zeros(len(self.nodes), np.bool_)
        if one.key == "metadata.name":
            found[[slot for name in one.values if (slot := self.slots.get(name)) is not None]] = True
            if one.operator == "NotIn":
                found = ~found
        return found

    def _values(self, one: Requirement) -> Flags:
        column = self._label(one.key)
        match one.operator:
            case "In":
                return column.among(one.values)
            case "NotIn":
                return ~column.among(one.values)
            case "Exists":
                return column.codes >= 0
            case "DoesNotExist":
                return column.codes < 0
            case "Gt" | "Lt":
                return column.where(lambda value: _compares(str(value), one), absent=False)
        return np.zeros(len(column.codes), np.bool_)

    def _remembered(self, key: Hashable, made: Callable[[], Flags]) -> Flags:
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) >= KEPT:
                self._kept.clear()
            found = self._kept[key] = made()
        return found

    def labels(self, name: str, keys: Iterable[str]) -> list[tuple[str, str]]:
        """Of that node."""
        node = self.nodes[self.slots[name]]
        return [(key, node.metadata.label(key) or "") for key in keys] if node is not None else []

    def neighbours(self, name: str, key: str) -> Iterator[str]:
        """All nodes in its domain of *key*, itself among them."""
        slot = self.slots.get(name)
        if slot is not None and (code := self.domains((key,)).codes[slot]) >= 0:
            yield from self.names((self.domains((key,)).codes == code).nonzero()[0].tolist())

    def names(self, slots: Iterable[int]) -> Iterator[str]:
        """Of the nodes there."""
        for slot in slots:
            node = self.nodes[slot]
            if node is not None:
                yield node.metadata.name


def _compares(value: str, one: Requirement) -> bool:
    """Whole numbers on both sides, or it does not hold."""
    try:
        left, right = int(value), int(one.values[0])
    except (ValueError, IndexError):
        return False
    return left > right if one.operator == "Gt" else left < right
