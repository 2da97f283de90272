"""The patch that lets a pod go: our gate off, and its node pinned, in one write.

A gated pod's affinity may only be narrowed, and a pin cannot be changed later, so both are done at once, at
the last moment. Terms of a node selector are alternatives: the pin goes into every one of them. Gates of
others stay. The uid makes sure that it is that very pod.
"""

from typing import Any, Final

from grove_operator.naming import GATE
from grove_operator.pods import Pod

__all__ = ["release_patch"]

Document = dict[str, Any]
REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"


def release_patch(pod: Pod, node: str = "") -> Document:
    """A merge patch; without *node* the scheduler chooses."""
    gates = [{"name": gate.name} for gate in pod.spec.scheduling_gates or () if gate.name != GATE]
    spec: Document = {"schedulingGates": gates or None}
    if node:
        spec["affinity"] = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": _pinned(pod, node)}}}
    return {"metadata": {"uid": pod.metadata.uid}, "spec": spec}


def _pinned(pod: Pod, node: str) -> list[Document]:
    affinity = (pod.spec.affinity or {}).get("nodeAffinity") or {}
    terms = (affinity.get(REQUIRED) or {}).get("nodeSelectorTerms") or [{}]
    pin = {"key": "metadata.name", "operator": "In", "values": [node]}
    return [{**term, "matchFields": [*(term.get("matchFields") or ()), pin]} for term in terms]
