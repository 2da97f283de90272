"""A load that comes and goes: conversations all the time, and many more for a while.

    rate           ____
                 /     |
               /       |          rises over `rise_s`, falls over `fall_s`
         ____/          |_______
         calm    busy      calm

Those of the rush are on the same applications (their system prompts are in the caches), but of other people:
nothing else of them is known. With the defaults a worker of the demo is good for 3 to 4 requests a second,
so one is enough for the calm, and the rush wants four or five. It rises slowly, since a decision needs to
have seen it and a worker has to start, and is over at once: workers that follow it are not idle for long.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final

import msgspec

from grove_dp.sim.conversations import Conversations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grove_dp.sim.trace import TraceRequest

__all__ = ["Tide"]

_APART: Final = 1 << 40  # between the block ids of the rush and those of the others


class Tide(msgspec.Struct, frozen=True):
    """When there is how much; the seconds of the parts, and the rates of requests in them."""

    calm_s: float = 5.0
    busy_s: float = 19.0
    after_s: float = 28.0
    rise_s: float = 12.0  # of what is busy
    fall_s: float = 3.0
    calm: Conversations = Conversations(rate=1.0, answer_tokens=32)
    rush: Conversations = Conversations(rate=14.0, answer_tokens=32, seed=1)

    @property
    def for_s(self) -> float:
        """All of it."""
        return self.calm_s + self.busy_s + self.after_s

    def phase(self, at_s: float) -> str:
        """What is on at a time."""
        if at_s >= self.for_s:
            return "over"
        return "rush" if 0 <= at_s - self.calm_s < self.busy_s else "calm"

    def requests(self) -> list[TraceRequest]:
        """What is asked, in the order of its times."""
        return sorted([*self.calm.requests(self.for_s), *self._rush()], key=lambda asked: asked.at_s)

    def _rush(self) -> Iterator[TraceRequest]:
        shared, rng = self.rush.applications * self.rush.system_blocks, Random(self.rush.seed)
        for asked in self.rush.requests(self.busy_s):
            if rng.random() > min(asked.at_s / self.rise_s, (self.busy_s - asked.at_s) / self.fall_s):
                continue  # not yet, or no more
            blocks = tuple(block if block < shared else block + _APART for block in asked.hash_ids)
            yield msgspec.structs.replace(asked, at_s=asked.at_s + self.calm_s, hash_ids=blocks)
