"""Structural schemas of CRDs: what is dropped, what is filled in, what is refused.

A schema is compiled once into a tree of `Schema` nodes. `complete` drops the fields that no schema knows and
fills in defaults; it returns the very same object where nothing had to be done, and never changes what it is
given. `faults` checks what is left, in the words of the real server. Not here: CEL rules.

PERF: a patch leaves most of an object as it is, and shares it with the old one. What is the very same is not
looked at again; the real server does the same and calls it ratcheting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, Final

from grove_dp.testing.kubeapi.answers import Cause, Document, invalid_value, required
from grove_dp.testing.kubeapi.checks import Check, checks_of

__all__ = ["Schema"]

ABSENT: Final = object()
EMBEDDED: Final = frozenset(("apiVersion", "kind", "metadata"))
_JSON_TYPES: Final[tuple[tuple[type, str], ...]] = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (list, "array"),
    (dict, "object"),
)


class Schema:
    """One node of a compiled schema."""

    __slots__ = (
        "additional",
        "checks",
        "default",
        "defaults",
        "items",
        "kept",
        "nullable",
        "preserve",
        "properties",
        "required",
        "types",
    )

    def __init__(self, source: Document) -> None:
        self.types = _types(source)
        self.nullable: bool = source.get("nullable", False)
        self.default = source.get("default", ABSENT)
        self.preserve: bool = source.get("x-kubernetes-preserve-unknown-fields", False)
        self.kept = EMBEDDED if source.get("x-kubernetes-embedded-resource") else frozenset[str]()
        self.properties = {name: Schema(of) for name, of in (source.get("properties") or {}).items()}
        self.defaults = [(name, of) for name, of in self.properties.items() if of.default is not ABSENT]
        self.required: list[str] = source.get("required") or []
        self.items = Schema(source["items"]) if source.get("items") else None
        additional = source.get("additionalProperties")
        self.additional = Schema(additional) if isinstance(additional, dict) else None
        self.preserve |= additional is True
        self.checks = [*checks_of(source), *_combined(source)]

    # ------------------------------------------------------------ what is stored

    def complete(
        self, value: Any, path: str = "", unknown: list[str] | None = None, old: Any = ABSENT
    ) -> Any:
        """*value* without unknown fields and with defaults; the paths of what was dropped go to *unknown*.

        *old* is what was there before and is complete: what of it is still there is not looked at again.
        """
        if value is old:
            return value
        if isinstance(value, dict):
            return self._complete_object(value, path, unknown, old)
        if isinstance(value, list) and self.items is not None:
            before = old if isinstance(old, list) and len(old) == len(value) else [ABSENT] * len(value)
            done = [
                self.items.complete(item, f"{path}[{index}]", unknown, before[index])
                for index, item in enumerate(value)
            ]
            return done if any(new is not item for new, item in zip(done, value, strict=True)) else value
        return value

    def _complete_object(self, value: Document, path: str, unknown: list[str] | None, old: Any) -> Document:
        changes: Document = {}
        before: Document = old if isinstance(old, dict) else {}
        for name, item in value.items():
            child = self.properties.get(name) or self.additional
            if child is None:
                if not self.preserve and name not in self.kept:
                    changes[name] = ABSENT
                    if unknown is not None:
                        unknown.append(_below(path, name))
            elif item is None and not child.nullable:
                changes[name] = child.own_default()
            else:
                new = child.complete(item, _below(path, name), unknown, before.get(name, ABSENT))
                if new is not item:
                    changes[name] = new
        for name, child in self.defaults:
            if name not in value:
                changes[name] = child.own_default()
        if not changes:
            return value
        return {name: new for name, new in (value | changes).items() if new is not ABSENT}

    def own_default(self) -> Any:
        """A fresh copy of the default, itself completed; ABSENT without one."""
        return ABSENT if self.default is ABSENT else self.complete(deepcopy(self.default))

    # ------------------------------------------------------------ what is refused

    def faults(self, value: Any, path: str = "", old: Any = ABSENT) -> Iterator[Cause]:
        """Everything that is wrong with *value*, but for what was there before: *old* was let in once."""
        if value is old or (value is None and self.nullable):
            return
        if self.types and (found := _json_type(value)) not in self.types:
            yield from self._type_faults(found, path)
            return
        for check in self.checks:
            yield from check(value, path)
        if isinstance(value, dict):
            yield from self._object_faults(value, path, old)
        elif isinstance(value, list) and self.items is not None:
            before = old if isinstance(old, list) and len(old) == len(value) else [ABSENT] * len(value)
            for index, item in enumerate(value):
                yield from self.items.faults(item, f"{path}[{index}]", before[index])

    def _object_faults(self, value: Document, path: str, old: Any) -> Iterator[Cause]:
        before: Document = old if isinstance(old, dict) else {}
        for name in self.required:
            if name not in value:
                yield required(_below(path, name))
        for name, item in value.items():
            child = self.properties.get(name) or self.additional
            if child is not None:
                yield from child.faults(item, _below(path, name), before.get(name, ABSENT))

    def _type_faults(self, found: str, path: str) -> Iterator[Cause]:
        wanted = ",".join(sorted(self.types - {"number"} if "integer" in self.types else self.types))
        yield _wrong_type(path, found, wanted)
        if found == "number" and wanted == "integer":
            words = f"Checked value must be of type integer (default format) in {path}"
            yield invalid_value("<nil>", "", words)


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _types(source: Document) -> frozenset[str]:
    if source.get("x-kubernetes-int-or-string"):
        return frozenset(("integer", "string"))
    match source.get("type"):
        case None:
            return frozenset()
        case "number":
            return frozenset(("integer", "number"))
        case kind:
            return frozenset((kind,))


def _json_type(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return "integer"
    return next((name for kind, name in _JSON_TYPES if isinstance(value, kind)), "null")


def _wrong_type(path: str, found: str, wanted: str) -> Cause:
    detail = f'{_where(path)} must be of type {wanted}: "{found}"'
    return Cause("FieldValueTypeInvalid", path, f'Invalid value: "{found}": {detail}')


def _where(path: str) -> str:
    return f"{path} in body" if path else "<nil>"


# ------------------------------------------------------------ schemas of schemas


def _combined(source: Document) -> Iterator[Check]:
    for keyword, made in _COMBINATIONS.items():
        if source.get(keyword) is not None:
            yield made(source[keyword])


def _one_holds(word: str, good: Callable[[int], bool]) -> Callable[[Any], Check]:
    def made(sources: list[Document]) -> Check:
        schemas = [Schema(source) for source in sources]

        def check(value: Any, path: str) -> Iterator[Cause]:
            holding = sum(not any(schema.faults(value, path)) for schema in schemas)
            if not good(holding):
                told = value if isinstance(value, (str, int)) else ""
                yield invalid_value(path, told, f'"{path}" must validate {word}')

        return check

    return made


def _all_of(sources: list[Document]) -> Check:
    schemas = [Schema(source) for source in sources]

    def check(value: Any, path: str) -> Iterator[Cause]:
        for schema in schemas:
            yield from schema.faults(value, path)

    return check


def _not(source: Document) -> Check:
    schema = Schema(source)

    def check(value: Any, path: str) -> Iterator[Cause]:
        if not any(schema.faults(value, path)):
            yield invalid_value(path, "", f'"{path}" must not validate the schema (not)')

    return check


_COMBINATIONS: Final[dict[str, Callable[[Any], Check]]] = {
    "anyOf": _one_holds("at least one schema (anyOf)", lambda holding: holding > 0),
    "oneOf": _one_holds("one and only one schema (oneOf)", lambda holding: holding == 1),
    "allOf": _all_of,
    "not": _not,
}
