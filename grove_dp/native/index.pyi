from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

SLOTS: int
GPU: int
CPU: int
STORAGE: int
PREDICTED: int

_Blocks: TypeAlias = npt.NDArray[np.uint64]
_Reach: TypeAlias = npt.NDArray[np.uint32]

class Match(NamedTuple):
    known: int
    gpu: _Reach
    cpu: _Reach
    storage: _Reach
    predicted: _Reach

class Stats(NamedTuple):
    bytes: int
    bytes_max: int
    table_bytes: int
    segment_bytes: int
    cover_bytes: int
    blocks: int
    predicted_blocks: int
    segments: int
    covers: int
    stored: int
    removed: int
    orphans: int
    misfits: int
    evicted: int
    expired: int
    refused: int
    forgotten: int
    copies: int

class UnknownParent(LookupError):
    reason: str

class Misfit(ValueError):
    reason: str

class Index:
    def __init__(self, *, bytes_max: int = ..., predicted_percent: int = 10) -> None: ...
    @property
    def now_s(self) -> int: ...
    @property
    def slots(self) -> int: ...
    def store(self, slot: int, blocks: _Blocks, *, parent: int | None = None, medium: int = 0) -> int: ...
    def predict(self, slot: int, blocks: _Blocks, *, ttl_s: int) -> int: ...
    def remove(self, slot: int, blocks: _Blocks, *, medium: int = 0) -> int: ...
    def clear(self, slot: int) -> None: ...
    def step(self, now_s: int, budget: int = 4096) -> int: ...
    def match(
        self, blocks: _Blocks, *, slots: int | None = None, medium: int = 0, out: _Reach | None = None
    ) -> _Reach: ...
    def lookup(self, blocks: _Blocks, *, slots: int | None = None) -> Match: ...
    def holds(self, slot: int, block: int, *, medium: int = 0) -> bool: ...
    def depth(self, block: int) -> int | None: ...
    @property
    def stats(self) -> Stats: ...
