"""What a request's bytes say about its prompt.

The body is split, not parsed: `Body` knows where each top-level field stands. A chat's messages stay bytes
until somebody needs them (step.py asks the memo first), and only new ones are parsed. /v1/responses and
/v1/messages become the chat that the worker would make of them (dialects.py).

A field that changes the prompt in a way that is not computed here refuses the request (`Unsupported`), and so
does a body that the worker will refuse: what its prompt would be is no question then.
"""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np

from grove_dp.native import spans
from grove_dp.tokens.messages import ToolList
from grove_dp.tokens.parsed import ParsedMessages
from grove_dp.tokens.template import ChatOptions
from grove_dp.tokens.tokenizer import Ids
from grove_dp.tokens.unsupported import Unsupported

__all__ = ["Body", "as_type", "completion_prompt"]

# Fields that change the prompt in ways that only the worker knows.
_REFUSED = frozenset(
    (b"chat_template", b"mm_processor_kwargs", b"prompt_embeds", b"suffix", b"truncate_prompt_tokens")
)
# Corners of requests in which workers differ: a field, and what stands in it where it is used.
_FEATURES = {
    "tools": (b"tools", b""),
    "tool_calls": (b"messages", b'"tool_'),  # tool_calls, tool_use, tool_result
    "reasoning": (b"messages", b'"reasoning'),
    "template_kwargs": (b"chat_template_kwargs", b""),
    "no_generation_prompt": (b"add_generation_prompt", b"false"),
    "continued": (b"continue_final_message", b"true"),
    "developer": (b"messages", b'"developer"'),
    "cache_salt": (b"cache_salt", b""),  # told by no event of older workers (kvsources.left_out)
}
_SALT_MAX = 1024
_PARSED_WHOLE = 16 << 10  # bytes of messages: parsing them takes as long as finding out which are known

_TokenId = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
_T = TypeVar("_T")


class Body:
    """A request's JSON object, split."""

    def __init__(self, raw: bytes, secret: int = 0) -> None:
        """*secret* seeds the keys of messages."""
        found = spans.fields(raw)
        if found is None or any(b"\\" in name for name in found):
            raise Unsupported("BodyShape", "not a plain JSON object")
        self.raw = raw
        self._fields, self._secret = found, secret
        self._turns: tuple[list[tuple[int, int]], list[int]] | None = None
        if not _REFUSED.isdisjoint(found):
            self.refuse(*_REFUSED)
        if b"kv_transfer_params" in found and b"prompt_token_ids" in self.value(b"kv_transfer_params"):
            raise Unsupported("Field", "kv_transfer_params.prompt_token_ids")

    def refuse(self, *names: bytes) -> None:
        """Refuse the request if it has one of these fields."""
        for name in names:
            if self.has(name):
                raise Unsupported("Field", name.decode())

    def refuse_features(self, features: Iterable[str]) -> None:
        """Refuse the request if it uses one of these corners."""
        for feature in features:
            field, sign = _FEATURES[feature]
            if self.has(field) and sign in self.value(field):
                raise Unsupported("WorkerDiffers", f"in what it makes of {feature}")

    def has(self, name: bytes) -> bool:
        """Whether the field is there and not null."""
        return name in self._fields and self.value(name) != b"null"

    def value(self, name: bytes) -> bytes:
        """The field as sent; "null" when it is absent."""
        if (place := self._fields.get(name)) is None:
            return b"null"
        return self.raw[place[0] : place[1]]

    def parsed(self, name: bytes, kind: type[_T]) -> _T | None:
        """The field, which must be a *kind* or null."""
        if name not in self._fields or (raw := self.value(name)) == b"null":
            return None
        return as_type(raw, kind)

    def flag(self, name: bytes, *, default: bool) -> bool:
        found = self.parsed(name, bool)
        return default if found is None else found

    def salt(self) -> str:
        """The prefix cache's salt; "" for none."""
        salt = self.parsed(b"cache_salt", str)
        if salt is None:
            return ""
        if not 1 <= len(salt) <= _SALT_MAX:
            raise Unsupported("BodyShape", "cache_salt is empty or too long")
        return salt

    def turns(self) -> tuple[list[tuple[int, int]], list[int]]:
        """Where the messages stand, and a key for each that chains over those before."""
        if self._turns is None:
            start, end = self._fields.get(b"messages", (0, 0))
            self._turns = spans.items(self.raw, start, end, self._secret)
            if self._turns is None:
                raise Unsupported("BodyShape", "messages is no list, or too long")
        return self._turns

    def messages(self, parsed: ParsedMessages) -> list[Any]:
        """The messages, some of which may be known; not to be changed."""
        start, end = self._fields.get(b"messages", (0, 0))
        if end - start <= _PARSED_WHOLE:
            return as_type(self.value(b"messages"), list)
        try:
            return parsed.of(self.raw, *self.turns())
        except (msgspec.DecodeError, RecursionError) as error:
            raise Unsupported("BodyShape", str(error)) from error

    def tools(self, parsed: ParsedMessages, make: Callable[[bytes], Any], kind: int = 0) -> Any:
        """The tools, made now or before; not to be changed. *kind* tells one *make* from another."""
        if not self.has(b"tools"):
            return None
        place = self._fields[b"tools"]
        key = spans.key64(memoryview(self.raw)[place[0] : place[1]], self._secret ^ (kind + 1) << 32)
        try:
            return parsed.of(self.raw, [place], [key], make)[0]
        except (msgspec.DecodeError, RecursionError) as error:
            raise Unsupported("BodyShape", str(error)) from error

    def options(self, parsed: ParsedMessages) -> ChatOptions:
        """All that a chat completion says about its prompt besides the messages."""
        return ChatOptions(
            tools=self.tools(parsed, _tool_list),
            tool_choice=self.parsed(b"tool_choice", object),
            documents=self.parsed(b"documents", object),
            reasoning_effort=self.parsed(b"reasoning_effort", str),
            chat_template_kwargs=self.parsed(b"chat_template_kwargs", dict),
            add_generation_prompt=self.flag(b"add_generation_prompt", default=True),
            continue_final_message=self.flag(b"continue_final_message", default=False),
        )


def _tool_list(raw: bytes) -> Any:
    found = msgspec.json.decode(raw)
    return ToolList(found) if isinstance(found, list) else found


def as_type(raw: bytes, kind: type[_T]) -> _T:
    """JSON as a *kind*, or the request is refused."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unsupported("BodyShape", str(error)) from error


def completion_prompt(body: Body) -> str | Ids:
    """The first prompt of a completion: text, or token ids as they were sent."""
    raw = body.value(b"prompt")
    if raw[:1] == b"[":
        parts = spans.items(raw, 0, len(raw), 0)
        if not parts or not parts[0]:
            raise Unsupported("BodyShape", "an empty list of prompts")
        start, end = parts[0][0]
        if raw[start : start + 1] in (b'"', b"["):
            raw = raw[start:end]
    if raw[:1] == b'"':
        return as_type(raw, str)
    return np.array(as_type(raw, list[_TokenId]), np.uint32)
