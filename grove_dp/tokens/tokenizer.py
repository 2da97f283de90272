"""Text to token ids: the library that everybody trusts, and a fast one where it proves equal.

`tokenizers` is the reference; it takes 4.6 ms for 8 KiB of source code with Qwen3's vocabulary. `fastokens`
takes 0.06 ms, releases the GIL, and answers with bytes instead of a list (a list of 27,000 ids costs 0.7 ms
by itself). So the fast one is used whenever it is installed and gives the same ids on a corpus made to tell
them apart (corpus.py), and never for a tokenizer without a pre-tokenizer, which it silently gets wrong.

Ids are a flat buffer of little-endian uint32 everywhere, never a list.

Special tokens in a client's text are special tokens: so it is in the worker, whose ids are what counts.
Length is bounded: a run of one character costs the square of its length, 14 ms for 64 Ki, 600 ms for 1 Mi.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer as Reference

from grove_dp.tokens.corpus import probe_corpus
from grove_dp.tokens.unsupported import Unsupported

__all__ = ["LENGTH_MAX", "NO_IDS", "Ids", "Tokenizer"]

LENGTH_MAX = 512 * 1024  # characters of one prompt: about 130,000 tokens of English or code

Ids = npt.NDArray[np.uint32]
NO_IDS: Ids = np.empty(0, np.uint32)


class _Backend(Protocol):
    """Encodes texts independently of each other: all ids, and where each text's begin and end."""

    name: str

    def encode(self, texts: Sequence[str], add_special_tokens: bool) -> tuple[Ids, Sequence[int]]: ...


class _Trusted:
    name = "tokenizers"

    def __init__(self, source: str) -> None:
        self._tokenizer = _reference(source)

    def encode(self, texts: Sequence[str], add_special_tokens: bool) -> tuple[Ids, Sequence[int]]:
        made = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=add_special_tokens)
        parts = [np.asarray(one.ids, dtype=np.uint32) for one in made]
        ends = [0, *np.cumsum([len(part) for part in parts]).tolist()]
        return (np.concatenate(parts) if parts else NO_IDS), ends


class _Fast:
    name = "fastokens"

    def __init__(self, source: str) -> None:
        # One thread: its helpers make a long prompt's p99 ten times longer, and other threads have our cores.
        os.environ.setdefault("FASTOKENS_BPE_THREADS", "1")
        import fastokens  # type: ignore[import-untyped]

        self._tokenizer: Any = fastokens.Tokenizer.from_json_str(source)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode(self, texts: Sequence[str], add_special_tokens: bool) -> tuple[Ids, Sequence[int]]:
        ids, ends = self._tokenizer.encode_batch_flat(list(texts), add_special_tokens)
        return np.frombuffer(ids, np.uint32), np.frombuffer(ends, np.uint64).tolist()


class Tokenizer:
    """One model's tokenizer."""

    def __init__(self, source: str, *, fast: bool = True, length_max: int = LENGTH_MAX) -> None:
        """*source* is the text of tokenizer.json. *fast* False keeps to the reference."""
        told = json.loads(source)
        self._length_max = length_max
        self.added: dict[str, dict[str, Any]] = {t["content"]: t for t in told.get("added_tokens") or ()}
        self.cutters = frozenset(_cutters(self.added, told.get("normalizer")))
        self.first_ids = _first_ids(told.get("post_processor"))
        self._backend: _Backend = _Trusted(source)
        self.why_not_fast = "switched off"
        if fast:
            made, self.why_not_fast = _proven(source, told, self._backend, self.added)
            self._backend = made or self._backend

    @property
    def backend(self) -> str:
        return self._backend.name

    def ids(self, text: str, *, add_special_tokens: bool = False) -> Ids:
        """The ids of one text."""
        return self.pieces([text], add_special_tokens=add_special_tokens)[0]

    def pieces(self, texts: Sequence[str], *, add_special_tokens: bool = False) -> list[Ids]:
        """The ids of each text, encoded on its own."""
        if sum(map(len, texts)) > self._length_max:
            raise Unsupported("PromptTooLong", f"more than {self._length_max} characters")
        try:
            ids, ends = self._backend.encode(texts, add_special_tokens)
        except (UnicodeEncodeError, TypeError) as error:  # each backend's word for it
            raise Unsupported("LoneSurrogate", "which JSON can spell and UTF-8 cannot") from error
        if len(texts) == 1:
            return [ids]
        return [ids[ends[n] : ends[n + 1]] for n in range(len(texts))]


