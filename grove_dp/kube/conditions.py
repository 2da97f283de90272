"""Conditions of an object's status: what holds, since when, and why. Pure functions over documents.

    outcome = stated(status.get("conditions"), [Stated("Ready", True, "AllReady")], now=clock.wall())
    if outcome.changed: ...patch status with outcome.conditions...

What is not ours is not touched: conditions of other types stay, in their order, and so do fields that we do
not know. The time of transition changes with the status and with nothing else. A fresh object's list may be
null. A patch of a list replaces it as a whole, so one with conditions needs metadata.resourceVersion where
others write conditions, too.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from grove_dp.kube.stamps import second_time

__all__ = ["Outcome", "Stated", "condition", "holds", "stated", "without"]

Document = Mapping[str, Any]
Conditions = Sequence[Document] | None

REASON: Final = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")
REASON_MAX: Final = 1024
MESSAGE_MAX: Final = 32768
WORDS: Final[Mapping[bool | None, str]] = {True: "True", False: "False", None: "Unknown"}


class Stated(NamedTuple):
    """What is to be said of one type. *holds* is None where it is not known."""

    type: str
    holds: bool | None
    reason: str
    message: str = ""
    generation: int | None = None  # of the object that was looked at


class Outcome(NamedTuple):
    """The conditions as they are to be, and whether that is anything new."""

    conditions: list[dict[str, Any]]
    changed: bool


def condition(conditions: Conditions, type_: str) -> Document | None:
    """The condition of that type."""
    return next((held for held in conditions or () if held.get("type") == type_), None)


def holds(conditions: Conditions, type_: str) -> bool | None:
    """Whether it holds; None where that is not known, or nothing is said."""
    held = condition(conditions, type_)
    status = held.get("status") if held is not None else None
    return True if status == "True" else False if status == "False" else None


def stated(conditions: Conditions, wanted: Iterable[Stated], *, now: float) -> Outcome:
    """*conditions* with what is *wanted* among them; *now*: seconds since 1970."""
    said = {one.type: one for one in wanted}
    kept: list[dict[str, Any]] = []
    changed = False
    placed = set()
    for held in conditions or ():
        type_ = held.get("type")
        if type_ not in said:
            kept.append(dict(held))
        elif type_ in placed:
            changed = True  # a second of our type: made by hand, and it may contradict
        else:
            placed.add(type_)
            kept.append(_updated(held, said[type_], now))
            changed |= kept[-1] != held
    for type_, one in said.items():
        if type_ not in placed:
            kept.append(_updated({}, one, now))
            changed = True
    return Outcome(kept, changed)


def without(conditions: Conditions, *types: str) -> Outcome:
    """*conditions* less those of these types."""
    kept = [dict(held) for held in conditions or () if held.get("type") not in types]
    return Outcome(kept, len(kept) != len(conditions or ()))


def _updated(held: Document, one: Stated, now: float) -> dict[str, Any]:
    if len(one.reason) > REASON_MAX or REASON.fullmatch(one.reason) is None:
        raise ValueError(f"condition {one.type}: a reason is one CamelCase word, got {one.reason!r}")
    status = WORDS[one.holds]
    since = held.get("lastTransitionTime")
    if held.get("status") != status or not since:
        since = second_time(now)
    fields = {
        "type": one.type,
        "status": status,
        "reason": one.reason,
        "message": one.message[:MESSAGE_MAX],
        "lastTransitionTime": since,
    }
    if one.generation is not None:
        fields["observedGeneration"] = one.generation
    return {**held, **fields}
