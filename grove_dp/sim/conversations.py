"""Conversations on the prompts of a few applications: a load whose prefixes are worth finding again.

    system prompt of an application | first question, with a document | answer | question | answer | ...
    └ shared by its conversations     └ shared by the turns of one conversation

Conversations begin at random, some before the trace does, so that its rate is even from its first second.
Each turn asks with all that came before. With the defaults a prompt has 2,700 tokens on average; of those in
the first 18 s an unbounded cache would know 78 %. The conversations open at one time hold 80,000 tokens: more
than twice what one of the demo's workers can cache (32,000), less than all four together, which is where it
matters who is asked.
"""

from __future__ import annotations

from itertools import count, islice
from random import Random
from typing import TYPE_CHECKING

import msgspec

from grove_dp.sim.trace import TraceRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BLOCK_TOKENS", "Conversations"]

BLOCK_TOKENS = 64  # of an id of these traces


class Conversations(msgspec.Struct, frozen=True):
    """Their number and shape; lengths in blocks of 64 tokens."""

    rate: float = 16.0  # requests per second, of all conversations together
    turns: int = 8
    pause_s: float = 3.0  # between two turns, on average
    applications: int = 6
    system_blocks: int = 12
    opening_blocks: tuple[int, int] = (8, 32)
    question_blocks: tuple[int, int] = (1, 3)
    answer_tokens: int = 48
    seed: int = 0

    def requests(self, for_s: float) -> list[TraceRequest]:
        """What is asked in *for_s* seconds, in the order of its times."""
        rng, names = Random(self.seed), count()
        systems = [tuple(islice(names, self.system_blocks)) for _ in range(self.applications)]
        popularity = [1 / (place + 1) for place in range(self.applications)]
        found: list[TraceRequest] = []
        begins_s = -self.turns * self.pause_s
        while begins_s < for_s:
            (system,) = rng.choices(systems, popularity)
            found += self._conversation(begins_s, system, names, rng)
            begins_s += rng.expovariate(self.rate / self.turns)
        return sorted((turn for turn in found if 0 <= turn.at_s < for_s), key=lambda turn: turn.at_s)

    def _conversation(
        self, begins_s: float, system: tuple[int, ...], names: Iterator[int], rng: Random
    ) -> Iterator[TraceRequest]:
        messages = [len(system), rng.randint(*self.opening_blocks)]
        asked = [*system, *islice(names, messages[1])]
        at_s = begins_s
        for _ in range(self.turns):
            tokens = len(asked) * BLOCK_TOKENS
            yield TraceRequest(at_s, tokens, self.answer_tokens, tuple(asked), tuple(messages))
            messages += [1, rng.randint(*self.question_blocks)]  # an answer, the next question
            asked += islice(names, sum(messages[-2:]))
            at_s += self.pause_s * rng.uniform(0.5, 1.5)
