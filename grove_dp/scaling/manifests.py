"""What is installed into a cluster for the autoscaler, as documents.

Its rights are those of one namespace, the one that it scales: a Role with the least that works, each line
with the code that needs it. Nothing of it is cluster-wide but the definition of TokenAutoscaler.
"""

from typing import Any, Final

from msgspec import Struct

from grove_dp.kube.manifests import Applier, Document, apply_all, to_yaml
from grove_dp.scaling.actuator import FIELD_MANAGER
from grove_dp.scaling.admin import PORT
from grove_dp.scaling.crds import definition

__all__ = ["Install", "documents", "install", "rules", "to_yaml"]

RBAC: Final = "rbac.authorization.k8s.io"
READ: Final = ("get", "list", "watch")
SCALED: Final = ("podcliques", "podcliquescalinggroups", "podcliquesets")


class Install(Struct, frozen=True, kw_only=True):
    """What may differ between clusters."""

    namespace: str = "grove-dp"  # ours, and that of what is scaled
    name: str = "grove-dp-autoscale"
    image: str = "grove-dp:latest"
    args: tuple[str, ...] = ()  # more flags for `grove-dp autoscale`
    replicas: int = 2


def documents(to: Install) -> list[Document]:
    """Everything, in the order in which it has to be made."""
    return [
        definition(),
        _document("v1", "ServiceAccount", to),
        _document(f"{RBAC}/v1", "Role", to, rules=rules()),
        _binding(to),
        _deployment(to),
    ]


def rules() -> list[Document]:
    """What it may do in its namespace."""
    return [
        _rule("grove-dp.io", ("tokenautoscalers",), READ),  # fleet: which there are
        _rule("grove-dp.io", ("tokenautoscalers/status",), ("patch",)),  # fleet: what was decided
        _rule("grove.io", SCALED, READ),  # tree
        _rule("grove.io", tuple(f"{kind}/scale" for kind in SCALED), ("get", "patch")),  # actuator
        _rule("", ("pods",), (*READ, "patch")),  # tree; actuator: the drain's annotations
        _rule("autoscaling", ("horizontalpodautoscalers",), READ),  # tree: who else scales
        _rule("coordination.k8s.io", ("leases",), ("get", "create", "patch")),  # fleet: one leader per set
        _rule("events.k8s.io", ("events",), ("create", "patch")),  # fleet: kubectl describe
    ]


def _rule(group: str, resources: tuple[str, ...], verbs: tuple[str, ...]) -> Document:
    return {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}


def _binding(to: Install) -> Document:
    return _document(
        f"{RBAC}/v1",
        "RoleBinding",
        to,
        roleRef={"apiGroup": RBAC, "kind": "Role", "name": to.name},
        subjects=[{"kind": "ServiceAccount", "namespace": to.namespace, "name": to.name}],
    )


def _deployment(to: Install) -> Document:
    container: Document = {
        "name": "autoscale",
        "image": to.image,
        "args": ["autoscale", "--host", "0.0.0.0", *to.args],
        "ports": [{"name": "admin", "containerPort": PORT}],
        "livenessProbe": _probe("/livez", 10),
        "readinessProbe": _probe("/readyz", 5),
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod: Document = {
        "serviceAccountName": to.name,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    template = {"metadata": {"labels": _labels(to)}, "spec": pod}
    spec = {"replicas": to.replicas, "selector": {"matchLabels": _selector(to)}, "template": template}
    return _document("apps/v1", "Deployment", to, spec=spec)


def _probe(path: str, every_s: int) -> Document:
    return {"httpGet": {"path": path, "port": "admin"}, "periodSeconds": every_s}


def _document(api_version: str, kind: str, to: Install, **parts: Any) -> Document:
    metadata = {"name": to.name, "namespace": to.namespace, "labels": _labels(to)}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **parts}


def _selector(to: Install) -> dict[str, str]:
    return {"app.kubernetes.io/name": "grove-dp", "app.kubernetes.io/instance": to.name}


def _labels(to: Install) -> dict[str, str]:
    return _selector(to) | {
        "app.kubernetes.io/component": "autoscale",
        "app.kubernetes.io/part-of": "grove-dp",
    }


# ---------------------------------------------------------------- installing


async def install(api: Applier, to: Install) -> list[str]:
    """Make it so, and tell what was applied."""
    return await apply_all(api, documents(to), FIELD_MANAGER)
