"""What a scrape shows, copied from plane and registry at one time, on the control loop."""

from collections.abc import Mapping, Sequence
from functools import cache

from grove_dp import __version__
from grove_dp.frontend.plane import Booked, DataPlane
from grove_dp.frontend.signals import step_times
from grove_dp.metering.decode import LEARNT, Decoding, virtual_load
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
    steps = _steps(plane)
    counters = plane.native.counters()
    return Reading(
        counters=counters,
        routing=RoutingReading(counters, index, caches) if index else None,
        workers=[_worker(booked, cap, _load(plane, booked, steps)) for booked in plane.booked()],
        build=_build(),
    )


Steps = Mapping[int, Sequence[float]]


def _steps(plane: DataPlane) -> Steps:
    """What a step takes, by class of workers, where it is learnt."""
    classes = {plane.registry.class_of(worker) for worker in plane.registry}
    rates = {number: plane.native.rates(number) for number in classes}
    return {number: step_times(found) for number, found in rates.items() if found.step_n >= LEARNT}


def _load(plane: DataPlane, booked: Booked, steps: Steps) -> float | None:
    worker, book = booked
    known = book.kv_capacity > 0
    now = Decoding(
        requests=book.running,
        inflight=book.inflight,
        pinned_tokens=book.kv_tokens if known else 0.0,
        cache_share=book.kv_tokens / book.kv_capacity if known else None,
    )
    return virtual_load(now, steps.get(plane.registry.class_of(worker)), plane.settings.slo.itl_s)


def _worker(booked: Booked, cap: int, load: float | None) -> WorkerReading:
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
        virtual_load=load,
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
