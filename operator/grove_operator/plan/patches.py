"""From a status that is wanted to what has to be written of it.

Absent, null and empty mean the same: the API server drops some of it, fills in other. A field that is not
wanted at all is someone else's, and stays; within one that is ours, what is not wanted goes.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from grove_dp.kube.conditions import Stated, stated, without
from grove_operator.api import Conditions

__all__ = ["conditions", "status_patch"]

Document = dict[str, Any]
LISTS: Final = (list, tuple)


def status_patch(held: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> Document | None:
    """A merge patch of the status *held*; None when there is nothing to write."""
    return _delta(held or {}, wanted, wanted) or None


def conditions(held: Conditions, *wanted: Stated, now: float, never: Iterable[str] = ()) -> list[Document]:
    """*held* with those *wanted*, less the types of *never* that are not wanted now."""
    said = {one.type for one in wanted}
    kept = without(held, *(type_ for type_ in never if type_ not in said)).conditions
    return stated(kept, wanted, now=now).conditions


def _delta(held: Mapping[str, Any], wanted: Mapping[str, Any], names: Iterable[str]) -> Document:
    patch: Document = {}
    for name in names:
        old, new = held.get(name), wanted.get(name)
        if _same(old, new):
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping) and new:
            patch[name] = _delta(old, new, dict.fromkeys([*new, *old]))
        else:
            patch[name] = None if _void(new) else new
    return patch


def _same(one: Any, other: Any) -> bool:
    if one == other:  # PERF: nearly always, and a status may list 500 gangs
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return all(_same(one.get(key), other.get(key)) for key in one.keys() | other.keys())
    if isinstance(one, LISTS) and isinstance(other, LISTS):
        return len(one) == len(other) and all(map(_same, one, other))
    return _void(one) and _void(other)


def _void(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_void, value.values()))
    return value is None or value == "" or (isinstance(value, LISTS) and not value)
