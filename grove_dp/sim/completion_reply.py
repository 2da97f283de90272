"""Answers on the wire: `/v1/completions`, streamed and whole, with echo and log probabilities."""

from collections.abc import Sequence
from typing import Any

import msgspec

from grove_dp.sim.asks import Ask
from grove_dp.sim.refusals import Refusal
from grove_dp.sim.replies import (
    DONE,
    Choice,
    Face,
    Timing,
    logprob_of,
    metrics_of,
    prompt_logprobs,
    to_json,
    usage_of,
)

__all__ = ["CompletionReply"]


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
