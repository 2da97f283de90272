"""Requests in other APIs' words, as the chats that the worker makes of them.

/v1/responses with text, in its plain forms: no tools, nothing that the server keeps. /v1/messages with text,
thinking, tool calls and their results: what agents send. Both as vLLM 0.32 converts them; what is not here
(images, items of hosted tools, system messages in the middle, ...) refuses the request.
"""

import json
from typing import Any, NamedTuple

import msgspec

from grove_dp.tokens.messages import ToolList
from grove_dp.tokens.parsed import ParsedMessages
from grove_dp.tokens.requests import Body, as_type
from grove_dp.tokens.template import ChatOptions
from grove_dp.tokens.unsupported import Unsupported

__all__ = ["Chat", "chat_of_messages", "chat_of_responses"]

# A line that one client puts in front of its system prompt, other in each request; the worker drops it.
_BILLING_HEADER = "x-anthropic-billing-header"


class Chat(NamedTuple):
    messages: list[dict[str, Any]]
    options: ChatOptions


class _Reasoning(msgspec.Struct):
    effort: str | None = None


class _Item(msgspec.Struct):
    """One item of /v1/responses' input."""

    role: str
    content: str | list[dict[str, Any]]
    type: str = "message"
    status: str | None = None


class _Block(msgspec.Struct):
    """One content block of /v1/messages."""

    type: str
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: str | list[dict[str, Any]] | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Block]


class _Tool(msgspec.Struct):
    name: str
    input_schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None
    defer_loading: bool | None = None


def chat_of_responses(body: Body) -> Chat:
    body.refuse(b"prompt", b"previous_response_id", b"previous_input_messages", b"conversation")
    if body.has(b"tools") and body.value(b"tools") != b"[]":
        raise Unsupported("Field", "tools")
    if body.parsed(b"truncation", str) not in (None, "disabled"):
        raise Unsupported("Field", "truncation")
    instructions = body.parsed(b"instructions", str)
    messages = [{"role": "system", "content": instructions}] if instructions else []
    raw = body.value(b"input")
    if raw[:1] == b'"':
        messages.append({"role": "user", "content": as_type(raw, str)})
    else:
        messages += [_message_of(item) for item in as_type(raw, list[_Item])]
    reasoning = body.parsed(b"reasoning", _Reasoning)
    return Chat(
        messages,
        ChatOptions(
            reasoning_effort=reasoning.effort if reasoning else None,
            chat_template_kwargs=body.parsed(b"chat_template_kwargs", dict),
        ),
    )


def _message_of(item: _Item) -> dict[str, Any]:
    if item.type != "message" or item.status not in (None, "completed"):
        raise Unsupported("Field", f"input item {item.type!r}, {item.status or 'no status'}")
    content: Any = item.content
    if item.role == "assistant" and isinstance(content, list):
        # The worker looks at the first part only.
        if len(content) != 1 or not isinstance(text := content[0].get("text"), str):
            raise Unsupported("MessageShape", "an assistant's message that is not one text")
        content = text
    return {"role": item.role, "content": content}


def chat_of_messages(body: Body, parsed: ParsedMessages) -> Chat:
    if body.has(b"thinking") and b'"disabled"' in body.value(b"thinking"):
        raise Unsupported("Field", "thinking disabled")  # how depends on a probe that the worker makes
    messages = _system(body)
    for message in body.parsed(b"messages", list[_Message]) or []:
        messages += _messages_of(message)
    tools = body.tools(parsed, _tools, kind=1)
    return Chat(
        messages,
        ChatOptions(
            tools=tools,
            tool_choice=_tool_choice(body, tools),
            reasoning_effort=_effort(body),
            chat_template_kwargs=body.parsed(b"chat_template_kwargs", dict),
        ),
    )


def _system(body: Body) -> list[dict[str, Any]]:
    raw = body.value(b"system")
    if raw[:1] == b"[":
        blocks = [block for block in as_type(raw, list[_Block]) if block.type == "text" and block.text]
        texts = [block.text or "" for block in blocks]
        text = "".join(text for text in texts if not text.startswith(_BILLING_HEADER))
    else:
        text = body.parsed(b"system", str) or ""
    return [{"role": "system", "content": text}] if text else []


def _messages_of(message: _Message) -> list[dict[str, Any]]:
    """One message of the client: the results of tools it holds, each a message, then the rest of it."""
    if message.role not in ("user", "assistant"):
        raise Unsupported("MessageShape", f"a message of role {message.role!r} among the messages")
    if isinstance(message.content, str):
        return [{"role": message.role, "content": message.content}]
    blocks = message.content
    kinds = {"text", "thinking", "redacted_thinking", "tool_use"} | (
        {"tool_result"} if message.role == "user" else set()
    )
    if strange := {block.type for block in blocks} - kinds:
        raise Unsupported("Multimodal", f"a content block of type {min(strange)!r}")
    made = [_tool_result(block) for block in blocks if block.type == "tool_result"]
    texts = [block.text for block in blocks if block.type == "text" and block.text]
    thoughts = [block.thinking for block in blocks if block.type == "thinking" and block.thinking is not None]
    calls = [_tool_call(block) for block in blocks if block.type == "tool_use"]
    rest: dict[str, Any] = {"role": message.role}
    if thoughts:
        rest["reasoning"] = "".join(thoughts)
    if calls:
        rest["tool_calls"] = calls
    if texts:
        parts = [{"type": "text", "text": text} for text in texts]
        rest["content"] = texts[0] if len(texts) == 1 else parts
    return [*made, rest] if texts or message.role == "assistant" else made


def _tool_call(block: _Block) -> dict[str, Any]:
    if not block.id:
        raise Unsupported("MessageShape", "a tool call without an id")  # the worker takes the time for one
    arguments = json.dumps(block.input or {})
    return {
        "id": block.id,
        "type": "function",
        "function": {"name": block.name or "", "arguments": arguments},
    }


def _tool_result(block: _Block) -> dict[str, Any]:
    content = block.content
    if isinstance(content, list):
        texts = [part.get("text", "") for part in content if part.get("type") == "text"]
        if len(texts) != len(content) or not all(isinstance(text, str) for text in texts):
            raise Unsupported("Multimodal", "a tool's result that is not text")
        content = "\n".join(texts)
    return {"role": "tool", "tool_call_id": block.tool_use_id or "", "content": content or ""}


def _tools(raw: bytes) -> ToolList:
    return ToolList(_tool(tool) for tool in msgspec.json.decode(raw, type=list[_Tool]))


def _tool(tool: _Tool) -> dict[str, Any]:
    schema = tool.input_schema
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": schema if "type" in schema else schema | {"type": "object"},
        "strict": tool.strict,
        "defer_loading": tool.defer_loading,
    }
    return {"type": "function", "function": function}


def _tool_choice(body: Body, tools: ToolList | None) -> Any:
    choice = body.parsed(b"tool_choice", dict)
    if choice is None:
        return None if tools is None else "auto"
    return "none" if choice.get("type") == "none" else choice


def _effort(body: Body) -> str | None:
    config = body.parsed(b"output_config", _Reasoning)
    return config.effort if config else None
