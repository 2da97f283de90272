"""The server over HTTP on loopback, with a kubeconfig: for other programs, and for tests of the network.

async with serving(Server(), folder) as served:
    async with await connect(served.kubeconfig) as api: ...
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
from aiohttp import web

from grove_dp.testing.kubeapi.server import Reply, Server
from grove_dp.testing.kubeapi.watches import WatchReply

__all__ = ["Served", "serving", "write_kubeconfig"]


class Served(msgspec.Struct, frozen=True):
    """Where it is."""

    url: str
    kubeconfig: Path


@asynccontextmanager
async def serving(
    server: Server, folder: Path, *, token: str = "fake", port: int = 0
) -> AsyncIterator[Served]:
    """Serve until the end of the block; watches are cut then."""
    face = _Face(server)
    runner = web.ServerRunner(web.Server(face.answer, handler_cancellation=True), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield Served(url, write_kubeconfig(folder / "kubeconfig", url, token))
    finally:
        server.faults.cut_watches()
        await runner.cleanup()


def write_kubeconfig(path: Path, url: str, token: str) -> Path:
    """The file that clients read."""
    name = "kubeapi"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
        "current-context": name,
    }
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document)))  # JSON is YAML
    return path


class _Face:
    def __init__(self, server: Server) -> None:
        self._server = server

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        reply = self._server.handle(request.method, request.path_qs, request.headers, body)
        try:
            if reply.latency_s:
                await self._server.clock.sleep(reply.latency_s)
            if reply.lost:
                return _cut(request)
            if isinstance(reply, Reply):
                return web.Response(status=reply.status, body=reply.body, headers=reply.headers)
            return await self._stream(request, reply)
        finally:
            if isinstance(reply, WatchReply):
                reply.close()

    async def _stream(self, request: web.BaseRequest, reply: WatchReply) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        with suppress(ConnectionError):  # the client went: nobody to tell
            async for lines in reply.lines(self._server.clock):
                await response.write(lines)
            await response.write_eof()
        return response


def _cut(request: web.BaseRequest) -> web.StreamResponse:
    """End the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
