"""GET /signals: what this frontend sees, for those who merge frontends and scale (metering/signals.py).

    each DRAIN_S      records of the I/O threads -> ring -> access log, and whoever waits for news
    GET /signals      records since SEQ, and a copy of what stands in books and series now

A poll costs about 10 us per worker and nothing per record but the copy into the answer.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from grove_dp.clock import Clock
from grove_dp.errors import ClientFault
from grove_dp.frontend.accesslog import AccessLog
from grove_dp.frontend.plane import Booked, DataPlane
from grove_dp.metering.ledger import WINDOW_S, Row
from grove_dp.metering.records import RecordRing
from grove_dp.metering.signals import (
    WAIT_MAX_S,
    CurveSignal,
    ModelSignal,
    Signals,
    WorkerSignal,
    encode,
)
from grove_dp.native.plane import ENDPOINTS, REASONS, RECORD, Rates
from grove_dp.routing.models import base_of
from grove_dp.routing.workers import Worker

__all__ = ["Query", "SignalsFeed", "Startups", "query", "step_times"]

DRAIN_S: Final = 0.05
STARTUPS: Final = 64
# What the learnt rates count in (csrc/include/gdp/cost.h).
PREFILL_SCALE: Final = (1.0, 1e3, 1e6)
STEP_SCALE: Final = (1.0, 10.0, 1e5)
MOST: Final = 65_536


class Query:
    """What a poll asks for."""

    def __init__(self, since: int = 0, boot: str = "", wait_s: float = 0.0, most: int = MOST) -> None:
        self.since, self.boot, self.wait_s, self.most = since, boot, wait_s, most


def query(asked: Sequence[tuple[str, str]]) -> Query:
    """Read a query string. ClientFault names what is wrong with it."""
    found = Query()
    for name, value in asked:
        if name == "boot":
            found.boot = value
        elif name == "since":
            found.since = int(_number(name, value, 2**63))
        elif name == "wait":
            found.wait_s = min(_number(name, value, 1e6), WAIT_MAX_S)
        elif name == "most":
            found.most = max(1, int(_number(name, value, MOST)))
        else:
            raise ClientFault(f"{name!r} is no parameter of /signals; it takes since, boot, wait and most")
    return found


def _number(name: str, value: str, most: float) -> float:
    try:
        found = float(value) if name == "wait" else int(value)
    except ValueError:
        found = -1
    if not 0 <= found <= most:
        raise ClientFault(f"{name}={value!r} must be a number from 0 to {most:.0f}")
    return found


class Startups:
    """How long workers took from their registration until they were ready first: the last of them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[Worker, float | None] = {}  # None: has been ready
        self.seconds: deque[float] = deque(maxlen=STARTUPS)

    def look(self, workers: Iterable[Worker]) -> list[float]:
        """Note who came and who has become ready since the last look; how long those took."""
        now, before = self._clock.now(), self._since
        self._since = {worker: before.get(worker, now) for worker in workers}
        done = [w for w, since in self._since.items() if since is not None and w.health == "ready"]
        took = [now - (self._since[worker] or 0.0) for worker in done]
        for worker in done:
            self._since[worker] = None
        self.seconds.extend(took)
        return took


