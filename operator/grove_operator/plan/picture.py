"""What one replica of a set is at this moment: what is wanted, by its tree, beside what there is.

    PodCliqueSet ─ Replica (tree: units, groups, gangs that are to be)
                     │ by name
                     ├─ CliqueSeen   the PodClique, and every pod it controls
                     ├─ groups       PodCliqueScalingGroups
                     └─ gangs        PodGangs

All decisions about a replica – status, update, recovery – are functions of a Picture and the time. What has
no unit in the tree any more (a clique that is too many) is not in it: `diff` deletes such things.
"""

from collections.abc import Mapping
from functools import cached_property

import msgspec

from grove_operator.api import PodClique, PodCliqueScalingGroup, PodCliqueSet, PodGang
from grove_operator.plan.tree import Group, Replica, Unit
from grove_operator.pods import Pod

__all__ = ["CliqueSeen", "Picture", "Waiting"]


class Waiting(msgspec.Struct, frozen=True):
    """Why a gang is not released: a CamelCase word, and a sentence for people."""

    reason: str
    message: str


class CliqueSeen(msgspec.Struct, frozen=True, dict=True):
    """A clique that is to be, and what there is of it."""

    unit: Unit
    held: PodClique | None = None  # None: not made yet
    pods: tuple[Pod, ...] = ()  # all that it controls: living, ended, on their way out

    @property
    def living(self) -> tuple[Pod, ...]:
        """Neither ended nor on their way out."""
        return tuple(pod for pod in self.pods if pod.living)

    @property
    def minimum(self) -> int:
        """How many must be there; 0 for a clique that is scaled to 0."""
        return min(self.unit.minimum, self.unit.count)


class Picture(msgspec.Struct, frozen=True, dict=True):
    """One replica. *hash*: the generation hash that the set's template has now."""

    owner: PodCliqueSet
    replica: Replica
    hash: str
    cliques: Mapping[str, CliqueSeen] = {}  # by name; one for each unit of the replica
    groups: Mapping[str, PodCliqueScalingGroup] = {}
    gangs: Mapping[str, PodGang] = {}
    waiting: Mapping[str, Waiting] = {}  # gangs that the backend holds back

    def members(self, group: Group, index: int) -> tuple[CliqueSeen, ...]:
        """The cliques of replica *index* of *group*."""
        return self._places.get((group.name, index), ())

    @cached_property
    def _places(self) -> Mapping[tuple[str, int], tuple[CliqueSeen, ...]]:
        """Cliques of groups by group and index: a group may have thousands of replicas."""
        found: dict[tuple[str, int], list[CliqueSeen]] = {}
        for seen in self.cliques.values():
            if seen.unit.group is not None:
                found.setdefault((seen.unit.group.name, seen.unit.index), []).append(seen)
        return {place: tuple(cliques) for place, cliques in found.items()}

    def standalone(self) -> tuple[CliqueSeen, ...]:
        """The cliques that belong to no group."""
        return tuple(seen for seen in self.cliques.values() if seen.unit.group is None)
