"""Whose turn it is: gangs in a row, and a fence around the nodes of one that has waited for too long.

    priority, what has begun, base before scaled, age

What does not fit is passed by. After STARVED_S a gang gets a fence: what is not before it in priority, and
begins or grows, keeps off the nodes that it could use. A fence stands for STARVED_S, then is down for as
long: room that never comes must not hold up a cluster. A gang for which there is no place even among empty
nodes gets none.
"""

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Final

import msgspec
import numpy as np

from grove_operator.api import PodGang
from grove_operator.gang.ask import Refusal
from grove_operator.gang.columns import Flags
from grove_operator.gang.members import Members
from grove_operator.gang.needs import Needs, needs
from grove_operator.gang.pins import GangKey, Pins
from grove_operator.gang.room import Room
from grove_operator.held import Held
from grove_operator.naming import L
from grove_operator.plan.picture import Waiting

__all__ = ["Fence", "Fenced", "Turn", "fenced", "starving"]

STARVED_S: Final = 300.0


class Turn(msgspec.Struct, frozen=True):
    """A gang that is looked at in this pass."""

    key: GangKey
    held: Held
    gang: PodGang
    crowd: Members
    pins: Pins

    @property
    def base(self) -> str | None:
        """The gang of its set's minimum, if it is another."""
        return self.gang.metadata.label(L.BASE_GANG)

    @property
    def rank(self) -> tuple[object, ...]:
        """Smaller is earlier."""
        age = self.gang.metadata.creation_timestamp or ""
        return -self.crowd.priority, not self.crowd.begun, self.base is not None, age, self.key


class Fenced(msgspec.Struct, frozen=True):
    """Nodes that others leave to *key*."""

    key: GangKey
    priority: int
    nodes: Flags


class Fence:
    """The one that stands now, if any. *outside*: gangs that had no place because of it."""

    def __init__(self) -> None:
        self.outside: set[GangKey] = set()
        self._now: Fenced | None = None

    def put(self, fenced: Fenced | None) -> set[GangKey]:
        """Where it is now; returns the gangs that were outside of another."""
        before, self._now = self._now, fenced
        if before is not None and fenced is not None and before.key == fenced.key:
            return set()
        freed, self.outside = self.outside, set()
        return freed

    def around(self, turn: Turn) -> Flags | None:
        """The nodes that are not for such a gang."""
        now = self._now
        if now is None or turn.key == now.key or turn.crowd.priority > now.priority:
            return None
        return now.nodes

    def keeps_out(self, key: GangKey, refusal: Refusal) -> Waiting:
        """It finds no other place."""
        self.outside.add(key)
        before = f"gang {self._now.key}" if self._now else "another"
        told = f"{before} has waited for longer than {STARVED_S:g} s, and goes first where it could be"
        return Waiting("Yielding", f"{told}. Elsewhere: {refusal.message}")

    def is_idle(self, pins: Mapping[GangKey, Pins]) -> bool:
        """Whether some are outside, and the one inside has its place, or is gone."""
        inside = pins.get(self._now.key) if self._now else None
        return bool(self._now and self.outside) and (inside is None or inside.refused_at < 0)


def starving(
    pins: Mapping[GangKey, Pins], among: Iterable[GangKey], now: float
) -> tuple[GangKey, float] | None:
    """The gang of *among* that gets a fence now, the one that has waited longest; and until when."""
    found = []
    for key in among:
        one = pins[key]
        times, rest = divmod(now - one.since, STARVED_S)
        if one.refused_at >= 0 and one.ever and times % 2:
            found.append((one.since, key, now + STARVED_S - rest))
    return min(found)[1:] if found else None


def fenced(room: Room, turn: Turn) -> Fenced:
    """Around all nodes that would do for a pod of it if they were empty."""
    kinds = {needs(pod) for group in turn.crowd.groups for pod in group.needed}
    nodes = reduce(
        np.logical_or, (_usable(room, kind) for kind in kinds), np.zeros(room.free.shape[1], np.bool_)
    )
    return Fenced(turn.key, turn.crowd.priority, nodes)


def _usable(room: Room, kind: Needs) -> Flags:
    rows = room.rows(kind)
    if rows is None:
        return np.zeros(room.free.shape[1], np.bool_)
    return reduce(
        np.logical_and, (room.allocatable[row] >= value for row, value in rows), room.nodes.fits(kind.where)
    )
