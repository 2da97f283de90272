"""Whether pods that were let go have come to their nodes; and who is taken back if some have not.

late ─► they alone, elsewhere ─► too often ─┐
no room for the rest, for too long ─────────┴─► the whole gang, unless it has run before
"""

from collections.abc import Callable

from grove_operator.gang.lookout import Lookout
from grove_operator.gang.pins import GangTimes, late_at, taken_back
from grove_operator.gang.places import Places
from grove_operator.gang.queue import Turn
from grove_operator.gang.releases import Releases
from grove_operator.held import Held
from grove_operator.pods import Pod

__all__ = ["Arrivals"]


class Arrivals:
    """Of all gangs. What it returns is when to look again."""

    def __init__(
        self,
        lookout: Lookout,
        places: Places,
        releases: Releases,
        times: GangTimes,
        is_ours: Callable[[Held], bool],
    ) -> None:
        self._lookout = lookout
        self._places = places
        self._releases = releases
        self._times = times
        self._is_ours = is_ours

    def confirm(self, turn: Turn, now: float) -> float | None:
        """Pods that were let go and found no node in time are made anew; with them, at last, all others."""
        pins = turn.pins
        if pins.probed_until:
            return self._confirm_probed(turn, now)
        late: list[Pod] = []
        dues: list[float] = []
        arriving = [*pins.seen(turn.crowd, now)]
        pins.cleared(max(map(self._lookout.cleared_at, arriving), default=0.0), now)
        for pod in arriving:
            since = pins.since_of(pod.metadata.uid)
            due = late_at(pod, since, self._lookout.bound_at, self._times, pins.cleared_at)
            if due > now:
                dues.append(due)
            else:
                late.append(pod)
                pins.refusing.update(self._places.refused(turn, pod))
        if late and self._is_ours(turn.held):
            pins.set_back(self._times, now)
            whole = pins.setbacks > self._times.tries and not pins.established and not self._has_run(turn)
            self._take_back(turn, taken_back(turn.crowd, late, whole))
        return min(dues, default=None)

    def _confirm_probed(self, turn: Turn, now: float) -> float | None:
        """It has until its limit, for nodes to come."""
        if now < turn.pins.probed_until:
            return turn.pins.probed_until
        turn.pins.probed(now)
        self._take_back(turn, [pod for group in turn.crowd.groups for pod in group.released])
        return None

    def give_up(self, turn: Turn, now: float) -> float | None:
        """There is no room for what it lacks, or no pod: in time, what it has of its nodes is given up."""
        if not turn.crowd.half or not self._is_ours(turn.held) or self._has_run(turn):
            return None
        turn.pins.half_since = min(turn.pins.half_since, now)
        due = turn.pins.stale_at(self._times)
        if due > now:
            return due
        self._take_back(turn, [pod for group in turn.crowd.groups for pod in group.released])
        return None

    def _take_back(self, turn: Turn, pods: list[Pod]) -> None:
        for pod in pods:
            turn.pins.released.pop(pod.metadata.uid, None)
        self._releases.take_back(turn.key, pods)

    def _has_run(self, turn: Turn) -> bool:
        """Some operator has seen it run: a pod that is missing now is no reason to end the others."""
        cliques = (self._lookout.clique(turn.key.namespace, one.spec.name) for one in turn.crowd.groups)
        found = (one.status.recovery for one in cliques if one is not None)
        return any(recovery is not None and recovery.healthy for recovery in found)
