"""The adapter's own metrics: whether it can tell the truth, to whom, and until when it may.

Its page is small (a dozen samples, 0.3 ms), so it is rendered where it is asked for.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

__all__ = ["AdapterReading", "Page", "page"]

Page = Callable[[str], tuple[bytes, str]]
"""The page and its content type, as an Accept header asks for it."""


class AdapterReading(NamedTuple):
    """What is known at one moment."""

    answers: Mapping[int, int]
    reviews: Mapping[str, int]
    series: int
    complete: bool
    picture_age_s: float | None
    certificate_ends_s: float | None
    renewals: int


class _Adapter(Collector):
    def __init__(self, read: Callable[[], AdapterReading]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        now = self._read()
        answers = CounterMetricFamily(
            "grove_dp_external_answers", "Answers of the metrics port by HTTP status", labels=("code",)
        )
        for code, count in sorted(now.answers.items()):
            answers.add_metric((str(code),), count)
        yield answers
        reviews = CounterMetricFamily(
            "grove_dp_external_reviews", "Questions to the API server: token, access", labels=("kind",)
        )
        for kind, count in sorted(now.reviews.items()):
            reviews.add_metric((kind,), count)
        yield reviews
        yield GaugeMetricFamily("grove_dp_external_series", "Series in the last picture", now.series)
        yield GaugeMetricFamily(
            "grove_dp_external_picture_complete", "1 while every frontend answers", float(now.complete)
        )
        yield from _known(
            "grove_dp_external_picture_age_seconds", "Age of the last picture", now.picture_age_s
        )
        yield from _known(
            "grove_dp_external_certificate_end_timestamp_seconds",
            "When the serving certificate ends",
            now.certificate_ends_s,
        )
        yield CounterMetricFamily(
            "grove_dp_external_renewals", "Certificates and CAs taken over", now.renewals
        )


def _known(name: str, text: str, value: float | None) -> Iterable[Metric]:
    if value is not None:
        yield GaugeMetricFamily(name, text, value)


def page(read: Callable[[], AdapterReading]) -> Page:
    """The adapter's page; *read* tells what is known when it is asked for."""
    registry = CollectorRegistry()
    registry.register(_Adapter(read))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)

    def rendered(accept: str) -> tuple[bytes, str]:
        encode, kind = choose_encoder(accept)
        return encode(registry), kind

    return rendered
