"""What all spellings of an answer share: the growing choices, who answers, token counts, the `Dialect`.

Field order, nulls and the place of `system_fingerprint` follow recorded vLLM 0.32 answers byte for byte. The
bytes around the text of a plain event never change within a stream, so they are made once per choice and an
event costs two joins: `prefix + json text + suffix`.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from grove_dp.sim.asks import Ask
from grove_dp.sim.refusals import Refusal
from grove_dp.sim.tokenizer import ModelTokenizer

__all__ = [
    "DONE",
    "Choice",
    "Dialect",
    "Face",
    "Timing",
    "logprob_of",
    "metrics_of",
    "prompt_logprobs",
    "to_json",
    "usage_of",
]

DONE = b"data: [DONE]\n\n"
to_json = msgspec.json.encode


class Timing(msgspec.Struct):
    """When things happened to a request, in seconds of the loop's clock."""

    asked: float = 0.0
    first: float = 0.0
    last: float = 0.0


class Face(msgspec.Struct, frozen=True):
    """What an answer says about itself."""

    ident: str
    hex_id: str
    created: int
    fingerprint: str
    tokenizer: ModelTokenizer
    details: bool  # --enable-prompt-tokens-details
    metrics: bool  # --enable-per-request-metrics
    block_size: int


class Choice:
    """One answer growing."""

    def __init__(self, index: int, prompt: list[int], prompt_text: str) -> None:
        self.index = index
        self.prompt = prompt
        self.prompt_text = prompt_text
        self.cached = 0
        self.tokens: list[int] = []
        self.text = ""
        self.sent = 0  # characters of `text` that have left
        self.fresh: list[int] = []  # tokens that have not left
        self.finish_reason: str | None = None
        self.stop_reason: str | int | None = None
        self.closed = False  # its last event has left
        self.prefix = b""


class Dialect(Protocol):
    """How one endpoint spells an answer."""

    def prelude(self, choices: Sequence[Choice]) -> list[bytes]:
        """Events that leave with the head, before the engine has done anything."""

    def opening(self, choices: Sequence[Choice]) -> list[bytes]:
        """Events before the first token."""

    def delta(self, choice: Choice, tokens: list[int], text: bytes, *, last: bool) -> list[bytes]:
        """Events for new tokens; `text` is their text as JSON."""

    def closing(self, choices: Sequence[Choice], timing: Timing) -> list[bytes]:
        """Events after the last token of all choices."""

    def failure(self, refusal: Refusal) -> list[bytes]:
        """Events that end a stream with an error."""

    def whole(self, choices: Sequence[Choice], timing: Timing) -> bytes:
        """The unstreamed answer."""


def usage_of(choices: Sequence[Choice], ask: Ask, face: Face, *, nulls: bool) -> dict[str, Any]:
    """Token counts of an answer. Every prompt counts once, whatever `n` is."""
    prompts = sum(len(c.prompt) for c in choices[:: ask.n])
    made = sum(len(c.tokens) for c in choices)
    usage: dict[str, Any] = {
        "prompt_tokens": prompts,
        "total_tokens": prompts + made,
        "completion_tokens": made,
    }
    if face.details:
        cached = sum(c.cached for c in choices[:: ask.n])
        full = sum(len(c.prompt) // face.block_size * face.block_size for c in choices[:: ask.n])
        details: dict[str, Any] = {"cached_tokens": cached, "created_cache_tokens": max(0, full - cached)}
        usage["prompt_tokens_details"] = {**details, "multimodal_tokens": None} if nulls else details
    elif nulls:
        usage["prompt_tokens_details"] = None
    if nulls:
        usage["completion_tokens_details"] = None
    return usage


def metrics_of(choices: Sequence[Choice], timing: Timing, *, nulls: bool) -> dict[str, Any]:
    """Timings of one answer (`--enable-per-request-metrics`)."""
    made = sum(len(c.tokens) for c in choices)
    first_ms, rest_ms = (timing.first - timing.asked) * 1e3, (timing.last - timing.first) * 1e3
    metrics: dict[str, Any] = {
        "time_to_first_token_ms": first_ms,
        "generation_time_ms": rest_ms,
        "queue_time_ms": 0.0,
        "mean_itl_ms": rest_ms / max(1, made - 1),
        "tokens_per_second": made / max(1e-6, timing.last - timing.asked),
    }
    return {**metrics, "speculative_decoding": None} if nulls else metrics


def logprob_of(token: int, rank: int = 0) -> float:
    """A stable, plausible log probability."""
    return -0.5 - (token * 2654435761 % 1000) / 500 - rank


def prompt_logprobs(prompt: Sequence[int], tokenizer: ModelTokenizer) -> list[dict[str, Any] | None]:
    """For each prompt token but the first: itself and the token that was likelier."""
    found: list[dict[str, Any] | None] = [None]
    for token in prompt[1:]:
        likelier = tokenizer.vocabulary[token % len(tokenizer.vocabulary)]
        ranked = ((token, 7), (likelier, 1))
        found.append(
            {
                str(which): {
                    "logprob": logprob_of(which, rank),
                    "rank": rank,
                    "decoded_token": tokenizer.decode([which]),
                }
                for which, rank in ranked
            }
        )
    return found
