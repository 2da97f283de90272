"""What pods that have a node hold there, by priority: a scheduler may end the lower for a higher one.

    used[priority][resource, slot]      of pods that are bound; those on their way out are among them

PERF: a change is only noted, and counted once somebody asks: in most clusters nobody ever does. That is 1 us
for a pod that is bound, where an array takes five.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from grove_operator.gang.columns import Ints
from grove_operator.gang.needs import Needs

__all__ = ["Occupants"]

NOTED: Final = 50_000  # changes, at most


class Occupants:
    """By priority, resource and slot. *row*: of a resource."""

    def __init__(self, row: Callable[[str], int]) -> None:
        self._row = row
        self._used: dict[int, Ints] = {}
        self._pods: Counter[int] = Counter()
        self._noted: list[tuple[int, int, Needs, int]] = []

    def count(self, priority: int, slot: int | None, asked: Needs, sign: int) -> None:
        """A pod comes (+1) or goes (-1); *slot*: None where its node is not known."""
        self._pods[priority] += sign
        if slot is not None:
            self.fill(priority, slot, asked, sign)

    def fill(self, priority: int, slot: int, asked: Needs, sign: int = 1) -> None:
        """What such a pod holds there, more or less."""
        self._noted.append((priority, slot, asked, sign))
        if len(self._noted) > NOTED:
            self._settle()

    def clear(self, slot: int) -> None:
        """Its node is gone, or is counted anew."""
        self._settle()
        for used in self._used.values():
            used[:, slot : slot + 1] = 0

    def any_below(self, priority: int) -> bool:
        """Whether a pod that has a node is of lower priority."""
        return any(one < priority and count > 0 for one, count in self._pods.items())

    def below(self, priority: int, rows: int, slots: int) -> Iterator[tuple[int, Ints]]:
        """Each lower priority that occurs, lowest first, and what is held by pods of up to it."""
        self._settle()
        total = np.zeros((rows, slots), np.int64)
        for one in sorted(one for one, count in self._pods.items() if one < priority and count > 0):
            used = self._used.get(one)
            if used is not None:
                held = used[:rows, :slots]
                total[: held.shape[0], : held.shape[1]] += held
            yield one, total.copy()

    def _settle(self) -> None:
        for priority, slot, asked, sign in self._noted:
            for name, value in asked.requests:
                row = self._row(name)
                used = self._used.get(priority)
                if used is None or row >= used.shape[0] or slot >= used.shape[1]:
                    used = self._used[priority] = _larger(used, row + 1, slot + 1)
                used[row, slot] += sign * value
        self._noted.clear()


def _larger(held: Ints | None, rows: int, slots: int) -> Ints:
    """With room for these, and for half as many more."""
    height, width = held.shape if held is not None else (8, 64)
    made = np.zeros((max(height, rows + rows // 2), max(width, slots + slots // 2)), np.int64)
    if held is not None:
        made[: held.shape[0], : held.shape[1]] = held
    return made
