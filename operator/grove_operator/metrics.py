"""The operator's own figures, for Prometheus: what it does, how long that takes, and what waits.

What controllers count is read from them when the page is asked for; only what nobody else counts is counted
here. No figure has the name of a set or a pod as a label: their number is bounded by the code.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from grove_dp.kube.controller import ControllerReading

__all__ = ["OperatorMetrics"]

PREFIX: Final = "grove_dp_operator"
WAITS_S: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)

Reading = Callable[[], ControllerReading]


class OperatorMetrics(Collector):
    """Figures of one operator, on a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.leading = False
        self.certificate_ends_s: float | None = None  # seconds since 1970
        self._writes: Counter[tuple[str, str, str]] = Counter()
        self._gangs: Mapping[str, int] = {}
        self._sources: list[Reading] = []
        self._gang_waits = Histogram(
            f"{PREFIX}_gang_wait_seconds",
            "Time from a gang's being whole until it was released",
            buckets=WAITS_S,
            registry=self.registry,
        )
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    # ------------------------------------------------------------ what is told

    def follow(self, reading: Reading) -> None:
        """Show a controller's figures: `metrics.follow(controller.reading)`."""
        self._sources.append(reading)

    def wrote(self, kind: str, verb: str, outcome: str) -> None:
        """A write was answered: of a Pod, `create`, `ok` or the error's reason."""
        self._writes[kind, verb, outcome] += 1

    def gangs(self, states: Mapping[str, int]) -> None:
        """How many gangs there are in each state now."""
        self._gangs = dict(states)

    def gang_waited(self, seconds: float) -> None:
        """A gang was released."""
        self._gang_waits.observe(seconds)

    # ------------------------------------------------------------ what is shown

    def page(self, accept: str) -> tuple[bytes, str]:
        """The page as an Accept header asks for it, and its content type."""
        encode, kind = choose_encoder(accept)
        return encode(self.registry), kind

    def describe(self) -> Iterable[Metric]:
        """None ahead: registering must not ask the controllers."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Everything, as of now."""
        yield GaugeMetricFamily(f"{PREFIX}_leader", "1 while this operator leads", float(self.leading))
        if self.certificate_ends_s is not None:
            yield GaugeMetricFamily(
                f"{PREFIX}_certificate_end_timestamp_seconds",
                "When the webhooks' certificate ends",
                self.certificate_ends_s,
            )
        writes = CounterMetricFamily(
            f"{PREFIX}_writes", "Writes to the API server", labels=("kind", "verb", "outcome")
        )
        for labels, count in sorted(self._writes.items()):
            writes.add_metric(labels, count)
        yield writes
        gangs = GaugeMetricFamily(f"{PREFIX}_gangs", "Gangs by state", labels=("state",))
        for state, count in sorted(self._gangs.items()):
            gangs.add_metric((state,), count)
        yield gangs
        readings = [read() for read in self._sources]
        yield from _reconciles(readings)
        yield from _queues(readings)


def _reconciles(readings: Iterable[ControllerReading]) -> Iterable[Metric]:
    seconds = HistogramMetricFamily(
        f"{PREFIX}_reconcile_seconds", "Time of one reconcile", labels=("controller",)
    )
    errors = CounterMetricFamily(
        f"{PREFIX}_reconcile_errors", "Reconciles that failed", labels=("controller", "reason")
    )
    for reading in readings:
        buckets = [(_bound(bound), float(count)) for bound, count in sorted(reading.buckets.items())]
        seconds.add_metric((reading.name,), buckets, reading.seconds)
        for reason, count in sorted(reading.errors.items()):
            errors.add_metric((reading.name, reason), count)
    return seconds, errors


def _queues(readings: Iterable[ControllerReading]) -> Iterable[Metric]:
    keys = GaugeMetricFamily(
        f"{PREFIX}_queue_keys", "Keys that want work, or are in work", labels=("controller", "state")
    )
    waited = CounterMetricFamily(
        f"{PREFIX}_queue_wait_seconds", "Time that keys were ready and waited", labels=("controller",)
    )
    retries = CounterMetricFamily(
        f"{PREFIX}_queue_retries", "Keys put back after a failure", labels=("controller",)
    )
    slowed = CounterMetricFamily(
        f"{PREFIX}_queue_slowed", "Additions that waited for their key's pace", labels=("controller",)
    )
    for reading in readings:
        queue = reading.queue
        for state in ("ready", "delayed", "in_work"):
            keys.add_metric((reading.name, state), getattr(queue, state))
        waited.add_metric((reading.name,), queue.waited_s)
        retries.add_metric((reading.name,), queue.retries)
        slowed.add_metric((reading.name,), queue.slowed)
    return keys, waited, retries, slowed


def _bound(bound: float) -> str:
    return "+Inf" if bound == float("inf") else repr(float(bound))
