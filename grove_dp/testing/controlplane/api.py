"""A small client of the Kubernetes API, and who calls: `Access` is a user, `Api` makes that user's calls.

It blocks, and any thread may use it: a connection is taken from the idle ones, or made, and put back after
the answer. Asyncio code calls it through `asyncio.to_thread`. Documents are plain dicts as they travel.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import msgspec

from grove_dp.errors import GroveError
from grove_dp.testing.controlplane.certificates import Credential

__all__ = ["Access", "Api", "ApiRefused", "Document", "Reply", "Watch", "write_kubeconfig"]

Document = dict[str, Any]
TIMEOUT_S = 30.0
POLL_S = 0.02
PATCHES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


class Access(msgspec.Struct, frozen=True):
    """One user's way to the API server: a certificate, a token, or neither."""

    host: str
    port: int
    authority: Path
    kubeconfig: Path
    credential: Credential | None = None
    token: str | None = None

    def tls(self) -> ssl.SSLContext:
        """Trusts the control plane's authority and shows the user's certificate."""
        context = ssl.create_default_context(cafile=self.authority)
        if self.credential is not None:
            context.load_cert_chain(self.credential.certificate, self.credential.key)
        return context

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}"


class ApiRefused(GroveError):
    """The API server answered with a Status instead of what was asked for."""

    reason = "ApiRefused"

    def __init__(self, code: int, status: Document, what: str) -> None:
        self.code = code
        self.word: str = status.get("reason", "")  # NotFound, Conflict, Forbidden, ...
        self.message: str = status.get("message", "")
        super().__init__(f"{what}: {code} {self.word}: {self.message}")


class Reply(msgspec.Struct, frozen=True):
    """Any answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Document:
        """The body as a document."""
        return msgspec.json.decode(self.body, type=Document)


class Api:
    """Calls as one user. Close it, or use it in a `with`."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._tls = access.tls()
        self._idle: deque[http.client.HTTPSConnection] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()

    # ------------------------------------------------------------ documents

    def get(self, path: str, **query: str) -> Document:
        """GET, as a document."""
        return self._document("GET", _with_query(path, query))

    def create(self, path: str, document: Document) -> Document:
        """POST to a collection. Unknown fields are refused: by default the server drops them silently."""
        return self._document("POST", _with_query(path, {"fieldValidation": "Strict"}), document)

    def update(self, path: str, document: Document) -> Document:
        """PUT."""
        return self._document("PUT", path, document)

    def patch(self, path: str, change: Any, kind: str = "merge", **query: str) -> Document:
        """PATCH; *kind* is merge, strategic, json or apply."""
        return self._document("PATCH", _with_query(path, query), change, PATCHES[kind])

    def delete(self, path: str, **options: Any) -> Document:
        """DELETE with DeleteOptions: `delete(path, gracePeriodSeconds=0)`."""
        return self._document("DELETE", path, options or None)

    def until(self, path: str, good: Callable[[Document], bool], within_s: float, what: str) -> Document:
        """Get it again and again until it is good; not being there yet is only not good."""
        deadline = time.monotonic() + within_s
        while True:
            reply = self.call("GET", path)
            if reply.status == 200 and good(seen := reply.json()):
                return seen
            if time.monotonic() > deadline:
                last = reply.body.decode(errors="replace")
                raise AssertionError(f"not within {within_s:g} s: {what}; seen last: {reply.status} {last}")
            time.sleep(POLL_S)

    def watch(self, path: str, **query: str) -> Watch:
        """What is there and what changes, as it happens."""
        return Watch(self.connection(None), _with_query(path, query | {"watch": "1"}), self._headers({}))

    # ------------------------------------------------------------ calls

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One call, whatever it answers."""
        if (idle := self._idle_connection()) is not None:
            try:
                return self._exchange(idle, method, path, body, headers or {})
            except (http.client.HTTPException, OSError):  # the server closed it while it was idle
                idle.close()
        return self._exchange(self.connection(TIMEOUT_S), method, path, body, headers or {})

    def _idle_connection(self) -> http.client.HTTPSConnection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def connection(self, timeout_s: float | None) -> http.client.HTTPSConnection:
        """A connection of its own, for the caller to close."""
        return http.client.HTTPSConnection(
            self.access.host, self.access.port, context=self._tls, timeout=timeout_s
        )

    def _exchange(
        self,
        connection: http.client.HTTPSConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> Reply:
        try:
            connection.request(method, path, body, self._headers(headers))
            answer = connection.getresponse()
            reply = Reply(answer.status, dict(answer.headers), answer.read())
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return reply

    def _document(
        self, method: str, path: str, document: Any = None, content: str = "application/json"
    ) -> Document:
        body = None if document is None else msgspec.json.encode(document)
        reply = self.call(method, path, body, {"Content-Type": content})
        if reply.status < 300:
            return reply.json()
        try:
            status = reply.json()
        except msgspec.DecodeError:
            status = {"message": reply.body.decode(errors="replace")}
        raise ApiRefused(reply.status, status, f"{method} {path}")

    def _headers(self, more: Mapping[str, str]) -> dict[str, str]:
        token = self.access.token
        return {
            "Accept": "application/json",
            **({"Authorization": f"Bearer {token}"} if token else {}),
            **more,
        }


class Watch:
    """Events of one watch: (type, object). Ends when the server ends it, or by `close` from any thread."""

    def __init__(
        self, connection: http.client.HTTPSConnection, path: str, headers: Mapping[str, str]
    ) -> None:
        self._connection = connection
        connection.request("GET", path, headers=dict(headers))
        self._socket = connection.sock
        self._answer = connection.getresponse()
        if self._answer.status != 200:
            text = self._answer.read().decode(errors="replace")
            connection.close()
            raise ApiRefused(self._answer.status, {"message": text}, f"watch {path}")

    def __iter__(self) -> Iterator[tuple[str, Document]]:
        try:
            while line := self._answer.readline():
                event = msgspec.json.decode(line)
                yield event["type"], event["object"]
        except (http.client.HTTPException, OSError):
            return
        finally:
            self._connection.close()

    def close(self) -> None:
        """End the iteration. The socket is shut below TLS: a reading thread would trip on its shutdown."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def write_kubeconfig(access: Access) -> None:
    """The file that kubectl, the components and every client library read. It stands alone: no paths."""
    user: Document = {}
    if access.credential is not None:
        user["client-certificate-data"] = _base64(access.credential.certificate)
        user["client-key-data"] = _base64(access.credential.key)
    if access.token is not None:
        user["token"] = access.token
    cluster = {"server": access.url, "certificate-authority-data": _base64(access.authority)}
    name = "controlplane"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
        "current-context": name,
    }
    access.kubeconfig.touch(mode=0o600)
    access.kubeconfig.write_bytes(msgspec.json.format(msgspec.json.encode(document)))  # JSON is YAML


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _with_query(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(query)}" if query else path
