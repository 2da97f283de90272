"""How the API server learns of the webhooks: two configurations, names and rules as Grove's.

Requests for an object that is being deleted never come here (`matchConditions`, by the API server itself):
while no operator is there, nothing holds up whoever takes a finalizer away.

failurePolicy is Fail: a set that nobody looked at would be stored without its defaults. A cluster that would
rather store it gives `policy="Ignore"`; the controller asks the same rules then.
"""

import base64
from typing import Any, Final, Literal

from msgspec import Struct

__all__ = [
    "DEFAULTING",
    "DEFAULT_SET",
    "VALIDATE_SET",
    "VALIDATE_TOPOLOGY",
    "VALIDATING",
    "VALIDATING_TOPOLOGY",
    "Address",
    "Service",
    "mutating",
    "validating",
]

DEFAULT_SET: Final = "/webhooks/default-podcliqueset"
VALIDATE_SET: Final = "/webhooks/validate-podcliqueset"
VALIDATE_TOPOLOGY: Final = "/webhooks/validate-clustertopology"

DEFAULTING: Final = "podcliqueset-defaulting-webhook"
VALIDATING: Final = "podcliqueset-validating-webhook"
VALIDATING_TOPOLOGY: Final = "clustertopology-validating-webhook"
API: Final = "admissionregistration.k8s.io/v1"
GROUP: Final = "grove.io"
VERSION: Final = "v1alpha1"
TIMEOUT_S: Final = 10
NOT_GOING: Final = {
    "name": "not-being-deleted",
    "expression": "oldObject == null || !has(oldObject.metadata.deletionTimestamp)",
}

Policy = Literal["Fail", "Ignore"]


class Service(Struct, frozen=True):
    """Where the operator is found in the cluster."""

    namespace: str
    name: str
    port: int = 443


class Address(Struct, frozen=True):
    """Where it is found from outside: `https://host:port`."""

    url: str


def mutating(at: Service | Address, ca_pem: str, policy: Policy = "Fail") -> dict[str, Any]:
    """The MutatingWebhookConfiguration; *ca_pem* is whom the API server trusts there."""
    webhook = _webhook("pcs.defaulting.webhooks.grove.io", at, DEFAULT_SET, ca_pem, policy, "podcliquesets")
    return _configuration("MutatingWebhookConfiguration", DEFAULTING, webhook)


def validating(at: Service | Address, ca_pem: str, policy: Policy = "Fail") -> list[dict[str, Any]]:
    """The ValidatingWebhookConfigurations: of sets, and of topologies."""
    kind = "ValidatingWebhookConfiguration"
    of_sets = _webhook("pcs.validating.webhooks.grove.io", at, VALIDATE_SET, ca_pem, policy, "podcliquesets")
    of_topologies = _webhook(
        "clustertopology.validating.webhooks.grove.io",
        at,
        VALIDATE_TOPOLOGY,
        ca_pem,
        policy,
        "clustertopologybindings",
    )
    return [
        _configuration(kind, VALIDATING, of_sets),
        _configuration(kind, VALIDATING_TOPOLOGY, of_topologies),
    ]


def _configuration(kind: str, name: str, webhook: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "webhooks": [webhook]}


def _webhook(
    name: str, at: Service | Address, path: str, ca_pem: str, policy: Policy, resource: str
) -> dict[str, Any]:
    return {
        "name": name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"caBundle": base64.b64encode(ca_pem.encode()).decode(), **_where(at, path)},
        "failurePolicy": policy,
        "matchPolicy": "Exact",
        "sideEffects": "None",
        "timeoutSeconds": TIMEOUT_S,
        "rules": [
            {
                "apiGroups": [GROUP],
                "apiVersions": [VERSION],
                "operations": ["CREATE", "UPDATE"],
                "resources": [resource],
                "scope": "Namespaced" if resource == "podcliquesets" else "Cluster",
            }
        ],
        "matchConditions": [NOT_GOING],
    }


def _where(at: Service | Address, path: str) -> dict[str, Any]:
    if isinstance(at, Address):
        return {"url": at.url.rstrip("/") + path}
    return {"service": {"namespace": at.namespace, "name": at.name, "port": at.port, "path": path}}
