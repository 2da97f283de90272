"""The prefix index: what a lookup, a store and a block cost, from C and from Python.

    python -m bench.routing.index          one row per line

The C program (c/index.c) is built on demand and run three times; a row is the median. Bounds are those of a
quiet core.
"""

from __future__ import annotations

import os
import shlex
import statistics
import subprocess
import timeit
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from grove_dp.routing.index import PrefixIndex, Scope

__all__ = ["build", "rows"]

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build" / "bench" / "gdp-bench-index"
FLAGS = ["-std=c11", "-D_GNU_SOURCE=", "-O3", "-DNDEBUG", "-fno-strict-overflow"]
FLEETS = ((64, 2048, 512), (1024, 512, 8192), (1024, 8192, 1024))  # workers, blocks of a prompt, sessions
RUNS = 3

LOOKUP_US = {  # (workers, blocks, warm): must, aim
    (64, 2048, "hot"): (1.0, 0.5),
    (64, 2048, "flushed"): (8.0, 5.0),
    (1024, 8192, "hot"): (3.0, 1.5),
}


def build() -> None:
    """Compiles the program where a source is newer."""
    sources = [
        Path(__file__).parent / "c" / "index.c",
        ROOT / "csrc/route/index.c",
        *sorted((ROOT / "csrc/route").glob("index_*.c")),
        ROOT / "csrc/route/epoch.c",
        ROOT / "csrc/base/alloc.c",
    ]
    heads = [*(ROOT / "csrc/route").glob("*.h"), *(ROOT / "csrc/include/gdp").glob("*.h")]
    newest = max(path.stat().st_mtime_ns for path in [*sources, *heads])
    if PROGRAM.exists() and PROGRAM.stat().st_mtime_ns > newest:
        return
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    compiler = shlex.split(os.environ.get("CC", "cc"))
    command = [*compiler, *FLAGS, f"-I{ROOT / 'csrc/include'}", "-o", str(PROGRAM), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"CompileFailed: {PROGRAM.name}\n{done.stderr}")


def measured(workers: int, blocks: int, sessions: int) -> dict[str, float]:
    """Medians of what the program prints for one fleet."""
    command = [str(PROGRAM), str(workers), str(blocks), str(sessions)]
    told = [msgspec.json.decode(subprocess.check_output(command), type=dict[str, float]) for _ in range(RUNS)]
    return {key: statistics.median(run[key] for run in told) for key in told[0]}


def row(name: str, value: float, unit: str, bounds: tuple[float, float] | None = None) -> dict[str, Any]:
    must, aim = (f"value <= {bound}" for bound in bounds) if bounds else (None, None)
    return {"name": name, "value": round(value, 3), "unit": unit, "must": must, "aim": aim}


def from_c() -> Iterator[dict[str, Any]]:
    build()
    for workers, blocks, sessions in FLEETS:
        fleet, got = f"{workers} workers x {blocks} blocks", measured(workers, blocks, sessions)
        for warm in ("hot", "flushed"):
            for kind in ("full", "shared", "miss"):
                bounds = LOOKUP_US.get((workers, blocks, warm))
                yield row(f"lookup {fleet}, {kind}, {warm}", got[f"{kind}_{warm}_ns"] / 1e3, "us", bounds)
        yield row(f"memory {fleet}", got["bytes_per_block"], "B/block", (40, 28))
        yield row(f"resident {fleet}", got["resident_per_block"], "B/block")
        yield row(f"store {fleet}", got["store_ns"], "ns/block")
        yield row(f"remove {fleet}", got["remove_ns"], "ns/block")


def from_python() -> Iterator[dict[str, Any]]:
    """64 workers that hold prompts of 131,072 tokens, a quarter of them in common."""
    rng, scope, index = np.random.default_rng(1), Scope("bench", block_size=16), PrefixIndex(secret=b"bench")
    common = rng.integers(0, 32000, 32768, np.uint32)
    prompts = [np.concatenate([common, rng.integers(0, 32000, 98304, np.uint32)]) for _ in range(64)]
    names = [index.names(prompt, scope) for prompt in prompts]
    for slot, blocks in enumerate(names):
        index.store(slot, blocks)

    def microseconds(call: Any, calls: int) -> float:
        return statistics.median(timeit.repeat(call, number=calls, repeat=9)) / calls * 1e6

    yield row(
        "lookup from Python, 8192 names in numpy",
        microseconds(lambda: index.match(names[5]), 5000),
        "us",
        (4, 2),
    )
    yield row(
        "lookup from Python, 131072 tokens with hashing",
        microseconds(lambda: index.match_tokens(prompts[5], scope), 500),
        "us",
        (35, 20),
    )


def rows() -> Iterator[dict[str, Any]]:
    """One after the other, as they are measured."""
    yield from from_c()
    yield from from_python()


if __name__ == "__main__":
    for measurement in rows():
        print(measurement, flush=True)
