"""What a vLLM worker says when it will not answer: statuses, bodies, error lines.

The same error has two spellings: compact JSON as an HTTP body, and JSON with spaces inside a stream.
"""

import json
from typing import Any

import msgspec

__all__ = ["DEAD", "DRAINING", "OVERLOADED", "UNEXPECTED", "Refusal", "invalid", "missing", "semantic"]


class Refusal(Exception):
    """An error answer."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.param = status, kind, message, param

    @property
    def error(self) -> dict[str, Any]:
        return {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}

    def body(self) -> bytes:
        return msgspec.json.encode({"error": self.error})

    def line(self) -> bytes:
        """The error as an event of a stream."""
        return f"data: {json.dumps({'error': self.error}, ensure_ascii=False)}\n\n".encode()


OVERLOADED = Refusal(
    503,
    "Service Unavailable",
    "The engine is currently busy and cannot accept new requests. "
    "Please try again later or on a different instance.",
)
DEAD = Refusal(
    500,
    "InternalServerError",
    "EngineCore encountered an issue. See stack trace (above) for the root cause.",
)
DRAINING = Refusal(500, "InternalServerError", "cannot schedule new futures after shutdown")
UNEXPECTED = Refusal(500, "InternalServerError", "Internal server error")


def semantic(message: str, param: str | None = None, value: Any = ...) -> Refusal:
    """A well-formed request that asks for the impossible."""
    if param is not None and value is not ...:
        message += f" (parameter={param}, value={value})"
    elif param is not None:
        message += f" (parameter={param})"
    return Refusal(400, "BadRequestError", message, param)


def invalid(kind: str, where: str, message: str, given: Any, **context: str) -> Refusal:
    """A body of the wrong shape, in the words of the validation library."""
    detail: dict[str, Any] = {"type": kind, "loc": where, "msg": message, "input": _summary(given)}
    if context:
        detail["ctx"] = context
    return Refusal(400, "Bad Request", f"1 validation error:\n  {detail}", where)


def missing(where: str, given: Any) -> Refusal:
    return invalid("missing", where, "Field required", given)


def _summary(given: Any) -> str:
    if isinstance(given, dict | list):
        return f"<{type(given).__name__} of {len(given)} items>"
    return str(given)
