"""The event loop's time as a Clock.

Under looptime (`@pytest.mark.looptime`) the loop jumps over waiting: hours of leases, back-offs and grace
periods take milliseconds, and everything that asks the loop (time limits, sleeps) and everything that asks
the clock agree on what time it is. Outside of it this is real time.
"""

import asyncio
from typing import Final

__all__ = ["LoopClock"]

WALL: Final = 1_800_000_000.0
TICK_S: Final = 2e-6


class LoopClock:
    """Begins at *wall*, wherever the loop's time begins."""

    def __init__(self, wall: float = WALL) -> None:
        self._wall_offset: float | None = None
        self._wall = wall

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        try:
            now = self.now()
        except RuntimeError:  # asked before the loop runs
            return self._wall
        if self._wall_offset is None:
            self._wall_offset = self._wall - now
        return now + self._wall_offset

    async def sleep(self, seconds: float) -> None:
        # looptime counts microseconds: less than one would never pass
        await asyncio.sleep(seconds + TICK_S if seconds > 0.0 else 0.0)
