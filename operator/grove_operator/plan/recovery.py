"""Gang termination: a gang that has lacked pods for too long is made anew, whole.

    breach ──(terminationDelay)──► fire: pods of the gang are deleted; cliques, and how they are scaled, stay
      ▲                              │ status.recovery of each clique: healthy false, one more termination
      └── minimum ready: healthy ◄───┘

A breach counts if the clique was healthy since it was ended last: so each breach ends its gang once, what
never ran is never ended, and all of it is in the objects' statuses, where a restart finds it. A group's
replica is ended alone if enough others of its group are left, else the whole replica of the set is, once the
group, too, has been breached for that long.

Each fire in a row waits twice as long as the one before, but no more than an hour longer than the delay; the
row is over when the clique has not been breached for ten minutes, or twice the delay. A set's annotation may
bound a row.

The record is written before pods are deleted. What is older than it and still lives, after a crash in
between, is deleted as well; SKEW_S allows for the API server's clock, which dates pods.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from grove_dp.kube.conditions import condition
from grove_dp.kube.stamps import second_time
from grove_operator.api import CliqueRecovery, Conditions, PodCliqueSet
from grove_operator.plan.health import tally, updating
from grove_operator.plan.picture import CliqueSeen, Picture
from grove_operator.plan.times import duration_s, moment_s
from grove_operator.plan.tree import Group
from grove_operator.pods import Pod

__all__ = ["BREACHED", "MAX_RESTARTS", "Recovery", "delay_s", "ended", "record", "recovery"]

BREACHED: Final = "MinAvailableBreached"
MAX_RESTARTS: Final = (
    "grove-dp.io/max-gang-restarts"  # annotation of a set: fires in a row; without, no bound
)
DELAY_S: Final = 4 * 3600.0
LONGER_MOST_S: Final = 3600.0
HEALTHY_LEAST_S: Final = 600.0
SKEW_S: Final = 60.0

Document = dict[str, Any]


class Recovery(msgspec.Struct, frozen=True):
    """What is to be ended now. *cliques*: their `status.recovery`, to be written first."""

    terminate: tuple[Pod, ...] = ()
    cliques: Mapping[str, Document] = {}
    look_again_s: float | None = None
    told: tuple[tuple[str, str], ...] = ()  # reason and message, for Events


class _Case(msgspec.Struct, frozen=True):
    """A breach that counts, and what it ends."""

    due: float
    row: int  # fires before this one
    of: CliqueSeen
    whole: bool
    ends: tuple[CliqueSeen, ...]


def recovery(picture: Picture, now: float) -> Recovery:
    """Of one replica of a set; *now*: seconds since 1970."""
    delay = delay_s(picture.owner)
    if picture.owner.metadata.deletion_timestamp is not None:
        return Recovery()
    cases = [case for case in _cases(picture, delay, now) if _complete(case)]
    spent = [case for case in cases if case.due <= now and _exhausted(picture.owner, case)]
    open_ = [case for case in cases if case not in spent]
    fires = _widest([case for case in open_ if case.due <= now])
    waits = [case.due - now for case in open_ if case.due > now]
    going = {seen.unit.name: seen for case in fires for seen in case.ends if seen.unit.count}
    pods = {pod.metadata.uid: pod for seen in going.values() for pod in seen.living}
    pods |= {pod.metadata.uid: pod for pod in _left_over(picture.cliques.values(), delay)}
    return Recovery(
        terminate=tuple(pods.values()),
        cliques={name: _ended(seen, now) for name, seen in going.items()},
        look_again_s=min(waits) if waits else None,
        told=(*(_fired(case) for case in fires), *(_refused(case) for case in spent)),
    )


def record(seen: CliqueSeen, delay: float, now: float, *, moves: bool) -> Document:
    """`status.recovery` as a clique's pods change it. *moves*: the breach is stated anew, by another word."""
    if seen.held is None or not seen.unit.count:
        return {}  # scaled to 0 is a new beginning
    held = _held(seen)
    healthy = _healthy(seen, delay)
    over = moves and _quiet_s(seen.held.status.conditions, now) >= max(HEALTHY_LEAST_S, 2 * delay)
    document: Document = {"healthy": True} if healthy else {}
    if held.terminations and not over:
        document["terminations"] = held.terminations
    if held.last_terminated_at:
        document["healthy"] = healthy
        document["lastTerminatedAt"] = held.last_terminated_at
    return document


def ended(seen: CliqueSeen, delay: float) -> bool:
    """Whether it was ended, and has yet to come back."""
    return bool(seen.unit.count) and _held(seen).last_terminated_at is not None and not _healthy(seen, delay)


def delay_s(owner: PodCliqueSet) -> float:
    """`terminationDelay`; 4 h where it is absent, or nonsense."""
    seconds = duration_s(owner.spec.template.termination_delay or "")
    return seconds if seconds is not None and seconds > 0 else DELAY_S


# ------------------------------------------------------------ which breaches count


