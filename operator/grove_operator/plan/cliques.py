"""PodCliques: a template, told where in the set it stands.

Owner is the set, or for a member of a group the group: such a clique can only be made once the group is there
and has a uid. `spec.replicas` belongs to whoever scales it, as soon as the object is there.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import msgspec

from grove_dp.kube.objects import Meta, Resource
from grove_operator import naming
from grove_operator.api import CLIQUES, GROUPS, SETS, PodCliqueSet
from grove_operator.naming import CLIQUE_FINALIZER, Component, L
from grove_operator.plan.documents import Path, Wanted, document
from grove_operator.plan.environment import group_environment, with_environment
from grove_operator.plan.order import Parent, parents
from grove_operator.plan.tree import Group, Live, Replica, Unit

__all__ = ["cliques", "place", "pods_before"]

SCALED: Final[tuple[Path, ...]] = (("spec", "replicas"),)
# What a template has said, and an update has yet to reach.
REVISION: Final[tuple[Path, ...]] = (
    *SCALED,
    ("spec", "podSpec"),
    ("metadata", "annotations"),
    ("metadata", "labels", L.TEMPLATE_HASH),
)


def cliques(
    owner: PodCliqueSet, live: Live, replica: Replica, held: Collection[str] = ()
) -> Iterator[Wanted]:
    """Of one replica of a set, as far as their owners are there. Those *held* keep the pods they describe."""
    order = parents(owner.spec.template, replica)
    for unit in replica.units:
        whose = _owner(owner, live, unit)
        if whose is not None:
            yield _clique(owner, whose, unit, order[unit.name], unit.name in held)


def place(owner: PodCliqueSet, unit: Unit) -> dict[str, str]:
    """Labels that say where a clique stands; its pods have them, too."""
    labels = {L.NAME: unit.name, L.GANG: unit.gang, L.SET_REPLICA: str(unit.replica)}
    if unit.group is not None:
        labels |= {L.GROUP: unit.group.name, L.GROUP_REPLICA: str(unit.index)}
    if unit.scaled:
        labels[L.BASE_GANG] = naming.base_gang(owner.metadata.name, unit.replica)
    return labels


def _owner(owner: PodCliqueSet, live: Live, unit: Unit) -> tuple[Resource, Meta] | None:
    if unit.group is None:
        return SETS, owner.metadata
    meta = live.owners.get(unit.group.name)
    return (GROUPS, meta) if meta is not None else None


def _clique(
    owner: PodCliqueSet,
    whose: tuple[Resource, Meta],
    unit: Unit,
    waits_for: tuple[Parent, ...],
    held: bool,
) -> Wanted:
    return document(
        CLIQUES,
        unit.name,
        whose,
        Component.CLIQUE if unit.group is None else Component.GROUP_CLIQUE,
        set_name=owner.metadata.name,
        labels=place(owner, unit) | {L.TEMPLATE_HASH: unit.hash},
        template=(unit.template.labels, unit.template.annotations),
        finalizer=CLIQUE_FINALIZER,
        once=_revision(unit) if held else SCALED,
        spec=_spec(owner, unit, waits_for),
    )


def _revision(unit: Unit) -> tuple[Path, ...]:
    return (*REVISION, *(("metadata", "labels", key) for key in unit.template.labels or ()))


def _spec(owner: PodCliqueSet, unit: Unit, waits_for: tuple[Parent, ...]) -> Mapping[str, Any]:
    template = unit.template.spec
    spec: dict[str, Any] = {
        "roleName": template.role_name,
        "podSpec": template.pod_spec,
        "replicas": unit.asked,
        "minAvailable": unit.minimum,
    }
    if unit.group is not None:
        spec["podSpec"] = with_environment(template.pod_spec, group_environment(_pods(owner, unit.group)))
    if waits_for:
        spec["startsAfter"] = [parent.name for parent in waits_for]
    if template.auto_scaling_config is not None:
        spec["autoScalingConfig"] = _without_none(msgspec.to_builtins(template.auto_scaling_config))
    return spec


def _pods(owner: PodCliqueSet, group: Group) -> int:
    """How many pods a replica of *group* has, by the template."""
    found = (owner.spec.template.clique(name) for name in group.template.clique_names)
    return sum(one.count for one in found if one is not None)


def pods_before(owner: PodCliqueSet, unit: Unit) -> int:
    """How many pods of a group's replica come before those of *unit*, by the template.

    Not by live counts: a rank must not change under a container that runs.
    """
    names = unit.group.template.clique_names if unit.group is not None else ()
    before = names[: names.index(unit.template.name)] if unit.template.name in names else ()
    return sum(one.count for name in before if (one := owner.spec.template.clique(name)) is not None)


def _without_none(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value is not None}
