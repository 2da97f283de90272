"""The admin port of `grove-dp autoscale`: health, metrics, and why.

/livez /healthz   this process runs           /metrics   replicas desired and there, decisions (`series`)
/readyz           the cluster has been seen   /explain   the last tick of every autoscaler, as JSON
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from grove_dp.scaling.fleet import Fleet
from grove_dp.scaling.series import Series

__all__ = ["PORT", "ScalingAdmin"]

PORT: Final = 9091


class ScalingAdmin:
    """Open between `async with`."""

    def __init__(self, fleet: Fleet, host: str = "127.0.0.1", port: int = PORT) -> None:
        self._fleet = fleet
        self._host, self._wanted = host, port
        self._registry = CollectorRegistry()
        self._registry.register(Series(fleet.led))
        self.port = 0

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes(
            [
                web.get("/livez", self._livez),
                web.get("/healthz", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/explain", self._explain),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._wanted).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _livez(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        ready = self._fleet.synced
        text = "ok\n" if ready else "not ready: the cluster has not been seen\n"
        return web.Response(text=text, status=200 if ready else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, kind = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": kind})

    async def _explain(self, request: web.Request) -> web.Response:
        found = [one for one in self._fleet.explained() if _asked(one, request.query)]
        return web.Response(body=msgspec.json.encode({"autoscalers": found}), content_type="application/json")


def _asked(one: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    return all(one.get(name) == query[name] for name in ("namespace", "name") if name in query)
