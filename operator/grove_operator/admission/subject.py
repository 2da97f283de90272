"""What a rule is asked about: a document, read and filled in, and what stands around it in the cluster."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Final

from msgspec import Struct

from grove_operator.admission.drafts import Clique, Group, Meta, PodCliqueSet, Template
from grove_operator.admission.faults import Fault

__all__ = ["CLIQUES", "EXPLICIT", "GROUPS", "IN_ORDER", "TEMPLATE", "Rule", "Subject", "World"]

TEMPLATE: Final = "spec.template"
CLIQUES: Final = f"{TEMPLATE}.cliques"
GROUPS: Final = f"{TEMPLATE}.podCliqueScalingGroups"
IN_ORDER: Final = "CliqueStartupTypeInOrder"
EXPLICIT: Final = "CliqueStartupTypeExplicit"


class World(Struct, frozen=True):
    """What of the cluster rules depend on. None: not known, and then not checked."""

    schedulers: frozenset[str] = frozenset(["default-scheduler"])
    default_scheduler: str = "default-scheduler"
    topology_aware: frozenset[str] = frozenset(["default-scheduler", "kai-scheduler"])
    topology: bool = True  # whether constraints may be used at all
    topologies: Mapping[str, tuple[str, ...]] | None = None  # domains of each binding, broad to narrow
    volcano_queues: Mapping[str, str] | None = None  # the state of each


class Subject(Struct, frozen=True, dict=True):
    """A PodCliqueSet among its surroundings."""

    set: PodCliqueSet
    world: World

    @property
    def meta(self) -> Meta:
        return self.set.metadata

    @property
    def template(self) -> Template:
        return self.set.spec.template

    @property
    def startup(self) -> str:
        return self.template.clique_startup_type

    def cliques(self) -> Iterator[tuple[str, Clique]]:
        """Each with its path."""
        for index, each in enumerate(self.template.cliques):
            yield f"{CLIQUES}[{index}]", each

    def groups(self) -> Iterator[tuple[str, Group]]:
        """Each with its path."""
        for index, each in enumerate(self.template.pod_clique_scaling_groups):
            yield f"{GROUPS}[{index}]", each

    @cached_property
    def clique_named(self) -> dict[str, Clique]:
        return {each.name: each for each in self.template.cliques if each.name}

    @cached_property
    def group_of(self) -> dict[str, Group]:
        """The group of each clique that is a member of one; the first, if of several."""
        found: dict[str, Group] = {}
        for group in self.template.pod_clique_scaling_groups:
            for name in group.clique_names:
                found.setdefault(name, group)
        return found

    def scheduler(self, clique: Clique) -> str:
        """The one that places its pods."""
        return clique.spec.pod_spec.scheduler_name or self.world.default_scheduler

    @cached_property
    def schedulers(self) -> tuple[str, ...]:
        """All that are named, each once."""
        return tuple(dict.fromkeys(map(self.scheduler, self.template.cliques)))


Rule = Callable[[Subject], Iterable[Fault]]
