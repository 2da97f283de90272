"""The prefix index and the names of blocks: what a lookup, a store and a block cost, from C and from Python.

The C program (c/index.c) runs several times; a row is the median. Bounds are those of a quiet core.
"""

from __future__ import annotations

import statistics
import time
import timeit
from collections.abc import Callable, Iterator

import numpy as np

from bench.results import Row, row
from bench.routing.native import INDEX, medians
from grove_dp.native.kv import ChainKey
from grove_dp.routing.index import PrefixIndex, Scope

__all__ = ["rows"]

FLEETS = ((64, 2048, 512), (1024, 512, 8192), (1024, 8192, 1024))  # workers, blocks of a prompt, sessions
LOOKUP_US = {  # (workers, blocks, warm): must, aim
    (64, 2048, "hot"): (1.0, 0.5),
    (64, 2048, "flushed"): (8.0, 5.0),
    (1024, 8192, "hot"): (3.0, 1.5),
}
PROMPT = 131_072  # tokens
WORKERS = 64


def bounded(name: str, value: float, unit: str, bounds: tuple[float, float] | None = None) -> Row:
    """A row with must and aim, or without."""
    must, aim = (f"value <= {bound:g}" for bound in bounds) if bounds else (None, None)
    return row(name, value, unit, must=must, aim=aim)


def from_c(runs: int, fleets: tuple[tuple[int, int, int], ...] = FLEETS) -> Iterator[Row]:
    """full: the prompt is known to its end; shared: up to its session's part; miss: not at all."""
    for workers, blocks, sessions in fleets:
        fleet, got = f"{workers} x {blocks:,}", medians(INDEX, (workers, blocks, sessions), runs)
        for warm in ("hot", "flushed"):
            for kind in ("full", "shared", "miss"):
                bounds = LOOKUP_US.get((workers, blocks, warm))
                yield bounded(f"lookup {fleet}, {kind}, {warm}", got[f"{kind}_{warm}_ns"] / 1e3, "us", bounds)
        yield bounded(f"memory {fleet}", got["bytes_per_block"], "B/block", (40, 28))
        yield bounded(f"resident {fleet}", got["resident_per_block"], "B/block")
        yield bounded(f"store {fleet}", got["store_ns"], "ns/block")
        yield bounded(f"remove {fleet}", got["remove_ns"], "ns/block")


def microseconds(call: Callable[[], object], calls: int) -> float:
    """CPU of this thread: the median of fifteen times."""
    times = timeit.repeat(call, timer=time.thread_time, number=calls, repeat=15)
    return statistics.median(times) / calls * 1e6


def from_python(pace: float = 1.0) -> Iterator[Row]:
    """64 workers that hold prompts of 131,072 tokens, a quarter of them in common."""
    rng, scope, index = np.random.default_rng(1), Scope("bench", block_size=16), PrefixIndex(secret=b"bench")
    key = ChainKey(b"bench")
    root = key.root(scope)
    common = rng.integers(0, 32_000, PROMPT // 4, np.uint32)
    rest = PROMPT - len(common)
    prompts = [np.concatenate([common, rng.integers(0, 32_000, rest, np.uint32)]) for _ in range(WORKERS)]
    names = [index.names(prompt, scope) for prompt in prompts]
    for slot, blocks in enumerate(names):
        index.store(slot, blocks)
    calls = max(20, round(500 * pace))
    yield bounded(
        "lookup from Python, 8,192 hashes in numpy",
        microseconds(lambda: index.match(names[5]), 10 * calls),
        "us",
        (4, 2),
    )
    yield bounded(
        "lookup from Python, 131,072 tokens with hashing",
        microseconds(lambda: index.match_tokens(prompts[5], scope), calls),
        "us",
        (35, 20),
    )
    yield bounded(
        "hashing 131,072 tokens", microseconds(lambda: key(root, prompts[5], 16), calls), "us", (30, 15)
    )


def rows(runs: int, pace: float = 1.0) -> Iterator[Row]:
    """One after the other, as they are measured."""
    yield from from_c(runs)
    yield from from_python(pace)
