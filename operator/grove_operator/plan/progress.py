"""How far an update of a clique or a group is, as their statuses say it: `updateProgress`.

For people, and for tools that know Grove's; nothing is decided by it. Which ready pods and replicas went for
the update is seen while they are on their way out, and then kept: `current` is the last of them, `completed`
are those before. None: there was no update.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from grove_dp.kube.stamps import second_time
from grove_operator.api import CliqueProgress, GroupProgress
from grove_operator.plan.picture import Picture
from grove_operator.plan.revision import Revision
from grove_operator.plan.rollout import Rollout, rolls
from grove_operator.plan.tree import Group
from grove_operator.pods import Pod

__all__ = ["clique_progress", "group_progress"]

Document = dict[str, Any]
One = TypeVar("One", str, int)


def clique_progress(picture: Picture, name: str, update: Rollout, now: float) -> Document | None:
    """Of clique *name*; *now*: seconds since 1970."""
    one = update.cliques[name]
    held = one.seen.held
    former = held.status.update_progress if held is not None else None
    if held is None or one.behind or one.adopted:
        return _document(former)
    hash_, reached = one.seen.unit.hash, held.status.current_pod_template_hash
    if former is None or former.pod_template_hash != hash_:
        if not one.old and (reached is None or reached == hash_):
            return _document(former)
        former = CliqueProgress(update_started_at=second_time(now), pod_template_hash=hash_)
    ended = former.update_ended_at
    if ended is None and (not rolls(picture.owner) or (one.settled and one.served)):
        ended = second_time(now)
    chosen = former.ready_pods_selected_to_update
    document = _document(
        msgspec.structs.replace(
            former,
            update_ended_at=ended,
            pod_clique_set_generation_hash=picture.hash,
            ready_pods_selected_to_update=None,
        )
    )
    taken = [pod.metadata.name for pod in _taken(one, update)] if rolls(picture.owner) else []
    return _selected(
        document,
        "readyPodsSelectedToUpdate",
        [
            *((chosen.completed or ()) if chosen else ()),
            *([chosen.current] if chosen and chosen.current else []),
        ],
        taken,
    )


def group_progress(picture: Picture, group: Group, update: Rollout, now: float) -> Document | None:
    """Of *group*; *now*: seconds since 1970."""
    members = [
        one
        for one in update.cliques.values()
        if one.seen.unit.group is not None and one.seen.unit.group.name == group.name
    ]
    held = picture.groups.get(group.name)
    former = held.status.update_progress if held is not None else None
    reached = held.status.current_pod_clique_set_generation_hash if held is not None else None
    if former is None or former.pod_clique_set_generation_hash != picture.hash:
        moving = update.turn and not all(one.settled for one in members)
        through = reached is not None and reached != picture.hash and all(one.settled for one in members)
        if not moving and not through:
            return _document(former)
        former = GroupProgress(
            update_started_at=second_time(now), pod_clique_set_generation_hash=picture.hash
        )
    ended = former.update_ended_at
    over = all(one.settled for one in members) and not any(one.lost for one in members)
    if ended is None and (over or not rolls(picture.owner)):
        ended = second_time(now)
    chosen = former.ready_replica_indices_selected_to_update
    document = _document(
        msgspec.structs.replace(
            former,
            update_ended_at=ended,
            updated_pod_cliques_count=sum(one.settled for one in members),
            total_pod_cliques_count=len(members),
            ready_replica_indices_selected_to_update=None,
        )
    )
    taken = sorted({one.seen.unit.index for one in members if _taken(one, update)})
    return _selected(
        document,
        "readyReplicaIndicesSelectedToUpdate",
        [
            *((chosen.completed or ()) if chosen else ()),
            *([chosen.current] if chosen and chosen.current is not None else []),
        ],
        taken if rolls(picture.owner) else [],
    )


def _taken(one: Revision, update: Rollout) -> list[Pod]:
    """Pods of a former template that were ready, and go."""
    going = {pod.metadata.name for pod in update.replace}
    return [
        pod
        for pod in one.seen.pods
        if pod.hash != one.seen.unit.hash
        and (pod.terminating or pod.metadata.name in going)
        and (state := pod.condition("Ready")) is not None
        and state.status == "True"
    ]


def _selected(document: Document | None, field: str, before: Iterable[One], taken: Iterable[One]) -> Document:
    names = list(dict.fromkeys(before))
    names += [one for one in taken if one not in names]
    found: Document = dict(document or {})
    if names:
        found[field] = {"current": names[-1]} | ({"completed": names[:-1]} if names[:-1] else {})
    return found


def _document(progress: CliqueProgress | GroupProgress | None) -> Document | None:
    """As it travels, without what is not there."""
    return None if progress is None else _without_none(msgspec.to_builtins(progress))


def _without_none(document: Mapping[str, Any]) -> Document:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in document.items()
        if value is not None
    }
