"""Calls to the Kubernetes API: paths and documents in, Structs of the few fields wanted out.

    async with await connect() as api:
        found = await api.get("/api/v1/namespaces/kube-system/configmaps/x", into=ConfigMap)
        await api.merge(PODS.path("web", "a"), {"metadata": {"labels": {"grove.io/x": "1"}}})

Writes are patches of the fields that are ours, never a document that was read before: it would take away what
a newer server knows and our Structs do not. A server that says when to come again (429, and 5xx with
Retry-After) is asked again as long as the call's time lasts; everything else is the caller's to judge.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar, overload
from urllib.parse import urlencode

import msgspec

from grove_dp.kube.errors import ApiUnreachable, refused
from grove_dp.kube.transport import Answer, Stream, Transport

__all__ = ["Access", "connect"]

T = TypeVar("T")
Document = dict[str, Any]

TIMEOUT_S: Final = 10.0
JSON: Final = "application/json"
MERGE: Final = "application/merge-patch+json"
OPERATIONS: Final = "application/json-patch+json"
APPLY: Final = "application/apply-patch+yaml"  # JSON is YAML
NO_QUERY: Final[Mapping[str, str]] = {}
USER_AGENT: Final = "grove-dp"


async def connect(kubeconfig: Path | None = None, context: str | None = None) -> "Access":
    """The cluster of *kubeconfig*; without one that of $KUBECONFIG, of our pod, or of ~/.kube/config.

    NoCluster says what was looked for.
    """
    from grove_dp.kube.cluster import open_cluster  # PERF: 300 ms; tests and the demo need none

    return Access(await open_cluster(kubeconfig, context))


class Access:
    """One API server, as one user."""

    def __init__(self, transport: Transport) -> None:
        """*transport* carries the calls, and is closed with this."""
        self._transport = transport
        self.host = transport.host
        self.namespace = transport.namespace

    async def close(self) -> None:
        """Close its connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # ------------------------------------------------------------ reading

    @overload
    async def get(
        self, path: str, *, query: Mapping[str, str] = ..., timeout_s: float | None = ...
    ) -> Document: ...
    @overload
    async def get(
        self, path: str, *, into: type[T], query: Mapping[str, str] = ..., timeout_s: float | None = ...
    ) -> T: ...
    async def get(
        self,
        path: str,
        *,
        into: Any = Document,
        query: Mapping[str, str] = NO_QUERY,
        timeout_s: float | None = None,
    ) -> Any:
        """Read one object or a list. *into* is a Struct of the fields wanted, or msgspec.Raw: the bytes."""
        return await self._call("GET", path, into, query, timeout_s=timeout_s)

    def stream(self, path: str, query: Mapping[str, str]) -> AbstractAsyncContextManager[Stream]:
        """An open GET, for watches; see `grove_dp.kube.informer`. No time limit but the server's."""
        return self._transport.stream(_target(path, query), {"Accept": JSON, "User-Agent": USER_AGENT})

    # ------------------------------------------------------------ writing

    @overload
    async def create(self, path: str, document: Mapping[str, Any]) -> Document: ...
    @overload
    async def create(self, path: str, document: Mapping[str, Any], *, into: type[T]) -> T: ...
    async def create(self, path: str, document: Mapping[str, Any], *, into: Any = Document) -> Any:
        """POST *document* to a collection or a sub-resource (a binding, an eviction), or ask a review."""
        return await self._call("POST", path, into, NO_QUERY, document, JSON)

    @overload
    async def update(self, path: str, document: Mapping[str, Any]) -> Document: ...
    @overload
    async def update(self, path: str, document: Mapping[str, Any], *, into: type[T]) -> T: ...
    async def update(self, path: str, document: Mapping[str, Any], *, into: Any = Document) -> Any:
        """PUT a document that is ours as a whole, such as a Scale."""
        return await self._call("PUT", path, into, NO_QUERY, document, JSON)

    @overload
    async def merge(
        self, path: str, patch: Mapping[str, Any], *, query: Mapping[str, str] = ...
    ) -> Document: ...
    @overload
    async def merge(
        self, path: str, patch: Mapping[str, Any], *, into: type[T], query: Mapping[str, str] = ...
    ) -> T: ...
    async def merge(
        self,
        path: str,
        patch: Mapping[str, Any],
        *,
        into: Any = Document,
        query: Mapping[str, str] = NO_QUERY,
    ) -> Any:
        """Merge-patch an object; with `metadata.resourceVersion` only if it has not changed since (409)."""
        return await self._call("PATCH", path, into, query, patch, MERGE)

    @overload
    async def json_patch(self, path: str, operations: Sequence[Mapping[str, Any]]) -> Document: ...
    @overload
    async def json_patch(self, path: str, operations: Sequence[Mapping[str, Any]], *, into: type[T]) -> T: ...
    async def json_patch(
        self, path: str, operations: Sequence[Mapping[str, Any]], *, into: Any = Document
    ) -> Any:
        """Patch by operations (RFC 6902); a `test` that fails is a 422."""
        return await self._call("PATCH", path, into, NO_QUERY, operations, OPERATIONS)

    async def apply(
        self, path: str, document: Mapping[str, Any], manager: str, *, force: bool = False
    ) -> Document:
        """Server-side apply: make it so, as owner *manager* of the fields; 409 where another owns one."""
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        applied: Document = await self._call("PATCH", path, Document, query, document, APPLY)
        return applied

    async def delete(
        self,
        path: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_s: int | None = None,
        propagation: str | None = None,
        query: Mapping[str, str] = NO_QUERY,
        timeout_s: float | None = None,
    ) -> Document:
        """Delete an object, or with selectors in *query* the objects of a collection; 404 if there is none.

        *uid* and *resource_version* are preconditions (409): a delete meant for one object must not hit its
        successor of the same name. *propagation*: Background, Foreground or Orphan.
        """
        known = {"uid": uid, "resourceVersion": resource_version}
        preconditions = {name: value for name, value in known.items() if value is not None}
        options = {
            "gracePeriodSeconds": grace_s,
            "propagationPolicy": propagation,
            "preconditions": preconditions or None,
        }
        said = {name: value for name, value in options.items() if value is not None}
        deleted: Document = await self._call(
            "DELETE", path, Document, query, said or None, JSON, timeout_s=timeout_s
        )
        return deleted

    # ------------------------------------------------------------ the call

    async def _call(
        self,
        method: str,
        path: str,
        into: Any,
        query: Mapping[str, str],
        document: Any = None,
        content: str = JSON,
        timeout_s: float | None = None,
    ) -> Any:
        called = f"{method} {path}"
        limit_s = timeout_s or TIMEOUT_S
        headers = {"Accept": JSON, "User-Agent": USER_AGENT}
        body = None
        if document is not None:
            headers["Content-Type"] = content
            body = msgspec.json.encode(document)
        try:
            answer = await self._answer(method, _target(path, query), headers, body, limit_s)
        except TimeoutError:
            raise ApiUnreachable(f"{called}: no answer from {self.host} in {limit_s:g} s") from None
        except OSError as error:
            raise ApiUnreachable(f"{called}: {self.host} cannot be reached: {error}") from None
        if answer.status >= 300:
            raise refused(called, answer.status, answer.body, _retry_after_s(answer.headers))
        try:
            return msgspec.json.decode(answer.body, type=into)
        except msgspec.DecodeError as error:
            raise ApiUnreachable(f"{called}: {self.host} answered something else: {error}") from None

    async def _answer(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None, limit_s: float
    ) -> Answer:
        """The answer; a server that wants us later is asked again while the time lasts."""
        loop = asyncio.get_running_loop()
        end = loop.time() + limit_s
        while True:
            async with asyncio.timeout_at(end):
                answer = await self._transport.exchange(method, target, headers, body)
            if answer.status != 429 and answer.status < 500:
                return answer
            later_s = _retry_after_s(answer.headers)
            if later_s is None or loop.time() + later_s >= end:
                return answer
            await asyncio.sleep(later_s)


def _target(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds of Retry-After; the API server writes no dates there."""
    try:
        return max(float(headers["retry-after"]), 0.0)
    except (KeyError, ValueError):
        return None
