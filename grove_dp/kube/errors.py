"""What the API server refused, and what never reached it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from grove_dp.errors import ConfigurationError, GroveError

__all__ = [
    "AlreadyExists",
    "ApiError",
    "ApiUnreachable",
    "Conflict",
    "Expired",
    "Forbidden",
    "Invalid",
    "NoCluster",
    "NotFound",
    "TooManyRequests",
    "Unauthorized",
    "refused",
]


class ApiError(GroveError):
    """The API server answered with an error; `code` and `why` are its own."""

    reason = "KubernetesRefused"
    status = 502

    def __init__(
        self, call: str, code: int, why: str, message: str, retry_after_s: float | None = None
    ) -> None:
        self.code = code
        self.why = why
        self.retry_after_s = retry_after_s
        super().__init__(f"{call}: {code} {why}: {message}")


class Unauthorized(ApiError):
    """401: it does not know us; the credential is wrong, or its time is over."""


class Forbidden(ApiError):
    """403: it knows us, and we may not."""


class NotFound(ApiError):
    """404: no such object, or no such kind."""


class Conflict(ApiError):
    """409: the object has changed since it was read, or a precondition does not hold."""


class AlreadyExists(ApiError):
    """409: there is an object of that name."""


class Expired(ApiError):
    """410: the API server no longer knows what happened since that version; list again."""


class Invalid(ApiError):
    """422: the object is not a valid one."""


class TooManyRequests(ApiError):
    """429: later, after `retry_after_s` if it is known."""


class ApiUnreachable(GroveError):
    """No answer from the API server; a later try may get one."""

    reason = "KubernetesUnreachable"
    status = 503


class NoCluster(ConfigurationError):
    """Nothing says where the API server is."""

    reason = "NoCluster"


class _Status(msgspec.Struct):
    reason: str = ""
    message: str = ""


_KINDS: Mapping[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Expired,
    422: Invalid,
    429: TooManyRequests,
}


def refused(call: str, code: int, body: bytes, retry_after_s: float | None = None) -> ApiError:
    """The error that an answer with *code* tells; the body is a Status, if the API server itself wrote it."""
    try:
        told = msgspec.json.decode(body, type=_Status)
    except msgspec.DecodeError:
        told = _Status(message=_first_words(body))
    kind = AlreadyExists if told.reason == "AlreadyExists" else _KINDS.get(code, ApiError)
    return kind(call, code, told.reason or "Unknown", told.message or "no message", retry_after_s)


def _first_words(body: Any) -> str:
    text = bytes(body[:200]).decode(errors="replace")
    return " ".join(text.split())
