"""The HTTP side: external.metrics.k8s.io/v1beta1 and `/keda/v1/...`, over TLS.

A request goes who? (front proxy, token) -> may they? (SubjectAccessReview) -> what?, in that order, so that
nobody learns from an error whether something exists. Health paths are for everyone and tell nothing.

    /apis  /apis/external.metrics.k8s.io  /apis/external.metrics.k8s.io/v1beta1        discovery
    /apis/external.metrics.k8s.io/v1beta1/namespaces/NS/METRIC?labelSelector=...       values, for the HPA
    /keda/v1/NS/TARGET?metric=...                                                      one value, for KEDA
    /metrics                                                                           the port's own
    /healthz /livez /readyz

There is no router between: nine paths, and errors must be Status documents whatever is wrong with a path.
"""

import asyncio
import hmac
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import msgspec
from aiohttp import web

from grove_dp.errors import ClientFault, GroveError
from grove_dp.kube.tls import Face
from grove_dp.metering.external.answers import json_answer, refusal, tagged_answer, text_answer, typed_answer
from grove_dp.metering.external.board import Source
from grove_dp.metering.external.documents import (
    API,
    GROUP,
    Forbidden,
    MethodNotAllowed,
    NotFound,
    Unauthorized,
    aggregated,
    group_document,
    group_list,
    resource_list,
)
from grove_dp.metering.external.identity import FrontProxy, User, bearer, common_name, proxied
from grove_dp.metering.external.page import Page
from grove_dp.metering.external.quantity import timestamp
from grove_dp.metering.external.reviews import Act, Reviews

__all__ = ["KEDA_METRIC", "MetricsPort"]

_log = logging.getLogger(__name__)

KEDA_METRIC: Final = "grove_dp_desired_replicas"
HEALTH: Final = frozenset(["/healthz", "/livez", "/readyz"])
HEADERS_MAX: Final = 1024  # each group of a user is a header of its own
HEADER_MAX: Final = 4096  # so that a stranger's request takes 4 MB at most
KEEP_S: Final = 120.0  # longer than the API server keeps an idle connection (90 s), so it is the one to close
_VALUES: Final = f"/apis/{API}/namespaces/"
_KEDA: Final = "/keda/v1/"
_OPENAPI: Final = "/openapi/"


