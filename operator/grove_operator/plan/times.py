"""Durations as Go writes them, moments as the API does, both in seconds."""

import re
from datetime import datetime
from functools import lru_cache
from typing import Final

__all__ = ["duration_s", "moment_s"]

DURATION_MAX_S: Final = (2**63 - 1) / 1e9  # what Go counts, in nanoseconds
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}


@lru_cache(maxsize=1024)  # PERF: a set's delay is asked for at each look at each of its cliques
def duration_s(text: str) -> float | None:
    """Go's notation (`4h`, `1h30m`, `1.5s`) in seconds; None if it is none."""
    sign = -1.0 if text.startswith("-") else 1.0
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0.0
    if not rest or not re.fullmatch(rf"(?:{_PART.pattern})+", rest):
        return None
    total = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(rest))
    return sign * total if total <= DURATION_MAX_S else None


def moment_s(text: str | None) -> float | None:
    """An RFC 3339 time in seconds since 1970; None if it is none."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None else None
