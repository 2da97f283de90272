"""CPU time of this thread, in turns, and the least of each: what disturbs a turn only ever adds to it.

A neighbour on the same core doubles CPU time, too: on a busy machine medians told more of it than of us.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping

__all__ = ["Case", "least_ns"]

Case = Callable[[int], object]  # does it so many times
TURN_S = 0.01


def least_ns(cases: Mapping[str, Case], turns: int) -> dict[str, float]:
    """Nanoseconds of CPU per call of each case, of its quickest turn."""
    rounds = {name: _rounds(case) for name, case in cases.items()}
    taken: dict[str, list[float]] = {name: [] for name in cases}
    gc.collect()
    gc.disable()  # what a collection costs depends on what else is alive
    try:
        for _ in range(turns):
            for name, case in cases.items():
                taken[name].append(_cpu_ns(case, rounds[name]))
    finally:
        gc.enable()
    return {name: min(times) for name, times in taken.items()}


def _cpu_ns(case: Case, rounds: int) -> float:
    begin = time.thread_time_ns()
    case(rounds)
    return (time.thread_time_ns() - begin) / rounds


def _rounds(case: Case) -> int:
    rounds = 1
    while _cpu_ns(case, rounds) * rounds < TURN_S * 1e9 / 4:
        rounds *= 2
    return max(1, round(TURN_S * 1e9 / _cpu_ns(case, rounds)))
