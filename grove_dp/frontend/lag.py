"""How late the control loop wakes: measured always, made worse on purpose for tests.

The data plane must not care how busy Python is. GROVE_DP_BURN=20/100 proves it: 20 ms of every 100 ms are
burnt in this loop while a benchmark watches the age of streamed events. It is a hook for tests, not a
setting.
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from grove_dp.clock import Clock
from grove_dp.errors import ConfigurationError

__all__ = ["Burn", "burn", "parse_burn", "watch_lag"]

EVERY_S: Final = 0.47  # no multiple of a round period, or a lag that recurs would be missed each time


class Burn(NamedTuple):
    """So much of each period."""

    busy_s: float
    period_s: float


def parse_burn(text: str) -> Burn | None:
    """The value of GROVE_DP_BURN: BUSY/PERIOD in ms, or nothing."""
    if not text:
        return None
    found = re.fullmatch(r"(\d{1,5})/(\d{1,5})", text)
    if found is None or not 0 < int(found[1]) < int(found[2]):
        raise ConfigurationError(f"GROVE_DP_BURN: {text!r} is not BUSY/PERIOD in ms, such as 20/100")
    return Burn(int(found[1]) / 1e3, int(found[2]) / 1e3)


async def watch_lag(observe: Callable[[float], None], clock: Clock) -> None:
    """Tell how much later than asked a sleep ended, until cancelled."""
    while True:
        due = clock.now() + EVERY_S
        await clock.sleep(EVERY_S)
        observe(max(clock.now() - due, 0.0))


async def burn(share: Burn, clock: Clock) -> None:
    """Hold the interpreter for share.busy_s of each period, until cancelled."""
    while True:
        await clock.sleep(share.period_s - share.busy_s)
        end = clock.now() + share.busy_s
        while clock.now() < end:
            pass
