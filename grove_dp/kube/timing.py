"""Waiting no longer than so long, by a Clock."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from grove_dp.clock import Clock

__all__ = ["limited", "within"]

T = TypeVar("T")


async def within(clock: Clock, seconds: float, future: "asyncio.Future[Any]") -> bool:
    """Whether *future* is done before *seconds* have passed; it is left alone in either case."""
    limit = asyncio.ensure_future(clock.sleep(max(seconds, 0.0)))
    try:
        await asyncio.wait({future, limit}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        limit.cancel()
    return future.done()


async def limited(clock: Clock, seconds: float, call: Coroutine[Any, Any, T]) -> T:
    """What *call* returns or raises; TimeoutError, and the call cancelled, when *seconds* have passed."""
    if seconds <= 0.0:
        call.close()
        raise TimeoutError
    task = asyncio.ensure_future(call)
    try:
        if await within(clock, seconds, task):
            return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # it came too late to be told
    raise TimeoutError
