"""Has a function make the world as it should be, one key at a time, whenever something about the key changed.

    informers ── change ──► mapping ── keys ──► queue ── key ──► workers ──► reconcile(key)
                                                  ▲                              │
                                                  └── later: Again, an error ◄───┘

`reconcile` is told only which key, never what happened: it looks at what is, does what is missing, and may be
called too often. What it returns or raises decides when it is called again for the same key without anything
having changed:

    returns None              not at all
    returns Again(after_s)    after that time
    Conflict, AlreadyExists   soon (at most SOON_S): our picture was older than the world
    TooManyRequests           not before the server's Retry-After
    any other error           after a back-off that doubles up to a minute, logged once per step of it

Nothing can make it spin: however often a key is asked for, it runs in the queue's pace (50 at once, then 20
a second), and what had to wait for that is counted as `slowed`.

It ends in two ways. `stop` lets the keys in work finish for a time of grace. Cancelling `run` cancels them
too, at once: that is for a leader that is none any more. Those keys stay in the queue, so that the controller
may `run` again.
"""

import asyncio
import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping
from random import Random
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from grove_dp.clock import Clock, SystemClock
from grove_dp.errors import GroveError
from grove_dp.kube.errors import AlreadyExists, ApiError, Conflict
from grove_dp.kube.objects import Object
from grove_dp.kube.pace import Pace
from grove_dp.kube.queue import QueueClosed, QueueReading, WorkQueue
from grove_dp.kube.store import Change
from grove_dp.kube.timing import within

__all__ = ["Again", "Controller", "ControllerReading", "Key", "Source", "own_key", "owner_key"]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T", bound=Object)
log = logging.getLogger(__name__)

WORKERS: Final = 4
GRACE_S: Final = 20.0
SOON_S: Final = 1.0
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MAPPING_FAILED: Final = "MappingFailed"
STALE: Final = (Conflict, AlreadyExists)  # our picture was older than the world


class Again(NamedTuple):
    """What a reconcile returns that wants to be called again though nothing may have changed."""

    after_s: float


