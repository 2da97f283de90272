"""python -m bench.kube: lists, watches, writes and memory of the Kubernetes layer, on a real cluster."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import results
from bench.kube.rows import measured
from bench.proxy.tools import BenchError, alone
from bench.results import Row
from grove_dp.testing.controlplane import BuildFailed, NoControlPlane

__all__ = ["main"]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.kube", description=__doc__)
    parser.add_argument("--turns", type=int, default=None, help="of each (default: 7; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="once each: is it broken?, not: how fast is it?")
    parser.add_argument("--gate", action="store_true", help="exit 1 where a must is broken")
    parser.add_argument("--beside", action="store_true", help="do not wait for another bench to end")
    parser.add_argument("--out", type=Path, default=results.RESULTS, help="folder for the result")
    return parser.parse_args(argv)


def told(turns: int) -> Iterator[Row]:
    """Each row as soon as it is there."""
    for made in measured(turns):
        print(f"  {made.name:35} {results.figure(made.value):>8} {made.unit}", file=sys.stderr, flush=True)
        yield made


def main(argv: Sequence[str]) -> int:
    asked = parse(argv)
    try:
        with alone(wait=not asked.beside):
            rows = list(told(asked.turns or (1 if asked.quick else 7)))
    except (BenchError, NoControlPlane, BuildFailed) as error:
        print(error, file=sys.stderr)
        return 2
    result = results.new(shlex.join(["python", "-m", "bench.kube", *argv]), rows)
    path = results.write(result, "kube_quick" if asked.quick else "kube", asked.out)
    results.present(result)
    print(path)
    return results.gate(result) if asked.gate else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
