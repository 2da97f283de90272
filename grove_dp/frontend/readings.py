"""What a scrape shows, copied from plane and registry at one time, on the control loop."""

from collections.abc import Mapping, Sequence
from functools import cache

from grove_dp import __version__
from grove_dp.frontend.plane import Booked, DataPlane
from grove_dp.metering.prometheus import Reading, WorkerReading
from grove_dp.metering.routing import FeedReading, KvReading, RoutingReading
from grove_dp.native import build
from grove_dp.native.indexer import Indexer
from grove_dp.routing.audit import Standing
from grove_dp.routing.kvevents import FeedState

__all__ = ["cache_reading", "reading"]


def reading(
    plane: DataPlane, index: Mapping[str, int] | None = None, caches: Sequence[KvReading] = ()
) -> Reading:
    """A copy of everything, about 5 us per worker."""
    cap = plane.settings.workers.max_inflight
    counters = plane.native.counters()
    return Reading(
        counters=counters,
        routing=RoutingReading(counters, index, caches) if index else None,
        workers=[_worker(booked, cap) for booked in plane.booked()],
        build=_build(),
    )


def _worker(booked: Booked, cap: int) -> WorkerReading:
    worker, book = booked
    return WorkerReading(
        id=worker.id,
        state=worker.state,
        circuit=book.circuit,
        inflight=book.inflight,
        max_inflight=worker.cap(cap),
        consecutive_failures=book.failures,
        placed=book.placed,
        ok=book.ok,
        failed=book.failed,
        ejected=book.ejected,
        prompt_tokens=book.prompt_tokens,
        cached_tokens=book.cached_tokens,
        output_tokens=book.output_tokens,
        prefilling=book.waiting,
        decoding=book.running,
        kv_tokens=book.kv_tokens,
        kv_capacity=book.kv_capacity,
    )


def cache_reading(
    booked: Booked, feed: FeedState | None, indexer: Indexer, standings: Mapping[str, Standing]
) -> KvReading:
    """What is known of one worker's cache; *feed* None: it publishes nothing."""
    worker, book = booked
    told = indexer.slot(worker.slot)
    standing = standings.get(worker.id)
    return KvReading(
        id=worker.id,
        feed=FeedReading("silent", told["held"])
        if feed is None
        else FeedReading(
            feed.state,
            told["held"],
            feed.seq,
            feed.messages,
            feed.gaps,
            feed.restarts,
            feed.replays,
            feed.lost,
            feed.refused,
            feed.dropped + told["malformed"],
        ),
        by_tokens=book.by_tokens,
        by_text=book.by_text,
        ratio=standing.ratio if standing else None,
        alarm=standing is not None and standing.alarm,
        backlog_s=book.backlog_s,
    )


@cache
def _build() -> dict[str, str]:
    built = build.facts()
    return {"version": __version__, "commit": built["commit"], "compiler": built["compiler"]}
