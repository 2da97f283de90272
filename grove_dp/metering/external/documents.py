"""The documents of external.metrics.k8s.io/v1beta1, byte for byte as its readers expect them.

Who reads what: the aggregator's availability check the version document (any 2xx will do), its discovery
`/apis`, the HPA controller a value list, everyone a Status when something is wrong. All are JSON whatever
Accept lists first: the decoder is chosen by what the answer says it is.

`/apis` has two forms. Where the newer one (`aggregated`) is not served, the API server (1.36) asks for the
version document in its stead, but as a user without any group, whom nobody lets read it: discovery would stay
stale for ever, `kubectl api-resources` without our metrics, and namespaces undeletable.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from grove_dp.errors import GroveError
from grove_dp.metering.external.quantity import quantity, timestamp

__all__ = [
    "API",
    "GROUP",
    "JSON",
    "VERSION",
    "Conflict",
    "Forbidden",
    "MethodNotAllowed",
    "NotFound",
    "Overloaded",
    "Unauthorized",
    "Unavailable",
    "aggregated",
    "group_document",
    "group_list",
    "item",
    "item_head",
    "resource_list",
    "status_document",
    "value_list",
]

GROUP: Final = "external.metrics.k8s.io"
VERSION: Final = "v1beta1"
API: Final = f"{GROUP}/{VERSION}"
JSON: Final = "application/json"

_encode = msgspec.json.Encoder().encode


# ---------------------------------------------------------------- what may be wrong


class NotFound(GroveError):
    """There is no such document or metric."""

    reason = "NotFound"
    status = 404


class MethodNotAllowed(GroveError):
    """Metrics are only read."""

    reason = "MethodNotAllowed"
    status = 405


class Unauthorized(GroveError):
    """Nobody that we know asked."""

    reason = "Unauthorized"
    status = 401


class Forbidden(GroveError):
    """Somebody asked who may not."""

    reason = "Forbidden"
    status = 403


class Conflict(GroveError):
    """What is there belongs to somebody else."""

    reason = "Conflict"
    status = 409


class Overloaded(GroveError):
    """Too many ask who they are at once."""

    reason = "TooManyRequests"
    status = 429
    retry_after_s = 1


class Unavailable(GroveError):
    """We cannot tell the whole truth now; half of it would scale things wrong."""

    reason = "ServiceUnavailable"
    status = 503
    retry_after_s = 1


# ---------------------------------------------------------------- discovery


def _group() -> dict[str, Any]:
    version = {"groupVersion": API, "version": VERSION}
    return {"name": GROUP, "versions": [version], "preferredVersion": version}


def group_document() -> bytes:
    """`/apis/external.metrics.k8s.io`"""
    return _encode({"kind": "APIGroup", "apiVersion": "v1", **_group()})


def group_list() -> bytes:
    """`/apis`"""
    return _encode({"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group()]})


def resource_list(metrics: Iterable[str]) -> bytes:
    """`/apis/external.metrics.k8s.io/v1beta1`: the names of all metrics."""
    resources = [
        {
            "name": name,
            "singularName": "",
            "namespaced": True,
            "kind": "ExternalMetricValueList",
            "verbs": ["get"],
        }
        for name in sorted(metrics)
    ]
    head = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": API}
    return _encode({**head, "resources": resources})


def aggregated(metrics: Iterable[str], accept: str) -> tuple[str, bytes] | None:
    """`/apis` in the newer form, with its content type, if *accept* asks for that."""
    version = next((each for each in ("v2", "v2beta1") if _asks(accept, each)), None)
    if version is None:
        return None
    resources = [
        {
            "resource": name,
            "responseKind": {"group": GROUP, "version": VERSION, "kind": "ExternalMetricValueList"},
            "scope": "Namespaced",
            "singularResource": "",
            "verbs": ["get"],
        }
        for name in sorted(metrics)
    ]
    group = {
        "metadata": {"name": GROUP},
        "versions": [{"version": VERSION, "resources": resources, "freshness": "Current"}],
    }
    head = {"kind": "APIGroupDiscoveryList", "apiVersion": f"apidiscovery.k8s.io/{version}", "metadata": {}}
    return f"{JSON};{_AGGREGATED % version}", _encode({**head, "items": [group]})


_AGGREGATED: Final = "g=apidiscovery.k8s.io;v=%s;as=APIGroupDiscoveryList"


def _asks(accept: str, version: str) -> bool:
    wanted = {JSON, *(_AGGREGATED % version).split(";")}
    return any(wanted <= {part.strip() for part in each.split(";")} for each in accept.split(","))


# ---------------------------------------------------------------- values


def item_head(metric: str, labels: Mapping[str, str]) -> bytes:
    """The part of an item that stays while its value changes."""
    told = _encode({"metricName": metric, "metricLabels": dict(sorted(labels.items()))})
    return told[:-1] + b',"timestamp":"'


def item(head: bytes, value: float, wall_s: float, window_s: int | None = None) -> bytes:
    """One value of a value list, begun by `item_head`. ValueError if it is no number."""
    window = f'","window":{window_s},"value":"' if window_s is not None else '","value":"'
    return head + f'{timestamp(wall_s)}{window}{quantity(value)}"}}'.encode()


_HEAD: Final = b'{"kind":"ExternalMetricValueList","apiVersion":"%s","metadata":{},"items":[' % API.encode()


def value_list(items: Iterable[bytes]) -> bytes:
    """The answer to a query: *items* as `item` made them."""
    return _HEAD + b",".join(items) + b"]}"


# ---------------------------------------------------------------- errors


def status_document(error: GroveError) -> bytes:
    """A Status that says what is wrong; the HPA shows its message in the condition ScalingActive."""
    return _encode(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(error),
            "reason": error.reason,
            "code": error.status,
        }
    )
