"""What cannot change once a set is there, because its gangs were made of it.

Compared is what both documents mean, with their defaults: who writes out what was a default changes nothing.
The way from packDomain to pack.required is open, and a set from before topologies had names may name one.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from grove_operator.admission.drafts import Clique, Group
from grove_operator.admission.faults import Fault, forbidden, invalid
from grove_operator.admission.subject import CLIQUES, EXPLICIT, GROUPS, IN_ORDER, TEMPLATE, Subject
from grove_operator.admission.topology import Constraint, constraints

__all__ = ["RULES", "Change"]

FIELD: Final = "field is immutable"
ANEW: Final = "create a new set to change it"

Change = Callable[[Subject, Subject], Iterable[Fault]]  # new, old


def startup_type_stays(new: Subject, old: Subject) -> Iterator[Fault]:
    yield from _kept(f"{TEMPLATE}.cliqueStartupType", new.startup, old.startup)


def cliques_stay(new: Subject, old: Subject) -> Iterator[Fault]:
    """The same names, in any order."""
    yield from _same_names(CLIQUES, "cliques", _names(new.template.cliques), _names(old.template.cliques))


def groups_stay(new: Subject, old: Subject) -> Iterator[Fault]:
    """The same names, in any order."""
    ours, theirs = new.template.pod_clique_scaling_groups, old.template.pod_clique_scaling_groups
    yield from _same_names(GROUPS, "scaling groups", _names(ours), _names(theirs))


def order_stays(new: Subject, old: Subject) -> Iterator[Fault]:
    """Where it says who starts first; reported once."""
    ours, theirs = _names(new.template.cliques), _names(old.template.cliques)
    if new.startup in (IN_ORDER, EXPLICIT) and ours != theirs and sorted(ours) == sorted(theirs):
        at = next(index for index, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1])
        yield invalid(
            f"{CLIQUES}[{at}].name",
            ours[at],
            f"the order of cliques cannot change under {new.startup}: here stood {theirs[at]!r}",
        )


def roles_stay(new: Subject, old: Subject) -> Iterator[Fault]:
    for path, clique, before in _cliques(new, old):
        yield from _kept(f"{path}.spec.roleName", clique.spec.role_name, before.spec.role_name)


def clique_min_available_stays(new: Subject, old: Subject) -> Iterator[Fault]:
    for path, clique, before in _cliques(new, old):
        yield from _kept(f"{path}.spec.minAvailable", clique.spec.min_available, before.spec.min_available)


def parents_stay(new: Subject, old: Subject) -> Iterator[Fault]:
    for path, clique, before in _cliques(new, old):
        yield from _kept(f"{path}.spec.startsAfter", clique.spec.starts_after, before.spec.starts_after)


def scheduler_stays(new: Subject, old: Subject) -> Iterator[Fault]:
    for path, clique, before in _cliques(new, old):
        yield from _kept(f"{path}.spec.podSpec.schedulerName", new.scheduler(clique), old.scheduler(before))


def group_members_stay(new: Subject, old: Subject) -> Iterator[Fault]:
    for path, group, before in _groups(new, old):
        yield from _kept(f"{path}.cliqueNames", group.clique_names, before.clique_names)


def group_min_available_stays(new: Subject, old: Subject) -> Iterator[Fault]:
    for path, group, before in _groups(new, old):
        yield from _kept(f"{path}.minAvailable", group.min_available, before.min_available)


def claims_stay(new: Subject, old: Subject) -> Iterator[Fault]:
    """Templates, and sharing at all three levels."""
    ours, theirs = new.template, old.template
    yield from _kept(
        f"{TEMPLATE}.resourceClaimTemplates", ours.resource_claim_templates, theirs.resource_claim_templates
    )
    yield from _kept(f"{TEMPLATE}.resourceSharing", ours.resource_sharing, theirs.resource_sharing)
    for path, clique, before in _cliques(new, old):
        yield from _kept(f"{path}.resourceSharing", clique.resource_sharing, before.resource_sharing)
    for path, group, was in _groups(new, old):
        yield from _kept(f"{path}.resourceSharing", group.resource_sharing, was.resource_sharing)


def constraints_stay(new: Subject, old: Subject) -> Iterator[Fault]:
    """By owner, for cliques may be in another order."""
    before = {each.owner: each for each in constraints(old)}
    owners_before, owners_now = _owners(old), _owners(new)
    for each in constraints(new):
        was = before.pop(each.owner, None)
        if was is None:
            if each.owner in owners_before:
                yield forbidden(each.path, f"a constraint of {each.owner} cannot be added later: {ANEW}")
        else:
            yield from _kept_constraint(each, was)
    for gone in before.values():
        if gone.owner in owners_now:
            yield forbidden(gone.path, f"the constraint of {gone.owner} cannot be removed: {ANEW}")


RULES: Final[tuple[Change, ...]] = (
    startup_type_stays,
    cliques_stay,
    groups_stay,
    order_stays,
    roles_stay,
    clique_min_available_stays,
    parents_stay,
    scheduler_stays,
    group_members_stay,
    group_min_available_stays,
    claims_stay,
    constraints_stay,
)


def _kept(path: str, new: Any, old: Any) -> Iterator[Fault]:
    if new != old:
        yield invalid(path, _plain(new), f"{FIELD}: it is {_plain(old)!r}; {ANEW}")


def _kept_constraint(new: Constraint, old: Constraint) -> Iterator[Fault]:
    yield from _kept(f"{new.path}.pack.required", new.required, old.required)
    yield from _kept(f"{new.path}.pack.preferred", new.preferred, old.preferred)
    if old.topology:  # one from before topologies had names may name one now
        yield from _kept(f"{new.path}.topologyName", new.topology, old.topology)


def _same_names(path: str, what: str, new: list[str], old: list[str]) -> Iterator[Fault]:
    added, removed = sorted(set(new) - set(old)), sorted(set(old) - set(new))
    said = [f"{', '.join(added)} cannot be added"] * bool(added)
    said += [f"{', '.join(removed)} cannot be removed"] * bool(removed)
    if said:
        yield forbidden(path, f"a set keeps its {what}: {' and '.join(said)}; create a new set")


def _cliques(new: Subject, old: Subject) -> Iterator[tuple[str, Clique, Clique]]:
    """Those in both."""
    for path, clique in new.cliques():
        before = old.clique_named.get(clique.name)
        if before is not None:
            yield path, clique, before


def _groups(new: Subject, old: Subject) -> Iterator[tuple[str, Group, Group]]:
    """Those in both."""
    known = {each.name: each for each in old.template.pod_clique_scaling_groups}
    for path, group in new.groups():
        before = known.get(group.name)
        if before is not None:
            yield path, group, before


def _owners(subject: Subject) -> set[str]:
    """Who could have a constraint; a clique that is gone is a fault of its own."""
    cliques = {f"clique {each.name!r}" for each in subject.template.cliques}
    return (
        cliques
        | {f"group {each.name!r}" for each in subject.template.pod_clique_scaling_groups}
        | {"the set"}
    )


def _names(owners: list[Clique] | list[Group]) -> list[str]:
    return [each.name for each in owners]


def _plain(value: Any) -> Any:
    return "something else" if isinstance(value, list) and value and not isinstance(value[0], str) else value
