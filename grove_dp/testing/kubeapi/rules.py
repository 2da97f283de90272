"""In what built-in kinds differ from others, but for pods."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any, Final

from grove_dp.testing.kubeapi.answers import Cause, Document, forbidden_value, invalid_value
from grove_dp.testing.kubeapi.kinds import Rules, at
from grove_dp.testing.kubeapi.templates import filled

__all__ = ["CrdRules", "DataRules", "Filled", "NamespaceRules", "NodeRules", "SelectorRules", "ServiceRules"]

EMPTY: Mapping[str, Any] = {}
DATA: Final = ("data", "binaryData")
_NODE_INFO: Final = (
    "machineID systemUUID bootID kernelVersion osImage containerRuntimeVersion kubeletVersion "
    "kubeProxyVersion "
    "operatingSystem architecture"
).split()
_NODE_STATUS = {
    "conditions": [{"lastHeartbeatTime": None, "lastTransitionTime": None}],
    "daemonEndpoints": lambda _: {"kubeletEndpoint": {"Port": 0}},
    "nodeInfo": lambda _: dict.fromkeys(_NODE_INFO, ""),
}
_SERVICE = {
    "spec": {
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
        "ports": [{"protocol": "TCP", "targetPort": lambda port: port.get("port")}],
    }
}


class Filled(Rules):
    """Defaults from a template, a status of its own, and no more."""

    def __init__(
        self,
        template: Mapping[str, Any] = EMPTY,
        status: Mapping[str, Any] | None = None,
        *,
        counted: bool = False,
        unconditional: bool = True,
        returned: bool = False,
    ) -> None:
        self._template = template
        self._status = status
        self.counted = counted
        self.unconditional = unconditional
        self.returned = returned

    def created(self, document: Document) -> Document:
        made: Document = filled(document, self._template)
        return made if self._status is None else {**made, "status": dict(self._status)}

    def updated(self, new: Document, old: Document) -> Document:
        made: Document = filled(new, self._template)
        return made


class NamespaceRules(Filled):
    """Active until they are deleted; `kubernetes` is the finalizer of what is in them."""

    def created(self, document: Document) -> Document:
        metadata = document["metadata"]
        labels = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": metadata["name"]}
        return {
            "metadata": {**metadata, "labels": labels},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        }

    def updated(self, new: Document, old: Document) -> Document:
        return {**new, "spec": old["spec"]}

    def ending(self, document: Document, now: str) -> Document | None:
        if "deletionTimestamp" in document["metadata"]:
            return document
        metadata = {**document["metadata"], "deletionTimestamp": now}
        return {**document, "metadata": metadata, "status": {**document["status"], "phase": "Terminating"}}


class NodeRules(Filled):
    """Unlike others they keep the status that they are made with: the kubelet makes its own node."""

    def created(self, document: Document) -> Document:
        return {"spec": {}, **document, "status": filled(document.get("status") or {}, _NODE_STATUS)}

    def updated(self, new: Document, old: Document) -> Document:
        return {**new, "spec": new.get("spec") or {}}


class ServiceRules(Filled):
    """An address is given once and stays."""

    def __init__(self) -> None:
        super().__init__(_SERVICE, {"loadBalancer": {}}, returned=True)
        self._given = 0

    def created(self, document: Document) -> Document:
        made = super().created(document)
        spec: Document = made.get("spec") or {}
        if spec.get("type") == "ExternalName":
            return made
        families = {"ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}
        address = spec.get("clusterIP") or self._address()
        spec = {**families, **spec, "clusterIP": address, "clusterIPs": [address]}
        return {**made, "spec": spec}

    def updated(self, new: Document, old: Document) -> Document:
        made = super().updated(new, old)
        kept = {
            name: old["spec"][name]
            for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
            if name in old["spec"] and not made["spec"].get(name)
        }
        return {**made, "spec": {**made["spec"], **kept}} if kept else made

    def update_faults(self, new: Document, old: Document) -> Iterator[Cause]:
        before, now = old["spec"].get("clusterIP"), new["spec"].get("clusterIP")
        if before and now != before:
            yield invalid_value(
                "spec.clusterIPs[0]", new["spec"].get("clusterIPs"), "may not change once set"
            )

    def _address(self) -> str:
        self._given += 1
        return f"10.0.{self._given >> 8}.{self._given & 255}"


class DataRules(Filled):
    """ConfigMaps and Secrets can be made immutable; text of Secrets is kept encoded."""

    def created(self, document: Document) -> Document:
        return _without_empty(_encoded(super().created(document)), *DATA)

    def updated(self, new: Document, old: Document) -> Document:
        return _without_empty(_encoded(super().updated(new, old)), *DATA)

    def update_faults(self, new: Document, old: Document) -> Iterator[Cause]:
        if not old.get("immutable"):
            return
        if not new.get("immutable"):
            yield forbidden_value("immutable", "field is immutable when `immutable` is set")
        for name in DATA:
            if (new.get(name) or {}) != (old.get(name) or {}):
                yield forbidden_value(name, "field is immutable when `immutable` is set")


def _encoded(document: Document) -> Document:
    if "stringData" not in document:
        return document
    text: Mapping[str, str] = document["stringData"]
    data = {name: base64.b64encode(value.encode()).decode() for name, value in text.items()}
    rest = {name: value for name, value in document.items() if name != "stringData"}
    return {**rest, "data": {**(document.get("data") or {}), **data}}


def _without_empty(document: Document, *names: str) -> Document:
    empty = [name for name in names if name in document and not document[name]]
    return {name: value for name, value in document.items() if name not in empty} if empty else document


class SelectorRules(Filled):
    """The selector of a Deployment or ReplicaSet is fixed, and names its own pods."""

    def create_faults(self, document: Document) -> Iterator[Cause]:
        labels = at(document, "spec.template.metadata.labels") or {}
        wanted = at(document, "spec.selector.matchLabels") or {}
        if not wanted.items() <= labels.items():
            words = "`selector` does not match template `labels`"
            yield invalid_value("spec.template.metadata.labels", labels, words)

    def update_faults(self, new: Document, old: Document) -> Iterator[Cause]:
        if at(new, "spec.selector") != at(old, "spec.selector"):
            yield invalid_value("spec.selector", at(new, "spec.selector"), "field is immutable")


class CrdRules(Filled):
    """A definition is served as soon as it is written; `crds` reads it."""

    def created(self, document: Document) -> Document:
        spec, names = document["spec"], document["spec"]["names"]
        kind = names["kind"]
        names = {"singular": kind.lower(), "listKind": f"{kind}List", **names}
        stored = [version["name"] for version in spec["versions"] if version.get("storage")]
        conditions = [
            {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": None}
            for kind, reason, message in (
                ("NamesAccepted", "NoConflicts", "no conflicts found"),
                ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
            )
        ]
        return {
            **document,
            "spec": {"conversion": {"strategy": "None"}, **spec, "names": names},
            "status": {"conditions": conditions, "acceptedNames": names, "storedVersions": stored},
        }
