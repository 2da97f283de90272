from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

STORED: int
REMOVED: int
CLEARED: int
GPU: int
CPU: int
STORAGE: int
ELSEWHERE: int
BARE: int
LORA: int
MM: int
SALT: int
EMBEDS: int
OTHER: int
EXTRA_MM: int
EXTRA_EMBEDS: int
EXTRA_OTHER: int
EXTRA_SALT: int

class Event(NamedTuple):
    kind: int
    medium: int
    full: bool
    told: bool
    group: int
    lora: bytes
    lora_id: int
    block_size: int
    parent: int | None
    hashes: list[int]
    tokens: list[int]
    lookahead: int
    copies: list[int]
    extras: list[tuple[int, int, bytes, int]]

class Batch(NamedTuple):
    ts: float
    rank: int
    unknown: int
    events: list[Event]

class Counts(NamedTuple):
    stored: int
    removed: int
    cleared: int
    copies: int
    waiting: int
    joined: int
    dropped: int
    unknown_removed: int
    unknown_hash: int
    other_groups: int
    uneven: int

class BadPayload(ValueError):
    reason: str
    at: int

class _Scope(Protocol):
    @property
    def model(self) -> str: ...
    @property
    def lora(self) -> str: ...
    @property
    def salt(self) -> str: ...
    @property
    def block_size(self) -> int: ...

class ChainKey:
    def __init__(self, secret: bytes) -> None: ...
    def root(self, scope: _Scope) -> int: ...
    def __call__(
        self, parent: int, tokens: npt.NDArray[np.uint32], block_size: int
    ) -> npt.NDArray[np.uint64]: ...

def root(
    key: ChainKey, model: str | bytes, lora: str | bytes = "", salt: str | bytes = "", block_size: int = 16
) -> int: ...
def chain(
    key: ChainKey,
    parent: int,
    tokens: npt.NDArray[np.uint32],
    block_size: int,
    extras: npt.NDArray[np.uint64] | None = None,
) -> npt.NDArray[np.uint64]: ...
def extra(key: ChainKey, before: int, kind: int, name: bytes, offset: int = -1) -> int: ...
def partial(key: ChainKey, parent: int, tokens: npt.NDArray[np.uint32], extra: int = 0) -> int: ...
def decode(payload: bytes) -> Batch: ...

class Feed:
    index: set[tuple[int, int]]
    def __init__(
        self, key: ChainKey, model: str | bytes, *, blocks: int = 0, waiting_max: int = 0
    ) -> None: ...
    def apply(self, payload: bytes, *, asked: bool = False) -> None: ...
    def clear(self) -> None: ...
    def find(self, medium: int, digest: int) -> tuple[int, int] | None: ...
    def __len__(self) -> int: ...
    @property
    def bytes_held(self) -> int: ...
    @property
    def counts(self) -> Counts: ...
