"""What keeps a set from being as it should, as statuses tell it: `lastErrors`, Grove's field.

    failing calls ──► Troubles ─┬─ of a clique, a group   its own `lastErrors`
                                └─ of all replicas ──► summed ──► `lastErrors` of the set, a line for each
                                                                  sort of trouble, whoever has it

Told is what a second try does not mend: a refusal once it has lasted for a second, what may pass (no answer,
an error of the API server's own) once it has lasted for half a minute. An entry stays as it was written while
the same goes on, its time and its words, though other names and numbers come with each try: a state that does
not change is no write.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from grove_dp.kube.stamps import second_time

__all__ = ["PASSING_S", "REFUSED_S", "Trouble", "last_errors", "summed"]

REFUSED_S: Final = 1.0
PASSING_S: Final = 30.0
NAMED: Final = 5  # replicas that a line of the set names
SAID_MAX: Final = 1000  # as much as an Event takes
VARYING: Final = re.compile(r"\"[^\"]*\"|[0-9]+")

Document = dict[str, Any]
Held = Iterable[Mapping[str, Any]] | None


class Trouble(msgspec.Struct, frozen=True):
    """Something that could not be done."""

    code: str  # one CamelCase word
    said: str
    what: str = ""  # the kind of what could not be made or changed
    owner: tuple[str, str] = ("", "")  # kind and name of the object that lacks it
    lasts_s: float = REFUSED_S  # told when it has lasted for so long

    @property
    def sort(self) -> tuple[str, str]:
        """What tells one sort of trouble from another."""
        return self.code, self.what


def summed(troubles: Mapping[int | None, Iterable[Trouble]]) -> tuple[Trouble, ...]:
    """One for each sort, by who has it: replicas by index, None for the set itself."""
    found: dict[tuple[str, str], dict[int | None, Trouble]] = {}
    for index in sorted(troubles, key=lambda one: -1 if one is None else one):
        for trouble in troubles[index]:
            found.setdefault(trouble.sort, {}).setdefault(index, trouble)
    return tuple(_line(found[sort]) for sort in sorted(found))


def _line(by_index: Mapping[int | None, Trouble]) -> Trouble:
    first = next(iter(by_index.values()))
    indices = [index for index in by_index if index is not None]
    return msgspec.structs.replace(first, said=f"{_who(indices)}{first.said}")


def _who(indices: list[int]) -> str:
    if not indices:
        return ""
    named = ", ".join(map(str, indices[:NAMED]))
    more = f" and {len(indices) - NAMED} more" if len(indices) > NAMED else ""
    return f"replica{'s' if len(indices) > 1 else ''} {named}{more}: "


def last_errors(held: Held, troubles: Iterable[Trouble], now: float) -> list[Document]:
    """The field; *held*: as it stands; *now*: seconds since 1970."""
    there = {_same(one.get("code"), one.get("description")): one for one in held or ()}
    found: dict[tuple[str, str], Document] = {}
    for trouble in troubles:
        said = trouble.said[:SAID_MAX]
        fresh = {"code": trouble.code, "description": said, "observedAt": second_time(now)}
        same = _same(trouble.code, said)
        found.setdefault(same, dict(there.get(same, fresh)))
    return list(found.values())


def _same(code: Any, said: Any) -> tuple[str, str]:
    """Alike but for numbers, and names in quotes."""
    return str(code), VARYING.sub("#", str(said))
