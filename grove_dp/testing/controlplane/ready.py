"""Whether a program of the control plane is ready, and ours.

A port that looked free may be taken a moment later, by another control plane's program that is healthy. etcd
is recognised by its name, the others by a certificate that only our own authority can have signed.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
from collections.abc import Callable

__all__ = ["HOST", "etcd_ready", "server_ready"]

HOST = "127.0.0.1"
TIMEOUT_S = 5


def etcd_ready(port: int, name: str) -> Callable[[], bool]:
    """Looks whether the etcd of this name has a leader."""
    path, member = "/v3/cluster/member/list", f'"{name}"'.encode()

    def look() -> bool:
        connection = http.client.HTTPConnection(HOST, port, timeout=TIMEOUT_S)
        return _answered(connection, "POST", path, b"{}", member)

    return look


def server_ready(port: int, path: str, tls: ssl.SSLContext) -> Callable[[], bool]:
    """Looks whether a server that *tls* trusts answers 200."""

    def look() -> bool:
        connection = http.client.HTTPSConnection(HOST, port, timeout=TIMEOUT_S, context=tls)
        return _answered(connection, "GET", path)

    return look


def _answered(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    containing: bytes = b"",
) -> bool:
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status == 200 and containing in answer.read()
    return False
