"""Answers that hold for a while: a bounded cache that asks once for all who want the same.

At the bound the entry that was asked for longest ago goes. Failures are not kept: the next one asks again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from grove_dp.clock import Clock

__all__ = ["Expiring"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Expiring(Generic[K, V]):
    """Remembers what was told of each key, for *ttl_s* seconds."""

    def __init__(self, clock: Clock, *, ttl_s: float, entries_max: int) -> None:
        self._clock = clock
        self._ttl_s = ttl_s
        self._max = entries_max
        self._kept: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._asking: dict[K, asyncio.Future[V]] = {}
        self.asked = 0

    def __len__(self) -> int:
        return len(self._kept)

    def known(self, key: K) -> V | None:
        """What is remembered of *key* and still holds."""
        found = self._kept.get(key)
        if found is None:
            return None
        if found[0] <= self._clock.now():
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return found[1]

    async def get(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        """What holds of *key*; raises what *ask* raises."""
        known = self.known(key)
        if known is not None:
            return known
        while (other := self._asking.get(key)) is not None:
            try:
                return await asyncio.shield(other)
            except asyncio.CancelledError:
                if not other.cancelled():  # it is we who are cancelled
                    raise
        return await self._first(key, ask)

    async def _first(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        """Ask, for all who come while we wait."""
        asking: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._asking[key] = asking
        self.asked += 1
        try:
            value = await ask()
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                asking.cancel()
            else:
                asking.set_exception(error)
                asking.exception()  # nobody else may wait for it; that is no bug
            raise
        else:
            asking.set_result(value)
            self._keep(key, value)
            return value
        finally:
            del self._asking[key]

    def _keep(self, key: K, value: V) -> None:
        self._kept[key] = (self._clock.now() + self._ttl_s, value)
        self._kept.move_to_end(key)
        while len(self._kept) > self._max:
            self._kept.popitem(last=False)
