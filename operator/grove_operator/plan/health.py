"""What pods say of their clique, and cliques of a group's replica: enough scheduled, ready, and of what.

    living ─┬─ without a node
            └─ bound ─┬─ ready
                      ├─ starting   nothing has gone wrong yet: images, init containers, start-up probes
                      └─ failing    a container ended in error, or runs and is not ready

*Breached*: bound less failing is below the minimum. A ready pod holds, whatever happened to it before. A
clique that is scaled to 0 has no minimum, and is never breached. *Available* asks for more: minimum ready.

A clique's label says of which template its pods are to be, its status which one they have reached; between
the two it is *updating*, and nobody blames it for pods that are missing.
"""

from typing import Final

import msgspec

from grove_operator.naming import L
from grove_operator.plan.picture import CliqueSeen, Picture
from grove_operator.plan.revision import revision
from grove_operator.plan.rollout import rolls
from grove_operator.plan.tree import Group
from grove_operator.pods import ContainerStatus, Pod

__all__ = [
    "GroupReplica",
    "Tally",
    "failing",
    "group_replicas",
    "reached_set",
    "tally",
    "template",
    "updating",
]

KEPT: Final = "tally"


class Tally(msgspec.Struct, frozen=True):
    """How many of a clique's living pods are what."""

    living: int
    gated: int
    bound: int
    failing: int
    ready: int
    updated: int  # of the template that the clique's label names
    minimum: int
    behind: bool  # an update of the set has yet to reach it

    @property
    def holding(self) -> int:
        """Those that run, or may be on their way to it."""
        return self.bound - self.failing

    @property
    def scheduled(self) -> bool:
        """Whether enough have a node."""
        return self.bound >= self.minimum

    @property
    def breached(self) -> bool:
        """Whether too few hold."""
        return self.holding < self.minimum

    @property
    def available(self) -> bool:
        """Whether enough are ready."""
        return self.ready >= self.minimum

    @property
    def outdated(self) -> int:
        """Those of another template."""
        return self.living - self.updated

    @property
    def done(self) -> bool:
        """Whether an update has nothing left to do."""
        return not self.outdated and self.available


def tally(seen: CliqueSeen) -> Tally:
    """Of a clique.

    PERF: counted once for each look at the cluster; without, a pass over a replica counts nine times.
    """
    kept: dict[str, Tally] = seen.__dict__
    if KEPT not in kept:
        kept[KEPT] = _counted(seen)
    return kept[KEPT]


def _counted(seen: CliqueSeen) -> Tally:
    pods = seen.living
    now = revision(seen)
    label = template(seen)
    return Tally(
        living=len(pods),
        gated=sum(bool(pod.spec.scheduling_gates) for pod in pods),
        bound=sum(pod.bound for pod in pods),
        failing=sum(pod.bound and failing(pod) for pod in pods),
        ready=sum(pod.ready for pod in pods),
        updated=sum(pod.hash == label for pod in pods) if now.behind else len(now.new),
        minimum=seen.minimum,
        behind=now.behind,
    )


def failing(pod: Pod) -> bool:
    """Whether something has gone wrong with it that it has not got over."""
    statuses = pod.status.container_statuses or ()
    return not pod.ready and any(_ended_in_error(one) or (one.started and not one.ready) for one in statuses)


def _ended_in_error(status: ContainerStatus) -> bool:
    ends = (state.terminated for state in (status.state, status.last_state) if state is not None)
    return any(end is not None and end.exit_code != 0 for end in ends)


# ------------------------------------------------------------ templates


def template(seen: CliqueSeen) -> str:
    """The hash of the template that its pods are to have."""
    held = seen.held.metadata.label(L.TEMPLATE_HASH) if seen.held is not None else None
    return held or seen.unit.hash


def updating(picture: Picture, seen: CliqueSeen) -> bool:
    """Whether its pods are being replaced."""
    if seen.held is None or not rolls(picture.owner):
        return False
    counts, former = tally(seen), seen.held.status.current_pod_template_hash
    return counts.outdated > 0 or (former not in (None, "", template(seen)) and not counts.done)


def reached_template(seen: CliqueSeen) -> str:
    """The hash that its pods have got to: at first that of its template, later once an update is done."""
    former = seen.held.status.current_pod_template_hash if seen.held is not None else None
    return former if former and not tally(seen).done else template(seen)


def reached_set(picture: Picture, seen: CliqueSeen) -> str | None:
    """The hash of the set that its pods have got to; None where that is not known."""
    if seen.held is None:
        return None
    if not tally(seen).behind and template(seen) == reached_template(seen):
        return picture.hash
    return seen.held.status.current_pod_clique_set_generation_hash


# ------------------------------------------------------------ groups


class GroupReplica(msgspec.Struct, frozen=True):
    """One replica of a group, which is what all of its cliques are."""

    cliques: tuple[CliqueSeen, ...]
    there: bool
    scheduled: bool
    available: bool
    breached: bool
    updating: bool
    updated: bool  # of the newest template


def group_replicas(picture: Picture, group: Group) -> tuple[GroupReplica, ...]:
    """By index."""
    return tuple(_group_replica(picture, picture.members(group, index)) for index in range(group.count))


def _group_replica(picture: Picture, cliques: tuple[CliqueSeen, ...]) -> GroupReplica:
    there = all(seen.held is not None for seen in cliques)
    counts = [tally(seen) for seen in cliques]
    return GroupReplica(
        cliques=cliques,
        there=there,
        scheduled=there and all(one.scheduled for one in counts),
        available=there and all(one.available for one in counts),
        breached=not there or any(one.breached for one in counts),
        updating=any(updating(picture, seen) for seen in cliques),
        updated=all(reached_set(picture, seen) == picture.hash for seen in cliques),
    )
