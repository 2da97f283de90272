"""What is installed into a cluster for the external metrics, as documents.

One function makes them all, so that names agree: the certificate's names, the APIService and the Service are
one `Install`. The rights are the least that works, each with the line of code that needs it.
"""

from typing import Any, Final, Protocol

from msgspec import Struct

from grove_dp.kube.manifests import Applier, Document, apply_all, to_yaml
from grove_dp.kube.own_certificate import Place
from grove_dp.metering.external.documents import GROUP, VERSION
from grove_dp.metering.external.registration import APISERVICE, check_free

__all__ = ["Install", "documents", "install", "to_yaml"]

RBAC: Final = "rbac.authorization.k8s.io"
PORT: Final = 6443
HPA_CONTROLLER: Final = ("kube-system", "horizontal-pod-autoscaler")
FIELD_MANAGER: Final = "grove-dp"
CERTIFICATES: Final = "/certificates"


class Install(Struct, frozen=True, kw_only=True):
    """What may differ between clusters."""

    namespace: str = "grove-dp"
    name: str = "grove-dp-metrics-adapter"
    image: str = "grove-dp:latest"
    args: tuple[str, ...] = ()  # more flags for `grove-dp metrics-adapter`
    replicas: int = 2
    cert_manager_issuer: str | None = None  # of kind Issuer, in the same namespace; None: we do it ourselves

    @property
    def place(self) -> Place:
        return Place(self.namespace, self.name, f"{self.name}-tls")


def documents(to: Install) -> list[Document]:
    """Everything, in the order in which it has to be made."""
    return [
        _document("v1", "ServiceAccount", to),
        *_rights(to),
        _service(to),
        *([] if to.cert_manager_issuer is None else [_certificate(to, to.cert_manager_issuer)]),
        _deployment(to),
        _disruption_budget(to),
        _api_service(to),
    ]


# ---------------------------------------------------------------- rights


def _rights(to: Install) -> list[Document]:
    """Who may do what: we, and the HPA controller towards us."""
    place = to.place
    own = [
        _rule("", "secrets", ("get", "patch"), place.secret),  # own_certificate: read, renew
        _rule("", "secrets", ("create",)),  # ... and make; a name cannot be asked for before there is one
    ]
    registration = [_rule("apiregistration.k8s.io", "apiservices", ("get", "patch"), APISERVICE)]
    granted = [
        # reviews: TokenReview and SubjectAccessReview
        _binding(
            "ClusterRoleBinding", f"{to.name}:auth-delegator", "ClusterRole", "system:auth-delegator", to
        ),
        # credentials: kube-system/extension-apiserver-authentication
        _in_kube_system(to),
        _role("ClusterRole", f"{to.name}:reader", [_rule(GROUP, "*", ("get", "list"))], to),
        _binding(
            "ClusterRoleBinding", f"{to.name}:hpa", "ClusterRole", f"{to.name}:reader", to, HPA_CONTROLLER
        ),
    ]
    if to.cert_manager_issuer is not None:
        return granted
    return [
        *granted,
        _role("Role", to.name, own, to),
        _binding("RoleBinding", to.name, "Role", to.name, to),
        _role("ClusterRole", f"{to.name}:registration", registration, to),
        _binding(
            "ClusterRoleBinding", f"{to.name}:registration", "ClusterRole", f"{to.name}:registration", to
        ),
    ]


def _rule(group: str, resource: str, verbs: tuple[str, ...], name: str | None = None) -> Document:
    rule: Document = {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}
    return rule if name is None else rule | {"resourceNames": [name]}


def _role(kind: str, name: str, rules: list[Document], to: Install) -> Document:
    return _document(f"{RBAC}/v1", kind, to, name=name, rules=rules)


def _binding(
    kind: str, name: str, role_kind: str, role: str, to: Install, account: tuple[str, str] | None = None
) -> Document:
    namespace, user = account or (to.namespace, to.name)
    return _document(
        f"{RBAC}/v1",
        kind,
        to,
        name=name,
        roleRef={"apiGroup": RBAC, "kind": role_kind, "name": role},
        subjects=[{"kind": "ServiceAccount", "namespace": namespace, "name": user}],
    )


def _in_kube_system(to: Install) -> Document:
    role = "extension-apiserver-authentication-reader"
    binding = _binding("RoleBinding", f"{to.name}:authentication-reader", "Role", role, to)
    binding["metadata"]["namespace"] = "kube-system"
    return binding


