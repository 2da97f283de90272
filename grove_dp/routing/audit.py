"""Do workers find in their caches what we said they would? A window over their books. Pure.

Each book counts cached tokens as predicted when a request was placed and as the worker reported them. Over
the last WINDOW_S the ratio realised / predicted of a worker should be 1. Under ALARM_RATIO something is wrong
that no error told: its events are lost or of another worker, its tokens are not ours, its cache is reset.
A worker that reports no cached tokens is not auditable, which is not the same as 0.

    judge(now, {"w1": total, ...})  ->  {"w1": Standing(ratio=0.31, alarm=True, ...), ...}
"""

from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple

__all__ = ["ALARM_RATIO", "Auditor", "Standing", "Total"]

WINDOW_S: Final = 60.0
ALARM_RATIO: Final = 0.9
JUDGED_MIN: Final = 20  # requests in the window, and
PREDICTED_MIN: Final = 2_000  # tokens predicted, before the ratio means something


class Total(NamedTuple):
    """Counts of one worker since its slot was taken."""

    judged: int
    predicted: int  # tokens
    realised: int
    not_auditable: int


class Standing(NamedTuple):
    """One worker over the window."""

    judged: int
    ratio: float | None  # realised / predicted; None: too little to tell
    auditable: bool | None  # None: no request to tell by
    alarm: bool


class Auditor:
    """Keeps the totals of the last WINDOW_S; call `judge` every few seconds."""

    def __init__(self) -> None:
        self._past: dict[str, deque[tuple[float, Total]]] = {}

    def judge(self, now_s: float, totals: Mapping[str, Total]) -> dict[str, Standing]:
        """*totals* of every worker that is there now, by id."""
        self._past = {worker: past for worker, past in self._past.items() if worker in totals}
        return {worker: self._standing(worker, now_s, total) for worker, total in totals.items()}

    def _standing(self, worker: str, now_s: float, total: Total) -> Standing:
        past = self._past.setdefault(worker, deque([(now_s, Total(0, 0, 0, 0))]))
        if past[-1][1].judged > total.judged:  # its slot was taken anew
            past.clear()
            past.append((now_s, Total(0, 0, 0, 0)))
        past.append((now_s, total))
        while len(past) > 2 and past[1][0] <= now_s - WINDOW_S:
            past.popleft()
        before = past[0][1]
        judged, silent = total.judged - before.judged, total.not_auditable - before.not_auditable
        predicted, realised = total.predicted - before.predicted, total.realised - before.realised
        known = judged >= JUDGED_MIN and predicted >= PREDICTED_MIN
        ratio = realised / predicted if known else None
        auditable = judged > silent if judged + silent else None
        return Standing(judged, ratio, auditable, ratio is not None and ratio < ALARM_RATIO)
