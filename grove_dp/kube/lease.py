"""One of several processes leads: election by a Lease (coordination.k8s.io/v1), on our own clock only.

    stand by ──► take ──► lead: work() runs as a task ──► it ends by itself ──► give back, return
       ▲    not ours yet │ renewed every retry_s          we are cancelled ───► so is it; give back
       │                 ▼                                not renewed for deadline_s, or another holds it
       └──────────────  lost  ◄── work cancelled, awaited ◄──┘

Never two at once. Let A's last successful renewal have begun at t. A's work is cancelled at t + deadline_s
and gone at t + deadline_s + stop_s; if it is not, `stuck` is called, whose default ends the process. B begins
when it has seen the Lease unchanged for duration_s by its own clock, and it cannot have seen that renewal
before t:

    A   renewal begins ───────── deadline_s ────────► cancel ── stop_s ──► gone
        t        └► stored                                                   │ spare
    B                 └► seen first ──────────────── duration_s ─────────────────► takes it

No time of another machine is ever compared with ours; those in the Lease are for people. What must be equal
is the speed of the clocks: what duration_s has to spare is for that, and for a busy event loop.

A loop that hangs can neither renew nor cancel: a thread calls `stuck` then. What no election can prevent is
the one write of a process that was stopped and goes on; `Candidate.holding` tells just before a write.

How the Lease is read and written is in `grove_dp.kube.candidate`.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, Generic, NoReturn, TypeVar

from grove_dp.clock import Clock
from grove_dp.errors import GroveError
from grove_dp.kube.access import Access
from grove_dp.kube.candidate import Candidate, LeaseTimes
from grove_dp.kube.timing import within

__all__ = ["Candidate", "LeaseTimes", "WorkStuck", "exit_at_once", "lead", "lead_as"]

T = TypeVar("T")
log = logging.getLogger(__name__)


class WorkStuck(GroveError):
    """The work did not end in its time after it was cancelled, and may still be running."""

    reason = "WorkStuck"


def exit_at_once() -> NoReturn:
    """End this process without another instruction of its work."""
    os.write(2, b"leading is over and the work has not ended: leaving at once, so that another can lead\n")
    os._exit(1)


async def lead(
    api: Access,
    namespace: str,
    name: str,
    identity: str,
    work: Callable[[], Coroutine[Any, Any, T]],
    *,
    times: LeaseTimes | None = None,
    clock: Clock | None = None,
    rng: Random | None = None,
    stuck: Callable[[], object] = exit_at_once,
) -> T:
    """Run *work* whenever we lead, until it ends by itself: then its result, or its error.

    When leading is lost the work is cancelled, and begun anew when we lead again. Cancelled, this cancels the
    work, waits for its end while it goes on renewing, and gives the Lease back. A work that has not ended
    stop_s after its cancellation calls *stuck* (perhaps from another thread); should that return: WorkStuck.
    """
    candidate = Candidate(api, namespace, name, identity, times=times, clock=clock, rng=rng)
    return await lead_as(candidate, work, stuck=stuck)


async def lead_as(
    candidate: Candidate,
    work: Callable[[], Coroutine[Any, Any, T]],
    *,
    stuck: Callable[[], object] = exit_at_once,
) -> T:
    """`lead`, for a work that knows the *candidate* and asks it before its writes."""
    while True:
        await candidate.acquire()
        log.info("leading", extra={"lease": candidate.name, "identity": candidate.identity})
        ended = await _Reign(candidate, work, stuck).run()
        if ended is not None:
            return ended.result()
        log.warning("leading is lost", extra={"lease": candidate.name, "holder": candidate.holder})


class _Reign(Generic[T]):
    """From taking the Lease to having nothing to do with it any more."""

    def __init__(
        self, candidate: Candidate, work: Callable[[], Coroutine[Any, Any, T]], stuck: Callable[[], object]
    ) -> None:
        self._candidate = candidate
        self._stuck = stuck
        self._working = asyncio.create_task(work(), name=f"leading {candidate.name}")
        self._keeping = asyncio.create_task(candidate.keep(), name=f"renewing {candidate.name}")
        self._watchdog = _Watchdog(candidate, stuck)

    async def run(self) -> "asyncio.Task[T] | None":
        """Work while we hold it: the task, if it ended by itself or failed; None, if leading is lost."""
        try:
            await asyncio.wait({self._working, self._keeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            by_itself = self._working.done()
            await _through(asyncio.create_task(self._end()))
        return self._working if by_itself or _failed(self._working) else None

    async def _end(self) -> None:
        """See the work gone, only then stop renewing, and give back what is still ours."""
        candidate = self._candidate
        try:
            if not self._working.done():
                self._working.cancel()
                await self._gone()
        finally:
            self._watchdog.close()
            self._keeping.cancel()
            await asyncio.wait({self._keeping})
        if candidate.holding:
            try:
                await candidate.release()
            except (GroveError, TimeoutError) as error:
                log.warning("lease not given back: %s", error, extra={"lease": candidate.name})

    async def _gone(self) -> None:
        """Wait for the end of the work that was cancelled, but not longer than is safe."""
        candidate = self._candidate
        late_s = max(candidate.clock.now() - candidate.lapses_at, 0.0)  # the loop had other things to do
        if not await within(candidate.clock, candidate.times.stop_s - late_s, self._working):
            self._stuck()
            raise WorkStuck(f"lease {candidate.name}: the work has not ended; end this process")


class _Watchdog:
    """A thread that calls *stuck* if the candidate's time is long over, and nobody has closed it."""

    def __init__(self, candidate: Candidate, stuck: Callable[[], object]) -> None:
        self._candidate = candidate
        self._stuck = stuck
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gdp-lease", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        candidate = self._candidate
        while (left_s := candidate.lapses_at + candidate.times.watch_s - candidate.clock.now()) > 0.0:
            if self._closed.wait(left_s):
                return
        self._stuck()


async def _through(task: "asyncio.Task[None]") -> None:
    """Wait for its end, whatever happens to us meanwhile; then let that happen."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    if cancelled is not None:
        raise cancelled


def _failed(task: "asyncio.Task[Any]") -> bool:
    return not task.cancelled() and task.exception() is not None
