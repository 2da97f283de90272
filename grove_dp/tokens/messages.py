"""A request's messages and tools in the shape in which the worker gives them to a chat template.

What a client sends and what a template sees differ: content becomes a string or a list of parts, the
arguments of tool calls become objects, unknown fields are dropped, fields stand in the order of the worker's
own types (`tojson` shows it), `reasoning_content` is called `reasoning` and is given under both names. This
is vLLM 0.32's preprocessing; older releases differ in corners (probe.py has a case for each).

Anything but text raises `Unsupported`: the tokens of an image come from a processor that only the worker has.
What the worker would refuse is refused too; it will say why.
"""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from grove_dp.tokens.content import ContentFormat
from grove_dp.tokens.environment import Constant
from grove_dp.tokens.unsupported import Unsupported

__all__ = ["ToolList", "conversation", "developer_as_system", "tool_dicts"]

# Claude Code puts a line that changes with every request in front of its system prompt.
_BILLING_HEADER = "x-anthropic-billing-header"
_TEXT_PARTS = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
    "thinking": "thinking",
}


def conversation(messages: Sequence[Any], form: ContentFormat) -> list[dict[str, Any]]:
    """The messages as a template sees them."""
    return [_message(message, form) for message in messages]


def _message(message: Any, form: ContentFormat) -> dict[str, Any]:
    if form == "string" and type(message) is dict and len(message) == 2:  # PERF: most messages are like this
        role, text = message.get("role"), message.get("content")
        if type(text) is str and role in ("user", "assistant"):
            return {"role": role, "content": text}
    if not isinstance(message, dict) or not isinstance(role := message.get("role"), str):
        raise Unsupported("MessageShape", "a message is no object with a role")
    texts = _texts(role, message.get("content"))
    content: Any = "\n".join(texts)
    if form == "openai" and role != "tool":
        content = [{"type": "text", "text": text} for text in texts]
    shaped: dict[str, Any] = {"role": role, "content": content}
    if role == "assistant":
        _add_assistant_fields(shaped, message)
    elif role == "tool" and "tool_call_id" in message:
        shaped["tool_call_id"] = message["tool_call_id"]
    for field in ("name", "task"):
        if isinstance(value := message.get(field), str):
            shaped[field] = value
    if role == "developer":
        shaped["tools"] = message.get("tools")
    return shaped


def _texts(role: str, content: Any) -> list[str]:
    """The text of every part."""
    if isinstance(content, str):
        parts: list[Any] = [content]
    elif content is None:
        parts = []
    elif isinstance(content, list):
        parts = content
    else:
        raise Unsupported("MessageShape", "content is neither text nor a list")
    texts = [text for part in parts if (text := _part_text(part)) is not None]
    if role != "system":
        return texts
    return [kept for text in texts if (kept := _without_billing(text)) is not None]


def _part_text(part: Any) -> str | None:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or part.get("type") not in _TEXT_PARTS or part.get("uuid") is not None:
        kind = part.get("type") if isinstance(part, dict) else None
        raise Unsupported("Multimodal", f"a content part of type {kind!r} is no text")
    text = part.get(_TEXT_PARTS[part["type"]])
    if text is None and part["type"] in ("text", "refusal"):
        return None
    if not isinstance(text, str):
        raise Unsupported("MessageShape", "a text part without text")
    return text


def _without_billing(text: str) -> str | None:
    """None when nothing else is left; an empty text that had no header stays."""
    if not text.startswith(_BILLING_HEADER):
        return text
    return text.partition("\n")[2] or None


def _add_assistant_fields(shaped: dict[str, Any], message: dict[str, Any]) -> None:
    calls = message.get("tool_calls")
    if calls is not None:
        if not isinstance(calls, list):
            raise Unsupported("MessageShape", "tool_calls is no list")
        if calls:
            shaped["tool_calls"] = [_tool_call(call) for call in calls]
    reasoning = message.get("reasoning")
    if reasoning is None:
        reasoning = message.get("reasoning_content")
    if reasoning is not None:
        shaped["reasoning"] = shaped["reasoning_content"] = reasoning


def _tool_call(call: Any) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or call.get("type") != "function":
        raise Unsupported("MessageShape", "a tool call that is no function call")
    written, name, call_id = function.get("arguments"), function.get("name"), call.get("id")
    if not isinstance(written, str) or not isinstance(name, str) or not isinstance(call_id, str):
        raise Unsupported("MessageShape", "a tool call without id, name or arguments as text")
    return {"id": call_id, "function": {"arguments": _arguments(written), "name": name}, "type": "function"}


def _arguments(written: str) -> dict[str, Any]:
    """Arguments as an object; what is none becomes an empty one, so that the conversation can go on."""
    try:
        parsed = msgspec.json.decode(written)
    except msgspec.DecodeError:  # msgspec refuses NaN, lone surrogates and other things that json takes
        try:
            parsed = json.loads(written) if written else None
        except ValueError:
            parsed = None
    return parsed if isinstance(parsed, dict) else {}


class ToolList(list[Any]):
    """A request's tools, which nobody changes any more. What templates get of them stays with them."""

    shaped: list[dict[str, Any]] | None = None


def tool_dicts(tools: Any) -> list[dict[str, Any]] | None:
    """Tools with the fields, defaults and order of the worker's own types."""
    if tools is None:
        return None
    if not isinstance(tools, list):
        raise Unsupported("ToolShape", "tools is no list")
    if not isinstance(tools, ToolList):
        return [_tool(tool) for tool in tools]
    if tools.shaped is None:
        tools.shaped = [_tool(tool) for tool in tools]
    return tools.shaped


def _tool(tool: Any) -> dict[str, Any]:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or tool.get("type", "function") != "function":
        raise Unsupported("ToolShape", "a tool that is no function")
    if not isinstance(name := function.get("name"), str):
        raise Unsupported("ToolShape", "a function without a name")
    defer, inner = tool.get("defer_loading"), function.get("defer_loading")
    optional = {"strict": function.get("strict"), "defer_loading": defer if inner is None else inner}
    shaped = {
        "name": name,
        "description": function.get("description"),
        "parameters": function.get("parameters"),
        **{field: value for field, value in optional.items() if value is not None},
    }
    outer = {} if defer is None else {"defer_loading": defer}
    return Constant({"type": "function", "function": shaped, **outer})


def developer_as_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For a template that does not know `developer`: such messages become system messages, and all system
    messages one, the first."""
    renamed = [_as_system(message) if message["role"] == "developer" else message for message in messages]
    system = [message for message in renamed if message["role"] == "system"]
    if not system or (len(system) == 1 and renamed[0] is system[0]):
        return renamed
    texts = [_joined(message["content"]) for message in system]
    merged = {"role": "system", "content": "\n\n".join(text for text in texts if text)}
    return [merged, *(message for message in renamed if message["role"] != "system")]


def _as_system(message: dict[str, Any]) -> dict[str, Any]:
    return {
        field: "system" if field == "role" else value for field, value in message.items() if field != "tools"
    }


def _joined(content: str | list[dict[str, str]]) -> str:
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content)
