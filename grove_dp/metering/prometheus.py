"""The plane's counters and histograms as Prometheus families, and the control side's own few metrics.

    on the control loop    Reading = counters + histograms + one row per worker  (a copy, ~5 us per worker)
    in a thread            families(reading) -> text or OpenMetrics              (~15 us per sample)

Taking and rendering are apart because 1,000 workers are 13,000 samples: rendering them on the loop would
stop it for 170 ms.

Labels are bounded: endpoint and reason are enums of the C core, code is an HTTP status, worker is a
registered worker; models and request ids are no labels.

The fine histograms have 16 buckets per power of two (2^(i/16) us). A classic bucket's bound must be one of
these bounds or its count would be a guess; LADDERS picks every 8th (steps of 1.41) where quantiles are read
off, every 16th else.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder

from grove_dp.metering.routing import RoutingReading, routing_families
from grove_dp.native.plane import CIRCUITS
from grove_dp.native.plane import Histogram as FineHistogram

__all__ = ["LADDERS", "ControlMetrics", "Ladder", "Reading", "WorkerReading", "classic", "families", "render"]


class WorkerReading(NamedTuple):
    """One worker and its book."""

    id: str
    state: str
    circuit: str
    inflight: int
    max_inflight: int
    consecutive_failures: int
    placed: int
    ok: int
    failed: int
    ejected: int
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int


class Reading(NamedTuple):
    """Everything a scrape shows, copied at one time."""

    counters: Mapping[str, Any]
    histograms: Mapping[str, FineHistogram]
    workers: Sequence[WorkerReading]
    build: Mapping[str, str]
    routing: RoutingReading | None = None


class Ladder(NamedTuple):
    """Bounds of a classic histogram: 2^(i/16) us for i from *first* to *last* by *step*."""

    name: str
    help: str
    first: int
    last: int
    step: int

    def bounds_s(self) -> list[float]:
        return [float(f"{_bound_s(i):.6g}") for i in range(self.first, self.last + 1, self.step)]


LADDERS: Mapping[str, Ladder] = {
    # 1 ms .. 67 s; 128 us .. 8 s; 1 ms .. 18 min; 16 us .. 67 s; 16 us .. 4 s
    "ttft": Ladder(
        "grove_dp_time_to_first_token_seconds", "Arrival of a request to its first event", 160, 416, 8
    ),
    "gap": Ladder("grove_dp_token_gap_seconds", "Time between two events of a stream", 112, 368, 8),
    "duration": Ladder("grove_dp_request_duration_seconds", "Arrival of a request to its end", 160, 480, 16),
    "queue": Ladder("grove_dp_queue_wait_seconds", "Time a request waited for a worker", 64, 416, 16),
    "connect": Ladder("grove_dp_upstream_connect_seconds", "Time to connect to a worker", 64, 352, 16),
}

# counter of the plane -> metric, help
COUNTERS: Mapping[str, tuple[str, str]] = {
    "accepted": ("grove_dp_connections_accepted", "Client connections accepted"),
    "client_bytes_in": ("grove_dp_client_received_bytes", "Bytes read from clients"),
    "client_bytes_out": ("grove_dp_client_sent_bytes", "Bytes sent to clients"),
    "events": ("grove_dp_stream_events", "Events relayed in streams"),
    "usage_missing": ("grove_dp_usage_missing", "Finished answers in which no usage was found"),
    "prompt_tokens": ("grove_dp_prompt_tokens", "Prompt tokens as the workers counted them"),
    "cached_tokens": ("grove_dp_cached_tokens", "Prompt tokens that workers found in their cache"),
    "output_tokens": ("grove_dp_output_tokens", "Output tokens as the workers counted them"),
    "retries": ("grove_dp_retries", "Tries on another worker"),
    "retries_denied": ("grove_dp_retries_denied", "Retries that the retry budget refused"),
    "upstream_connects": ("grove_dp_upstream_connects", "Connections opened to workers"),
    "upstream_reuses": ("grove_dp_upstream_reuses", "Requests sent on a kept connection"),
    "upstream_stale": ("grove_dp_upstream_stale", "Kept connections that the worker had closed"),
    "queued": ("grove_dp_queued_requests", "Requests that had to wait for a worker"),
    "records_lost": ("grove_dp_records_lost", "Finished requests whose record was overwritten unread"),
}

GAUGES: Mapping[str, tuple[str, str]] = {
    "connections": ("grove_dp_connections", "Client connections open"),
    "exchanges": ("grove_dp_exchanges", "Requests in flight"),
    "waiting": ("grove_dp_waiting_requests", "Requests waiting for a worker"),
    "buffered_bytes": ("grove_dp_buffered_bytes", "Bytes held for all requests"),
    "upstreams": ("grove_dp_upstream_connections", "Connections to workers open"),
}

WORKER_GAUGES: Mapping[str, tuple[str, str]] = {
    "inflight": ("grove_dp_worker_inflight", "Requests in flight on the worker"),
    "max_inflight": ("grove_dp_worker_max_inflight", "Cap of requests in flight, 0: none"),
    "consecutive_failures": ("grove_dp_worker_consecutive_failures", "Failed requests in a row"),
}

WORKER_COUNTERS: Mapping[str, tuple[str, str]] = {
    "placed": ("grove_dp_worker_placed", "Requests placed on the worker"),
    "ok": ("grove_dp_worker_ok", "Requests that the worker answered"),
    "failed": ("grove_dp_worker_failed", "Requests that failed by the worker's fault"),
    "ejected": ("grove_dp_worker_ejected", "Times that the circuit opened"),
    "prompt_tokens": ("grove_dp_worker_prompt_tokens", "Prompt tokens"),
    "cached_tokens": ("grove_dp_worker_cached_tokens", "Prompt tokens found in the worker's cache"),
    "output_tokens": ("grove_dp_worker_output_tokens", "Output tokens"),
}


class ControlMetrics:
    """What the control side counts itself."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.reload_errors = Counter(
            "grove_dp_config_reload_errors",
            "Configuration or workers file read again and found wrong",
            registry=self.registry,
        )
        self.scrape_failures = Counter(
            "grove_dp_scrape_failures",
            "Times that a worker's /metrics brought nothing",
            registry=self.registry,
        )
        self.tokens_refused = Counter(
            "grove_dp_tokens_refused",
            "Prompts that could not be turned into tokens here, by why",
            labelnames=("why",),
            registry=self.registry,
        )
        self.lag = Histogram(
            "grove_dp_control_lag_seconds",
            "How late the control loop wakes",
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
            registry=self.registry,
        )


