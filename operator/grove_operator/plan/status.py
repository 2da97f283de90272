"""Statuses: what cliques, groups, gangs and sets have come to, as documents of the fields that are ours.

    Picture ──┬─ clique_status, group_status, gang_status     each replica writes its own
              └─ summary ──► set_status                       one small value a replica, added up
    held, wanted ──► status_patch ──► None: nothing to write

Pods are counted, and no other object's status is, which may be older. Only what must outlast a restart of the
operator is read back from a status: times, whether an update runs, and what recovery knows. Conditions of
others stay.

Available means minAvailable pods Ready, of each clique. Breached says more than not available: pods that
start are not ready, and nothing is wrong with them.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from grove_dp.kube.conditions import Stated, holds
from grove_dp.kube.stamps import second_time
from grove_operator.api import CliqueStatus, GroupStatus, PodCliqueSet
from grove_operator.naming import L, managed
from grove_operator.plan.health import Tally, on_delete, tally, template_hash, updating
from grove_operator.plan.patches import conditions, status_patch
from grove_operator.plan.phases import gang_status, phase
from grove_operator.plan.picture import CliqueSeen, Picture
from grove_operator.plan.recovery import BREACHED, delay_s, ended, record
from grove_operator.plan.topology import constraints
from grove_operator.plan.tree import Group

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
TOPOLOGY: Final = "TopologyLevelsUnavailable"


class ReplicaSummary(msgspec.Struct, frozen=True):
    """What a set needs to know of one replica."""

    available: bool = False
    updated: bool = False
    cliques: int = 0
    cliques_updated: int = 0
    groups: int = 0
    groups_updated: int = 0
    gangs: Mapping[str, str] = {}  # phases by name


# ------------------------------------------------------------ cliques


def clique_status(seen: CliqueSeen, picture: Picture, now: float) -> Document:
    """Of a PodClique."""
    held = seen.held.status if seen.held is not None else CliqueStatus()
    counts = tally(seen)
    busy = updating(picture.owner, seen, counts)
    breach = _clique_breach(counts, busy)
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
        "currentPodCliqueSetGenerationHash": _reached_set(seen, picture, counts),
        "currentPodTemplateHash": _reached_template(seen, counts),
        "updateProgress": _clique_progress(seen, picture, counts, busy, now),
        "recovery": record(seen, counts, delay_s(picture.owner), now, moves=moves),
    }
    if seen.unit.group is None:
        status["hpaPodSelector"] = _selector(picture.owner, {L.CLIQUE: seen.unit.name})
    return status


def _clique_scheduled(counts: Tally) -> Stated:
    said = f"{counts.bound} pods have a node, {counts.minimum} are needed"
    reason = "SufficientScheduledPods" if counts.scheduled else "InsufficientScheduledPods"
    return Stated(SCHEDULED, counts.scheduled, reason, said)


def _clique_breach(counts: Tally, busy: bool) -> Stated:
    if busy:
        return Stated(BREACHED, None, "UpdateInProgress", "pods are being replaced")
    if not counts.breached:
        said = f"{counts.holding} pods are ready or starting, {counts.minimum} are needed"
        return Stated(BREACHED, False, "SufficientReadyPods", said)
    if not counts.scheduled:
        said = f"{counts.bound} pods have a node, {counts.minimum} are needed"
        return Stated(BREACHED, True, "ScheduledReplicasBelowMinAvailable", said)
    said = f"{counts.failing} of {counts.bound} pods are failing, {counts.minimum} are needed"
    return Stated(BREACHED, True, "InsufficientReadyPods", said)


def _raised(asked: int, count: int) -> tuple[Stated, ...]:
    """Said only while it is so: fewer are asked for than minAvailable, and a slip destroys nothing."""
    if asked == count:
        return ()
    said = f"spec.replicas is {asked}, below minAvailable: {count} are kept; 0 would end them all"
    return (Stated(RAISED, True, "BelowMinAvailable", said),)


def _reached_template(seen: CliqueSeen, counts: Tally) -> str:
    """The hash that its pods have got to: at first that of its template, later once an update is done."""
    former = seen.held.status.current_pod_template_hash if seen.held is not None else None
    return former if former and not counts.done else template_hash(seen)


def _reached_set(seen: CliqueSeen, picture: Picture, counts: Tally) -> str | None:
    if seen.held is None:
        return None
    wanted = seen.unit.hash
    if template_hash(seen) == wanted == _reached_template(seen, counts):
        return picture.hash
    return seen.held.status.current_pod_clique_set_generation_hash


def _clique_progress(
    seen: CliqueSeen, picture: Picture, counts: Tally, busy: bool, now: float
) -> Document | None:
    """From when pods of another template are to be replaced, until none is left."""
    held = seen.held.status if seen.held is not None else CliqueStatus()
    wanted, known = template_hash(seen), held.update_progress
    stamp = second_time(now)
    begun: Document = {
        "updateStartedAt": stamp,
        "podCliqueSetGenerationHash": picture.hash,
        "podTemplateHash": wanted,
    }
    if busy and (known is None or known.update_ended_at or known.pod_template_hash != wanted):
        return begun
    if known is not None and (busy or not on_delete(picture.owner) or known.pod_template_hash == wanted):
        over = {"updateEndedAt": known.update_ended_at or (None if busy else stamp)}
        return msgspec.to_builtins(known) | over  # type: ignore[no-any-return]
    if on_delete(picture.owner) and held.current_pod_template_hash not in (None, "", wanted):
        return begun | {"updateEndedAt": stamp}  # pods follow when somebody deletes them
    return msgspec.to_builtins(known) if known is not None else None


# ------------------------------------------------------------ groups


def group_status(group: Group, picture: Picture, now: float) -> Document:
    """Of a PodCliqueScalingGroup."""
    held = picture.groups.get(group.name)
    status = held.status if held is not None else GroupStatus()
    replicas = [_GroupReplica.of(picture, group, index) for index in range(group.count)]
    busy = any(one.updating for one in replicas)
    wanted = [_group_breach(group, replicas, busy), *_raised(group.asked, group.count)]
    if any(one.ended for one in replicas):
        wanted.append(
            Stated(TERMINATING, True, "GangTerminationActive", "its pods are started anew together")
        )
    done = all(one.at_revision for one in replicas)
    return {
        "observedGeneration": held.metadata.generation if held is not None else None,
        "replicas": group.count,
        "scheduledReplicas": sum(one.scheduled for one in replicas),
        "availableReplicas": sum(one.available for one in replicas),
        "updatedReplicas": sum(one.available and one.at_revision for one in replicas),
        "selector": _selector(picture.owner, {L.GROUP: group.name}),
        "conditions": conditions(status.conditions, *wanted, now=now, never=[RAISED, TERMINATING]),
        "currentPodCliqueSetGenerationHash": (
            picture.hash if done else status.current_pod_clique_set_generation_hash
        ),
        "updateProgress": _group_progress(status, picture, replicas, busy, now),
    }


class _GroupReplica(msgspec.Struct, frozen=True):
    """One replica of a group."""

    cliques: int
    cliques_updated: int
    scheduled: bool
    available: bool
    breached: bool
    updating: bool
    outdated: bool
    ended: bool

    @property
    def at_revision(self) -> bool:
        """Whether all of it is of the newest template."""
        return self.cliques == self.cliques_updated

    @staticmethod
    def of(picture: Picture, group: Group, index: int) -> "_GroupReplica":
        """Replica *index* of *group*."""
        members = [(seen, tally(seen)) for seen in picture.members(group, index)]
        there = all(seen.held is not None for seen, _ in members)
        return _GroupReplica(
            cliques=len(members),
            cliques_updated=sum(_at_revision(seen, picture, counts) for seen, counts in members),
            scheduled=there and all(counts.scheduled for _, counts in members),
            available=there and all(counts.available for _, counts in members),
            breached=not there or any(counts.breached for _, counts in members),
            updating=any(updating(picture.owner, seen, counts) for seen, counts in members),
            outdated=any(counts.outdated for _, counts in members),
            ended=any(ended(seen) for seen, _ in members),
        )


def _at_revision(seen: CliqueSeen, picture: Picture, counts: Tally) -> bool:
    return seen.held is not None and _reached_set(seen, picture, counts) == picture.hash


def _group_breach(group: Group, replicas: list[_GroupReplica], busy: bool) -> Stated:
    if busy:
        return Stated(BREACHED, None, "UpdateInProgress", "replicas are being replaced")
    minimum = min(group.template.minimum, group.count)
    left = sum(not one.breached for one in replicas)
    said = f"{left} replicas lack nothing, {minimum} are needed"
    if left < minimum:
        return Stated(BREACHED, True, "InsufficientAvailablePodCliqueScalingGroupReplicas", said)
    return Stated(BREACHED, False, "SufficientAvailablePodCliqueScalingGroupReplicas", said)


def _group_progress(
    status: GroupStatus, picture: Picture, replicas: list[_GroupReplica], busy: bool, now: float
) -> Document | None:
    known, stamp = status.update_progress, second_time(now)
    new = known is None or known.pod_clique_set_generation_hash != picture.hash
    progress: Document = {} if known is None else msgspec.to_builtins(known)
    left = not all(one.at_revision for one in replicas)
    if new and (busy or (on_delete(picture.owner) and any(one.outdated for one in replicas))):
        progress = {"updateStartedAt": stamp, "podCliqueSetGenerationHash": picture.hash}
    elif known is None:
        return None
    if not progress.get("updateEndedAt") and (not left or on_delete(picture.owner)):
        progress["updateEndedAt"] = stamp
    return progress | {
        "updatedPodCliquesCount": sum(one.cliques_updated for one in replicas),
        "totalPodCliquesCount": sum(one.cliques for one in replicas),
    }


# ------------------------------------------------------------ replicas, and the set


def summary(picture: Picture) -> ReplicaSummary:
    """Of one replica, for its set's status."""
    counted = {name: tally(seen) for name, seen in picture.cliques.items()}
    updated = [_at_revision(seen, picture, counted[name]) for name, seen in picture.cliques.items()]
    groups = {
        group.name: [_GroupReplica.of(picture, group, index) for index in range(group.count)]
        for group in picture.replica.groups
    }
    alone = all(seen.held is not None and counted[seen.unit.name].available for seen in picture.standalone())
    enough = all(_enough(group, groups[group.name], picture) for group in picture.replica.groups)
    return ReplicaSummary(
        available=alone and enough,
        updated=alone and enough and all(updated),
        cliques=len(updated),
        cliques_updated=sum(updated),
        groups=len(groups),
        groups_updated=sum(all(one.at_revision for one in found) for found in groups.values()),
        gangs={gang.name: phase(gang, picture) for gang in picture.replica.gangs},
    )


