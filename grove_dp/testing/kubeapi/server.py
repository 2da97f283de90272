"""The API server without a network: a request in, an answer out, at once.

    handle(method, target, headers, body) ─► trouble on request?    faults
                                          ─► /api, /apis, health?   discovery
                                          ─► which kind?            paths
                                          ─► done                   lists, watches, registry, subresources
                                          ─► what else goes         garbage

Both faces stand above it: `transport` for the same process, `serve` for HTTP on loopback.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

import msgspec

from grove_dp.clock import Clock, SystemClock
from grove_dp.testing.kubeapi import answers
from grove_dp.testing.kubeapi.answers import Document, Refusal
from grove_dp.testing.kubeapi.builtin import CRDS, builtin
from grove_dp.testing.kubeapi.crds import defined
from grove_dp.testing.kubeapi.deletion import DeleteOptions
from grove_dp.testing.kubeapi.discovery import discovered
from grove_dp.testing.kubeapi.faults import Faults
from grove_dp.testing.kubeapi.garbage import Garbage
from grove_dp.testing.kubeapi.lists import Lists, list_body, selector_of
from grove_dp.testing.kubeapi.patches import patched
from grove_dp.testing.kubeapi.paths import Call, Kinds, split
from grove_dp.testing.kubeapi.registry import Registry
from grove_dp.testing.kubeapi.store import WINDOW, Change, Store
from grove_dp.testing.kubeapi.subresources import bind, evict, scale_of, scaled
from grove_dp.testing.kubeapi.watches import WatchReply, watch

__all__ = ["Reply", "Server", "Write"]

JSON: Final = "application/json"
SPACES: Final = ("default", "kube-system", "kube-public", "kube-node-lease")
REMEMBERED: Final = 100_000
UNSERVED: Final = ("dryRun", "sendInitialEvents")


class Reply(msgspec.Struct):
    """A whole answer. *lost*: the caller shall never get it. It is to come *latency_s* from now."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    latency_s: float = 0.0
    lost: bool = False


class Write(msgspec.Struct, frozen=True):
    """One call that meant to change something, and what came of it."""

    method: str
    path: str
    status: int


