"""What the API server says when it refuses: Status documents, word by word as the real one writes them.

Clients decide by `code` and `reason`, people read `message`, and validation tools read `details.causes`; all
four are part of the API. A `Refusal` is raised anywhere below `Server.handle`, which turns it into an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

__all__ = [
    "Cause",
    "Document",
    "Refusal",
    "already_exists",
    "bad_request",
    "conflict",
    "expired",
    "forbidden",
    "forbidden_value",
    "internal",
    "invalid",
    "invalid_value",
    "not_found",
    "required",
    "success",
]

Document = dict[str, Any]
JSON: Final = "application/json"


class Cause(msgspec.Struct, frozen=True):
    """One fault of one field. *type* is the word for machines: FieldValueInvalid, FieldValueRequired, ..."""

    type: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class Refusal(Exception):
    """An answer that is not the one asked for."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.code = code
        self.reason = reason
        self.details = None if details is None else {name: of for name, of in details.items() if of}
        self.headers = headers or {}
        super().__init__(message)

    def document(self) -> Document:
        """The Status."""
        status: Document = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        return {**status, "code": self.code}


def success(details: Mapping[str, Any] | None = None, code: int | None = None) -> Document:
    """The Status of a deletion that left nothing, or of a sub-resource that is an act."""
    status: Document = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details:
        status["details"] = {name: value for name, value in details.items() if value}
    if code is not None:
        status["code"] = code
    return status


# ------------------------------------------------------------ about a resource


def resource_name(group: str, plural: str) -> str:
    """As messages name it: `pods`, `deployments.apps`."""
    return f"{plural}.{group}" if group else plural


def not_found(group: str, plural: str, name: str) -> Refusal:
    """404: no such object."""
    message = f'{resource_name(group, plural)} "{name}" not found'
    return Refusal(404, "NotFound", message, {"name": name, "group": group, "kind": plural})


def already_exists(group: str, plural: str, name: str, generated: bool = False) -> Refusal:
    """409: the name is taken; *generated*: it was the server that chose it."""
    message = f'{resource_name(group, plural)} "{name}" already exists'
    details: Document = {"name": name, "group": group, "kind": plural}
    if generated:
        message += ", the server was not able to generate a unique name for the object"
        details["retryAfterSeconds"] = 1
    return Refusal(409, "AlreadyExists", message, details)


def conflict(group: str, plural: str, name: str, why: str) -> Refusal:
    """409: it is not what the caller believes it to be."""
    message = f'Operation cannot be fulfilled on {resource_name(group, plural)} "{name}": {why}'
    return Refusal(409, "Conflict", message, {"name": name, "group": group, "kind": plural})


def other_uid(group: str, plural: str, key: tuple[str, str], said: str, known: str) -> Refusal:
    """409: an object of that name, but not the one that was meant."""
    where = "/".join(part for part in ("/registry", group, plural, *key) if part)
    why = (
        f"StorageError: invalid object, Code: 4, Key: {where}, ResourceVersion: 0, AdditionalErrorMsg: "
        f"Precondition failed: UID in precondition: {said}, UID in object meta: {known}"
    )
    return conflict(group, plural, key[1], why)


def forbidden(
    group: str, plural: str, name: str, why: str, causes: Sequence[Mapping[str, str]] = ()
) -> Refusal:
    """403."""
    message = f'{resource_name(group, plural)} "{name}" is forbidden: {why}'
    details = {"name": name, "group": group, "kind": plural, "causes": list(causes)}
    return Refusal(403, "Forbidden", message, details)


def invalid(group: str, kind: str, name: str, causes: Iterable[Cause]) -> Refusal:
    """422: every fault at once."""
    told = list(dict.fromkeys(causes))  # the real one drops repetitions from the message, not from the causes
    listed = str(told[0]) if len(told) == 1 else f"[{', '.join(map(str, told))}]"
    message = f'{resource_name(group, kind)} "{name}" is invalid: {listed}'
    shown = [{"reason": cause.type, "message": cause.message, "field": cause.field} for cause in told]
    return Refusal(422, "Invalid", message, {"name": name, "group": group, "kind": kind, "causes": shown})


# ------------------------------------------------------------ about a call


def bad_request(message: str) -> Refusal:
    """400."""
    return Refusal(400, "BadRequest", message)


def expired(message: str) -> Refusal:
    """410: that version is no longer known."""
    return Refusal(410, "Expired", message)


def internal(message: str) -> Refusal:
    """500."""
    whole = f"Internal error occurred: {message}"
    return Refusal(500, "InternalError", whole, {"causes": [{"message": message}]})


# ------------------------------------------------------------ about a field


def invalid_value(field: str, value: Any, detail: str) -> Cause:
    """It is there, and wrong."""
    return Cause("FieldValueInvalid", field, f"Invalid value: {shown(value)}: {detail}")


def required(field: str, detail: str = "") -> Cause:
    """It is not there."""
    return Cause("FieldValueRequired", field, f"Required value: {detail}" if detail else "Required value")


def forbidden_value(field: str, detail: str) -> Cause:
    """It may not be changed, or not be there."""
    return Cause("FieldValueForbidden", field, f"Forbidden: {detail}")


def shown(value: Any) -> str:
    """A value as messages quote it; maps by their keys in order."""
    return msgspec.json.encode(value, order="sorted" if isinstance(value, dict) else None).decode()
