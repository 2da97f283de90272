"""What one tick came to: values only; `plan` makes them."""

from collections.abc import Mapping

import msgspec

from grove_dp.kube.objects import Pod
from grove_dp.scaling.decide import Wish
from grove_dp.scaling.demand import Snapshot
from grove_dp.scaling.drains import Drain
from grove_dp.scaling.guards import Objection
from grove_dp.scaling.levels import Move
from grove_dp.scaling.tree import Tree

__all__ = ["Decision", "Step"]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A move, and what becomes of it."""

    move: Move
    objection: Objection | None = None
    drain: Drain = Drain()
    desired: (
        int  # replicas that are to be there, whoever scales: the move's, unless the state of things objects
    )

    @property
    def now(self) -> bool:
        """It is to be made at once."""
        return self.objection is None and (self.move.grows or self.drain.done)


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What one tick came to."""

    wall_s: float
    reason: str
    message: str
    steps: tuple[Step, ...] = ()
    unmark: tuple[Pod, ...] = ()  # pods that need not go after all
    wishes: Mapping[str, Wish] = {}
    lacking: Mapping[str, int] = {}
    limits: Mapping[str, Objection] = {}  # why a component has less than is wished for
    tree: Tree | None = None
    seen: Snapshot

    @property
    def draining(self) -> tuple[Pod, ...]:
        """Pods that we wait for."""
        return tuple(pod for step in self.steps if step.objection is None for pod in step.drain.waiting)
