"""Who may change workers through the control port: rules, the first that objects answers.

Whoever may change workers may take the service away. So: a token where one is set, only loopback where none
is, and never a page of another site in a browser on this machine (it needs no token to reach loopback).
"""

import hmac
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from grove_dp.errors import ClientFault, ConfigurationError, GroveError
from grove_dp.settings import Admin

__all__ = ["Forbidden", "Unauthorized", "check_change", "read_token"]


class Unauthorized(ClientFault):
    """A changing call without the token."""

    reason = "Unauthorized"
    status = 401


class Forbidden(ClientFault):
    """A changing call that is not allowed from there."""

    reason = "Forbidden"
    status = 403


def check_change(admin: Admin, headers: Mapping[str, str]) -> None:
    """Raise what is against a changing call with these headers."""
    token = read_token(Path(admin.token_file)) if admin.token_file else None
    call = Call(_is_loopback(admin.host), token, headers)
    objection = next((found for check in CHANGE_CHECKS if (found := check(call))), None)
    if objection is not None:
        raise objection


class Call(NamedTuple):
    """What decides whether a changing call may pass."""

    loopback: bool
    token: str | None
    headers: Mapping[str, str]


def _has_the_token(call: Call) -> GroveError | None:
    given = call.headers.get("Authorization", "").encode()
    if call.token is None or hmac.compare_digest(given, f"Bearer {call.token}".encode()):
        return None
    return Unauthorized("send `Authorization: Bearer TOKEN` with the token of admin.token_file")


def _is_local_without_one(call: Call) -> GroveError | None:
    if call.token is not None or call.loopback:
        return None
    return Forbidden("admin.host is not loopback and no token is set; set admin.token_file")


def _is_no_other_site(call: Call) -> GroveError | None:
    origin = call.headers.get("Origin")
    if origin is None or urlsplit(origin).netloc == call.headers.get("Host"):
        return None
    return Forbidden(f"a page of {origin} may not change workers")


CHANGE_CHECKS: tuple[Callable[[Call], GroveError | None], ...] = (
    _has_the_token,
    _is_local_without_one,
    _is_no_other_site,
)


def read_token(path: Path) -> str:
    """The token, read at each use: a rotated Secret holds at once. ConfigurationError names the file."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: admin.token_file cannot be read: {error}") from None
    if not token:
        raise ConfigurationError(f"{path}: admin.token_file is empty; write a long random word into it")
    return token


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
