"""Questions of ours to a worker: its health, its models, its metrics, where it tells of its cache.

Connections are not kept: a kept one says that a process lives, a new one that it accepts. A body is read up
to BODY_MAX. Heads and chunks are read by the parser of the data plane: whom we cannot read here could not
serve there.

PERF: a client session of aiohttp costs the control loop half a millisecond for each question, and a thousand
workers are asked 250 times a second and more; the connection, the parser and nothing else cost a fifth of
that.

Whether a worker that is not ready serves by now is `urgent` and asked at once. Of everything else ASIDE_PER_S
questions a second are begun: of a thousand workers that come together the last would otherwise serve when all
had been asked everything. It is a rate and not a number at a time, for a worker that hangs must not delay the
questions to others.
"""

import asyncio
from types import TracebackType
from typing import Final, Self, cast

from grove_dp.native import http1
from grove_dp.routing.workers import Worker

__all__ = ["BODY_MAX", "Asker", "NoAnswer"]

BODY_MAX: Final = 4 << 20
ASIDE_PER_S: Final = 250.0
COMMON: Final = b"User-Agent: grove-dp\r\nAccept: */*\r\nConnection: close\r\n"
HEAD_MAX: Final = 64 << 10
CHUNKS_AT_ONCE: Final = 1 << 10  # bytes of a chunked body: the parser is given a copy of the rest each time


class NoAnswer(Exception):
    """A worker did not answer as it should; the message is the reason word."""


class Asker:
    """Asks workers. An async context: no connection outlives it."""

    def __init__(self) -> None:
        self._next_aside = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.sleep(0)  # the loop closes sockets one turn after they were given up

    async def get(self, worker: Worker, path: str, timeout_s: float, *, urgent: bool = False) -> bytes:
        """The body of a 200; anything else is NoAnswer. The time runs from when it is sent."""
        if not urgent:
            await self._turn()
        return await _ask(worker, f"GET {path}", b"\r\n", timeout_s)

    async def post(self, worker: Worker, path: str, body: bytes, timeout_s: float) -> bytes:
        """The same for a POST of JSON; never urgent."""
        await self._turn()
        length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n".encode()
        return await _ask(worker, f"POST {path}", length + b"\r\n" + body, timeout_s)

    async def _turn(self) -> None:
        """Wait for our turn among the questions that are not urgent."""
        now = asyncio.get_running_loop().time()
        begins = max(self._next_aside, now)
        self._next_aside = begins + 1 / ASIDE_PER_S
        if begins > now:
            await asyncio.sleep(begins - now)


async def _ask(worker: Worker, what: str, rest: bytes, timeout_s: float) -> bytes:
    """*rest* is what follows the headers that every question has."""
    assert worker.address is not None
    loop = asyncio.get_running_loop()
    head = f"{what} HTTP/1.1\r\nHost: {worker.spec.authority}\r\n".encode()
    exchange = _Exchange(head + COMMON + rest, loop.create_future())
    try:
        async with asyncio.timeout(timeout_s):
            await loop.create_connection(lambda: exchange, worker.address, worker.spec.port)
            answer = await exchange.answer
    except TimeoutError:
        raise NoAnswer("ProbeTimeout") from None
    except ConnectionRefusedError:
        raise NoAnswer("ProbeRefused") from None
    except OSError:
        raise NoAnswer("ProbeUnreachable") from None
    finally:
        exchange.give_up()
    if isinstance(answer, str):
        raise NoAnswer(answer)
    return answer


class _Exchange(asyncio.Protocol):
    """One question, and its answer as it comes in: a head, then a body as the head says.

    What went wrong is the answer's value, a reason word, and no exception of it: that would hold the frames
    which hold the future, and each failed question would be work for the garbage collector.
    """

    def __init__(self, question: bytes, answer: asyncio.Future[bytes | str]) -> None:
        self.answer = answer
        self._question = question
        self._transport: asyncio.Transport | None = None
        self._head = b""  # until it is whole
        self._told: http1.Response | None = None
        self._chunks: http1.Chunked | None = None
        self._body = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._question)

    def data_received(self, data: bytes) -> None:
        if self.answer.done():
            return
        try:
            self._read(data if self._told is not None else self._behind_head(data))
        except NoAnswer as failed:
            self.answer.set_result(str(failed))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self.answer.done():
            return
        told = self._told
        if exc is None and told is not None and told.length is None and not told.chunked:
            self.answer.set_result(bytes(self._body))  # such a body ends with its connection
        else:
            self.answer.set_result("ProbeBroken")

    def give_up(self) -> None:
        """Close, whatever has come so far."""
        if self._transport is not None:
            self._transport.abort()
        self.answer.cancel()

    def _behind_head(self, data: bytes) -> bytes:
        """What of *data* is body."""
        seen, self._head = len(self._head), self._head + data
        while True:
            size, told = http1.response(self._head, seen)
            if size == http1.MORE and len(self._head) <= HEAD_MAX:
                return b""
            if not isinstance(told, http1.Response):
                raise NoAnswer("ProbeBroken")
            rest = self._head[size:]
            if told.status >= 200:
                break
            seen, self._head = 0, rest  # 103 Early Hints and such: the answer comes after it
        if told.status != 200:
            raise NoAnswer(f"ProbeStatus{told.status}")
        self._told, self._head = told, b""
        if told.chunked:
            self._chunks = http1.Chunked()
        return rest

    def _read(self, data: bytes) -> None:
        """More of the body; the answer is there when it is whole."""
        told = self._told
        if told is None:
            return
        if self._chunks is not None:
            whole = self._unchunk(self._chunks, data)
        else:
            self._body += data
            whole = told.length is not None and len(self._body) >= told.length
        if max(len(self._body), told.length or 0) > BODY_MAX:
            raise NoAnswer("ProbeTooLarge")
        if whole:
            self.answer.set_result(bytes(self._body[: told.length]))

    def _unchunk(self, chunks: http1.Chunked, data: bytes) -> bool:
        """Add the payload of *data*; whether the last chunk has come."""
        for at in range(0, len(data), CHUNKS_AT_ONCE):
            part = data[at : at + CHUNKS_AT_ONCE]
            while part and not chunks.done:
                used, payload = chunks.next(part)
                if used < 0:
                    raise NoAnswer("ProbeBroken")
                self._body += payload
                part = part[used:]
        return chunks.done
