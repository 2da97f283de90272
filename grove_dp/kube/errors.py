"""What the API server refused, and what never reached it."""

from typing import Any

import msgspec

from grove_dp.errors import ConfigurationError, GroveError

__all__ = ["ApiError", "ApiUnreachable", "NoCluster", "refused"]


class ApiError(GroveError):
    """The API server answered with an error; `code` and `why` are its own."""

    reason = "KubernetesRefused"
    status = 502

    def __init__(self, call: str, code: int, why: str, message: str) -> None:
        self.code = code
        self.why = why
        super().__init__(f"{call}: {code} {why}: {message}")


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


def refused(call: str, code: int, body: bytes) -> ApiError:
    """The error that an answer with *code* tells; the body is a Status, if the API server itself wrote it."""
    try:
        told = msgspec.json.decode(body, type=_Status)
    except msgspec.DecodeError:
        told = _Status(message=_first_words(body))
    return ApiError(call, code, told.reason or "Unknown", told.message or "no message")


def _first_words(body: Any) -> str:
    text = bytes(body[:200]).decode(errors="replace")
    return " ".join(text.split())
