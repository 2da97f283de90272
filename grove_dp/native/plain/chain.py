"""Twin of the chains in `grove_dp.native.kv`: sums as sums, steps as multiplies."""

import struct
from collections.abc import Sequence

__all__ = ["ChainKey", "chain", "extra", "hash64", "partial", "root"]

_MASK = 2**64 - 1
_STRIPE = 16
_SPREAD = 0x9E3779B97F4A7C15
_K0, _K1 = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93


def _fold(a: int, b: int) -> int:
    """The product of two words, its halves over each other."""
    product = a * b
    return (product ^ product >> 64) & _MASK


def hash64(data: bytes, seed: int = 0) -> int:
    """The core's multiply-fold hash of bytes."""
    h = seed ^ _fold(len(data) ^ _K0, _K1)
    whole = len(data) // 8 * 8
    for at in range(0, whole, 8):
        h = (_fold(h ^ int.from_bytes(data[at : at + 8], "little"), _K0) + _K1) & _MASK
    return _fold(h ^ int.from_bytes(data[whole:], "little") ^ _K1, _K0 ^ h >> 29)


class ChainKey:
    """What is derived from the secret."""

    def __init__(self, secret: bytes) -> None:
        words = [hash64(secret, 0x6364702D63686169 + i) for i in range(_STRIPE // 2 + 1)]
        self.words = [half for word in words for half in (word & 0xFFFFFFFF, word >> 32)]
        self.step = hash64(secret, 0x73746570)
        self.root = hash64(secret, 0x726F6F74)
        self.extra = hash64(secret, 0x6578747261) | 1


def root(key: ChainKey, model: bytes, lora: bytes = b"", salt: bytes = b"", block_size: int = 16) -> int:
    """The state before the first block of a scope."""
    h = hash64(salt, hash64(lora, hash64(model, key.root)))
    return _fold(h ^ block_size, key.extra)


def extra(key: ChainKey, before: int, kind: int, name: bytes, offset: int = -1) -> int:
    """One more key of a block."""
    return hash64(name, hash64(struct.pack("<QqQ", kind, offset, before), key.extra)) or 1


def chain(
    key: ChainKey, parent: int, tokens: Sequence[int], block_size: int, extras: Sequence[int] | None = None
) -> list[int]:
    """Names of the whole blocks of *tokens*."""
    names: list[int] = []
    for block in range(len(tokens) // block_size):
        inside = tokens[block * block_size : (block + 1) * block_size]
        parent = _block(key, parent, inside, extras[block] if extras else 0)
        names.append(parent)
    return names


def partial(key: ChainKey, parent: int, tokens: Sequence[int], extra: int = 0) -> int:
    """Name of a block that holds less than it could: its last stripe is short, if it is an empty one."""
    whole = len(tokens) // _STRIPE * _STRIPE
    h = _block(key, parent, tokens[:whole], extra)
    return _fold(_stripe(key, h, tokens[whole:]) ^ key.root, key.extra)


def _block(key: ChainKey, h: int, tokens: Sequence[int], extra: int) -> int:
    if extra:
        h = _fold(h ^ extra, key.extra)
    for at in range(0, len(tokens), _STRIPE):
        h = _stripe(key, h, tokens[at : at + _STRIPE])
    return h


def _stripe(key: ChainKey, h: int, tokens: Sequence[int]) -> int:
    missing = _STRIPE - len(tokens)
    a, b = (_sum(key.words[shift:], [*tokens, *[0] * missing]) for shift in (0, 2))
    return _fold(h ^ a, b * _SPREAD & _MASK ^ (key.step + missing & _MASK))


def _sum(words: Sequence[int], tokens: Sequence[int]) -> int:
    keyed = [(token + word) & 0xFFFFFFFF for token, word in zip(tokens, words, strict=False)]
    return sum(low * high for low, high in zip(keyed[::2], keyed[1::2], strict=True)) & _MASK
