"""The status of a set: small values that its replicas give, added up.

    Picture ──summary──► ReplicaSummary ─┐
    Picture ──summary──► ReplicaSummary ─┴──set_status──► status of the set

A replica is available when each of its standalone cliques has its minAvailable pods ready, and each group its
minAvailable available replicas. It is updated when it is available, and of the newest template in all parts.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from grove_dp.kube.conditions import Stated
from grove_operator.api import PodCliqueSet
from grove_operator.naming import managed
from grove_operator.plan.health import GroupReplica, group_replicas, reached_set, tally
from grove_operator.plan.patches import conditions
from grove_operator.plan.phases import phase
from grove_operator.plan.picture import CliqueSeen, Picture
from grove_operator.plan.topology import constraints
from grove_operator.plan.tree import Group

__all__ = ["ReplicaSummary", "selector", "set_status", "settled", "summary"]

TOPOLOGY: Final = "TopologyLevelsUnavailable"

Document = dict[str, Any]


class ReplicaSummary(msgspec.Struct, frozen=True):
    """What a set needs to know of one replica."""

    available: bool = False
    updated: bool = False
    cliques: int = 0
    cliques_updated: int = 0
    groups: int = 0
    groups_updated: int = 0
    gangs: Mapping[str, str] = {}  # phases by name


def summary(picture: Picture) -> ReplicaSummary:
    """Of one replica."""
    groups = [(group, group_replicas(picture, group)) for group in picture.replica.groups]
    updated = [reached_set(picture, seen) == picture.hash for seen in picture.cliques.values()]
    available = all(_available(seen) for seen in picture.standalone()) and all(
        group.name in picture.groups and _enough(group, replicas) for group, replicas in groups
    )
    return ReplicaSummary(
        available=available,
        updated=available and all(updated),
        cliques=len(updated),
        cliques_updated=sum(updated),
        groups=len(groups),
        groups_updated=sum(all(one.updated for one in replicas) for _, replicas in groups),
        gangs={gang.name: phase(gang, picture) for gang in picture.replica.gangs},
    )


def _available(seen: CliqueSeen) -> bool:
    return seen.held is not None and tally(seen).available


def _enough(group: Group, replicas: tuple[GroupReplica, ...]) -> bool:
    return sum(one.available for one in replicas) >= min(group.template.minimum, group.count)


def settled(picture: Picture) -> bool:
    """Whether all is as it is to be, and ready: nothing more will happen by itself."""
    return (
        all(_settled(seen) for seen in picture.cliques.values())
        and all(group.name in picture.groups for group in picture.replica.groups)
        and all(gang.name in picture.gangs for gang in picture.replica.gangs)
    )


def _settled(seen: CliqueSeen) -> bool:
    counts = tally(seen)
    there = seen.held is not None and not counts.behind
    return there and len(seen.pods) == counts.living == counts.ready == counts.updated == seen.unit.count


# ------------------------------------------------------------ the set


def set_status(
    owner: PodCliqueSet,
    summaries: Mapping[int, ReplicaSummary],
    current: str,
    now: float,
    *,
    progress: Document | None = None,
    topology: str | None = None,
    bound: bool = True,
    missing: tuple[str, ...] = (),
    enabled: bool = True,
    errors: Sequence[Document] = (),
) -> Document:
    """Of a set, by what its replicas came to. *current*: the hash of its template.

    *topology*: the name of its binding; *bound*: there is one of that name; *missing*: domains that it lacks;
    *enabled*: domains are looked at at all. *progress* is what `turns` says of an update; None leaves it.
    *errors*: what keeps it from being as it should.
    """
    counted = [one for index, one in sorted(summaries.items()) if index < owner.spec.replicas]
    wanted = _topology(owner, topology, bound=bound, missing=missing, enabled=enabled)
    status: Document = {
        "observedGeneration": owner.metadata.generation,
        "replicas": owner.spec.replicas,
        "updatedReplicas": sum(one.updated for one in counted),
        "availableReplicas": sum(one.available for one in counted),
        "hpaPodSelector": selector(owner, {}),
        "currentGenerationHash": current,
        "podGangStatuses": [
            {"name": name, "phase": phase} for one in counted for name, phase in one.gangs.items()
        ],
        "conditions": conditions(owner.status.conditions, *wanted, now=now, never=[TOPOLOGY]),
        "lastErrors": list(errors),
    }
    return status if progress is None else status | {"updateProgress": progress}


def _topology(
    owner: PodCliqueSet, name: str | None, *, bound: bool, missing: tuple[str, ...], enabled: bool
) -> tuple[Stated, ...]:
    """Said of sets that ask for domains."""
    if not any(constraints(owner.spec.template)):
        return ()
    lacks: bool | None = None  # not known
    if not enabled:
        reason = "TopologyAwareSchedulingDisabled"
        said = "the operator does not look at topology: pods run without their constraints"
    elif not name:
        reason = "TopologyNameMissing"
        said = "no topologyConstraint has a topologyName: name a ClusterTopologyBinding"
    elif not bound:
        reason = "ClusterTopologyNotFound"
        said = f"there is no ClusterTopologyBinding {name}: pods run without their constraints"
    elif missing:
        lacks, reason = True, "ClusterTopologyLevelsUnavailable"
        said = f"ClusterTopologyBinding {name} has no level {', '.join(missing)}: pods run without it"
    else:
        lacks, reason = False, "AllClusterTopologyLevelsAvailable"
        said = f"ClusterTopologyBinding {name} has all levels"
    return (Stated(TOPOLOGY, lacks, reason, said, owner.metadata.generation),)


def selector(owner: PodCliqueSet, labels: Mapping[str, str]) -> str:
    """Of all pods of a set with these labels, as a scaler reads it."""
    wanted = managed(owner.metadata.name) | dict(labels)
    return ",".join(f"{key}={wanted[key]}" for key in sorted(wanted))
