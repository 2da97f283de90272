"""One port for those who look after the operator: kubelet and Prometheus.

    GET /livez     200 as long as the event loop turns
    GET /readyz    200 when every check is content, else 503 and what they say
    GET /metrics   the figures, as text, OpenMetrics or protobuf

A standby is ready, too: it answers webhooks.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from grove_dp.errors import GroveError

__all__ = ["CannotListen", "Check", "Page", "application", "serving"]

Check = Callable[[], str]  # empty: content; else what is missing
Page = Callable[[str], tuple[bytes, str]]


class CannotListen(GroveError):
    """A port is not to be had."""

    reason = "CannotListen"


def application(checks: Mapping[str, Check], page: Page) -> web.Application:
    """The three paths. *checks* by name; *page* renders for an Accept header."""

    async def livez(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        missing = [f"{name}: {why}" for name, check in checks.items() if (why := check())]
        if missing:
            return web.Response(status=503, text="\n".join(missing) + "\n")
        return web.Response(text="ok\n")

    async def metrics(request: web.Request) -> web.Response:
        body, kind = page(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": kind})

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    return app


@asynccontextmanager
async def serving(checks: Mapping[str, Check], page: Page, host: str, port: int) -> AsyncIterator[int]:
    """The port, as long as it lasts; gives its number, a free one if *port* is 0. CannotListen."""
    runner = web.AppRunner(application(checks, page), access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            where = f"{host}:{port}"
            raise CannotListen(
                f"cannot listen on {where}: {error.strerror}; end what listens there or choose another"
                " --health-port"
            ) from None
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
