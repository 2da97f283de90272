"""Why was a request placed where it was: the plane's last decisions in words that people know."""

from typing import Any

from grove_dp.frontend.plane import DataPlane

__all__ = ["decisions"]

KEPT = 4096


def decisions(plane: DataPlane, last: int, request_id: str | None = None) -> list[dict[str, Any]]:
    """The last placements, the newest first; with *request_id* those of that request (ids are cut to 39
    characters). Each has the chosen worker, the cheapest others, and the terms of their costs in seconds."""
    names = plane.registry.by_slot()
    found = plane.native.decisions(KEPT if request_id else last)
    if request_id:
        found = [told for told in found if told["id"] == request_id[:39]][:last]
    return [_told(one, names) for one in found]


def _told(decision: dict[str, Any], names: dict[int, str]) -> dict[str, Any]:
    shown = [
        {"worker": names.get(terms["slot"], f"slot {terms['slot']}, gone")}
        | {name: _rounded(value) for name, value in terms.items() if name != "slot"}
        for terms in decision["shown"]
    ]
    told = {name: _rounded(value) for name, value in decision.items() if name != "shown"}
    return told | {"why": _why(decision), "chosen": shown[0], "others": shown[1:]}


def _why(decision: dict[str, Any]) -> str:
    policy, tied, candidates = decision["policy"], decision["tied"], decision["candidates"]
    if candidates == 1:
        return "the only worker that may get it"
    if not tied:
        return f"by policy {policy}"
    if tied > 1:
        return f"one of {tied} of equal least cost: who holds most of it, then always the same of them"
    return f"the least cost of {candidates}"


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value
