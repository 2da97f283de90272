"""What happens to the blocks of a prefix cache, as events, and the bytes each vLLM release makes of them.

A batch is what one engine step did: msgpack of `[seconds, [event, ...], rank]`. The fields of an event grew
with the releases, and 0.24.0 turned events from arrays into maps:

    0.9.2   ["BlockStored", [hash, ...], parent, [token, ...], block_size, lora_id]
    0.23.0  ["BlockStored", ..., lora_id, medium, lora_name, extra_keys, group_idx, kind, window]
    0.32.0  {"type": "BlockStored", "block_hashes": [...], ...}  nulls left out from `extra_keys` on

A `Wire` is one such form; `wire_of("0.22.1")` finds it by release, `map` and `array` name the newest of
each. All thirteen recorded releases come out byte for byte (tests/sim/test_cache_events.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

__all__ = [
    "AllBlocksCleared",
    "BlockRemoved",
    "BlockStored",
    "CacheEvent",
    "Key",
    "Wire",
    "encode_batch",
    "wire_of",
]

Key = int | bytes
"""The hash of a block: a digest, or the 64 bits of it that vLLM publishes by default."""

_LOW_64 = (1 << 64) - 1
_REQUIRED = 7  # fields of a stored event that a map has even when they are null


class BlockStored(msgspec.Struct, kw_only=True):
    """Blocks became findable, in a row behind `parent_block_hash`; field order is the wire's."""

    block_hashes: Sequence[Key]
    parent_block_hash: Key | None
    token_ids: Sequence[int]
    block_size: int
    lora_id: int | None = None
    medium: str | None = "GPU"
    lora_name: str | None = None
    extra_keys: Sequence[tuple[Any, ...] | None] | None = None
    group_idx: int | None = 0
    kv_cache_spec_kind: str | None = "full_attention"
    kv_cache_spec_sliding_window: int | None = None
    locality: str | None = None
    ownership: str | None = None
    session_id: str | None = None
    lookahead_token_ids: Sequence[int] | None = None


class BlockRemoved(msgspec.Struct, kw_only=True):
    """One physical copy of each of these blocks was handed out again."""

    block_hashes: Sequence[Key]
    medium: str | None = "GPU"
    group_idx: int | None = 0
    locality: str | None = None
    ownership: str | None = None


class AllBlocksCleared(msgspec.Struct):
    """The prefix cache was reset."""


CacheEvent = BlockStored | BlockRemoved | AllBlocksCleared


class Wire:
    """How one release spells events and answers a replay."""

    def __init__(self, release: tuple[int, ...], stored: int, removed: int) -> None:
        """`stored` and `removed`: how many fields of these events the release knows."""
        self.release = release
        self.maps = release >= (0, 24)
        self.replay_topic = release >= (0, 26)  # a replayed batch carries its topic: 4 frames instead of 3
        self.fixed_seed = release >= (0, 29)  # SHA digests are equal in all processes without PYTHONHASHSEED
        self.tagged_keys = release >= (
            0,
            31,
        )  # extra keys are hashed with their kind, adapters with their path
        self.replay_unbounded = release >= (0, 33)  # before, ZMQ dropped what exceeded 1,000 waiting messages
        self._stored = self._spelling(BlockStored, stored, required=_REQUIRED)
        self._removed = self._spelling(BlockRemoved, removed, required=2)
        self._cleared = self._spelling(AllBlocksCleared, 0, required=0)

    def _spelling(self, event: type[msgspec.Struct], known: int, *, required: int) -> type[msgspec.Struct]:
        """A struct that encodes as the release's own did, down to the width of the map's head."""
        names = event.__struct_fields__[:known]
        fields = [name if at < required else (name, Any, None) for at, name in enumerate(names)]
        return msgspec.defstruct(
            event.__name__, fields, tag=True, omit_defaults=True, array_like=not self.maps, gc=False
        )

    def spelled(self, event: CacheEvent, *, int_hashes: bool = True) -> msgspec.Struct:
        """The event in the release's form, ready to be encoded."""
        if isinstance(event, AllBlocksCleared):
            return self._cleared()
        form = self._stored if isinstance(event, BlockStored) else self._removed
        values = [getattr(event, name) for name in form.__struct_fields__]
        if int_hashes:
            values[0] = [_published(key) for key in values[0]]
            if isinstance(event, BlockStored) and values[1] is not None:
                values[1] = _published(values[1])
        return form(*values)


_FORMS = (
    ((0, 9), 5, 1),
    ((0, 10), 6, 2),
    ((0, 14), 7, 2),
    ((0, 18), 8, 2),
    ((0, 20), 9, 3),
    ((0, 22), 11, 3),
    ((0, 26), 12, 4),
    ((0, 29), 13, 5),
    ((0, 30), 14, 5),
    ((0, 33), 15, 5),
)
_NAMED = {"map": "0.32.0", "array": "0.23.0"}
_ENCODER = msgspec.msgpack.Encoder()


def wire_of(name: str) -> Wire:
    """The form of a release ("0.22.1"), or the newest "map" or "array"."""
    try:
        release = tuple(int(part) for part in _NAMED.get(name, name).split("."))
    except ValueError:
        release = ()
    known = [counts for first, *counts in _FORMS if first <= release]
    if not known:
        raise ValueError(f"no KV event format {name!r}: give map, array, or a vLLM release from 0.9 on")
    return Wire(release, *known[-1])


def encode_batch(
    wire: Wire, events: Sequence[CacheEvent], *, at: float, rank: int, int_hashes: bool = True
) -> bytes:
    """The payload of one batch."""
    return _ENCODER.encode([at, [wire.spelled(event, int_hashes=int_hashes) for event in events], rank])


def _published(key: Key) -> int:
    return (key if isinstance(key, int) else int.from_bytes(key[-8:], "big")) & _LOW_64
