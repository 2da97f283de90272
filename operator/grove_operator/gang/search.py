"""The search for places, level by level, with bounded back-tracking.

    caps[kind][slot]     how many more pods of that kind the node takes
    copies(level)        by domain: how often the level could be there, as far as sums can tell

Sums are a necessary condition, cheap and for all domains at once: of each kind enough, of each resource
enough for all kinds, and inside for each level below enough domains that hold it. A domain that passes is
tried, tightest first; what is placed is noted in a trail, so that it can be taken back when a later level
finds no place. For pods of one kind without levels below, sums are exact. After BUDGET dead ends the
answer is no.

Inside a domain the pods of one kind fill the fullest node that takes any, then the next (best fit), the kind
that asks most of what is scarcest going first (first fit decreasing). Where that fails with several kinds,
other orders are tried.
"""

from collections.abc import Callable, Iterator
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from grove_operator.gang.ask import Ask, AskPod, Placement
from grove_operator.gang.levels import Kind, Level
from grove_operator.gang.nodes import Flags, Ints
from grove_operator.gang.room import PodKey, Room

__all__ = ["Search"]

BUDGET: Final = 256  # dead ends; one costs 20 to 100 us
LIMIT: Final = 1 << 20  # pods of a node, for what is fuller
Floats = NDArray[np.float64]
Loose = dict[Kind, list[AskPod]]


class _Taken(msgspec.Struct, frozen=True):
    """A step of the trail: pods of one kind on these slots, so many on each."""

    kind: Kind
    slots: Ints
    counts: Ints
    pods: list[AskPod]


class _Order(msgspec.Struct, frozen=True):
    """Of filling: kinds by what is scarce, or by how little choice they have; fullest nodes first or last."""

    scarce: bool = True
    fullest: bool = True
    former: bool = True


ORDERS: Final = (_Order(), _Order(former=False), _Order(scarce=False), _Order(fullest=False, former=False))


