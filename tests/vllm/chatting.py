"""Conversations for real workers, asked through the frontend, with what was predicted and what came true."""

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec

from grove_dp.testing.frontend import Frontend
from grove_dp.testing.http import RawClient, post
from grove_dp.testing.vllm import CHAT, DONE

__all__ = ["Asked", "Chats", "Message", "ask", "heard", "words"]

Message = dict[str, Any]
WORDS = (
    "river stone lamp winter copper violin harbour meadow engine letter garden thunder paper return self "
    "def import raise value None path = ( ) naïve café 漢字 żółw 👩‍👧 3.14 <b> the of and is not in"
).split()
TURN_TOKENS = 24
LONG = 720  # tokens after which a conversation begins anew; the model takes 1,024
STILL_S = 0.08


def words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices(WORDS, k=count))


@dataclass(frozen=True)
class Asked:
    """One request: what the frontend said of it beforehand and the worker afterwards."""

    worker: str
    predicted: int | None  # cached tokens; None: the frontend did not say, or was not asked
    realised: int
    prompt: int
    ttft_s: float
    text: str

    @property
    def right(self) -> bool:
        return self.predicted == self.realised


async def ask(port: int, target: str = CHAT, *headers: str, **fields: Any) -> Asked:
    """Send it as a stream that ends with its usage; *port* of the frontend, or of a worker itself."""
    common = {"model": "tiny-llama", "max_tokens": TURN_TOKENS, "temperature": 0, "stream": True}
    body = msgspec.json.encode(common | {"stream_options": {"include_usage": True}} | fields)
    begun = time.perf_counter()
    async with await RawClient.open(port) as client:
        await client.send(post(target, body, "X-Grove-Expose: 1", *headers))
        head = await client.head()
        if head.status != 200:
            raise AssertionError(
                f"{head.status}: {b''.join([piece async for piece in client.pieces(head)])!r}"
            )
        first, events = 0.0, []
        async for event in client.events(head):
            first = first or time.perf_counter() - begun
            events.append(event)
    assert events[-1] == DONE, events[-1]
    told = [msgspec.json.decode(event.removeprefix(b"data: ")) for event in events[:-1]]
    usage = told[-1]["usage"]
    predicted = head.header("x-grove-cached-tokens")
    return Asked(
        worker=head.header("x-grove-worker") or "",
        predicted=None if predicted is None else int(predicted),
        realised=usage["prompt_tokens_details"]["cached_tokens"],
        prompt=usage["prompt_tokens"],
        ttft_s=first,
        text="".join(_said(choice) for one in told for choice in one["choices"]),
    )


def _said(choice: dict[str, Any]) -> str:
    return choice.get("text") or choice.get("delta", {}).get("content") or ""


async def heard(frontend: Frontend) -> None:
    """Until the workers' news have come: the numbers of their batches stand still. A batch leaves its worker
    within milliseconds of the answer, and the frontend reads it at once."""
    loop = asyncio.get_running_loop()
    last, since = await _numbers(frontend), loop.time()
    while loop.time() - since < STILL_S:
        await asyncio.sleep(0.02)
        now = await _numbers(frontend)
        if now != last:
            last, since = now, loop.time()


async def _numbers(frontend: Frontend) -> dict[str, int]:
    return {name: row["kv"]["events"]["seq"] for name, row in (await frontend.workers()).items()}


@dataclass
class Chats:
    """Conversations that go on in any order, turn by turn. Most share one of a few system prompts; one that
    has become long begins anew with other words."""

    rng: random.Random
    count: int
    systems: list[str] = field(init=False)
    seen: list[list[Message]] = field(default_factory=list)  # every prompt that was asked
    _open: dict[int, list[Message]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.systems = [words(self.rng, 60) for _ in range(4)]

    async def turn(self, port: int, *headers: str, place: int | None = None) -> Asked:
        """Go on with one of them: the worker's own words become part of the next prompt."""
        place = self.rng.randrange(self.count) if place is None else place
        messages = self._open.pop(place, None) or self._begun(place)
        messages.append({"role": "user", "content": words(self.rng, self.rng.randrange(8, 40))})
        self.seen.append(list(messages))
        asked = await ask(port, CHAT, *headers, messages=messages)
        if asked.prompt < LONG:
            self._open[place] = [*messages, {"role": "assistant", "content": asked.text}]
        return asked

    def _begun(self, place: int) -> list[Message]:
        system = place % (len(self.systems) + 1)
        if system == len(self.systems):
            return []
        return [{"role": "system", "content": self.systems[system]}]
