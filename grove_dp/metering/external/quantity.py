"""Numbers as Kubernetes writes them: a Quantity is a string of an integer, or of thousandths with an `m`.

    3.0 -> "3"      1.5 -> "1500m"      0.0004 -> "1m"

A fraction of a thousandth is rounded away from zero, as Kubernetes itself does, so that a little work is
never none. Noise of binary fractions (0.1 + 0.2) is taken out before: a billionth is not work.
"""

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, ROUND_UP, Decimal
from functools import lru_cache
from math import ceil, floor, isfinite
from typing import Final

__all__ = ["quantity", "timestamp"]

MILLI_MAX: Final = 2**63 - 1  # what sums them up counts thousandths in an int64
EXACT_MAX: Final = 1e6
NOISE: Final = Decimal("1e-9")
NOISE_MILLI: Final = 5e-7


def quantity(value: float) -> str:
    """*value* as a Quantity. ValueError if none can say it."""
    if not isfinite(value):
        raise ValueError(f"{value} is no number that a Quantity can say")
    if abs(value) < EXACT_MAX:  # PERF: 0.6 µs instead of 4; a double has digits enough here
        nearest = round(value * 1000)
        away = nearest if abs(value * 1000 - nearest) < NOISE_MILLI else _away(value * 1000)
        return _text(away)
    exact = Decimal(repr(float(value)))
    if abs(exact) * 1000 > MILLI_MAX:
        raise ValueError(f"{value} is too large for a Quantity")
    return _text(int((exact.quantize(NOISE, ROUND_HALF_EVEN) * 1000).to_integral_value(ROUND_UP)))


def _away(milli: float) -> int:
    return ceil(milli) if milli > 0 else floor(milli)


def _text(milli: int) -> str:
    return f"{milli}m" if milli % 1000 else str(milli // 1000)


def timestamp(wall_s: float) -> str:
    """RFC 3339 in whole seconds, UTC, of seconds since 1970."""
    return _second(int(wall_s))


@lru_cache(maxsize=64)  # the samples of a picture are of a few seconds
def _second(wall_s: int) -> str:
    return datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