class MetricsPort:
    """Serves the metrics port."""

    def __init__(
        self,
        source: Source,
        face: Face,
        reviews: Reviews,
        front_proxy: Callable[[], FrontProxy | None],
        *,
        trust_front_proxy: bool = False,
        keda_token_file: Path | None = None,
        page: Page | None = None,
    ) -> None:
        """*front_proxy*: whom to trust now; *trust_front_proxy*: what the aggregator let through may pass
        without asking again; *keda_token_file*: a token of its own for KEDA, besides those of the cluster;
        *page*: what `/metrics` shows."""
        self._source = source
        self._face = face
        self._reviews = reviews
        self._front_proxy = front_proxy
        self._trusting = trust_front_proxy
        self._keda_token_file = keda_token_file
        self._page = page
        self._server: web.Server | None = None
        self._runner: web.ServerRunner | None = None
        self._busy: set[object] = set()
        self._draining = False
        self.answers: Counter[int] = Counter()

    async def open(self, host: str, port: int) -> int:
        """Listen; returns the port. OSError with the reason."""
        self._server = web.Server(
            self._answer,
            access_log=None,
            max_headers=HEADERS_MAX,
            max_field_size=HEADER_MAX,
            keepalive_timeout=KEEP_S,
        )
        self._runner = web.ServerRunner(self._server, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, ssl_context=self._face.context).start()
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stop listening and end what is being answered."""
        await self._reviews.close()
        if self._runner is None or self._server is None:
            return
        transports = [connection.transport for connection in self._server.connections]
        await self._runner.cleanup()
        for transport in transports:
            if transport is not None:
                transport.abort()  # TLS would wait half a minute for each peer's farewell
        await asyncio.sleep(0)  # they close in the next turn of the loop

    def drain(self) -> None:
        """Not ready any more, but answering: time for the Service to send its callers elsewhere."""
        self._draining = True

    def renewed(self) -> None:
        """Certificate or CA have changed: idle connections go at once, the others with their answer."""
        for connection in self._server.connections if self._server is not None else ():
            if connection not in self._busy:
                connection.force_close()  # Server.pre_shutdown leaves idle ones open, and deaf

    # ------------------------------------------------------------ a request

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self._busy.add(request.protocol)
        try:
            answer = await self._serve(request)
        except GroveError as error:
            answer = refusal(error)
        except Exception:  # noqa: BLE001 - a bug: its traceback is ours, the client gets the bare fact
            _log.exception("answering %s failed", request.path)
            answer = refusal(GroveError("internal error; see the log of the metrics adapter"))
        finally:
            self._busy.discard(request.protocol)
        if not self._is_current(request):
            answer.force_close()
        self.answers[answer.status] += 1
        return answer

    async def _serve(self, request: web.BaseRequest) -> web.Response:
        path = request.rel_url.raw_path
        if path in HEALTH:
            return self._health(path)
        if path.startswith(_KEDA):
            return await self._keda(request, path)
        user, proxied_by_api = await self._who(request)
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(f"{request.method} {path}: metrics are only read")
        if path.startswith(_OPENAPI):
            raise NotFound("there is no OpenAPI document")  # so the aggregator asks for none of its parts
        act = _act(path)
        if not (proxied_by_api and self._trusting):
            await self._permit(user, act)
        if path == "/metrics" and self._page is not None:
            body, kind = self._page(request.headers.get("Accept", ""))
            return typed_answer(body, kind)
        if path.rstrip("/") == "/apis":
            return self._groups(request)
        return json_answer(self._document(path, act, request))

    def _groups(self, request: web.BaseRequest) -> web.Response:
        """`/apis` in the form asked for; nothing, if the caller has it already."""
        found = aggregated(self._source.metrics, request.headers.get("Accept", ""))
        if found is None:
            return json_answer(group_list())
        kind, body = found
        return tagged_answer(body, kind, request.headers.get("If-None-Match"))

    def _document(self, path: str, act: Act, request: web.BaseRequest) -> bytes:
        if act.metric:
            if request.rel_url.query.get("watch", "false") not in ("", "0", "false"):
                raise MethodNotAllowed(f"{act.metric} cannot be watched; ask again")
            return self._source.query(
                act.namespace, act.metric, request.rel_url.query.get("labelSelector", "")
            )
        match path.rstrip("/"):
            case group if group == f"/apis/{GROUP}":
                return group_document()
            case version if version == f"/apis/{API}":
                return resource_list(self._source.metrics)
            case half if half.startswith(_VALUES.rstrip("/")):
                raise ClientFault(f"{path}: write {_VALUES}NAMESPACE/METRIC")
        raise NotFound("the server could not find the requested resource")

    # ------------------------------------------------------------ who, and may they

    async def _who(self, request: web.BaseRequest) -> tuple[User, bool]:
        """Who asks, and whether the front proxy says so. Unauthorized."""
        name, proxy = common_name(request.get_extra_info("peercert")), self._front_proxy()
        if name is not None and proxy is not None and self._is_current(request) and proxy.allows(name):
            user = proxied(request.headers, proxy)
            if user is not None:
                return user, True
        token = bearer(request.headers)
        user = await self._reviews.bearer(token) if token is not None else None
        if user is None:
            raise Unauthorized("Unauthorized")
        return user, False

    async def _permit(self, user: User, act: Act) -> None:
        verdict = await self._reviews.verdict(user, act)
        if verdict.allowed:
            return
        if act.metric:
            wish = f'list resource "{act.metric}" in API group "{GROUP}" in the namespace "{act.namespace}"'
        else:
            wish = f'get path "{act.path}"'
        raise Forbidden(f'forbidden: User "{user.name}" cannot {wish}')

    def _is_current(self, request: web.BaseRequest) -> bool:
        connection = request.get_extra_info("ssl_object")
        return connection is not None and self._face.is_current(connection)

    # ------------------------------------------------------------ the rest

    async def _keda(self, request: web.BaseRequest, path: str) -> web.Response:
        """One number, by a token of its own or by the rights that the HPA would need."""
        user = None if self._has_keda_token(request) else (await self._who(request))[0]
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(f"{request.method} {path}: metrics are only read")
        namespace, _, target = (unquote(part) for part in path[len(_KEDA) :].partition("/"))
        metric = request.rel_url.query.get("metric", KEDA_METRIC)
        if not (namespace and target and metric):
            raise ClientFault(f"{path}: write {_KEDA}NAMESPACE/TARGET, TARGET is PCS-COMPONENT or a model")
        if user is not None:
            await self._permit(user, Act("", namespace, metric))
        found = self._source.target(namespace, metric, target)
        told = {
            "value": found.value,
            "metric": found.metric,
            "namespace": namespace,
            "target": target,
            "timestamp": timestamp(found.wall_s),
        }
        return json_answer(msgspec.json.encode(told))

    def _has_keda_token(self, request: web.BaseRequest) -> bool:
        given = bearer(request.headers)
        if self._keda_token_file is None or given is None:
            return False
        try:
            token = self._keda_token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            _log.warning("KEDA's token cannot be read, so it opens nothing: %s", error)
            return False
        return bool(token) and hmac.compare_digest(given.encode(), token.encode())

    def _health(self, path: str) -> web.Response:
        """Ready means able to answer truly or to say why not; so an incomplete picture is no reason."""
        missing = []
        if path == "/readyz":
            if self._draining:
                missing.append("draining")
            if self._front_proxy() is None:
                missing.append("front-proxy-trust")
            if not self._source.published:
                missing.append("picture")
        if missing:
            return text_answer(f"not ready: {', '.join(missing)}", 503)
        return text_answer("ok")


# ---------------------------------------------------------------- paths


def _act(path: str) -> Act:
    """What reading *path* is, to authorisation; only `.../namespaces/NS/METRIC` is a metric."""
    if path.startswith(_VALUES):
        parts = [unquote(part) for part in path[len(_VALUES) :].split("/")]
        if len(parts) == 2 and all(parts):
            return Act("", parts[0], parts[1])
    return Act(unquote(path))
