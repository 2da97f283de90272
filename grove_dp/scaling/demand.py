"""What a decision is made of: one look at a set, in numbers. Values only; `signals` makes them."""

from collections.abc import Mapping

import msgspec

__all__ = ["Demand", "Occupancy", "Snapshot"]


class Occupancy(msgspec.Struct, frozen=True):
    """What one pod has to do, and whether every frontend has heard that it is to empty."""

    inflight: float = 0.0
    draining: bool = True


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """Of one component, in workers."""

    known: int = 0  # workers, whatever their state
    workers: int = 0  # ready ones
    prefill: float = 0.0
    decode: float | None = 0.0  # None: nobody can tell
    queued_s: float = 0.0  # seconds of a worker that the queue takes
    queued: float = 0.0  # requests
    arriving: float = 0.0  # requests per second
    prefill_tokens: float = 0.0  # that a worker takes per second, as measured; 0: nothing was
    decode_tokens: float = 0.0  # the same, at the limit of its promise

    @property
    def load(self) -> float | None:
        """Workers that this would fill."""
        return None if self.decode is None else self.prefill + self.decode

    @property
    def idle(self) -> bool:
        """Nothing runs, waits or comes."""
        return not (self.prefill or self.decode or self.decode is None or self.queued or self.arriving)


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One look."""

    now: float
    missing: tuple[str, ...] = ()  # what the picture lacks; nothing is decided then
    demands: Mapping[str, Demand] = {}  # by component
    pods: Mapping[str, Occupancy] = {}  # by uid; a pod that is not in it is known to no frontend
    startup_s: float | None = None  # the 90th percentile of what was measured
    attained: float | None = None  # share of streams of the last window that kept their promises
    queue_wait_s: float = 0.0  # 99th percentile

    def idle(self, uid: str) -> bool:
        """Nothing of it is in flight, and nothing new will be placed there."""
        at = self.pods.get(uid)
        return at is None or (at.draining and at.inflight <= 0)