def _enough(group: Group, replicas: list[_GroupReplica], picture: Picture) -> bool:
    available = sum(one.available for one in replicas)
    return group.name in picture.groups and available >= min(group.template.minimum, group.count)


def set_status(
    owner: PodCliqueSet,
    summaries: Mapping[int, ReplicaSummary],
    hash_: str,
    now: float,
    *,
    progress: Document | None = None,
    topology: str | None = None,
    bound: bool = True,
    missing: tuple[str, ...] = (),
    enabled: bool = True,
) -> Document:
    """Of a set, by what its replicas came to.

    *topology*: the name of its binding; *bound*: there is one of that name; *missing*: domains that it lacks;
    *enabled*: domains are looked at at all. *progress* is what `turns` says of an update; None leaves it.
    """
    counted = [one for index, one in sorted(summaries.items()) if index < owner.spec.replicas]
    wanted = _topology(owner, topology, bound=bound, missing=missing, enabled=enabled)
    status: Document = {
        "observedGeneration": owner.metadata.generation,
        "replicas": owner.spec.replicas,
        "updatedReplicas": sum(one.updated for one in counted),
        "availableReplicas": sum(one.available for one in counted),
        "hpaPodSelector": _selector(owner, {}),
        "currentGenerationHash": hash_,
        "podGangStatuses": [
            {"name": name, "phase": how} for one in counted for name, how in one.gangs.items()
        ],
        "conditions": conditions(owner.status.conditions, *wanted, now=now, never=[TOPOLOGY]),
    }
    return status if progress is None else status | {"updateProgress": progress}


