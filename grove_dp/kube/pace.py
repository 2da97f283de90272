"""How often the same thing may happen: a token bucket per key, kept as one number.

A bucket holds *burst* tokens and gets *per_s* a second. Instead of a level and its time, the time is kept at
which the bucket will be full again; taking a token moves it by 1/per_s. A key whose bucket is full again
needs no number at all, so memory follows the keys that are busy, not those that ever were.
"""

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

__all__ = ["Pace"]

K = TypeVar("K", bound=Hashable)

PRUNED_AT: Final = 1024


class Pace(Generic[K]):
    """A bucket per key. Times are a Clock's `now()`."""

    def __init__(self, burst: int, per_s: float) -> None:
        if burst < 1 or per_s <= 0.0:
            raise ValueError(f"a pace needs a burst of 1 or more and a rate, got {burst} and {per_s} per s")
        self._interval_s = 1.0 / per_s
        self._slack_s = (burst - 1) * self._interval_s
        self._full_at: dict[K, float] = {}
        self._prune_at = PRUNED_AT

    def __len__(self) -> int:
        return len(self._full_at)

    def free_at(self, key: K) -> float:
        """When *key* may next take a token; in the past if it may now."""
        full_at = self._full_at.get(key)
        return 0.0 if full_at is None else full_at - self._slack_s

    def spend(self, key: K, now: float) -> None:
        """Take a token of *key*, whether there is one or not."""
        full_at = self._full_at.get(key)
        start = now if full_at is None or full_at < now else full_at
        self._full_at[key] = start + self._interval_s
        if len(self._full_at) > self._prune_at:
            self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
            self._prune_at = max(PRUNED_AT, 2 * len(self._full_at))

    def took(self, key: K, now: float) -> bool:
        """Take a token of *key* if there is one."""
        if self.free_at(key) > now:
            return False
        self.spend(key, now)
        return True
