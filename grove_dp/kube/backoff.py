"""How long to wait after a failure: twice as long each time, up to a limit, and never all at once."""

from random import Random
from typing import Final

__all__ = ["Backoff"]

FIRST_S: Final = 0.2
LIMIT_S: Final = 30.0
FACTOR: Final = 2.0


class Backoff:
    """One row of failures."""

    def __init__(self, rng: Random, first_s: float = FIRST_S, limit_s: float = LIMIT_S) -> None:
        self._rng = rng
        self._first_s = first_s
        self._limit_s = limit_s
        self._step_s = first_s
        self.failures = 0

    def next_s(self) -> float:
        """Seconds to wait after one more failure: between half of the step and the whole of it."""
        step_s = self._step_s
        self._step_s = min(step_s * FACTOR, self._limit_s)
        self.failures += 1
        return step_s * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """It works again."""
        self._step_s = self._first_s
        self.failures = 0
