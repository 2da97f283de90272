"""A PodCliqueSet as what can be scaled: values, that `reading` makes of objects as they were last seen.

Tree ─┬─ top          the set itself
      └─ Component ── Target, one for each replica of the set      p-0-decode, p-1-decode
                        └─ Unit: what one replica of the target is
                             a pod of a PodClique; all pods of a group's replica; all of a set's
"""

from functools import cached_property
from typing import Final

import msgspec

from grove_dp.kube.objects import Pod, Resource
from grove_dp.scaling.kinds import Clique, CliqueSet, Group, Hpa
from grove_dp.scaling.spec import ComponentSpec

__all__ = ["DRAIN", "DRAIN_BY", "Component", "Objects", "Target", "Tree", "Unit"]

DRAIN: Final = "grove-dp.io/drain-until"
DRAIN_BY: Final = "grove-dp.io/drain-by"  # who decided so, for only they may cancel


class Objects(msgspec.Struct, frozen=True, kw_only=True):
    """What of the cluster belongs to one set."""

    top: CliqueSet
    cliques: tuple[Clique, ...] = ()
    groups: tuple[Group, ...] = ()
    pods: tuple[Pod, ...] = ()
    hpas: tuple[Hpa, ...] = ()  # all of the namespace


class Unit(msgspec.Struct, frozen=True):
    """One replica of a target: its living pods. *index* is None where pods are as good as each other."""

    index: int | None
    pods: tuple[Pod, ...]


class Target(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One object with a /scale."""

    resource: Resource
    namespace: str
    name: str
    index: int  # of the set's replica; -1: the set itself
    replicas: int  # as it asks for
    minimum: int  # fewer, and not 0, are never to be
    floor: int = 0
    ceiling: int | None = None
    ready: int = 0
    scheduled: int = 0  # have a place
    observed: bool = True  # the operator has seen what was asked last
    updating: bool = False
    hpa: str = ""  # an HPA that scales it as well
    units: tuple[Unit, ...] = ()

    @cached_property
    def key(self) -> str:
        """As people write it."""
        return f"{self.resource.kind}/{self.name}"

    @property
    def pending(self) -> int:
        """Replicas that have no place."""
        return max(0, self.replicas - self.scheduled)


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """What is scaled together."""

    spec: ComponentSpec
    targets: tuple[Target, ...] = ()
    gpus: int = 0  # of one replica
    at_first: int = 1  # replicas in a new replica of the set

    @property
    def replicas(self) -> int:
        """As all of its targets ask for."""
        return sum(target.replicas for target in self.targets)

    @property
    def ready(self) -> int:
        """Of these."""
        return sum(target.ready for target in self.targets)


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """A set."""

    top: Target
    components: tuple[Component, ...] = ()
    unknown: tuple[str, ...] = ()  # components that the set's template does not have

    @property
    def targets(self) -> tuple[Target, ...]:
        """All of them, the set last."""
        return (*(target for component in self.components for target in component.targets), self.top)

    @property
    def updating(self) -> bool:
        """A new template is on its way to the pods."""
        return self.top.updating
