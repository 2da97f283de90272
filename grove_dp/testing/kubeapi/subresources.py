"""Sub-resources that are more than a part of the object: scale, binding, eviction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from grove_dp.testing.kubeapi import answers
from grove_dp.testing.kubeapi.answers import Document
from grove_dp.testing.kubeapi.deletion import DeleteOptions, check_preconditions
from grove_dp.testing.kubeapi.kinds import Kind, Scale, at
from grove_dp.testing.kubeapi.pods import with_condition
from grove_dp.testing.kubeapi.registry import Registry
from grove_dp.testing.kubeapi.selectors import selector_text
from grove_dp.testing.kubeapi.store import Key, Stored

__all__ = ["bind", "evict", "scale_of", "scaled"]


# ------------------------------------------------------------ scale


def scale_of(kind: Kind, scale: Scale, stored: Stored) -> Document:
    """The Scale of an object."""
    document = stored.document
    replicas = at(document, scale.spec)
    if replicas is None:
        raise answers.internal(f'the spec replicas field "{scale.spec}" does not exist')
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: Document = {"replicas": at(document, scale.status) or 0}
    if scale.selector and (selector := at(document, scale.selector)):
        status["selector"] = selector_text(selector) if scale.of_labels else selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: stored.metadata[name] for name in kept if name in stored.metadata},
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


def scaled(
    registry: Registry, kind: Kind, scale: Scale, key: Key, change: Callable[[Document], Document]
) -> Document:
    """The Scale after *change* of it was written to the object."""
    old = registry.get(kind, key)
    new = change(scale_of(kind, scale, old))
    replicas = (new.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int):
        raise answers.bad_request(f"Scale in version v1 cannot be handled: spec.replicas is {replicas!r}")
    if replicas < 0 and not kind.custom:
        cause = answers.invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
        raise answers.invalid("autoscaling", "Scale", key[1], [cause])
    version = (new.get("metadata") or {}).get("resourceVersion")

    def written(document: Document) -> Document:
        document = _set(document, scale.spec.lstrip(".").split("."), replicas)
        if version:
            document = {**document, "metadata": {**document["metadata"], "resourceVersion": version}}
        return document

    return scale_of(kind, scale, registry.update(kind, key, written))


def _set(document: Any, path: list[str], value: Any) -> Document:
    name, *rest = path
    inner = document.get(name) or {}
    return {**document, name: _set(inner, rest, value) if rest else value}


# ------------------------------------------------------------ pods


class _Target(msgspec.Struct):
    name: str = ""


class _Named(msgspec.Struct, rename="camel"):
    name: str = ""
    uid: str = ""
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}


class _Binding(msgspec.Struct):
    metadata: _Named = msgspec.field(default_factory=_Named)
    target: _Target = msgspec.field(default_factory=_Target)


class _Eviction(msgspec.Struct, rename="camel"):
    metadata: _Named = msgspec.field(default_factory=_Named)
    delete_options: DeleteOptions | None = None


def bind(registry: Registry, kind: Kind, key: Key, body: bytes) -> Document:
    """A pod gets its node, once."""
    binding = msgspec.json.decode(body, type=_Binding)
    if binding.metadata.name != key[1]:
        raise answers.bad_request("name in URL does not match name in Binding object")
    if not binding.target.name:
        raise answers.internal("target.name: Required value")
    pod = registry.get(kind, key)
    if binding.metadata.uid and binding.metadata.uid != pod.uid:
        raise answers.other_uid("", kind.plural, key, binding.metadata.uid, pod.uid)
    if why_not := _unbindable(pod):
        raise answers.conflict("", "pods/binding", key[1], why_not)
    now = registry.timestamp()
    condition = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
    registry.overwrite(
        kind,
        pod,
        {
            **pod.document,
            "metadata": _with_marks(pod.metadata, binding.metadata),
            "spec": {**pod.document["spec"], "nodeName": binding.target.name},
            "status": with_condition(pod.document["status"], condition),
        },
    )
    return answers.success(code=201)


def _unbindable(pod: Stored) -> str:
    spec, name = pod.document["spec"], pod.key[1]
    if "deletionTimestamp" in pod.metadata:
        return f"pod {name} is being deleted, cannot be assigned to a host"
    if spec.get("nodeName"):
        return f'pod {name} is already assigned to node "{spec["nodeName"]}"'
    return f"pod {name} has non-empty .spec.schedulingGates" if spec.get("schedulingGates") else ""


def _with_marks(metadata: Document, said: _Named) -> Document:
    marks = {"annotations": said.annotations, "labels": said.labels}
    added = {name: {**(metadata.get(name) or {}), **values} for name, values in marks.items() if values}
    return {**metadata, **added}


def evict(registry: Registry, kind: Kind, key: Key, body: bytes) -> Document:
    """Delete a pod and say why; there are no disruption budgets here that could object."""
    eviction = msgspec.json.decode(body, type=_Eviction)
    if eviction.metadata.name != key[1]:
        raise answers.bad_request("name in URL does not match name in Eviction object")
    pod = registry.get(kind, key)
    options = eviction.delete_options or DeleteOptions()
    check_preconditions(kind, pod, options.preconditions)
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastProbeTime": None,
        "lastTransitionTime": registry.timestamp(),
    }
    status = with_condition(pod.document["status"], condition)
    registry.overwrite(kind, pod, {**pod.document, "status": status})
    registry.delete(kind, key, msgspec.structs.replace(options, preconditions=None))
    return answers.success(code=201)
