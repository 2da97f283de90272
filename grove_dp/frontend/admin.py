"""The control port: is it alive, is it ready, what are its workers, what is in flight, with which settings.

It runs on the control loop, apart from the I/O threads: load does not slow it and it does not slow load.
What takes longer than a millisecond (rendering metrics, asking the I/O threads what is in flight) goes to a
thread.

Changing calls pass the rules of guard.py. Errors are {"error": {"reason": ..., "message": ...}}. What is
answered here already holds on the data port.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from grove_dp.config import Loaded
from grove_dp.errors import ClientFault, GroveError
from grove_dp.fields import fields, value_of
from grove_dp.frontend.discovery import Entry, with_default_model
from grove_dp.frontend.explaining import decisions
from grove_dp.frontend.guard import check_change
from grove_dp.frontend.plane import Booked, DataPlane
from grove_dp.frontend.readiness import State, conditions
from grove_dp.frontend.readings import reading
from grove_dp.frontend.signals import SignalsFeed, query
from grove_dp.metering.prometheus import Page
from grove_dp.metering.routing import KvReading
from grove_dp.routing.workers import Worker

__all__ = ["AdminPort"]

BODY_MAX: Final = 64 << 10
LOOK_S: Final = 0.5
LAST_MAX: Final = 512

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AdminPort:
    """Serves the control port."""

    def __init__(
        self,
        plane: DataPlane,
        page: Page,
        state: Callable[[], State],
        loaded: Callable[[], Loaded],
        signals: SignalsFeed,
        caches: Callable[[], list[KvReading]] = list,
        index: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """*caches*: what is known of each worker's cache; *index*: figures of the prefix index."""
        self._signals = signals
        self._caches = caches
        self._index = index
        self._plane = plane
        self._page = page
        self._state = state
        self._loaded = loaded
        self._looking = asyncio.Lock()
        self._runner = web.AppRunner(self._app(), access_log=None, handle_signals=False, shutdown_timeout=1.0)

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[_errors, self._guard], client_max_size=BODY_MAX)
        app.add_routes(
            [
                web.get("/livez", self._livez),
                web.get("/healthz", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics_page),
                web.get("/settings", self._settings),
                web.get("/debug/exchanges", self._exchanges),
                web.get("/explain", self._explain),
                web.get("/signals", self._signals_page),
                web.get("/workers", self._workers),
                web.post("/workers", self._add),
                web.delete("/workers/{id}", self._remove),
                web.post("/workers/{id}/drain", self._drain),
                web.post("/workers/{id}/undrain", self._undrain),
            ]
        )
        return app

    async def open(self, host: str, port: int) -> int:
        """Listen; returns the port. OSError with the reason."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stop listening and end what is being answered."""
        await self._runner.cleanup()

    # ------------------------------------------------------------ reading

    async def _livez(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        """200 or 503; with ?verbose each rule."""
        found = conditions(self._state())
        ready = all(condition.ok for condition in found)
        status = 200 if ready else 503
        if "verbose" in request.query:
            rows = [condition._asdict() for condition in found]
            return _json({"ready": ready, "checks": rows}, status)
        failing = ", ".join(condition.name for condition in found if not condition.ok)
        return web.Response(text="ok\n" if ready else f"not ready: {failing}\n", status=status)

    async def _metrics_page(self, request: web.Request) -> web.Response:
        accept = request.headers.get("Accept", "")
        taken = reading(self._plane, self._index(), self._caches())
        body, content_type = await asyncio.to_thread(self._page.render, taken, accept)
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _settings(self, request: web.Request) -> web.Response:
        """Each value and where it came from. No setting is a secret: a token is named by its file."""
        loaded = self._loaded()
        told = {
            path: {
                "value": value_of(loaded.settings, path),
                "origin": loaded.origins[path],
                "live": field.live,
            }
            for path, field in fields().items()
        }
        return _json({"settings": told})

    async def _exchanges(self, request: web.Request) -> web.Response:
        """What is in flight now, the oldest first."""
        async with self._looking:
            seen = await asyncio.to_thread(self._plane.native.look, LOOK_S)
        names = self._plane.registry.by_slot()
        rows = [{**row, "worker": names.get(row["slot"])} for row in seen["exchanges"]]
        rows.sort(key=lambda row: -float(row["age_s"]))
        return _json({**seen, "exchanges": rows})

    async def _explain(self, request: web.Request) -> web.Response:
        """The last placements, or those of one request: ?last=N, ?id=REQUEST."""
        asked = request.query.get("last", "20")
        if not (asked.isascii() and asked.isdigit() and 1 <= int(asked) <= LAST_MAX):
            raise ClientFault(f"last={asked!r} must be 1..{LAST_MAX}")
        return _json({"decisions": decisions(self._plane, int(asked), request.query.get("id"))})

    async def _signals_page(self, request: web.Request) -> web.Response:
        """For those who merge frontends: see metering/signals.py."""
        body = await self._signals.answer(query(list(request.query.items())))
        return web.Response(body=body, content_type="application/msgpack")

    async def _workers(self, request: web.Request) -> web.Response:
        cap = self._plane.settings.workers.max_inflight
        caches = {told.id: told for told in self._caches()}
        return _json(
            {"workers": [row(booked, cap, caches.get(booked.worker.id)) for booked in self._plane.booked()]}
        )

    # ------------------------------------------------------------ changing

    async def _add(self, request: web.Request) -> web.Response:
        try:
            entry = msgspec.json.decode(await request.read(), type=Entry)
        except msgspec.DecodeError as error:
            raise ClientFault(f'{error}; send {{"url": "http://HOST:PORT"}}') from None
        settings, registry = self._plane.settings, self._plane.registry
        added = [registry.add(with_default_model(spec, settings)) for spec in entry.specs("admin")]
        return self._changed(added[0], 201)

    async def _remove(self, request: web.Request) -> web.Response:
        """Gone when nothing is in flight there; with ?force=1 at once."""
        worker = self._plane.registry.get(request.match_info["id"])
        force = request.query.get("force", "0") not in ("", "0", "false")
        self._plane.registry.remove(worker.id, force=force)
        return self._changed(worker)

    async def _drain(self, request: web.Request) -> web.Response:
        return self._set_draining(request.match_info["id"], True)

    async def _undrain(self, request: web.Request) -> web.Response:
        return self._set_draining(request.match_info["id"], False)

    def _set_draining(self, worker_id: str, on: bool) -> web.Response:
        self._plane.registry.drain(worker_id, on)
        return self._changed(self._plane.registry.get(worker_id))

    def _changed(self, worker: Worker, status: int = 200) -> web.Response:
        self._plane.publish()
        booked = Booked(worker, self._plane.native.book(worker.slot))
        return _json({"worker": row(booked, self._plane.settings.workers.max_inflight)}, status)

    # ------------------------------------------------------------ who may change

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._plane.flush()  # what is told here must be true on the data port
        if request.method not in ("GET", "HEAD"):
            check_change(self._loaded().settings.admin, request.headers)
        return await handler(request)


# ---------------------------------------------------------------- answers


def row(booked: Booked, cap: int, cache: KvReading | None = None) -> dict[str, Any]:
    """A worker as GET /workers shows it; *cap* is the setting workers.max_inflight."""
    worker, book = booked
    known = {} if cache is None else {"kv": _cache(cache, worker)}
    return known | {
        "id": worker.id,
        "url": worker.spec.url,
        "address": worker.address,
        "source": worker.spec.source,
        "state": worker.state,
        "reason": worker.why,
        "circuit": book.circuit,
        "open_for_s": round(book.open_for_s, 3),
        "consecutive_failures": book.failures,
        "probe_failures": worker.probe_failures,
        "inflight": book.inflight,
        "max_inflight": worker.cap(cap),
        "models": list(worker.models),
        "placed": book.placed,
        "ok": book.ok,
        "failed": book.failed,
        "ejected": book.ejected,
        "prompt_tokens": book.prompt_tokens,
        "cached_tokens": book.cached_tokens,
        "output_tokens": book.output_tokens,
    }


def _cache(cache: KvReading, worker: Worker) -> dict[str, Any]:
    """What it tells of its cache, and whether what we make of that comes true."""
    audit = cache.by_tokens
    return {
        "events": cache.feed._asdict(),
        "block_size": worker.block_size,
        "backlog_s": round(cache.backlog_s, 4),
        "predictions": {
            "auditable": audit.judged > 0 or (False if audit.not_auditable else None),
            "judged": audit.judged,
            "exact": audit.agreed,
            "predicted_tokens": audit.predicted,
            "realised_tokens": audit.realised,
            "ratio_last_minute": cache.ratio,
            "alarm": cache.alarm,
        },
    }


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value) + b"\n", status=status, content_type="application/json"
    )


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Expected trouble as JSON with its reason word; a bug stays a 500, its traceback in the log."""
    try:
        return await handler(request)
    except GroveError as error:
        return _error(error.status, error.reason, str(error))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        answer = _error(
            error.status, error.reason.title().replace(" ", ""), f"{request.method} {request.path}"
        )
        if "Allow" in error.headers:
            answer.headers["Allow"] = error.headers["Allow"]
        return answer


def _error(status: int, reason: str, message: str) -> web.Response:
    return _json({"error": {"reason": reason, "message": message}}, status)
