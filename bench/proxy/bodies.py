"""Request bodies for the load generator: chat requests that share prefixes the way chat traffic does.

A set is 8 system prompts (half of the length) × 8 conversations (the rest). The last user turn carries 16
'@', which the generator overwrites with a counter: every request is distinct, no cache of whole bodies helps.
"""

from __future__ import annotations

import random
import struct
from pathlib import Path

import msgspec

__all__ = ["BODIES", "BodySet", "chat_bodies", "write_bodies"]

MODEL = "m"
COUNTER = "@" * 16
FRAME = 330  # bytes of JSON around the conversation's text
WORDS = (
    "the of and to in is that it was for on are as with his they at be this from have or by one had "
    "not but what all were when we there can an your which their said if do will each about how up "
    "out them then she many some so these would other into has more her two like him see time could "
    "no make than first been its who now people model token cache prefix worker router request "
    "latency queue batch kernel attention layer tensor gradient throughput scheduler replica cluster "
    "node memory bandwidth budget deploy region tenant billing invoice report"
).split()


class BodySet(msgspec.Struct, frozen=True):
    """About *size* bytes each; *tokens* asked for; streamed or not."""

    size: int
    tokens: int
    stream: bool


BODIES = {
    "small": BodySet(300, 16, stream=False),
    "8k": BodySet(8 * 1024, 16, stream=False),
    "128k": BodySet(128 * 1024, 16, stream=False),
    "stream100": BodySet(300, 100, stream=True),
    "stream1000": BodySet(300, 1000, stream=True),
}


def _prose(rng: random.Random, n: int) -> str:
    parts: list[str] = []
    size = 0
    while size < n:
        sentence = " ".join(rng.choice(WORDS) for _ in range(rng.randint(6, 16))).capitalize() + ". "
        parts.append(sentence)
        size += len(sentence)
    return "".join(parts)[:n]


def _conversation(size: int, system: int, number: int) -> list[dict[str, str]]:
    prompt = _prose(random.Random(f"{system}"), max(20, size // 2 - 60))
    rng = random.Random(f"{system}-{number}")
    turns = [{"role": "system", "content": prompt}]
    left, turn_size = size - len(prompt) - FRAME, 600 if size < 20_000 else 4000
    while left > 0:
        role = "user" if len(turns) % 2 else "assistant"
        turns.append({"role": role, "content": _prose(rng, min(left, turn_size))})
        left -= turn_size + 34
    return [*turns, {"role": "user", "content": f"{COUNTER} {_prose(rng, 60)}"}]


def chat_bodies(of: BodySet) -> list[bytes]:
    """The 64 bodies of a set, in a fixed random order."""
    bodies = [
        msgspec.json.encode(
            {
                "model": MODEL,
                "messages": _conversation(of.size, system, number),
                "max_tokens": of.tokens,
                "temperature": 0.0,
                "stream": of.stream,
            }
        )
        for system in range(8)
        for number in range(8)
    ]
    random.Random(1).shuffle(bodies)
    return bodies


def write_bodies(folder: Path) -> None:
    """One file per set: each body after its length as a native 32-bit number."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, of in BODIES.items():
        path = folder / f"{name}.bin"
        if not path.exists():
            path.write_bytes(b"".join(struct.pack("=I", len(b)) + b for b in chat_bodies(of)))
