"""Gangs that are let go without a place, one at a time, for cluster autoscalers: these see no gated pods.

    no room for PROBED_S ─► let go, where the scheduler likes ─┬─ all bound
                                                               └─ not by the limit ─► all taken back, a pause

Only what cannot do harm is let go so: a gang without a required topology and without stages, while no pod of
lower priority is there that the scheduler might end for a part of it.
"""

from typing import Final

from grove_operator.gang.ask import Refusal
from grove_operator.gang.pins import GangKey, GangTimes
from grove_operator.gang.queue import Turn
from grove_operator.gang.room import Room
from grove_operator.plan.picture import Waiting

__all__ = ["Probes", "provisioning"]

PROBED_S: Final = 10.0  # that its pods take to end and others to come is no reason for more nodes
PROVISIONING: Final = "Provisioning"


class Probes:
    """Of all gangs; off without `provision_s`."""

    def __init__(self, room: Room, times: GangTimes) -> None:
        self._room = room
        self._limit_s = times.provision_s
        self._now: GangKey | None = None

    def put(self, turn: Turn) -> None:
        """What has become of the one that is on its way."""
        pins, crowd = turn.pins, turn.crowd
        if crowd.scheduled or not (crowd.begun or pins.flying):
            pins.probed_until = 0.0
        if self._now == turn.key and not pins.probed_until:
            self._now = None

    def forget(self, key: GangKey) -> None:
        """It is gone."""
        if self._now == key:
            self._now = None

    def begin(self, turn: Turn, refusal: Refusal, now: float) -> float | None:
        """When it is to be let go without a place: now (0), at another time, or never (None)."""
        if self._limit_s is None or not self._is_harmless(turn) or not refusal.lacks_room:
            return None
        if self._now not in (None, turn.key):
            return now + PROBED_S
        if now < turn.pins.since + PROBED_S:
            return turn.pins.since + PROBED_S
        self._now = turn.key
        turn.pins.probed_until = now + self._limit_s
        return 0.0

    def _is_harmless(self, turn: Turn) -> bool:
        gang, crowd = turn.gang.spec, turn.crowd
        constraints = [
            gang.topology_constraint,
            *(one.topology_constraint for one in gang.topology_constraint_group_configs or ()),
            *(one.topology_constraint for one in gang.podgroups),
        ]
        packed = any(one and one.pack_constraint and one.pack_constraint.required for one in constraints)
        ends = crowd.preempts is not None and self._room.occupants.any_below(crowd.priority)
        return not (crowd.begun or packed or ends) and all(group.opened for group in crowd.groups)


def provisioning(turn: Turn) -> Waiting | None:
    """It is on its way, and no node has room for all of it yet."""
    if not turn.pins.probed_until:
        return None
    return Waiting(
        PROVISIONING, "Its pods were let go without a place, for a cluster autoscaler to see them."
    )
