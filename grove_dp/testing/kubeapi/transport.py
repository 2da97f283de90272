"""The server in the same process: a `Transport` without sockets, in whatever time the server's clock has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from grove_dp.clock import Clock
from grove_dp.kube.transport import Answer, Stream
from grove_dp.testing.kubeapi.server import Reply, Server
from grove_dp.testing.kubeapi.watches import WatchReply

__all__ = ["InProcess"]


class InProcess:
    """A `Transport` for `Access`. *headers* go with every request: who asks."""

    def __init__(self, server: Server, headers: Mapping[str, str] | None = None) -> None:
        self.host = "in-process"
        self.namespace = "default"
        self._server = server
        self._headers = headers or {}

    async def exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        """One call. Others run before the answer comes, as they would with a network in between."""
        reply = self._server.handle(method, target, {**self._headers, **headers}, body)
        if isinstance(reply, WatchReply):
            reply.close()
            raise ValueError(f"{method} {target}: a watch is streamed, not exchanged")
        await _arrived(reply, self._server.clock)
        return Answer(reply.status, _lower(reply.headers), reply.body)

    @asynccontextmanager
    async def stream(self, target: str, headers: Mapping[str, str]) -> AsyncIterator[Stream]:
        """A watch, or whatever else the server answers."""
        reply = self._server.handle("GET", target, {**self._headers, **headers}, None)
        try:
            await _arrived(reply, self._server.clock)
            yield _Watched(reply, self._server.clock) if isinstance(reply, WatchReply) else _Whole(reply)
        finally:
            if isinstance(reply, WatchReply):
                reply.close()

    async def close(self) -> None:
        """Nothing is held."""


async def _arrived(reply: Reply | WatchReply, clock: Clock) -> None:
    if reply.latency_s:
        await clock.sleep(reply.latency_s)
    else:
        await asyncio.sleep(0)
    if reply.lost:
        raise ConnectionResetError("the connection broke")


class _Watched:
    def __init__(self, reply: WatchReply, clock: Clock) -> None:
        self.status: int = reply.status
        self.headers: Mapping[str, str] = {"content-type": "application/json"}
        self._lines = reply.lines(clock)

    def chunks(self) -> AsyncIterator[bytes]:
        return self._lines

    async def read(self) -> bytes:
        return b"".join([lines async for lines in self._lines])


class _Whole:
    def __init__(self, reply: Reply) -> None:
        self.status = reply.status
        self.headers: Mapping[str, str] = _lower(reply.headers)
        self._body = reply.body

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._body

    async def read(self) -> bytes:
        return self._body


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
