"""Places for a gang where pods of lower priority are now: the scheduler ends these, once it is let go.

    no room ─► all lower pods thought away ─► no place: it waits
                     └─ a place ─► the lowest priority that will do ─► the fewest nodes ─► who goes

kube-scheduler is the one that ends pods: on the node that a pod is pinned to it takes the lowest priorities
first, no more of them than it must, and keeps to PodDisruptionBudgets as far as it can. We only choose nodes.
Whoever is told here is who it will take, budgets aside.

Room that pods on their way out are about to leave is waited for: nobody is ended for what comes anyhow.

20 pods among 5,000 nodes that are full of lower pods cost 27 ms, in racks of a block 46 ms, once for a gang;
where nobody is lower, 2 us (`bench.operator.packing`).
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from grove_operator.gang.ask import Ask, Placement
from grove_operator.gang.columns import Flags, Ints
from grove_operator.gang.needs import PODS, Needs
from grove_operator.gang.pack import place
from grove_operator.gang.room import Occupant, Room
from grove_operator.gang.space import Imagined, PodKey

__all__ = ["Preemption", "Victim", "placed_without_leaving", "preemption"]

TRIED: Final = 16  # nodes that are tried to be left alone, at most
NAMED: Final = 3  # victims that are told by name


class Victim(msgspec.Struct, frozen=True, order=True):
    """A pod that is to go. Lower priorities come first."""

    priority: int
    key: PodKey


class Preemption(msgspec.Struct, frozen=True):
    """Where a gang may be, and at whose cost, lowest priorities first."""

    placement: Placement
    victims: tuple[Victim, ...]

    def __str__(self) -> str:
        names = ", ".join("/".join(one.key) for one in self.victims[:NAMED])
        more = len(self.victims) - NAMED
        others = f" and {more} more" if more > 0 else ""
        return f"It takes the room of pods of lower priority, which the scheduler ends: {names}{others}."


class _Lower:
    """Pods of lower priority than *priority*, thought away up to a level and on some nodes."""

    def __init__(self, room: Room, ask: Ask, priority: int, closed: Flags | None) -> None:
        self.room = room
        self._ask = ask
        self._closed = closed
        self.levels: Sequence[tuple[int, Ints]] = [
            *room.occupants.below(priority, len(room.resources), room.free.shape[1])
        ]

    def placed(self, level: int, nodes: Flags) -> Placement | None:
        """A place if pods up to *level* were not on *nodes*."""
        highest, used = self.levels[level]
        room = self.room

        def counts(slot: int, key: PodKey) -> bool:
            priority = room.priority_of(key)
            return priority is None or priority > highest or not nodes[slot]

        more = np.zeros_like(room.free)
        more[: used.shape[0]] = used * nodes
        answer = place(Imagined(room, more, counts, self._closed), self._ask)
        return answer if isinstance(answer, Placement) else None


def preemption(room: Room, ask: Ask, priority: int, closed: Flags | None = None) -> Preemption | None:
    """A place for pods of *priority* that have none, with as few others as can be; None: not even so.
    *closed*: nodes that are not for them."""
    if not room.occupants.any_below(priority):
        return None
    lower = _Lower(room, ask, priority, closed)
    every = np.ones(room.free.shape[1], np.bool_)
    best = lower.placed(len(lower.levels) - 1, every)
    if best is None:
        return None
    level = bisect_left(range(len(lower.levels) - 1), True, key=lambda one: bool(lower.placed(one, every)))
    placement = _fewest(lower, level) or lower.placed(level, every)
    if placement is None:  # a search that finds its way among more may lose it among fewer
        placement, level = best, len(lower.levels) - 1
    highest, _ = lower.levels[level]
    return Preemption(placement, tuple(sorted(_victims(room, ask, placement, highest))))


def placed_without_leaving(room: Room, ask: Ask, between: tuple[str, str], closed: Flags | None) -> bool:
    """Whether there is a place when pods on their way out are gone, those whose grace is over *between*."""
    more = np.zeros_like(room.free)
    gone: set[PodKey] = set()
    for node, one in room.going():
        slot = room.nodes.slots.get(node)
        if slot is not None and room.nodes.ready[slot] and between[0] <= (one.ends or "") <= between[1]:
            gone.add(one.key)
            for row, value in room.rows(one.needs) or ():
                more[row, slot] += value
    if not gone:
        return False
    space = Imagined(room, more, lambda slot, key: key not in gone, closed)
    return isinstance(place(space, ask), Placement)


def _fewest(lower: _Lower, level: int) -> Placement | None:
    """As few nodes, of few pods each, as will do; None where the search does not find its way with so few."""
    room = lower.room
    pods = lower.levels[level][1][room.resources[PODS]]
    some = pods.nonzero()[0]
    order = some[np.lexsort([room.nodes.rank[some], pods[some]])]

    def first(count: int) -> Flags:
        nodes = np.zeros(len(pods), np.bool_)
        nodes[order[:count]] = True
        return nodes

    count = bisect_left(range(len(order)), True, key=lambda one: bool(lower.placed(level, first(one))))
    nodes = first(count)
    placement = lower.placed(level, nodes)
    if placement is None:
        return None
    there = {room.nodes.slots[node] for node in placement.nodes.values()}
    for slot in [slot for slot in order[:count][::-1].tolist() if slot in there][:TRIED]:
        nodes[slot] = False
        without = lower.placed(level, nodes)
        nodes[slot] = without is None
        placement = without or placement
    return placement


def _victims(room: Room, ask: Ask, placement: Placement, highest: int) -> Iterator[Victim]:
    """Whom kube-scheduler ends: on each node all up to *highest*, but for those that fit beside us, the
    highest first."""
    needs = {pod.key: pod.needs for group in ask.groups for pod in group.pods}
    by_node: dict[str, list[Needs]] = {}
    for key, node in placement.nodes.items():
        by_node.setdefault(node, []).append(needs[key])
    for node, ours in by_node.items():
        slot = room.nodes.slots[node]
        wanted = sum((Counter(dict(room.rows(one) or ())) for one in ours), Counter[int]())
        left = {row: int(room.free[row, slot]) - value for row, value in wanted.items()}
        ports = [port for one in ours for port in one.ports]
        clashing = [*room.clashing(tuple(ports))].count(slot)
        if min(left.values()) >= 0 and not clashing:
            continue
        lower = [one for one in room.there(node) if one.priority <= highest]
        for one in lower:
            _add(left, room, one, +1)
        for one in sorted(lower, key=lambda one: (one.ends is not None, -one.priority, one.key)):
            _add(left, room, one, -1)
            clashes = any(mine.clashes(theirs) for mine in ports for theirs in one.needs.ports)
            if clashes or min(left.values()) < 0:
                _add(left, room, one, +1)
                if one.ends is None:
                    yield Victim(one.priority, one.key)


def _add(left: dict[int, int], room: Room, one: Occupant, sign: int) -> None:
    for row, value in room.rows(one.needs) or ():
        if row in left:
            left[row] += sign * value
