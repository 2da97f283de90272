"""Pods: defaults, what may still change, and how they end.

A pod's spec is fixed once it is made, with few exceptions; a pod with scheduling gates has three more, and on
them stands all of our gang admission:

    schedulingGates     entries may only go
    nodeSelector        entries may only be added, while gated
    node affinity       terms are fixed once there are any, expressions may only be added, while gated
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from grove_dp.testing.kubeapi.answers import Cause, Document, forbidden_value, invalid_value, required
from grove_dp.testing.kubeapi.kinds import Rules
from grove_dp.testing.kubeapi.templates import ABSENT, filled

__all__ = ["POD_SPEC", "PodRules", "with_condition"]

_FIXED = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
ENDED: Final = ("Succeeded", "Failed")
OBJECTS: Final = ("affinity", "securityContext")
REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"


def _pull_policy(container: Document) -> str:
    image = container.get("image", "").rpartition("/")[2]
    tag = image.partition(":")[2] if "@" not in image else image
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def _request_limits(resources: Document) -> Any:
    return resources.get("limits", ABSENT)


_PROBE = {
    "timeoutSeconds": 1,
    "periodSeconds": 10,
    "successThreshold": 1,
    "failureThreshold": 3,
    "httpGet": {"path": "/", "scheme": "HTTP"},
}
_CONTAINER = {
    "imagePullPolicy": _pull_policy,
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "resources": {},
    "ports": [{"protocol": "TCP"}],
    "env": [{"valueFrom": {"fieldRef": {"apiVersion": "v1"}}}],
    "livenessProbe": _PROBE,
    "readinessProbe": _PROBE,
    "startupProbe": _PROBE,
    "lifecycle": {
        "preStop": {"httpGet": {"path": "/", "scheme": "HTTP"}},
        "postStart": {"httpGet": {"path": "/", "scheme": "HTTP"}},
    },
}
_VOLUME = {
    "secret": {"defaultMode": 0o644},
    "configMap": {"defaultMode": 0o644},
    "downwardAPI": {"defaultMode": 0o644, "items": [{"fieldRef": {"apiVersion": "v1"}}]},
    "projected": {
        "defaultMode": 0o644,
        "sources": [{"downwardAPI": {"items": [{"fieldRef": {"apiVersion": "v1"}}]}}],
    },
}
POD_SPEC: Final = {
    "restartPolicy": "Always",
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "securityContext": {},
    "terminationGracePeriodSeconds": 30,
    "containers": [_CONTAINER],
    "initContainers": [_CONTAINER],
    "volumes": [_VOLUME],
}
_TOLERATED = [
    {
        "key": f"node.kubernetes.io/{key}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 300,
    }
    for key in ("not-ready", "unreachable")
]
_LIMITED = {"resources": {"requests": _request_limits}}
_POD = {
    "spec": {
        **POD_SPEC,
        "enableServiceLinks": True,
        "serviceAccountName": "default",
        "serviceAccount": lambda spec: spec.get("serviceAccountName", "default"),
        "priority": 0,
        "preemptionPolicy": "PreemptLowerPriority",
    }
}
_LIMITS = {"spec": {"containers": [_LIMITED], "initContainers": [_LIMITED]}}


class PodRules(Rules):
    """Of pods."""

    returned = True

    def created(self, document: Document) -> Document:
        """With defaults, admitted, and Pending."""
        pod: Document = filled(filled(document, _POD), _LIMITS)
        spec: Document = pod.get("spec") or {}
        tolerations: list[Document] = spec.get("tolerations") or []
        own = {
            toleration.get("key") for toleration in tolerations if toleration.get("effect") != "NoSchedule"
        }
        added = [toleration for toleration in _TOLERATED if toleration["key"] not in own]
        status: Document = {"phase": "Pending", "qosClass": _quality(spec)}
        if spec.get("schedulingGates"):
            blocked = "Scheduling is blocked due to non-empty scheduling gates"
            gated = {"status": "False", "reason": "SchedulingGated", "message": blocked}
            times = {"lastProbeTime": None, "lastTransitionTime": document["metadata"]["creationTimestamp"]}
            status = with_condition(status, {"type": "PodScheduled", **gated, **times})
        spec = _without_empty({**spec, "tolerations": [*tolerations, *added]})
        return {**pod, "spec": spec, "status": status}

    def updated(self, new: Document, old: Document) -> Document:
        pod: Document = filled(new, _POD)
        return {**pod, "spec": _without_empty(pod["spec"])}

    def create_faults(self, document: Document) -> Iterator[Cause]:
        spec: Document = document.get("spec") or {}
        if not spec.get("containers"):
            yield required("spec.containers")
        for index, container in enumerate(spec.get("containers") or []):
            yield from _container_faults(container, f"spec.containers[{index}]")
        if spec.get("schedulingGates") and spec.get("nodeName"):
            yield forbidden_value(
                "spec.nodeName", "cannot be set until all schedulingGates have been cleared"
            )

    def update_faults(self, new: Document, old: Document) -> Iterator[Cause]:
        yield from _spec_faults(new["spec"], old["spec"])

    def status_updated(self, new: Document, old: Document) -> Document:
        status = {"qosClass": old["status"].get("qosClass"), **new["status"]}
        owners = old["metadata"].get("ownerReferences")
        metadata = {name: value for name, value in new["metadata"].items() if name != "ownerReferences"}
        return {
            **new,
            "status": status,
            "metadata": {**metadata, "ownerReferences": owners} if owners else metadata,
        }

    def grace_s(self, document: Document, asked_s: int | None) -> int | None:
        spec, status = document["spec"], document.get("status") or {}
        if not spec.get("nodeName") or status.get("phase") in ENDED:
            return 0
        period = spec.get("terminationGracePeriodSeconds", 0) if asked_s is None else asked_s
        return period if period >= 0 else 1


def _without_empty(spec: Document) -> Document:
    """Empty lists and maps are not kept; empty objects are."""
    return {name: of for name, of in spec.items() if of not in ([], {}) or name in OBJECTS}


def with_condition(status: Document, condition: Document) -> Document:
    """*status* with this condition in place of the one of the same type."""
    others = [other for other in status.get("conditions") or [] if other["type"] != condition["type"]]
    return {**status, "conditions": [*others, condition]}


def _container_faults(container: Document, path: str) -> Iterator[Cause]:
    yield from (required(f"{path}.{name}") for name in ("name", "image") if not container.get(name))


def _quality(spec: Document) -> str:
    """The class by which nodes choose whom to evict."""
    every = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    resources = [container.get("resources") or {} for container in every]
    named = [{**(of.get("requests") or {}), **(of.get("limits") or {})} for of in resources]
    if not any({"cpu", "memory"} & set(of) for of in named):
        return "BestEffort"
    guaranteed = all(
        {"cpu", "memory"} <= set(of.get("limits") or {})
        and all((of.get("requests") or {}).get(name) == of["limits"][name] for name in ("cpu", "memory"))
        for of in resources
    )
    return "Guaranteed" if guaranteed else "Burstable"


# ------------------------------------------------------------ what may change


def _spec_faults(new: Document, old: Document) -> Iterator[Cause]:
    for name in ("containers", "initContainers"):
        if len(new.get(name) or []) != len(old.get(name) or []):
            yield forbidden_value(f"spec.{name}", "pod updates may not add or remove containers")
            return
    yield from _deadline_faults(new.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds"))
    yield from _toleration_faults(new.get("tolerations") or [], old.get("tolerations") or [])
    yield from _gate_faults(new.get("schedulingGates") or [], old.get("schedulingGates") or [])
    rest = {**new, **_same(old, "activeDeadlineSeconds", "tolerations", "schedulingGates")}
    for name in ("containers", "initContainers"):
        if name in new:
            rest[name] = [
                {**container, "image": before.get("image")}
                for container, before in zip(new[name], old.get(name) or [], strict=True)
            ]
    if old.get("schedulingGates"):
        yield from _selector_faults(new.get("nodeSelector"), old.get("nodeSelector") or {})
        yield from _affinity_faults(_node_affinity(new), _node_affinity(old))
        rest |= _same(old, "nodeSelector") | {"affinity": _with_old_node_affinity(new, old)}
    if _clean(rest) != _clean(old):
        yield forbidden_value("spec", _FIXED)


def _same(old: Document, *names: str) -> Document:
    return {name: old.get(name) for name in names}


def _clean(value: Any) -> Any:
    """Without what says nothing: null, {} and [] are as good as absent."""
    if isinstance(value, dict):
        cleaned = {name: _clean(of) for name, of in value.items()}
        return {name: of for name, of in cleaned.items() if of not in (None, {}, [])}
    return [_clean(item) for item in value] if isinstance(value, list) else value


def _deadline_faults(new: int | None, old: int | None) -> Iterator[Cause]:
    path = "spec.activeDeadlineSeconds"
    if new is None and old is not None:
        yield invalid_value(path, None, "must not update from a positive integer to nil value")
    elif new is not None and old is not None and new > old:
        yield invalid_value(path, new, "must be less than or equal to previous value")


def _toleration_faults(new: list[Document], old: list[Document]) -> Iterator[Cause]:
    for before in old:
        wanted = {**before, "tolerationSeconds": None}
        if not any({**now, "tolerationSeconds": None} == wanted for now in new):
            words = "existing toleration can not be modified except its tolerationSeconds"
            yield forbidden_value("spec.tolerations", words)
            return


def _gate_faults(new: list[Document], old: list[Document]) -> Iterator[Cause]:
    known = {gate["name"] for gate in old}
    for index, gate in enumerate(new):
        if gate["name"] not in known:
            words = f"only deletion is allowed, but found new scheduling gate '{gate['name']}'"
            yield forbidden_value(f"spec.schedulingGates[{index}].name", words)


def _selector_faults(new: Document | None, old: Document) -> Iterator[Cause]:
    if not old.items() <= (new or {}).items():
        words = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        yield invalid_value("spec.nodeSelector", new, words)


def _node_affinity(spec: Document) -> Document:
    return (spec.get("affinity") or {}).get("nodeAffinity") or {}


def _with_old_node_affinity(new: Document, old: Document) -> Document:
    affinity = dict(new.get("affinity") or {})
    affinity["nodeAffinity"] = _node_affinity(old)
    return affinity


def _affinity_faults(new: Document, old: Document) -> Iterator[Cause]:
    path = f"spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms"
    before = (old.get(REQUIRED) or {}).get("nodeSelectorTerms") or []
    now = (new.get(REQUIRED) or {}).get("nodeSelectorTerms") or []
    if not before:
        return
    if len(before) != len(now):
        words = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        yield invalid_value(path, now, words)
        return
    for index, (term, earlier) in enumerate(zip(now, before, strict=True)):
        if not _only_added(term, earlier):
            words = "only additions are allowed (no mutations or deletions)"
            yield invalid_value(f"{path}[{index}]", term, words)


def _only_added(new: Document, old: Document) -> bool:
    lists = ("matchExpressions", "matchFields")
    if not any(old.get(name) for name in lists):  # such a term selects nothing, and must go on doing so
        return not any(new.get(name) for name in lists)
    return all((new.get(name) or [])[: len(old.get(name) or [])] == (old.get(name) or []) for name in lists)
