"""What each node says of one thing, as codes: a question is asked once for each value that occurs.

slot      0     1     2     3
value    a     a     -     b
code      0     0    -1     1
"""

from collections.abc import Callable, Hashable, Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Column", "Flags", "Ints"]

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]


class Column:
    """What each slot says of one thing."""

    def __init__(self, slots: int) -> None:
        self.codes: NDArray[np.int32] = np.full(slots, -1, np.int32)
        self.values: list[Hashable] = []
        self._index: dict[Hashable, int] = {}

    def code(self, value: Hashable) -> int:
        """Of *value*; -1 if no node ever had it."""
        return self._index.get(value, -1)

    def put(self, slot: int, value: Hashable | None) -> None:
        """What *slot* says now; None: nothing."""
        if value is None:
            self.codes[slot] = -1
            return
        code = self._index.get(value)
        if code is None:
            code = self._index[value] = len(self.values)
            self.values.append(value)
        self.codes[slot] = code

    def where(self, good: Callable[[Hashable], bool], absent: bool) -> Flags:
        """The slots whose value is good; those without one as *absent* says."""
        table = np.fromiter((*map(good, self.values), absent), np.bool_, len(self.values) + 1)
        found: Flags = table[self.codes]  # -1 is the last
        return found

    def among(self, values: Iterable[Hashable], absent: bool = False) -> Flags:
        """The slots that have one of *values*."""
        table = np.zeros(len(self.values) + 1, np.bool_)
        table[[code for value in values if (code := self.code(value)) >= 0]] = True
        table[-1] = absent
        return table[self.codes]
