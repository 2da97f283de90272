"""python -m bench.operator: the operator on a real control plane, beside Grove's figures for such work."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import results
from bench.operator import packing
from bench.operator.system import PARTS, REPLICAS
from bench.proxy.tools import BenchError, alone
from bench.results import Row
from grove_dp.testing.controlplane import BuildFailed, NoControlPlane

__all__ = ["main"]

QUICK = 50  # replicas


PACKING = "packing"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.operator", description=__doc__)
    parser.add_argument("--only", default=",".join([*PARTS, PACKING]), help="parts (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=None, help="of what is small (default: 5; quick: 1)")
    parser.add_argument("--replicas", type=int, default=None, help=f"of what is large (default: {REPLICAS})")
    parser.add_argument("--quick", action="store_true", help=f"once each, {QUICK} replicas: is it broken?")
    parser.add_argument("--gate", action="store_true", help="exit 1 where a must is broken")
    parser.add_argument("--beside", action="store_true", help="do not wait for another bench to end")
    parser.add_argument("--out", type=Path, default=results.RESULTS, help="folder for the result")
    return parser.parse_args(argv)


def told(rows: Iterator[Row]) -> Iterator[Row]:
    """Each row as soon as it is there."""
    for made in rows:
        print(f"  {made.name:45} {results.figure(made.value):>8} {made.unit}", file=sys.stderr, flush=True)
        yield made


def every(asked: argparse.Namespace) -> Iterator[Row]:
    """Of the whole operator, then of its packing alone."""
    turns = asked.turns or (1 if asked.quick else 5)
    replicas = asked.replicas or (QUICK if asked.quick else REPLICAS)
    only = asked.only.split(",")
    if unknown := set(only) - {*PARTS, PACKING}:
        raise BenchError(f"UnknownPart: {', '.join(unknown)}; there are {', '.join([*PARTS, PACKING])}")
    for name, part in PARTS.items():
        if name in only:
            yield from part(replicas, turns)
    if PACKING in only:
        yield from packing.rows(11 if asked.quick else packing.TURNS)


def main(argv: Sequence[str]) -> int:
    asked = parse(argv)
    try:
        with alone(wait=not asked.beside):
            rows = list(told(every(asked)))
    except (BenchError, NoControlPlane, BuildFailed) as error:
        print(error, file=sys.stderr)
        return 2
    result = results.new(shlex.join(["python", "-m", "bench.operator", *argv]), rows)
    whole = not (asked.quick or asked.replicas) and len(asked.only.split(",")) > len(PARTS)
    path = results.write(result, "operator" if whole else "operator_part", asked.out)
    results.present(result)
    print(path)
    return results.gate(result) if asked.gate else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
