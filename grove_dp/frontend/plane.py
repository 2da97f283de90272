"""Owns the C plane: turns settings and the registry into tables, and reads its books back.

Whoever changes the registry calls `changed()`. That is level-triggered: it compares what is with what was
told, so a call too many costs a table and a call too few is mended by the next. Tables are coalesced: a
rollout that makes 500 workers ready within a few milliseconds costs one table instead of 500 (a table of
1,000 workers takes about 3 ms to build). `publish()` does it now: an answered admin call must already hold
on the data port.

A worker that leaves is looked at each REAP_S while there is one; an idle frontend has no timer here.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

from grove_dp import __version__
from grove_dp.metering.ledger import Ledger
from grove_dp.metering.meter import Meter
from grove_dp.metering.records import ClassNames
from grove_dp.native.plane import Book, Plane
from grove_dp.routing.workers import Registry, Table, Worker
from grove_dp.settings import Settings, read_class

__all__ = ["Booked", "DataPlane", "NestedLoop", "table_settings"]

COALESCE_S = 0.003
REAP_S = 0.2

_log = logging.getLogger(__name__)


class Booked(NamedTuple):
    """A worker and its book, read together."""

    worker: Worker
    book: Book


class DataPlane:
    """The published side of the registry. One per process; belongs to the control loop."""

    def __init__(self, plane: Plane, registry: Registry, settings: Settings) -> None:
        self.native = plane
        self.registry = registry
        self.settings = settings
        self.published: Table | None = None
        self.exact: Callable[[], Mapping[str, int]] = dict  # see Registry.table
        self.class_names = ClassNames()
        self.meter = Meter(page_age_s=0.005)  # scrapes at one time share a page; the next one is fresh
        self.ledger = Ledger(self.meter, plane.account)
        self._version = msgspec.json.encode({"version": __version__})
        self._listeners: list[Callable[[], None]] = []
        self._soon: asyncio.TimerHandle | None = None
        self._took_s = 0.0  # the last publication; 15 ms with a thousand workers
        self._reaping: asyncio.TimerHandle | None = None

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call *listener* after each table."""
        self._listeners.append(listener)

    def changed(self) -> None:
        """The registry or the settings changed: tell the plane within COALESCE_S."""
        self._reset_taken()
        if self._soon is None:
            wait_s = max(COALESCE_S, 3 * self._took_s)  # a quarter of the loop's time goes into tables
            self._soon = asyncio.get_running_loop().call_later(wait_s, self.publish)

    def publish(self) -> None:
        """Tell the plane now."""
        began = time.monotonic()
        self._reset_taken()
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        classes = [read_class(told)[0] for told in self.settings.slo.classes]
        table = self.registry.table(
            self.settings.workers.max_inflight,
            self.exact(),
            lambda model: self.ledger.numbers(model, classes),
            self.settings.workers.known_models,
        )
        self.native.publish(
            table_settings(self.settings, self.class_names.number),
            table.workers,
            table.models,
            table.models_body,
            self._version,
        )
        self.published = table
        if self._reaping is None and self.registry.waiting_to_go:
            self._reaping = asyncio.get_running_loop().call_later(REAP_S, self._reap)
        for listener in self._listeners:
            listener()
        self._took_s = time.monotonic() - began

    def flush(self) -> None:
        """Tell the plane now if there is something to tell."""
        if self._soon is not None:
            self.publish()

    def _reset_taken(self) -> None:
        for slot in self.registry.taken():
            self.native.reset_book(slot)

    def _reap(self) -> None:
        self._reaping = None
        gone = self.registry.reap(lambda slot: self.native.book(slot).inflight)
        for worker_id in gone:
            _log.info("worker has gone", extra={"worker": worker_id})
        if gone:
            self.changed()
        elif self.registry.waiting_to_go:
            self._reaping = asyncio.get_running_loop().call_later(REAP_S, self._reap)

    def booked(self) -> list[Booked]:
        """Every worker with its book."""
        return [Booked(worker, self.native.book(worker.slot)) for worker in self.registry]

    def in_flight(self) -> int:
        """Requests that a shutdown waits for."""
        counters = self.native.counters()
        return int(counters["exchanges"])

    def close(self) -> None:
        """Cancel the timers, stop the threads, close the sockets. Twice is fine."""
        for timer in (self._soon, self._reaping):
            if timer is not None:
                timer.cancel()
        self._soon = self._reaping = None
        self.native.close()


class NestedLoop:
    """threads = 0: the epoll set of the plane lives inside the event loop; its steps run on this thread."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._fd = self._plane.fileno()
        self._loop.add_reader(self._fd, self._step)
        self._step()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.remove_reader(self._fd)
        if self._timer is not None:
            self._timer.cancel()

    def _step(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._plane.step()
        self._timer = self._loop.call_later(self._plane.wait_s(), self._step)


def table_settings(settings: Settings, number: Callable[[str], int] = lambda _: 0) -> dict[str, Any]:
    """The part of the settings that goes with each table: SETTINGS_KEYS of the plane. *number*: what records
    call a class of requests."""
    s = settings
    return {
        **msgspec.structs.asdict(s.deadlines),
        "upstream_idle_s": s.workers.connections_idle_s,
        "queue_wait_s": s.queue.wait_s,
        "no_worker_s": s.queue.no_worker_s,
        "queue_length": s.queue.length,
        "tokens_wait_s": s.tokens.wait_s,
        "tokens_wait_64k_s": s.tokens.wait_64k_s,
        "tokens_jobs": s.tokens.jobs,
        "recall_bytes": s.tokens.recall_bytes,
        **msgspec.structs.asdict(s.limits),
        "attempts": s.retry.attempts,
        "budget_ratio": s.retry.budget_ratio,
        "budget_burst": float(s.retry.budget_burst),
        "budget_per_s": s.retry.budget_per_s,
        "failures": s.circuit.failures,
        "open_s": s.circuit.open_s,
        "max_open_s": s.circuit.max_open_s,
        "policy": s.routing.policy,
        "session_header": s.routing.session_header,
        "policy_header": s.routing.policy_header or "",
        "predict_s": math.ceil(s.index.predict_s),
        "predict_text_s": math.ceil(s.index.predict_text_s),
        "late_on": s.queue.full_s > 0,
        "late": _late_rule(s),
        "class_header": s.slo.class_header or "",
        "classes": [(*found, number(found[0])) for found in map(read_class, s.slo.classes)],
        "expose_headers": s.routing.expose_headers,
        "half_close_allow": s.http.half_close == "allow",
        "inject_usage": s.usage.inject,
    }


def _late_rule(settings: Settings) -> dict[str, Any]:
    """The queue's rule: LATE_KEYS of the plane."""
    queue, slo = settings.queue, settings.slo
    return {
        "full_s": queue.full_s,
        "ttft_slo_s": slo.ttft_s,
        "itl_slo_s": slo.itl_s,
        "hold": queue.hold,
        "demote_s": queue.demote_s,
        "guard_s": queue.guard_s,
        "guard_every_s": queue.guard_every_s,
        "fifo": queue.discipline == "fifo",
    }
