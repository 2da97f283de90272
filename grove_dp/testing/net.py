"""A TCP proxy that does to connections what networks do, when the test says so.

    client ──► FaultProxy ──► target          down = bytes from the target to the client
           up ─►      ─► up                   up   = bytes from the client to the target

Each accepted connection takes the next `Fault` of the plan, or the default one. Faults of a live connection
may be changed at run time: the two copying loops read them before every write.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

__all__ = ["Fault", "FaultProxy", "Link"]

_READ_BYTES = 1 << 16


@dataclass(slots=True)
class Fault:
    """What happens to one connection. The default is nothing: a plain proxy."""

    mute: bool = False  # accept, never connect to the target, never answer
    refuse: bool = False  # reset as soon as accepted
    delay_s: float = 0.0  # every piece waits this long, both ways
    bytes_per_s: float = 0.0  # throttle of each direction
    drip: bool = False  # one byte per write
    cut_down_after: int | None = None  # end the connection after so many bytes to the client
    cut_up_after: int | None = None  # ... or to the target
    reset: bool = False  # a cut is an RST instead of a FIN
    swallow_fin: bool = False  # a FIN from either side is not passed on


@dataclass(slots=True, eq=False)
class Link:
    """One proxied connection: its fault, and how many bytes went each way."""

    fault: Fault
    client: asyncio.StreamWriter
    target: asyncio.StreamWriter | None = None
    up: int = 0
    down: int = 0
    flowing: asyncio.Event = field(default_factory=asyncio.Event)  # cleared: silence both ways
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def cut(self, reset: bool = True) -> None:
        """End both sides now."""
        for writer in (self.client, self.target):
            if writer is not None:
                _end(writer, reset)


class FaultProxy:
    """Listens on a free port and passes connections to `target_port` through their faults."""

    def __init__(self, target_port: int, default: Fault | None = None, host: str = "127.0.0.1") -> None:
        self.target_port = target_port
        self.host = host
        self.default = default or Fault()
        self.plan: deque[Fault] = deque()
        self.links: list[Link] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        await asyncio.sleep(0)  # a connection that was accepted just now begins, and is seen here
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)

    async def listen(self) -> None:
        """Accept connections; a second time on the same port."""
        self._server = await asyncio.start_server(self._serve, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self, *, cut: bool = True) -> None:
        """Close the listener: connections are refused from now on. What is open is cut, or stays."""
        if self._server:
            self._server.close()
            self._server = None
        if cut:
            self.cut_all()

    def cut_all(self, reset: bool = True) -> None:
        """End every open connection now."""
        for link in self.links:
            if not link.ended.is_set():
                link.cut(reset)

    def pause(self) -> None:
        """Silence on every open connection, both ways, without closing any."""
        for link in self.links:
            link.flowing.clear()

    def resume(self) -> None:
        """End the silence."""
        for link in self.links:
            link.flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        fault = self.plan.popleft() if self.plan else replace(self.default)
        link = Link(fault, writer)
        link.flowing.set()
        self.links.append(link)
        try:
            await self._run(link, reader)
        except OSError:
            link.cut(fault.reset)
        except asyncio.CancelledError:  # only by our own end; asyncio's streams would log it as an error
            link.cut(reset=False)
        finally:
            self._tasks.discard(task)
            link.ended.set()
            link.cut(reset=False)

    async def _run(self, link: Link, reader: asyncio.StreamReader) -> None:
        if link.fault.refuse:
            return link.cut(reset=True)
        if link.fault.mute:
            while await reader.read(_READ_BYTES):
                pass
            return None
        answers, link.target = await asyncio.open_connection(self.host, self.target_port)
        async with asyncio.TaskGroup() as both:
            both.create_task(_copy(link, reader, link.target, down=False))
            both.create_task(_copy(link, answers, link.client, down=True))
        return None


async def _copy(
    link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, down: bool
) -> None:
    """Pass one direction on until it ends or its cut comes."""
    try:
        while data := await reader.read(_READ_BYTES):
            for piece in _pieces(data, link.fault.drip):
                if not await _pass_on(link, piece, writer, down=down):
                    return link.cut(link.fault.reset)
        if not link.fault.swallow_fin and writer.can_write_eof():
            writer.write_eof()
    except OSError:
        link.cut(reset=True)
    return None


async def _pass_on(link: Link, piece: bytes, writer: asyncio.StreamWriter, *, down: bool) -> bool:
    """Write one piece under the link's fault; False when the cut is reached."""
    fault = link.fault
    await link.flowing.wait()
    if fault.delay_s:
        await asyncio.sleep(fault.delay_s)
    if fault.bytes_per_s:
        await asyncio.sleep(len(piece) / fault.bytes_per_s)
    cut = fault.cut_down_after if down else fault.cut_up_after
    sent = link.down if down else link.up
    if cut is not None:
        piece = piece[: max(0, cut - sent)]
    writer.write(piece)
    await writer.drain()
    if fault.drip:
        await asyncio.sleep(0)  # let the peer read this byte alone
    if down:
        link.down += len(piece)
    else:
        link.up += len(piece)
    return cut is None or sent + len(piece) < cut


def _pieces(data: bytes, drip: bool) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))] if drip else [data]


def _end(writer: asyncio.StreamWriter, reset: bool) -> None:
    sock = writer.get_extra_info("socket")
    if reset and sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()
