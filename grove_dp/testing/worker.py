"""A worker on a real port whose every answer the test writes.

`ScriptedWorker` answers `/health` and `/v1/models` like a vLLM worker and everything else from a list of
steps: bytes, pauses, events to wait for, a clean close, a reset. It keeps every request byte for byte and
notes the moment at which the peer went away, whatever it was doing then: a pump reads all the time.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Self

import msgspec

from grove_dp.testing.http import ConnectionEnded, Request, header_fields, json_answer

__all__ = ["Call", "End", "ScriptedWorker", "Step"]

LATE_TURNS = 3  # of the loop, from accepting a connection to serving it


class End(Enum):
    """Steps that end a connection."""

    CLOSE = "close"  # FIN after what was sent
    RESET = "reset"  # RST at once
    HANG = "hang"  # nothing more, until the peer goes


Step = bytes | float | asyncio.Event | End | Callable[[], bytes]
"""What a scripted answer does next: send, pause for seconds, wait, end, or send what a call returns."""


@dataclass(slots=True, eq=False)
class _Peer:
    """One connection: bytes are pumped into `buffer` all the time, so that a close is seen in any state."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    buffer: bytearray = field(default_factory=bytearray)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    gone_at: float = 0.0

    async def pump(self) -> None:
        try:
            while data := await self.reader.read(1 << 18):
                self.buffer += data
                self.news.set()
        except ConnectionError:
            pass
        finally:
            self.gone_at = time.monotonic()
            self.gone.set()
            self.news.set()

    async def take(self, found: Callable[[bytearray], int]) -> bytes:
        """Bytes up to the offset that *found* names (-1: not yet)."""
        while (end := found(self.buffer)) < 0:
            if self.gone.is_set():
                raise ConnectionEnded("the peer went away")
            self.news.clear()
            await self.news.wait()
        taken = bytes(self.buffer[:end])
        del self.buffer[:end]
        return taken

    async def line(self) -> bytes:
        return await self.take(lambda held: held.find(b"\r\n") + 2 if b"\r\n" in held else -1)

    async def exactly(self, count: int) -> bytes:
        return await self.take(lambda held: count if len(held) >= count else -1)

    async def request(self) -> Request:
        """The next request, byte for byte."""
        head = await self.take(lambda held: held.find(b"\r\n\r\n") + 4 if b"\r\n\r\n" in held else -1)
        fields = dict(header_fields(head))
        if fields.get("expect", "").lower() == "100-continue":
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "transfer-encoding" in fields:
            raw, body = head, b""
            while True:
                line = await self.line()
                data = await self.exactly(int(line, 16) + 2)
                raw, body = raw + line + data, body + data[:-2]
                if data == b"\r\n":
                    return Request(head, body, raw)
        body = await self.exactly(int(fields.get("content-length", "0")))
        return Request(head, body, head + body)


@dataclass(slots=True, eq=False)
class Call:
    """One request that reached the worker, and what became of it."""

    request: Request
    peer: _Peer
    arrived_at: float = field(default_factory=time.monotonic)
    finished: asyncio.Event = field(default_factory=asyncio.Event)  # all steps were taken

    async def abandoned(self, within_s: float = 30.0) -> float:
        """Wait until the peer closes the connection of this call; the moment (monotonic) at which it did."""
        async with asyncio.timeout(within_s):
            await self.peer.gone.wait()
        return self.peer.gone_at


class ScriptedWorker:
    """A worker on a real port whose every answer the test writes.

    `answers` is a queue of scripts, one per request in order of arrival; when it is empty, `default` answers.
    Requests that reached it stand in `calls`; health checks and model lists are never scripted.
    """

    def __init__(self, *models: str, default: Sequence[Step] | None = None) -> None:
        self.models = models or ("tiny-llama",)
        self.default: Sequence[Step] = default if default is not None else [json_answer(b'{"ok":true}')]
        self.answers: deque[Sequence[Step]] = deque()
        self.calls: list[Call] = []
        self.health = b"200 OK"
        self.health_checks = 0
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._peers: dict[_Peer, asyncio.Task[None]] = {}
        self._news = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def id(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.vanish()

    async def listen(self) -> None:
        """Start to accept; a second time on the same port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def vanish(self) -> None:
        """Refuse new connections and reset the open ones, as a killed process does."""
        if self._server:
            self._server.close()
            self._server = None
        peers = list(self._peers.items())
        for peer, task in peers:
            _reset(peer.writer)
            task.cancel()
        await asyncio.gather(*(task for _, task in peers), return_exceptions=True)
        for _ in range(LATE_TURNS):
            await asyncio.sleep(0)  # a connection that was accepted just before is refused now, not left open

    def script(self, *steps: Step) -> None:
        """Answer the next unscripted request with these steps."""
        self.answers.append(steps)

    async def call(self, number: int = 0, timeout_s: float = 30.0) -> Call:
        """Wait for the request of that number (from 0) to arrive."""
        async with asyncio.timeout(timeout_s), self._news:
            await self._news.wait_for(lambda: len(self.calls) > number)
        return self.calls[number]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:
            _reset(writer)
            return
        peer = _Peer(reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self._peers[peer] = task
        self.connections += 1
        writer.transport.set_write_buffer_limits(high=1 << 16)
        pump = asyncio.create_task(peer.pump())
        try:
            while await self._exchange(peer, await peer.request()):
                pass
        except (ConnectionError, asyncio.CancelledError):  # only our own end cancels
            pass
        finally:
            del self._peers[peer]
            pump.cancel()
            writer.close()

    async def _exchange(self, peer: _Peer, request: Request) -> bool:
        path = request.target.split("?")[0]
        if path == "/health":
            self.health_checks += 1
            peer.writer.write(b"HTTP/1.1 " + self.health + b"\r\ncontent-length: 0\r\n\r\n")
            return True
        if path == "/v1/models" and request.method == "GET":
            peer.writer.write(json_answer(self._model_list()))
            return True
        if request.method == "GET" and path in ("/version", "/metrics", "/load"):
            peer.writer.write(json_answer(b'{"version":"0.32.0"}'))
            return True
        if request.method == "GET" and path == "/kv_event_sources":
            peer.writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            return True
        call = Call(request, peer)
        steps = self.answers.popleft() if self.answers else self.default
        self.calls.append(call)
        async with self._news:
            self._news.notify_all()
        return await self._play(peer, call, steps)

    async def _play(self, peer: _Peer, call: Call, steps: Sequence[Step]) -> bool:
        """Take the steps; False when the connection is over."""
        gone = asyncio.create_task(peer.gone.wait())
        try:
            for step in steps:
                taken = asyncio.create_task(_take(peer, step))
                await asyncio.wait({taken, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not taken.done():
                    taken.cancel()
                    return False
                if not taken.result():
                    return False
            call.finished.set()
            return True
        finally:
            gone.cancel()

    def _model_list(self) -> bytes:
        return msgspec.json.encode(
            {
                "object": "list",
                "data": [
                    {"id": name, "object": "model", "created": 1, "owned_by": "vllm", "max_model_len": 4096}
                    for name in self.models
                ],
            }
        )


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _take(peer: _Peer, step: Step) -> bool:
    """One step of a script; False ends the connection."""
    match step:
        case bytes():
            peer.writer.write(step)
            await peer.writer.drain()
        case asyncio.Event():
            await step.wait()
        case End.CLOSE:
            return False
        case End.RESET:
            _reset(peer.writer)
            return False
        case End.HANG:
            await peer.gone.wait()
            return False
        case float() | int():
            await asyncio.sleep(step)
        case _:
            peer.writer.write(step())
            await peer.writer.drain()
    return True
