"""What is remembered of a gang between its release and its arrival, and what becomes of pods that fail.

released ─┬─ bound                          forgotten
          ├─ refused by the scheduler       late after REFUSED_S
          ├─ to preempt others              late confirm_s after their grace is over
          ├─ not judged yet                 late after confirm_s without any pod's being bound
          └─ late ─► made anew, elsewhere ─┬─ more than `tries` times ─► the whole gang, after a pause
                                           └─ no room there for that long
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from grove_operator.gang.members import Members
from grove_operator.pods import Pod

__all__ = ["GangKey", "GangTimes", "Pins", "late_at", "taken_back"]

PATIENCE: Final = 12  # confirm_s, for a scheduler that is slow
REFUSED_S: Final = 1.0  # a scheduler that has said no is given so long to make room
PAUSE_MAX_S: Final = 300.0
STALE_S: Final = 60.0  # a gang that was whole, but has not run yet, may lack pods for so long


class GangTimes(msgspec.Struct, frozen=True):
    """How long a gang may be half bound, and what then."""

    confirm_s: float = 10.0
    tries: int = 3
    backoff_s: float = 5.0
    provision_s: float | None = None  # what has no place is let go for so long, for a cluster autoscaler


class GangKey(NamedTuple):
    """A PodGang."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Pins(msgspec.Struct):
    """Of one gang. Times are a Clock's `now()`."""

    since: float  # it waits since then
    refused_at: int = -1  # the room's `freed` when there was no place for its minimum; -1: there was
    extra_refused_at: int = -1  # the same, of pods beyond it
    setbacks: int = 0  # in a row
    not_before: float = 0.0
    due: float = float("inf")  # it is to be looked at then, whatever happens
    established: bool = False  # it has run as a whole
    ever: bool = True  # there would be a place for its minimum if nobody else were there
    half_since: float = float("inf")  # it has pods on nodes, and lacks room for others that it needs
    cleared_at: float = 0.0  # until then, those that end for its sake have time to
    probed_until: float = 0.0  # let go without a place until then; 0: it is not
    preempting: str = ""  # at whose cost it was let go; until it is bound
    told: str = ""  # the reason that an Event has told of
    refusing: set[str] = set()  # nodes where the scheduler would not have its pods
    released: dict[str, float] = {}  # by uid, when pods that are not bound yet were let go
    judged: dict[str, float] = {}  # by uid, when the scheduler was first seen to refuse them
    flying: set[str] = set()  # uids of those that are being patched

    @property
    def open(self) -> bool:
        """More room, or time, may help."""
        return self.refused_at >= 0 or self.extra_refused_at >= 0 or self.due < float("inf")

    def seen(self, crowd: Members, now: float) -> Iterator[Pod]:
        """Pods that are to arrive; who has is forgotten."""
        unbound = {pod.metadata.uid: pod for pod in crowd.unbound()}
        self.released = {
            uid: since for uid, since in self.released.items() if uid in unbound or uid in self.flying
        }
        self.judged = {uid: since for uid, since in self.judged.items() if uid in unbound}
        for uid, pod in unbound.items():
            self.released.setdefault(uid, now)
            if pod.unschedulable:
                self.judged.setdefault(uid, now)
            if uid not in self.flying:
                yield pod

    def arrived(self) -> None:
        """Every minimum has its nodes."""
        self.established, self.setbacks, self.not_before = True, 0, 0.0
        self.half_since, self.cleared_at = float("inf"), 0.0
        self.preempting, self.refusing = "", set()

    def cleared(self, at: float, now: float) -> None:
        """Those that end for its sake are gone *at* the latest; 0: they are gone."""
        self.cleared_at = at or min(self.cleared_at, now)

    def stale_at(self, times: GangTimes) -> float:
        """When the pods that it has are to be given up, if there is still no room for the others."""
        whole_s = times.tries * times.confirm_s
        return self.half_since + (max(STALE_S, whole_s) if self.established else whole_s)

    def since_of(self, uid: str) -> float:
        """When it was last up to the scheduler: from its release, or its first refusal."""
        return self.judged.get(uid, self.released[uid])

    def probed(self, now: float) -> None:
        """Nobody made room for it."""
        self.probed_until = 0.0
        self.setbacks += 1
        self.not_before = now + PAUSE_MAX_S

    def set_back(self, times: GangTimes, now: float) -> None:
        """Some did not come."""
        self.setbacks += 1
        self.preempting = ""
        if self.setbacks >= times.tries:
            pause_s = times.backoff_s * 2.0 ** min(self.setbacks - times.tries, 16)
            self.not_before = now + min(pause_s, PAUSE_MAX_S)


def late_at(pod: Pod, since: float, bound_at: float, times: GangTimes, cleared: float = 0.0) -> float:
    """When a pod that was let go *since*, or refused since then, should have had its node.

    One that the scheduler has not judged may only be behind others. As long as it binds some (the last at
    *bound_at*) time is not counted: pods that were made anew would wait behind even more. One that is to
    preempt others waits for the end of their grace, at *cleared*.
    """
    if not pod.unschedulable:  # SchedulingGated, the API server's word, stays until the scheduler's comes
        return min(max(since, bound_at) + times.confirm_s, since + PATIENCE * times.confirm_s)
    if pod.status.nominated_node_name:
        return max(since, cleared) + times.confirm_s
    return since + min(REFUSED_S, times.confirm_s)


def taken_back(crowd: Members, late: list[Pod], whole: bool) -> list[Pod]:
    """Who is made anew: those that are late, or the *whole* gang but for stages that have started already."""
    if not whole:
        return late
    started: set[str] = set()
    if any(group.parents for group in crowd.groups):
        waited_for = {name for group in crowd.groups if not group.opened for name in group.parents}
        ready = {group.spec.name for group in crowd.groups if any(pod.ready for pod in group.released)}
        started = waited_for | ready
    return [pod for group in crowd.groups if group.spec.name not in started for pod in group.released]
