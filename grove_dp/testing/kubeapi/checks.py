"""Checks of single values that a schema asks for by a keyword, in the words of the real server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

from grove_dp.testing.kubeapi.answers import Cause, Document, invalid_value, shown

__all__ = ["Check", "checks_of"]

Check = Callable[[Any, str], Iterator[Cause]]


def checks_of(source: Document) -> Iterator[Check]:
    """The checks that a schema asks for of one value."""
    for keyword, made in _KEYWORDS.items():
        if source.get(keyword) is not None:
            yield made(source[keyword], source)


def _bound(
    word: str, exclusive: str, fails: Callable[[Any, Any, bool], bool]
) -> Callable[[Any, Document], Check]:
    def made(limit: Any, source: Document) -> Check:
        strict = bool(source.get(exclusive))
        words = f"{word} than {limit}" if strict else f"{word} than or equal to {limit}"

        def check(value: Any, path: str) -> Iterator[Cause]:
            if isinstance(value, (int, float)) and fails(value, limit, strict):
                yield invalid_value(path, value, f"{path} in body should be {words}")

        return check

    return made


def _at_least(size: str, kind: type) -> Callable[[Any, Document], Check]:
    def made(limit: int, _: Document) -> Check:
        def check(value: Any, path: str) -> Iterator[Cause]:
            if isinstance(value, kind) and len(value) < limit:  # type: ignore[arg-type]
                told = value if kind is str else len(value)  # type: ignore[arg-type]
                yield invalid_value(path, told, f"{path} in body should {size.format(limit)}")

        return check

    return made


def _max_length(limit: int, _: Document) -> Check:
    def check(value: Any, path: str) -> Iterator[Cause]:
        if isinstance(value, str) and len(value) > limit:
            yield Cause("FieldValueTooLong", path, f"Too long: may not be more than {limit} bytes")

    return check


def _at_most(kind: type) -> Callable[[Any, Document], Check]:
    def made(limit: int, _: Document) -> Check:
        def check(value: Any, path: str) -> Iterator[Cause]:
            if isinstance(value, kind) and len(value) > limit:  # type: ignore[arg-type]
                words = f"must have at most {limit} item{'s' if limit != 1 else ''}"
                yield Cause("FieldValueTooMany", path, f"Too many: {len(value)}: {words}")  # type: ignore[arg-type]

        return check

    return made


def _pattern(pattern: str, _: Document) -> Check:
    found = re.compile(pattern)

    def check(value: Any, path: str) -> Iterator[Cause]:
        if isinstance(value, str) and not found.search(value):
            yield invalid_value(path, value, f"{path} in body should match '{pattern}'")

    return check


def _enum(allowed: list[Any], _: Document) -> Check:
    words = ", ".join(shown(value) if isinstance(value, str) else f'"{shown(value)}"' for value in allowed)

    def check(value: Any, path: str) -> Iterator[Cause]:
        if value not in allowed:
            message = f"Unsupported value: {shown(value)}: supported values: {words}"
            yield Cause("FieldValueNotSupported", path, message)

    return check


def _format(name: str, _: Document) -> Check:
    def check(value: Any, path: str) -> Iterator[Cause]:
        if name == "date-time" and isinstance(value, str) and not _is_time(value):
            detail = f"{path} in body must be of type date-time: {shown(value)}"
            yield Cause("FieldValueTypeInvalid", path, f"Invalid value: {shown(value)}: {detail}")

    return check


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None and "T" in text
    except ValueError:
        return False


def _list_type(kind: str, source: Document) -> Check:
    keys: list[str] = source.get("x-kubernetes-list-map-keys") or []

    def check(value: Any, path: str) -> Iterator[Cause]:
        if kind == "atomic" or not isinstance(value, list):
            return
        seen: list[Any] = []
        for index, item in enumerate(value):
            key = {name: item.get(name) for name in keys if name in item} if kind == "map" else item
            if key in seen:
                yield Cause("FieldValueDuplicate", f"{path}[{index}]", f"Duplicate value: {shown(key)}")
            seen.append(key)

    return check


_KEYWORDS: Final[dict[str, Callable[[Any, Document], Check]]] = {
    "minimum": _bound(
        "greater", "exclusiveMinimum", lambda value, low, strict: value < low or (strict and value == low)
    ),
    "maximum": _bound(
        "less", "exclusiveMaximum", lambda value, high, strict: value > high or (strict and value == high)
    ),
    "minLength": _at_least("be at least {} chars long", str),
    "minItems": _at_least("have at least {} items", list),
    "minProperties": _at_least("have at least {} properties", dict),
    "maxLength": _max_length,
    "maxItems": _at_most(list),
    "maxProperties": _at_most(dict),
    "pattern": _pattern,
    "enum": _enum,
    "format": _format,
    "x-kubernetes-list-type": _list_type,
}
