"""One observation: from C in a loop of C, from Python in a loop of Python (which is counted with it).

Both sides of a pair have their labels resolved beforehand and 22 buckets or more. From C the values are a
log-normal and a thousand make a second, so the closing of seconds is in the figure.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

from prometheus_client import CollectorRegistry, Counter, Histogram

from bench.metering.timing import Case, least_ns
from bench.micro.cases import load
from bench.results import Row, row
from grove_dp.metering.meter import Meter

__all__ = ["VLLM_BUCKETS", "rows"]

# the bounds of vLLM's time_to_first_token_seconds
VLLM_BUCKETS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
VALUE = 0.25


def calls(function: object) -> Case:
    """So many calls with one number."""

    def case(rounds: int) -> None:
        call = function
        for value in repeat(VALUE, rounds):
            call(value)  # type: ignore[operator]

    return case


def python_cases() -> dict[str, Case]:
    meter, registry = Meter(), CollectorRegistry()
    plain = meter.histogram("plain_seconds", "Wait", unit="seconds", labels=("model",)).series("m")
    windowed = meter.histogram("wait_seconds", "Wait", labels=("model",), window=True).series("m")
    tokens = meter.counter("tokens", "Tokens", labels=("model",), window=True).series("m")
    theirs = Histogram("wait", "Wait", ("model",), buckets=VLLM_BUCKETS, registry=registry).labels("m")
    count = Counter("tokens", "Tokens", ("model",), registry=registry).labels("m")
    return {
        "plain": calls(plain.observe),
        "windowed": calls(windowed.observe),
        "tokens": calls(tokens.add),
        "their observe": calls(theirs.observe),
        "their inc": calls(count.inc),
    }


def rows(turns: int) -> Iterator[Row]:
    cases = load()
    with cases.metered(window=False) as bare, cases.metered(window=True) as windowed:
        ns = least_ns(
            {
                **python_cases(),
                "c": bare.observe,
                "c windowed": windowed.observe,
                "c add": windowed.add,
            },
            turns,
        )
    anchor, inc = ns["their observe"], ns["their inc"]
    histogram, counter = "prometheus-client observe", "prometheus-client inc"
    for name, key in (("observe, C", "c"), ("observe with a window, C", "c windowed")):
        yield row(
            name, ns[key], "ns", anchor=histogram, anchor_value=anchor, must="value <= 15", aim="value <= 10"
        )
    yield row(
        "add with a window, C",
        ns["c add"],
        "ns",
        anchor=counter,
        anchor_value=inc,
        must="value <= 15",
        aim="value <= 8",
    )
    for name, key in (("observe, Python", "plain"), ("observe with a window, Python", "windowed")):
        yield row(
            name, ns[key], "ns", anchor=histogram, anchor_value=anchor, must="value <= 60", aim="value <= 45"
        )
    yield row(
        "add with a window, Python",
        ns["tokens"],
        "ns",
        anchor=counter,
        anchor_value=inc,
        must="value <= 60",
        aim="value <= 45",
    )
