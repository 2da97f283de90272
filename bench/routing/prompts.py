"""The prompts of the frontend's rows: English prose, as chats hold it, and never the same prompt twice.

The prose is that of Python's own manual (pydoc_data), which every interpreter has: 0.5 MB, of which each
body is another cut. A body carries 16 '@', which the load generator overwrites with a counter: in its first
message, and nothing of the prompt was seen before; or in its last, and all before that is known.
"""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics
from typing import Literal

import msgspec

from bench.proxy.bodies import COUNTER

__all__ = ["MODEL", "PROMPTS", "Prompt", "bodies", "write_prompts"]

MODEL = "tiny-llama"
BODIES = 16  # of each prompt
STEP = 30_011  # characters between the cuts of two bodies

New = Literal["all", "last"]


class Prompt(msgspec.Struct, frozen=True):
    """Conversations of *size* bytes in *turns* messages, of which all is new or only the last."""

    size: int
    turns: int
    new: New = "all"
    last: int = 0  # bytes of the last message, when only that is new
    output: int = 4  # tokens of the answer
    stream: bool = False


PROMPTS = {
    "1k_tokens": Prompt(3_480, 1),  # 1,024 tokens of the simulator's vocabulary
    "1k_tokens_streamed": Prompt(3_480, 1, stream=True),
    "8k_unseen": Prompt(8 << 10, 3),
    "128k_unseen": Prompt(128 << 10, 16),
    "128k_known": Prompt(128 << 10, 17, new="last", last=2 << 10),
}


@cache
def prose() -> str:
    return "\n".join(topics[name] for name in sorted(topics))


def cut(at: int, size: int) -> str:
    text = prose()
    at %= len(text) - size
    return text[at : at + size]


def conversation(of: Prompt, number: int) -> list[dict[str, str]]:
    """The messages of one body, of.size bytes of text in all."""
    known = of.size - of.last
    each = known // (of.turns - bool(of.last))
    sizes = [each] * (known // each) + ([of.last] if of.last else [])
    text = cut(number * STEP, of.size)
    messages = []
    for place, size in enumerate(sizes):
        is_new = place == (0 if of.new == "all" else len(sizes) - 1)
        part, text = text[: size - len(COUNTER) * is_new], text[size:]
        role = "user" if (len(sizes) - place) % 2 else "assistant"
        messages.append({"role": role, "content": COUNTER * is_new + part})
    return messages


def bodies(of: Prompt) -> list[bytes]:
    """The bodies of one kind of prompt."""
    asked = {"model": MODEL, "max_tokens": of.output, "temperature": 0.0, "stream": of.stream}
    return [msgspec.json.encode(asked | {"messages": conversation(of, number)}) for number in range(BODIES)]


def write_prompts(folder: Path) -> None:
    """A file per kind for the load generator: each body after its length as a native 32-bit number."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, of in PROMPTS.items():
        packed = b"".join(struct.pack("=I", len(body)) + body for body in bodies(of))
        (folder / f"{name}.bin").write_bytes(packed)
