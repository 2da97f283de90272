"""The search for places, level by level, with bounded back-tracking.

A domain whose sums say that it may hold a level is tried, tightest first; what is placed is noted in the
stock's trail, so that it can be taken back when a later level finds no place. What is preferred is
required at first, then preferred, then dropped: it never costs a place. After BUDGET dead ends the roomiest
domains are tried first, with as many again; then the answer is no.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np

from grove_operator.gang.ask import Ask, Placement
from grove_operator.gang.columns import Flags, Ints
from grove_operator.gang.filling import Filling
from grove_operator.gang.levels import Level
from grove_operator.gang.space import PodKey, Space
from grove_operator.gang.stock import LIMIT, Stock

__all__ = ["Search"]

BUDGET: Final = 256  # dead ends; one costs 20 to 100 us
# What is preferred is required; it is tried first, and given up from the inside out; it is dropped; and the
# roomiest domains go first. (strict, picky, tight)
MOODS: Final = ((True, True, True), (False, True, True), (False, False, True), (False, False, False))


class Search:
    """Of one ask."""

    def __init__(self, room: Space, root: Level, ask: Ask) -> None:
        self.stock = Stock(room, root)
        self._nodes = room.nodes
        self._root = root
        self._budget = 0
        self._picky = True  # what is preferred is tried first
        self._tight = True  # of domains, the tightest first
        self._shunned = self._avoided(ask) if ask.avoided or (ask.apart and ask.elsewhere) else None
        self.filling = Filling(self.stock, self._shunned, returning=bool(root.former))

    def _avoided(self, ask: Ask) -> Flags:
        avoided = np.zeros(len(self._nodes.nodes), np.bool_)
        avoided[self._slots(ask.avoided)] = True
        if ask.apart:
            domains = self._nodes.domains((ask.apart,))
            used = np.zeros(domains.count + 1, np.bool_)
            used[domains.codes[self._slots(ask.elsewhere)]] = True
            used[-1] = False  # those without the label
            avoided |= used[domains.codes]
        return avoided

    def _slots(self, names: Iterable[str]) -> list[int]:
        return [slot for name in names if (slot := self._nodes.slots.get(name)) is not None]

    def found(self) -> bool:
        """Whether all pods have a place now."""
        prefer = any(level.pack.preferred for level in self._root.walk())
        for mood in MOODS if prefer else MOODS[2:]:
            self.stock.strict, self._picky, self._tight = mood
            self._budget = BUDGET
            if next(self._solve(self._root, self.stock.every, None), None):
                return True
            if self._budget > 0 and not self._picky:
                break  # there is nothing else to try
        self.stock.strict = False
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
            parts.append(lambda: self._fill(level, nodes, hint))
        stack = [parts[0]()]
        while stack:
            if next(stack[-1], None) is None:
                stack.pop()
            elif len(stack) == len(parts):
                yield True
            else:
                stack.append(parts[len(stack)]())

    def _fill(self, level: Level, nodes: Ints, hint: Ints | None) -> Iterator[bool]:
        for done in self.filling.ways(level.loose, nodes, hint):
            if done:
                yield True
            self._budget -= 1
            if self._budget <= 0:
                return

    def _weight(self, level: Level) -> float:
        """What it asks of what is scarcest, as a share of all."""
        return max(self.stock.shares(level.wanted).values(), default=0.0)

    def _candidates(self, level: Level, nodes: Ints, hint: Ints | None) -> Iterator[tuple[Ints, Ints | None]]:
        """Nodes to try, the best first, with an order among them where it matters."""
        required = (level.pack.required,) if level.pack.required else ()
        if required and level.fixed:
            nodes = self._bound(level, nodes, required)
        if level.pack.preferred and level.pack.preferred not in required:
            if self._picky:
                keys = level.keys(strict=True)
                yield from ((inside, hint) for inside in self._domains(level, nodes, keys))
            if self.stock.strict:
                return
            hint = self._gathered(level, nodes, level.pack.preferred)
        if required:
            yield from ((inside, hint) for inside in self._domains(level, nodes, required))
        elif self.stock.copies(level, nodes, (), own=False).max(initial=0) >= 1:
            yield nodes, hint

    def _bound(self, level: Level, nodes: Ints, keys: tuple[str, ...]) -> Ints:
        """The nodes of domains where pods of *level* are; all, where none of these is in a domain."""
        codes = self._nodes.domains(keys).codes
        held = codes[level.fixed]
        held = held[held >= 0]
        return nodes[np.isin(codes[nodes], held)] if held.size else nodes

    def _domains(self, level: Level, nodes: Ints, keys: tuple[str, ...]) -> Iterator[Ints]:
        """The nodes of each domain that may hold *level*: with pods of it, with former places, tightest."""
        least = self.stock.copies(level, nodes, keys, own=True)
        good = (least >= 1).nonzero()[0]
        if not good.size:
            return
        parts = self.stock.parts(nodes, keys)
        order = [parts.domains.rank[parts.ids[good]], least[good] if self._tight else -least[good]]
        if self._shunned is not None:
            taken, there = parts.sums(self._shunned[nodes]), parts.sums(np.ones(len(nodes)))
            order.append((taken == there)[good])
        order += [-parts.counts(slots)[good] for slots in (level.former, level.fixed) if slots]
        for code in good[np.lexsort(order)]:
            yield nodes[parts.codes == code + 1]

    def _gathered(self, level: Level, nodes: Ints, key: str) -> Ints:
        """An order of slots that fills few domains of *key*: those where pods are, then the roomiest."""
        parts = self.stock.parts(nodes, (key,))
        roomiest = -np.nan_to_num(self.stock.copies(level, nodes, (key,), own=False), posinf=LIMIT)
        order = np.lexsort([parts.domains.rank[parts.ids], roomiest, -parts.counts(level.fixed)])
        places = np.full(parts.domains.count + 1, parts.domains.count)  # those in no domain are last
        places[parts.ids[order]] = np.arange(len(order))
        gathered: Ints = places[parts.domains.codes]
        return gathered

    def placement(self) -> Placement:
        """What the trail says."""
        slot_of: dict[PodKey, int] = {}
        for step in self.stock.trail:
            slots = np.repeat(step.slots, step.counts).tolist()
            slot_of.update(zip((pod.key for pod in step.pods), slots, strict=True))
        names = dict(zip(set(slot_of.values()), self._nodes.names(set(slot_of.values())), strict=True))
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
