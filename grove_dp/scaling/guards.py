"""Objections to a move, in order: the first one names the reason, and the move is not made.

    SwitchedOff, Advisory     we were told to keep our hands off
    OwnedByHpa                somebody else scales this object, or the set above or below it
    PictureIncomplete         a frontend did not tell: nothing is decided on half a picture
    WorkersUnknown            ready replicas of which no frontend knows a worker
    NotObservedYet            the operator has not seen what was asked last
    BetweenZeroAndMinimum     a count that would end a gang
    CapacityRefused           what was asked before found no place: no more until that changes
    UpdateGoingOn             in an update things may grow, and nothing goes
    GrownRecently             what came a moment ago may just be starting

The first three are about whose move it is (`OWNERSHIP`), the others about the state of things (`STATE`): what
only the former object to is still what we advise.

A new rule is a new function and a new test. What a load was a while ago (the hold of scale-in) is no guard
but part of the wish: see `plan`.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Final

import msgspec

from grove_dp.scaling.levels import Move
from grove_dp.scaling.spec import Mode
from grove_dp.scaling.tree import Target, Tree

__all__ = ["GUARDS", "OWNERSHIP", "STATE", "Guard", "Objection", "View", "first_objection"]


class Objection(msgspec.Struct, frozen=True):
    """Why a move is not made."""

    reason: str
    message: str


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What guards look at."""

    move: Move
    tree: Tree
    mode: Mode
    missing: tuple[str, ...] = ()
    unknown: Collection[str] = ()  # components that have ready replicas and no worker
    refused: Collection[str] = ()  # keys of targets
    grown_s_ago: float | None = None  # since the target had fewer replicas
    settle_s: float = 0.0  # that they need to settle


Guard = Callable[[View], Objection | None]


def first_objection(view: View, guards: Iterable[Guard]) -> Objection | None:
    """The first that any of them has."""
    return next((found for guard in guards if (found := guard(view)) is not None), None)


def switched_off(view: View) -> Objection | None:
    """Mode off."""
    return Objection("SwitchedOff", "mode is off") if view.mode == "off" else None


def advisory(view: View) -> Objection | None:
    """Mode advisory."""
    return Objection("Advisory", "mode is advisory") if view.mode == "advisory" else None


def owned(view: View) -> Objection | None:
    """An HPA scales the object or the set it is in; or, where the set is to move, anything in it."""
    move, top = view.move, view.tree.top
    others = view.tree.targets if move.target.key == top.key else (move.target, top, *_siblings(view))
    owner = next((target for target in others if target.hpa), None)
    if owner is None:
        return None
    return Objection(
        "OwnedByHpa",
        f"HorizontalPodAutoscaler {owner.hpa} scales {owner.key}; delete it, or leave scaling to it",
    )


def _siblings(view: View) -> Iterable[Target]:
    """The same component in other replicas of the set: they share its load."""
    for component in view.tree.components:
        if component.spec.name == view.move.component:
            yield from component.targets


def blind(view: View) -> Objection | None:
    """The picture is incomplete."""
    if not view.missing:
        return None
    return Objection("PictureIncomplete", f"nothing is decided without {'; '.join(view.missing)}")


def strangers(view: View) -> Objection | None:
    """Replicas are ready, but no frontend has a worker there: what it does is not measured."""
    name = view.move.component
    named = [name] if name else sorted(view.unknown)
    if not any(one in view.unknown for one in named):
        return None
    return Objection(
        "WorkersUnknown",
        f"{', '.join(named)} has ready replicas, but no frontend knows a worker of it; let the frontends find"
        " its pods",
    )


def unobserved(view: View) -> Objection | None:
    """The status is about an earlier spec."""
    if view.move.target.observed:
        return None
    return Objection("NotObservedYet", f"the operator has not seen the last change of {view.move.target.key}")


def below_minimum(view: View) -> Objection | None:
    """More than nothing, and less than may run."""
    move = view.move
    if move.to == 0 or move.to >= move.target.minimum:
        return None
    least = move.target.minimum
    return Objection("BetweenZeroAndMinimum", f"{move.to} is neither 0 nor at least {least}")


def refused(view: View) -> Objection | None:
    """No place for what was asked before."""
    move = view.move
    if not move.grows or move.target.key not in view.refused:
        return None
    return Objection("CapacityRefused", f"{move.target.pending} replicas of {move.target.key} find no place")


def updating(view: View) -> Objection | None:
    """A new template is on its way."""
    if view.move.grows or not (view.tree.updating or view.move.target.updating):
        return None
    return Objection("UpdateGoingOn", "nothing goes while a new template is on its way")


def fresh(view: View) -> Objection | None:
    """It grew a moment ago, by whomever."""
    ago = view.grown_s_ago
    if view.move.grows or ago is None or ago >= view.settle_s:
        return None
    return Objection(
        "GrownRecently", f"{view.move.target.key} grew {ago:.0f} s ago; it is left for {view.settle_s:.0f} s"
    )


OWNERSHIP: Final[tuple[Guard, ...]] = (switched_off, advisory, owned)
STATE: Final[tuple[Guard, ...]] = (
    blind,
    strangers,
    unobserved,
    below_minimum,
    refused,
    updating,
    fresh,
)
GUARDS: Final[tuple[Guard, ...]] = (*OWNERSHIP, *STATE)
