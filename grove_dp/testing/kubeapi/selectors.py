"""Label and field selectors: text to a question that can be asked of any object.

    a=b,c!=d,e in (f,g),!h,i        labels
    spec.nodeName=n,status.phase!=Running     fields: only those that the kind declares

`None` stands for "everything": most lists and watches have no selector, and ask nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from grove_dp.testing.kubeapi.answers import Document, bad_request

__all__ = ["Selector", "field_selector", "label_selector", "matches", "selected_by"]

Selector = Callable[[Document], bool]
LabelTest = Callable[[Mapping[str, str]], bool]
_SET = re.compile(r"^(?P<key>\S+)\s+(?P<how>in|notin)\s*\((?P<values>[^()]*)\)$")
_EQUALS = re.compile(r"^(?P<key>[^=!\s]+)\s*(?P<how>==|=|!=)\s*(?P<value>[^=!\s]*)$")
_KEY = re.compile(r"^(?P<absent>!?)\s*(?P<key>[A-Za-z0-9][\w./-]*)$")
_COMMA = re.compile(r",(?![^(]*\))")  # not within the brackets of a set


def label_selector(text: str) -> Selector | None:
    """*text* of `labelSelector`; 400 if it cannot be read."""
    tests = [_label_test(part.strip()) for part in _COMMA.split(text) if part.strip()]
    if not tests:
        return None

    def selected(document: Document) -> bool:
        labels = document["metadata"].get("labels") or {}
        return all(test(labels) for test in tests)

    return selected


def _label_test(text: str) -> LabelTest:
    if found := _SET.match(text):
        values = {value.strip() for value in found["values"].split(",")}
        return _among(found["key"], values, found["how"] == "in")
    if found := _EQUALS.match(text):
        return _among(found["key"], {found["value"]}, found["how"] != "!=")
    if found := _KEY.match(text):
        key, wanted = found["key"], not found["absent"]
        return lambda labels: (key in labels) is wanted
    raise bad_request(f"unable to parse requirement: found '{text}', expected: identifier or a relation")


def _among(key: str, values: set[str], wanted: bool) -> LabelTest:
    if wanted:
        return lambda labels: labels.get(key) in values
    return lambda labels: labels.get(key) not in values  # also true of those without the label


def field_selector(text: str, fields: Mapping[str, Callable[[Document], Any]]) -> Selector | None:
    """*text* of `fieldSelector` over the *fields* that the kind can be selected by; 400 for any other."""
    tests: list[Selector] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = re.match(r"^([^=!]+)(==|=|!=)(.*)$", part)
        if found is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        name, how, value = found.groups()
        if name not in fields:
            raise bad_request(f"field label not supported: {name}")
        tests.append(_field_test(fields[name], value, how != "!="))
    return _all_of(tests)


def _field_test(field: Callable[[Document], Any], value: str, wanted: bool) -> Selector:
    return lambda document: (_text(field(document)) == value) is wanted


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _all_of(tests: list[Selector]) -> Selector | None:
    if len(tests) < 2:
        return tests[0] if tests else None
    return lambda document: all(test(document) for test in tests)


def selected_by(*selectors: Selector | None) -> Selector | None:
    """All of them at once."""
    return _all_of([selector for selector in selectors if selector is not None])


# ------------------------------------------------------------ selectors that stand in documents


def matches(expressions: list[Document], values: Mapping[str, str]) -> bool:
    """`matchExpressions` of a node selector over a node's labels, or `matchFields` over its fields."""
    return all(_holds(expression, values) for expression in expressions)


def _holds(expression: Document, values: Mapping[str, str]) -> bool:
    value, wanted = values.get(expression["key"]), expression.get("values") or []
    match expression["operator"]:
        case "In":
            return value in wanted
        case "NotIn":
            return value not in wanted
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt":
            return value is not None and int(value) > int(wanted[0])
        case "Lt":
            return value is not None and int(value) < int(wanted[0])
    return False


def selector_text(selector: Document) -> str:
    """A LabelSelector as `labelSelector` would say it."""
    return ",".join(_requirements(selector))


def _requirements(selector: Document) -> Iterator[str]:
    parts = {key: f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()}
    for expression in selector.get("matchExpressions") or []:
        key, values = expression["key"], ",".join(sorted(expression.get("values") or []))
        parts[key] = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }[expression["operator"]]
    yield from (parts[key] for key in sorted(parts))
