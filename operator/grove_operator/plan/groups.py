"""PodCliqueScalingGroups: `spec.replicas` is the template's at birth, then belongs to whoever scales it."""

from collections.abc import Iterator

from grove_operator.api import GROUPS, SETS, PodCliqueSet
from grove_operator.naming import GROUP_FINALIZER, Component, L
from grove_operator.plan.documents import Wanted, document
from grove_operator.plan.tree import Replica

__all__ = ["groups"]


def groups(owner: PodCliqueSet, replica: Replica) -> Iterator[Wanted]:
    """Of one replica of a set."""
    for group in replica.groups:
        yield document(
            GROUPS,
            group.name,
            (SETS, owner.metadata),
            Component.GROUP,
            set_name=owner.metadata.name,
            labels={L.NAME: group.name, L.SET_REPLICA: str(replica.index)},
            template=(None, group.template.annotations),
            finalizer=GROUP_FINALIZER,
            once=(("spec", "replicas"),),
            spec={
                "replicas": group.asked,
                "minAvailable": group.template.minimum,
                "cliqueNames": list(group.template.clique_names),
            },
        )
