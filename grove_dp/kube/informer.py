"""A copy of the objects of one kind, kept true by a watch.

    list, in pages ──► store ◄── watch from the list's version: added, modified, deleted, bookmarks
         ▲               │            │ ends (server's time limit)   ► watch on, from the last version seen
         │               │            │ silent for QUIET_S           ► the same: the other end may be gone
         │               ▼            │ 410, by status or in stream  ► list again
         │           listeners        │ anything else                ► the same, later and later
         └────────────────────────────┘

Rules that hold whatever the connection does: a listener is told of every object that came and of every one
that went, with its last state, also when it went while we were not watching; versions of an object never go
back; the store never empties for a new list. Watches ask for bookmarks, so that one that saw nothing for an
hour need not list again.

Reading one's own writes: `wrote(answer)` puts what a write returned into the store at once; the watch's
older news of that object is then left aside. `reached(version)` waits until the watch itself has come so far.

PERF: the typed watch of the `kubernetes` package decodes 3,800 events a second; this 50,000 and more: a chunk
of the stream is cut into lines and each line is decoded once, into the fields wanted.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from logging import DEBUG, WARNING
from random import Random
from typing import Any, Final, Generic, NamedTuple, NoReturn, TypeVar

import msgspec

from grove_dp.clock import Clock, SystemClock
from grove_dp.errors import GroveError
from grove_dp.kube.access import Access
from grove_dp.kube.backoff import Backoff
from grove_dp.kube.errors import ApiError, ApiUnreachable, Expired, refused
from grove_dp.kube.objects import Meta, Object, Resource, version_of
from grove_dp.kube.store import Change, Store

__all__ = ["Change", "Informer"]

T = TypeVar("T", bound=Object)
log = logging.getLogger(__name__)

PAGE: Final = 500
LIST_TIMEOUT_S: Final = 60.0
WATCH_S: Final = (300.0, 600.0)  # asked of the server, by chance between: not all watches end at once
QUIET_S: Final = 150.0  # bookmarks come each minute
LISTED_AFTER: Final = 5  # failures in a row: the version that we go on from may be what fails
AGAIN_S: Final = 10.0  # at most between two tries: what was away for long is seen soon after it is back
HEALTHY_S: Final = 5.0  # a watch that held so long was none of a row of failures


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _RawPage(msgspec.Struct):
    metadata: _ListMeta = _ListMeta()
    items: list[msgspec.Raw] | None = None


class _FittingPage(NamedTuple):
    metadata: _ListMeta
    items: list[Any]


class _RawEvent(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Status(msgspec.Struct):
    code: int = 0


class _Named(msgspec.Struct):
    metadata: Meta = Meta()


class _WatchEnded(GroveError):
    """The stream told of an error; the next one starts later."""


class Informer(Generic[T]):
    """Objects of one kind. `run` keeps them; everything else reads."""

    def __init__(
        self,
        api: Access,
        resource: Resource,
        into: type[T],
        *,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
        indexes: Mapping[str, Callable[[T], Iterable[str]]] | None = None,
        clock: Clock | None = None,
        rng: Random | None = None,
        page: int = PAGE,
        quiet_s: float = QUIET_S,
    ) -> None:
        """All of *resource*, or those in *namespace* that the selectors choose.

        *into* is a Struct with `metadata` whose every field has a default. Each of *indexes* says under which
        keys an object is found by `by`.
        """
        self.resource = resource
        self._api = api
        self._path = resource.path(namespace)
        selectors = {"labelSelector": labels, "fieldSelector": fields}
        self._selectors = {name: value for name, value in selectors.items() if value}
        self._clock = clock or SystemClock()
        self._rng = rng or Random()
        self._page = page
        self._quiet_s = quiet_s
        self._event = _event_decoder(into)
        self._page_of = _page_decoder(into)
        self._object = msgspec.json.Decoder(into)
        self._store = Store[T](indexes or {})
        self._listeners: list[Callable[[Change[T]], None]] = []
        self._synced = asyncio.Event()
        self._version = ""
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._heard_at = self._clock.now()
        self.trouble: GroveError | None = None  # why it cannot be kept at the moment
        self.lists = 0
        self.watches = 0
        self.events = 0
        self.undecodable = 0

    # ------------------------------------------------------------ reading

    def get(self, namespace: str, name: str) -> T | None:
        """The object of that name; *namespace* is empty for what has none."""
        return self._store.get(namespace, name)

    def by(self, index: str, key: str) -> list[T]:
        """Those that the index has under *key*, in the order in which they came."""
        return self._store.by(index, key)

    def __iter__(self) -> Iterator[T]:
        return iter(self._store)

    def __len__(self) -> int:
        return len(self._store)

    @property
    def is_synced(self) -> bool:
        """Whether a whole list has been taken over."""
        return self._synced.is_set()

    @property
    def quiet_s(self) -> float:
        """Seconds since the API server was last heard of; large: what is read here may be old."""
        return self._clock.now() - self._heard_at

    async def synced(self) -> None:
        """Return once the first whole list has been taken over."""
        await self._synced.wait()

    async def reached(self, resource_version: str) -> None:
        """Return once everything up to this version has been seen.

        With selectors an object's own version may never come by; the next bookmark, within a minute, does.
        """
        if self._synced.is_set() and version_of(self._version) >= version_of(resource_version):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((version_of(resource_version), waiter))
        await waiter

    def listen(self, told: Callable[[Change[T]], None]) -> None:
        """Call *told* for every change from now on, and at once for each object that is there already.

        It runs within the intake: it must be quick and must not raise.
        """
        self._listeners.append(told)
        for held in self._store:
            told(Change(None, held))

    def wrote(self, answer: T) -> None:
        """Take over what a write of ours returned, before the watch tells of it."""
        self._tell(self._store.put(answer))

    # ------------------------------------------------------------ keeping

    async def run(self) -> NoReturn:
        """List and watch until cancelled. No error ends it."""
        backoff = Backoff(self._rng, limit_s=AGAIN_S)
        while True:
            started = self._clock.now()
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except Expired:
                log.info("%s: its versions have expired, listing again", self._path)
                self._version = ""
            except (ApiError, ApiUnreachable, _WatchEnded) as error:
                if self._clock.now() - started >= HEALTHY_S:
                    backoff.reset()
                await self._pause(backoff, error)
                if backoff.failures % LISTED_AFTER == 0:
                    self._version = ""
                continue
            if self._clock.now() - started >= HEALTHY_S:
                backoff.reset()
            else:  # it ended well, but at once: an intermediary that cuts, or versions that keep expiring
                await self._clock.sleep(backoff.next_s())

    async def _pause(self, backoff: Backoff, error: GroveError) -> None:
        asked_s = error.retry_after_s if isinstance(error, ApiError) else None
        wait_s = max(backoff.next_s(), asked_s or 0.0)
        news = self.trouble is None or str(error) != str(self.trouble)
        log.log(WARNING if news else DEBUG, "%s: again in %.1f s: %s", self._path, wait_s, error)
        self.trouble = error
        await self._clock.sleep(wait_s)

    def _well(self) -> None:
        if self.trouble is not None:
            log.info("%s: can be seen again", self._path)
            self.trouble = None

    # ------------------------------------------------------------ lists

    async def _list(self) -> None:
        """Take over the whole collection, as it is now.

        Without a resourceVersion, so that it is never older than what we have seen of another API server.
        """
        query = {**self._selectors, "limit": str(self._page)}
        found: list[T] = []
        while True:
            answer = await self._api.get(self._path, into=msgspec.Raw, query=query, timeout_s=LIST_TIMEOUT_S)
            self._heard_at = self._clock.now()
            page = self._read(answer)
            found.extend(page.items or ())
            if not page.metadata.continue_:
                break
            query["continue"] = page.metadata.continue_
            await asyncio.sleep(0)
        self.lists += 1
        self._well()
        self._tell_all(self._store.replace(found, version_of(page.metadata.resource_version)))
        self._synced.set()
        self._advance(page.metadata.resource_version)

    def _read(self, answer: msgspec.Raw) -> Any:
        """A page of the list; what does not fit is left out of it."""
        try:
            return self._page_of.decode(answer)  # PERF: in one pass, 0.6 of the time of one after the other
        except msgspec.ValidationError:
            page = msgspec.json.decode(answer, type=_RawPage)
            return _FittingPage(page.metadata, list(self._fitting(page.items or ())))

    def _fitting(self, items: Iterable[msgspec.Raw]) -> Iterator[T]:
        for item in items:
            try:
                yield self._object.decode(item)
            except msgspec.ValidationError as error:
                self._skip(item, error)

    # ------------------------------------------------------------ watches

    async def _watch(self) -> None:
        """One watch, to its end."""
        limit_s = self._rng.uniform(*WATCH_S)
        query = {
            **self._selectors,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(int(limit_s)),
        }
        self.watches += 1
        try:
            async with asyncio.timeout(self._quiet_s) as quiet, self._api.stream(self._path, query) as stream:
                self._heard_at = self._clock.now()
                if stream.status >= 400:
                    raise refused(f"WATCH {self._path}", stream.status, await stream.read())
                self._well()
                async for lines in _lines(stream.chunks()):
                    self._heard_at = self._clock.now()
                    quiet.reschedule(asyncio.get_running_loop().time() + self._quiet_s)
                    for line in lines:
                        self._take(line)
                    await asyncio.sleep(0)  # a chunk that is there already is no reason to hold up the rest
        except TimeoutError:
            log.info("%s: the watch has been silent for %g s, starting another", self._path, self._quiet_s)
        except OSError as error:
            raise ApiUnreachable(f"WATCH {self._path}: {error}") from None

    def _take(self, line: bytes) -> None:
        try:
            event = self._event.decode(line)
        except msgspec.DecodeError as error:
            self._take_other(line, error)
            return
        self.events += 1
        kind: str = event.type
        held: T = event.object
        if kind == "DELETED":
            self._tell(self._store.remove(held))
        elif kind in ("ADDED", "MODIFIED"):
            self._tell(self._store.put(held))
        elif kind != "BOOKMARK":
            self._take_other(line, None)
            return
        self._advance(held.metadata.resource_version)

    def _take_other(self, line: bytes, error: msgspec.DecodeError | None) -> None:
        """What is no object of our kind: the server's error, or something that we cannot read."""
        try:
            event = msgspec.json.decode(line, type=_RawEvent)
        except msgspec.DecodeError as broken:
            raise _WatchEnded(f"WATCH {self._path}: a line that is no event: {broken}") from None
        if event.type == "ERROR":
            status = msgspec.json.decode(event.object, type=_Status)
            raise refused(f"WATCH {self._path}", status.code, bytes(event.object))
        if event.type == "BOOKMARK":  # an empty object, with nulls where our fields need not expect any
            self._advance(msgspec.json.decode(event.object, type=_Named).metadata.resource_version)
        elif error is not None:
            self._skip(event.object, error)

    def _skip(self, item: msgspec.Raw, error: msgspec.DecodeError) -> None:
        """One object that our fields do not fit must not cost the others."""
        self.undecodable += 1
        try:
            name = msgspec.json.decode(item, type=_Named).metadata.name
        except msgspec.DecodeError:
            name = "an object"
        log.error("%s: %s is left out: %s", self._path, name, error)

    # ------------------------------------------------------------ telling

    def _tell(self, change: Change[T] | None) -> None:
        if change is None:
            return
        for told in self._listeners:
            told(change)

    def _tell_all(self, changes: Iterable[Change[T]]) -> None:
        for change in changes:
            self._tell(change)

    def _advance(self, resource_version: str) -> None:
        self._version = resource_version
        if not self._waiting:
            return
        reached = version_of(resource_version)
        waiting, self._waiting = self._waiting, []
        for version, waiter in waiting:
            if version > reached:
                self._waiting.append((version, waiter))
            elif not waiter.done():
                waiter.set_result(None)


def _event_decoder(into: type[Object]) -> msgspec.json.Decoder[Any]:
    """Of a watch's lines: `type` and `object`, both at once."""
    return msgspec.json.Decoder(msgspec.defstruct("Event", [("type", str), ("object", into)], gc=False))


def _page_decoder(into: type[Object]) -> msgspec.json.Decoder[Any]:
    """Of a list's answer: `metadata` and `items`."""
    fields = [("metadata", _ListMeta, _ListMeta()), ("items", list[into] | None, None)]  # type: ignore[valid-type]
    return msgspec.json.Decoder(msgspec.defstruct("Page", fields))


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """The whole lines of each chunk."""
    begun: list[bytes] = []  # of a line that is not whole yet: joined once, however many chunks it takes
    async for chunk in chunks:
        first, *rest = chunk.split(b"\n")
        begun.append(first)
        if not rest:
            continue
        last = rest.pop()
        lines = [b"".join(begun), *rest]
        begun = [last] if last else []
        yield [line for line in lines if line]