class _Scrape:
    """What the encoders of prometheus-client ask of a registry: `collect`."""

    def __init__(self, own: CollectorRegistry, reading: Reading) -> None:
        self._own = own
        self._reading = reading

    def collect(self) -> Iterator[Metric]:
        yield from self._own.collect()
        yield from families(self._reading)


def render(own: CollectorRegistry, reading: Reading, accept: str) -> tuple[bytes, str]:
    """The page and its content type, as *accept* asks for it. Takes its time: call it in a thread."""
    encode: Callable[[Any], bytes]
    encode, content_type = choose_encoder(accept)
    return encode(_Scrape(own, reading)), content_type


def families(reading: Reading) -> Iterator[Metric]:
    """Every family of a reading."""
    yield InfoMetricFamily("grove_dp_build", "How this grove-dp was built", dict(reading.build))
    yield from _requests(reading.counters)
    for key, (name, text) in COUNTERS.items():
        yield CounterMetricFamily(name, text, reading.counters[key])
    for key, (name, text) in GAUGES.items():
        yield GaugeMetricFamily(name, text, reading.counters[key])
    for key, ladder in LADDERS.items():
        buckets, total_s = classic(reading.histograms[key], ladder)
        yield HistogramMetricFamily(ladder.name, ladder.help, buckets, total_s)
    yield from _workers(reading.workers)
    if reading.routing is not None:
        yield from routing_families(reading.routing)


def _requests(counters: Mapping[str, Any]) -> Iterator[Metric]:
    ended = CounterMetricFamily(
        "grove_dp_requests", "Requests by how they ended", labels=("endpoint", "reason")
    )
    for labels, count in counters["ended"].items():
        ended.add_metric(labels, count)
    sent = CounterMetricFamily("grove_dp_responses", "Answers by status sent", labels=("code",))
    for code, count in counters["status"].items():
        sent.add_metric((str(code),), count)
    yield ended
    yield sent


def _workers(workers: Iterable[WorkerReading]) -> Iterator[Metric]:
    up = GaugeMetricFamily("grove_dp_worker_up", "1 if the worker may get requests", labels=("worker",))
    circuit = GaugeMetricFamily(
        "grove_dp_worker_circuit", "1 for the state in which the circuit is", labels=("worker", "circuit")
    )
    tables: list[tuple[str, Metric]] = [
        *((key, GaugeMetricFamily(*told, labels=("worker",))) for key, told in WORKER_GAUGES.items()),
        *((key, CounterMetricFamily(*told, labels=("worker",))) for key, told in WORKER_COUNTERS.items()),
    ]
    for worker in workers:
        label = (worker.id,)
        up.add_metric(label, worker.state == "ready" and worker.circuit != "open")
        for name in CIRCUITS:
            circuit.add_metric((worker.id, name), worker.circuit == name)
        for key, family in tables:
            family.add_metric(label, getattr(worker, key))  # type: ignore[attr-defined]
    yield up
    yield circuit
    for _, family in tables:
        yield family


# ---------------------------------------------------------------- histograms


def classic(fine: FineHistogram, ladder: Ladder) -> tuple[list[tuple[str, float]], float]:
    """Cumulative classic buckets and the sum of a fine histogram; exact, as every bound is a fine one."""
    steps = [0] * ((ladder.last - ladder.first) // ladder.step + 2)
    for bound_s, count in zip(fine.bounds_s, fine.counts, strict=True):
        i = round(16 * math.log2(bound_s * 1e6)) if bound_s < math.inf else ladder.last + 1
        steps[min(max(math.ceil((i - ladder.first) / ladder.step), 0), len(steps) - 1)] += count
    names = [*(repr(bound) for bound in ladder.bounds_s()), "+Inf"]
    buckets, seen = [], 0
    for name, count in zip(names, steps, strict=True):
        seen += count
        buckets.append((name, float(seen)))
    return buckets, fine.sum_s


def _bound_s(i: int) -> float:
    return 2 ** (i / 16) / 1e6
