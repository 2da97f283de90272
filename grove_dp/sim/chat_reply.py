"""Answers on the wire: `/v1/chat/completions`, streamed and whole, with tool calls and log probabilities."""

from collections.abc import Sequence
from typing import Any

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

__all__ = ["ChatReply"]


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
