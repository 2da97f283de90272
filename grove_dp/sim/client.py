"""The load client: HTTP/1.1 requests from one process, each measured, none hidden.

Its own asyncio protocol instead of a library, because the client must not be what is measured: a read costs
one callback, one `Answer.feed` and no task switch; a request costs one task, one future and one timer.
Connections are kept alive and picked newest first; there is no limit on them, since an open loop must never
wait for a free one. An idle connection is dropped after 4 s, before vLLM drops it (5 s). Nothing is ever
retried: a replay reports what a plain client would have seen.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from grove_dp.errors import ConfigurationError, GroveError
from grove_dp.sim.answer import Answer, MalformedAnswer

if TYPE_CHECKING:
    from grove_dp.clock import Clock
    from grove_dp.sim.distribution import Distribution

__all__ = ["Endpoint", "LoadClient", "Outcome", "Unreachable"]


class Unreachable(GroveError):
    """No connection, or none that held until the answer was whole."""

    reason, status = "ConnectFailed", 502


class Endpoint(msgspec.Struct, frozen=True):
    """Where requests go."""

    host: str
    port: int
    prefix: str = ""

    @classmethod
    def of(cls, url: str) -> Endpoint:
        """The endpoint of an http:// URL; a trailing /v1 is dropped, since every path here brings its own."""
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme != "http" or not parts.hostname:
            raise ConfigurationError(f"--url {url}: expected http://HOST[:PORT] (TLS is not spoken here)")
        return cls(parts.hostname, parts.port or 80, parts.path.rstrip("/").removesuffix("/v1"))

    def head(self, method: str, path: str, length: int, extra: str = "") -> bytes:
        """The request head for a JSON body of *length* bytes."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (
            f"{method} {self.prefix}{path} HTTP/1.1\r\nHost: {host}:{self.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {length}\r\n{extra}\r\n"
        ).encode()


class Outcome(msgspec.Struct, frozen=True):
    """How one request went. `reason` is empty for success; seconds count from the sending."""

    e2e_s: float
    reason: str = ""
    status: int = 0
    worker: str = ""
    ttft_s: float | None = None
    tpot_s: float | None = None  # mean time per token after the first
    tokens_seen: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0

    @property
    def cut(self) -> bool:
        """Broken off after tokens had come, and a well-formed error said so: no retry could have saved it."""
        return self.tokens_seen > 0 and self.reason.startswith("StreamError")

    @property
    def failed(self) -> bool:
        """Anything else that is no success: an error in place of tokens, or an end without a word."""
        return bool(self.reason) and not self.cut


_Pending = tuple["asyncio.Future[None]", asyncio.TimerHandle]


class _Connection(asyncio.Protocol):
    """One connection: carries one request at a time and tells its waiter when the answer is over."""

    def __init__(self, clock: Clock) -> None:
        self._now = clock.now
        self.answer: Answer | None = None
        self.ended: asyncio.Future[None] | None = None
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's transport

    def data_received(self, data: bytes) -> None:
        answer = self.answer
        if answer is None:  # nothing was asked; a peer that talks out of turn is not kept
            self.close()
            return
        try:
            answer.feed(data, self._now())
        except MalformedAnswer as wrong:
            self._finish(wrong)
            self.close()
            return
        if answer.complete:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self.answer is not None:
            self.answer.end()
            self._finish()

    def expire(self) -> None:
        self._finish(TimeoutError())
        self.close()

    def _finish(self, error: Exception | None = None) -> None:
        if self.ended is not None and not self.ended.done():
            if error is None:
                self.ended.set_result(None)
            else:
                self.ended.set_exception(error)

    def send(self, request: bytes, answer: Answer, timeout_s: float) -> _Pending:
        loop = asyncio.get_running_loop()
        self.answer = answer
        self.ended = loop.create_future()
        if self.closed or self.transport is None:
            self._finish()
        else:
            self.transport.write(request)
        return self.ended, loop.call_later(timeout_s, self.expire)

    def close(self) -> None:
        self.closed = True
        if self.transport is not None:
            self.transport.abort()


class LoadClient:
    """Sends requests to one endpoint over as many connections as they need."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        clock: Clock,
        gaps: Distribution | None = None,
        timeout_s: float = 600.0,
        idle_s: float = 4.0,
        extra_head: str = "",
    ) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._gaps = gaps
        self._timeout_s = timeout_s
        self._idle_s = idle_s
        self._extra_head = extra_head
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()

    async def post(self, path: str, body: bytes) -> Outcome:
        """Send *body* and follow the answer to its end; every kind of trouble is an Outcome."""
        answer = Answer(self._gaps)
        begun = self._clock.now()
        head = self._endpoint.head("POST", path, len(body), self._extra_head)
        reason = ""
        try:
            await self._exchange(head + body, answer)
        except OSError as refused:  # TimeoutError is one
            reason = "TimedOut" if isinstance(refused, TimeoutError) else Unreachable.reason
        except MalformedAnswer:
            reason = MalformedAnswer.reason
        return _outcome(answer, begun, self._clock.now(), reason)

    async def get(self, path: str) -> bytes:
        """The body of a 200 answer; anything else is Unreachable."""
        answer = Answer()
        where = f"http://{self._endpoint.host}:{self._endpoint.port}{self._endpoint.prefix}{path}"
        try:
            await self._exchange(self._endpoint.head("GET", path, 0), answer)
        except OSError as refused:
            what = "no answer in time" if isinstance(refused, TimeoutError) else str(refused)
            raise Unreachable(f"{where}: {what}; is a server there?") from None
        if answer.status != 200 or not answer.complete:
            raise Unreachable(f"{where}: answered {answer.status or 'nothing'}, expected 200")
        return b"".join(answer.body)

    async def _exchange(self, request: bytes, answer: Answer) -> None:
        connection = self._reused() or await self._connected()
        ended, timer = connection.send(request, answer, self._timeout_s)
        try:
            await ended
        finally:
            timer.cancel()
            self._put_back(connection, answer)

    def _reused(self) -> _Connection | None:
        oldest = self._clock.now() - self._idle_s
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed and connection.idle_since > oldest:
                return connection
            self._drop(connection)
        return None

    async def _connected(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: _Connection(self._clock), self._endpoint.host, self._endpoint.port
        )
        self._open.add(connection)
        return connection

    def _put_back(self, connection: _Connection, answer: Answer) -> None:
        connection.answer = connection.ended = None
        if answer.complete and answer.reusable and not connection.closed:
            connection.idle_since = self._clock.now()
            self._idle.append(connection)
        else:
            self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        self._open.discard(connection)
        connection.close()

    def close(self) -> None:
        """Close every connection; requests under way end as cut."""
        for connection in list(self._open):
            self._drop(connection)
        self._idle.clear()


