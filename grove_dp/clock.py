"""Time as an argument.

Decisions get a number; loops get a Clock and ask it. `SystemClock` is the machine's; `ManualClock` stands
still until a test advances it, and wakes its sleepers in order of their time: an hour takes no time.
"""

import time
from asyncio import Future, get_running_loop, sleep
from heapq import heappop, heappush
from typing import Protocol

__all__ = ["Clock", "ManualClock", "SystemClock"]


class Clock(Protocol):
    """What a loop may ask about time."""

    def now(self) -> float:
        """Seconds on a clock that never goes back; only differences mean something."""
        ...

    def wall(self) -> float:
        """Seconds since 1970, for people and for other machines; may jump."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return once `now()` has grown by *seconds*."""
        ...


class SystemClock:
    """The machine's clocks; `now` is CLOCK_MONOTONIC, the one the C core stamps records with."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await sleep(seconds)


class ManualClock:
    """A clock that moves only by `advance`."""

    def __init__(self, now: float = 1_000.0, wall: float = 1_800_000_000.0) -> None:
        self._now = now
        self._wall_offset = wall - now
        self._sleepers: list[tuple[float, int, Future[None]]] = []
        self._slept = 0

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._now + self._wall_offset

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await sleep(0)
            return
        waker: Future[None] = get_running_loop().create_future()
        self._slept += 1  # breaks ties in the order of the calls
        heappush(self._sleepers, (self._now + seconds, self._slept, waker))
        await waker

    async def advance(self, seconds: float) -> None:
        """Let *seconds* pass; every sleeper that falls due runs at its own time, one after the other."""
        if seconds < 0:
            raise ValueError(f"time cannot go back, got {seconds} s")
        end = self._now + seconds
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, waker = heappop(self._sleepers)
            self._now = due
            if not waker.done():  # done: the sleeper was cancelled
                waker.set_result(None)
            await self._settle()
        self._now = end

    async def _settle(self) -> None:
        """Give tasks that can run the turns to do so and, if they like, to sleep again."""
        for _ in range(10):
            await sleep(0)
