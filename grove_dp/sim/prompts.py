"""Prompts with the lengths and the shared prefixes of a trace, at 40 µs per 512 tokens.

A trace names the blocks of a prompt, not their words. Here each block id becomes a fixed run of words: 512
bytes of SHAKE-128 over (seed, id), one word per byte. Equal leading ids are therefore equal leading bytes,
in every process and every run, with no table to keep. The 256 words were chosen so that " word" is one
token in the simulator's tokenizer and in common BPE vocabularies; a prompt of n words is n tokens, plus the
chat template's own (`TEMPLATE_TOKENS`, taken off the end so that the whole comes out at the trace's length:
exact with the simulator's tokenizer). Nothing is ever tokenized here; a tokenizer of 1 M tokens/s would add
12 ms to a prompt of Mooncake's mean length, where this takes 1 ms.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import shake_128
from itertools import islice
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from grove_dp.sim.trace import TraceRequest

__all__ = ["BLOCK_TOKENS", "TEMPLATE_TOKENS", "Prompts"]

BLOCK_TOKENS = 512
TEMPLATE_TOKENS = 7

_FIRST_ID, _IDS = 256, 2048  # ids that every vocabulary has, and none of them special
_WORDS = [
    f" {word}"
    for word in [
        "self",
        "the",
        "if",
        "in",
        "is",
        "an",
        "to",
        "for",
        "and",
        "of",
        "not",
        "be",
        "or",
        "raise",
        "value",
        "else",
        "line",
        "me",
        "name",
        "other",
        "as",
        "with",
        "by",
        "that",
        "it",
        "file",
        "from",
        "we",
        "so",
        "are",
        "on",
        "class",
        "type",
        "this",
        "get",
        "set",
        "at",
        "read",
        "time",
        "he",
        "data",
        "has",
        "try",
        "can",
        "node",
        "key",
        "new",
        "out",
        "list",
        "error",
        "use",
        "no",
        "test",
        "will",
        "us",
        "do",
        "lines",
        "used",
        "all",
        "must",
        "print",
        "size",
        "mode",
        "code",
        "text",
        "first",
        "call",
        "field",
        "break",
        "start",
        "day",
        "base",
        "have",
        "one",
        "sign",
        "any",
        "end",
        "add",
        "up",
        "then",
        "case",
        "given",
        "which",
        "when",
        "while",
        "max",
        "input",
        "match",
        "pass",
        "may",
        "round",
        "date",
        "week",
        "but",
        "only",
        "month",
        "log",
        "help",
        "check",
        "frame",
        "next",
        "names",
        "flags",
        "group",
        "open",
        "using",
        "last",
        "raw",
        "off",
        "min",
        "yield",
        "year",
        "same",
        "does",
        "was",
        "over",
        "files",
        "range",
        "run",
        "there",
        "state",
        "part",
        "than",
        "more",
        "local",
        "into",
        "write",
        "chunk",
        "its",
        "map",
        "where",
        "two",
        "found",
        "also",
        "path",
        "want",
        "visit",
        "cache",
        "close",
        "user",
        "allow",
        "need",
        "final",
        "back",
        "float",
        "each",
        "after",
        "copy",
        "some",
        "order",
        "exist",
        "make",
        "index",
        "mark",
        "look",
        "empty",
        "act",
        "rest",
        "they",
        "exact",
        "here",
        "point",
        "item",
        "types",
        "hash",
        "true",
        "best",
        "flag",
        "mat",
        "mod",
        "both",
        "extra",
        "auto",
        "block",
        "like",
        "skip",
        "tests",
        "you",
        "just",
        "stop",
        "super",
        "my",
        "under",
        "been",
        "got",
        "zero",
        "strip",
        "hour",
        "per",
        "seek",
        "them",
        "until",
        "find",
        "body",
        "work",
        "parse",
        "width",
        "root",
        "left",
        "days",
        "show",
        "their",
        "would",
        "row",
        "bound",
        "space",
        "usage",
        "pair",
        "most",
        "old",
        "keep",
        "way",
        "form",
        "such",
        "full",
        "about",
        "man",
        "how",
        "head",
        "items",
        "level",
        "equal",
        "exit",
        "bases",
        "tag",
        "fold",
        "real",
        "could",
        "count",
        "stack",
        "take",
        "these",
        "link",
        "being",
        "quiet",
        "since",
        "blank",
        "port",
        "see",
        "valid",
        "build",
        "audio",
        "every",
        "place",
        "named",
        "go",
        "our",
        "done",
        "times",
        "added",
        "keys",
        "host",
        "again",
        "table",
        "side",
        "even",
    ]
]
_NUMBERS = [str(number) for number in range(_FIRST_ID, _FIRST_ID + _IDS)]


class Prompts:
    """Turns trace requests into prompts: text, or JSON arrays of token ids."""

    def __init__(
        self,
        *,
        form: Literal["text", "ids"] = "text",
        seed: int = 0,
        block_tokens: int = BLOCK_TOKENS,
        template_tokens: int = 0,
        max_tokens: int | None = None,
    ) -> None:
        self._write: Callable[[str, int], str] = _words if form == "text" else _numbers
        self._form = form
        self._seed = seed
        self._block_tokens = block_tokens
        self._template_tokens = template_tokens
        self._max_tokens = max_tokens
        self._block = lru_cache(maxsize=4096)(self._written)  # 10 MiB: the blocks of the last ~170 prompts

    def length(self, request: TraceRequest) -> int:
        """The tokens to write for *request*: its own length within the limit, less the template's."""
        tokens = (
            request.input_tokens if self._max_tokens is None else min(request.input_tokens, self._max_tokens)
        )
        return max(1, tokens - self._template_tokens)

    def prompt(self, request: TraceRequest, serial: int) -> str | msgspec.Raw:
        """The prompt of *request*; what its ids do not cover is unlike any other, by *serial*."""
        length = self.length(request)
        pieces = self._pieces(request.hash_ids, length, serial)
        if self._form == "text":
            return "".join(pieces)
        return msgspec.Raw(f"[{','.join(pieces)}]".encode())

    def messages(self, request: TraceRequest) -> list[str]:
        """The texts of *request*'s messages, whole blocks each; the template's tokens come on top."""
        names = iter(request.hash_ids)
        return ["".join([self._block(str(name)) for name in islice(names, n)]) for n in request.messages]

    def _pieces(self, hash_ids: Sequence[int], length: int, serial: int) -> list[str]:
        pieces = []
        place = 0
        while length > 0:
            name = str(hash_ids[place]) if place < len(hash_ids) else f"own/{serial}/{place}"
            if length >= self._block_tokens:
                pieces.append(self._block(name))
            else:
                pieces.append(self._write(f"{self._seed}/{name}", length))
            place, length = place + 1, length - self._block_tokens
        return pieces

    def _written(self, name: str) -> str:
        return self._write(f"{self._seed}/{name}", self._block_tokens)


def _words(name: str, count: int) -> str:
    return "".join(map(_WORDS.__getitem__, shake_128(name.encode()).digest(count)))


def _numbers(name: str, count: int) -> str:
    digest = memoryview(shake_128(name.encode()).digest(2 * count)).cast("H")
    return ",".join([_NUMBERS[value % _IDS] for value in digest])
