"""What is left for one ask while places for it are tried: a copy of the room, and a trail to go back by.

    free[row][slot]      of each resource
    caps[kind][slot]     how many more pods of that kind the node takes
    copies(level)        by domain: how often the level could be there, as far as sums can tell

Sums are a necessary condition, cheap and for all domains at once: of each kind enough, of the scarcest
resource enough for all kinds, and inside for each level below enough domains that hold it. For pods of one
kind without levels below, they are exact.
"""

from typing import Final, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from grove_operator.gang.ask import AskPod
from grove_operator.gang.columns import Flags, Ints
from grove_operator.gang.levels import Kind, Level
from grove_operator.gang.nodes import Domains
from grove_operator.gang.space import Space

__all__ = ["LIMIT", "Floats", "Parts", "Stock", "Taken"]

LIMIT: Final = 1 << 20  # pods of a node, for what is fuller
FEW: Final = 8  # nodes that are counted one by one
Floats = NDArray[np.float64]


class Taken(msgspec.Struct, frozen=True):
    """A step of the trail: pods of one kind on these slots, so many on each."""

    kind: Kind
    slots: Ints
    counts: Ints
    pods: list[AskPod]


class Parts(msgspec.Struct, frozen=True):
    """Some nodes by domain. PERF: numbered anew where few of many domains occur, as of 8 hosts of 5,000."""

    nodes: Ints
    domains: Domains
    codes: Ints  # of each node, from 1; 0 for none
    ids: Ints  # the domain of each code, less 1

    def sums(self, of: Ints | Flags | Floats) -> Floats:
        """By code, of what stands for each node."""
        return cast(Floats, np.bincount(self.codes, weights=of, minlength=len(self.ids) + 1)[1:])

    def counts(self, slots: list[int]) -> Ints:
        """By code, how many of *slots* are there."""
        held = self.domains.codes[slots]
        found: Ints = np.bincount(held[held >= 0], minlength=self.domains.count)[self.ids]
        return found


