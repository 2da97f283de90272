"""Prompts as the index knows them: how many tokens, and the name of each whole block.

The hash function is the core's (csrc/route/chain.c); what this package needs of it is `Chain`, so that it can
be tested with any other. A chain is an array of uint64: chain[i] names tokens[0 .. (i + 1) * block_size)
together with the scope, which entered the root.
"""

from typing import NamedTuple, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from grove_dp.tokens.tokenizer import Ids

__all__ = ["Chain", "Names", "Prompt", "Scope"]

Names = npt.NDArray[np.uint64]


class Scope(msgspec.Struct, frozen=True):
    """What a prompt's blocks belong to; prompts of different scopes share nothing."""

    model: str
    lora: str = ""
    salt: str = ""
    block_size: int = 16


class Chain(Protocol):
    """The core's names for blocks."""

    def root(self, scope: Scope) -> int:
        """The state before the first block."""
        ...

    def __call__(self, parent: int, tokens: Ids, block_size: int) -> Names:
        """Names of the whole blocks of *tokens*, going on from *parent* (a root or a block's name)."""
        ...


class Prompt(NamedTuple):
    """One prompt of a request."""

    tokens: int
    chain: Names  # of its whole blocks, contiguous
