"""What a replica of a set came to: statuses of its cliques, groups and gangs, and its word to the set.

A status is written when the replica has settled, and while it has not, later and later: what comes to pass
meanwhile is one write and not five. A breach is told soon, for its time counts.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from grove_dp.kube.objects import Resource
from grove_operator.api import CLIQUES, GANGS, GROUPS
from grove_operator.applying import together
from grove_operator.controllers.state import Ground, Troubles
from grove_operator.observing import Seen
from grove_operator.plan.health import tally
from grove_operator.plan.picture import Picture
from grove_operator.plan.rollout import Rollout
from grove_operator.plan.status import (
    clique_status,
    gang_status,
    group_status,
    settled,
    status_patch,
    summary,
)
from grove_operator.plan.tree import Gang
from grove_operator.plan.troubles import Trouble
from grove_operator.plan.turns import stage
from grove_operator.watching import ReplicaKey

__all__ = ["SUMMED_S", "Statuses"]

SOON_S: Final = 0.2
SETTLING_S: Final = (1.0, 2.0, 4.0, 8.0)  # a status of an unsettled replica waits so long, write by write
SUMMED_S: Final = 0.1  # a set's status waits so long for more replicas

Document = dict[str, Any]
Written = tuple[Resource, str, Document]


class _Unsettled(msgspec.Struct, frozen=True):
    """Statuses that wait to be written, since when, and how many writes a replica has had while unsettled."""

    since: float | None
    writes: int


class Statuses:
    """Of all replicas."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._unsettled: dict[ReplicaKey, _Unsettled] = {}

    async def tell(self, key: ReplicaKey, seen: Seen, update: Rollout) -> float | None:
        """Write what differs, if it is time to; else when it will be, in seconds."""
        picture = seen.picture
        if self._ground.boards.put(key, summary(picture), stage(picture, update)):
            self._ground.wake(key.set, SUMMED_S)
        patches = list(self._differing(key, picture, update))
        if patches:
            wait_s = self._wait_s(key, picture)
            if wait_s > 0.001:
                return wait_s
            namespace = picture.owner.metadata.namespace
            await together(
                self._ground.writer.merge(kind, namespace, name, {"status": patch}, "status")
                for kind, name, patch in patches
            )
        if settled(picture):
            self._unsettled.pop(key, None)
        elif patches:
            self._unsettled[key] = _Unsettled(None, self._unsettled[key].writes + 1)
        return None

    def forget(self, key: ReplicaKey) -> None:
        """A replica that is no more."""
        self._unsettled.pop(key, None)
        if self._ground.boards.drop(key):
            self._ground.wake(key.set, SUMMED_S)

    def _wait_s(self, key: ReplicaKey, picture: Picture) -> float:
        """How long statuses that differ still wait."""
        if settled(picture):
            return 0.0
        now = self._ground.clock.now()
        held = self._unsettled.get(key, _Unsettled(None, 0))
        since = now if held.since is None else held.since
        self._unsettled[key] = _Unsettled(since, held.writes)
        limit_s = SOON_S if _suffers(picture) else SETTLING_S[min(held.writes, len(SETTLING_S) - 1)]
        return since + limit_s - now

    # ------------------------------------------------------------ what differs

    def _differing(self, key: ReplicaKey, picture: Picture, update: Rollout) -> Iterator[Written]:
        now, namespace = self._ground.clock.wall(), picture.owner.metadata.namespace
        watched = self._ground.watched
        errors: dict[str, list[Document]] = {}
        for name, clique in picture.cliques.items():
            held = watched.cliques.get(namespace, name)
            if held is not None and clique.held is not None:
                troubles = self._troubles(key, (CLIQUES.kind, name), held.status)
                status = clique_status(clique, picture, now, update, troubles)
                errors[name] = status["lastErrors"]
                if patch := status_patch(held.status, status):
                    yield CLIQUES, name, patch
        for group in picture.replica.groups:
            held = watched.groups.get(namespace, group.name)
            if held is not None and group.name in picture.groups:
                troubles = self._troubles(key, (GROUPS.kind, group.name), held.status)
                status = group_status(group, picture, now, update, troubles)
                errors[group.name] = status["lastErrors"]
                if patch := status_patch(held.status, status):
                    yield GROUPS, group.name, patch
        for gang in picture.replica.gangs:
            held = watched.gangs.get(namespace, gang.name)
            if held is not None and gang.name in picture.gangs:
                status = gang_status(gang, picture, now, errors) | self._placed(gang, picture)
                if patch := status_patch(held.status, status):
                    yield GANGS, gang.name, patch

    def _troubles(self, key: ReplicaKey, owner: tuple[str, str], status: Mapping[str, Any]) -> list[Trouble]:
        """What has lasted of the troubles of a clique or a group, or is told already."""
        troubles: Troubles = self._ground.boards.of(key.set).troubles
        codes = {str(one.get("code")) for one in status.get("lastErrors") or ()}
        return troubles.of(key.number, owner, self._ground.clock.now(), codes)

    def _placed(self, gang: Gang, picture: Picture) -> Document:
        score = self._ground.boards.scores.get((picture.owner.metadata.namespace, gang.name))
        return {} if score is None else {"placementScore": round(score, 3)}


def _suffers(picture: Picture) -> bool:
    """Something that ran lacks pods."""
    for clique in picture.cliques.values():
        recovery = clique.held.status.recovery if clique.held is not None else None
        if recovery is not None and recovery.healthy and tally(clique).breached:
            return True
    return False
