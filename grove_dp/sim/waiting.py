"""Waiting until something is true that others bring about."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from grove_dp.errors import GroveError
from grove_dp.sim.client import Unreachable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from grove_dp.clock import Clock

__all__ = ["NotInTime", "until"]

_POLL_S: Final = 0.1


class NotInTime(GroveError):
    """Something of the cluster did not come about."""

    reason = "NotInTime"


async def until(true: Callable[[], Awaitable[bool]], what: str, *, clock: Clock, within_s: float) -> None:
    """Return once *true* is; an endpoint that does not answer yet is not yet true."""
    try:
        async with asyncio.timeout(within_s):
            while not await _quietly(true):
                await clock.sleep(_POLL_S)
    except TimeoutError:
        raise NotInTime(f"{what}: not within {within_s:g} s; is this machine busy?") from None


async def _quietly(true: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await true()
    except Unreachable:
        return False
