"""HTTP/1.1 as bytes on a socket: a client that can be impolite and reads with no mercy.

Ready-made clients repair what they are given: they never send two Content-Length headers, and they accept an
answer whose chunk ends are wrong. Tests of a proxy need the opposite: `RawClient` sends exactly the pieces
given, one `send` each, with Nagle off, and parses answers strictly: a bare LF, a chunk without its end or a
missing length is an error, not a guess.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

import msgspec

__all__ = [
    "Answer",
    "BadAnswer",
    "ConnectionEnded",
    "RawClient",
    "Request",
    "chunk",
    "header_fields",
    "json_answer",
    "post",
    "sse_answer",
    "sse_head",
]

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2}) ([\t \x21-\x7e\x80-\xff]*)")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,8}")


class BadAnswer(AssertionError):
    """The peer sent bytes that are not HTTP/1.1."""


class ConnectionEnded(ConnectionError):
    """The peer closed before the bytes that were waited for had come."""


# ---------------------------------------------------------------- values


@dataclass(frozen=True, slots=True)
class Answer:
    """One response as it came: `headers` in order with lower-case names, `chunks` as the peer framed them."""

    status: int
    reason: str
    version: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)

    def header(self, name: str) -> str | None:
        """The only value of the header, or None; two are an error."""
        values = [value for key, value in self.headers if key == name.lower()]
        if len(values) > 1:
            raise BadAnswer(f"header {name} came {len(values)} times: {values}")
        return values[0] if values else None

    def json(self) -> dict[str, object]:
        """The body as a JSON object."""
        return msgspec.json.decode(self.body, type=dict[str, object])

    def error(self) -> dict[str, object]:
        """The `error` object of an OpenAI-shaped error body."""
        return msgspec.convert(self.json()["error"], dict[str, object])

    def events(self) -> list[bytes]:
        """The body as SSE events, each without its final blank line."""
        if self.body and not self.body.endswith(b"\n\n"):
            raise BadAnswer(f"the stream ends inside an event: {self.body[-200:]!r}")
        return self.body.split(b"\n\n")[:-1]


@dataclass(frozen=True, slots=True)
class Request:
    """One request as a worker read it: `head` with its blank line, `body` decoded, `raw` every byte of it."""

    head: bytes
    body: bytes
    raw: bytes

    @property
    def method(self) -> str:
        return self.head.split(b" ", 1)[0].decode()

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode()

    @property
    def headers(self) -> list[tuple[str, str]]:
        return header_fields(self.head)

    def values(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for key, value in self.headers if key == name.lower()]

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return next(iter(self.values(name)), None)


def post(target: str, body: bytes, *headers: str, close: bool = False) -> bytes:
    """A plain POST of a JSON body with the headers given."""
    lines = [f"POST {target} HTTP/1.1", "Host: frontend", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}", *headers, *(["Connection: close"] if close else [])]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunk(data: bytes) -> bytes:
    """One HTTP chunk; of no bytes, the last one."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def json_answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A response with Content-Length and vLLM's header names."""
    lines = [f"HTTP/1.1 {status}", "server: uvicorn", f"content-length: {len(body)}"]
    lines += ["content-type: application/json", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def sse_head(*headers: str) -> bytes:
    """The head of a stream as vLLM sends it."""
    lines = ["HTTP/1.1 200 OK", "server: uvicorn", "content-type: text/event-stream; charset=utf-8"]
    lines += ["transfer-encoding: chunked", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def sse_answer(events: Iterable[bytes]) -> bytes:
    """A whole stream: each event in its own chunk, then the end."""
    return sse_head() + b"".join(chunk(event + b"\n\n") for event in events) + chunk(b"")


def header_fields(head: bytes) -> list[tuple[str, str]]:
    """The header lines of a request or response head, names in lower case; anything odd is an error."""
    fields = []
    for line in head.split(b"\r\n")[1:]:
        if not line:
            break
        found = _FIELD.fullmatch(line)
        if not found:
            raise BadAnswer(f"not a header line: {line!r}")
        fields.append((found[1].decode().lower(), found[2].decode("latin-1")))
    return fields


# ---------------------------------------------------------------- the client


class RawClient:
    """One connection; sends what it is told, believes nothing it reads, waits `patience_s` for each read."""

    def __init__(self, sock: socket.socket) -> None:
        self.patience_s = 30.0
        self._sock = sock
        self._buffer = bytearray()
        self._ended = False
        self._was_reset = False

    @classmethod
    async def open(cls, port: int, host: str = "127.0.0.1", receive_bytes: int = 0) -> Self:
        """Connect; *receive_bytes* > 0 makes the kernel's receive buffer that small (slow readers)."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- sending and leaving

    async def send(self, *pieces: bytes, gap_s: float = 0.0) -> None:
        """Send each piece in its own write, *gap_s* apart (at 0 the loop turns once between them)."""
        loop = asyncio.get_running_loop()
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(gap_s)
            await loop.sock_sendall(self._sock, piece)

    def finish(self) -> None:
        """Send FIN and keep reading."""
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close both ways (the kernel sends FIN, or RST when bytes are unread)."""
        self._sock.close()

    def reset(self) -> None:
        """Close with RST."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    # -- reading

    async def _more(self) -> None:
        try:
            async with asyncio.timeout(self.patience_s):
                data = await asyncio.get_running_loop().sock_recv(self._sock, 65536)
        except TimeoutError as error:
            held = bytes(self._buffer[-200:])
            raise TimeoutError(f"nothing came for {self.patience_s:g} s after {held!r}") from error
        except ConnectionResetError as error:
            self._ended = self._was_reset = True
            raise ConnectionEnded("reset by the peer") from error
        if not data:
            self._ended = True
            raise ConnectionEnded(f"closed by the peer after {bytes(self._buffer[-200:])!r}")
        self._buffer += data

    async def exactly(self, count: int) -> bytes:
        """The next *count* bytes."""
        while len(self._buffer) < count:
            await self._more()
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    async def until(self, mark: bytes) -> bytes:
        """Everything up to and with *mark*."""
        start = 0
        while (at := self._buffer.find(mark, start)) < 0:
            start = max(0, len(self._buffer) - len(mark))
            await self._more()
        return await self.exactly(at + len(mark))

    async def rest(self) -> bytes:
        """Everything until the peer closes; a reset counts as the end."""
        while not self._ended:
            try:
                await self._more()
            except ConnectionEnded:
                break
        taken = bytes(self._buffer)
        self._buffer.clear()
        return taken

    async def ended(self) -> bool:
        """Wait for the peer to close; True when nothing more came before that."""
        return await self.rest() == b""

    async def head(self) -> Answer:
        """The next response head."""
        raw = await self.until(b"\r\n\r\n")
        line = raw.split(b"\r\n", 1)[0]
        found = _STATUS_LINE.fullmatch(line)
        if not found:
            raise BadAnswer(f"not a status line: {line!r}")
        if re.search(rb"(?<!\r)\n|\r(?!\n)", raw):
            raise BadAnswer(f"a bare CR or LF in the head: {raw!r}")
        return Answer(int(found[2]), found[3].decode(), int(found[1]), header_fields(raw))

    async def answer(self, method: str = "POST") -> Answer:
        """The next response with its body; an interim one (1xx) is an error here: read it with `head`."""
        head = await self.head()
        if head.status < 200:
            raise BadAnswer(f"an interim response {head.status}")
        chunks = [piece async for piece in self.pieces(head, method)]
        return replace(head, body=b"".join(chunks), chunks=chunks)

    async def pieces(self, head: Answer, method: str = "POST") -> AsyncIterator[bytes]:
        """The body piece by piece, as the peer framed it."""
        length, coding = head.header("content-length"), head.header("transfer-encoding")
        if length is not None and coding is not None:
            raise BadAnswer("both Content-Length and Transfer-Encoding")
        if method == "HEAD" or head.status in (204, 304):
            return
        if coding is not None:
            if coding != "chunked" or head.version == 0:
                raise BadAnswer(f"Transfer-Encoding: {coding} in HTTP/1.{head.version}")
            async for piece in self._chunks():
                yield piece
        elif length is not None:
            if not length.isdecimal():
                raise BadAnswer(f"Content-Length: {length}")
            if int(length):
                yield await self.exactly(int(length))
        else:
            if head.header("connection") != "close" and head.version == 1:
                raise BadAnswer("a body without a length on a connection that stays open")
            async for piece in self._until_closed():
                yield piece

    async def _until_closed(self) -> AsyncIterator[bytes]:
        while True:
            if self._buffer:
                yield await self.exactly(len(self._buffer))
            try:
                await self._more()
            except ConnectionEnded:
                if self._was_reset:
                    raise
                return

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            line = (await self.until(b"\r\n"))[:-2]
            if not _CHUNK_SIZE.fullmatch(line):
                raise BadAnswer(f"not a chunk size: {line!r}")
            data = await self.exactly(int(line, 16))
            if await self.exactly(2) != b"\r\n":
                raise BadAnswer("a chunk does not end with CRLF")
            if not data:
                return
            yield data

    async def events(self, head: Answer) -> AsyncIterator[bytes]:
        """The body's SSE events as they come, each without its blank line."""
        held = b""
        async for piece in self.pieces(head):
            held += piece
            *whole, held = held.split(b"\n\n")
            for event in whole:
                yield event
        if held:
            raise BadAnswer(f"the stream ends inside an event: {held!r}")
