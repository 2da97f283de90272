"""How many units an update may take at once, of each clique and group: so many that it can go on.

Grove 0.1 has no such field and takes one unit at a time, delete first, which is what an absent one means
here. Later Grove refuses it under OnDelete; here it only has no effect then, so that the strategy can be
changed for a day.
"""

from collections.abc import Iterator
from typing import Final

from grove_operator.admission.drafts import RollingUpdate
from grove_operator.admission.faults import Fault, forbidden, invalid
from grove_operator.admission.subject import Rule, Subject

__all__ = ["RULES", "WARNINGS"]

FIELD: Final = "rollingUpdate"


def updates_can_go_on(subject: Subject) -> Iterator[Fault]:
    """maxUnavailable is 1 unless given, maxSurge 0; not both may be 0."""
    for path, given in _given(subject):
        away = 1 if given.max_unavailable is None else given.max_unavailable
        beyond = given.max_surge or 0
        if away < 0:
            yield invalid(f"{path}.maxUnavailable", away, "must be 0 or more")
        elif beyond < 0:
            yield invalid(f"{path}.maxSurge", beyond, "must be 0 or more")
        elif away == beyond == 0:
            yield invalid(
                f"{path}.maxUnavailable",
                away,
                "no update could ever begin: raise this, or maxSurge, to 1 at least",
            )


def members_are_updated_with_their_group(subject: Subject) -> Iterator[Fault]:
    for path, clique in subject.cliques():
        group = subject.group_of.get(clique.name)
        if group and clique.rolling_update:
            yield forbidden(
                f"{path}.{FIELD}",
                f"the clique is a member of group {group.name!r}, whose replicas are updated as a whole: move"
                " it to the group",
            )


RULES: Final[tuple[Rule, ...]] = (updates_can_go_on, members_are_updated_with_their_group)


def on_delete_takes_no_notice(subject: Subject) -> Iterator[str]:
    strategy = subject.set.spec.update_strategy
    if strategy and strategy.type == "OnDelete":
        for path, _ in _given(subject):
            yield f"{path}: has no effect under OnDelete, where whoever deletes pods decides"


WARNINGS: Final = (on_delete_takes_no_notice,)


def _given(subject: Subject) -> Iterator[tuple[str, RollingUpdate]]:
    for path, clique in subject.cliques():
        if clique.rolling_update:
            yield f"{path}.{FIELD}", clique.rolling_update
    for path, group in subject.groups():
        if group.rolling_update:
            yield f"{path}.{FIELD}", group.rolling_update
