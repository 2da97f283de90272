"""Answers on the wire: `/v1/responses` and `/v1/messages`, whose streams name their events.

These streams have `event:` lines and no `[DONE]`. The first two events of a response stream leave before the
engine has done anything, so a first event here says nothing about a first token. How vLLM words an error
inside these streams is not among the recorded exchanges; the dialects' own published form is used.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from grove_dp.sim.asks import Ask
from grove_dp.sim.refusals import Refusal
from grove_dp.sim.replies import Choice, Face, Timing, to_json

__all__ = ["MessagesReply", "ResponsesReply"]


def _event(name: str, value: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), to_json(value))


class MessagesReply:
    """The messages dialect; always one choice."""

    def __init__(self, ask: Ask, face: Face) -> None:
        self._ask, self._face = ask, face

    def prelude(self, choices: Sequence[Choice]) -> list[bytes]:
        return []

    def opening(self, choices: Sequence[Choice]) -> list[bytes]:
        message: dict[str, Any] = {
            "id": self._face.ident,
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": self._ask.model,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": len(choices[0].prompt), "output_tokens": 0},
        }
        block = {"type": "content_block_start", "content_block": {"type": "text", "text": ""}, "index": 0}
        return [
            _event("message_start", {"type": "message_start", "message": message}),
            _event("content_block_start", block),
        ]

    def delta(self, choice: Choice, tokens: list[int], text: bytes, *, last: bool) -> list[bytes]:
        if text == b'""':
            return []
        return [
            b'event: content_block_delta\ndata: {"type":"content_block_delta",'
            b'"delta":{"type":"text_delta","text":%b},"index":0}\n\n' % text
        ]

    def closing(self, choices: Sequence[Choice], timing: Timing) -> list[bytes]:
        choice = choices[0]
        ending = {"stop_reason": _stop_reason(choice), "stop_sequence": choice.stop_reason}
        usage = {"input_tokens": len(choice.prompt), "output_tokens": len(choice.tokens)}
        return [
            _event("content_block_stop", {"type": "content_block_stop", "index": 0}),
            _event("message_delta", {"type": "message_delta", "delta": ending, "usage": usage}),
            _event("message_stop", {"type": "message_stop"}),
        ]

    def failure(self, refusal: Refusal) -> list[bytes]:
        error = {"type": "internal_error", "message": refusal.message}
        return [_event("error", {"type": "error", "error": error})]

    def whole(self, choices: Sequence[Choice], timing: Timing) -> bytes:
        choice = choices[0]
        answer: dict[str, Any] = {
            "id": self._face.ident,
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": choice.text}],
            "model": self._ask.model,
            "stop_reason": _stop_reason(choice),
        }
        if choice.stop_reason is not None:
            answer["stop_sequence"] = choice.stop_reason
        answer["usage"] = {"input_tokens": len(choice.prompt), "output_tokens": len(choice.tokens)}
        return to_json(answer)


def _stop_reason(choice: Choice) -> str:
    if choice.finish_reason == "length":
        return "max_tokens"
    return "end_turn" if choice.stop_reason is None else "stop_sequence"


class ResponsesReply:
    """The responses dialect; always one choice."""

    def __init__(self, ask: Ask, face: Face) -> None:
        self._ask, self._face = ask, face
        self._item = f"msg_{face.hex_id[::-1]}"
        self._number = 0
        self._texts: list[str] = []

    def prelude(self, choices: Sequence[Choice]) -> list[bytes]:
        return [
            self._event(kind, {"response": self._response(None, "in_progress")})
            for kind in ("response.created", "response.in_progress")
        ]

    def opening(self, choices: Sequence[Choice]) -> list[bytes]:
        part = {"annotations": [], "text": "", "type": "output_text", "logprobs": []}
        return [
            self._event("response.output_item.added", {"item": self._message(None), "output_index": 0}),
            self._event(
                "response.content_part.added",
                {"content_index": 0, "item_id": self._item, "output_index": 0, "part": part},
            ),
        ]

    def delta(self, choice: Choice, tokens: list[int], text: bytes, *, last: bool) -> list[bytes]:
        if text == b'""':
            return []
        piece = msgspec.json.decode(text, type=str)
        self._texts.append(piece)
        value = {"content_index": 0, "delta": piece, "item_id": self._item, "logprobs": [], "output_index": 0}
        return [self._event("response.output_text.delta", value)]

    def closing(self, choices: Sequence[Choice], timing: Timing) -> list[bytes]:
        text, choice = "".join(self._texts), choices[0]
        place = {"content_index": 0, "item_id": self._item, "output_index": 0}
        return [
            self._event("response.output_text.done", {**place, "logprobs": [], "text": text}),
            self._event("response.content_part.done", {**place, "part": _part(text)}),
            self._event("response.output_item.done", {"item": self._message(text), "output_index": 0}),
            self._event("response.completed", {"response": self._response(choice, "", text)}),
        ]

    def failure(self, refusal: Refusal) -> list[bytes]:
        return [
            self._event(
                "error", {"code": str(refusal.status), "message": refusal.message, "param": refusal.param}
            )
        ]

    def whole(self, choices: Sequence[Choice], timing: Timing) -> bytes:
        return to_json(self._response(choices[0], "", choices[0].text))

    def _event(self, kind: str, value: dict[str, Any]) -> bytes:
        """An event with its number; vLLM writes its fields in alphabetical order."""
        whole = {**value, "sequence_number": self._number, "type": kind}
        self._number += 1
        return _event(kind, dict(sorted(whole.items())))

    def _message(self, text: str | None) -> dict[str, Any]:
        return {
            "id": self._item,
            "content": [] if text is None else [_part(text)],
            "role": "assistant",
            "status": "in_progress" if text is None else "completed",
            "type": "message",
            "phase": None,
        }

    def _response(self, choice: Choice | None, status: str, text: str = "") -> dict[str, Any]:
        given, cut = self._ask.given, choice is not None and choice.finish_reason == "length"
        return {
            "id": self._face.ident,
            "created_at": self._face.created,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "instructions": given.get("instructions"),
            "metadata": given.get("metadata"),
            "model": self._ask.model,
            "object": "response",
            "output": [] if choice is None else [self._message(text)],
            "parallel_tool_calls": given.get("parallel_tool_calls", True),
            "temperature": float(given.get("temperature", 1.0)),
            "tool_choice": given.get("tool_choice", "none"),
            "tools": given.get("tools", []),
            "top_p": float(given.get("top_p", 1.0)),
            "background": given.get("background", False),
            "max_output_tokens": self._ask.max_tokens,
            "max_tool_calls": given.get("max_tool_calls"),
            "previous_response_id": given.get("previous_response_id"),
            "prompt": None,
            "reasoning": given.get("reasoning"),
            "service_tier": given.get("service_tier", "auto"),
            "status": status or ("incomplete" if cut else "completed"),
            "text": given.get("text"),
            "top_logprobs": None,
            "truncation": given.get("truncation", "disabled"),
            "usage": None if choice is None else _usage(choice),
            "user": given.get("user"),
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "input_messages": None,
            "output_messages": None,
        }


def _part(text: str) -> dict[str, Any]:
    return {"annotations": [], "text": text, "type": "output_text", "logprobs": None}


def _usage(choice: Choice) -> dict[str, Any]:
    return {
        "input_tokens": len(choice.prompt),
        "input_tokens_details": {
            "cached_tokens": choice.cached,
            "cache_write_tokens": 0,
            "input_tokens_per_turn": [],
            "cached_tokens_per_turn": [],
        },
        "output_tokens": len(choice.tokens),
        "output_tokens_details": {
            "reasoning_tokens": 0,
            "tool_output_tokens": 0,
            "output_tokens_per_turn": [],
            "tool_output_tokens_per_turn": [],
        },
        "total_tokens": len(choice.prompt) + len(choice.tokens),
    }
