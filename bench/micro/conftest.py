"""The gauge and the gate of the micro benches.

A case and the calibration loop run in turns, a millisecond each, and the least time of each counts: what
disturbs a run only ever adds time. The ratio of the two is what budgets.json bounds, so a slow machine passes
and a busy one does. Where the gate would close, the turns go on for up to PATIENCE_S: noise ends, a slow call
stays slow.

A budget's `aim` is 1.15 × and its `must` 1.8 × the least ratio seen: a busy sibling thread of the core made
http1_request take 1.9 × its time while the yardstick took 1.25 ×.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import results
from bench.micro.cases import BytesCase, Cases, load
from bench.micro.samples import YARDSTICK

BUDGETS: dict[str, dict[str, float]] = json.loads((Path(__file__).parent / "budgets.json").read_text())
ROUNDS = 40
ROUND_S = 0.001
PATIENCE_S = 4.0
ROWS = pytest.StashKey[list[results.Row]]()

Case = Callable[[int], None]
Gauge = Callable[[str, Case], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--gate", action="store_true", help="fail where a case costs more than its budget")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []
    config.option.benchmark_quiet = True  # the rows say it shorter


@pytest.fixture(scope="session")
def cases() -> Cases:
    return load()


@pytest.fixture(scope="session")
def yardstick(cases: Cases) -> BytesCase:
    return cases.on("calibration", YARDSTICK)


class Turns:
    """A case and the yardstick, timed in turns; the least nanoseconds of each so far."""

    def __init__(self, case: Case, yardstick: BytesCase) -> None:
        self._case, self._yardstick = case, yardstick
        self.calls, self._walks = _rounds_for(case), _rounds_for(yardstick)
        self.case_ns = self.yardstick_ns = float("inf")

    def time_yardstick(self) -> None:
        self.yardstick_ns = min(self.yardstick_ns, _time_ns(self._yardstick, self._walks))

    def time_case(self) -> None:
        self.case_ns = min(self.case_ns, _time_ns(self._case, self.calls))

    def until(self, good: Callable[[], bool], patience_s: float) -> None:
        end = time.monotonic() + patience_s
        while not good() and time.monotonic() < end:
            self.time_yardstick()
            self.time_case()

    def row(self, name: str) -> results.Row:
        must, aim = (f"ratio <= {BUDGETS[name][bound]:g}" for bound in ("must", "aim"))
        yardstick = self.yardstick_ns
        return results.row(
            name, self.case_ns, "ns/call", anchor="calibration", anchor_value=yardstick, must=must, aim=aim
        )


@pytest.fixture
def gauge(benchmark: Any, yardstick: BytesCase, request: pytest.FixtureRequest) -> Gauge:
    """gauge(name, case): time the case, note its row, and with --gate hold it to its budget."""

    def measure(name: str, case: Case) -> None:
        turns = Turns(case, yardstick)
        benchmark.pedantic(turns.time_case, setup=turns.time_yardstick, rounds=ROUNDS, warmup_rounds=2)
        turns.until(lambda: turns.row(name).ok is True, PATIENCE_S)
        row = turns.row(name)
        request.config.stash[ROWS].append(row)
        benchmark.extra_info.update(calls=turns.calls, ratio=row.ratio, must=row.must)
        if request.config.getoption("--gate"):
            assert row.ok, (
                f"GateBroken: {name}: {row.value:.1f} ns is {row.ratio:.4f} calibrations; {row.must}"
            )

    return measure


def _time_ns(case: Case, rounds: int) -> float:
    """Nanoseconds per round."""
    begin = time.perf_counter_ns()
    case(rounds)
    return (time.perf_counter_ns() - begin) / rounds


def _rounds_for(case: Case) -> int:
    """So many that one run takes about ROUND_S."""
    gc.collect()
    rounds = 1
    while _time_ns(case, rounds) * rounds < ROUND_S * 1e9 / 4:
        rounds *= 4
    return max(1, round(ROUND_S * 1e9 / _time_ns(case, rounds)))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A whole run writes bench/results/micro.json; a part of it only prints."""
    rows = session.config.stash[ROWS]
    if not rows:
        return
    words = ["python", "-m", "pytest", *session.config.invocation_params.args]
    result = results.new(" ".join(words), rows)
    print()
    results.present(result)
    if {row.name for row in rows} == set(BUDGETS):
        print(results.write(result, "micro"))