class Server:
    """One cluster's API. *window*: changes of a kind that a late watch can still be told."""

    def __init__(
        self, clock: Clock | None = None, rng: Random | None = None, *, window: int = WINDOW
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.store = Store(window)
        self.kinds = Kinds(builtin())
        self.registry = Registry(self.store, self.clock, rng or Random())
        self.garbage = Garbage(self.store, self.registry, self.kinds.of_table)
        self.writes: deque[Write] = deque(maxlen=REMEMBERED)
        self._lists = Lists(self.store)
        self.faults = Faults(self.store, self._lists)
        self.store.listeners.append(self._serve_defined)
        self._verbs: dict[str, Callable[[Call, Mapping[str, str], bytes], Reply | WatchReply]] = {
            "GET": self._read,
            "POST": self._create,
            "PUT": self._update,
            "PATCH": self._update,
            "DELETE": self._delete,
        }
        for name in SPACES:
            self.handle("POST", "/api/v1/namespaces", {}, msgspec.json.encode({"metadata": {"name": name}}))
        self.writes.clear()

    def handle(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> Reply | WatchReply:
        """Do what is asked, and answer."""
        path, query = split(target)
        trouble = self.faults.meet(method, path, headers)
        if trouble.lost == "call":
            return Reply(0, b"", {}, lost=True)
        try:
            if trouble.refusal is not None:
                raise trouble.refusal
            reply = self._answer(method, path, query, headers, body or b"")
        except msgspec.DecodeError as error:
            reply = _json(answers.bad_request(f"the body cannot be read: {error}").document(), 400)
        except Refusal as refusal:
            reply = _json(refusal.document(), refusal.code, refusal.headers)
        if method != "GET":
            self.writes.append(Write(method, path, reply.status))
            self.garbage.collect()
        reply.latency_s, reply.lost = trouble.latency_s, trouble.lost == "answer"
        return reply

    def _answer(
        self, method: str, path: str, query: dict[str, str], headers: Mapping[str, str], body: bytes
    ) -> Reply | WatchReply:
        for name in UNSERVED:
            if name in query:
                raise answers.bad_request(f"{name} is not served here: ask a real API server")
        call = self.kinds.call(method, path, query)
        if call is None:
            if self.kinds.knows_version_of(path):
                raise _no_resource()
            return self._other(path)
        if (do := self._verbs.get(method)) is None:
            raise _not_allowed()
        return do(call, headers, body)

    def _other(self, path: str) -> Reply:
        found = discovered(path, self.kinds)
        if found is None:
            return Reply(404, b"404 page not found\n", {"Content-Type": "text/plain; charset=utf-8"})
        if isinstance(found, str):
            return Reply(200, found.encode(), {"Content-Type": "text/plain; charset=utf-8"})
        return _json(found)

    # ------------------------------------------------------------ verbs

    def _read(self, call: Call, headers: Mapping[str, str], body: bytes) -> Reply | WatchReply:
        if call.flag("watch"):
            reply = watch(self.store, call)
            if self.faults.gone_in_status and reply.refusal is not None:
                raise reply.refusal
            return reply
        if not call.name:
            return Reply(200, self._lists.body(call), {"Content-Type": JSON})
        stored = self.registry.get(call.kind, call.key)
        if call.sub == "scale" and call.kind.scale is not None:
            return _json(scale_of(call.kind, call.kind.scale, stored))
        if call.sub not in ("", "status"):
            raise _no_resource()
        return Reply(200, call.kind.encode(stored), {"Content-Type": JSON})

    def _create(self, call: Call, headers: Mapping[str, str], body: bytes) -> Reply:
        if call.sub and call.kind.resource == ("", "pods"):
            acts = {"binding": bind, "eviction": evict}
            if call.sub in acts:
                return _json(acts[call.sub](self.registry, call.kind, call.key, body), 201)
        if call.name or (call.kind.namespaced and not call.namespace):
            raise _not_allowed()
        document = _object(call, body)
        stored = self.registry.create(call.kind, call.namespace, document, _strict(call))
        return Reply(201, call.kind.encode(stored), {"Content-Type": JSON})

    def _update(self, call: Call, headers: Mapping[str, str], body: bytes) -> Reply:
        if not call.name:
            raise _not_allowed()
        put = call.method == "PUT"
        change = self._change(call, headers, body)
        if call.sub == "scale" and call.kind.scale is not None:
            return _json(scaled(self.registry, call.kind, call.kind.scale, call.key, change))
        if call.sub and not (call.sub == "status" and call.kind.status):
            raise _no_resource()
        stored = self.registry.update(
            call.kind, call.key, change, sub=call.sub, put=put, strict=_strict(call)
        )
        return Reply(200, call.kind.encode(stored), {"Content-Type": JSON})

    def _change(self, call: Call, headers: Mapping[str, str], body: bytes) -> Callable[[Document], Document]:
        if call.method == "PUT":
            document = _object(call, body)
            return lambda _: document
        content = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
        return lambda document: patched(document, content, body)

    def _delete(self, call: Call, headers: Mapping[str, str], body: bytes) -> Reply:
        options = _options(call, body)
        if not call.name:
            return self._delete_all(call, options)
        if call.sub:
            raise _not_allowed()
        stored, gone = self.registry.delete(call.kind, call.key, options)
        if gone and not call.kind.rules.returned:
            kind = call.kind
            details = {"name": call.name, "group": kind.group, "kind": kind.plural, "uid": stored.uid}
            return _json(answers.success(details))
        return Reply(200, call.kind.encode(stored), {"Content-Type": JSON})

    def _delete_all(self, call: Call, options: DeleteOptions) -> Reply:
        selector = selector_of(call)
        found = self.store.table(call.kind.resource).list(call.namespace)
        chosen = [stored for stored in found if selector is None or selector(stored.document)]
        for stored in chosen:
            self.registry.delete(call.kind, stored.key, options)
        body = list_body(call.kind, chosen, {"resourceVersion": str(self.store.version)})
        return Reply(200, body, {"Content-Type": JSON})

    # ------------------------------------------------------------ definitions

    def _serve_defined(self, resource: tuple[str, str], change: Change) -> None:
        """What a CustomResourceDefinition says is served from now on, and no longer than it."""
        if resource != CRDS.resource:
            return
        spec = change.last.document["spec"]
        group, plural = spec["group"], spec["names"]["plural"]
        self.kinds.remove(group, plural)
        if change.new is not None:
            for kind in defined(change.new.document):
                self.kinds.add(kind)
            return
        table = self.store.table((group, plural))
        for stored in table.list():
            self.store.remove((group, plural), stored)


def _json(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, msgspec.json.encode(document), {"Content-Type": JSON, **(headers or {})})


def _object(call: Call, body: bytes) -> Document:
    """The document in a request's body, if it is one of the right kind."""
    try:
        document = msgspec.json.decode(body, type=Document)
    except msgspec.DecodeError as error:
        raise answers.bad_request(
            f"the object provided is unrecognized (must be of type {call.kind.kind}): {error}"
        ) from None
    if call.sub == "scale":
        return document
    said, known = document.get("apiVersion", call.kind.api_version), call.kind.api_version
    if said != known:
        words = f"the API version in the data ({said}) does not match the expected API version ({known})"
        raise answers.bad_request(words)
    if (kind := document.get("kind", call.kind.kind)) != call.kind.kind:
        raise _wrong_kind(call, document, kind)
    return document


def _wrong_kind(call: Call, document: Document, said: str) -> Refusal:
    wanted = call.kind.kind
    if not call.kind.custom:
        words = f'{said} in version "{call.kind.version}" cannot be handled as a {wanted}: unknown conversion'
        return answers.bad_request(words)
    name = (document.get("metadata") or {}).get("name", "")
    cause = answers.invalid_value("kind", said, f"must be {wanted}")
    return answers.invalid(call.kind.group, said, name, [cause])


def _options(call: Call, body: bytes) -> DeleteOptions:
    if body:
        try:
            return msgspec.json.decode(body, type=DeleteOptions)
        except msgspec.DecodeError as error:
            raise answers.bad_request(f"DeleteOptions cannot be read: {error}") from None
    grace = call.query.get("gracePeriodSeconds", "")
    return DeleteOptions(int(grace) if grace else None, call.query.get("propagationPolicy"))


def _strict(call: Call) -> bool:
    return call.query.get("fieldValidation") == "Strict"


def _not_allowed() -> Refusal:
    words = "the server does not allow this method on the requested resource"
    return Refusal(405, "MethodNotAllowed", words, {})


def _no_resource() -> Refusal:
    return Refusal(404, "NotFound", "the server could not find the requested resource", {})
