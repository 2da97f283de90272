"""A page of 1,000 histograms of 22 buckets and a label, beside prometheus-client's of the same values."""

from __future__ import annotations

import random
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import generate_latest

from bench.metering.observations import VLLM_BUCKETS
from bench.metering.timing import Case, least_ns
from bench.results import Row, row
from grove_dp.metering.meter import Meter, rungs
from grove_dp.native.meter import OPENMETRICS_1, OPENMETRICS_2, TEXT

__all__ = ["rows"]

SERIES = 1000
VALUES = 200
FORMS = (
    ("text", TEXT),
    ("OpenMetrics 1", OPENMETRICS_1),
    ("OpenMetrics 2, native histograms", OPENMETRICS_2),
)


def filled() -> tuple[Meter, CollectorRegistry]:
    """The same observations in both."""
    draw, meter, registry = random.Random(3), Meter(), CollectorRegistry()
    ours = meter.histogram(
        "wait_seconds", "Wait", unit="seconds", labels=("model",), rungs=rungs(2**-11, 2**10)
    )
    theirs = Histogram("wait_seconds", "Wait", ("model",), buckets=VLLM_BUCKETS, registry=registry)
    for n in range(SERIES):
        one, other = ours.series(f"model-{n}"), theirs.labels(f"model-{n}")
        for _ in range(VALUES):
            value = draw.lognormvariate(-2, 1)
            one.observe(value)
            other.observe(value)
    return meter, registry


def rows(turns: int) -> Iterator[Row]:
    meter, registry = filled()

    def render(form: int) -> Case:
        return lambda rounds: [len(meter.render(form)) for _ in range(rounds)]

    def render_theirs(rounds: int) -> None:
        for _ in range(rounds):
            generate_latest(registry)

    cases = {name: render(form) for name, form in FORMS}
    ns = least_ns({**cases, "theirs": render_theirs}, max(3, turns // 5))
    for name, form in FORMS:
        yield row(
            f"{SERIES:,} histograms, {name}",
            ns[name] / 1e6,
            "ms",
            anchor="prometheus-client",
            anchor_value=ns["theirs"] / 1e6,
            must="value <= 10",
            aim="value <= 5",
        )
        yield row(f"bytes of that page, {name}", len(meter.render(form)) / 1e6, "MB")
