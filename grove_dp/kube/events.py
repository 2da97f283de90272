"""Tells people what happened, as Events (events.k8s.io/v1), without getting in anybody's way.

    record(...) ──► known already? ── no ──► bucket of the object ──► queue ──► POST
                        │ yes                     │ empty: lost         │ full: lost
                        └──► counted, told in a PATCH of its series, at most each SERIES_S

What is the same (object, type, reason, action and note) is one Event: the first time it is written, later it
is counted, in `series`. A note cannot be changed afterwards, so another note is another Event. An Event that
nobody repeated for FORGOTTEN_S is complete; what comes later is a new one.

`record` does no more than put it down: it never waits, and never raises for what the API server does. The
writing is one task's work, inside `async with`. Everything is bounded: Events remembered, Events waiting,
Events per object. What does not fit is lost, and counted by why.

Record what changed, not what is: the `changed` of a condition is a good reason, another pass over the same
state is none. It would cost no more than a patch each SERIES_S, but people would read a number in it.
"""

import asyncio
import logging
from collections import Counter, OrderedDict
from random import Random
from types import TracebackType
from typing import Final, Self

import msgspec

from grove_dp.clock import Clock, SystemClock
from grove_dp.errors import GroveError
from grove_dp.kube.access import Access
from grove_dp.kube.errors import AlreadyExists, ApiError, NotFound
from grove_dp.kube.occurrence import (
    EVENTS,
    Kind,
    Occurrence,
    Reference,
    event_name,
    occurrence,
    reporting,
    series,
)
from grove_dp.kube.pace import Pace
from grove_dp.kube.queue import QueueClosed, WorkQueue
from grove_dp.kube.timing import within

__all__ = ["EVENTS", "Recorder", "Reference"]

log = logging.getLogger(__name__)

SERIES_S: Final = 60.0
FORGOTTEN_S: Final = 600.0
REMEMBERED: Final = 4096
WAITING: Final = 1024
BURST: Final = 25
PER_S: Final = 1 / 60
TRIES: Final = 6
CLOSE_S: Final = 2.0


class _Told(msgspec.Struct):
    """One Event, and how much of it the API server knows."""

    first_wall: float
    last_wall: float
    last: float
    count: int = 1
    count_told: int = 0  # 0: not written yet
    name: str = ""
    tries: int = 0


