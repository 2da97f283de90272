"""Hashes of pod templates: equal if and only if the pods would be equal.

A hash that changes replaces every pod of a set, so it must not see what makes no difference. It is taken of
the *canonical form* of {labels, annotations, podSpec, priorityClassName}, which is frozen: a golden file pins
it, and no upgrade may move it, neither ours nor that of a library, for no library writes it.

    1  a field whose value is the API server's default is left out (`defaults.py` has the table)
    2  null, {} and [] are left out, where being there means nothing (it does in a volume's `emptyDir: {}`)
    3  quantities are fractions: 0.5, 500m and "0.5" are 1/2
    4  lists whose order means nothing are sorted: volumes, mounts, ports, tolerations …; `env`, arguments
       and containers keep theirs
    5  JSON, keys sorted, no blanks, UTF-8; 64 bits of BLAKE2b, as 16 hex digits

Replicas, minAvailable, start order and bounds of autoscalers are no part: they roll nothing. The hash of a
set is that of its cliques' hashes by name, so that their order does not count either.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from grove_operator.api import CliqueTemplate, SetTemplate
from grove_operator.plan.defaults import pod_spec_form

__all__ = ["same_pods", "set_hash", "template_form", "template_hash"]


def template_form(template: CliqueTemplate, priority_class: str = "") -> Mapping[str, Any]:
    """The canonical form of what a clique's pods are made of."""
    form = {
        "annotations": dict(template.annotations or {}),
        "labels": dict(template.labels or {}),
        "podSpec": pod_spec_form(template.spec.pod_spec),
        "priorityClassName": priority_class,
    }
    return {key: value for key, value in form.items() if value}


def template_hash(template: CliqueTemplate, priority_class: str = "") -> str:
    """Of a clique's pods: the label `grove.io/pod-template-hash`."""
    return _digest(template_form(template, priority_class))


def set_hash(template: SetTemplate, hashes: Mapping[str, str] | None = None) -> str:
    """Of all cliques of a set: its generation hash. *hashes*: those of the cliques, where known."""
    held = hashes or {one.name: template_hash(one, template.priority_class_name) for one in template.cliques}
    return _digest(dict(held))


def same_pods(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two pod specs mean the same pods: for those that were labelled by another operator."""
    return bool(pod_spec_form(one) == pod_spec_form(other))


def _digest(form: Mapping[str, Any]) -> str:
    return blake2b(msgspec.json.encode(form, order="deterministic"), digest_size=8).hexdigest()
