"""What is installed into a cluster for the autoscaler, as documents.

Its rights are those of one namespace, the one that it scales: a Role with the least that works, each line
with the code that needs it. Nothing of it is cluster-wide but the definition of TokenAutoscaler.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

import yaml
from msgspec import Struct

from grove_dp.scaling.actuator import FIELD_MANAGER
from grove_dp.scaling.admin import PORT
from grove_dp.scaling.crds import definition

__all__ = ["Install", "documents", "install", "rules", "to_yaml"]

Document = dict[str, Any]

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


def to_yaml(all_documents: Iterable[Document]) -> str:
    """For `kubectl apply -f -`."""
    text: str = yaml.safe_dump_all(all_documents, sort_keys=False, width=110)
    return text


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


class Api(Protocol):
    """What is needed of `grove_dp.kube.access.Access`."""

    async def apply(
        self, path: str, document: Mapping[str, Any], manager: str, *, force: bool = False
    ) -> dict[str, Any]: ...


async def install(api: Api, to: Install) -> list[str]:
    """Make it so, and tell what was applied."""
    applied = []
    for document in documents(to):
        await api.apply(_path(document), document, FIELD_MANAGER)
        applied.append(f"{document['kind']} {document['metadata']['name']}")
    return applied


def _path(document: Document) -> str:
    """Where the API server keeps *document*."""
    version, kind, metadata = document["apiVersion"], document["kind"], document["metadata"]
    root = f"/api/{version}" if version == "v1" else f"/apis/{version}"
    inside = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{root}{inside}/{kind.lower()}s/{metadata['name']}"
