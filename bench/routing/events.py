"""What a worker's KV events cost on their way into the index, and what is remembered of them.

Payloads are packed as vLLM 0.32 packs them, with the same library: 16 workers, each of which computes prompts
of 8,192 tokens, a quarter of it common to all, until it holds 450 K tokens. Three ways in which blocks come:

    prefill    128 blocks in an event: a prompt computed in chunks of 2,048 tokens
    decode     one block in an event, 32 events in a batch: answers that grow, a step at a time
    evict      prefill in a full cache: each event beside one that takes as many blocks back

A block costs most where it comes alone. Workers compute many more tokens than they produce (20 to 60 of a
prompt for one of the answer in the traces that this project replays), so the bound is on prefill, and the
other two stand beside it.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bench.results import Row, row
from bench.routing.native import EVENTS, medians

__all__ = ["KINDS", "payloads", "rows"]

WORKERS, BLOCK = 16, 16
CHUNK = 128  # blocks of a prompt that one event tells
PROMPT = 4 * CHUNK
HELD = 28 * 1024  # blocks of a worker
UNTIMED = 1 << 31  # see c/events.c
KINDS = ("prefill", "decode", "evict")

Told = dict[str, Any]
Tokens = np.ndarray[Any, np.dtype[np.int64]]


class Engine:
    """One worker's cache, as far as it is told: names for blocks, and events about them."""

    def __init__(self, slot: int, common: Tokens) -> None:
        self._rng, self._names = np.random.default_rng(slot), random.Random(slot)
        self._common = common
        self._chunks: list[list[int]] = []  # the oldest first
        self.tails: list[int] = []  # last blocks of prompts

    def prompt(self) -> Iterator[Told]:
        """The events of a new prompt; what is common to all is told once. All engines name that alike."""
        if not self._chunks:
            yield self._stored(list(range(1, CHUNK + 1)), None, self._common)
        parent = CHUNK
        for _ in range(PROMPT // CHUNK - 1):
            names = [self._name() for _ in range(CHUNK)]
            yield self._stored(names, parent, self._rng.integers(0, 32_000, CHUNK * BLOCK))
            parent = names[-1]
            self._chunks.append(names)
        self.tails.append(parent)

    def grown(self, tail: int) -> Told:
        """One more block behind a prompt."""
        parent, self.tails[tail] = self.tails[tail], self._name()
        return self._stored([self.tails[tail]], parent, self._rng.integers(0, 32_000, BLOCK))

    def evicted(self) -> Told:
        """The oldest chunk goes, its last block first."""
        names = self._chunks.pop(0)
        return {"type": "BlockRemoved", "block_hashes": names[::-1], "medium": "GPU"}

    def _name(self) -> int:
        return self._names.getrandbits(62) | 1 << 62

    @staticmethod
    def _stored(names: list[int], parent: int | None, tokens: Tokens) -> Told:
        return {
            "type": "BlockStored",
            "block_hashes": names,
            "parent_block_hash": parent,
            "token_ids": tokens.tolist(),
            "block_size": BLOCK,
            "lora_id": None,
            "medium": "GPU",
            "lora_name": None,
            "extra_keys": None,
            "group_idx": 0,
            "kv_cache_spec_kind": "full_attention",
        }


def payloads(kind: str, held: int = HELD) -> Iterator[tuple[int, list[Told]]]:
    """Batches of events with their slots, until each worker was told *held* blocks (evict: twice that)."""
    common = np.random.default_rng(99).integers(0, 32_000, CHUNK * BLOCK)
    engines = [Engine(slot, common) for slot in range(WORKERS)]
    turns = max(1, held // (PROMPT - CHUNK))
    before = 0 if kind == "prefill" else UNTIMED
    for _ in range(turns if kind != "decode" else max(1, turns // 2)):
        for slot, engine in enumerate(engines):
            yield from ((slot | before, [event]) for event in engine.prompt())
    if kind == "evict":
        for _ in range(turns):
            for slot, engine in enumerate(engines):
                yield from ((slot, [engine.evicted(), event]) for event in engine.prompt())
    if kind == "decode":
        for step in range(held // 128):
            for slot, engine in enumerate(engines):
                tails = len(engine.tails)
                yield slot, [engine.grown((step * 32 + n) % tails) for n in range(32)]


def write(path: Path, kind: str, held: int) -> None:
    pack = msgspec.msgpack.Encoder().encode
    with path.open("wb") as file:
        for slot, events in payloads(kind, held):
            packed = pack([1_795_224_942.5, events, 0])
            file.write(struct.pack("=II", slot, len(packed)) + packed)


def rows(folder: Path, runs: int, held: int = HELD) -> Iterator[Row]:
    """CPU per block told, and bytes per block held."""
    for kind in KINDS:
        path = folder / f"{kind}.bin"
        write(path, kind, held)
        got = medians(EVENTS, [path], runs)
        path.unlink()
        bounds = ("value <= 0.25", "value <= 0.12") if kind == "prefill" else (None, None)
        yield row(f"intake, {kind}", got["block_ns"] / 1e3, "us CPU/block", must=bounds[0], aim=bounds[1])
        if kind == "prefill":
            yield row(f"intake, {kind}: decode", got["decode_ns"] / 1e3, "us CPU/block")
            yield row(
                "memory per distinct block", got["index_bytes"], "B", must="value <= 40", aim="value <= 28"
            )
            yield row(
                "engine-hash map per membership", got["map_bytes"], "B", must="value <= 16", aim="value <= 12"
            )
