"""Observations and questions: what every token and every decision asks of the meter."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING

from grove_dp.metering.meter import Meter

if TYPE_CHECKING:
    from bench.micro.cases import Cases
    from bench.micro.conftest import Gauge


def test_an_observation(gauge: Gauge, cases: Cases) -> None:
    with cases.metered(window=False) as metered:
        gauge("meter_observe", metered.observe)


def test_an_observation_with_a_window(gauge: Gauge, cases: Cases) -> None:
    with cases.metered(window=True) as metered:
        gauge("meter_observe_windowed", metered.observe)


def test_adding_to_a_counter_with_a_window(gauge: Gauge, cases: Cases) -> None:
    with cases.metered(window=True) as metered:
        gauge("meter_add_windowed", metered.add)


def test_a_quantile_of_the_longest_window(gauge: Gauge, cases: Cases) -> None:
    with cases.metered(window=True) as metered:
        gauge("meter_quantile_900", metered.quantile(900))


def test_an_observation_from_python(gauge: Gauge) -> None:
    series = Meter().histogram("wait_seconds", "Wait", unit="seconds", window=True).series()

    def observe(rounds: int) -> None:
        call = series.observe
        for value in repeat(0.02, rounds):
            call(value)

    gauge("meter_observe_python", observe)
