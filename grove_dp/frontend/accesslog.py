"""One log line per finished request, written by control from records that the I/O threads leave in a ring.

The ring holds 65,536 records; it is emptied each DRAIN_S, so lines may be lost only above 300,000 requests
per second, and then the counter records_lost tells how many. Off by default: a line costs about 20 us of
Python.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from grove_dp.clock import Clock
from grove_dp.native.plane import Plane

__all__ = ["AccessLog", "line"]

DRAIN_S: Final = 0.2
BATCH: Final = 1024

_log = logging.getLogger("grove_dp.access")


class AccessLog:
    """Moves records of the plane into the log."""

    def __init__(self, plane: Plane, names: Callable[[], Mapping[int, str]], clock: Clock) -> None:
        self._plane = plane
        self._names = names
        self._clock = clock

    async def run(self) -> None:
        """Write until cancelled, and what is left then."""
        try:
            while True:
                await self._clock.sleep(DRAIN_S)
                self.drain()
        finally:
            self.drain()

    def drain(self) -> None:
        """Write what there is."""
        while records := self._plane.records(BATCH):
            names = self._names()
            for record in records:
                _log.info("request", extra=line(record, names))
            if len(records) < BATCH:
                return


def line(record: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, Any]:
    """What one line tells, in its order; what did not happen is left out."""
    arrival = record["arrival_ns"]
    told: dict[str, Any] = {
        "id": record["id"],
        "endpoint": record["endpoint"],
        "model": record["model"],
        "status": record["status"],
        "reason": record["reason"],
        "worker": names.get(record["slot"], ""),
        "retries": record["retries"],
        "stream": record["stream"],
        "events": record["events"],
    }
    for name, stamp in (("first_ms", "first_ns"), ("total_ms", "end_ns")):
        if record[stamp]:
            told[name] = round((record[stamp] - arrival) / 1e6, 1)
    for name in ("prompt_tokens", "cached_tokens", "output_tokens"):
        if record[name] >= 0:
            told[name] = record[name]
    return {name: value for name, value in told.items() if value != ""}
