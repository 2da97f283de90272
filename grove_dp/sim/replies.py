"""Answers on the wire: `/v1/chat/completions` and `/v1/completions`, streamed and whole.

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
    "ChatReply",
    "Choice",
    "CompletionReply",
    "Dialect",
    "Face",
    "Timing",
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


class ChatReply:
    """Chat completions."""

    def __init__(self, ask: Ask, face: Face) -> None:
        self._ask, self._face = ask, face
        self._start = (
            f'data: {{"id":"{face.ident}","object":"chat.completion.chunk","created":{face.created},'
            f'"model":{to_json(ask.model).decode()},"choices":['
        ).encode()
        plain = ask.logprobs is None and not ask.token_ids and not ask.continuous_usage and ask.tool is None
        self._plain = plain
        self._suffix = b'},"logprobs":null,"finish_reason":null,"token_ids":null}]}\n\n'

    def prelude(self, choices: Sequence[Choice]) -> list[bytes]:
        return []

    def failure(self, refusal: Refusal) -> list[bytes]:
        return [refusal.line(), DONE]

    def opening(self, choices: Sequence[Choice]) -> list[bytes]:
        events = []
        for choice in choices:
            ids = to_json(choice.prompt) if self._ask.token_ids else b"null"
            choice.prefix = b'%b{"index":%d,"delta":{"content":' % (self._start, choice.index)
            usage = self._usage_now(choice, made=0)
            events.append(
                b'%b{"index":%d,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]%b,'
                b'"prompt_token_ids":%b,"prompt_text":null}\n\n' % (self._start, choice.index, usage, ids)
            )
        return events

    def delta(self, choice: Choice, tokens: list[int], text: bytes, *, last: bool) -> list[bytes]:
        if self._plain and not last:
            return [choice.prefix + text + self._suffix]
        ids = to_json(tokens) if self._ask.token_ids else b"null"
        logprobs = to_json(self._logprobs(tokens)) if self._ask.logprobs is not None else b"null"
        finish, tail = b"null", b""
        if last:
            finish = b'%b,"stop_reason":%b' % (to_json(self._reason(choice)), to_json(choice.stop_reason))
            if not self._ask.include_usage:
                tail = b',"system_fingerprint":"%b"' % self._face.fingerprint.encode()
        usage = self._usage_now(choice, made=len(choice.tokens) - len(choice.fresh))
        parts = self._tool_parts(choice, tokens, text) if self._ask.tool else [b'"content":' + text]
        events = [
            b'%b{"index":%d,"delta":{%b},"logprobs":null,"finish_reason":null,"token_ids":null}]%b}\n\n'
            % (self._start, choice.index, part, usage)
            for part in parts[:-1]
        ]
        events.append(
            b'%b{"index":%d,"delta":{%b},"logprobs":%b,"finish_reason":%b,"token_ids":%b}]%b%b}\n\n'
            % (self._start, choice.index, parts[-1], logprobs, finish, ids, usage, tail)
        )
        return events

    def closing(self, choices: Sequence[Choice], timing: Timing) -> list[bytes]:
        if not self._ask.include_usage:
            return [DONE]
        usage = to_json(usage_of(choices, self._ask, self._face, nulls=False))
        extra = (
            b',"metrics":' + to_json(metrics_of(choices, timing, nulls=False)) if self._face.metrics else b""
        )
        return [
            b'%b],"usage":%b,"system_fingerprint":"%b"%b}\n\n'
            % (self._start, usage, self._face.fingerprint.encode(), extra),
            DONE,
        ]

    def whole(self, choices: Sequence[Choice], timing: Timing) -> bytes:
        ask, face = self._ask, self._face
        return to_json(
            {
                "id": face.ident,
                "object": "chat.completion",
                "created": face.created,
                "model": ask.model,
                "choices": [self._whole_choice(choice) for choice in choices],
                "service_tier": None,
                "system_fingerprint": face.fingerprint,
                "usage": usage_of(choices, ask, face, nulls=True),
                "prompt_logprobs": None
                if ask.prompt_logprobs is None
                else prompt_logprobs(choices[0].prompt, face.tokenizer),
                "prompt_token_ids": choices[0].prompt if ask.token_ids else None,
                "prompt_text": None,
                "kv_transfer_params": None,
                "ec_transfer_params": None,
                "metrics": metrics_of(choices, timing, nulls=True) if face.metrics else None,
            }
        )

    def _whole_choice(self, choice: Choice) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": choice.text,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
        }
        if self._ask.tool is not None:
            message["content"] = None
            function = {"name": self._ask.tool, "arguments": choice.text}
            message["tool_calls"] = [{"id": self._tool_id(choice), "type": "function", "function": function}]
        message["reasoning"] = None
        return {
            "index": choice.index,
            "message": message,
            "logprobs": None if self._ask.logprobs is None else self._logprobs(choice.tokens),
            "finish_reason": self._reason(choice),
            "stop_reason": choice.stop_reason,
            "token_ids": choice.tokens if self._ask.token_ids else None,
            "routed_experts": None,
        }

    def _reason(self, choice: Choice) -> str | None:
        return "tool_calls" if self._ask.tool and choice.finish_reason == "stop" else choice.finish_reason

    def _tool_id(self, choice: Choice) -> str:
        return f"chatcmpl-tool-{self._face.hex_id[:-1]}{choice.index % 16:x}"

    def _tool_parts(self, choice: Choice, tokens: list[int], text: bytes) -> list[bytes]:
        """Deltas of a tool call: its name first, then its arguments piece by piece."""
        parts = []
        if len(choice.tokens) == len(choice.fresh) + len(tokens):
            name = to_json(self._ask.tool)
            parts.append(
                b'"content":null,"tool_calls":[{"id":"%b","type":"function","index":0,"function":{"name":%b}}]'
                % (self._tool_id(choice).encode(), name)
            )
        if text != b'""':
            parts.append(b'"content":null,"tool_calls":[{"index":0,"function":{"arguments":%b}}]' % text)
        return parts or [b'"content":null']

    def _usage_now(self, choice: Choice, made: int) -> bytes:
        if not self._ask.continuous_usage:
            return b""
        prompt = len(choice.prompt)
        return (
            b',"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d,"completion_tokens_details":null}'
            % (prompt, prompt + made, made)
        )

    def _logprobs(self, tokens: Sequence[int]) -> dict[str, Any]:
        return {"content": [self._logprob(token) for token in tokens]}

    def _logprob(self, token: int) -> dict[str, Any]:
        words = self._face.tokenizer.vocabulary
        others = [words[(token + rank) % len(words)] for rank in range(1, self._ask.logprobs or 0)]

        def entry(which: int, rank: int) -> dict[str, Any]:
            text = self._face.tokenizer.text(which)
            return {"token": text, "logprob": logprob_of(token, rank), "bytes": list(text.encode())}

        ranked = [entry(which, rank) for rank, which in enumerate([token, *others])]
        return {**ranked[0], "top_logprobs": ranked if self._ask.logprobs else []}


class CompletionReply:
    """Text completions."""

    def __init__(self, ask: Ask, face: Face) -> None:
        self._ask, self._face = ask, face
        self._start = (
            f'data: {{"id":"{face.ident}","object":"text_completion","created":{face.created},'
            f'"model":{to_json(ask.model).decode()},"choices":['
        ).encode()
        self._plain = ask.logprobs is None and not ask.token_ids and not ask.continuous_usage and not ask.echo
        self._suffix = (
            b',"logprobs":null,"finish_reason":null,"stop_reason":null,'
            b'"prompt_token_ids":null,"token_ids":null}]}\n\n'
        )

    def prelude(self, choices: Sequence[Choice]) -> list[bytes]:
        return []

    def failure(self, refusal: Refusal) -> list[bytes]:
        return [refusal.line(), DONE]

    def opening(self, choices: Sequence[Choice]) -> list[bytes]:
        for choice in choices:
            choice.prefix = b'%b{"index":%d,"text":' % (self._start, choice.index)
        return []

    def delta(self, choice: Choice, tokens: list[int], text: bytes, *, last: bool) -> list[bytes]:
        if self._plain and not last:
            return [choice.prefix + text + self._suffix]
        first = len(choice.tokens) == len(choice.fresh) + len(tokens)
        ids = to_json(tokens) if self._ask.token_ids else b"null"
        prompt = to_json(choice.prompt) if self._ask.token_ids and first else b"null"
        if first and self._ask.echo:
            text = to_json(self._prompt_text(choice) + msgspec.json.decode(text, type=str))
        logprobs = to_json(self._logprobs(tokens, 0)) if self._ask.logprobs is not None else b"null"
        reason, usage, tail = b"null", b"", b""
        if last:
            reason = to_json(choice.finish_reason)
            if not self._ask.include_usage:
                tail = b',"system_fingerprint":"%b"' % self._face.fingerprint.encode()
        if self._ask.continuous_usage:
            given, made = len(choice.prompt), len(choice.tokens) - len(choice.fresh)
            usage = b',"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d}' % (
                given,
                given + made,
                made,
            )
        return [
            b'%b%b,"logprobs":%b,"finish_reason":%b,"stop_reason":%b,"prompt_token_ids":%b,"token_ids":%b}]%b%b}\n\n'
            % (choice.prefix, text, logprobs, reason, to_json(choice.stop_reason), prompt, ids, usage, tail)
        ]

    def closing(self, choices: Sequence[Choice], timing: Timing) -> list[bytes]:
        if not self._ask.include_usage:
            return [DONE]
        usage = to_json(usage_of(choices, self._ask, self._face, nulls=False))
        print_ = self._face.fingerprint.encode()
        extra = (
            b',"metrics":' + to_json(metrics_of(choices, timing, nulls=False)) if self._face.metrics else b""
        )
        return [
            b'%b],"usage":%b,"system_fingerprint":"%b"%b}\n\n' % (self._start, usage, print_, extra),
            DONE,
        ]

    def whole(self, choices: Sequence[Choice], timing: Timing) -> bytes:
        ask, face = self._ask, self._face
        return to_json(
            {
                "id": face.ident,
                "object": "text_completion",
                "created": face.created,
                "model": ask.model,
                "choices": [self._whole_choice(choice) for choice in choices],
                "service_tier": None,
                "system_fingerprint": face.fingerprint,
                "usage": usage_of(choices, ask, face, nulls=True),
                "kv_transfer_params": None,
                "ec_transfer_params": None,
                "metrics": metrics_of(choices, timing, nulls=True) if face.metrics else None,
            }
        )

    def _whole_choice(self, choice: Choice) -> dict[str, Any]:
        ask, logprobs, of_prompt = self._ask, None, None
        if ask.logprobs is not None:
            logprobs = self._logprobs([*choice.prompt, *choice.tokens] if ask.echo else choice.tokens, 0)
            if ask.echo:
                logprobs["token_logprobs"][0] = logprobs["top_logprobs"][0] = None
                of_prompt = prompt_logprobs(choice.prompt, self._face.tokenizer)
        return {
            "index": choice.index,
            "text": self._prompt_text(choice) + choice.text if ask.echo else choice.text,
            "logprobs": logprobs,
            "finish_reason": choice.finish_reason,
            "stop_reason": choice.stop_reason,
            "token_ids": choice.tokens if ask.token_ids else None,
            "prompt_logprobs": of_prompt,
            "prompt_token_ids": choice.prompt if ask.token_ids else None,
            "routed_experts": None,
        }

    def _prompt_text(self, choice: Choice) -> str:
        return choice.prompt_text or self._face.tokenizer.decode(choice.prompt)

    def _logprobs(self, tokens: Sequence[int], start: int) -> dict[str, Any]:
        texts = [self._face.tokenizer.text(token) for token in tokens]
        offsets, at = [], start
        for text in texts:
            offsets.append(at)
            at += len(text)
        values = [logprob_of(token) for token in tokens]
        return {
            "text_offset": offsets,
            "token_logprobs": list[float | None](values),
            "tokens": texts,
            "top_logprobs": list[dict[str, float] | None]({t: v} for t, v in zip(texts, values, strict=True)),
        }
