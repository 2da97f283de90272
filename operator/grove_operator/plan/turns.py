"""Whose turn it is: one replica of a set is updated at a time; and what the set says of its update.

    1  the one whose turn it was          until it is done
    2  one that has begun, or does not yet serve again as it did before
    3  those of which no pod has a node, then those that miss something, then by index

The first of these that is not done has the turn. Each replica tells of itself by a Stage, and of which
revision of the set it speaks: one that has not seen the latest is unknown, and while there is any nobody
begins. A turn is known from the objects, so it survives the operator; what the set's status says of it only
settles a draw.

An update starts when the hash of the set changes. It is none when a set is seen for the first time, nor when
it comes from another operator and nothing differs. A third hash starts it anew. Under OnDelete it ends where
it starts: no pod is ours to replace.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from grove_dp.kube.stamps import second_time
from grove_operator.api import PodCliqueSet, ReplicaProgress, SetProgress
from grove_operator.plan.picture import Picture
from grove_operator.plan.revision import is_ours
from grove_operator.plan.rollout import Rollout, rolls

__all__ = ["Stage", "Turns", "stage", "turns"]

Document = dict[str, Any]


class Stage(msgspec.Struct, frozen=True):
    """How far a replica of a set is."""

    index: int
    hash: str  # of the set, when this was so
    left: bool = False  # something is of a former template
    done: bool = True  # the next may have its turn
    begun: bool = False
    scheduled: bool = True  # a pod has a node
    breached: bool = False  # fewer are ready than must be
    cliques: int = 0  # that stand alone
    cliques_updated: int = 0
    groups: int = 0
    groups_updated: int = 0


class Turns(msgspec.Struct, frozen=True):
    """Who may be updated now, and `status.updateProgress` of the set; None: there is none."""

    indices: frozenset[int]
    progress: Document | None


def stage(picture: Picture, update: Rollout) -> Stage:
    """Of a replica."""
    cliques = update.cliques.values()
    alone = [one for one in cliques if one.seen.unit.group is None]
    groups = [
        [one for one in cliques if one.seen.unit.group is not None and one.seen.unit.group.name == group.name]
        for group in picture.replica.groups
    ]
    return Stage(
        index=picture.replica.index,
        hash=picture.hash,
        left=update.left,
        done=update.done,
        begun=any(one.begun for one in cliques) or (update.lost and not update.left),
        scheduled=any(pod.bound for one in cliques for pod in one.seen.living),
        breached=any(not one.served for one in cliques if not one.seen.unit.scaled),
        cliques=len(alone),
        cliques_updated=sum(one.settled for one in alone),
        groups=len(groups),
        groups_updated=sum(all(one.settled for one in members) for members in groups),
    )


def turns(owner: PodCliqueSet, stages: Mapping[int, Stage], current: str, now: float) -> Turns:
    """*current*: the hash of the set as it is wanted; *now*: seconds since 1970."""
    there = [stages[index] for index in range(owner.spec.replicas) if index in stages]
    known = [one for one in there if one.hash == current]
    complete = len(known) == owner.spec.replicas
    holder = _holder(owner, known, complete) if rolls(owner) else None
    counts = _counts(there, known)
    progress = _progress(owner, known, complete, current, holder, now)
    return Turns(
        frozenset() if holder is None else frozenset([holder]),
        None if progress is None else _document(progress, counts),
    )


def _holder(owner: PodCliqueSet, known: list[Stage], complete: bool) -> int | None:
    progress = owner.status.update_progress
    named = {one.replica_index for one in (progress.currently_updating if progress else None) or ()}

    def order(one: Stage) -> tuple[bool, bool, bool, bool, int]:
        return one.index not in named, not one.begun, one.scheduled, not one.breached, one.index

    waiting = [one for one in known if not one.done and (complete or one.begun)]
    return min(waiting, key=order).index if waiting else None


# ------------------------------------------------------------ what the set says


def _progress(
    owner: PodCliqueSet, known: list[Stage], complete: bool, current: str, holder: int | None, now: float
) -> SetProgress | None:
    progress = owner.status.update_progress
    if _starts(owner, known, complete, current):
        progress = SetProgress(update_started_at=second_time(now))
    if progress is None or progress.update_ended_at is not None:
        return progress
    if not rolls(owner) or (complete and all(one.done for one in known)):
        return msgspec.structs.replace(progress, update_ended_at=second_time(now), currently_updating=None)
    held = {one.replica_index: one for one in progress.currently_updating or ()}
    now_updating = () if holder is None else (held.get(holder) or _began(holder, now),)
    return msgspec.structs.replace(progress, currently_updating=now_updating or None)


def _starts(owner: PodCliqueSet, known: list[Stage], complete: bool, current: str) -> bool:
    """Whether an update begins here and now."""
    stored = owner.status.current_generation_hash
    progress = owner.status.update_progress
    left = any(one.left for one in known)
    if stored is not None and stored != current and (left or is_ours(stored)):
        return True
    if stored is None or not complete or not left:
        return False
    return progress is None or progress.update_ended_at is not None  # it was OnDelete, or nobody had noticed


def _began(index: int, now: float) -> ReplicaProgress:
    return ReplicaProgress(replica_index=index, update_started_at=second_time(now))


def _counts(there: list[Stage], known: list[Stage]) -> Document:
    return {
        "updatedPodCliquesCount": sum(one.cliques_updated for one in known),
        "totalPodCliquesCount": sum(one.cliques for one in there),
        "updatedPodCliqueScalingGroupsCount": sum(one.groups_updated for one in known),
        "totalPodCliqueScalingGroupsCount": sum(one.groups for one in there),
    }


def _document(progress: SetProgress, counts: Document) -> Document:
    document: Document = {"updateStartedAt": progress.update_started_at}
    if progress.update_ended_at is not None:
        document["updateEndedAt"] = progress.update_ended_at
    document |= counts
    if progress.currently_updating:
        document["currentlyUpdating"] = [_replica(one) for one in progress.currently_updating]
    return document


def _replica(one: ReplicaProgress) -> Document:
    document: Document = {"replicaIndex": one.replica_index}
    if one.update_started_at is not None:
        document["updateStartedAt"] = one.update_started_at
    return document