class Recorder:
    """Writes Events in the name of one controller; works inside `async with`."""

    def __init__(
        self,
        api: Access,
        controller: str,
        instance: str,
        *,
        clock: Clock | None = None,
        rng: Random | None = None,
        pace: Pace[Reference] | None = None,
        waiting: int = WAITING,
        remembered: int = REMEMBERED,
        series_s: float = SERIES_S,
    ) -> None:
        """*controller* as in `grove-dp.io/operator`; *instance* is the pod or process."""
        self._api = api
        self._reporting = reporting(controller, instance)
        self._clock = clock or SystemClock()
        self._rng = rng or Random()
        self._pace = pace if pace is not None else Pace[Reference](BURST, PER_S)
        self._waiting_max = waiting
        self._remembered = remembered
        self._series_s = series_s
        self._told: OrderedDict[Occurrence, _Told] = OrderedDict()  # the one longest without news first
        self._queue = WorkQueue[Occurrence](
            self._clock, self._rng, first_retry_s=0.5, last_retry_s=15.0, pace=Pace(1_000, 1_000.0)
        )
        self._new = 0  # Events that the API server does not know yet
        self._complaint = ""
        self._task: asyncio.Task[None] | None = None
        self.written = self.patched = 0
        self.lost: Counter[str] = Counter()  # by why

    # ------------------------------------------------------------ recording

    def record(
        self,
        regarding: Reference,
        reason: str,
        note: str,
        *,
        action: str,
        kind: Kind = "Normal",
        related: Reference | None = None,
    ) -> None:
        """Tell that this happened to *regarding*: *reason* and *action* are stable CamelCase words."""
        same = occurrence(regarding, kind, reason, action, note, related)
        now, wall = self._clock.now(), self._clock.wall()
        told = self._told.get(same)
        if told is not None and now - told.last < FORGOTTEN_S:
            told.count += 1
            told.last, told.last_wall = now, wall
            self._told.move_to_end(same)
            if told.count_told:
                self._queue.add(same, after_s=self._series_s)
        elif self._new >= self._waiting_max:
            self.lost["QueueFull"] += 1
        elif not self._pace.took(regarding, now):
            self.lost["RateLimited"] += 1
        else:
            self._told[same] = _Told(first_wall=wall, last_wall=wall, last=now)
            self._told.move_to_end(same)
            self._new += 1
            self._queue.add(same)
            self._forget(now)

    def _forget(self, now: float) -> None:
        """Those that nobody has repeated for long, and the oldest of too many."""
        while self._told:
            same, told = next(iter(self._told.items()))
            if now - told.last < FORGOTTEN_S and len(self._told) <= self._remembered:
                return
            if not told.count_told:
                self._lose(told, "QueueFull")
            del self._told[same]

    # ------------------------------------------------------------ life

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="events")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is waiting, and what series still have to tell, if that is quickly done."""
        assert self._task is not None
        for same, told in self._told.items():
            if told.count > told.count_told > 0:
                self._queue.add(same)
        idle = asyncio.ensure_future(self._queue.idle())
        try:
            await within(self._clock, CLOSE_S, idle)
        finally:
            idle.cancel()
            self._queue.close()
            self._task.cancel()
            await asyncio.wait({self._task})
            if self._new:
                self.lost["Closed"] += self._new

    async def _run(self) -> None:
        while True:
            try:
                same = await self._queue.get()
            except QueueClosed:
                return
            try:
                await self._write(same)
            except Exception:
                log.exception("an event could not be written", extra={"reason": same.reason})
                if (told := self._told.pop(same, None)) is not None and not told.count_told:
                    self._lose(told, "InternalError")
            finally:
                self._queue.done(same)

    # ------------------------------------------------------------ writing

    async def _write(self, same: Occurrence) -> None:
        """Have the API server know of it; trouble is for later, or for nobody."""
        told = self._told.get(same)
        if told is None:
            return
        try:
            if told.count_told:
                await self._write_series(same, told)
            else:
                await self._write_new(same, told)
        except GroveError as error:
            if self._told.get(same) is not told:
                return
            told.tries += 1
            if not _passing(error) or told.tries >= TRIES:
                self._give_up(same, told, error)
            else:
                self._queue.retry(same, at_least_s=error.retry_after_s or 0.0)
            return
        self._queue.forget(same)
        told.tries = 0
        self._complaint = ""

    async def _write_new(self, same: Occurrence, told: _Told) -> None:
        if not told.name:
            told.name = event_name(same.regarding.name, self._rng)
        document = same.document(told.name, told.first_wall, self._reporting)
        if (count := told.count) > 1:
            document["series"] = series(count, told.last_wall)
        try:
            await self._api.create(EVENTS.path(same.namespace), document, into=msgspec.Raw)
        except AlreadyExists:  # an earlier try of ours came through, and its answer did not
            count = 1
        if self._told.get(same) is not told:  # given up meanwhile
            return
        told.count_told = count
        self._new -= 1
        self.written += 1
        if told.count > count:
            self._queue.add(same, after_s=self._series_s)

    async def _write_series(self, same: Occurrence, told: _Told) -> None:
        count = told.count
        if count == told.count_told:
            return
        path = EVENTS.path(same.namespace, told.name)
        try:
            await self._api.merge(path, {"series": series(count, told.last_wall)}, into=msgspec.Raw)
        except NotFound:  # the API server keeps Events for an hour, or somebody has cleaned up
            told.count -= told.count_told
            told.first_wall, told.count_told, told.name = told.last_wall, 0, ""
            self._new += 1
            self._queue.add(same)
            return
        told.count_told = count
        self.patched += 1

    def _give_up(self, same: Occurrence, told: _Told, error: GroveError) -> None:
        why = type(error).__name__
        del self._told[same]
        self._queue.forget(same)
        if told.count_told:
            self.lost[why] += told.count - told.count_told
        else:
            self._lose(told, why)
        if why != self._complaint:
            self._complaint = why
            log.warning("events are lost: %s", error, extra={"reason": why})

    def _lose(self, told: _Told, why: str) -> None:
        self._new -= 1
        self.lost[why] += told.count


def _passing(error: GroveError) -> bool:
    """It may go better next time."""
    return not isinstance(error, ApiError) or error.code == 429 or error.code >= 500
