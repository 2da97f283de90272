"""python -m bench.quality: every policy against every mix, in virtual time.

    --gate      exit 1 where a must is broken
    --full      also 64 workers, and 50 and 110 % load (half an hour on two cores)

Writes bench/results/quality.json (rows with musts, and under `runs` every figure of every run), quality.svg.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from bench import results
from bench.quality.ideal import pooled_hit_rate
from bench.quality.judge import hit_rows, policy_rows
from bench.quality.matrix import KV_TOKENS, UNBOUNDED, Outcome, full_rate, gate_cases, hit_cases, run
from bench.quality.simulate import build
from bench.quality.workloads import MIXES, mix

HEAD = (
    f"{'':34} {'req/s':>7} {'TTFT p50':>9} {'p95':>8} {'p99':>8} {'ITL p95':>8} "
    f"{'goodput':>8} {'longest':>8} {'found':>7} {'max/min':>8}"
)


class Quality(results.Result, frozen=True):
    """As every bench's result, and what the rows were made of."""

    runs: list[Outcome]


def line(outcome: Outcome) -> str:
    c, f = outcome.case, outcome.figures
    where = f"{c.mix} {c.load} % {c.queue} {c.policy}" + (f" x{c.workers}" if c.workers != 8 else "")
    return (
        f"{where:34} {outcome.rate_per_s:7.2f} {f.ttft_p50_s:7.3f} s {f.ttft_p95_s:6.3f} s "
        f"{f.ttft_p99_s:6.2f} s {f.itl_p95_s * 1e3:5.1f} ms {100 * f.goodput:6.2f} % "
        f"{100 * f.goodput_longest:6.2f} % {100 * f.hit_rate:5.2f} % {f.max_min_load:8.2f}"
    )


def measure(full: bool, jobs: int) -> tuple[list[results.Row], list[Outcome]]:
    build()
    sizes = (8, 64) if full else (8,)
    places = [(name, workers) for workers in sizes for name in MIXES]
    with ThreadPoolExecutor(jobs) as pool:
        rates = dict(zip(places, pool.map(lambda place: full_rate(*place), places), strict=True))
    cases = gate_cases((50, 80, 95, 110) if full else (80, 95), 8, 3)
    if full:
        cases += gate_cases((50, 80, 95, 110), 64, 1)

    def tell(outcome: Outcome) -> None:
        print(line(outcome), flush=True)

    print(HEAD)
    outcomes = run(cases, rates, jobs, tell)
    found = run(hit_cases(3), rates, jobs, tell)
    trace = mix("mooncake", 8)
    ideal = {size: pooled_hit_rate(trace, 8 * size) for size in (KV_TOKENS, 2e6, UNBOUNDED)}
    return policy_rows(outcomes) + hit_rows(found, ideal), outcomes + found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.quality", description="Routing quality in virtual time."
    )
    parser.add_argument("--full", action="store_true", help="8 and 64 workers, 50 to 110 %% load")
    parser.add_argument("--gate", action="store_true", help="exit 1 where a must is broken")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="simulations at once")
    asked = parser.parse_args(argv)
    rows, outcomes = measure(asked.full, asked.jobs)
    made = results.new("python -m bench.quality" + (" --full" if asked.full else ""), rows)
    name = "quality_full" if asked.full else "quality"
    results.write(made, name)
    path = results.RESULTS / f"{name}.json"
    whole = Quality(made.machine, made.date, made.commit, made.command, made.rows, outcomes)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n")
    try:
        from bench.quality import picture  # needs matplotlib
    except ImportError:
        pass  # results.write has said so
    else:
        picture.draw(outcomes, path.with_suffix(".svg"))
    results.present(made)
    return results.gate(made) if asked.gate else 0


if __name__ == "__main__":
    sys.exit(main())
