"""Defaults of built-in kinds, as templates: documents with every field that is filled in where it is missing.

    {"spec": {"dnsPolicy": "ClusterFirst", "containers": [{"imagePullPolicy": ...}]}}

A list with one item is the template of each item of a list that is there. A function makes the value out of
the object that it belongs to, or says ABSENT. Nothing is made where the parent is missing; an empty object or
list is made as such.
"""

from __future__ import annotations

from typing import Any, Final

from grove_dp.testing.kubeapi.answers import Document

__all__ = ["ABSENT", "filled"]

ABSENT: Final = object()


def filled(value: Any, template: Any) -> Any:
    """*value* with what it lacks of *template*; the very same where it lacks nothing."""
    if type(value) is dict and type(template) is dict:
        return _filled_object(value, template)
    if type(value) is list and type(template) is list and template:
        items = [filled(item, template[0]) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value


def _filled_object(value: Document, template: Document) -> Document:
    changes: Document = {}
    for name, default in template.items():
        kind = type(default)  # PERF: a pod has forty of these; asking the abstract classes doubles its price
        if name in value:
            if kind is dict or kind is list:
                old = value[name]
                new = filled(old, default)
                if new is not old:
                    changes[name] = new
        elif kind is dict or kind is list:
            if not default:
                changes[name] = kind()
        else:
            made = default(value) if callable(default) else default
            if made is not ABSENT:
                changes[name] = made
    return {**value, **changes} if changes else value
