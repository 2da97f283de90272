"""So many writes in flight, and who is next: what is nearest to a running pod.

    release of a pod 0 ◄ pod comes or goes 1 ◄ its clique, statuses 2 ◄ what a replica begins with 3

Five hundred new replicas are worked on thirty-two at a time and want a hundred writes at once. First come,
first served, all of them would begin before one is done, and a pod that is to come back in another set would
wait behind all that. With ranks the first replica runs after few writes but its own. Within a rank it is
first come, first served. Nothing is starved: the writes of a rank follow from those of a later one.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from typing import Final

from grove_dp.kube.objects import PODS, Resource
from grove_operator.api import CLIQUES

__all__ = ["Slots", "rank"]

STARTS: Final = 3


def rank(resource: Resource, verb: str) -> int:
    """Of a write; smaller is sooner."""
    if resource == PODS:
        return 0 if verb == "patch" else 1
    return 2 if resource == CLIQUES or verb.startswith("patch") else STARTS


class Slots:
    """A semaphore whose waiters have ranks."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._came = 0

    @asynccontextmanager
    async def taken(self, rank: int) -> AsyncIterator[None]:
        """A slot, as long as the `async with` lasts."""
        await self.take(rank)
        try:
            yield
        finally:
            self.give()

    async def take(self, rank: int) -> None:
        """Wait for a slot."""
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._came += 1
        heappush(self._waiting, (rank, self._came, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give()  # it was ours already
            raise

    def give(self) -> None:
        """Give a slot back: to whoever is next."""
        while self._waiting:
            turn = heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
