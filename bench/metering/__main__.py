"""python -m bench.metering: what an observation, a windowed quantile and a page cost."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench import results
from bench.metering import observations, pages, windows
from bench.proxy.tools import BenchError, alone
from bench.results import Row

__all__ = ["PARTS", "main"]

PARTS: dict[str, Callable[[int], Iterator[Row]]] = {
    "observations": observations.rows,
    "windows": windows.rows,
    "pages": pages.rows,
}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.metering", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts to measure (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=None, help="of each (default: 51; with --quick 5)")
    parser.add_argument("--quick", action="store_true", help="few turns: is it broken?, not: how fast is it?")
    parser.add_argument("--gate", action="store_true", help="exit 1 where a must is broken")
    parser.add_argument("--beside", action="store_true", help="do not wait for another bench to end")
    parser.add_argument("--out", type=Path, default=results.RESULTS, help="folder for the result")
    parser.add_argument(
        "--name", help="the result's name (default: metering; metering_part for a part of it)"
    )
    return parser.parse_args(argv)


def chosen(names: str) -> list[str]:
    """The parts in *names*, in their order."""
    asked = [name for name in names.split(",") if name]
    if unknown := sorted(set(asked) - set(PARTS)):
        raise BenchError(f"UnknownPart: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return [name for name in PARTS if name in asked]


def measured(parts: Sequence[str], turns: int) -> Iterator[Row]:
    """The rows of the parts, each told when it is there."""
    for part in parts:
        for made in PARTS[part](turns):
            print(
                f"  {made.name:50} {results.figure(made.value):>8} {made.unit}", file=sys.stderr, flush=True
            )
            yield made


def main(argv: Sequence[str]) -> int:
    asked = parse(argv)
    turns = asked.turns or (5 if asked.quick else 51)
    try:
        parts = chosen(asked.only)
        with alone(wait=not asked.beside):
            rows = list(measured(parts, turns))
    except BenchError as error:
        print(error, file=sys.stderr)
        return 2
    result = results.new(shlex.join(["python", "-m", "bench.metering", *argv]), rows)
    whole = not asked.quick and parts == list(PARTS)
    path = results.write(result, asked.name or ("metering" if whole else "metering_part"), asked.out)
    results.present(result)
    print(path)
    return results.gate(result) if asked.gate else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
