"""Who waits for whom at the start.

AnyOrder: nobody. InOrder: each clique for the one before it in the list. Explicit: for those it names.
Order holds within a gang. In the base gang a parent is the standalone clique of that name, or that clique in
all of its group's replicas of the base; in a scaled gang only the same replica of the same group, and parents
elsewhere are dropped: the base runs already, or the gang would not have been released.

A parent that is scaled to 0 is dropped, too: it would be waited for without end.
"""

from collections.abc import Mapping, Sequence

import msgspec

from grove_operator.api import EXPLICIT, IN_ORDER, SetTemplate
from grove_operator.plan.tree import Replica, Unit

__all__ = ["Parent", "cycle", "parents", "template_parents"]


class Parent(msgspec.Struct, frozen=True):
    """A clique, and how many of its pods must be Ready."""

    name: str
    minimum: int


def template_parents(template: SetTemplate) -> Mapping[str, Sequence[str]]:
    """By clique, the names of the templates it starts after."""
    names = [clique.name for clique in template.cliques]
    if template.order == IN_ORDER:
        return dict(zip(names, [[], *([name] for name in names)], strict=False))
    if template.order == EXPLICIT:
        return {clique.name: clique.spec.starts_after or () for clique in template.cliques}
    return dict.fromkeys(names, ())


def parents(template: SetTemplate, replica: Replica) -> Mapping[str, tuple[Parent, ...]]:
    """By name of a PodClique of *replica*, the PodCliques it starts after."""
    wanted = template_parents(template)
    places: dict[tuple[str, str], list[Unit]] = {}
    for unit in replica.units:
        if unit.count:
            places.setdefault((unit.gang, unit.template.name), []).append(unit)
    return {
        unit.name: tuple(
            Parent(parent.name, parent.minimum)
            for name in wanted.get(unit.template.name, ())
            for parent in places.get((unit.gang, name), ())
        )
        for unit in replica.units
    }


def cycle(template: SetTemplate) -> tuple[str, ...]:
    """Cliques that would wait for each other, the first of them again at the end; empty where none do."""
    wanted = template_parents(template)
    safe: set[str] = set()
    for start in wanted:
        if found := _walk(start, wanted, [], safe):
            return found
    return ()


def _walk(name: str, wanted: Mapping[str, Sequence[str]], path: list[str], safe: set[str]) -> tuple[str, ...]:
    if name in path:
        return (*path[path.index(name) :], name)
    if name in safe:
        return ()
    path.append(name)
    for parent in wanted.get(name, ()):
        if found := _walk(parent, wanted, path, safe):
            return found
    path.pop()
    safe.add(name)
    return ()
