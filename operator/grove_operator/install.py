"""What is installed into a cluster for the operator, as documents; `operator/config` are these as files.

The rights are the least that works, each with what needs it. Two look large and are not: an operator may only
grant what it holds, so it may read pods' status, which init containers look at; and Secrets are read in all
namespaces, since a watch can be narrowed by labels and a right cannot. A cluster whose sets never use the
init container (`order.by: gates`, the default) still has them watched.

    python -m grove_operator.install     writes operator/config
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from grove_dp.kube.manifests import Applier, Document, apply_all, to_yaml
from grove_dp.kube.own_certificate import Place
from grove_operator.admission.registration import DEFAULTING, VALIDATING, VALIDATING_TOPOLOGY
from grove_operator.api import POD_GROUPS
from grove_operator.crds import definitions
from grove_operator.settings import OperatorSettings

__all__ = ["Install", "documents", "install", "to_yaml"]


RBAC: Final = "rbac.authorization.k8s.io"
ADMISSION: Final = "admissionregistration.k8s.io"
LOOK: Final = ("get", "list", "watch")
KEEP: Final = ("get", "list", "watch", "create", "patch", "delete")
CERTIFICATES: Final = "/certificates"
FIELD_MANAGER: Final = "grove-dp"
DEFAULTS: Final = OperatorSettings()
HERE: Final = Path(__file__).parent.parent


class Install(Struct, frozen=True, kw_only=True):
    """What may differ between clusters."""

    namespace: str = "grove-dp"
    name: str = "grove-operator"
    image: str = "grove-dp:latest"
    args: tuple[str, ...] = ()  # more flags for `grove-dp operator`
    replicas: int = 2
    cert_manager_issuer: str | None = None  # of kind Issuer, in the same namespace; None: we do it ourselves

    @property
    def place(self) -> Place:
        """Where the webhooks are found, and their certificate."""
        return Place(self.namespace, self.name, f"{self.name}-webhooks")


def documents(to: Install) -> list[Document]:
    """Everything, in the order in which it has to be made."""
    return [*definitions(), _document("v1", "Namespace", to, name=to.namespace), *rights(to), *workload(to)]


# ------------------------------------------------------------ rights


def rights(to: Install) -> list[Document]:
    """The account, and what it may do: in the cluster, and in its own namespace."""
    return [
        _document("v1", "ServiceAccount", to),
        _role("ClusterRole", cluster_rules(), to),
        _binding("ClusterRoleBinding", "ClusterRole", to),
        _role("Role", own_rules(to), to),
        _binding("RoleBinding", "Role", to),
    ]


def cluster_rules() -> list[Document]:
    """What it may do to everybody's objects."""
    grove = ("podcliquesets", "podcliques", "podcliquescalinggroups")
    return [
        # Sets are the users': read, and held by a finalizer until all of them is gone.
        _rule("grove.io", grove[:1], (*LOOK, "patch")),
        _rule("grove.io", grove[1:], (*KEEP, "deletecollection")),
        _rule("grove.io", tuple(f"{kind}/status" for kind in grove), ("patch",)),
        # Owners that block their deletion: asked for where OwnerReferencesPermissionEnforcement is on.
        _rule("grove.io", tuple(f"{kind}/finalizers" for kind in grove), ("update",)),
        _rule("grove.io", ("clustertopologybindings",), LOOK),
        _rule("scheduler.grove.io", ("podgangs",), KEEP),
        _rule("scheduler.grove.io", ("podgangs/status",), ("patch",)),
        # Gangs, as schedulers that know them want to be told.
        *(_rule(group, ("podgroups",), KEEP) for group in dict.fromkeys(kind.group for kind in POD_GROUPS)),
        _rule("", ("pods",), (*KEEP, "deletecollection")),
        _rule("", ("pods/status",), LOOK),  # only to grant it to init containers
        _rule("", ("nodes",), LOOK),  # capacity and topology
        _rule("", ("services", "serviceaccounts", "secrets"), KEEP),
        _rule(RBAC, ("roles", "rolebindings"), KEEP),
        _rule("autoscaling", ("horizontalpodautoscalers",), KEEP),
        _rule("events.k8s.io", ("events",), ("create", "patch")),
        # Webhooks: a name cannot be asked for before there is one.
        _rule(ADMISSION, ("mutatingwebhookconfigurations", "validatingwebhookconfigurations"), ("create",)),
        _rule(ADMISSION, ("mutatingwebhookconfigurations",), (*LOOK, "patch"), (DEFAULTING,)),
        _rule(
            ADMISSION,
            ("validatingwebhookconfigurations",),
            (*LOOK, "patch"),
            (VALIDATING, VALIDATING_TOPOLOGY),
        ),
    ]


def own_rules(to: Install) -> list[Document]:
    """What it may do where it runs."""
    leases = ("coordination.k8s.io", ("leases",))
    return [
        _rule(*leases, ("get", "patch"), (DEFAULTS.leader.lease,)),
        _rule(*leases, ("create",)),
    ]


