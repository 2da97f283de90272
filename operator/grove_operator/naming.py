"""Names and labels of Grove's objects: others find ours by them, so they are Grove's to the letter.

    PodCliqueSet p ─ replica r ─┬─ PodClique c                    p-r-c
                                ├─ PodCliqueScalingGroup g        p-r-g
                                │    └─ replica i ─ PodClique c   p-r-g-i-c
                                ├─ base PodGang                   p-r
                                └─ scaled PodGang of g, index i   p-r-g-(i - minAvailable)

A pod is `<clique>-` and five characters; its host name is `<clique>-<index>`, its domain the headless Service
`p-r`.
"""

from typing import Final

__all__ = [
    "CLIQUE_FINALIZER",
    "GATE",
    "GROUP_FINALIZER",
    "MANAGED_BY",
    "OPERATOR",
    "SET_FINALIZER",
    "TOPOLOGY_NAME",
    "Component",
    "L",
    "base_gang",
    "clique",
    "group",
    "group_clique",
    "host_name",
    "managed",
    "pod_prefix",
    "role",
    "scaled_gang",
    "service",
    "service_domain",
    "token_secret",
]

OPERATOR: Final = "grove-operator"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
GATE: Final = "grove.io/podgang-pending-creation"
SET_FINALIZER: Final = "grove.io/podcliqueset.grove.io"
CLIQUE_FINALIZER: Final = "grove.io/podclique.grove.io"
GROUP_FINALIZER: Final = "grove.io/podcliquescalinggroup.grove.io"

TOPOLOGY_NAME: Final = "grove.io/topology-name"  # annotation of a PodGang: the binding it was translated with


class Component:
    """Values of the label `app.kubernetes.io/component`: what an object is to its set."""

    SERVICE: Final = "pcs-headless-service"
    CLIQUE: Final = "pcs-podclique"
    GROUP: Final = "pcs-podcliquescalinggroup"
    GROUP_CLIQUE: Final = "pcsg-podclique"
    GANG: Final = "podgang"
    ROLE: Final = "pod-role"
    ROLE_BINDING: Final = "pod-role-binding"
    SERVICE_ACCOUNT: Final = "pod-service-account"
    TOKEN_SECRET: Final = "pod-sa-token-secret"
    AUTOSCALER: Final = "pcs-hpa"
    CLAIM: Final = "resource-claim"


class L:
    """Keys of labels."""

    PART_OF: Final = "app.kubernetes.io/part-of"
    NAME: Final = "app.kubernetes.io/name"
    COMPONENT: Final = "app.kubernetes.io/component"
    CLIQUE: Final = "grove.io/podclique"
    GANG: Final = "grove.io/podgang"
    BASE_GANG: Final = "grove.io/base-podgang"
    SET_REPLICA: Final = "grove.io/podcliqueset-replica-index"
    POD_INDEX: Final = "grove.io/podclique-pod-index"
    TEMPLATE_HASH: Final = "grove.io/pod-template-hash"
    GROUP: Final = "grove.io/podcliquescalinggroup"
    GROUP_REPLICA: Final = "grove.io/podcliquescalinggroup-replica-index"
    GROUP_POD_INDEX: Final = "grove.io/podcliquescalinggroup-pod-index"
    SCHEDULER: Final = "grove.io/scheduler-name"


def service(name: str, replica: int) -> str:
    """The headless Service of a replica of set *name*."""
    return f"{name}-{replica}"


def service_domain(name: str, replica: int, namespace: str) -> str:
    """Where its pods are found."""
    return f"{service(name, replica)}.{namespace}.svc.cluster.local"


def clique(name: str, replica: int, template: str) -> str:
    """A PodClique that belongs to no group."""
    return f"{name}-{replica}-{template}"


def group(name: str, replica: int, config: str) -> str:
    """A PodCliqueScalingGroup."""
    return f"{name}-{replica}-{config}"


def group_clique(group_name: str, index: int, template: str) -> str:
    """A PodClique of replica *index* of a group."""
    return f"{group_name}-{index}-{template}"


def base_gang(name: str, replica: int) -> str:
    """The PodGang of what must be there at least."""
    return f"{name}-{replica}"


def scaled_gang(group_name: str, index: int, min_available: int) -> str:
    """The PodGang of a group's replica beyond *min_available*."""
    return f"{group_name}-{index - min_available}"


def pod_prefix(clique_name: str) -> str:
    """What a pod's name begins with."""
    return f"{clique_name}-"


def host_name(clique_name: str, index: int) -> str:
    """Of a pod, under its replica's Service."""
    return f"{clique_name}-{index}"


def role(name: str) -> str:
    """The Role, and its RoleBinding, by which pods may see pods."""
    return f"grove.io:pcs:{name}"


def token_secret(name: str) -> str:
    """The Secret with the token of the init container."""
    return f"{name}-ic-sat"


def managed(name: str) -> dict[str, str]:
    """Labels of everything that belongs to set *name*."""
    return {MANAGED_BY: OPERATOR, L.PART_OF: name}
