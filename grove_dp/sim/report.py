"""What a replay found out: outcomes counted, times as distributions, all per worker and over time.

A `Report` is filled while requests end and may be read at any moment, so that an interrupted replay still
has one and a live view needs nothing else. Memory does not grow with the length of the replay:
distributions are cells, and the timeline halves its resolution whenever it has more than `SLOTS` slots.

`itl` is the gap between two events as they were read: tokens that arrive together have a gap of 0. `tpot`
is the mean per answer, which does not depend on how reads fall.

Three ways a request can end, kept apart everywhere:
    ok       whole answer
    cut      tokens had come, then a well-formed error: what a proxy owes when a worker dies under a stream
    failed   everything else: an error instead of tokens, a silent end, no connection, out of time
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from grove_dp.sim.distribution import Distribution

if TYPE_CHECKING:
    from grove_dp.sim.client import Outcome

__all__ = ["LATE_S", "SLOTS", "Report", "Slot", "WorkerShare"]

SLOTS = 600
LATE_S = 0.05  # a client later than this at its p99 has bent the trace


class Slot:
    """What happened in one stretch of the timeline."""

    __slots__ = ("cached_tokens", "cut", "failed", "ok", "output_tokens", "prompt_tokens", "sent", "ttft")

    def __init__(self) -> None:
        self.sent = self.ok = self.cut = self.failed = 0
        self.prompt_tokens = self.cached_tokens = self.output_tokens = 0
        self.ttft = Distribution()

    def merge(self, other: Slot) -> None:
        """Add *other*, the slot after this one."""
        self.sent += other.sent
        self.ok += other.ok
        self.cut += other.cut
        self.failed += other.failed
        self.prompt_tokens += other.prompt_tokens
        self.cached_tokens += other.cached_tokens
        self.output_tokens += other.output_tokens
        self.ttft.merge(other.ttft)


class WorkerShare:
    """The part of the requests that one worker answered, by the `x-grove-worker` header."""

    __slots__ = ("cached_tokens", "not_ok", "ok", "output_tokens", "prompt_tokens", "ttft")

    def __init__(self) -> None:
        self.ok = self.not_ok = self.prompt_tokens = self.cached_tokens = self.output_tokens = 0
        self.ttft = Distribution()


class Report:
    """Counts of one replay; times in seconds since its start."""

    def __init__(self) -> None:
        self.gaps = Distribution()
        self.ttft = Distribution()
        self.tpot = Distribution()
        self.e2e = Distribution()
        self.lateness = Distribution()
        self.reasons: Counter[str] = Counter()
        self.workers: dict[str, WorkerShare] = {}
        self.sent = self.ok = self.cut = self.failed = self.interrupted = 0
        self.prompt_tokens = self.cached_tokens = self.output_tokens = 0
        self.slot_s = 1.0
        self.slots: list[Slot] = []

    @property
    def in_flight(self) -> int:
        """Sent and not ended."""
        return self.sent - self.ok - self.cut - self.failed - self.interrupted

    @property
    def hit_rate(self) -> float:
        """Prompt tokens that the workers found in their caches, as a share of all that were answered."""
        return self.cached_tokens / max(self.prompt_tokens, 1)

    def record_sent(self, at_s: float, late_s: float) -> None:
        """A request goes out, *late_s* after its time."""
        self.sent += 1
        self.lateness.add(max(0.0, late_s))
        self._slot(at_s).sent += 1

    def record_outcome(self, at_s: float, outcome: Outcome) -> None:
        """A request has ended."""
        slot = self._slot(at_s)
        share = self.workers.setdefault(outcome.worker, WorkerShare()) if outcome.worker else WorkerShare()
        if outcome.reason:
            self.reasons[outcome.reason] += 1
            self.cut += outcome.cut
            self.failed += outcome.failed
            slot.cut += outcome.cut
            slot.failed += outcome.failed
            share.not_ok += 1
            return
        self.ok += 1
        slot.ok += 1
        share.ok += 1
        self.e2e.add(outcome.e2e_s)
        if outcome.tpot_s is not None:
            self.tpot.add(outcome.tpot_s)
        for part in (self, share, slot):
            part.prompt_tokens += outcome.prompt_tokens
            part.cached_tokens += outcome.cached_tokens
            part.output_tokens += outcome.output_tokens
        if outcome.ttft_s is not None:
            for times in (self.ttft, share.ttft, slot.ttft):
                times.add(outcome.ttft_s)

    def _slot(self, at_s: float) -> Slot:
        place = int(at_s / self.slot_s)
        while place >= SLOTS:
            for left, right in zip(self.slots[::2], self.slots[1::2], strict=False):
                left.merge(right)
            self.slots = self.slots[::2]
            self.slot_s *= 2
            place = int(at_s / self.slot_s)
        while len(self.slots) <= place:
            self.slots.append(Slot())
        return self.slots[place]

    def warnings(self, cpu_share: float = 0.0) -> list[str]:
        """Where the client itself, not the server, shaped the numbers."""
        late_s = self.lateness.at(0.99)
        found = []
        if late_s > LATE_S:
            found.append(
                f"the client was the bottleneck: p99 of its sendings was {late_s * 1e3:.0f} ms late; "
                "lower --speed, or replay from several processes"
            )
        if cpu_share > 0.8:
            found.append(f"the client used {cpu_share:.0%} of a core; its times include its own waiting")
        return found

    def as_dict(self, wall_s: float, cpu_s: float = 0.0) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        span = max(wall_s, 1e-9)
        return {
            "wall_s": round(wall_s, 3),
            "requests": {
                "sent": self.sent,
                "ok": self.ok,
                "failed": self.failed,
                "cut": self.cut,
                "interrupted": self.interrupted,
                "per_s": round(self.sent / span, 3),
            },
            "ttft_s": self.ttft.summary(),
            "itl_s": self.gaps.summary(),
            "tpot_s": self.tpot.summary(),
            "e2e_s": self.e2e.summary(),
            "tokens": {
                "prompt": self.prompt_tokens,
                "cached": self.cached_tokens,
                "output": self.output_tokens,
                "prompt_per_s": round(self.prompt_tokens / span, 1),
                "output_per_s": round(self.output_tokens / span, 1),
            },
            "errors": dict(self.reasons.most_common()),
            "workers": {name: _share(self.workers[name]) for name in sorted(self.workers)},
            "client": {
                "lateness_s": self.lateness.summary(),
                "cpu_share": round(cpu_s / span, 3),
                "warnings": self.warnings(cpu_s / span),
            },
        }


def _share(share: WorkerShare) -> dict[str, Any]:
    return {
        "ok": share.ok,
        "not_ok": share.not_ok,
        "prompt_tokens": share.prompt_tokens,
        "cached_tokens": share.cached_tokens,
        "output_tokens": share.output_tokens,
        "ttft_s": share.ttft.summary(),
    }
