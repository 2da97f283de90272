"""Does the worker make the same tokens of a prompt as we do? Ask it, before believing it.

`probes` are bodies for the worker's POST /tokenize; `verdict` compares its answers with our ids. Who speaks
HTTP does the asking:

    asked = probes("qwen3")
    answers = [await post("/tokenize", probe.body) for probe in asked]    # "tokens", None where it refused
    found = verdict(reader, asked, answers)
    if found.exact:
        reader.without = found.without
    else:
        ...  # approximate; say found.reason and found.detail, loudly

Each probe is a way in which workers were seen to differ: releases in how they shape messages, models in their
templates, installations in their tokenizers and flags. Where only a corner differs, requests that use it are
refused by the reader (`without`), and the others stay exact. What the worker refuses is no difference: a
request like that will not run. Nor is what we refuse: a request like that is routed approximately.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from grove_dp.tokens.step import PromptReader
from grove_dp.tokens.unsupported import Unsupported

__all__ = ["Probe", "Verdict", "probes", "verdict"]

_TEXT = "Don't   stop: naïve café, 漢字とかな, 👩‍👧 ½ é\t\n\n  def f(x): return x != 3.14  # 1,234\r\n"
_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Łódź", "days": [1, 2]}'},
}
_TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": 'What "it" will be like <there> & then',
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "array", "items": {"type": "integer"}},
            },
            "required": ["city"],
        },
    },
}
_CALLS = {"role": "assistant", "content": None, "tool_calls": [_CALL]}
_RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "12 °C"}
_USER, _ASSISTANT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello there."}
_SYSTEM = {"role": "system", "content": "Be brief."}


class Probe(NamedTuple):
    """One question: a body for /tokenize. *feature*: what it asks about, "" for what all requests need."""

    name: str
    feature: str
    body: bytes


class Verdict(NamedTuple):
    """Whether our tokens are the worker's."""

    exact: bool
    reason: str  # one word: Equal, OtherTokens, OtherText, NoAnswer
    detail: str  # which probes differ, and where
    without: frozenset[str]  # features whose tokens differ, for PromptReader.without
    agreed: int  # probes with equal ids
    refused: tuple[str, ...]  # probes that we do not make, and why


def probes(model: str) -> list[Probe]:
    """What to ask a worker about *model*."""
    plain: dict[str, dict[str, Any]] = {
        "text": {"prompt": _TEXT},
        "text_without_special": {"prompt": _TEXT, "add_special_tokens": False},
        "user": {"messages": [{"role": "user", "content": _TEXT}]},
        "system_user": {"messages": [_SYSTEM, _USER]},
        "turns": {"messages": [_SYSTEM, _USER, _ASSISTANT, {"role": "user", "content": "  And then?\n"}]},
        "parts": {"messages": [{"role": "user", "content": [_part("one"), _part(" two ")]}]},
        "system_parts": {"messages": [{"role": "system", "content": [_part("a"), _part("b")]}, _USER]},
        "special_in_text": {"messages": [{"role": "user", "content": "<|im_end|><s></s><|eot_id|><think>"}]},
    }
    corners: dict[str, dict[str, Any]] = {
        "tools": {"messages": [_SYSTEM, _USER], "tools": [_TOOL]},
        "tool_calls": {"messages": [_USER, _CALLS, _RESULT], "tools": [_TOOL]},
        "reasoning": {"messages": [_USER, _ASSISTANT | {"reasoning_content": "A greeting."}, _USER]},
        "template_kwargs": {"messages": [_USER], "chat_template_kwargs": {"enable_thinking": False}},
        "no_generation_prompt": {"messages": [_USER, _ASSISTANT], "add_generation_prompt": False},
        "continued": {
            "messages": [_USER, _ASSISTANT],
            "add_generation_prompt": False,
            "continue_final_message": True,
        },
        "developer": {"messages": [{"role": "developer", "content": "Be brief."}, _USER]},
    }
    return [
        Probe(name, name if name in corners else "", msgspec.json.encode({"model": model} | asked))
        for name, asked in (plain | corners).items()
    ]


def verdict(reader: PromptReader, asked: Sequence[Probe], answers: Sequence[Sequence[int] | None]) -> Verdict:
    """Compare. *answers*: for each probe the worker's ids, or None where it refused."""
    agreed, reasons = 0, []
    refused: list[str] = []
    differ: dict[Probe, str] = {}
    for probe, told in zip(asked, answers, strict=True):
        if told is None:
            continue
        try:
            ours = reader.ids("tokenize", probe.body).tolist()
        except Unsupported as error:
            refused.append(f"{probe.name}: {error}")
            continue
        if ours == list(told):
            agreed += 1
        else:
            differ[probe] = _difference(probe.name, ours, told)
            reasons += [] if probe.feature else ["OtherTokens" if "text" in probe.name else "OtherText"]
    exact = agreed > 0 and not reasons
    return Verdict(
        exact,
        "Equal" if exact else reasons[0] if reasons else "NoAnswer",
        "; ".join(differ.values()),
        frozenset(probe.feature for probe in differ if probe.feature),
        agreed,
        tuple(refused),
    )


def _difference(name: str, ours: Sequence[int], theirs: Sequence[int]) -> str:
    pairs = zip(ours, theirs, strict=False)
    at = next((n for n, (one, other) in enumerate(pairs) if one != other), min(len(ours), len(theirs)))
    return f"{name}: {len(ours)} tokens, the worker has {len(theirs)}; other from token {at} on"


def _part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}
