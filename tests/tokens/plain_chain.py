"""A chain of block names in plain Python: any function will do, as long as it chains."""

import hashlib

import numpy as np

from grove_dp.tokens.blocks import Names, Scope
from grove_dp.tokens.tokenizer import Ids


class PlainChain:
    def root(self, scope: Scope) -> int:
        return _name(repr(scope).encode())

    def __call__(self, parent: int, tokens: Ids, block_size: int) -> Names:
        names = []
        for start in range(0, len(tokens) - block_size + 1, block_size):
            parent = _name(parent.to_bytes(8, "little") + tokens[start : start + block_size].tobytes())
            names.append(parent)
        return np.array(names, np.uint64)


def _name(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
