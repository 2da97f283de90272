"""Paths of a simulated worker: what each answers, and the switches for faults.

The table has vLLM's paths; `/sim/*` is ours. Generating endpoints turn their body into an `Ask` and give it
to the worker; all others answer at once.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from grove_dp.sim.asks import Ask, body_of
from grove_dp.sim.chat_reply import ChatReply
from grove_dp.sim.completion_reply import CompletionReply
from grove_dp.sim.event_replies import MessagesReply, ResponsesReply
from grove_dp.sim.faults import Fault
from grove_dp.sim.http import Handler, Reply, Request
from grove_dp.sim.metrics import CONTENT_TYPE, render
from grove_dp.sim.refusals import UNEXPECTED, Refusal
from grove_dp.sim.replies import Dialect, Face, to_json

if TYPE_CHECKING:
    from grove_dp.sim.worker import SimWorker

__all__ = ["DIALECTS", "ID_PREFIX", "Routes"]

DIALECTS: dict[str, Callable[[Ask, Face], Dialect]] = {
    "chat": ChatReply,
    "completion": CompletionReply,
    "responses": ResponsesReply,
    "messages": MessagesReply,
}
ID_PREFIX = {"chat": "chatcmpl-", "completion": "cmpl-", "responses": "resp_", "messages": "chatcmpl-"}

_LOG = logging.getLogger(__name__)

GUARDED = ("/v1", "/v2", "/inference", "/cohere")
NO_SCALE_OUT = Refusal(
    403,
    "PermissionDeniedError",
    "Scale-out endpoints are disabled. Restart vllm serve with --enable-scale-out to enable them.",
)
SCALE_OUT = (
    "/v1/chat/completions/render",
    "/v1/completions/render",
    "/v1/messages/render",
    "/v1/responses/render",
    "/inference/v1/generate",
    "/inference/v1/abort_requests",
)


class Routes:
    """The paths of one worker."""

    def __init__(self, worker: SimWorker) -> None:
        self._worker = worker
        reader = worker.reader
        self._table: dict[str, dict[str, Handler]] = {
            "/health": {"GET": self._health},
            "/ping": {"GET": self._health, "POST": self._health},
            "/version": {"GET": self._version},
            "/load": {"GET": self._load},
            "/metrics": {"GET": self._metrics},
            "/kv_event_sources": {"GET": self._kv_event_sources},
            "/v1/models": {"GET": self._models},
            "/tokenize": {"POST": self._tokenize},
            "/detokenize": {"POST": self._detokenize},
            "/v1/chat/completions": {"POST": self._generate(reader.chat)},
            "/v1/chat/completions/batch": {"POST": self._generate(reader.chat_batch)},
            "/v1/completions": {"POST": self._generate(reader.completion)},
            "/v1/responses": {"POST": self._generate(reader.responses)},
            "/v1/messages": {"POST": self._generate(reader.messages)},
            "/v1/messages/count_tokens": {"POST": self._count_tokens},
            "/sim/fault": {"POST": self._fault},
            "/sim/state": {"GET": self._state},
            **{path: {"POST": self._no_scale_out} for path in SCALE_OUT},
        }
        if worker.settings.server_dev_mode:
            self._table["/reset_prefix_cache"] = {"POST": self._reset_prefix_cache}
        if worker.settings.enable_tokenizer_info_endpoint:
            self._table["/tokenizer_info"] = {"GET": self._tokenizer_info}

    def answer(self, request: Request, reply: Reply) -> None:
        """Answer one request, now or when the engine has."""
        fault = self._worker.current_fault
        if (
            fault.kind == "hang"
            and fault.count is None
            and not fault.after_events
            and request.path[:5] != "/sim/"
        ):
            return
        if not self._allowed(request):
            reply.whole(401, b'{"error":"Unauthorized"}', vary=False)
            return
        _answer(self._table, request, reply)

    @staticmethod
    def admin_of(workers: Sequence[SimWorker]) -> Handler:
        """The paths of the admin port: the faults and states of all workers."""

        def state(worker: SimWorker) -> Handler:
            return lambda _, reply: reply.whole(200, to_json(worker.state()))

        def fault(worker: SimWorker) -> Handler:
            return lambda request, reply: _set_fault(worker, request, reply)

        table: dict[str, dict[str, Handler]] = {
            "/workers": {"GET": lambda _, reply: reply.whole(200, to_json([w.state() for w in workers]))}
        }
        for n, worker in enumerate(workers):
            table[f"/workers/{n}/state"] = {"GET": state(worker)}
            table[f"/workers/{n}/fault"] = {"POST": fault(worker)}

        return lambda request, reply: _answer(table, request, reply)

    def _allowed(self, request: Request) -> bool:
        key = self._worker.settings.api_key
        if key is None or request.method == "OPTIONS" or not request.path.startswith(GUARDED):
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), key.encode())

    def _generate(self, read: Callable[[dict[str, Any], Mapping[str, str]], Ask]) -> Handler:
        def handler(request: Request, reply: Reply) -> None:
            self._worker.serve(read(body_of(request), request.headers), reply, request)

        return handler

    def _health(self, _: Request, reply: Reply) -> None:
        reply.whole(503 if self._worker.dead else 200, content_type=None)

    def _version(self, _: Request, reply: Reply) -> None:
        reply.whole(200, to_json({"version": self._worker.settings.release}))

    def _load(self, _: Request, reply: Reply) -> None:
        reply.whole(200, b'{"server_load":0}')

    def _metrics(self, _: Request, reply: Reply) -> None:
        reply.whole(200, render([(rank.metrics, rank.engine) for rank in self._worker.ranks]), CONTENT_TYPE)

    def _kv_event_sources(self, _: Request, reply: Reply) -> None:
        ranks = [(str(rank.number), rank.publisher) for rank in self._worker.ranks]
        reply.whole(200, to_json({number: source.facts for number, source in ranks if source is not None}))

    def _reset_prefix_cache(self, _: Request, reply: Reply) -> None:
        reply.whole(200, to_json({"success": self._worker.reset_prefix_cache()}))

    def _models(self, _: Request, reply: Reply) -> None:
        worker, settings = self._worker, self._worker.settings
        cards = [
            self._card(name, root=settings.tokenizer, parent=None, length=settings.model_len)
            for name in settings.models
        ]
        cards += [
            self._card(adapter.name, root=adapter.path, parent=settings.models[0], length=None)
            for adapter in worker.settings.adapters
        ]
        reply.whole(200, to_json({"object": "list", "data": cards}))

    def _card(self, name: str, *, root: str, parent: str | None, length: int | None) -> dict[str, Any]:
        worker = self._worker
        created = int(worker.wall())
        return {
            "id": name,
            "object": "model",
            "created": created,
            "owned_by": "vllm",
            "root": root,
            "parent": parent,
            "max_model_len": length,
            "permission": [
                {
                    "id": f"modelperm-{worker.rng.getrandbits(64):016x}",
                    "object": "model_permission",
                    "created": created,
                    "allow_create_engine": False,
                    "allow_sampling": True,
                    "allow_logprobs": True,
                    "allow_search_indices": False,
                    "allow_view": True,
                    "allow_fine_tuning": False,
                    "organization": "*",
                    "group": None,
                    "is_blocking": False,
                }
            ],
        }

    def _tokenize(self, request: Request, reply: Reply) -> None:
        given = body_of(request)
        ids = self._worker.reader.tokenize(given)
        strs = self._worker.tokenizer.token_strs(ids) if given.get("return_token_strs") else None
        length = self._worker.settings.model_len
        reply.whole(
            200, to_json({"count": len(ids), "max_model_len": length, "tokens": ids, "token_strs": strs})
        )

    def _tokenizer_info(self, _: Request, reply: Reply) -> None:
        reply.whole(200, to_json(self._worker.tokenizer.info()))

    def _detokenize(self, request: Request, reply: Reply) -> None:
        reply.whole(
            200, to_json({"prompt": self._worker.tokenizer.decode(body_of(request).get("tokens") or [])})
        )

    def _count_tokens(self, request: Request, reply: Reply) -> None:
        count = len(self._worker.reader.message_tokens(body_of(request)))
        reply.whole(
            200, to_json({"input_tokens": count, "context_management": {"original_input_tokens": count}})
        )

    def _no_scale_out(self, _: Request, __: Reply) -> None:
        raise NO_SCALE_OUT

    def _fault(self, request: Request, reply: Reply) -> None:
        _set_fault(self._worker, request, reply)

    def _state(self, _: Request, reply: Reply) -> None:
        reply.whole(200, to_json(self._worker.state()))


def _answer(table: Mapping[str, Mapping[str, Handler]], request: Request, reply: Reply) -> None:
    try:
        _find(table, request, reply)
    except Refusal as refusal:
        reply.whole(refusal.status, refusal.body())
    except Exception:  # noqa: BLE001 - whatever went wrong, the client must not wait for ever
        # A field of a type that no check expected: 500, as the real server does, the traceback in the log.
        _LOG.exception("%s %s failed", request.method, request.path)
        if reply.opened:
            reply.abort()
        else:
            reply.whole(UNEXPECTED.status, UNEXPECTED.body())


def _find(table: Mapping[str, Mapping[str, Handler]], request: Request, reply: Reply) -> None:
    methods = table.get(request.path)
    if methods is None:
        reply.whole(404, b'{"detail":"Not Found"}')
        return
    handler = methods.get(request.method)
    if handler is None:
        reply.whole(405, b'{"detail":"Method Not Allowed"}', extra={"allow": ", ".join(methods)})
        return
    handler(request, reply)


def _set_fault(worker: SimWorker, request: Request, reply: Reply) -> None:
    try:
        fault = msgspec.json.decode(request.body, type=Fault)
    except msgspec.DecodeError as error:
        raise Refusal(400, "Bad Request", str(error)) from None
    worker.fault(fault)
    reply.whole(200, to_json(worker.state()["fault"]))
