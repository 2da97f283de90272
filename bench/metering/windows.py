"""What the last seconds were like: a quantile, a rate, and the bytes that it takes to know.

The series got 1,000 observations a second of a log-normal for 1,000 seconds. Nothing in Python answers this
from its own memory, so there is no anchor: a Prometheus server would be asked over HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.metering.timing import least_ns
from bench.micro.cases import load
from bench.results import Row, row
from grove_dp.metering.meter import Meter

__all__ = ["rows"]

WINDOWS_S = (10, 60, 300, 900)
LABELS = {"model": "meta-llama/Llama-3.1-70B-Instruct", "class": "interactive"}


def rows(turns: int) -> Iterator[Row]:
    with load().metered(window=True) as metered:
        quantiles = least_ns({str(w): metered.quantile(w) for w in WINDOWS_S}, turns)
        rates = least_ns({str(w): metered.rate(w) for w in WINDOWS_S}, turns)
    for w in WINDOWS_S:
        yield row(f"p99 of {w} s", quantiles[str(w)] / 1e3, "us", must="value <= 20", aim="value <= 12")
    yield row("rate of 900 s", rates["900"] / 1e3, "us", must="value <= 1", aim="value <= 0.8")
    yield from memory()


def memory() -> Iterator[Row]:
    """Bytes of one series and its labels, observed from one thread."""
    for name, window, most in (("histogram", False, 4.0), ("histogram with a window", True, 64.0)):
        meter = Meter()
        family = meter.histogram("wait_seconds", "Wait", labels=tuple(LABELS), window=window)
        before = meter.nbytes
        family.series(**LABELS).observe(1.0)
        yield row(name, (meter.nbytes - before) / 1024, "KiB", must=f"value <= {most:g}")
