"""Statuses: what cliques, groups, gangs and sets have come to, as documents of the fields that are ours.

    Picture ──┬─ clique_status, group_status, gang_status     each replica writes its own
              └─ summary ──► set_status                       one small value a replica, added up
    held, wanted ──► status_patch ──► None: nothing to write

Pods are counted, and no other object's status is, which may be older. Only what must outlast a restart of the
operator is read back from a status: times, whether an update runs, and what recovery knows. Conditions of
others stay. Gangs are in `phases`, sets in `totals`.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from grove_dp.kube.conditions import Stated, holds
from grove_operator.api import CliqueStatus, GroupStatus
from grove_operator.naming import L
from grove_operator.plan.health import (
    GroupReplica,
    Tally,
    group_replicas,
    reached_set,
    reached_template,
    tally,
    updating,
)
from grove_operator.plan.patches import conditions, status_patch
from grove_operator.plan.phases import gang_status
from grove_operator.plan.picture import CliqueSeen, Picture
from grove_operator.plan.progress import clique_progress, group_progress
from grove_operator.plan.recovery import BREACHED, delay_s, ended, record
from grove_operator.plan.rollout import Rollout, rollout
from grove_operator.plan.totals import ReplicaSummary, selector, set_status, settled, summary
from grove_operator.plan.tree import Group
from grove_operator.plan.troubles import Trouble, last_errors

__all__ = [
    "ReplicaSummary",
    "clique_status",
    "gang_status",
    "group_status",
    "set_status",
    "settled",
    "status_patch",
    "summary",
]

Document = dict[str, Any]

SCHEDULED: Final = "PodCliqueScheduled"
RAISED: Final = "EffectiveReplicasRaised"
TERMINATING: Final = "GangTerminationInProgress"


# ------------------------------------------------------------ cliques


def clique_status(
    seen: CliqueSeen,
    picture: Picture,
    now: float,
    update: Rollout | None = None,
    troubles: Iterable[Trouble] = (),
) -> Document:
    """Of a PodClique. *update*: what `rollout` says, where it was asked; *troubles*: with its pods."""
    held = seen.held.status if seen.held is not None else CliqueStatus()
    counts = tally(seen)
    breach = _clique_breach(counts, updating(picture, seen))
    wanted = [_clique_scheduled(counts), breach, *_raised(seen.unit.asked, seen.unit.count)]
    moves = holds(held.conditions, BREACHED) is not breach.holds
    status: Document = {
        "observedGeneration": seen.held.metadata.generation if seen.held is not None else None,
        "replicas": counts.living,
        "readyReplicas": counts.ready,
        "updatedReplicas": counts.updated,
        "scheduleGatedReplicas": counts.gated,
        "scheduledReplicas": counts.bound,
        "conditions": conditions(held.conditions, *wanted, now=now, never=[RAISED]),
        "lastErrors": last_errors(held.last_errors, troubles, now),
        "currentPodCliqueSetGenerationHash": reached_set(picture, seen),
        "currentPodTemplateHash": reached_template(seen),
        "updateProgress": clique_progress(picture, seen.unit.name, update or rollout(picture, False), now),
        "recovery": record(seen, delay_s(picture.owner), now, moves=moves),
    }
    if seen.unit.group is None:  # also at 0 replicas: a scaler reads it to come back
        status["hpaPodSelector"] = selector(picture.owner, {L.CLIQUE: seen.unit.name})
    return status


def _clique_scheduled(counts: Tally) -> Stated:
    reason = "SufficientScheduledPods" if counts.scheduled else "InsufficientScheduledPods"
    return Stated(SCHEDULED, counts.scheduled, reason, _have_nodes(counts))


def _clique_breach(counts: Tally, busy: bool) -> Stated:
    if busy:
        return Stated(BREACHED, None, "UpdateInProgress", "pods are being replaced")
    if not counts.breached:
        said = f"pods ready or starting: {counts.holding}; needed: {counts.minimum}"
        return Stated(BREACHED, False, "SufficientReadyPods", said)
    if not counts.scheduled:
        return Stated(BREACHED, True, "ScheduledReplicasBelowMinAvailable", _have_nodes(counts))
    said = f"pods failing: {counts.failing} of {counts.bound}; needed: {counts.minimum}"
    return Stated(BREACHED, True, "InsufficientReadyPods", said)


def _have_nodes(counts: Tally) -> str:
    return f"pods with a node: {counts.bound}; needed: {counts.minimum}"


def _raised(asked: int, count: int) -> tuple[Stated, ...]:
    """Said only while it is so: fewer are asked for than minAvailable, and a slip destroys nothing."""
    if asked == count:
        return ()
    said = f"spec.replicas is {asked}, below minAvailable: {count} are kept; 0 would end them all"
    return (Stated(RAISED, True, "BelowMinAvailable", said),)


# ------------------------------------------------------------ groups


def group_status(
    group: Group,
    picture: Picture,
    now: float,
    update: Rollout | None = None,
    troubles: Iterable[Trouble] = (),
) -> Document:
    """Of a PodCliqueScalingGroup. *update*: as above; *troubles*: with its cliques."""
    held = picture.groups.get(group.name)
    status = held.status if held is not None else GroupStatus()
    replicas = group_replicas(picture, group)
    wanted = [_group_breach(group, replicas), *_raised(group.asked, group.count)]
    delay = delay_s(picture.owner)
    if any(ended(seen, delay) for one in replicas for seen in one.cliques):
        wanted.append(Stated(TERMINATING, True, "GangTerminationActive", "pods are started anew together"))
    reached = picture.hash if all(one.updated for one in replicas) else None
    return {
        "observedGeneration": held.metadata.generation if held is not None else None,
        "replicas": group.count,
        "scheduledReplicas": sum(one.scheduled for one in replicas),
        "availableReplicas": sum(one.available for one in replicas),
        "updatedReplicas": sum(one.available and one.updated for one in replicas),
        "selector": selector(picture.owner, {L.GROUP: group.name}),
        "conditions": conditions(status.conditions, *wanted, now=now, never=[RAISED, TERMINATING]),
        "lastErrors": last_errors(status.last_errors, troubles, now),
        "currentPodCliqueSetGenerationHash": reached or status.current_pod_clique_set_generation_hash,
        "updateProgress": group_progress(picture, group, update or rollout(picture, False), now),
    }


def _group_breach(group: Group, replicas: Sequence[GroupReplica]) -> Stated:
    if any(one.updating for one in replicas):
        return Stated(BREACHED, None, "UpdateInProgress", "replicas are being replaced")
    minimum = min(group.template.minimum, group.count)
    left = sum(not one.breached for one in replicas)
    said = f"replicas that lack nothing: {left}; needed: {minimum}"
    if left < minimum:
        return Stated(BREACHED, True, "InsufficientAvailablePodCliqueScalingGroupReplicas", said)
    return Stated(BREACHED, False, "SufficientAvailablePodCliqueScalingGroupReplicas", said)
