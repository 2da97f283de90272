"""The acts of the demo, and the table that sets the policies beside each other.

An act is one stretch of the trace played under one policy, with what came of it. Acts that are compared
play the same stretch in worlds that began alike: fresh workers with empty caches, a fresh frontend. They are
compared by what a user feels (the time to the first token) and by what explains it: the share of prompt
tokens that the workers found in their caches, as their own `usage` tells, not as the frontend predicted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grove_dp.sim.report import Report
from grove_dp.sim.world import Placements

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from grove_dp.sim.seen import Seen

__all__ = ["Act", "table"]

_SHARES = (0.5, 0.95, 0.99)


class Act:
    """One stretch of the trace under one policy."""

    def __init__(self, policy: str, begins_s: float, for_s: float) -> None:
        self.policy = policy
        self.begins_s = begins_s  # in the trace
        self.for_s = for_s
        self.report = Report()
        self.placements = Placements()
        self.waited = 0.0  # for a CPU, as a share of the time of each process
        self.seen: Seen | None = None  # by the frontend
        self.took_s = 0.0  # until the last answer; 0: not played to its end


def table(acts: Iterable[Act]) -> list[str]:
    """A row for each act under a head: hit rate, times, endings, and how its requests were placed."""
    head = [
        "policy",
        "cached",
        "ttft p50",
        "p95",
        "p99",
        "requests",
        "failed",
        "by tokens",
        "by text",
        "exact",
    ]
    rows = [head, *(_row(act) for act in acts)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [_line(row, widths) for row in rows]


def _row(act: Act) -> list[str]:
    report, placed = act.report, act.placements
    known = placed.by_tokens + placed.by_text
    return [
        act.policy,
        f"{report.hit_rate:.1%}",
        *(f"{report.ttft.at(share) * 1e3:,.0f} ms" for share in _SHARES),
        str(report.sent),
        str(report.failed + report.cut),
        _share(placed.by_tokens, known),
        _share(placed.by_text, known),
        _share(placed.exact, placed.judged),
    ]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    name, *values = (
        text.rjust(width) if place else text.ljust(width)
        for place, (text, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join(["", name, *values])
