"""A gang's pods, sorted: who has been let go, who may be, and who is still missing. Pure.

pod group ─┬─ released   our gate is off, or it runs
           ├─ free       only our gate holds it
           ├─ barred     a gate of the user's holds it, too: it could not follow the others
           └─ short      how many of its minimum are neither released nor free
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from grove_operator.api import PodClique, PodGang, PodGroup
from grove_operator.naming import L
from grove_operator.plan.picture import Waiting
from grove_operator.plan.pods import FORMER_NODE
from grove_operator.pods import Pod

__all__ = ["Group", "Members", "members"]


class Group(msgspec.Struct, frozen=True):
    """The pods of one clique in the gang."""

    spec: PodGroup
    released: tuple[Pod, ...]
    free: tuple[Pod, ...]
    barred: tuple[Pod, ...]
    opened: bool  # all parents have started
    parents: tuple[str, ...] = ()

    @property
    def needed(self) -> tuple[Pod, ...]:
        """The free pods that its minimum still lacks, lowest index first."""
        return self.free[: max(0, self.spec.min_replicas - len(self.released))]

    @property
    def short(self) -> int:
        """Pods that its minimum lacks, and that are not there to be released."""
        return max(0, self.spec.min_replicas - len(self.released) - len(self.free))

    @property
    def extra(self) -> tuple[Pod, ...]:
        """Free pods beyond the minimum."""
        return self.free[len(self.needed) :]

    def extras(self, again: bool) -> list[Pod]:
        """Of these, those that may go and were on a node before, or were not."""
        extra = self.extra if self.opened else ()
        return [pod for pod in extra if (pod.metadata.annotation(FORMER_NODE) is not None) is again]

    @property
    def bound(self) -> int:
        """Pods that have a node."""
        return sum(1 for pod in self.released if pod.bound)


class Members(msgspec.Struct, frozen=True):
    """All groups of a gang."""

    groups: tuple[Group, ...]

    @property
    def begun(self) -> bool:
        """Some have been released."""
        return any(group.released for group in self.groups)

    @property
    def lacks(self) -> Waiting | None:
        """Why its minimums cannot be whole yet."""
        missing = [
            f"{group.spec.name} has {len(group.released) + len(group.free)} of {group.spec.min_replicas}"
            for group in self.groups
            if group.short
        ]
        if not missing:
            return None
        if any(group.barred for group in self.groups):
            held = f"pods are held by scheduling gates of others: {'; '.join(missing)}"
            return Waiting("OtherGates", held)
        return Waiting("PodsPending", f"pods are still to be made: {'; '.join(missing)}")

    @property
    def scheduled(self) -> bool:
        """Every group has its minimum on nodes."""
        return all(group.bound >= group.spec.min_replicas for group in self.groups)

    @property
    def priority(self) -> int:
        """The highest of its pods."""
        return max((pod.spec.priority or 0 for pod in self._pods()), default=0)

    @property
    def preempts(self) -> int | None:
        """Pods of lower priority than this may be ended for its sake: the lowest of its own, so that it is
        never at its own cost. None: one of its pods is for none of that."""
        pods = [*self._pods()]
        if any(pod.spec.preemption_policy == "Never" for pod in pods):
            return None
        return min((pod.spec.priority or 0 for pod in pods), default=None)

    @property
    def half(self) -> bool:
        """Some pods have a node, and some that must have one have none."""
        return not self.scheduled and any(group.bound for group in self.groups)

    def unbound(self) -> Iterator[Pod]:
        """Released, and on no node yet."""
        return (pod for group in self.groups for pod in group.released if not pod.bound)

    def _pods(self) -> Iterator[Pod]:
        for group in self.groups:
            yield from (*group.released, *group.free, *group.barred)


def members(gang: PodGang, pods: Iterable[Pod], clique: Callable[[str], PodClique | None]) -> Members:
    """*pods*: all with the gang's label; *clique*: finds a PodClique by its name."""
    found: dict[str, list[Pod]] = {}
    for pod in sorted(pods, key=_place):
        if pod.living:
            found.setdefault(pod.clique, []).append(pod)
    ready = {name: sum(1 for pod in held if pod.ready) for name, held in found.items()}
    minimum = {group.name: group.min_replicas for group in gang.spec.podgroups}
    return Members(tuple(_group(spec, found, ready, minimum, clique) for spec in gang.spec.podgroups))


def _place(pod: Pod) -> tuple[int, str]:
    index = pod.metadata.label(L.POD_INDEX) or ""
    return (int(index) if index.isdecimal() else 1 << 30, pod.metadata.name)


def _group(
    spec: PodGroup,
    found: Mapping[str, list[Pod]],
    ready: Mapping[str, int],
    minimum: Mapping[str, int],
    clique: Callable[[str], PodClique | None],
) -> Group:
    pods = found.get(spec.name, [])
    held = clique(spec.name)
    parents = tuple(name for name in (held.spec.starts_after or () if held else ()) if name in minimum)
    gates = {pod.metadata.uid: len(pod.spec.scheduling_gates or ()) for pod in pods}
    return Group(
        spec,
        released=tuple(pod for pod in pods if not pod.gated),
        free=tuple(pod for pod in pods if pod.gated and gates[pod.metadata.uid] == 1),
        barred=tuple(pod for pod in pods if pod.gated and gates[pod.metadata.uid] > 1),
        opened=all(ready.get(name, 0) >= minimum[name] for name in parents),
        parents=parents,
    )
