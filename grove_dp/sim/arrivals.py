"""Arrivals drawn from a rate curve, and lengths drawn from a distribution: what a rate trace leaves out.

A rate curve says how many requests a second came, and how uneven their gaps were (`cv`, the coefficient of
variation: 1 = Poisson, 2-3 is what ServeGen publishes). Unit-mean gamma gaps of that variation are laid along
the integral of the rate, so that the count follows the curve and the clumping follows `cv`:

    gap ~ Gamma(shape 1/cv², mean 1)      next arrival = where the integral has grown by `gap`

Thinning was the other way; it can only make Poisson arrivals. Drawing one, with its lengths, costs 4 µs; a
window in the middle of a curve starts there: the requests before it are never drawn.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

__all__ = ["Curve", "Lengths", "arrivals"]


class Curve(msgspec.Struct, frozen=True):
    """The request rate of one model over time; `cv` is the variation of its gaps."""

    name: str
    t: tuple[float, ...]
    rate: tuple[float, ...]
    cv: tuple[float, ...]

    @property
    def end_s(self) -> float:
        """The last rate holds as long as the one before it did."""
        return self.t[-1] + (self.t[-1] - self.t[-2] if len(self.t) > 1 else 600.0)


class Lengths(msgspec.Struct, frozen=True):
    """Prompt and answer lengths, lognormal by mean and variation; ServeGen's m-large has these means."""

    input_mean: float = 804.0
    output_mean: float = 169.0
    input_cv: float = 1.2
    output_cv: float = 1.0

    def draw(self, rng: Random) -> tuple[int, int]:
        """One pair of token counts, each at least 1."""
        return _lognormal(rng, self.input_mean, self.input_cv), _lognormal(
            rng, self.output_mean, self.output_cv
        )


def _lognormal(rng: Random, mean: float, cv: float) -> int:
    variance = math.log1p(cv * cv)
    return max(1, round(rng.lognormvariate(math.log(mean) - variance / 2, math.sqrt(variance))))


def arrivals(curve: Curve, rng: Random, *, from_s: float = 0.0, scale: float = 1.0) -> Iterator[float]:
    """The times of the requests from *from_s* to the end of the curve, its rates times *scale*."""
    place = max(0, bisect_right(curve.t, from_s) - 1)
    now = from_s
    left = _gap(rng, curve.cv[place]) * rng.random()  # the window opens inside a gap, not at its start
    while place < len(curve.t):
        until = curve.t[place + 1] if place + 1 < len(curve.t) else curve.end_s
        rate = curve.rate[place] * scale
        if left < rate * (until - now):
            now += left / rate
            yield now
            left = _gap(rng, curve.cv[place])
        else:
            left -= rate * (until - now)
            now, place = until, place + 1


def _gap(rng: Random, cv: float) -> float:
    if cv <= 0.0:
        return 1.0
    shape = 1.0 / (cv * cv)
    return rng.gammavariate(shape, 1.0 / shape)