def _rule(group: str, resources: Sequence[str], verbs: Sequence[str], names: Sequence[str] = ()) -> Document:
    rule: Document = {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
    return rule | {"resourceNames": list(names)} if names else rule


def _role(kind: str, rules: list[Document], to: Install) -> Document:
    return _document(f"{RBAC}/v1", kind, to, rules=rules)


def _binding(kind: str, role_kind: str, to: Install) -> Document:
    return _document(
        f"{RBAC}/v1",
        kind,
        to,
        roleRef={"apiGroup": RBAC, "kind": role_kind, "name": to.name},
        subjects=[{"kind": "ServiceAccount", "namespace": to.namespace, "name": to.name}],
    )


# ------------------------------------------------------------ what runs


def workload(to: Install) -> list[Document]:
    """Service, Deployment, and what keeps one of its pods alive."""
    certificate = [] if to.cert_manager_issuer is None else [_certificate(to, to.cert_manager_issuer)]
    return [_service(to), *certificate, _deployment(to), _disruption_budget(to)]


def _service(to: Install) -> Document:
    ports = [
        {"name": "webhooks", "port": 443, "targetPort": "webhooks", "protocol": "TCP"},
        {"name": "metrics", "port": DEFAULTS.health.port, "targetPort": "health", "protocol": "TCP"},
    ]
    return _document("v1", "Service", to, spec={"selector": _selector(to), "ports": ports})


def _deployment(to: Install) -> Document:
    container: Document = {
        "name": "operator",
        "image": to.image,
        "args": _arguments(to),
        "ports": [
            {"name": "webhooks", "containerPort": DEFAULTS.webhooks.port, "protocol": "TCP"},
            {"name": "health", "containerPort": DEFAULTS.health.port, "protocol": "TCP"},
        ],
        "livenessProbe": _probe("/livez", every_s=10),
        "readinessProbe": _probe("/readyz", every_s=2),
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod: Document = {
        "serviceAccountName": to.name,
        "enableServiceLinks": False,  # variables of our own Service look like settings
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    if to.cert_manager_issuer is not None:
        pod["volumes"] = [{"name": "certificates", "secret": {"secretName": to.place.secret}}]
        mount = {"name": "certificates", "mountPath": CERTIFICATES, "readOnly": True}
        container["volumeMounts"] = [mount]
    template = {"metadata": {"labels": _labels(to)}, "spec": pod}
    spec = {"replicas": to.replicas, "selector": {"matchLabels": _selector(to)}, "template": template}
    return _document("apps/v1", "Deployment", to, spec=spec)


def _arguments(to: Install) -> list[str]:
    own = ["--webhooks.service", to.place.service, "--webhooks.secret", to.place.secret]
    if to.cert_manager_issuer is not None:
        own += ["--webhooks.cert_dir", CERTIFICATES]
        own += ["--webhooks.inject_ca_from", f"{to.namespace}/{to.name}"]
    return ["operator", "--webhooks.host", "0.0.0.0", "--health.host", "0.0.0.0", *own, *to.args]


def _probe(path: str, *, every_s: int) -> Document:
    return {"httpGet": {"path": path, "port": "health"}, "periodSeconds": every_s}


def _disruption_budget(to: Install) -> Document:
    # Without anybody to ask, no set can be stored.
    spec = {"minAvailable": 1, "selector": {"matchLabels": _selector(to)}}
    return _document("policy/v1", "PodDisruptionBudget", to, spec=spec)


def _certificate(to: Install, issuer: str) -> Document:
    spec = {
        "secretName": to.place.secret,
        "dnsNames": list(to.place.names),
        "issuerRef": {"kind": "Issuer", "name": issuer},
        "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
    }
    return _document("cert-manager.io/v1", "Certificate", to, spec=spec)


# ------------------------------------------------------------ documents

_CLUSTER_WIDE: Final = frozenset(["ClusterRole", "ClusterRoleBinding", "Namespace"])


def _document(api_version: str, kind: str, to: Install, *, name: str | None = None, **parts: Any) -> Document:
    metadata: Document = {"name": name or to.name}
    if kind not in _CLUSTER_WIDE:
        metadata["namespace"] = to.namespace
    if kind != "Namespace":  # others may live there, too
        metadata["labels"] = _labels(to)
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **parts}


def _selector(to: Install) -> dict[str, str]:
    return {"app.kubernetes.io/name": "grove-dp", "app.kubernetes.io/instance": to.name}


def _labels(to: Install) -> dict[str, str]:
    return _selector(to) | {
        "app.kubernetes.io/component": "operator",
        "app.kubernetes.io/part-of": "grove-dp",
    }


# ------------------------------------------------------------ installing


async def install(api: Applier, to: Install) -> list[str]:
    """Make it so, and tell what was applied."""
    return await apply_all(api, documents(to), FIELD_MANAGER)


# ------------------------------------------------------------ files


def files(to: Install) -> dict[str, str]:
    """A kustomize base, by path below `operator`: all of it, and all but the definitions."""
    parts = {
        "namespace.yaml": [_document("v1", "Namespace", to, name=to.namespace)],
        "rbac.yaml": rights(to),
        "deployment.yaml": [each for each in workload(to) if each["kind"] != "Service"],
        "service.yaml": [_service(to)],
    }
    crds = [f"crds/{file.name}" for file in sorted((HERE / "crds").glob("*.yaml"))]
    return {
        "kustomization.yaml": _kustomization([*crds, "config"]),
        "config/kustomization.yaml": _kustomization(sorted(parts)),
        **{f"config/{name}": to_yaml(part) for name, part in parts.items()},
    }


def _kustomization(resources: Sequence[str]) -> str:
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    return to_yaml([head | {"resources": list(resources)}])


def main() -> int:
    """Write the files; returns the exit code."""
    for name, text in files(Install()).items():
        (HERE / name).parent.mkdir(exist_ok=True)
        (HERE / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
