"""The anchor from Python: the proxy that one writes in an afternoon with aiohttp, on uvloop.

python -m bench.proxy.aiohttp_proxy PORT http://127.0.0.1:9101,http://127.0.0.1:9102
"""

from __future__ import annotations

import itertools
import sys

import uvloop
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

__all__ = ["make_app"]

HOP_BY_HOP = frozenset(("connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host"))
LENGTH = "content-length"


def make_app(workers: list[str]) -> web.Application:
    """Every request goes to the next worker in turn; answers are relayed as they come."""
    turn = itertools.cycle(workers)
    session = web.AppKey("session", ClientSession)

    async def lifetime(app: web.Application):  # type: ignore[no-untyped-def]  # noqa: ANN202 - an async generator
        connector = TCPConnector(limit=0, keepalive_timeout=4)
        async with ClientSession(
            connector=connector, timeout=ClientTimeout(total=None), auto_decompress=False
        ) as s:
            app[session] = s
            yield

    async def relay(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        sent = {
            k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP and k.lower() != LENGTH
        }
        url = next(turn) + request.rel_url.raw_path_qs
        async with request.app[session].request(request.method, url, headers=sent, data=body) as answer:
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP}
            if LENGTH in answer.headers:
                return web.Response(status=answer.status, headers=kept, body=await answer.read())
            out = web.StreamResponse(status=answer.status, headers=kept)
            await out.prepare(request)
            async for chunk in answer.content.iter_any():
                await out.write(chunk)
            await out.write_eof()
            return out

    app = web.Application(client_max_size=64 * 1024**2)
    app.cleanup_ctx.append(lifetime)
    app.router.add_route("*", "/{path:.*}", relay)
    return app


if __name__ == "__main__":
    web.run_app(
        make_app(sys.argv[2].split(",")),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
        backlog=4096,
    )
