"""Which replicas empty before they go, and when they have: pure.

    decided: one less ──► mark the victims (annotation) ──► frontends place nothing new there
                               ▲        │                            │
    decided otherwise: unmark ─┘        ▼                            ▼
                                   time is up, or every frontend has heard and nothing is in flight ──► /scale

The state is in the cluster and nowhere else. A new leader, which has yet to see a whole hold, cancels what
the old one began. What we marked bears our name; marks of others stay, and what bears one goes first, for the
operator takes it first, too.

Of a PodClique any pod may go: what is marked already, what has no place, what is not ready, then what has
least to do. Of a group and a set the operator takes the highest index, so that is what empties.
"""

from collections.abc import Callable, Collection
from datetime import UTC, datetime

import msgspec

from grove_dp.kube.objects import Pod
from grove_dp.scaling.demand import Snapshot
from grove_dp.scaling.tree import DRAIN, DRAIN_BY, Target, Tree, Unit

__all__ = ["Drain", "drain", "marked", "needless", "until"]


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """What to do about the pods of one target."""

    going: tuple[Pod, ...] = ()
    mark: tuple[Pod, ...] = ()
    waiting: tuple[Pod, ...] = ()  # those that are not empty yet
    overdue: tuple[Pod, ...] = ()  # those that are not, and their time is up

    @property
    def done(self) -> bool:
        """Nothing stands against the smaller number."""
        return not self.waiting


def until(pod: Pod) -> float | None:
    """When its drain ends at the latest, in seconds since 1970; None: it is not marked."""
    text = pod.metadata.annotation(DRAIN)
    if text is None:
        return None
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        return 0.0  # no time that anybody could wait for
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()


def drain(target: Target, to: int, seen: Snapshot, wall_s: float) -> Drain:
    """The way of *target* to *to* replicas."""
    going = [pod for unit in _leaving(target, to, seen) for pod in unit.pods]
    if to >= target.replicas:
        # Nothing is decided any more: what was marked for it is on its way out, or a surge has yet to end.
        return Drain(going=tuple(pod for pod in going if until(pod) is not None))
    mark = tuple(pod for pod in going if until(pod) is None)
    busy = [pod for pod in going if not seen.idle(pod.metadata.uid) or (pod in mark and pod.ready)]
    late = tuple(pod for pod in busy if (end := until(pod)) is not None and end <= wall_s)
    waiting = tuple(pod for pod in busy if pod not in late)
    return Drain(going=tuple(going), mark=mark, waiting=waiting, overdue=late)


def needless(tree: Tree, going: Collection[str], marker: str) -> tuple[Pod, ...]:
    """Pods that we marked, by the name of *marker*, and that need not go: uids of those are in *going*."""
    return tuple(pod for pod in marked(tree, marker) if pod.metadata.uid not in going)


def marked(tree: Tree, marker: str) -> tuple[Pod, ...]:
    """Pods of the set that we marked."""
    pods = (pod for unit in tree.top.units for pod in unit.pods)
    return tuple(pod for pod in pods if pod.metadata.annotation(DRAIN_BY) == marker)


def _leaving(target: Target, to: int, seen: Snapshot) -> tuple[Unit, ...]:
    """The units that go so that *to* are left."""
    if any(unit.index is not None for unit in target.units):
        return tuple(unit for unit in target.units if unit.index is not None and unit.index >= to)
    surplus = max(0, len(target.units) - to)
    return tuple(sorted(target.units, key=_worth(seen))[:surplus]) if surplus else ()


def _worth(seen: Snapshot) -> Callable[[Unit], tuple[bool, bool, bool, float, str]]:
    """The less, the sooner it goes."""

    def worth(unit: Unit) -> tuple[bool, bool, bool, float, str]:
        pod = unit.pods[0]
        at = seen.pods.get(pod.metadata.uid)
        return (
            until(pod) is None,
            bool(pod.spec.node_name),
            pod.ready,
            at.inflight if at else 0.0,
            pod.metadata.name,
        )

    return worth
