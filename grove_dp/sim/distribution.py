"""A distribution in bounded memory: log-spaced cells, one per cent wide, in a dict of those met.

A replay of a week sees billions of token gaps; keeping them would cost 8 bytes each. A cell is found by one
logarithm (0.3 µs in Python), and any percentile is right to 0.5 %. Zero and below fall into the floor of 1
µs.
"""

from __future__ import annotations

import math
from typing import Any

__all__ = ["Distribution"]

_CELLS_PER_E = 100.0
_FLOOR = 1e-6
_FLOOR_CELL = round(math.log(_FLOOR) * _CELLS_PER_E)


class Distribution:
    """Values of one quantity (seconds): count, mean, extremes and percentiles."""

    __slots__ = ("_cells", "count", "largest", "smallest", "total")

    def __init__(self) -> None:
        self._cells: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.smallest = math.inf
        self.largest = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        cell = round(math.log(value) * _CELLS_PER_E) if value > _FLOOR else _FLOOR_CELL
        self._cells[cell] = self._cells.get(cell, 0) + 1
        self.count += 1
        self.total += value
        if value > self.largest:
            self.largest = value
        if value < self.smallest:
            self.smallest = value

    def merge(self, other: Distribution) -> None:
        """Count all of *other*'s values too."""
        for cell, count in other._cells.items():
            self._cells[cell] = self._cells.get(cell, 0) + count
        self.count += other.count
        self.total += other.total
        self.smallest = min(self.smallest, other.smallest)
        self.largest = max(self.largest, other.largest)

    def at(self, share: float) -> float:
        """The value that *share* (0..1) of all values do not exceed; 0 when there is none."""
        rank = max(1, math.ceil(share * self.count))
        for cell in sorted(self._cells):
            rank -= self._cells[cell]
            if rank <= 0:
                return min(max(math.exp(cell / _CELLS_PER_E), self.smallest), self.largest)
        return 0.0

    def within(self, value: float) -> int:
        """How many values do not exceed *value*, to a cell."""
        last = round(math.log(value) * _CELLS_PER_E) if value > _FLOOR else _FLOOR_CELL
        return sum(count for cell, count in self._cells.items() if cell <= last)

    def summary(self) -> dict[str, Any]:
        """p50, p95, p99, mean, max and count, ready for a report."""
        if not self.count:
            return {"count": 0}
        shares = {
            name: round(self.at(share), 6) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        }
        return {
            "count": self.count,
            **shares,
            "mean": round(self.total / self.count, 6),
            "max": round(self.largest, 6),
        }