class SignalsFeed:
    """Drains the records of the plane and answers polls."""

    def __init__(
        self,
        plane: DataPlane,
        boot_id: str,
        clock: Clock,
        started: Callable[[float], object] = lambda _: None,
        draining: Callable[[], bool] = lambda: False,
    ) -> None:
        """*started* is told how long each worker took to become ready; *draining*: whether we are to stop."""
        self._plane = plane
        self._boot_id = boot_id
        self._clock = clock
        self._started = started
        self._ring = RecordRing(plane.native.drain_records)
        self._startups = Startups(clock)
        self._news = asyncio.Event()
        self._log: AccessLog | None = None
        self._draining = draining

    def log_requests(self) -> None:
        """Write an access log from now on."""
        self._log = AccessLog(self._ring, self._plane.registry.by_slot)

    async def run(self) -> None:
        """Drain until cancelled, and what is left then."""
        try:
            while True:
                self.drain()
                await self._clock.sleep(DRAIN_S)
        finally:
            self.drain()

    def drain(self) -> None:
        """Take over what the I/O threads left."""
        for took in self._startups.look(self._plane.registry):
            self._started(took)
        if not self._ring.drain():
            return
        if self._log is not None:
            self._log.write()
        self._news.set()
        self._news = asyncio.Event()

    async def answer(self, asked: Query) -> bytes:
        """The body of an answer."""
        since = asked.since if asked.boot in ("", self._boot_id) else 0
        if asked.wait_s > 0:
            await self._wait(since, asked.wait_s)
        self.drain()
        part = self._ring.since(since, asked.most)
        told = self._now()
        told.first_seq, told.next_seq, told.newest_seq = part.first, part.next_seq, self._ring.next_seq
        told.lost, told.records = part.lost, part.records.tobytes()
        return encode(told)

    async def _wait(self, since: int, wait_s: float) -> None:
        deadline = self._clock.now() + wait_s
        while self._ring.next_seq <= since and (left := deadline - self._clock.now()) > 0:
            news = self._news
            try:
                await asyncio.wait_for(news.wait(), left)
            except TimeoutError:
                return

    def _now(self) -> Signals:
        """Everything but the records."""
        now_ns = time.monotonic_ns()
        plane = self._plane
        return Signals(
            boot_id=self._boot_id,
            now_ns=now_ns,
            wall_offset_ns=time.time_ns() - now_ns,
            first_seq=0,
            next_seq=0,
            newest_seq=0,
            lost=0,
            draining=self._draining(),
            ttft_s=plane.settings.slo.ttft_s,
            itl_s=plane.settings.slo.itl_s,
            workers=[self._worker(booked) for booked in plane.booked()],
            models=self._models(),
            curves=self._curves(),
            startups=list(self._startups.seconds),
            classes=list(plane.class_names),
            reasons=list(REASONS),
            endpoints=list(ENDPOINTS),
            dtype=RECORD,
        )

    def _worker(self, booked: Booked) -> WorkerSignal:
        worker, book = booked
        place = worker.spec.place
        return WorkerSignal(
            slot=worker.slot,
            id=worker.id,
            state=worker.state,
            namespace=place.namespace,
            pod=place.pod,
            pod_uid=place.pod_uid,
            pcs=place.pcs,
            pcsg=place.pcsg,
            pclq=place.pclq,
            component=place.component,
            role=place.role,
            base=base_of(worker.models) or "",
            models=list(worker.models),
            draining=worker.state == "draining",
            inflight=book.inflight,
            prefill=book.waiting,
            decode=book.running,
            backlog_s=book.backlog_s,
            kv_tokens=book.kv_tokens if book.kv_capacity > 0 else -1.0,
            kv_capacity=book.kv_capacity if book.kv_capacity > 0 else -1.0,
            placed=book.placed,
            prompt_tokens=book.prompt_tokens,
            cached_tokens=book.cached_tokens,
            output_tokens=book.output_tokens,
            work_s=self._plane.native.work_s(worker.slot),
        )

    def _models(self) -> list[ModelSignal]:
        return [_model(row) for row in self._plane.ledger.rows]

    def _curves(self) -> list[CurveSignal]:
        """What is learnt of each class of workers that there is."""
        found: dict[int, set[str]] = {}
        registry = self._plane.registry
        for worker in registry:
            base = base_of(worker.models)
            found.setdefault(registry.class_of(worker), set()).update(() if base is None else (base,))
        curves = []
        for number, models in sorted(found.items()):
            rates = self._plane.native.rates(number)
            curves.append(
                CurveSignal(
                    class_of=number,
                    models=sorted(models),
                    prefill=_unscaled(rates.prefill, PREFILL_SCALE),
                    prefill_n=rates.prefill_n,
                    step=step_times(rates),
                    step_n=rates.step_n,
                )
            )
        return curves


def step_times(rates: Rates) -> list[float]:
    """Seconds of a step: at all, per request, per token of context."""
    return _unscaled(rates.step, STEP_SCALE)


def _unscaled(theta: Iterable[float], scale: Iterable[float]) -> list[float]:
    return [value / unit for value, unit in zip(theta, scale, strict=True)]


def _model(row: Row) -> ModelSignal:
    counts, levels, times = row.counts, row.levels, row.times
    return ModelSignal(
        model=row.model,
        slo_class=row.slo_class,
        queued=round(levels["waiting"].value),
        queued_tokens=levels["waiting_tokens"].value,
        arrived=round(counts["arrived"].value),
        ended=round(counts["ended"].value),
        output_tokens=round(counts["output"].value),
        judged=round(counts["judged"].value),
        kept=round(counts["kept"].value),
        queue_wait=times["wait"].window_buckets(WINDOW_S),
        ttft=times["ttft"].window_buckets(WINDOW_S),
        itl=times["gap"].window_buckets(WINDOW_S),
    )
