"""Keys that want work: each in work at most once at a time, none lost, none starved.

                add(key)                    get()                   done(key)
    (nothing) ───────────► ready ─────────────────────► in work ─────────────────► (nothing)
        │                    ▲  ▲                          │ add(key)                  ▲
        │ add(key, after_s)  │  │ done(key)                ▼                           │
        └────────► delayed ──┘  └────────────── in work, wanted again ─────────────────┘ close()
                       its time

A key is there once, however often it is added: the earliest of its times and the highest of its priorities
count. A key added while it is in work runs once more afterwards, for the work may have looked too early.

Order: a step of priority is worth PRIORITY_S seconds of waiting, so a key's rank is one number that never
changes while it waits (the time it became ready, less its bonus), and a flood of important keys can hold up
another key for that long and no longer. Strict priorities were left out: they starve.

Failures: `retry` delays a key, twice as long each time, until `forget`. An addition may come earlier, since
something has changed, and does not lengthen the back-off if it fails, too. How often the same key may run at
all is the pace's business, so that two that keep waking each other are slowed, and counted.

Heaps are not searched: an entry that no longer holds is left in them, known by its number, and dropped when
it comes up, or when such entries are the majority.

PERF: an addition, taking and finishing a key are 3 µs together (tests/kube/test_queue.py).
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from math import inf
from random import Random
from typing import Final, Generic, NamedTuple, TypeVar

from grove_dp.clock import Clock, SystemClock
from grove_dp.errors import GroveError
from grove_dp.kube.backoff import Backoff
from grove_dp.kube.pace import Pace

__all__ = ["QueueClosed", "QueueReading", "WorkQueue"]

K = TypeVar("K", bound=Hashable)

FIRST_RETRY_S: Final = 0.05
LAST_RETRY_S: Final = 60.0
BURST: Final = 50
RUNS_PER_S: Final = 20.0
PRIORITY_S: Final = 1.0
AT_ONCE_S: Final = 0.001  # timers are no more exact
STALE_MIN: Final = 64


class QueueClosed(GroveError):
    """Nothing more will come."""

    reason = "QueueClosed"


class QueueReading(NamedTuple):
    """A queue at one time. Counts are since the start, times in seconds."""

    ready: int
    delayed: int
    in_work: int
    adds: int
    taken: int
    retries: int
    slowed: int  # additions that had to wait for the pace of their key
    waited_s: float  # of all keys taken, from ready to taken
    longest_wait_s: float  # of the keys that are ready now
    longest_work_s: float  # of the keys that are in work now


class _Wish(Generic[K]):
    """That *key* be worked on, from *due* on. *rank* is its place among the ready; None: it is not there."""

    __slots__ = ("due", "key", "priority", "rank")

    def __init__(self, key: K, due: float, priority: float) -> None:
        self.key = key
        self.due = due
        self.priority = priority
        self.rank: float | None = None


class _Setback(Backoff):
    """The back-off of a key, and when the present one ends."""

    until = -inf


class WorkQueue(Generic[K]):
    """Any number of tasks may add, and any number take. For one event loop."""

    def __init__(
        self,
        clock: Clock | None = None,
        rng: Random | None = None,
        *,
        first_retry_s: float = FIRST_RETRY_S,
        last_retry_s: float = LAST_RETRY_S,
        pace: Pace[K] | None = None,
        priority_s: float = PRIORITY_S,
    ) -> None:
        self._clock = clock or SystemClock()
        self._rng = rng or Random()
        self._first_retry_s = first_retry_s
        self._last_retry_s = last_retry_s
        self._pace = pace if pace is not None else Pace[K](BURST, RUNS_PER_S)
        self._priority_s = priority_s
        self._wishes: dict[K, _Wish[K]] = {}
        self._in_work: dict[K, float] = {}  # key -> since
        self._ready: list[tuple[float, int, _Wish[K]]] = []  # rank first
        self._delayed: list[tuple[float, int, _Wish[K]]] = []  # due first
        self._order = itertools.count()
        self._setbacks: dict[K, _Setback] = {}
        self._takers: deque[asyncio.Future[None]] = deque()
        self._idlers: list[asyncio.Future[None]] = []
        self._timer: asyncio.Task[None] | None = None
        self._timer_due = inf
        self._closed = False
        self.adds = self.taken = self.retries = self.slowed = 0
        self.waited_s = 0.0

    # ------------------------------------------------------------ adding

    def add(self, key: K, *, after_s: float = 0.0, priority: float = 0) -> None:
        """Have *key* worked on, not before *after_s* seconds. A closed queue takes nothing more."""
        if self._closed:
            return
        self.adds += 1
        now = self._clock.now()
        due = now + after_s if after_s > 0.0 else now
        free_at = self._pace.free_at(key)
        wish = self._wishes.get(key)
        if wish is None:
            if free_at > due:
                self.slowed += 1
            wish = self._wishes[key] = _Wish(key, max(due, free_at), priority)
        else:
            sooner = max(due, free_at) < wish.due
            if priority > wish.priority:
                wish.priority = priority
                if not sooner and wish.rank is None:
                    return  # nothing but its rank depends on it, and it has none yet
            elif not sooner:
                return
            wish.due = min(max(due, free_at), wish.due)
        if key not in self._in_work:
            self._place(wish, now)

    def retry(self, key: K, *, at_least_s: float = 0.0, at_most_s: float = inf, priority: float = 0) -> float:
        """Add *key* after a back-off; tells how long it is.

        Each is twice as long as the one before. What fails while one is under way, since something changed in
        between, does not lengthen it: however busy a key, its back-off is no longer than its trouble.
        """
        now = self._clock.now()
        setback = self._setbacks.get(key)
        if setback is None:
            setback = self._setbacks[key] = _Setback(self._rng, self._first_retry_s, self._last_retry_s)
        if now >= setback.until - AT_ONCE_S:
            bound_s = at_most_s * self._rng.uniform(0.5, 1.0)  # not all at once there, either
            setback.until = now + min(setback.next_s(), bound_s)
        setback.until = max(setback.until, now + at_least_s)
        self.retries += 1
        self.add(key, after_s=setback.until - now, priority=priority)
        return setback.until - now

    def setbacks(self, key: K) -> int:
        """How many back-offs *key* has had since it was last forgotten."""
        setback = self._setbacks.get(key)
        return 0 if setback is None else setback.failures

    def forget(self, key: K) -> None:
        """*key* is well: its next back-off is the first again."""
        self._setbacks.pop(key, None)

    # ------------------------------------------------------------ working

    async def get(self) -> K:
        """The key whose turn it is; QueueClosed once the queue is closed. To be given back by `done`."""
        while (wish := self._take()) is None:
            await self._next()
        return wish.key

    def done(self, key: K) -> None:
        """The work on *key* has ended, well or not."""
        del self._in_work[key]
        wish = self._wishes.get(key)
        if wish is not None:
            now = self._clock.now()
            wish.due = max(wish.due, now)  # behind those that came while it was in work
            self._place(wish, now)
        if self._idlers and self._is_idle():
            self._tell_idle()

    def close(self) -> None:
        """Drop what waits and take nothing more; what is in work is still to be done."""
        self._closed = True
        self._wishes.clear()
        self._ready.clear()
        self._delayed.clear()
        self._setbacks.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._takers:
            self._wake()
        if self._is_idle():
            self._tell_idle()

    async def idle(self) -> None:
        """Return once nothing is ready and nothing in work; keys may be delayed."""
        while not self._is_idle():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idlers.append(waiter)
            await waiter

    # ------------------------------------------------------------ reading

    def reading(self) -> QueueReading:
        """The figures of now."""
        now = self._clock.now()
        self._promote(now)
        ready = [wish.due for wish in self._wishes.values() if wish.rank is not None]
        delayed = sum(wish.rank is None and wish.key not in self._in_work for wish in self._wishes.values())
        return QueueReading(
            ready=len(ready),
            delayed=delayed,
            in_work=len(self._in_work),
            adds=self.adds,
            taken=self.taken,
            retries=self.retries,
            slowed=self.slowed,
            waited_s=self.waited_s,
            longest_wait_s=now - min(ready, default=now),
            longest_work_s=now - min(self._in_work.values(), default=now),
        )

    # ------------------------------------------------------------ places

    def _place(self, wish: _Wish[K], now: float) -> None:
        """Put it where it belongs now; where it stood before no longer holds."""
        if wish.due <= now:
            wish.rank = wish.due - wish.priority * self._priority_s
            heappush(self._ready, (wish.rank, next(self._order), wish))
            if len(self._ready) > 2 * len(self._wishes) + STALE_MIN:
                self._ready = [entry for entry in self._ready if entry[2].rank == entry[0]]
                heapify(self._ready)
            self._wake()
            return
        heappush(self._delayed, (wish.due, next(self._order), wish))
        if len(self._delayed) > 2 * len(self._wishes) + STALE_MIN:
            self._delayed = [entry for entry in self._delayed if _is_delayed(entry)]
            heapify(self._delayed)
        if self._takers:
            self._arm()

    def _promote(self, now: float) -> None:
        """Those whose time has come are ready."""
        delayed = self._delayed
        while delayed and delayed[0][0] <= now:
            entry = heappop(delayed)
            if _is_delayed(entry):
                self._place(entry[2], now)

    def _take(self) -> _Wish[K] | None:
        if self._closed:
            raise QueueClosed("the queue is closed: nothing more will come")
        now = self._clock.now()
        if self._delayed and self._delayed[0][0] <= now:
            self._promote(now)
        while self._ready:
            rank, _, wish = heappop(self._ready)
            if wish.rank != rank:
                continue
            wish.rank = None
            self.waited_s += now - wish.due
            wish.due = -inf  # no entry of it holds any more
            del self._wishes[wish.key]
            self._in_work[wish.key] = now
            self.taken += 1
            self._pace.spend(wish.key, now)
            return wish
        return None

    # ------------------------------------------------------------ waiting

    async def _next(self) -> None:
        """Return when there may be something to take."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._takers.append(waiter)
        self._arm()
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self._wake()  # what woke us is for another now
            elif waiter in self._takers:
                self._takers.remove(waiter)
            raise

    def _wake(self) -> None:
        while self._takers:
            waiter = self._takers.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _arm(self) -> None:
        """Have the takers woken when the first delayed key falls due."""
        if not self._delayed:
            return
        due = self._delayed[0][0]
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
        self._timer_due = due
        self._timer = asyncio.get_running_loop().create_task(self._ring(due))

    async def _ring(self, due: float) -> None:
        await self._clock.sleep(due - self._clock.now())
        self._timer = None
        self._promote(self._clock.now())
        if self._takers:
            self._arm()

    def _is_idle(self) -> bool:
        if self._in_work:
            return False
        self._promote(self._clock.now())
        while self._ready and self._ready[0][2].rank != self._ready[0][0]:
            heappop(self._ready)
        return not self._ready

    def _tell_idle(self) -> None:
        for waiter in self._idlers:
            if not waiter.done():
                waiter.set_result(None)
        self._idlers.clear()


def _is_delayed(entry: tuple[float, int, _Wish[K]]) -> bool:
    due, _, wish = entry
    return wish.due == due and wish.rank is None
