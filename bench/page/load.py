"""Requests that come by chance at a rate that changes, as conversations that grow: prefixes come again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

from grove_dp.testing.frontend import Frontend

__all__ = ["Phase", "Seen", "arrivals", "drive"]

WORDS = "time way year work thing man world life day part place case week company system program".split()
TALKS = 24
TALK_MAX = 2000  # characters, then another begins


class Phase(NamedTuple):
    """So many requests a second for so long."""

    rate: float
    seconds: float


class Seen(NamedTuple):
    """A request as its client saw it."""

    at_s: float
    ttft_s: float
    status: int


def arrivals(phases: Sequence[Phase], rng: Random) -> Iterator[float]:
    """When requests come, from 0 on."""
    begin = 0.0
    for phase in phases:
        at = begin + rng.expovariate(phase.rate)
        while at < begin + phase.seconds:
            yield at
            at += rng.expovariate(phase.rate)
        begin += phase.seconds


async def drive(frontend: Frontend, phases: Sequence[Phase], rng: Random) -> list[Seen]:
    """Send them all; what their clients saw, when the last has its answer."""
    talks = ["" for _ in range(TALKS)]
    begin, seen = time.monotonic(), list[Seen]()

    async def ask(call: bytes) -> None:
        sent = time.monotonic()
        async with await frontend.client() as client:
            client.patience_s = 60.0
            await client.send(call)
            head = await client.head()
            await client.until(b"\n\n")
            first = time.monotonic()
            await client.until(b"data: [DONE]")
        seen.append(Seen(sent - begin, first - sent, head.status))

    async with asyncio.TaskGroup() as group:
        for at in arrivals(phases, rng):
            await asyncio.sleep(max(0.0, begin + at - time.monotonic()))
            talk = rng.randrange(TALKS)
            more = " ".join(rng.choices(WORDS, k=rng.randint(10, 60)))
            talks[talk] = f"{talks[talk]} {more}" if len(talks[talk]) < TALK_MAX else more
            group.create_task(ask(_call(talks[talk], rng.randint(8, 48))))
    return seen


def _call(prompt: str, tokens: int) -> bytes:
    asked = {
        "model": "tiny-llama",
        "stream": True,
        "max_tokens": tokens,
        "ignore_eos": True,
        "messages": [{"role": "user", "content": prompt}],
    }
    body = json.dumps(asked).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
