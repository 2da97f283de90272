"""PodGangs: what must run together, complete from the first write.

Base: all standalone cliques in template order, then for each group its replicas below minAvailable. Each
replica beyond has a scaled gang of its own. A pod group needs its clique's minAvailable pods; its references
are all pods that the clique has or is about to have, by name.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from grove_operator import naming
from grove_operator.api import GANGS, SETS, PodCliqueSet
from grove_operator.naming import TOPOLOGY_NAME, Component, L
from grove_operator.plan.documents import Wanted, document
from grove_operator.plan.topology import Topologies, packing, topology_name
from grove_operator.plan.tree import Gang, Group, Replica, Unit

__all__ = ["gangs", "scheduler_of"]

GROVES: Final = "grove.io/"
# A copy of the whole set, rewritten by each `kubectl apply`: of no use to a scheduler.
APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


def gangs(
    owner: PodCliqueSet,
    replica: Replica,
    pods: Mapping[str, Sequence[str]],
    scheduler: str,
    topologies: Topologies,
) -> Iterator[Wanted]:
    """Of one replica of a set. *pods*: names by clique; *scheduler*: where templates name none."""
    for gang in replica.gangs:
        labels = {L.SCHEDULER: scheduler_of(owner, scheduler), L.SET_REPLICA: str(replica.index)}
        if gang.group is not None:
            labels[L.BASE_GANG] = naming.base_gang(owner.metadata.name, replica.index)
        spec = _spec(owner, gang, pods, topologies)
        name = topology_name(owner.spec.template)
        translated = name is not None and any(map(_constrained, (spec, *spec["podgroups"])))
        yield document(
            GANGS,
            gang.name,
            (SETS, owner.metadata),
            Component.GANG,
            set_name=owner.metadata.name,
            labels=labels,
            template=(_mirrored(owner.metadata.labels), _mirrored(owner.metadata.annotations)),
            annotations={TOPOLOGY_NAME: name} if translated and name else None,
            spec=spec,
        )


def scheduler_of(owner: PodCliqueSet, default: str) -> str:
    """The one scheduler of a set."""
    named = (clique.spec.pod_spec.get("schedulerName") for clique in owner.spec.template.cliques)
    return next((str(name) for name in named if name), default)


def _mirrored(marks: Mapping[str, str] | None) -> dict[str, str]:
    return {
        key: value for key, value in (marks or {}).items() if not key.startswith(GROVES) and key != APPLIED
    }


def _constrained(part: Mapping[str, Any]) -> bool:
    return "topologyConstraint" in part or "topologyConstraintGroupConfigs" in part


def _spec(
    owner: PodCliqueSet, gang: Gang, pods: Mapping[str, Sequence[str]], topologies: Topologies
) -> dict[str, Any]:
    template = owner.spec.template
    name = topology_name(template)
    whole = template.topology_constraint
    if gang.group is not None:
        whole = gang.group.template.topology_constraint or whole
    spec: dict[str, Any] = {
        "podgroups": [
            _pod_group(owner.metadata.namespace, unit, pods.get(unit.name, ()))
            | _constraint(packing(unit.template.topology_constraint, topologies, name))
            for unit in gang.units
        ]
    }
    spec |= _constraint(packing(whole, topologies, name))
    if gang.group is None and (configs := list(_group_configs(gang, topologies, name))):
        spec["topologyConstraintGroupConfigs"] = configs
    if template.priority_class_name:
        spec["priorityClassName"] = template.priority_class_name
    return spec


def _constraint(packed: dict[str, Any] | None) -> dict[str, Any]:
    return {"topologyConstraint": packed} if packed else {}


def _pod_group(namespace: str, unit: Unit, pods: Sequence[str]) -> dict[str, Any]:
    return {
        "name": unit.name,
        "podReferences": [{"namespace": namespace, "name": name} for name in sorted(pods)],
        "minReplicas": unit.minimum,
    }


def _group_configs(gang: Gang, topologies: Topologies, name: str | None) -> Iterator[dict[str, Any]]:
    """One for each group replica of a base gang whose group has a constraint of its own."""
    replicas: dict[tuple[str, int], tuple[Group, list[str]]] = {}
    for unit in gang.units:
        if unit.group is not None:
            held = replicas.setdefault((unit.group.name, unit.index), (unit.group, []))
            held[1].append(unit.name)
    for (group_name, index), (group, names) in replicas.items():
        packed = packing(group.template.topology_constraint, topologies, name)
        if packed:
            yield {
                "name": f"{group_name}-{index}",
                "podGroupNames": names,
                "topologyConstraint": packed,
            }
