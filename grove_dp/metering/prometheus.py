"""The page of a frontend: series that the core keeps, its counters, and the control side's own few metrics.

    Meter (csrc/meter)     requests by model and class, histograms     rendered in C, 4 us a series
    Reading                counters, one row per worker                prometheus-client, 15 us a sample
    ControlMetrics         registry of prometheus-client               likewise

A Reading is copied on the control loop (5 us per worker); rendering takes place in a thread, because 1,000
workers are 13,000 samples: on the loop that would stop it for 170 ms. A page is made at most each half
second, however many scrape it.

Labels are bounded: endpoint and reason are enums of the C core, code is an HTTP status, worker is a
registered worker, model and slo_class have at most 1,024 combinations (ledger.py); request ids are no labels.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from grove_dp.metering.meter import Meter
from grove_dp.metering.routing import RoutingReading, routing_families
from grove_dp.native.plane import CIRCUITS

__all__ = ["ControlMetrics", "Page", "Reading", "WorkerReading", "families"]


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
    prefilling: float = 0.0
    decoding: float = 0.0
    kv_tokens: float = 0.0
    kv_capacity: float = 0.0  # 0: it does not say
    virtual_load: float | None = None  # None: nobody knows yet


class Reading(NamedTuple):
    """Everything a scrape shows, copied at one time."""

    counters: Mapping[str, Any]
    workers: Sequence[WorkerReading]
    build: Mapping[str, str]
    routing: RoutingReading | None = None


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
    "prefilling": ("grove_dp_worker_prefilling", "Requests placed on the worker, before their first token"),
    "decoding": (
        "grove_dp_worker_decoding",
        "Requests past their first token: its batch, as far as it is ours",
    ),
    "kv_tokens": (
        "grove_dp_worker_kv_tokens",
        "Tokens pinned in its cache by requests, as it tells or we know",
    ),
    "kv_capacity": ("grove_dp_worker_kv_capacity_tokens", "Tokens that its cache has room for, 0: not known"),
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
        self.startup = Histogram(
            "grove_dp_worker_startup_seconds",
            "Registration of a worker until it was ready first",
            buckets=(1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800),
            registry=self.registry,
        )
        self.lag = Histogram(
            "grove_dp_control_lag_seconds",
            "How late the control loop wakes",
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
            registry=self.registry,
        )


class Page:
    """GET /metrics. It is a collector: what prometheus-client's encoders ask of a registry."""

    def __init__(self, meter: Meter, own: CollectorRegistry) -> None:
        self._meter = meter
        self._own = own
        self._reading: Reading | None = None

    def collect(self) -> Iterator[Metric]:
        """The families that the meter does not render itself."""
        yield from self._own.collect()
        if self._reading is not None:
            yield from families(self._reading)

    def render(self, reading: Reading, accept: str) -> tuple[bytes, str]:
        """The page and its content type, as *accept* asks for it. Takes its time: call it in a thread."""
        self._reading = reading
        return self._meter.scrape(accept, self)


def families(reading: Reading) -> Iterator[Metric]:
    """Every family of a reading."""
    yield InfoMetricFamily("grove_dp_build", "How this grove-dp was built", dict(reading.build))
    yield from _requests(reading.counters)
    for key, (name, text) in COUNTERS.items():
        yield CounterMetricFamily(name, text, reading.counters[key])
    for key, (name, text) in GAUGES.items():
        yield GaugeMetricFamily(name, text, reading.counters[key])
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
    load = GaugeMetricFamily(
        "grove_dp_worker_decode_virtual_load",
        "Workers that its decoding would need to keep the promise between tokens; no sample: not known",
        labels=("worker",),
    )
    tables: list[tuple[str, Metric]] = [
        *((key, GaugeMetricFamily(*told, labels=("worker",))) for key, told in WORKER_GAUGES.items()),
        *((key, CounterMetricFamily(*told, labels=("worker",))) for key, told in WORKER_COUNTERS.items()),
    ]
    for worker in workers:
        label = (worker.id,)
        up.add_metric(label, worker.state == "ready" and worker.circuit != "open")
        if worker.virtual_load is not None:
            load.add_metric(label, worker.virtual_load)
        for name in CIRCUITS:
            circuit.add_metric((worker.id, name), worker.circuit == name)
        for key, family in tables:
            family.add_metric(label, getattr(worker, key))  # type: ignore[attr-defined]
    yield up
    yield circuit
    yield load
    for _, family in tables:
        yield family
