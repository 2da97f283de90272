"""What pods that have a node hold there, by priority: a scheduler may end the lower for a higher one.

used[priority][resource, slot]      of pods that are bound; those on their way out are among them
"""

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from grove_operator.gang.columns import Ints

__all__ = ["Occupants"]


class Occupants:
    """By priority, resource and slot."""

    def __init__(self) -> None:
        self._used: dict[int, Ints] = {}
        self._pods: Counter[int] = Counter()

    def count(self, priority: int, slot: int | None, rows: Iterable[tuple[int, int]], sign: int) -> None:
        """A pod comes (+1) or goes (-1); *slot*: None where its node is not known."""
        self._pods[priority] += sign
        if slot is not None:
            self.fill(priority, slot, rows, sign)

    def fill(self, priority: int, slot: int, rows: Iterable[tuple[int, int]], sign: int = 1) -> None:
        """What such a pod holds there, more or less."""
        used = self._used.get(priority)
        if used is None:
            used = self._used[priority] = np.zeros((8, slot + 64), np.int64)
        for row, value in rows:
            if row >= used.shape[0] or slot >= used.shape[1]:
                used = self._used[priority] = _larger(used, row + 1, slot + 1)
            used[row, slot] += sign * value

    def clear(self, slot: int) -> None:
        """Its node is gone, or is counted anew."""
        for used in self._used.values():
            used[:, slot : slot + 1] = 0

    def any_below(self, priority: int) -> bool:
        """Whether a pod that has a node is of lower priority."""
        return any(one < priority and count > 0 for one, count in self._pods.items())

    def below(self, priority: int, rows: int, slots: int) -> Iterator[tuple[int, Ints]]:
        """Each lower priority that occurs, lowest first, and what is held by pods of up to it."""
        total = np.zeros((rows, slots), np.int64)
        for one in sorted(one for one, count in self._pods.items() if one < priority and count > 0):
            used = self._used.get(one)
            if used is not None:
                held = used[:rows, :slots]
                total[: held.shape[0], : held.shape[1]] += held
            yield one, total.copy()


def _larger(held: Ints, rows: int, slots: int) -> Ints:
    """With room for these, and for half as many more."""
    height = max(held.shape[0], rows + rows // 2)
    width = max(held.shape[1], slots + slots // 2)
    made = np.zeros((height, width), np.int64)
    made[: held.shape[0], : held.shape[1]] = held
    return made
