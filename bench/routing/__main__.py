"""python -m bench.routing: what routing by KV cache costs, from one lookup to a whole request."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from bench import results
from bench.proxy.tools import BenchError, alone, build
from bench.results import Row
from bench.routing import books, events, frontend, index

__all__ = ["PARTS", "main"]

QUICK_PACE = 0.3
PARTS = ("index", "events", "books", "frontend")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.routing", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts to measure (default: %(default)s)")
    parser.add_argument("--reps", type=int, default=None, help="runs of each (default: 5; with --quick 1)")
    parser.add_argument(
        "--quick", action="store_true", help="short runs: is it broken?, not: how fast is it?"
    )
    parser.add_argument("--gate", action="store_true", help="exit 1 where a must is broken")
    parser.add_argument("--cpu", type=int, default=0, help="the frontend's CPU (default: 0)")
    parser.add_argument(
        "--generator-cpu", type=int, default=1, help="the workers' and generator's CPU (default: 1)"
    )
    parser.add_argument("--beside", action="store_true", help="do not wait for another bench to end")
    parser.add_argument("--out", type=Path, default=results.RESULTS, help="folder for the result")
    parser.add_argument("--name", help="the result's name (default: routing; routing_part for a part of it)")
    return parser.parse_args(argv)


def measured(asked: argparse.Namespace, parts: Sequence[str], folder: Path) -> Iterator[Row]:
    """The rows of the parts, each told when it is there."""
    runs, pace = asked.reps or (1 if asked.quick else 5), QUICK_PACE if asked.quick else 1.0
    plan = frontend.Plan(turns=runs, pace=pace, cpu=asked.cpu, generator_cpu=asked.generator_cpu)
    makers: dict[str, Callable[[], Iterator[Row]]] = {
        "index": lambda: index.rows(min(runs, 3), pace),
        "events": lambda: events.rows(folder, runs),
        "books": lambda: books.rows(5 * runs),
        "frontend": lambda: frontend.rows(plan, folder),
    }
    for part in parts:
        for made in makers[part]():
            print(
                f"  {made.name:50} {results.figure(made.value):>8} {made.unit}", file=sys.stderr, flush=True
            )
            yield made


def chosen(names: str) -> list[str]:
    """The parts in *names*, in their order."""
    asked = [name for name in names.split(",") if name]
    if unknown := sorted(set(asked) - set(PARTS)):
        raise BenchError(f"UnknownPart: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return [name for name in PARTS if name in asked]


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main(argv: Sequence[str]) -> int:
    asked = parse(argv)
    signal.signal(signal.SIGTERM, _leave)  # contexts end the processes
    try:
        parts = chosen(asked.only)
        if "frontend" in parts and len({asked.cpu, asked.generator_cpu} & os.sched_getaffinity(0)) < 2:
            raise BenchError("NotEnoughCpus: --cpu and --generator-cpu must be two CPUs of this process")
        with alone(wait=not asked.beside), tempfile.TemporaryDirectory(prefix="gdp-bench-") as path:
            build()
            rows = list(measured(asked, parts, Path(path)))
    except BenchError as error:
        print(error, file=sys.stderr)
        return 2
    result = results.new(shlex.join(["python", "-m", "bench.routing", *argv]), rows)
    whole = not asked.quick and parts == list(PARTS)
    path_of_result = results.write(result, asked.name or ("routing" if whole else "routing_part"), asked.out)
    results.present(result)
    print(path_of_result)
    return results.gate(result) if asked.gate else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
