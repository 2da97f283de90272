"""What each worker tells of its KV cache, on its way to the index thread.

One task per worker that has an address and a model. It gives the worker's slot to the index under the
worker's base model, asks where it publishes (GET /kv_event_sources, or the settings' template for workers
that cannot say), subscribes, and asks again now and then, and as soon as its feed changes: a worker that
restarts may publish elsewhere. Until it is asked, what it held in its former life would still be believed.
A worker that publishes nothing is placed by what we sent it (by text): `GET /workers` calls it "silent".
"""

import logging
from collections.abc import Callable
from typing import Final

from grove_dp.clock import Clock
from grove_dp.frontend.asking import Asker, NoAnswer
from grove_dp.frontend.followers import Followers
from grove_dp.native.indexer import Indexer
from grove_dp.routing.kvevents import FeedState, Kind, KvEvents, UnreachableSource
from grove_dp.routing.kvsources import InvalidSources, KvSource, read_sources, template_sources
from grove_dp.routing.models import base_of
from grove_dp.routing.workers import Registry, Worker
from grove_dp.settings import Settings

__all__ = ["KvFeeds"]

FIRST_S: Final = 0.25  # until it answers
AGAIN_S: Final = 30.0
ASKED: Final = 3  # beside Kind: a batch that we asked for
LOST_S: Final = 2.0  # while it is not ready: it may come back at any time
LOOK_S: Final = 1.0  # how soon it is noticed that a feed changed
GROWTH: Final = 2.0

_log = logging.getLogger(__name__)


class KvFeeds:
    """Subscribes to every worker and owns the slots of the index."""

    def __init__(
        self,
        registry: Registry,
        settings: Callable[[], Settings],
        asker: Asker,
        indexer: Indexer,
        changed: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._publish = changed
        self._settings = settings
        self._asker = asker
        self._indexer = indexer
        self._clock = clock
        self._events: KvEvents | None = None
        self._stirred: set[int] = set()  # slots whose feeds changed
        self._followers = Followers(
            registry, self._watch, lambda worker: worker.address is not None and bool(worker.models)
        )
        self.follow = self._followers.follow

    async def run(self) -> None:
        """Follow until cancelled."""
        heal = self._settings().kv_events.heal
        async with KvEvents(self, changed=self._changed, heal=heal) as self._events:
            await self._followers.run()

    def push(self, slot: int, kind: int, payload: memoryview) -> bool:
        """A message for the index thread. Of a slot that heals, stores may be reports: they add no copies."""
        asked = kind == Kind.EVENTS and self._events is not None and self._events.heals(slot)
        return self._indexer.push(slot, ASKED if asked else kind, payload)

    def warmed(self, slot: int) -> None:
        """Predictions for the slot come true, one after the other."""
        if self._events is not None and self._events.cold(slot):
            self._events.warmed(slot)

    def _changed(self, slot: int) -> None:
        """The slot's events are in another state: do requests there have to ask for reports?"""
        self._stirred.add(slot)
        for worker in self._registry:
            if worker.slot == slot and self._events is not None:
                heals = self._events.heals(slot)
                if heals != worker.heals:
                    worker.heals = heals
                    self._publish()

    def states(self) -> dict[int, FeedState]:
        """Publishers by slot; a slot without one is silent."""
        return {state.slot: state for state in self._events.states()} if self._events else {}

    async def _watch(self, worker: Worker) -> None:
        base = base_of(worker.models)
        assert base is not None
        assert self._events is not None
        self._indexer.open(worker.slot, base)
        wait_s, told = FIRST_S, ""
        try:
            while True:
                source, why = await self._source(worker)
                if source is not None:
                    told = self._subscribe(worker, source, told)
                    await self._rest(worker.slot, AGAIN_S)
                    wait_s = FIRST_S
                    continue
                if why != told:
                    told = why
                    _log.info("no kv events of a worker", extra={"worker": worker.id, "reason": why})
                await self._rest(worker.slot, wait_s)
                wait_s = min(wait_s * GROWTH, AGAIN_S if worker.health == "ready" else LOST_S)
        finally:
            self._events.unfollow(worker.slot)
            self._indexer.release(worker.slot)
            self._stirred.discard(worker.slot)

    async def _rest(self, slot: int, seconds: float) -> None:
        """For so long, or until the feed of *slot* changes."""
        end = self._clock.now() + seconds
        self._stirred.discard(slot)
        while (left := end - self._clock.now()) > 0 and slot not in self._stirred:
            await self._clock.sleep(min(left, LOOK_S))

    def _subscribe(self, worker: Worker, source: KvSource, told: str) -> str:
        assert self._events is not None
        try:
            self._events.follow(worker.slot, worker.id, source)
        except UnreachableSource as error:
            if str(error) != told:
                _log.warning("%s", error, extra={"worker": worker.id, "reason": error.reason})
            return str(error)
        return ""

    async def _source(self, worker: Worker) -> tuple[KvSource | None, str]:
        """Where its rank publishes, or None and the reason word."""
        settings = self._settings()
        if settings.kv_events.mode == "off":
            return None, "SwitchedOff"
        assert worker.address is not None
        rank = max(worker.spec.rank, 0)
        try:
            body = await self._asker.get(worker, "/kv_event_sources", settings.health.timeout_s)
            found = read_sources(body, worker.address)
        except NoAnswer as failed:
            return self._template(worker, rank) if "404" in str(failed) else (None, str(failed))
        except InvalidSources as error:
            return None, f"{error.reason}: {error}"
        return next(((source, "") for source in found if source.rank == rank), (None, "EventsOff"))

    def _template(self, worker: Worker, rank: int) -> tuple[KvSource | None, str]:
        """For a release that has no /kv_event_sources."""
        told = self._settings().kv_events
        if not told.endpoint:
            return None, "NotTold"
        assert worker.address is not None
        try:
            sources = template_sources(
                told.endpoint, told.replay_endpoint or "", rank + 1, worker.address, told.topic or ""
            )
        except InvalidSources as error:
            return None, f"{error.reason}: {error}"
        return sources[rank], ""
