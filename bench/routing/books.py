"""Select, book and settle: what the books cost a request, under their lock.

With the case of bench/micro: every worker holds some part of the prompt, the rules of the queue are asked,
the first token comes, the booking is settled. kv beside round robin, which only counts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

from bench.micro.cases import load
from bench.micro.samples import YARDSTICK
from bench.results import Row, row

__all__ = ["rows"]

WORKERS = 256
ROUNDS = 2000
TURNS = 25


def _us(case: Callable[[int], None], rounds: int) -> float:
    begin = time.thread_time_ns()
    case(rounds)
    return (time.thread_time_ns() - begin) / rounds / 1e3


def rows(turns: int = TURNS) -> Iterator[Row]:
    """Also the yardstick of bench/micro, which takes 1.9 us on a quiet core of 2.4 GHz."""
    cases = load()
    walk = cases.on("calibration", YARDSTICK)
    with cases.placing("kv", WORKERS) as kv, cases.placing("round_robin", WORKERS) as plain:
        kv(ROUNDS)
        taken = [(_us(kv, ROUNDS), _us(plain, ROUNDS), _us(walk, ROUNDS)) for _ in range(turns)]
    own, other, yardstick = (statistics.median(times) for times in zip(*taken, strict=True))
    yield row(
        f"select + book + settle, {WORKERS} workers",
        own,
        "us CPU",
        anchor="round_robin",
        anchor_value=other,
        must="value <= 3",
        aim="value <= 1",
    )
    yield row("calibration loop", yardstick, "us CPU")
