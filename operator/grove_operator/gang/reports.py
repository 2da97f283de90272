"""Saying why a gang waits, and whom it displaces: to its status, by an Event, and in a histogram."""

import logging
from typing import Final, Literal, Protocol

from grove_dp.kube.events import Recorder, Reference
from grove_operator.api import GANGS
from grove_operator.controllers.state import Boards
from grove_operator.gang.queue import Turn
from grove_operator.plan.picture import Waiting

__all__ = ["PREEMPTING", "Reports", "WaitMeter"]

log = logging.getLogger(__name__)

TOLD_S: Final = 5.0  # an Event tells of a gang that has waited so long
PREEMPTING: Final = "Preempting"


class WaitMeter(Protocol):
    """Who measures waiting."""

    def gang_waited(self, seconds: float) -> None:
        """A gang has been released."""
        ...


class Reports:
    """Of all gangs."""

    def __init__(self, boards: Boards, recorder: Recorder, meter: WaitMeter) -> None:
        self._boards = boards
        self._recorder = recorder
        self._meter = meter

    def tell(self, turn: Turn, waiting: Waiting | None, now: float) -> float | None:
        """Why it waits, or that it does not; returns when there will be more to say."""
        key, pins = turn.key, turn.pins
        due = None
        if waiting is None:
            if key in self._boards.waiting:
                self._meter.gang_waited(now - pins.since)
            pins.since, pins.told = now, ""
        elif now >= pins.since + TOLD_S and pins.told != waiting.reason:
            pins.told = waiting.reason
            self._record(turn, waiting.reason, waiting.message, "Warning")
        elif not pins.told:
            due = pins.since + TOLD_S
        self._boards.hold_back(*key, waiting)
        return due

    def preempts(self, turn: Turn, cost: str) -> None:
        """At whose cost it is let go."""
        log.info("gang %s: %s", turn.key, cost)
        turn.pins.told = PREEMPTING
        self._record(turn, PREEMPTING, cost, "Normal")

    def _record(self, turn: Turn, reason: str, message: str, kind: Literal["Normal", "Warning"]) -> None:
        about = Reference.to(GANGS, turn.gang.metadata)
        self._recorder.record(about, reason, message, action="Schedule", kind=kind)
