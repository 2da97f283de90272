"""The request mixes: a recorded conversation trace and two made ones, at any rate.

- *mooncake*: the conversation trace of Mooncake (FAST '25), 12,031 requests in 59 min, 512-token blocks. Its
  time is stretched to the rate asked for; its arrivals, quantised to 3 s, are spread evenly within their bin.
  64 workers get eight copies of it, each with its own prefixes and shifted against the others (a copy wraps
  round).
- *single*: prompts that share nothing, Poisson arrivals. Nothing to gain from prefixes, so much to lose.
- *shared*: 40 system prompts of 2 - 8 K tokens, Zipf-distributed, each with a question of its own. The
  hottest one is asked for more often than one worker could answer.
- *churn*: the trace, while three workers in turn leave and come back empty.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["MIXES", "TRACE", "Workload", "mix", "mooncake", "shared", "single"]

TRACE = Path(__file__).parent / "traces" / "mooncake_conversation.jsonl.xz"
BIN_S = 3.0
SYSTEM_PROMPTS = 40
ZIPF = 1.1

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Workload:
    """Requests in order of arrival. Request i's block hashes are hashes[first[i]:first[i + 1]]."""

    arrival_s: F64
    prompt: U32
    output: U32
    session: U64
    first: U64
    hashes: U64
    block_tokens: int
    leave_and_return: bool = False

    @property
    def n(self) -> int:
        return len(self.prompt)

    def head(self, n: int) -> Workload:
        """The first *n* requests."""
        first = self.first[: n + 1]
        return replace(
            self,
            arrival_s=self.arrival_s[:n],
            prompt=self.prompt[:n],
            output=self.output[:n],
            session=self.session[:n],
            first=first,
            hashes=self.hashes[: int(first[-1])],
        )

    def at_rate(self, per_s: float) -> Workload:
        """The same requests with their time stretched so that *per_s* arrive in a second."""
        factor = (self.n / per_s) / float(self.arrival_s[-1] - self.arrival_s[0])
        return replace(self, arrival_s=(self.arrival_s - self.arrival_s[0]) * factor)

    def write(self, path: Path) -> None:
        """As bench/quality/c/main.c reads it."""
        head = np.array([self.n, len(self.hashes), self.block_tokens, 0], dtype="<u8")
        with path.open("wb") as file:
            for column, kind in (
                (head, "<u8"),
                (self.arrival_s, "<f8"),
                (self.prompt, "<u4"),
                (self.output, "<u4"),
                (self.session, "<u8"),
                (self.first, "<u8"),
                (self.hashes, "<u8"),
            ):
                file.write(np.ascontiguousarray(column, dtype=kind).tobytes())


def _assemble(
    arrival_s: F64,
    prompt: U32,
    output: U32,
    session: U64,
    chains: list[U64],
    block_tokens: int,
) -> Workload:
    order = np.argsort(arrival_s, kind="stable")
    lengths = np.array([len(chains[i]) for i in order], dtype=np.uint64)
    first = np.concatenate([np.zeros(1, np.uint64), np.cumsum(lengths, dtype=np.uint64)])
    hashes = np.concatenate([chains[i] for i in order]) if len(order) else np.zeros(0, np.uint64)
    return Workload(
        arrival_s[order], prompt[order], output[order], session[order], first, hashes, block_tokens
    )


def mooncake(copies: int = 1, path: Path = TRACE, seed: int = 1) -> Workload:
    """*copies* of the trace at *path*, re-keyed and shifted."""
    rng = np.random.default_rng(seed)
    packed = path.read_bytes()
    text = lzma.decompress(packed) if path.suffix == ".xz" else packed
    rows = [json.loads(line) for line in text.splitlines()]
    bins = np.array([row["timestamp"] for row in rows]) / 1000.0
    span = float(bins[-1]) + BIN_S
    arrivals, chains, sessions = [], [], []
    for copy in range(copies):
        inside = np.sort(bins + rng.uniform(0, BIN_S, len(rows)))  # order within a bin is kept
        arrivals.append((inside + copy * span / copies) % span)
        for row in rows:
            chain = np.array(row["hash_ids"], dtype=np.uint64) + np.uint64(1 + (copy << 32))
            chains.append(chain)
            sessions.append(chain[min(1, len(chain) - 1)])  # block 0 is everybody's system prompt
    prompt = np.tile(np.array([row["input_length"] for row in rows], dtype=np.uint32), copies)
    output = np.tile(np.array([row["output_length"] for row in rows], dtype=np.uint32), copies)
    session = np.array(sessions, dtype=np.uint64)
    return _assemble(np.concatenate(arrivals), prompt, np.maximum(output, 1), session, chains, 512)


def _poisson(rng: np.random.Generator, n: int) -> F64:
    return np.cumsum(rng.exponential(1.0, n))


def _lengths(rng: np.random.Generator, n: int, median: float, sigma: float, low: int, high: int) -> U32:
    return np.clip(rng.lognormal(np.log(median), sigma, n), low, high).astype(np.uint32)


def single(n: int = 20_000, seed: int = 1) -> Workload:
    """Prompts that share nothing."""
    rng = np.random.default_rng(seed)
    prompt = _lengths(rng, n, 1500, 0.9, 32, 32_000)
    output = _lengths(rng, n, 180, 0.7, 2, 1500)
    block = 128
    chains, used = [], 1
    for tokens in prompt:
        full = int(tokens) // block
        chains.append(np.arange(used, used + full, dtype=np.uint64))
        used += full
    session = np.arange(1, n + 1, dtype=np.uint64)
    return _assemble(_poisson(rng, n), prompt, output, session, chains, block)


def shared(n: int = 20_000, seed: int = 1) -> Workload:
    """System prompts of very unequal popularity, each followed by a question of its own."""
    rng = np.random.default_rng(seed)
    block = 128
    system = np.random.default_rng(SYSTEM_PROMPTS).integers(2048 // block, 8192 // block, SYSTEM_PROMPTS)
    share = 1.0 / np.arange(1, SYSTEM_PROMPTS + 1) ** ZIPF
    which = rng.choice(SYSTEM_PROMPTS, n, p=share / share.sum())
    question = _lengths(rng, n, 400, 0.8, 16, 8000)
    output = _lengths(rng, n, 180, 0.7, 2, 1500)
    chains, used = [], SYSTEM_PROMPTS << 16
    for kind, tokens in zip(which, question, strict=True):
        full = int(tokens) // block
        head = np.arange(1, system[kind] + 1, dtype=np.uint64) + np.uint64(int(kind) << 8)
        chains.append(np.concatenate([head, np.arange(used, used + full, dtype=np.uint64)]))
        used += full
    prompt = (system[which] * block).astype(np.uint32) + question
    return _assemble(_poisson(rng, n), prompt, output, (which + 1).astype(np.uint64), chains, block)


def _churn(copies: int, path: Path, seed: int) -> Workload:
    return replace(mooncake(copies, path, seed), leave_and_return=True)


MIXES: dict[str, Callable[[int, Path, int], Workload]] = {
    "mooncake": mooncake,
    "single": lambda copies, path, seed: single(20_000 * copies, seed),
    "shared": lambda copies, path, seed: shared(20_000 * copies, seed),
    "churn": _churn,
}


@lru_cache(maxsize=16)
def mix(name: str, workers: int, seed: int = 1, path: Path = TRACE) -> Workload:
    """The mix for that many workers: one copy for every eight. Another seed: other arrivals and lengths."""
    return MIXES[name](max(1, workers // 8), path, seed)
