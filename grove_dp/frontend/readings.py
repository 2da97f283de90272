"""What a scrape shows, copied from plane and registry at one time, on the control loop."""

from functools import cache

from grove_dp import __version__
from grove_dp.frontend.plane import Booked, DataPlane
from grove_dp.metering.prometheus import LADDERS, Reading, WorkerReading
from grove_dp.native import build

__all__ = ["reading"]


def reading(plane: DataPlane) -> Reading:
    """A copy of everything, about 5 us per worker."""
    cap = plane.settings.workers.max_inflight
    return Reading(
        counters=plane.native.counters(),
        histograms={name: plane.native.histogram(name) for name in LADDERS},
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
    )


@cache
def _build() -> dict[str, str]:
    built = build.facts()
    return {"version": __version__, "commit": built["commit"], "compiler": built["compiler"]}
