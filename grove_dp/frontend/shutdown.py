"""The end of a frontend: what signals ask for, and the order in which it is done.

    SIGTERM ──► readyz fails, serving goes on ──drain.delay_s──► nothing new is accepted
                                                                      │ nothing in flight, or drain.grace_s
    exit 0 ◄── sockets closed ◄── nothing in flight, or 2 s ◄── the rest is cut with a well-formed error

SIGINT is the same without the delay (nobody balances load onto a terminal) and exits with 130. A second
signal skips to the cut. Quiet means twice in a row, because a request may just be between a socket and its
exchange.
"""

import asyncio
import logging
import signal
from typing import Final

from grove_dp.clock import Clock
from grove_dp.frontend.plane import DataPlane
from grove_dp.settings import Drain

__all__ = ["Stop", "shut_down"]

POLL_S: Final = 0.05
CUT_S: Final = 2.0
REPORT_S: Final = 5.0

_log = logging.getLogger(__name__)


class Stop:
    """What the signals have asked for so far."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._at_once = asyncio.Event()
        self.by = signal.SIGTERM

    def ask(self, by: signal.Signals) -> None:
        """Once: shut down. Twice: now."""
        if self._asked.is_set():
            self._at_once.set()
            return
        self.by = by
        self._asked.set()

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    @property
    def at_once(self) -> bool:
        return self._at_once.is_set()

    @property
    def exit_code(self) -> int:
        return 130 if self.by == signal.SIGINT else 0

    async def wait(self) -> None:
        """Return when asked."""
        await self._asked.wait()

    async def pause(self, seconds: float) -> None:
        """Let *seconds* pass, or less if it has to be now."""
        try:
            async with asyncio.timeout(seconds):
                await self._at_once.wait()
        except TimeoutError:
            pass


async def shut_down(plane: DataPlane, drain: Drain, stop: Stop, clock: Clock) -> None:
    """Everything between the first signal and closing the plane."""
    delay_s = 0.0 if stop.by == signal.SIGINT else drain.delay_s
    _log.info("shutting down", extra={"by": stop.by.name, "serving_on_s": delay_s, "grace_s": drain.grace_s})
    if delay_s:
        await stop.pause(delay_s)  # 1 balancers see /readyz fail and send their clients elsewhere
    plane.native.close_listeners()  # 2 nothing new
    left = await _quiet(plane, drain.grace_s, stop, clock)  # 3 what runs may end
    if left:
        _log.warning("cutting what is left", extra={"requests": left, "asked_twice": stop.at_once})
        plane.native.cut()  # 4 what does not end gets a proper error
        left = await _quiet(plane, CUT_S, None, clock)
    _log.info("nothing in flight" if not left else "leaving requests behind", extra={"requests": left})


async def _quiet(plane: DataPlane, within_s: float, stop: Stop | None, clock: Clock) -> int:
    """Wait until nothing is in flight; what still is when time is over or, with *stop*, asked twice."""
    end = clock.now() + within_s
    report = clock.now() + REPORT_S
    quiet = 0
    while True:
        left = plane.in_flight()
        quiet = quiet + 1 if left == 0 else 0
        if quiet == 2 or clock.now() >= end or (stop is not None and stop.at_once):
            return left
        if clock.now() >= report:
            _log.info(
                "waiting for requests", extra={"requests": left, "cut_in_s": round(end - clock.now(), 1)}
            )
            report += REPORT_S
        await clock.sleep(POLL_S)
