"""Headless Services: one for each replica of a set, for its pods' names.

No ports are needed for that. Pods are found before they are Ready unless the set says otherwise, for the
workers of a multi-node engine look for their leader while all of them start.
"""

from grove_operator import naming
from grove_operator.api import SERVICES, SETS, PodCliqueSet
from grove_operator.naming import Component, L
from grove_operator.plan.documents import Wanted, document

__all__ = ["service"]


def service(owner: PodCliqueSet, replica: int) -> Wanted:
    """Of one replica."""
    name = naming.service(owner.metadata.name, replica)
    config = owner.spec.template.headless_service_config
    place = {L.SET_REPLICA: str(replica)}
    return document(
        SERVICES,
        name,
        (SETS, owner.metadata),
        Component.SERVICE,
        set_name=owner.metadata.name,
        labels={L.NAME: name} | place,
        spec={
            "clusterIP": "None",
            "selector": naming.managed(owner.metadata.name) | place,
            "publishNotReadyAddresses": config is None or config.publish_not_ready_addresses,
        },
    )
