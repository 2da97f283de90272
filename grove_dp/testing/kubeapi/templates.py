"""Defaults of built-in kinds, as templates: a document with every field that is filled in where it is missing.

    {"spec": {"dnsPolicy": "ClusterFirst", "containers": [{"imagePullPolicy": ...}]}}

A list with one item is the template of each item of a list that is there. A function makes the value out of
the object that it belongs to, or says ABSENT. Nothing is made where the parent is missing but for objects in
ALWAYS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, Final

from grove_dp.testing.kubeapi.answers import Document

__all__ = ["ABSENT", "filled"]

ABSENT: Final = object()
Made = Callable[[Document], Any]


def filled(value: Any, template: Any) -> Any:
    """*value* with what it lacks of *template*; the very same where it lacks nothing."""
    if isinstance(template, Mapping) and isinstance(value, dict):
        changes = {}
        for name, default in template.items():
            if name in value:
                new = filled(value[name], default)
                if new is not value[name]:
                    changes[name] = new
            elif not isinstance(default, (Mapping, list)):
                made = default(value) if callable(default) else default
                if made is not ABSENT:
                    changes[name] = made
            elif default == {} or default == []:
                changes[name] = deepcopy(default)
        return {**value, **changes} if changes else value
    if isinstance(template, list) and template and isinstance(value, list):
        items = [filled(item, template[0]) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value
