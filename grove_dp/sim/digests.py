"""Names of cache blocks: what a hash covers, and the two ways to compute it.

A block's hash chains over everything before it. A simulation that publishes nothing names blocks with
Python's own hash (0.2 µs for 16 tokens); a worker that publishes events computes vLLM's digests, bit for bit:

    digest = H(ser((parent digest, (token, ...), extra keys or None)))      H: SHA-256 or XXH3-128
    parent of the first block = H(ser(seed))                                ser: pickle 5 or canonical CBOR

Extra keys keep apart what equal tokens do not: the adapter in every block, the salt in the first.
"""

from __future__ import annotations

import hashlib
import pickle
import struct
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from grove_dp.sim.cache_events import Key

__all__ = ["ALGORITHMS", "DEFAULT_SEED", "Adapter", "BlockNames", "Chain", "Digests", "Scope"]

ALGORITHMS = ("sha256", "sha256_cbor", "xxhash", "xxhash_cbor")
DEFAULT_SEED = "vllm-none-hash"


class Adapter(msgspec.Struct, frozen=True):
    """A LoRA adapter that a worker serves."""

    number: int
    name: str
    path: str


class Scope(msgspec.Struct, frozen=True):
    """What must be equal, besides the tokens, for two prompts to share blocks."""

    salt: str = ""
    adapter: Adapter | None = None

    def extra_keys(self, block: int) -> tuple[str, ...] | None:
        """As events publish them."""
        keys = () if self.adapter is None else (self.adapter.name,)
        return (*keys, self.salt) if self.salt and block == 0 else keys or None

    def tagged_keys(self, block: int) -> tuple[tuple[str, ...], ...] | None:
        """As they are hashed since 0.31."""
        keys = () if self.adapter is None else (("lora", self.adapter.name, self.adapter.path),)
        return (*keys, ("cache_salt", self.salt)) if self.salt and block == 0 else keys or None


class BlockNames(Protocol):
    """A way to hash blocks."""

    def root(self, scope: Scope) -> Key:
        """What stands before the first block."""

    def name(self, parent: Key, tokens: Sequence[int], scope: Scope, block: int) -> Key:
        """The hash of a full block behind `parent`."""


class Chain:
    """Python's hash of ints: equal in every process, quick, and nobody else's business."""

    def root(self, scope: Scope) -> Key:
        adapter = scope.adapter.name if scope.adapter else ""
        return hash((*scope.salt.encode(), -1, *adapter.encode()))  # hashes of str differ between processes

    def name(self, parent: Key, tokens: Sequence[int], scope: Scope, block: int) -> Key:
        return hash((parent, *tokens))


class Digests:
    """vLLM's own digests."""

    def __init__(self, algorithm: str = "sha256", seed: str = DEFAULT_SEED, *, tagged: bool = True) -> None:
        if algorithm not in ALGORITHMS:
            raise ValueError(f"no hash algorithm {algorithm!r}: one of {', '.join(ALGORITHMS)}")
        serialise = _Cbor().encode if algorithm.endswith("_cbor") else _pickled
        digest = _sha256 if algorithm.startswith("sha256") else _xxh3_128()
        self._hash: Callable[[Any], bytes] = lambda value: digest(serialise(value))
        self._none = self._hash(seed)
        self._tagged = tagged

    def root(self, scope: Scope) -> Key:
        return self._none

    def name(self, parent: Key, tokens: Sequence[int], scope: Scope, block: int) -> Key:
        extra = scope.tagged_keys(block) if self._tagged else scope.extra_keys(block)
        return self._hash((parent, tuple(tokens), extra))


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _xxh3_128() -> Callable[[bytes], bytes]:
    try:
        import xxhash
    except ImportError:
        raise ValueError("the xxhash algorithms need the package xxhash: install grove-dp[xxhash]") from None
    return xxhash.xxh3_128_digest


def _pickled(value: Any) -> bytes:
    return pickle.dumps(value, protocol=5)


class _Heads(dict[int, bytes]):
    """CBOR of non-negative ints; a model has so many tokens and no more."""

    def __missing__(self, number: int) -> bytes:
        self[number] = made = _head(0, number)
        return made


class _Cbor:
    """Canonical CBOR (RFC 8949, 4.2) of what a block hash covers: no maps, no floats."""

    def __init__(self) -> None:
        self._ints = _Heads()

    def encode(self, value: Any) -> bytes:
        if value is None:
            return b"\xf6"
        if isinstance(value, int):
            return self._ints[value]
        if isinstance(value, bytes):
            return _head(2, len(value)) + value
        if isinstance(value, str):
            text = value.encode()
            return _head(3, len(text)) + text
        if value and isinstance(value[0], int):
            return _head(4, len(value)) + b"".join(map(self._ints.__getitem__, value))
        return _head(4, len(value)) + b"".join(map(self.encode, value))


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    for code, form, size in ((24, ">B", 8), (25, ">H", 16), (26, ">I", 32)):
        if number < 1 << size:
            return bytes([major << 5 | code]) + struct.pack(form, number)
    return bytes([major << 5 | 27]) + struct.pack(">Q", number)
