"""One log line per finished request, written by control from the records of the plane.

Off by default: a line costs about 20 us of Python.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from grove_dp.metering.records import RecordRing
from grove_dp.native.plane import ENDPOINTS, REASONS

__all__ = ["AccessLog", "line"]

_log = logging.getLogger("grove_dp.access")


class AccessLog:
    """Moves records of the ring into the log."""

    def __init__(self, ring: RecordRing, names: Callable[[], Mapping[int, str]]) -> None:
        self._ring = ring
        self._names = names
        self._next = ring.next_seq

    def write(self) -> None:
        """Write what came since the last time."""
        part = self._ring.since(self._next)
        self._next = part.next_seq
        if part.lost:
            _log.warning("requests are missing in this log", extra={"lost": part.lost})
        names = self._names()
        for record in part.records:
            _log.info("request", extra=line(record, names))


def line(record: np.void, names: Mapping[int, str]) -> dict[str, Any]:
    """What one line tells, in its order; what did not happen is left out."""
    fields: dict[str, Any] = dict(zip(record.dtype.names or (), record.item(), strict=True))
    arrival = fields["arrival_ns"]
    told: dict[str, Any] = {
        "id": fields["id"].decode("utf-8", "replace"),
        "endpoint": ENDPOINTS[fields["endpoint"]],
        "model": fields["model"].decode("utf-8", "replace"),
        "status": fields["status"],
        "reason": REASONS[fields["reason"]],
        "worker": names.get(fields["slot"], ""),
        "retries": fields["retries"],
        "stream": fields["stream"],
        "events": fields["events"],
    }
    for name, stamp in (("first_ms", "first_ns"), ("total_ms", "end_ns")):
        if fields[stamp]:
            told[name] = round((fields[stamp] - arrival) / 1e6, 1)
    for name in ("prompt_tokens", "cached_tokens", "output_tokens"):
        if fields[name] >= 0:
            told[name] = fields[name]
    return {name: value for name, value in told.items() if value != ""}
