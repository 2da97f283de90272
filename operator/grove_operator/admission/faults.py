"""What is wrong with a document: where, how it reads, and how it travels.

Faults read as those of the API server itself (`spec.replicas: Invalid value: -1: must not be negative`), so
that whoever knows one knows the other, and one answer holds them all: nobody likes to learn of five faults in
five attempts. Each detail names the remedy.
"""

import json
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

__all__ = [
    "Fault",
    "Kind",
    "duplicate",
    "forbidden",
    "invalid",
    "not_found",
    "not_supported",
    "refusal",
    "required",
    "sentence",
    "too_long",
]

SHOWN_MAX: Final = 200  # characters of a value
TOLD_MAX: Final = 50  # faults in one answer


class Kind(StrEnum):
    """Reasons of causes in a Status document."""

    REQUIRED = "FieldValueRequired"
    INVALID = "FieldValueInvalid"
    DUPLICATE = "FieldValueDuplicate"
    FORBIDDEN = "FieldValueForbidden"
    NOT_SUPPORTED = "FieldValueNotSupported"
    NOT_FOUND = "FieldValueNotFound"
    TOO_LONG = "FieldValueTooLong"


WORDS: Final = {
    Kind.REQUIRED: "Required value",
    Kind.INVALID: "Invalid value",
    Kind.DUPLICATE: "Duplicate value",
    Kind.FORBIDDEN: "Forbidden",
    Kind.NOT_SUPPORTED: "Unsupported value",
    Kind.NOT_FOUND: "Not found",
    Kind.TOO_LONG: "Too long",
}
BARE: Final = frozenset([Kind.REQUIRED, Kind.FORBIDDEN, Kind.TOO_LONG])  # show no value


class Fault(Struct, frozen=True):
    """One thing that is wrong."""

    kind: Kind
    path: str
    detail: str
    value: Any = None

    @property
    def body(self) -> str:
        """Without the path, as a cause's message has it."""
        shown = "" if self.kind in BARE else f": {_shown(self.value)}"
        return f"{WORDS[self.kind]}{shown}{': ' if self.detail else ''}{self.detail}"

    def __str__(self) -> str:
        return f"{self.path}: {self.body}"


def required(path: str, detail: str) -> Fault:
    return Fault(Kind.REQUIRED, path, detail)


def invalid(path: str, value: object, detail: str) -> Fault:
    return Fault(Kind.INVALID, path, detail, value)


def duplicate(path: str, value: object, detail: str = "") -> Fault:
    return Fault(Kind.DUPLICATE, path, detail, value)


def forbidden(path: str, detail: str) -> Fault:
    return Fault(Kind.FORBIDDEN, path, detail)


def not_found(path: str, value: object, detail: str) -> Fault:
    return Fault(Kind.NOT_FOUND, path, detail, value)


def not_supported(path: str, value: object, supported: Iterable[str]) -> Fault:
    """*value* is none of the *supported*."""
    known = ", ".join(json.dumps(each) for each in supported)
    return Fault(Kind.NOT_SUPPORTED, path, f"supported values: {known}", value)


def too_long(path: str, detail: str) -> Fault:
    return Fault(Kind.TOO_LONG, path, detail)


def sentence(faults: Sequence[Fault]) -> str:
    """All of them, as the API server joins them."""
    told = list(dict.fromkeys(map(str, faults)))
    if len(told) > TOLD_MAX:
        told[TOLD_MAX:] = [f"and {len(told) - TOLD_MAX} more"]
    return told[0] if len(told) == 1 else f"[{', '.join(told)}]"


def refusal(group: str, kind: str, name: str, faults: Sequence[Fault]) -> dict[str, Any]:
    """The Status that says that *kind* *name* is invalid, each fault a cause of it."""
    return {
        "status": "Failure",
        "code": 422,
        "reason": "Invalid",
        "message": f"{kind}.{group} {json.dumps(name)} is invalid: {sentence(faults)}",
        "details": {
            "group": group,
            "kind": kind,
            "name": name,
            "causes": [
                {"reason": each.kind, "message": each.body, "field": each.path} for each in faults[:TOLD_MAX]
            ],
        },
    }


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"
