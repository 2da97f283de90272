"""All frontends, asked once a second, as the picture that is served.

    Where ── each RESOLVE_S ──> Frontends.sync
    Frontends.poll ── each POLL_S ──> merged ──> samples.picture ──> Board.publish

The adapter's frontends are named one by one, or as one name with many addresses (a headless Service): then
each address is one. A name that cannot be resolved keeps its last addresses; those that are gone do not
answer, and the picture says so.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

import aiohttp

from grove_dp.clock import Clock
from grove_dp.errors import ConfigurationError, GroveError
from grove_dp.metering.external.board import Picture
from grove_dp.metering.external.samples import picture
from grove_dp.metering.external.targets import KnownTargets
from grove_dp.metering.merging import Frontends

__all__ = [
    "Found",
    "Lookup",
    "Names",
    "Overview",
    "Unanswered",
    "Where",
    "addresses",
    "fetch_with",
    "frontend_url",
]

POLL_S: Final = 1.0
RESOLVE_S: Final = 5.0

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]

_log = logging.getLogger(__name__)


class Unanswered(GroveError):
    """A frontend's admin port gave something else than an answer."""

    reason = "Unanswered"


def frontend_url(named: str) -> tuple[str, int]:
    """Host and port of `http://HOST:PORT` or HOST:PORT. ConfigurationError."""
    host, _, port = named.removeprefix("http://").removesuffix("/").rpartition(":")
    if not host or not port.isdigit() or not 1 <= int(port) <= 65_535 or "/" in host:
        raise ConfigurationError(f"{named!r} is no frontend's admin port; write http://HOST:PORT")
    return host.strip("[]"), int(port)


async def addresses(host: str, port: int) -> Sequence[str]:
    """All addresses of a name, numeric. OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return sorted({str(address[0]) for *_, address in found})


def fetch_with(session: aiohttp.ClientSession) -> Callable[[str], Awaitable[bytes]]:
    """GET by *session*."""

    async def fetch(url: str) -> bytes:
        try:
            async with session.get(url) as answer:
                if answer.status != 200:
                    raise Unanswered(f"{url}: status {answer.status}")
                return await answer.read()
        except aiohttp.ClientError as error:
            raise Unanswered(f"{url}: {error}") from None

    return fetch


class Found(NamedTuple):
    """The frontends that there are."""

    urls: Sequence[str]
    missing: tuple[str, ...] = ()  # others there must be, and why they are not among them


Where = Callable[[], Awaitable[Found]]


class Names:
    """The frontends behind hosts and ports, as `frontend_url` reads them."""

    def __init__(self, named: Sequence[tuple[str, int]], lookup: Lookup = addresses) -> None:
        self._named = named
        self._lookup = lookup
        self._found: dict[tuple[str, int], list[str]] = {}

    async def __call__(self) -> Found:
        """Look all of them up."""
        await asyncio.gather(*(self._resolve(host, port) for host, port in self._named))
        unknown = [(host, port) for host, port in self._named if (host, port) not in self._found]
        return Found(
            [url for urls in self._found.values() for url in urls],
            tuple(f"{host}:{port}: NameNotResolved" for host, port in unknown),
        )

    async def _resolve(self, host: str, port: int) -> None:
        try:
            found = await self._lookup(host, port)
        except OSError as error:
            _log.warning("frontends not found", extra={"host": host, "error": str(error)})
            return
        self._found[host, port] = [
            f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
            for address in found
        ]


class Overview:
    """Keeps a board up to date."""

    def __init__(
        self,
        where: Where,
        frontends: Frontends,
        known: KnownTargets,
        publish: Callable[[Picture], None],
        clock: Clock,
    ) -> None:
        self._where = where
        self._frontends = frontends
        self._known = known
        self._publish = publish
        self._clock = clock
        self._found = Found(())
        self._missing: tuple[str, ...] = ()
        self._look_at = 0.0

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            began = self._clock.now()
            await self.step()
            await self._clock.sleep(max(0.0, began + POLL_S - self._clock.now()))

    async def step(self) -> None:
        """Look who there is if it is time, ask everybody, publish."""
        if self._clock.now() >= self._look_at:
            self._found = await self._where()
            self._frontends.sync(self._found.urls)
            self._look_at = self._clock.now() + RESOLVE_S
        await self._frontends.poll()
        told = picture(self._frontends.merged(), self._known.look)
        told = Picture(samples=told.samples, missing=told.missing + self._found.missing)
        if told.missing != self._missing:
            self._missing = told.missing
            facts = {"missing": "; ".join(told.missing)}
            if told.missing:
                _log.warning("the picture is incomplete: nothing is told until it is", extra=facts)
            else:
                _log.info("the picture is complete")
        self._publish(told)
