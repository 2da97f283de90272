"""Which cases are run, at which rates.

100 % load is the rate at which the goodput of `least_load` falls under 95 %, found by bisection for every mix
and number of workers: a load that means the same whatever the machine. Every policy stands behind the same
queue, once as plain `fifo` and once with late binding (csrc/include/gdp/late.h).

While one worker is open a full one may be chosen as well, by those policies that know what waiting there is
worth; the others choose among the open ones alone. Each got the form in which it is better: with full ones,
llmd's p95 TTFT rises by a quarter and that of least_load, round_robin, session and random to the double and
more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from bench.quality.figures import Figures, figures_of
from bench.quality.simulate import Run, simulate
from bench.quality.workloads import MIXES, mix
from grove_dp.sim.profiles import LLAMA_8B_H100, Profile

__all__ = [
    "KV_TOKENS",
    "POLICIES",
    "UNBOUNDED",
    "Case",
    "Outcome",
    "full_rate",
    "gate_cases",
    "hit_cases",
    "run",
]

POLICIES = (
    "kv",
    "approx",
    "least_load",
    "round_robin",
    "random",
    "session",
    "dynamo",
    "dynamo_agentic",
    "llmd",
)
MAY_CHOOSE_FULL = frozenset({"kv", "approx", "dynamo", "dynamo_agentic"})
QUEUES = ("fifo", "late")
KV_TOKENS = 450_000.0  # an 8B model on one 80 GB card
UNBOUNDED = 1e12
PROFILE: Profile = LLAMA_8B_H100
GOOD = 0.95


class Case(msgspec.Struct, frozen=True):
    """One policy under one load, in percent."""

    mix: str
    load: int
    queue: str
    policy: str
    workers: int = 8
    kv_tokens: float = KV_TOKENS
    seeds: int = 3


class Outcome(msgspec.Struct, frozen=True):
    case: Case
    rate_per_s: float
    figures: Figures


def simulate_at(case: Case, rate_per_s: float, seed: int) -> Run:
    settings = {
        "fifo": float(case.queue == "fifo"),
        "bind_full": float(case.policy in MAY_CHOOSE_FULL),
    }
    return simulate(
        mix(case.mix, case.workers, seed).at_rate(rate_per_s),
        policy=case.policy,
        workers=case.workers,
        profile=PROFILE,
        kv_tokens=case.kv_tokens,
        settings=settings,
    )


def full_rate(name: str, workers: int, kv_tokens: float = KV_TOKENS) -> float:
    """Requests per second at 100 % load, within 1 %."""
    case = Case(name, 100, "fifo", "least_load", workers, kv_tokens, 1)
    low, high = 0.1 * workers, 100.0 * workers
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        good = figures_of([simulate_at(case, middle, 1)], PROFILE, workers).goodput >= GOOD
        low, high = (middle, high) if good else (low, middle)
    return low


def gate_cases(loads: Sequence[int], workers: int, seeds: int) -> list[Case]:
    return [
        Case(name, load, queue, policy, workers, seeds=seeds)
        for name in MIXES
        for load in loads
        for queue in QUEUES
        for policy in POLICIES
    ]


def hit_cases(seeds: int) -> list[Case]:
    """How much of the trace is found in the caches: by load, and by their size."""
    sizes = (KV_TOKENS, 2e6, UNBOUNDED)
    loads = (25, 50, 80, 95)
    return [Case("mooncake", load, "fifo", "kv", 8, size, seeds) for size in sizes for load in loads] + [
        Case("mooncake", 50, "fifo", "random", 8, UNBOUNDED, seeds)
    ]


def run(
    cases: Iterable[Case], rates: dict[tuple[str, int], float], jobs: int, told: Callable[[Outcome], None]
) -> list[Outcome]:
    """All cases, several at once; *told* hears of each in its turn. rates: of mix and workers, at 100 %."""

    def one(case: Case) -> Outcome:
        rate = rates[case.mix, case.workers] * case.load / 100
        runs = [simulate_at(case, rate, seed) for seed in range(1, case.seeds + 1)]
        return Outcome(case, rate, figures_of(runs, PROFILE, case.workers))

    outcomes = []
    with ThreadPoolExecutor(jobs) as pool:  # threads: each waits for a process
        for outcome in pool.map(one, cases):
            told(outcome)
            outcomes.append(outcome)
    return outcomes