def _reference(source: str) -> Reference:
    made = Reference.from_str(source)
    made.no_truncation()  # tokenizer.json may hold both; the worker switches them off
    made.no_padding()
    return made


def _proven(
    source: str, told: dict[str, Any], trusted: _Backend, added: Iterable[str]
) -> tuple[_Backend | None, str]:
    """The fast backend if it may be used, else why not."""
    if told.get("pre_tokenizer") is None:
        return None, "the tokenizer has no pre_tokenizer"
    try:
        made = _Fast(source)
    except ImportError:
        return None, "fastokens is not installed"
    except (ValueError, RuntimeError) as error:
        return None, f"fastokens refuses the tokenizer: {error}"
    why = _difference(made, trusted, probe_corpus(added))
    return (None if why else made), why


def _difference(fast: _Backend, trusted: _Backend, texts: Sequence[str]) -> str:
    """The first of *texts* on which the two disagree, or ""."""
    for special in (False, True):
        (one, ends), (other, other_ends) = fast.encode(texts, special), trusted.encode(texts, special)
        if list(ends) == list(other_ends) and np.array_equal(one, other):
            continue
        for n, text in enumerate(texts):
            if not np.array_equal(one[ends[n] : ends[n + 1]], other[other_ends[n] : other_ends[n + 1]]):
                return f"other ids for {text[:60]!r}"
    return ""


def _cutters(added: Mapping[str, Mapping[str, Any]], normalizer: Mapping[str, Any] | None) -> list[str]:
    """The added tokens that cut a text: what stands before such a token has the same ids whether or not the
    token, and anything after it, follows. What stands behind the cut begins with the token, so it is split
    off there as well.

    That takes a token that is always matched as it is written: not as a whole word only, no white space eaten
    to its left, or by a token before it to its right; no other added token that could begin before it and
    reach into it. Tokens that are matched in normalised text count if the normaliser does nothing; they are
    matched last, so no other token may begin inside them either.
    """
    as_written = normalizer is None or normalizer.get("normalizers") == []
    reached, holding = _overlaps(added)
    return [
        token
        for token, flags in added.items()
        if not (flags.get("lstrip") or flags.get("single_word") or token[:1].isspace())
        and token not in reached
        and (not flags.get("normalized") or (as_written and token not in holding))
    ]


def _overlaps(tokens: Iterable[str]) -> tuple[set[str], set[str]]:
    """The tokens that can begin inside another (or inside themselves), and those in which one can begin."""
    beginnings: dict[str, set[str]] = {}
    for token in tokens:
        for n in range(1, len(token) + 1):
            beginnings.setdefault(token[:n], set()).add(token)
    reached: set[str] = set()
    holding: set[str] = set()
    for token in tokens:
        for n in range(1, len(token)):
            rest = token[n:]
            inside = {rest[:m] for m in range(1, len(rest))} & beginnings.keys()
            found = beginnings.get(rest, set()) | {one for one in inside if one in beginnings[one]}
            if found:
                reached |= found
                holding.add(token)
    return reached, holding


def _first_ids(processor: dict[str, Any] | None) -> Ids | None:
    """What add_special_tokens puts before a text where that is all it does, else None."""
    steps = processor["processors"] if processor and processor["type"] == "Sequence" else [processor]
    first: list[int] = []
    for step in steps:
        if step is None or step["type"] == "ByteLevel":  # moves offsets, not tokens
            continue
        if step["type"] != "TemplateProcessing":
            return None
        *before, text = step["single"]
        if "Sequence" not in text or any("SpecialToken" not in part for part in before):
            return None
        named = [step["special_tokens"][part["SpecialToken"]["id"]]["ids"] for part in before]
        first = [*(n for ids in named for n in ids), *first]
    return np.array(first, np.uint32)
