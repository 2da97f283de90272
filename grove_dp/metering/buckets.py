"""Histograms as buckets of schema 4, which add up over frontends: {bucket: how many}.

Bucket i holds what is in (2^((i-1)/16), 2^(i/16)], so whatever is said of its middle is right within 2.2 %.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

__all__ = ["Buckets", "added", "quantile"]

Buckets = Mapping[int, float]


def added(parts: Iterable[Buckets]) -> dict[int, float]:
    """All of *parts* together."""
    summed: defaultdict[int, float] = defaultdict(float)
    for part in parts:
        for bucket, count in part.items():
            summed[bucket] += count
    return dict(summed)


def quantile(parts: Iterable[Buckets], q: float) -> float:
    """The value at rank q of what *parts* hold together; 0 when that is nothing."""
    summed = added(parts)
    rank, seen = q * sum(summed.values()), 0.0
    for bucket in sorted(summed):
        seen += summed[bucket]
        if seen >= rank and seen > 0:
            return float(2 ** ((bucket - 0.5) / 16))
    return 0.0
