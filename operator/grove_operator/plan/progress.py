"""How far an update of a clique or a group is, as their statuses say it: `updateProgress`.

For people, and for tools that know Grove's; nothing is decided by it. Which ready pods and replicas went for
the update is seen while they are on their way out, and then kept: `current` is the last of them, `completed`
are those before. None: there was no update.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from grove_dp.kube.stamps import second_time
from grove_operator.api import (
    CliqueProgress,
    GroupProgress,
    GroupStatus,
    SelectedPods,
    SelectedReplicas,
)
from grove_operator.plan.picture import Picture
from grove_operator.plan.revision import Revision
from grove_operator.plan.rollout import Rollout, rolls
from grove_operator.plan.tree import Group
from grove_operator.pods import Pod

__all__ = ["clique_progress", "group_progress"]

Document = dict[str, Any]


def clique_progress(picture: Picture, name: str, update: Rollout, now: float) -> Document | None:
    """Of clique *name*; *now*: seconds since 1970."""
    one = update.cliques[name]
    held, hash_ = one.seen.held, one.seen.unit.hash
    former = held.status.update_progress if held is not None else None
    if held is None or one.behind or one.adopted:
        return _document(former)
    if former is None or former.pod_template_hash != hash_:
        if not one.old and held.status.current_pod_template_hash in (None, hash_):
            return _document(former)
        former = CliqueProgress(update_started_at=second_time(now), pod_template_hash=hash_)
    went = former.ready_pods_selected_to_update or SelectedPods()
    names = [*(went.completed or ()), *filter(None, [went.current])]
    names += [pod.metadata.name for pod in _taken(picture, one, update)]
    return _document(
        msgspec.structs.replace(
            former,
            update_ended_at=_ended(former, picture, one.settled and one.served, now),
            pod_clique_set_generation_hash=picture.hash,
            ready_pods_selected_to_update=_pods(names),
        )
    )


def group_progress(picture: Picture, group: Group, update: Rollout, now: float) -> Document | None:
    """Of *group*; *now*: seconds since 1970."""
    members = [
        one
        for one in update.cliques.values()
        if one.seen.unit.group is not None and one.seen.unit.group.name == group.name
    ]
    settled = sum(one.settled for one in members)
    status = picture.groups[group.name].status if group.name in picture.groups else GroupStatus()
    former = status.update_progress
    if former is None or former.pod_clique_set_generation_hash != picture.hash:
        reached = status.current_pod_clique_set_generation_hash
        unseen = settled == len(members) and reached not in (None, picture.hash)
        moving = settled < len(members) and (update.turn or any(one.begun for one in members))
        if not unseen and not moving:
            return _document(former)
        former = GroupProgress(
            update_started_at=second_time(now), pod_clique_set_generation_hash=picture.hash
        )
    over = settled == len(members) and not any(one.lost for one in members)
    went = former.ready_replica_indices_selected_to_update or SelectedReplicas()
    indices = [*(went.completed or ()), *(() if went.current is None else (went.current,))]
    indices += [one.seen.unit.index for one in members if _taken(picture, one, update)]
    return _document(
        msgspec.structs.replace(
            former,
            update_ended_at=_ended(former, picture, over, now),
            updated_pod_cliques_count=settled,
            total_pod_cliques_count=len(members),
            ready_replica_indices_selected_to_update=_replicas(indices),
        )
    )


def _ended(progress: CliqueProgress | GroupProgress, picture: Picture, over: bool, now: float) -> str | None:
    over = over or not rolls(picture.owner)
    return progress.update_ended_at or (second_time(now) if over else None)


def _taken(picture: Picture, one: Revision, update: Rollout) -> list[Pod]:
    """Pods of a former template that were ready, and go for the update."""
    if not rolls(picture.owner):
        return []
    going = {pod.metadata.name for pod in update.replace}
    return [
        pod
        for pod in one.seen.pods
        if pod.hash != one.seen.unit.hash
        and (pod.terminating or pod.metadata.name in going)
        and (state := pod.condition("Ready")) is not None
        and state.status == "True"
    ]


def _pods(names: list[str]) -> SelectedPods | None:
    if not names:
        return None
    *before, last = dict.fromkeys(names)
    return SelectedPods(current=last, completed=tuple(before) or None)


def _replicas(indices: list[int]) -> SelectedReplicas | None:
    if not indices:
        return None
    *before, last = dict.fromkeys(indices)
    return SelectedReplicas(current=last, completed=tuple(before) or None)


def _document(progress: CliqueProgress | GroupProgress | None) -> Document | None:
    """As it travels, without what is not there."""
    return None if progress is None else _plain(msgspec.to_builtins(progress))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items() if one is not None}
    return list(value) if isinstance(value, tuple) else value
