"""The order in which cliques start: `startsAfter`, under CliqueStartupTypeExplicit, goes in no circle."""

from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Final

from grove_operator.admission.faults import Fault, duplicate, invalid, not_found, required
from grove_operator.admission.subject import CLIQUES, EXPLICIT, Rule, Subject

__all__ = ["RULES", "WARNINGS"]


def parents_are_other_cliques(subject: Subject) -> Iterator[Fault]:
    """Named, known, each once, and not the clique itself."""
    if subject.startup != EXPLICIT:
        return
    for path, clique in subject.cliques():
        seen: set[str] = set()
        for index, parent in enumerate(clique.spec.starts_after):
            at = f"{path}.spec.startsAfter[{index}]"
            if not parent:
                yield required(at, "name a clique, or remove the entry")
            elif parent == clique.name:
                yield invalid(at, parent, "a clique cannot start after itself: remove the entry")
            elif parent in seen:
                yield duplicate(at, parent, "each clique needs to be named once")
            elif parent not in subject.clique_named:
                yield not_found(at, parent, "name a clique of this set")
            seen.add(parent)


def nobody_waits_in_a_circle(subject: Subject) -> Iterator[Fault]:
    """One circle is named, in full; the next one is found when that is broken."""
    if subject.startup != EXPLICIT:
        return
    circle = _circle(
        {
            clique.name: [
                parent
                for parent in clique.spec.starts_after
                if parent in subject.clique_named and parent != clique.name
            ]
            for clique in subject.template.cliques
        }
    )
    if circle:
        first = next(
            index for index, clique in enumerate(subject.template.cliques) if clique.name == circle[0]
        )
        yield invalid(
            f"{CLIQUES}[{first}].spec.startsAfter",
            circle[1],
            f"none could ever start, each waits for the next: {' -> '.join(circle)}; remove one entry",
        )


RULES: Final[tuple[Rule, ...]] = (parents_are_other_cliques, nobody_waits_in_a_circle)


def parents_count_only_when_explicit(subject: Subject) -> Iterator[str]:
    if subject.startup == EXPLICIT:
        return
    for path, clique in subject.cliques():
        if clique.spec.starts_after:
            yield f"{path}.spec.startsAfter: has no effect unless cliqueStartupType is {EXPLICIT}"


WARNINGS: Final = (parents_count_only_when_explicit,)


def _circle(parents: Mapping[str, Sequence[str]]) -> list[str]:
    """Who waits for whom, the first name again at the end; empty if there is no circle."""
    try:
        TopologicalSorter(parents).prepare()
    except CycleError as error:
        backwards: list[str] = error.args[1]  # each stands before what waits for it
        return _from_least(backwards[::-1])
    return []


def _from_least(circle: list[str]) -> list[str]:
    """The same circle from its least name, whatever the order of the document."""
    around = circle[:-1]
    start = around.index(min(around))
    return [*around[start:], *around[:start], around[start]]
