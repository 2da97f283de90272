"""The patch that lets a pod go: our gate off, and its node pinned, in one write.

A gated pod's affinity may only be narrowed, and a pin cannot be changed later, so both are done at once, at
the last moment. Terms of a node selector are alternatives: the pin goes into every one of them. Gates of
others stay. The uid makes sure that it is that very pod.
"""

from collections.abc import Sequence
from typing import Any, Final

from grove_operator.naming import GATE
from grove_operator.pods import Pod

__all__ = ["Labels", "release_patch"]

Document = dict[str, Any]
Labels = Sequence[tuple[str, str]]
REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"


def release_patch(pod: Pod, node: str = "", within: Labels = ()) -> Document:
    """A merge patch; without *node* the scheduler chooses, among nodes with the labels *within*."""
    gates = [{"name": gate.name} for gate in pod.spec.scheduling_gates or () if gate.name != GATE]
    spec: Document = {"schedulingGates": gates or None}
    pin = {"matchFields": [_in("metadata.name", node)]} if node else {}
    pin |= {"matchExpressions": [_in(key, value) for key, value in within]} if within else {}
    if pin:
        spec["affinity"] = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": _narrowed(pod, pin)}}}
    return {"metadata": {"uid": pod.metadata.uid}, "spec": spec}


def _in(key: str, value: str) -> Document:
    return {"key": key, "operator": "In", "values": [value]}


def _narrowed(pod: Pod, pin: Document) -> list[Document]:
    affinity = (pod.spec.affinity or {}).get("nodeAffinity") or {}
    terms = (affinity.get(REQUIRED) or {}).get("nodeSelectorTerms") or [{}]
    return [
        {**term, **{part: [*(term.get(part) or ()), *more] for part, more in pin.items()}} for term in terms
    ]
