"""Questions of ours to a worker: its health, its models, its metrics, where it tells of its cache.

Connections are not kept: a kept one says that a process lives, a new one that it accepts. A body is read up
to BODY_MAX.

Whether a worker that is not ready serves by now is `urgent` and asked at once. Of everything else ASIDE_PER_S
questions a second are begun: one costs the control loop half a millisecond and more, and of a thousand
workers that come together the last would otherwise serve when all had been asked everything. It is a rate and
not a number at a time, for a worker that hangs must not delay the questions to others.
"""

import asyncio
from types import TracebackType
from typing import Final, Self

import aiohttp

from grove_dp.routing.workers import Worker

__all__ = ["BODY_MAX", "Asker", "NoAnswer"]

BODY_MAX: Final = 4 << 20
ASIDE_PER_S: Final = 250.0


class NoAnswer(Exception):
    """A worker did not answer as it should; the message is the reason word."""


class Asker:
    """Asks workers. An async context: its session ends with it."""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, limit=0, happy_eyeballs_delay=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"User-Agent": "grove-dp"},
        )
        self._next_aside = 0.0
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(self, worker: Worker, path: str, timeout_s: float, *, urgent: bool = False) -> bytes:
        """The body of a 200; anything else is NoAnswer. The time runs from when it is sent."""
        if not urgent:
            await self._turn()
        return await self._ask("GET", worker, path, timeout_s, None)

    async def post(self, worker: Worker, path: str, body: bytes, timeout_s: float) -> bytes:
        """The same for a POST of JSON; never urgent."""
        await self._turn()
        return await self._ask("POST", worker, path, timeout_s, body)

    async def _turn(self) -> None:
        """Wait for our turn among the questions that are not urgent."""
        now = asyncio.get_running_loop().time()
        begins = max(self._next_aside, now)
        self._next_aside = begins + 1 / ASIDE_PER_S
        if begins > now:
            await asyncio.sleep(begins - now)

    async def _ask(
        self, method: str, worker: Worker, path: str, timeout_s: float, body: bytes | None
    ) -> bytes:
        assert worker.address is not None
        address = f"[{worker.address}]" if ":" in worker.address else worker.address
        headers = {"Host": worker.spec.authority}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.request(
                    method,
                    f"http://{address}:{worker.spec.port}{path}",
                    headers=headers,
                    data=body,
                    allow_redirects=False,
                ) as answer,
            ):
                told = await _body(answer)
                if answer.status != 200:
                    raise NoAnswer(f"ProbeStatus{answer.status}")
                return told
        except TimeoutError:
            raise NoAnswer("ProbeTimeout") from None
        except aiohttp.ClientConnectorError as error:
            refused = isinstance(error.os_error, ConnectionRefusedError)
            raise NoAnswer("ProbeRefused" if refused else "ProbeUnreachable") from None
        except (aiohttp.ClientError, OSError):
            raise NoAnswer("ProbeBroken") from None


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in answer.content.iter_any():
        size += len(part)
        if size > BODY_MAX:
            raise NoAnswer("ProbeTooLarge")
        parts.append(part)
    return b"".join(parts)
