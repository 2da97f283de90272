"""`PrefixIndex`: which worker holds which prefix, without the frontend around it.

    index = PrefixIndex(secret=b"...")
    index.store(3, names)                 # worker slot 3 holds these blocks, from the root on
    index.match(names)                    # -> uint32 array: [0, 0, 0, len(names)]
    index.match_tokens(tokens, Scope("llama", block_size=16))

A *block* is `block_size` tokens in a row; its *name* is a uint64 that stands for these tokens, all tokens
before them and the scope (model, adapter, salt, block size). So an array of names is a prompt, cut to whole
blocks, and names that are equal at one place are equal at every place before it. `names()` makes them; names
of two secrets do not mix.

    what      type             shape      unit
    tokens    uint32           (tokens,)  token ids
    blocks    uint64           (blocks,)  names
    match     uint32           (slots,)   blocks in a row from the root; times block_size: tokens
    slot      int              0..4095    a worker, or one data-parallel rank of it
    now_s     int              -          seconds on a clock that does not go back, told by step()

Arrays are C-contiguous. Looking up 8,192 names among 64 workers takes about a microsecond; making them from
131,072 tokens takes 15 to 30.
"""

import numpy as np
import numpy.typing as npt

from grove_dp.native.index import (
    CPU,
    GPU,
    PREDICTED,
    SLOTS,
    STORAGE,
    Index,
    Match,
    Misfit,
    Stats,
    UnknownParent,
)
from grove_dp.native.kv import ChainKey
from grove_dp.tokens.blocks import Names, Scope
from grove_dp.tokens.tokenizer import Ids

__all__ = [
    "CPU",
    "GPU",
    "PREDICTED",
    "SLOTS",
    "STORAGE",
    "Match",
    "Misfit",
    "PrefixIndex",
    "Scope",
    "Stats",
    "UnknownParent",
]


class PrefixIndex(Index):
    """Who holds what, within *bytes_max* of memory; past that what was not asked for longest is forgotten.

    *secret* goes into every name; give the same one to all who are to compare names. *predicted_percent* of
    the memory may be taken by what only predict() told.
    """

    def __init__(
        self, *, secret: bytes = b"", bytes_max: int = 256 << 20, predicted_percent: int = 10
    ) -> None:
        super().__init__(bytes_max=bytes_max, predicted_percent=predicted_percent)
        self._key = ChainKey(secret)

    def names(self, tokens: Ids, scope: Scope, *, parent: int | None = None) -> Names:
        """Names of the whole blocks of *tokens*, from the root of *scope*, or behind the block *parent*."""
        return self._key(
            self._key.root(scope) if parent is None else parent,
            np.ascontiguousarray(tokens, np.uint32),
            scope.block_size,
        )

    def match_tokens(
        self, tokens: Ids, scope: Scope, *, slots: int | None = None, medium: int = GPU
    ) -> npt.NDArray[np.uint32]:
        """match() of the names of *tokens*."""
        return self.match(self.names(tokens, scope), slots=slots, medium=medium)
