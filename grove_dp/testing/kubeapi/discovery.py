"""Which groups, versions and kinds there are: enough for a client to ask whether a kind is served."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from grove_dp.testing.kubeapi.answers import Document
from grove_dp.testing.kubeapi.kinds import Kind

__all__ = ["discovered"]

VERBS: Final = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
SUB_VERBS: Final = ["get", "patch", "update"]
HEALTH: Final = ("/healthz", "/livez", "/readyz")
VERSION: Final = {"major": "1", "minor": "36", "gitVersion": "v1.36.3", "platform": "linux/amd64"}


def discovered(path: str, kinds: Iterable[Kind]) -> Document | str | None:
    """The document, or text, at *path*; None if this is none of these paths."""
    path = path.rstrip("/")
    if path in HEALTH:
        return "ok"
    fixed: dict[str, Callable[[], Document]] = {
        "/version": lambda: VERSION,
        "/api": lambda: {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": lambda: {"kind": "APIGroupList", "apiVersion": "v1", "groups": _groups(kinds)},
    }
    if path in fixed:
        return fixed[path]()
    found = [kind for kind in kinds if kind.path == path]
    if found:
        resources = [resource for kind in found for resource in _resources(kind)]
        resources.sort(key=lambda resource: resource["name"])
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": found[0].api_version,
            "resources": resources,
        }
    group = next((group for group in _groups(kinds) if path == f"/apis/{group['name']}"), None)
    return {"kind": "APIGroup", "apiVersion": "v1", **group} if group else None


def _groups(kinds: Iterable[Kind]) -> list[Document]:
    versions: dict[str, dict[str, None]] = {}
    for kind in kinds:
        if kind.group:
            versions.setdefault(kind.group, {})[kind.version] = None
    return [
        {
            "name": group,
            "versions": [{"groupVersion": f"{group}/{version}", "version": version} for version in served],
            "preferredVersion": {"groupVersion": f"{group}/{min(served)}", "version": min(served)},
        }
        for group, served in versions.items()
    ]


def _resources(kind: Kind) -> list[Document]:
    resource: Document = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": VERBS,
    }
    if kind.short:
        resource["shortNames"] = list(kind.short)
    made = [resource]
    if kind.status:
        made.append(_sub(kind, "status", {"kind": kind.kind}))
    if kind.scale is not None:
        made.append(_sub(kind, "scale", {"group": "autoscaling", "version": "v1", "kind": "Scale"}))
    return made


def _sub(kind: Kind, name: str, what: Document) -> Document:
    whole = {"name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced}
    return {**whole, **what, "verbs": SUB_VERBS}
