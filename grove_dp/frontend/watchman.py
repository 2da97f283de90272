"""Looks at the predictions every few seconds, and says loudly when they stop coming true."""

import logging
from collections.abc import Callable
from typing import Final

from grove_dp.clock import Clock
from grove_dp.frontend.plane import DataPlane
from grove_dp.routing.audit import Auditor, Standing, Total

__all__ = ["Watchman"]

EVERY_S: Final = 5.0
WARM_RUN: Final = 20  # predictions right one after the other

_log = logging.getLogger(__name__)


class Watchman:
    """The audit of all workers."""

    def __init__(self, plane: DataPlane, warmed: Callable[[int], None], clock: Clock) -> None:
        """*warmed* is called with slots whose predictions all came true since the last look."""
        self._plane = plane
        self._warmed = warmed
        self._exact: dict[int, tuple[int, int]] = {}  # by slot: requests judged, and of those exact
        self._clock = clock
        self._auditor = Auditor()
        self.standings: dict[str, Standing] = {}

    async def run(self) -> None:
        """Judge until cancelled."""
        while True:
            self.look()
            await self._clock.sleep(EVERY_S)

    def _note_exact(self, slot: int, judged: int, agreed: int) -> None:
        """A run of WARM_RUN right predictions, and no wrong one among them, makes a cold worker warm."""
        before = self._exact.get(slot, (0, 0))
        wrong = (judged - agreed) - (before[0] - before[1])
        if judged < before[0] or wrong:
            self._exact[slot] = judged, agreed
        elif agreed - before[1] >= WARM_RUN:
            self._exact[slot] = judged, agreed
            self._warmed(slot)

    def look(self) -> None:
        """Judge now."""
        totals = {}
        for worker, book in self._plane.booked():
            told = book.by_tokens
            totals[worker.id] = Total(told.judged, told.predicted, told.realised, told.not_auditable)
            self._note_exact(worker.slot, told.judged, told.agreed)
        before, self.standings = self.standings, self._auditor.judge(self._clock.now(), totals)
        for worker_id, standing in self.standings.items():
            was = before.get(worker_id)
            if standing.alarm and not (was and was.alarm):
                facts = {
                    "worker": worker_id,
                    "ratio": round(standing.ratio or 0.0, 3),
                    "reason": "PredictionsFail",
                }
                _log.warning("the worker finds less in its cache than was predicted", extra=facts)
            elif was and was.alarm and not standing.alarm:
                _log.info("predictions come true again", extra={"worker": worker_id})
            if standing.auditable is False and not (was and was.auditable is False):
                facts = {"worker": worker_id, "reason": "NotAuditable"}
                _log.info(
                    "the worker does not report cached tokens; start vLLM with"
                    " --enable-prompt-tokens-details to have predictions checked",
                    extra=facts,
                )
