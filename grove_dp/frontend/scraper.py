"""What each ready worker says of its load in GET /metrics: the room of its cache, and how much is in use.

Asked each second or two: each SHORT_S of a worker that answers fast, LONG_S of one that takes its time. Of
many workers each is asked more seldom, all together SCRAPES_PER_S times a second: the control loop has other
work.
What was learnt stays when a scrape fails; the books go on with our own requests, and nothing waits for this.
"""

from collections.abc import Callable
from typing import Final

from grove_dp.clock import Clock
from grove_dp.frontend.asking import Asker, NoAnswer
from grove_dp.frontend.followers import Followers
from grove_dp.metering.scrape import EngineLoad, engine_loads
from grove_dp.routing.workers import Registry, Worker

__all__ = ["Scraper"]

SHORT_S: Final = 1.0
LONG_S: Final = 2.0
SLOW_S: Final = 0.05  # an answer that takes longer
SCRAPES_PER_S: Final = 50.0

NOT_SAID: Final = -1.0


class Scraper:
    """Asks every ready worker and tells the books."""

    def __init__(
        self,
        registry: Registry,
        asker: Asker,
        scraped: Callable[[int, float, float], None],
        failed: Callable[[], None],
        changed: Callable[[], None],
        clock: Clock,
    ) -> None:
        """*scraped* takes slot, capacity and pinned tokens (< 0: not said); *failed* is called for each
        scrape that brought nothing, *changed* for a new block size."""
        self._registry = registry
        self._asker = asker
        self._scraped = scraped
        self._changed = changed
        self._clock = clock
        self._failed = failed
        self._followers = Followers(registry, self._watch, lambda worker: worker.health == "ready")
        self.run = self._followers.run
        self.follow = self._followers.follow

    async def _watch(self, worker: Worker) -> None:
        while True:
            began = self._clock.now()
            try:
                text = await self._asker.get(worker, "/metrics", LONG_S)
            except NoAnswer:
                self._failed()
            else:
                self._tell(worker, engine_loads(text))
            took = self._clock.now() - began
            pause_s = SHORT_S if took < SLOW_S else LONG_S
            await self._clock.sleep(max(pause_s, len(self._registry) / SCRAPES_PER_S))

    def _tell(self, worker: Worker, loads: dict[int, EngineLoad]) -> None:
        load = loads.get(max(worker.spec.rank, 0))
        if load is None:
            return
        capacity, pinned = load.capacity_tokens, load.pinned_tokens
        self._scraped(
            worker.slot,
            NOT_SAID if capacity is None else float(capacity),
            NOT_SAID if pinned is None else pinned,
        )
        if load.block_size and load.block_size != worker.block_size:
            worker.block_size = load.block_size
            self._changed()
