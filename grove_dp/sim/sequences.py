"""A prompt on its way to an answer, as the engine sees it, and the tokens that come out."""

from collections.abc import Sequence as Tokens
from typing import Any, Literal

import msgspec

from grove_dp.sim.cache_events import Key
from grove_dp.sim.digests import Scope

__all__ = ["CacheUse", "FinishReason", "Output", "Sequence"]

FinishReason = Literal["stop", "length", "abort"]


class CacheUse(msgspec.Struct, frozen=True):
    """What a request wants of the prefix cache."""

    scope: Scope = Scope()
    session_id: str | None = None  # named in the events that the request causes
    report_hits: bool = False  # kv_cache_report_mode=full: announce the blocks found, too
    read: bool = True  # prompt logprobs need every token computed


class Sequence:
    """One prompt on its way to one answer."""

    __slots__ = (
        "answer_len",
        "blocks",
        "cache",
        "cached_tokens",
        "computed",
        "finish_reason",
        "hashes",
        "max_tokens",
        "owner",
        "preemptions",
        "prompt_len",
        "script",
        "seed",
        "stored",
        "tokens",
    )

    def __init__(
        self,
        prompt: Tokens[int],
        max_tokens: int,
        *,
        seed: int,
        root: Key,
        cache: CacheUse,
        script: Tokens[int] | None,
        answer_len: int,
        owner: Any,
    ) -> None:
        self.tokens: list[int] = list(prompt)
        self.prompt_len = len(self.tokens)
        self.max_tokens = max_tokens
        self.seed = seed
        self.cache = cache
        self.script = script
        self.answer_len = answer_len
        self.owner = owner
        self.computed = 0
        self.stored = 0
        self.blocks: list[int] = []
        self.hashes: list[Key] = [root]  # hashes[i + 1] is the hash of block i
        self.cached_tokens = -1  # unknown until first admitted
        self.preemptions = 0
        self.finish_reason: FinishReason | None = None

    @property
    def generated(self) -> int:
        return len(self.tokens) - self.prompt_len


class Output(msgspec.Struct, frozen=True):
    """One token of one sequence; `finish_reason` is set on its last."""

    sequence: Sequence
    token: int
    finish_reason: FinishReason | None