def _topology(
    owner: PodCliqueSet, name: str | None, *, bound: bool, missing: tuple[str, ...], enabled: bool
) -> tuple[Stated, ...]:
    """Said of sets that ask for domains."""
    if not any(constraints(owner.spec.template)):
        return ()
    generation = owner.metadata.generation
    if not enabled:
        said = "the operator does not look at topology: pods run without their constraints"
        return (Stated(TOPOLOGY, None, "TopologyAwareSchedulingDisabled", said, generation),)
    if not name:
        said = "no topologyConstraint has a topologyName: name a ClusterTopologyBinding"
        return (Stated(TOPOLOGY, None, "TopologyNameMissing", said, generation),)
    if not bound:
        said = f"there is no ClusterTopologyBinding {name}: pods run without their constraints"
        return (Stated(TOPOLOGY, None, "ClusterTopologyNotFound", said, generation),)
    if missing:
        said = f"ClusterTopologyBinding {name} has no level {', '.join(missing)}: pods run without it"
        return (Stated(TOPOLOGY, True, "ClusterTopologyLevelsUnavailable", said, generation),)
    said = f"ClusterTopologyBinding {name} has all levels"
    return (Stated(TOPOLOGY, False, "AllClusterTopologyLevelsAvailable", said, generation),)


def settled(picture: Picture) -> bool:
    """Whether all is as it is to be, and ready: nothing more will happen by itself."""
    return (
        all(_settled(seen) for seen in picture.cliques.values())
        and all(group.name in picture.groups for group in picture.replica.groups)
        and all(gang.name in picture.gangs for gang in picture.replica.gangs)
    )


def _settled(seen: CliqueSeen) -> bool:
    counts = tally(seen)
    return (
        seen.held is not None
        and template_hash(seen) == seen.unit.hash
        and len(seen.pods) == counts.living == counts.ready == counts.updated == seen.unit.count
    )


def _selector(owner: PodCliqueSet, labels: Mapping[str, str]) -> str:
    """Of all pods with these labels in a set, as a scaler reads it."""
    wanted = managed(owner.metadata.name) | dict(labels)
    return ",".join(f"{key}={wanted[key]}" for key in sorted(wanted))
