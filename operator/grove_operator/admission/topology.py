"""Topology constraints at the three levels of a set: which domains, of which binding, and who contains whom.

    set  ⊇  group  ⊇  clique        a parent's required domain is never narrower than a child's

A constraint without a topologyName has that of its parent: a clique its group's if the group has a
constraint, else the set's; a group the set's.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from grove_operator.admission.drafts import Topology
from grove_operator.admission.faults import Fault, forbidden, invalid, not_found, required
from grove_operator.admission.subject import TEMPLATE, Rule, Subject

__all__ = ["RULES", "WARNINGS", "Constraint", "constraints"]

WELL_KNOWN: Final = ("region", "zone", "datacenter", "block", "rack", "host", "numa")


class Constraint(Struct, frozen=True):
    """A constraint, where it stands, and whose it is."""

    path: str
    owner: str
    given: Topology
    parents: tuple["Constraint", ...] = ()  # the nearest first

    @property
    def required(self) -> str:
        """packDomain is how it was once written."""
        return (self.given.pack.required if self.given.pack else "") or self.given.pack_domain

    @property
    def preferred(self) -> str:
        return self.given.pack.preferred if self.given.pack else ""

    @property
    def topology(self) -> str:
        """The binding's name, its own or a parent's; empty if nobody says."""
        return next(
            (each.given.topology_name for each in (self, *self.parents) if each.given.topology_name), ""
        )

    def domains(self) -> Iterator[tuple[str, str]]:
        """Each that is named, with its path."""
        if self.given.pack_domain:
            yield f"{self.path}.packDomain", self.given.pack_domain
        if self.given.pack and self.given.pack.required:
            yield f"{self.path}.pack.required", self.given.pack.required
        if self.preferred:
            yield f"{self.path}.pack.preferred", self.preferred


def constraints(subject: Subject) -> Iterator[Constraint]:
    """Of the set, its groups, its cliques."""
    of_set: tuple[Constraint, ...] = ()
    if given := subject.template.topology_constraint:
        of_set = (Constraint(f"{TEMPLATE}.topologyConstraint", "the set", given),)
    yield from of_set
    of_group: dict[str, Constraint] = {}
    for path, group in subject.groups():
        if given := group.topology_constraint:
            found = Constraint(f"{path}.topologyConstraint", f"group {group.name!r}", given, of_set)
            of_group.setdefault(group.name, found)
            yield found
    for path, clique in subject.cliques():
        if given := clique.topology_constraint:
            member_of = subject.group_of.get(clique.name)
            near = of_group.get(member_of.name) if member_of else None
            parents = (near, *of_set) if near else of_set
            yield Constraint(f"{path}.topologyConstraint", f"clique {clique.name!r}", given, parents)


def constraints_may_be_used(subject: Subject) -> Iterator[Fault]:
    if not subject.world.topology:
        for each in constraints(subject):
            yield forbidden(
                each.path,
                "topology-aware scheduling is disabled: enable it in the operator's configuration, or leave"
                " the constraint out",
            )


def constraints_say_something(subject: Subject) -> Iterator[Fault]:
    for each in constraints(subject):
        if not each.required and not each.preferred:
            yield required(f"{each.path}.pack", "name a domain in pack.required or pack.preferred")


def pack_domain_is_of_the_past(subject: Subject) -> Iterator[Fault]:
    """Sets that have it keep it."""
    for each in constraints(subject):
        if each.given.pack_domain and each.given.pack and each.given.pack.required:
            yield forbidden(f"{each.path}.packDomain", "pack.required says the same: remove packDomain")
        elif each.given.pack_domain:
            yield forbidden(
                f"{each.path}.packDomain",
                "packDomain is deprecated and cannot be used on new workloads; use pack.required",
            )


def topology_is_named(subject: Subject) -> Iterator[Fault]:
    for each in constraints(subject):
        if not each.topology:
            yield required(
                f"{each.path}.topologyName",
                "name the ClusterTopologyBinding that has the domain, here or at the set",
            )


def topology_is_one(subject: Subject) -> Iterator[Fault]:
    named = [each for each in constraints(subject) if each.given.topology_name]
    for each in named:
        if each.topology != named[0].topology:
            yield invalid(
                f"{each.path}.topologyName",
                each.topology,
                f"all constraints of a set need the same topology, and {named[0].owner} names"
                f" {named[0].topology!r}",
            )


def topology_exists(subject: Subject) -> Iterator[Fault]:
    known = subject.world.topologies
    for each in constraints(subject):
        name = each.given.topology_name
        if known is not None and name and name not in known:
            yield not_found(
                f"{each.path}.topologyName",
                name,
                f"create this ClusterTopologyBinding, or name one that exists: {_listed(sorted(known))}",
            )


def domains_exist(subject: Subject) -> Iterator[Fault]:
    known = subject.world.topologies or {}
    for each in constraints(subject):
        levels = known.get(each.topology)
        for path, domain in each.domains() if levels is not None else ():
            if domain not in (levels or ()):
                yield invalid(
                    path, domain, f"ClusterTopologyBinding {each.topology!r} has {_listed(levels or ())}"
                )


def parents_contain_children(subject: Subject) -> Iterator[Fault]:
    """Told where it can be corrected: at the child."""
    for each in constraints(subject):
        for parent in each.parents:
            if _narrower(subject, each.topology, parent.required, each.required):
                yield invalid(
                    each.path,
                    each.required,
                    f"{parent.owner} must be within one {parent.required!r}, which is narrower than"
                    f" {each.required!r}: name {parent.required!r} or a narrower domain here, or a"
                    f" broader one at {parent.path}",
                )
                break


RULES: Final[tuple[Rule, ...]] = (
    constraints_may_be_used,
    constraints_say_something,
    pack_domain_is_of_the_past,
    topology_is_named,
    topology_is_one,
    topology_exists,
    domains_exist,
    parents_contain_children,
)


def preferred_should_be_narrower(subject: Subject) -> Iterator[str]:
    for each in constraints(subject):
        if _narrower(subject, each.topology, each.required, each.preferred):
            yield (
                f"{each.path}.pack.preferred: {each.preferred!r} is broader than the required"
                f" {each.required!r} and has no effect"
            )


WARNINGS: Final = (preferred_should_be_narrower,)


def _narrower(subject: Subject, topology: str, one: str, other: str) -> bool:
    """Whether *one* is narrower than *other*, as far as anybody knows."""
    levels = (subject.world.topologies or {}).get(topology, WELL_KNOWN)
    return one in levels and other in levels and levels.index(one) > levels.index(other)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