class Stock:
    """Of one ask. *empty*: as if no pod were anywhere, and all nodes were ready."""

    def __init__(self, room: Space, root: Level, empty: bool = False) -> None:
        self.nodes = room.nodes
        self.trail: list[Taken] = []
        self.strict = False  # what is preferred counts as required
        self.free: Ints = (room.allocatable if empty else room.free)[: len(room.resources)].copy()
        self.every: Ints = np.arange(self.free.shape[1])
        self._masks = {kind: _mask(room, kind, empty) for kind in root.demand}
        self.caps = {kind: self._whole(kind) for kind in root.demand}
        # PERF: kept with the nodes that they are of, so that the address stays theirs.
        self._parts: dict[tuple[int, tuple[str, ...]], Parts] = {}
        self._sums: dict[int, float] = {}
        self.scarce = -1  # the row of which the ask wants most, as a share of what there is
        shares = self.shares(root.wanted)
        self.scarce = max(shares, key=shares.__getitem__, default=-1)

    def _whole(self, kind: Kind) -> Ints:
        """How many more of *kind* each node takes. PERF: by row; of few nodes all rows at once are faster."""
        counts: Ints = np.full(len(self.every), LIMIT if kind.known else 0, np.int64)
        for row, value in kind.rows:
            free = self.free[row]
            np.minimum(counts, free if value == 1 else free // value, out=counts)
        return self._judged(kind, counts, self._masks[kind])

    def _again(self, kind: Kind, at: Ints) -> Ints:
        """The same, of the nodes *at*."""
        if not kind.known:
            return np.zeros(len(at), np.int64)
        counts: Ints = (self.free[kind.indices[:, None], at] // kind.amounts).min(axis=0)
        counts = self._judged(kind, counts, self._masks[kind][at])
        for step in self.trail if kind.needs.ports else ():
            if any(mine.clashes(other) for mine in kind.needs.ports for other in step.kind.needs.ports):
                counts[np.isin(at, step.slots)] = 0
        return counts

    def _one(self, kind: Kind, slot: int) -> int:
        """The same, of one node. PERF: 1 us, as arrays 12 us."""
        if kind.needs.ports:
            return int(self._again(kind, np.array([slot]))[0])
        if not kind.known or not self._masks[kind].item(slot):
            return 0
        item = self.free.item
        return max(0, min(item(row, slot) // value for row, value in kind.rows))

    def _judged(self, kind: Kind, counts: Ints, mask: Flags) -> Ints:
        np.maximum(counts, 0, out=counts)
        counts *= mask
        if kind.needs.ports:
            np.minimum(counts, 1, out=counts)
        return counts

    def parts(self, nodes: Ints, keys: tuple[str, ...]) -> Parts:
        """*nodes* by their values of *keys*."""
        found = self._parts.get((id(nodes), keys))
        if found is None:
            domains = self.nodes.domains(keys)
            codes = domains.codes if nodes is self.every else domains.codes[nodes]
            if 2 * len(nodes) < domains.count:
                ids, codes = np.unique(codes, return_inverse=True)
                none = bool(ids.size and ids[0] < 0)
                found = Parts(nodes, domains, codes + (not none), ids[none:])
            else:
                found = Parts(nodes, domains, codes + 1, np.arange(domains.count))
            self._parts[id(nodes), keys] = found
        return found

    def copies(self, level: Level, nodes: Ints, keys: tuple[str, ...], own: bool) -> Floats:
        """By part of *nodes*: how often *level* could be there at most. *own*: the last keys are its own."""
        parts = self.parts(nodes, keys)
        least: Floats = np.full(len(parts.ids), np.inf)
        for kind, wanted in level.demand.items():
            caps = self.caps[kind] if nodes is self.every else self.caps[kind][nodes]
            np.minimum(least, parts.sums(caps) / wanted, out=least)
        if len(level.demand) > 1 and (scarce := level.wanted.get(self.scarce)):
            np.minimum(least, parts.sums(self._usable(level, nodes)) / scarce, out=least)
        for child, times in level.alike:
            more = child.keys(self.strict)
            inner = np.floor(self.copies(child, nodes, keys + more, own=bool(more)))
            if more:
                inner = self._gathered(inner, nodes, keys, more)
            np.minimum(least, inner / times, out=least)
        if own and level.fixed and (held := parts.counts(level.fixed)).any():
            least[held == 0] = 0
        return least

    def _gathered(self, inner: Floats, nodes: Ints, keys: tuple[str, ...], more: tuple[str, ...]) -> Floats:
        """What is said of domains of *keys* and *more*, summed up by those of *keys*."""
        codes, ids = self.parts(nodes, keys + more).ids, self.parts(nodes, keys).ids
        for known in range(len(more), 0, -1):
            codes = self.nodes.domains(keys + more[:known]).parents[codes]
        return cast(Floats, np.bincount(np.searchsorted(ids, codes), weights=inner, minlength=len(ids)))

    def _usable(self, level: Level, nodes: Ints) -> Ints:
        """Of what is scarcest, the free part where any kind of *level* may go."""
        at = slice(None) if nodes is self.every else nodes
        usable = np.logical_or.reduce([self.caps[kind][at] for kind in level.demand])
        found: Ints = np.maximum(self.free[self.scarce, at], 0) * usable
        return found

    def shares(self, wanted: dict[int, int]) -> dict[int, float]:
        """By row, what is wanted of what there was at first in all."""
        for row in wanted:
            if row not in self._sums:
                self._sums[row] = max(1.0, float(np.maximum(self.free[row], 0).sum()))
        return {row: value / self._sums[row] for row, value in wanted.items()}

    def take(self, kind: Kind, slots: Ints, counts: Ints, pods: list[AskPod]) -> None:
        """Put *pods* there."""
        self.trail.append(Taken(kind, slots, counts, pods))
        self._count(kind, slots, -counts)

    def undo(self, mark: int) -> None:
        """Go back to when the trail was *mark* steps long."""
        while len(self.trail) > mark:
            step = self.trail.pop()
            self._count(step.kind, step.slots, step.counts)

    def _count(self, kind: Kind, slots: Ints, counts: Ints) -> None:
        if len(slots) <= FEW:
            for slot, count in zip(slots.tolist(), counts.tolist(), strict=True):
                for row, value in kind.rows:
                    self.free[row, slot] += value * count
                for other, caps in self.caps.items():
                    caps[slot] = self._one(other, slot)
            return
        self.free[kind.indices[:, None], slots] += kind.amounts * counts
        for other, caps in self.caps.items():
            caps[slots] = self._again(other, slots)


def _mask(room: Space, kind: Kind, empty: bool) -> Flags:
    if empty:
        return room.nodes.fits(kind.needs.where)
    mask = room.open(kind.needs)
    if kind.needs.ports:
        mask = mask.copy()
        mask[list(room.clashing(kind.needs.ports))] = False
    return mask
