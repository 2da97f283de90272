"""Schedulers that keep gangs whole by themselves: what they must be told, beside our own PodGang.

    PodGang (as planned) ─► Backend.gang ─► the PodGang, with marks, and a PodGroup of the scheduler's own API
    pod     (as planned) ─► Backend.pod  ─► the pod, told which PodGroup it belongs to

    scheduler            PodGroup of                        all of a gang, and
    kai-scheduler        scheduling.run.ai/v2alpha2         each clique's minimum; topology
    volcano              scheduling.volcano.sh/v1beta1      each clique's minimum, from 1.14
    any kube-scheduler   scheduling.k8s.io/v1beta1          (native) the sum of the minimums
                         or v1alpha2

Where the API of KAI or Volcano is not there, neither is the scheduler, and nobody would ever place the pods:
then we do, gang by gang, on the default scheduler, until it comes. One that is too old has them one by one.

Their pods carry no gate: a scheduler can only judge a gang that it sees whole. A PodGroup has its PodGang's
name and belongs to the set. What a scheduler writes into its PodGroup stays, for no plan names it.

A gang that began otherwise (another setting, or a scheduler that came later) keeps its pods, and its PodGroup
counts none of them: a new pod that named it would wait for a minimum that is never there. As long as one of
those lives, new pods are made alone, for the scheduler of now.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final, Protocol

import msgspec

from grove_dp.kube.objects import Resource
from grove_operator.api import NATIVE_GROUPS, POD_GROUPS, VOLCANO_GROUPS, PodCliqueSet
from grove_operator.plan.backends.kai import Kai
from grove_operator.plan.backends.native import Native, native_groups
from grove_operator.plan.backends.volcano import Volcano
from grove_operator.plan.diff import Patch, Steps
from grove_operator.plan.documents import Wanted
from grove_operator.pods import Pod

__all__ = ["DEFAULT_SCHEDULER", "Backend", "Placing", "first", "placing", "wanted_groups"]

DEFAULT_SCHEDULER: Final = "default-scheduler"


class Backend(Protocol):
    """Who keeps gangs whole."""

    @property
    def groups(self) -> Resource:
        """The kind that it is told with."""
        ...

    def gang(self, owner: PodCliqueSet, gang: Wanted) -> Iterable[Wanted]:
        """A PodGang of *owner* as it is to be for this scheduler, and its PodGroup."""
        ...

    def pod(self, pod: Wanted) -> Wanted:
        """A pod of one of these gangs."""
        ...

    def alone(self, pod: Wanted) -> Wanted:
        """A pod that its PodGroup is not to count."""
        ...

    def counts(self, pod: Pod) -> bool:
        """Whether its PodGroup counts *pod*."""
        ...


class Placing(msgspec.Struct, frozen=True):
    """Who places the pods of a set: we, a scheduler that knows gangs, or one that does not."""

    own: bool
    backend: Backend | None = None
    absent: Resource | None = None  # what the scheduler that was named is told with, and nobody serves
    instead: str = ""  # the scheduler that has the pods in its place


def placing(
    setting: str,
    scheduler: str,
    served: Collection[Resource],
    topologies: Mapping[str, str] | None = None,
    older: Collection[Resource] = (),
    there: Collection[Resource] = (),
) -> Placing:
    """By the setting `scheduler.backend`, the scheduler's name, and the APIs that are *served*.

    *topologies*: what KAI calls a ClusterTopologyBinding, where that is not its name. *older*: those of the
    APIs that lack the newest of what we write. *there*: APIs that are there, though we may not use them.
    """
    if setting in ("own", "none"):
        return Placing(setting == "own")
    backend: Backend
    for backend in (Kai(topologies or {}), Volcano(VOLCANO_GROUPS not in older)):
        if scheduler == backend.SCHEDULER:
            if backend.groups in served:
                return Placing(False, backend)
            if backend.groups in there:
                return Placing(False, absent=backend.groups)
            return Placing(True, absent=backend.groups, instead=DEFAULT_SCHEDULER)
    if setting == "native":
        groups = native_groups(served)
        return Placing(True) if groups is None else Placing(False, Native(groups))
    return Placing(scheduler == DEFAULT_SCHEDULER)


def wanted_groups(setting: str, schedulers: Collection[str]) -> tuple[Resource, ...]:
    """PodGroups that these settings may come to write."""
    if setting in ("own", "none"):
        return ()
    native = NATIVE_GROUPS if setting == "native" else ()
    named = (backend for backend in (Kai(), Volcano()) if backend.SCHEDULER in schedulers)
    return (*native, *(backend.groups for backend in named))


def first(steps: Steps) -> tuple[tuple[Patch, ...], Steps]:
    """Patches of PodGroups, and all other steps.

    A minimum must sink before pods go: KAI ends a gang that it finds under its minimum.
    """
    urgent = tuple(one for one in steps.patches if one.wanted.resource in POD_GROUPS)
    rest = tuple(one for one in steps.patches if one.wanted.resource not in POD_GROUPS)
    return urgent, msgspec.structs.replace(steps, patches=rest)