# ---------------------------------------------------------------- what runs


def _service(to: Install) -> Document:
    port = {"name": "https", "port": 443, "targetPort": "https", "protocol": "TCP"}
    return _document("v1", "Service", to, spec={"selector": _selector(to), "ports": [port]})


def _deployment(to: Install) -> Document:
    place = to.place
    args = ["metrics-adapter", "--host", "0.0.0.0", "--port", str(PORT)]
    own = ["--namespace", place.namespace, "--service", place.service, "--secret", place.secret]
    container: Document = {
        "name": "metrics-adapter",
        "image": to.image,
        "args": [*args, *own, *to.args],
        "ports": [{"name": "https", "containerPort": PORT}],
        "livenessProbe": _probe("/livez", 10),
        "readinessProbe": _probe("/readyz", 2),
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
    if to.cert_manager_issuer is not None:
        pod["volumes"] = [{"name": "certificates", "secret": {"secretName": place.secret}}]
        container["volumeMounts"] = [
            {"name": "certificates", "mountPath": CERTIFICATES, "readOnly": True},
        ]
        files = ["--tls-cert-file", f"{CERTIFICATES}/tls.crt", "--tls-key-file", f"{CERTIFICATES}/tls.key"]
        container["args"] = [*args, *files, *to.args]
    template = {"metadata": {"labels": _labels(to)}, "spec": pod}
    spec = {"replicas": to.replicas, "selector": {"matchLabels": _selector(to)}, "template": template}
    return _document("apps/v1", "Deployment", to, spec=spec)


def _probe(path: str, every_s: int) -> Document:
    return {"httpGet": {"path": path, "port": "https", "scheme": "HTTPS"}, "periodSeconds": every_s}


def _disruption_budget(to: Install) -> Document:
    # An APIService that does not answer keeps namespaces from being deleted.
    spec = {"minAvailable": 1, "selector": {"matchLabels": _selector(to)}}
    return _document("policy/v1", "PodDisruptionBudget", to, spec=spec)


# ---------------------------------------------------------------- registration


def _api_service(to: Install) -> Document:
    """Without caBundle: we write it ourselves, or cert-manager does."""
    spec = {
        "group": GROUP,
        "version": VERSION,
        "service": {"namespace": to.namespace, "name": to.place.service, "port": 443},
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
    }
    document = _document("apiregistration.k8s.io/v1", "APIService", to, name=APISERVICE, spec=spec)
    if to.cert_manager_issuer is not None:
        source = f"{to.namespace}/{to.name}"
        document["metadata"]["annotations"] = {"cert-manager.io/inject-ca-from": source}
    return document


def _certificate(to: Install, issuer: str) -> Document:
    spec = {
        "secretName": to.place.secret,
        "dnsNames": list(to.place.names),
        "issuerRef": {"kind": "Issuer", "name": issuer},
        "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
    }
    return _document("cert-manager.io/v1", "Certificate", to, spec=spec)


# ---------------------------------------------------------------- documents

_CLUSTER_WIDE: Final = frozenset(["ClusterRole", "ClusterRoleBinding", "APIService"])


def _document(api_version: str, kind: str, to: Install, *, name: str | None = None, **parts: Any) -> Document:
    metadata: Document = {"name": name or to.name}
    if kind not in _CLUSTER_WIDE:
        metadata["namespace"] = to.namespace
    metadata["labels"] = _labels(to)
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **parts}


def _selector(to: Install) -> dict[str, str]:
    return {"app.kubernetes.io/name": "grove-dp", "app.kubernetes.io/instance": to.name}


def _labels(to: Install) -> dict[str, str]:
    return _selector(to) | {
        "app.kubernetes.io/component": "metrics-adapter",
        "app.kubernetes.io/part-of": "grove-dp",
    }


# ---------------------------------------------------------------- installing


class Api(Applier, Protocol):
    """What is needed of `grove_dp.kube.access.Access`."""

    async def get(self, path: str) -> dict[str, Any]: ...


async def install(api: Api, to: Install) -> list[str]:
    """Make it so, and tell what was applied. ForeignApiService before anything is written."""
    await check_free(api, to.namespace, to.place.service)
    return await apply_all(api, documents(to), FIELD_MANAGER)