class Search:
    """One ask, on a copy of the room. *empty*: as if no pod were anywhere and all nodes ready."""

    def __init__(self, room: Room, root: Level, ask: Ask | None = None, empty: bool = False) -> None:
        self._nodes = room.nodes
        self._root = root
        self._budget = 0
        self._picky = True  # what is preferred is tried first; a second search does without
        self._trail: list[_Taken] = []
        self.free: Ints = (room.allocatable if empty else room.free).copy()
        self.every: Ints = np.arange(self.free.shape[1])
        self._masks = {kind: self._mask(room, kind, empty) for kind in root.demand}
        self.caps: dict[Kind, Ints] = {}
        for kind in root.demand:
            self.caps[kind] = self._capacity(kind, self.every)
        self._shunned = self._avoided(ask) if ask is not None and ask.apart and ask.elsewhere else None

    def _mask(self, room: Room, kind: Kind, empty: bool) -> Flags:
        if empty:
            return room.nodes.fits(kind.needs.where)
        mask = room.open(kind.needs)
        if kind.needs.ports:
            mask = mask.copy()
            mask[list(room.clashing(kind.needs.ports))] = False
        return mask

    def _avoided(self, ask: Ask) -> Flags:
        domains = self._nodes.domains((ask.apart or "",))
        slots = [slot for name in ask.elsewhere if (slot := self._nodes.slots.get(name)) is not None]
        used = np.zeros(domains.count + 1, np.bool_)
        used[domains.codes[slots]] = True
        used[-1] = False
        return used[domains.codes]

    # What there is

    def _capacity(self, kind: Kind, at: Ints) -> Ints:
        """How many more of *kind* the nodes *at* take."""
        if kind.rows is None:
            return np.zeros(len(at), np.int64)
        counts: Ints = np.full(len(at), LIMIT, np.int64)
        for row, value in kind.rows:
            free = self.free[row] if at is self.every else self.free[row, at]
            np.minimum(counts, free if value == 1 else free // value, out=counts)
        np.maximum(counts, 0, out=counts)
        counts *= self._masks[kind] if at is self.every else self._masks[kind][at]
        if kind.needs.ports:
            np.minimum(counts, 1, out=counts)
            for step in self._trail:
                if any(mine.clashes(other) for mine in kind.needs.ports for other in step.kind.needs.ports):
                    counts[np.isin(at, step.slots)] = 0
        return counts

    def copies(self, level: Level, nodes: Ints, keys: tuple[str, ...], own: bool) -> Floats:
        """By domain of *keys*: how often *level* could be there at most. *own*: the last are its own."""
        domains = self._nodes.domains(keys)
        codes = domains.codes[nodes] + 1

        def sums(of: Ints) -> Floats:
            return np.bincount(codes, weights=of, minlength=domains.count + 1)[1:].astype(
                np.float64, copy=False
            )

        least = np.full(domains.count, np.inf)
        for kind, wanted in level.demand.items():
            np.minimum(least, sums(self.caps[kind][nodes]) / wanted, out=least)
        if len(level.demand) > 1:
            for row, wanted in _total(level).items():
                np.minimum(least, sums(self._usable(level, row)[nodes]) / wanted, out=least)
        for child, times in level.alike:
            inner_keys = (*keys, child.pack.required) if child.pack.required else keys
            inner = np.floor(self.copies(child, nodes, inner_keys, own=bool(child.pack.required)))
            if child.pack.required:
                parents = self._nodes.domains(inner_keys).parents
                inner = np.bincount(parents, weights=inner, minlength=domains.count)
            np.minimum(least, inner / times, out=least)
        if own and level.fixed:
            held = domains.codes[level.fixed]
            if (held := held[held >= 0]).size:
                bound = np.zeros(domains.count)
                bound[held] = least[held]
                return bound
        return least

    def _usable(self, level: Level, row: int) -> Ints:
        usable = np.zeros(len(self.every), np.bool_)
        for kind in level.demand:
            usable |= self.caps[kind] > 0
        found: Ints = np.maximum(self.free[row], 0) * usable
        return found

    # Levels

    def found(self) -> bool:
        """Whether all pods have a place now."""
        for self._picky in (True, False):
            self._budget = BUDGET
            if next(self._solve(self._root, self.every, None), None):
                return True
            if not any(level.pack.preferred for level in self._root.walk()):
                break
        return False

    def _solve(self, level: Level, nodes: Ints, hint: Ints | None) -> Iterator[bool]:
        """Each way to place *level* on *nodes*; the trail holds it until the next is asked for."""
        for inside, wider in self._candidates(level, nodes, hint):
            yield from self._within(level, inside, wider)
            self._budget -= 1  # a dead end
            if self._budget <= 0:
                return

    def _within(self, level: Level, nodes: Ints, hint: Ints | None) -> Iterator[bool]:
        """All levels below, then what may be anywhere; a stack, for there may be hundreds of them."""
        parts: list[Callable[[], Iterator[bool]]] = [
            lambda child=child: self._solve(child, nodes, hint)  # type: ignore[misc]
            for child in sorted(level.packed, key=lambda child: (not child.fixed, -self._weight(child)))
        ]
        if level.loose:
            parts.append(lambda: self._fill(level.loose, nodes, hint))
        stack = [parts[0]()]
        while stack:
            if next(stack[-1], None) is None:
                stack.pop()
            elif len(stack) == len(parts):
                yield True
            else:
                stack.append(parts[len(stack)]())

    def _candidates(self, level: Level, nodes: Ints, hint: Ints | None) -> Iterator[tuple[Ints, Ints | None]]:
        """Nodes to try, the best first, with an order among them where it matters."""
        required = (level.pack.required,) if level.pack.required else ()
        if required and level.fixed:
            nodes = self._bound(level, nodes, required)
        if level.pack.preferred and level.pack.preferred not in required:
            if self._picky:
                keys = (*required, level.pack.preferred)
                yield from ((inside, hint) for inside in self._domains(level, nodes, keys))
            hint = self._gathered(level, nodes, level.pack.preferred)
        if required:
            yield from ((inside, hint) for inside in self._domains(level, nodes, required))
        elif self.copies(level, nodes, (), own=False)[0] >= 1:
            yield nodes, hint

    def _bound(self, level: Level, nodes: Ints, keys: tuple[str, ...]) -> Ints:
        """The nodes of domains where pods of *level* are; all, where none of these is in a domain."""
        codes = self._nodes.domains(keys).codes
        held = codes[level.fixed]
        held = held[held >= 0]
        return nodes[np.isin(codes[nodes], held)] if held.size else nodes

    def _domains(self, level: Level, nodes: Ints, keys: tuple[str, ...]) -> Iterator[Ints]:
        """The nodes of each domain that may hold *level*: with pods of it, with former places, tightest."""
        least = self.copies(level, nodes, keys, own=True)
        good = np.flatnonzero(least >= 1)
        if not good.size:
            return
        domains = self._nodes.domains(keys)
        codes = domains.codes[nodes]
        order = [domains.rank[good], least[good]]
        if self._shunned is not None:
            order.append(self._share(codes, self._shunned[nodes], domains.count)[good] == 1)
        for slots in (level.former, level.fixed):
            if slots:
                held = domains.codes[slots]
                order.append(-np.bincount(held[held >= 0], minlength=domains.count)[good])
        for code in good[np.lexsort(order)]:
            yield nodes[codes == code]

    def _share(self, codes: Ints, flags: Flags, count: int) -> Floats:
        """By domain, of its nodes those that are flagged."""
        all_of = np.bincount(codes + 1, minlength=count + 1)[1:]
        found: Floats = np.bincount(codes + 1, weights=flags, minlength=count + 1)[1:] / np.maximum(all_of, 1)
        return found

    def _gathered(self, level: Level, nodes: Ints, key: str) -> Ints:
        """An order of slots that fills few domains of *key*: those where pods are, then the roomiest."""
        domains = self._nodes.domains((key,))
        roomiest = -np.nan_to_num(self.copies(level, nodes, (key,), own=False), posinf=LIMIT)
        held = domains.codes[level.fixed]
        fixed = -np.bincount(held[held >= 0], minlength=domains.count)
        places = np.full(domains.count + 1, domains.count)  # those in no domain are last
        places[np.lexsort([domains.rank, roomiest, fixed])] = np.arange(domains.count)
        return places[domains.codes]

    def _weight(self, level: Level) -> float:
        """What it asks of what is scarcest, as a share of all."""
        return max(
            (wanted / max(1.0, float(self._row_sum(row))) for row, wanted in _total(level).items()),
            default=0.0,
        )

    def _row_sum(self, row: int) -> int:
        return int(np.maximum(self.free[row], 0).sum())

    # Nodes

    def _fill(self, loose: Loose, nodes: Ints, hint: Ints | None) -> Iterator[bool]:
        """The pods of *loose* anywhere on *nodes*."""
        mark = len(self._trail)
        for order in ORDERS[: 1 if len(loose) == 1 else None]:
            if not any(
                self._left(kind, loose[kind], nodes, hint, order)
                for kind in self._sorted(loose, nodes, order)
            ):
                yield True
                self._undo(mark)
                return
            self._undo(mark)
            self._budget -= 1
            if self._budget <= 0:
                return

    def _sorted(self, loose: Loose, nodes: Ints, order: _Order) -> list[Kind]:
        """Kinds in the order of filling."""
        if len(loose) == 1:
            return list(loose)
        choice = {kind: float(self.caps[kind][nodes].sum()) / len(pods) for kind, pods in loose.items()}
        if not order.scarce:
            return sorted(loose, key=choice.__getitem__)
        wanted: dict[int, int] = {}
        for kind, pods in loose.items():
            for row, value in kind.rows or ():
                wanted[row] = wanted.get(row, 0) + value * len(pods)
        shares = {row: value / max(1.0, float(self._row_sum(row))) for row, value in wanted.items()}
        scarce = max(shares, key=shares.__getitem__)
        return sorted(loose, key=lambda kind: (-dict(kind.rows or ()).get(scarce, 0), choice[kind]))

    def _left(
        self, kind: Kind, pods: list[AskPod], nodes: Ints, hint: Ints | None, order: _Order | None = None
    ) -> int:
        """How many of *pods* find no place on *nodes*; without an order, the others take theirs."""
        if (order is None or order.former) and any(pod.former for pod in pods):
            pods = self._returned(kind, pods, nodes)
        if not pods:
            return 0
        caps = self.caps[kind][nodes]
        some = np.flatnonzero(caps)
        caps = caps[some]
        room = int(caps.sum())
        if room < len(pods):
            if order is not None or not room:
                return len(pods) - room
            self._take(kind, nodes[some], caps, pods[:room])
            return len(pods) - room
        slots = nodes[some]
        self._take(kind, *self._best(slots, caps, len(pods), hint, order is None or order.fullest), pods)
        return 0

    def _best(
        self, slots: Ints, caps: Ints, wanted: int, hint: Ints | None, fullest: bool
    ) -> tuple[Ints, Ints]:
        """Of *slots*, in which all find a place, those to fill, and how far."""
        width = len(self.every)
        place = (caps if fullest else LIMIT - caps) * width + self._nodes.rank[slots]
        if hint is not None:
            place += hint[slots] * (width * (LIMIT + 1))
        if self._shunned is not None:
            place += self._shunned[slots] * (1 << 61)
        if len(slots) > wanted:
            first = np.argpartition(place, wanted - 1)[:wanted]
            first = first[np.argsort(place[first])]
        else:
            first = np.argsort(place)
        slots, counts = slots[first], caps[first]
        sums = np.cumsum(counts)
        last = int(np.searchsorted(sums, wanted))
        counts = counts[: last + 1].copy()
        counts[last] -= sums[last] - wanted
        return slots[: last + 1], counts

    def _returned(self, kind: Kind, pods: list[AskPod], nodes: Ints) -> list[AskPod]:
        """Put pods where they were; those that do not fit there any more come back."""
        inside = np.zeros(len(self.every), np.bool_)
        inside[nodes] = True
        back: dict[int, list[AskPod]] = {}
        left = []
        for pod in pods:
            slot = self._nodes.slots.get(pod.former, -1)
            there = back.setdefault(slot, [])
            if slot >= 0 and inside[slot] and len(there) < self.caps[kind][slot]:
                there.append(pod)
            else:
                left.append(pod)
        back = {slot: there for slot, there in back.items() if there}
        if back:
            counts = np.array([len(there) for there in back.values()], np.int64)
            self._take(
                kind,
                np.array(list(back), np.int64),
                counts,
                [pod for there in back.values() for pod in there],
            )
        return left

    def partly(self) -> tuple[int, Kind | None]:
        """With no heed of domains: how many pods find a place, and a kind that does not. They keep it."""
        fitting, short = 0, None
        loose: Loose = {}
        for level in self._root.walk():
            for kind, pods in level.pods.items():
                loose.setdefault(kind, []).extend(pods)
        for kind in self._sorted(loose, self.every, ORDERS[0]):
            left = self._left(kind, loose[kind], self.every, None)
            fitting += len(loose[kind]) - left
            short = short or (kind if left else None)
        return fitting, short

    # The trail

    def _take(self, kind: Kind, slots: Ints, counts: Ints, pods: list[AskPod]) -> None:
        self._trail.append(_Taken(kind, slots, counts, pods))
        self._count(kind, slots, -counts)

    def _undo(self, mark: int) -> None:
        while len(self._trail) > mark:
            step = self._trail.pop()
            self._count(step.kind, step.slots, step.counts)

    def _count(self, kind: Kind, slots: Ints, counts: Ints) -> None:
        for row, value in kind.rows or ():
            self.free[row, slots] += value * counts
        for other, caps in self.caps.items():
            caps[slots] = self._capacity(other, slots)

    def placement(self) -> Placement:
        """What the trail says."""
        slot_of: dict[PodKey, int] = {}
        for step in self._trail:
            slots = np.repeat(step.slots, step.counts).tolist()
            slot_of.update(zip((pod.key for pod in step.pods), slots, strict=True))
        names = [node.metadata.name if node is not None else "" for node in self._nodes.nodes]
        return Placement({key: names[slot] for key, slot in slot_of.items()}, self._score(slot_of))

    def _score(self, slot_of: dict[PodKey, int]) -> float:
        met = []
        for level in self._root.walk():
            if level.pack.preferred and level.demand:
                pods = (pod for one in level.walk() for pods in one.pods.values() for pod in pods)
                slots = [*(slot_of[pod.key] for pod in pods), *level.fixed]
                codes = np.unique(self._nodes.domains((level.pack.preferred,)).codes[slots])
                met.append(codes.size == 1 and codes[0] >= 0)
        return sum(met) / len(met) if met else 1.0


def _total(level: Level) -> dict[int, int]:
    """By row, all that *level* asks for."""
    total: dict[int, int] = {}
    for kind, count in level.demand.items():
        for row, value in kind.rows or ():
            total[row] = total.get(row, 0) + value * count
    return total