def _cases(picture: Picture, delay: float, now: float) -> Iterator[_Case]:
    due = {
        name: found
        for name, seen in picture.cliques.items()
        if (found := _due(picture, seen, delay, now)) is not None
    }
    everything = tuple(picture.cliques.values())
    for seen in picture.standalone():
        if seen.unit.name in due:
            yield _Case(due[seen.unit.name], _held(seen).terminations, seen, True, everything)
    for group in picture.replica.groups:
        yield from _of_group(picture, group, due, delay, now)


def _of_group(
    picture: Picture, group: Group, due: Mapping[str, float], delay: float, now: float
) -> Iterator[_Case]:
    members = [picture.members(group, index) for index in range(group.count)]
    breached = [cliques for cliques in members if any(_breached(picture, seen) for seen in cliques)]
    enough = group.count - len(breached) >= min(group.template.minimum, group.count)
    since = _since(picture.groups[group.name].status.conditions) if group.name in picture.groups else None
    for cliques in breached:
        for seen in cliques:
            if seen.unit.name not in due:
                continue
            row = _held(seen).terminations
            if enough:
                yield _Case(due[seen.unit.name], row, seen, False, cliques)
            else:
                begun = (now if since is None else since) + _wait_s(delay, row)
                yield _Case(max(due[seen.unit.name], begun), row, seen, True, tuple(picture.cliques.values()))


def _due(picture: Picture, seen: CliqueSeen, delay: float, now: float) -> float | None:
    """When a breach has lasted long enough; None for one that does not count."""
    if not _held(seen).healthy or not _breached(picture, seen):
        return None
    since = _since(seen.held.status.conditions) if seen.held is not None else None
    return (now if since is None else since) + _wait_s(delay, _held(seen).terminations)


def _breached(picture: Picture, seen: CliqueSeen) -> bool:
    return seen.held is not None and tally(seen).breached and not updating(picture, seen)


def _since(conditions: Conditions) -> float | None:
    held = condition(conditions, BREACHED)
    return moment_s(held.get("lastTransitionTime")) if held and held.get("status") == "True" else None


def _quiet_s(conditions: Conditions, now: float) -> float:
    """How long it has not been breached."""
    held = condition(conditions, BREACHED)
    since = moment_s(held.get("lastTransitionTime")) if held and held.get("status") == "False" else None
    return 0.0 if since is None else now - since


def _wait_s(delay: float, row: int) -> float:
    return min(delay * 2.0 ** min(row, 64), delay + LONGER_MOST_S)


# ------------------------------------------------------------ what is ended


def _complete(case: _Case) -> bool:
    """A clique that is not there yet, or not any more, has to come first."""
    return all(seen.held is not None for seen in case.ends)


def _widest(fires: list[_Case]) -> list[_Case]:
    """One that ends everything is enough; else one for each replica of a group."""
    whole = [case for case in fires if case.whole]
    if whole:
        return whole[:1]
    return list({case.ends[0].unit.name: case for case in fires}.values())


def _left_over(cliques: Iterable[CliqueSeen], delay: float) -> Iterator[Pod]:
    for seen in cliques:
        held = _held(seen)
        if not held.healthy:
            yield from (pod for pod in seen.living if _former(pod, held, delay))


def _healthy(seen: CliqueSeen, delay: float) -> bool:
    """Whether it has been healthy since it was ended last, or is now."""
    held = _held(seen)
    fresh = (pod for pod in seen.living if pod.ready and not _former(pod, held, delay))
    return held.healthy or sum(1 for _ in fresh) >= seen.minimum


def _former(pod: Pod, held: CliqueRecovery, delay: float) -> bool:
    """Whether it is of those that the last fire has ended."""
    if held.last_terminated_at is None:
        return False
    ended, made = moment_s(held.last_terminated_at), moment_s(pod.metadata.creation_timestamp)
    return ended is not None and made is not None and made < ended - min(SKEW_S, delay)


def _held(seen: CliqueSeen) -> CliqueRecovery:
    return (seen.held.status.recovery if seen.held is not None else None) or CliqueRecovery()


def _ended(seen: CliqueSeen, now: float) -> Document:
    """Its record from now on."""
    return {
        "healthy": False,
        "terminations": _held(seen).terminations + 1,
        "lastTerminatedAt": second_time(now),
    }


# ------------------------------------------------------------ how often


def _exhausted(owner: PodCliqueSet, case: _Case) -> bool:
    try:
        return case.row >= int(owner.metadata.annotation(MAX_RESTARTS) or "")
    except ValueError:
        return False  # no bound


def _fired(case: _Case) -> tuple[str, str]:
    return "GangTerminated", f"{_what(case)} is made anew: {_why(case)}"


def _refused(case: _Case) -> tuple[str, str]:
    spent = f"it was ended {case.row} times in a row, as many as annotation {MAX_RESTARTS} allows"
    remedy = "delete its pods, or raise the bound"
    return "GangRestartsExhausted", f"{_what(case)} is not made anew: {_why(case)}, and {spent}; {remedy}"


def _what(case: _Case) -> str:
    unit = case.of.unit
    if case.whole or unit.group is None:
        return f"replica {unit.replica} of the set"
    return f"replica {unit.index} of PodCliqueScalingGroup {unit.group.name}"


def _why(case: _Case) -> str:
    counts = tally(case.of)
    return f"PodClique {case.of.unit.name} has {counts.holding} of the {counts.minimum} pods that it needs"