class Key(NamedTuple):
    """The usual key: an object by its name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


Reconcile = Callable[[K], Awaitable[Again | None]]
Mapped = Callable[[Change[T]], Iterable[K]]


class Source(Protocol[T]):
    """Where changes come from; an Informer is one."""

    def listen(self, told: Callable[[Change[T]], None]) -> None:
        """Call *told* for every change."""
        ...


class ControllerReading(NamedTuple):
    """A controller at one time. Counts are since the start."""

    name: str
    runs: int
    errors: Mapping[str, int]  # by reason
    seconds: float  # of all runs
    buckets: Mapping[float, int]  # runs that took no longer; inf: all
    cut: int  # runs that were cancelled
    queue: QueueReading


# ------------------------------------------------------------ mappings


def own_key(change: Change[Any]) -> Iterable[Key]:
    """The object itself."""
    meta = change.last.metadata
    return (Key(meta.namespace, meta.name),)


def owner_key(kind: str) -> Callable[[Change[Any]], Iterable[Key]]:
    """The *kind* that controls the object, or controlled it before the change."""

    def owner_of(held: Object | None) -> Key | None:
        if held is None:
            return None
        for owner in held.metadata.owner_references or ():
            if owner.controller:
                return Key(held.metadata.namespace, owner.name) if owner.kind == kind else None
        return None

    def keys(change: Change[Any]) -> Iterable[Key]:
        before, after = owner_of(change.old), owner_of(change.new)
        if before == after:
            return () if after is None else (after,)
        return [key for key in (before, after) if key is not None]

    return keys


# ------------------------------------------------------------ the controller


class Controller(Generic[K]):
    """One kind of work. `follow` what it depends on, then `run` it."""

    def __init__(
        self,
        name: str,
        reconcile: Reconcile[K],
        *,
        workers: int = WORKERS,
        clock: Clock | None = None,
        rng: Random | None = None,
        pace: Pace[K] | None = None,
        grace_s: float = GRACE_S,
    ) -> None:
        """*workers* keys are in work at the same time, at most."""
        self.name = name
        self._reconcile = reconcile
        self._workers = workers
        self._clock = clock or SystemClock()
        self._grace_s = grace_s
        self.queue = WorkQueue[K](self._clock, rng, pace=pace)
        self._running: dict[K, asyncio.Task[Any]] = {}
        self._runs = self._cut = 0
        self._seconds = 0.0
        self._counts = [0] * (len(SECONDS) + 1)
        self._errors: Counter[str] = Counter()

    # ------------------------------------------------------------ what it depends on

    def follow(self, source: Source[T], keys: Mapped[T, K], *, priority: float = 0) -> None:
        """Whenever something changes in *source*, work on the keys that the change concerns."""

        def told(change: Change[T]) -> None:
            try:
                for key in keys(change):
                    self.queue.add(key, priority=priority)
            except Exception:  # the informer and its other listeners are not to suffer from it
                self._errors[MAPPING_FAILED] += 1
                meta = change.last.metadata
                log.exception("a change has no keys", extra={"controller": self.name, "object": meta.name})

        source.listen(told)

    # ------------------------------------------------------------ life

    async def run(self) -> None:
        """Work until `stop` is called, or until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._work(), name=f"{self.name}-{number}")

    async def stop(self) -> None:
        """Begin nothing more, and return when nothing is in work; after the grace that is cancelled."""
        self.queue.close()
        idle = asyncio.ensure_future(self.queue.idle())
        try:
            if not await within(self._clock, self._grace_s, idle):
                for key, task in self._running.items():
                    log.warning("cut short by the end", extra={"controller": self.name, "key": str(key)})
                    task.cancel()
            await idle
        finally:
            idle.cancel()

    def reading(self) -> ControllerReading:
        """The figures of now."""
        counts, total = {}, 0
        for bound, count in zip((*SECONDS, float("inf")), self._counts, strict=True):
            total += count
            counts[bound] = total
        return ControllerReading(
            name=self.name,
            runs=self._runs,
            errors=dict(self._errors),
            seconds=self._seconds,
            buckets=counts,
            cut=self._cut,
            queue=self.queue.reading(),
        )

    # ------------------------------------------------------------ work

    async def _work(self) -> None:
        """Take key after key."""
        task = asyncio.current_task()
        assert task is not None
        while True:
            try:
                key = await self.queue.get()
            except QueueClosed:
                return
            self._running[key] = task
            try:
                await self._run(key)
            finally:
                del self._running[key]
                self.queue.done(key)
            await asyncio.sleep(0)  # a reconcile that never waits must not keep all others from running

    async def _run(self, key: K) -> None:
        """One reconcile, and when the next."""
        started = self._clock.now()
        try:
            outcome = await self._reconcile(key)
        except asyncio.CancelledError:
            self._cut += 1
            self.queue.add(key)  # half done
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the other keys go on
            self._failed(key, error)
        else:
            self.queue.forget(key)
            if outcome is not None:
                self.queue.add(key, after_s=outcome.after_s)
        seconds = self._clock.now() - started
        self._runs += 1
        self._seconds += seconds
        self._counts[bisect_left(SECONDS, seconds)] += 1

    def _failed(self, key: K, raised: Exception) -> None:
        error = _worst(raised)
        known = isinstance(error, GroveError)
        word = _word(error)
        self._errors[word] += 1
        stale = isinstance(error, STALE)
        setbacks = self.queue.setbacks(key)
        delay_s = self.queue.retry(
            key, at_least_s=_retry_after_s(raised), at_most_s=SOON_S if stale else float("inf")
        )
        if stale or self.queue.setbacks(key) == setbacks:
            return
        log.log(
            logging.WARNING if known else logging.ERROR,
            "reconcile failed: %s",
            error,
            exc_info=None if known else raised,
            extra={
                "controller": self.name,
                "key": str(key),
                "reason": word,
                "setbacks": setbacks + 1,
                "again_s": round(delay_s, 3),
            },
        )


def _parts(error: Exception) -> Iterator[Exception]:
    """Itself, or what a group of tasks raised."""
    if isinstance(error, ExceptionGroup):
        for part in error.exceptions:
            yield from _parts(part)
    else:
        yield error


def _worst(error: Exception) -> Exception:
    """Of several errors the one that says what to do: a bug before trouble, trouble before an old picture."""
    return min(_parts(error), key=lambda part: (isinstance(part, GroveError), isinstance(part, STALE)))


def _retry_after_s(error: Exception) -> float:
    asked = (part.retry_after_s for part in _parts(error) if isinstance(part, GroveError))
    return max((seconds for seconds in asked if seconds), default=0.0)


def _word(error: Exception) -> str:
    """For the metric: what an ApiError is told by its class, everything else by its reason."""
    if isinstance(error, ApiError):
        return type(error).__name__
    return error.reason if isinstance(error, GroveError) else type(error).__name__