# -- what an answer amounts to ---------------------------------------------------------------------------


class _Details(msgspec.Struct):
    cached_tokens: int | None = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int | None = 0
    prompt_tokens_details: _Details | None = None


class _Measured(msgspec.Struct):
    usage: _Usage | None = None


class _Error(msgspec.Struct):
    reason: str | None = None
    type: str | None = None
    code: str | int | None = None


class _Refusal(msgspec.Struct):
    error: _Error | str | None = None


def _outcome(answer: Answer, begun: float, ended: float, trouble: str) -> Outcome:
    reason = trouble or _reason(answer)
    usage = _usage(answer) or _Usage(completion_tokens=answer.tokens)
    details = usage.prompt_tokens_details
    first = answer.first_token_at if answer.streamed else answer.first_byte_at
    later = max(usage.completion_tokens or 0, answer.tokens) - 1
    told_s = answer.last_token_at - first if answer.streamed and first is not None else 0.0
    return Outcome(
        e2e_s=ended - begun,
        reason=reason,
        status=answer.status,
        worker=answer.headers.get("x-grove-worker", ""),
        ttft_s=first - begun if first is not None and not reason else None,
        tpot_s=told_s / later if later > 0 and answer.streamed and not reason else None,
        tokens_seen=answer.tokens,
        prompt_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens or 0,
        cached_tokens=(details.cached_tokens or 0) if details is not None else 0,
    )


def _reason(answer: Answer) -> str:
    """The word under which an answer is counted; empty when it is whole and good."""
    if not answer.status:
        return "CutBeforeFirstByte"
    if answer.status >= 300:
        word = _refusal(b"".join(answer.body))
        return f"Status{answer.status}" + (f":{word}" if word else "")
    if answer.error:
        word = _refusal(answer.error)
        return "StreamError" + (f":{word}" if word else "")
    if not answer.complete or (answer.streamed and not answer.done):
        return "CutMidStream"
    return ""


def _refusal(body: bytes) -> str:
    try:
        error = msgspec.json.decode(body, type=_Refusal).error
    except msgspec.MsgspecError:
        return ""
    if isinstance(error, str) or error is None:
        return (error or "").replace(" ", "")[:40]
    return str(error.reason or error.type or error.code or "").replace(" ", "")


def _usage(answer: Answer) -> _Usage | None:
    try:
        return msgspec.json.decode(answer.usage or b"".join(answer.body), type=_Measured).usage
    except msgspec.MsgspecError:
        return None
