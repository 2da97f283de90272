"""What a clique's pods say of it: whether enough of them hold, and whether they are of its template.

    living ─┬─ without a node
            └─ bound ─┬─ ready
                      ├─ starting   nothing has gone wrong yet: images, init containers, start-up probes
                      └─ failing    a container ended in error, or runs and is not ready

*Breached*: bound less failing is below the minimum. A ready pod holds, whatever happened to it before. A
clique that is scaled to 0 has no minimum, and is never breached.

    template changes ──► held (an update has yet to reach it) ──► updating ──► done: the current template

A clique's label says of which template its pods are to be, its status which one they have reached.
"""

from typing import Final

import msgspec

from grove_operator.api import PodCliqueSet
from grove_operator.naming import L
from grove_operator.plan.picture import CliqueSeen
from grove_operator.pods import ContainerStatus, Pod

__all__ = ["Tally", "failing", "on_delete", "tally", "template_hash", "updating"]

ON_DELETE: Final = "OnDelete"


class Tally(msgspec.Struct, frozen=True):
    """How many of a clique's living pods are what."""

    living: int
    gated: int
    bound: int
    failing: int
    ready: int
    updated: int  # of the template that the clique's label names
    minimum: int

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
    """Of a clique."""
    pods = seen.living
    wanted = template_hash(seen)
    return Tally(
        living=len(pods),
        gated=sum(bool(pod.spec.scheduling_gates) for pod in pods),
        bound=sum(pod.bound for pod in pods),
        failing=sum(pod.bound and failing(pod) for pod in pods),
        ready=sum(pod.ready for pod in pods),
        updated=sum(pod.hash == wanted for pod in pods),
        minimum=seen.minimum,
    )


def failing(pod: Pod) -> bool:
    """Whether something has gone wrong with it that it has not got over."""
    statuses = pod.status.container_statuses or ()
    return not pod.ready and any(_ended_in_error(one) or (one.started and not one.ready) for one in statuses)


def _ended_in_error(status: ContainerStatus) -> bool:
    ends = (state.terminated for state in (status.state, status.last_state) if state is not None)
    return any(end is not None and end.exit_code != 0 for end in ends)


# ------------------------------------------------------------ templates


def template_hash(seen: CliqueSeen) -> str:
    """Of the template that its pods are to have: an update may have yet to reach it."""
    held = seen.held.metadata.label(L.TEMPLATE_HASH) if seen.held is not None else None
    return held or seen.unit.hash


def on_delete(owner: PodCliqueSet) -> bool:
    """Whether pods change only when somebody deletes them."""
    strategy = owner.spec.update_strategy
    return strategy is not None and strategy.type == ON_DELETE


def updating(owner: PodCliqueSet, seen: CliqueSeen, counted: Tally | None = None) -> bool:
    """Whether its pods are being replaced; *counted*: its tally, where known."""
    if seen.held is None or on_delete(owner):
        return False
    counts = counted or tally(seen)
    former = seen.held.status.current_pod_template_hash
    return counts.outdated > 0 or (former not in (None, "", template_hash(seen)) and not counts.done)
