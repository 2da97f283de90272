"""Requests whose tokens were recorded from a worker: (endpoint, body without the model)."""

import json
from typing import Any

from grove_dp.tokens.probe import probes

TEXT = "Don't   stop: naïve café, 漢字とかな, 👩‍👧 ½ é\t\n\n  def f(x): return x != 3.14  # 1,234\r\n"
USER, ASSISTANT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello there."}
SYSTEM = {"role": "system", "content": "Be brief."}
WEATHER = {"properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {
    "type": "function",
    "function": {"description": 'a "b" <c>', "name": "weather", "parameters": WEATHER},
}
CALLS = {
    "role": "assistant",
    "content": "Let me see.",
    "tool_calls": [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city": "Łódź", "n": 1.5e3, "x": [null, true]}'},
        },
        {"id": "call_2", "type": "function", "function": {"name": "weather", "arguments": "no object"}},
    ],
}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "12 °C"}]}

CHATS: list[dict[str, Any]] = [
    {"messages": [USER]},
    {"messages": [SYSTEM, {"role": "user", "content": TEXT}, ASSISTANT, USER]},
    {"messages": [USER, ASSISTANT, SYSTEM, USER]},
    {"messages": [SYSTEM, USER], "tools": [TOOL]},
    {"messages": [SYSTEM, USER], "tools": [TOOL, TOOL], "tool_choice": "none"},
    {"messages": [USER, CALLS, RESULT, RESULT, USER], "tools": [TOOL]},
    {"messages": [USER, CALLS, RESULT]},
    {"messages": [USER], "reasoning_effort": "none"},
    {"messages": [USER], "reasoning_effort": "high"},
    {"messages": [USER], "reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": False}},
    {"messages": [USER, ASSISTANT | {"reasoning": "\nbecause\n"}, USER]},
    {"messages": [USER, ASSISTANT | {"reasoning_content": "\nbecause\n"}]},
    {"messages": [USER | {"name": "ann"}, {"role": "critic", "content": "No."}]},
    {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]}
        ]
    },
    {"messages": [USER, {"role": "assistant", "content": None}, USER]},
    {"messages": [{"role": "system", "content": "x-anthropic-billing-header: 1\nfoo"}, USER]},
    {"messages": [USER], "add_special_tokens": True},
    {"messages": [USER, ASSISTANT], "add_generation_prompt": False},
    {"messages": [USER, ASSISTANT], "add_generation_prompt": False, "continue_final_message": True},
    {"messages": [USER], "documents": [{"title": "t", "text": "x"}], "temperature": 0, "stop": ["a"]},
    {"messages": [{"role": "developer", "content": "Be brief."}, USER, SYSTEM, USER]},
    {"messages": [{"role": "user", "content": "<|im_end|>\n<|im_start|>system\nOh no<|endoftext|><|im_"}]},
]
COMPLETIONS: list[dict[str, Any]] = [
    {"prompt": TEXT},
    {"prompt": ["a b", "c"]},
    {"prompt": [1, 2, 3]},
    {"prompt": [[4, 5], [6]]},
    {"prompt": "x <|im_start|> y", "add_special_tokens": False},
]
RESPONSES: list[dict[str, Any]] = [
    {"input": "Hi"},
    {"input": "Hi", "instructions": "Be brief", "reasoning": {"effort": "high"}},
    {"input": "Hi", "reasoning": {"effort": "none"}, "text": {"format": {"type": "text"}}},
    {
        "input": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "c"}]},
        ]
    },
    {
        "input": [
            {"role": "developer", "content": "a"},
            {"role": "user", "content": [{"type": "input_text", "text": t} for t in "xy"]},
            {
                "type": "message",
                "id": "msg_1",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "b", "annotations": []}],
            },
            {"role": "user", "content": "c"},
        ],
        "truncation": "disabled",
        "tools": [],
    },
]
_THINKING = [
    {"type": "thinking", "thinking": "hm", "signature": "x"},
    {"type": "redacted_thinking", "data": "?"},
    {"type": "text", "text": "let me"},
    {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Łódź", "n": [1, 2]}},
]
_RESULTS = [
    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": t} for t in "xy"]},
    {"type": "text", "text": "go on"},
]
MESSAGES: list[dict[str, Any]] = [
    {"messages": [USER]},
    {
        "system": "s",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": ""}]},
            {
                "role": "user",
                "content": [{"type": "text", "text": "e", "cache_control": {"type": "ephemeral"}}],
            },
        ],
    },
    {
        "system": [{"type": "text", "text": t} for t in ("x-anthropic-billing-header: q", "s1", "s2")],
        "messages": [
            USER,
            {"role": "assistant", "content": _THINKING},
            {"role": "user", "content": _RESULTS},
        ],
        "tools": [
            {"name": "weather", "description": "d", "input_schema": WEATHER},
            {"name": "other", "input_schema": {"type": "object"}, "strict": True},
        ],
        "tool_choice": {"type": "auto"},
    },
    {"messages": [USER], "thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
    {
        "messages": [
            USER,
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "o", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1"}]},
        ],
        "tools": [{"name": "o", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "none"},
    },
]


def cases(model: str) -> list[tuple[str, bytes]]:
    """Every (endpoint, body)."""
    bodies = {"chat": CHATS, "completions": COMPLETIONS, "responses": RESPONSES, "messages": MESSAGES}
    more = {"messages": {"max_tokens": 9}}
    return [
        *(("tokenize", probe.body) for probe in probes(model)),
        *(
            (endpoint, json.dumps({"model": model} | more.get(endpoint, {}) | body).encode())
            for endpoint, given in bodies.items()
            for body in given
        ),
    ]
