"""HorizontalPodAutoscalers: one for each clique with `autoScalingConfig`, each group with `scaleConfig`.

Without metrics the API server would fill in 80 % of the requested CPU. We write it ourselves, so that metrics
that a set no longer names go away. A set with annotation `grove-dp.io/autoscale: direct` is scaled by
somebody else, within the same bounds: it gets none.
"""

from collections.abc import Iterator
from typing import Any, Final

from grove_dp.kube.objects import Resource
from grove_operator.api import AUTOSCALERS, CLIQUES, GROUPS, SETS, PodCliqueSet, ScaleConfig
from grove_operator.naming import Component, L
from grove_operator.plan.documents import Wanted, document
from grove_operator.plan.tree import Replica

__all__ = ["autoscalers"]

DIRECT: Final = ("grove-dp.io/autoscale", "direct")

CPU: Final[dict[str, Any]] = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
}


def autoscalers(owner: PodCliqueSet, replica: Replica) -> Iterator[Wanted]:
    """Of one replica of a set."""
    if owner.metadata.annotation(DIRECT[0]) == DIRECT[1]:
        return
    for unit in replica.units:
        config = unit.template.spec.auto_scaling_config
        if config is not None and unit.group is None:
            yield _autoscaler(owner, replica, CLIQUES, unit.name, config, unit.template.count)
    for group in replica.groups:
        if group.template.scale_config is not None:
            yield _autoscaler(
                owner, replica, GROUPS, group.name, group.template.scale_config, group.template.count
            )


def _autoscaler(
    owner: PodCliqueSet, replica: Replica, kind: Resource, name: str, config: ScaleConfig, count: int
) -> Wanted:
    return document(
        AUTOSCALERS,
        name,
        (SETS, owner.metadata),
        Component.AUTOSCALER,
        set_name=owner.metadata.name,
        labels={L.NAME: name, L.SET_REPLICA: str(replica.index)},
        spec={
            "scaleTargetRef": {"apiVersion": kind.api_version, "kind": kind.kind, "name": name},
            "minReplicas": count if config.min_replicas is None else config.min_replicas,
            "maxReplicas": config.max_replicas,
            "metrics": list(config.metrics or (CPU,)),
        },
    )
