"""The status of a gang: Grove declares it, and leaves all of it but `Initialized` empty.

Pending ──► Starting ──► Running
  its minimum has no place   it has one, or waits only   minimum Ready
                             for its start order
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from grove_dp.kube.conditions import Stated, holds
from grove_operator.api import GangStatus
from grove_operator.plan.health import Tally, tally
from grove_operator.plan.patches import conditions
from grove_operator.plan.picture import CliqueSeen, Picture
from grove_operator.plan.recovery import delay_s, ended
from grove_operator.plan.tree import Gang
from grove_operator.pods import Pod

__all__ = ["gang_status", "phase"]

PENDING: Final = "Pending"
STARTING: Final = "Starting"
RUNNING: Final = "Running"

INITIALIZED: Final = "Initialized"
SCHEDULED: Final = "Scheduled"
READY: Final = "Ready"
UNHEALTHY: Final = "Unhealthy"
DISRUPTED: Final = "DisruptionTarget"

ORDER: Final = "StartOrder"  # as the backend says it: admitted, and its turn has not come

Document = dict[str, Any]
Counted = tuple[tuple[CliqueSeen, Tally], ...]


def gang_status(
    gang: Gang, picture: Picture, now: float, errors: Mapping[str, Sequence[Document]] | None = None
) -> Document:
    """Of a PodGang; its placementScore is the backend's to say. *errors*: of its cliques and their groups."""
    held = picture.gangs[gang.name].status if gang.name in picture.gangs else GangStatus()
    cliques = _counted(gang, picture)
    wanted = [
        _initialized(cliques, sticky=holds(held.conditions, INITIALIZED) is True),
        _refused(cliques, errors or {}) or _scheduled(gang, picture, cliques),
        _ready(cliques),
        _unhealthy(cliques),
        *_disrupted(cliques, delay_s(picture.owner)),
    ]
    return {
        "phase": phase(gang, picture),
        "conditions": conditions(held.conditions, *wanted, now=now, never=[DISRUPTED]),
    }


def phase(gang: Gang, picture: Picture) -> str:
    """How far it is."""
    cliques = _counted(gang, picture)
    if all(counts.available for _, counts in cliques):
        return RUNNING
    late = [seen for seen, counts in cliques if not counts.scheduled]
    why = picture.waiting.get(gang.name)
    begun = len(late) < len(cliques) and (why is None or why.reason == ORDER)
    return STARTING if begun and all(_only_gated(seen) for seen in late) else PENDING


def _counted(gang: Gang, picture: Picture) -> Counted:
    found = (picture.cliques[unit.name] for unit in gang.units if unit.name in picture.cliques)
    return tuple((seen, tally(seen)) for seen in found)


def _only_gated(seen: CliqueSeen) -> bool:
    """Whether it is for us to release what has no node: its turn in the start order has not come."""
    waiting = [pod for pod in seen.living if not pod.bound]
    return bool(waiting) and all(pod.gated for pod in waiting)


def _initialized(cliques: Counted, *, sticky: bool) -> Stated:
    """Once all pods were there it is true for good: one that is replaced does not undo it."""
    missing = [
        (seen, counts) for seen, counts in cliques if seen.held is None or counts.living < seen.unit.count
    ]
    if sticky or not missing:
        return Stated(INITIALIZED, True, "PodGangPodsCreated", "all pods were created")
    said = (f"{seen.unit.name} has {counts.living} of {seen.unit.count} pods" for seen, counts in missing)
    return Stated(INITIALIZED, False, "PodGangPodsCreationPending", "; ".join(said))


def _refused(cliques: Counted, errors: Mapping[str, Sequence[Document]]) -> Stated | None:
    """A pod that it needs cannot be made."""
    for seen, counts in cliques:
        if counts.living < counts.minimum:
            group = seen.unit.group.name if seen.unit.group is not None else ""
            for one in errors.get(seen.unit.name) or errors.get(group) or ():
                said = f"pods of {seen.unit.name} cannot be made: {one['description']}"
                return Stated(SCHEDULED, False, one["code"], said)
    return None


def _scheduled(gang: Gang, picture: Picture, cliques: Counted) -> Stated:
    late = [(seen, counts) for seen, counts in cliques if not counts.scheduled]
    if not late:
        return Stated(SCHEDULED, True, "SufficientScheduledPods", "as many pods as it needs have a node")
    why = picture.waiting.get(gang.name)
    if why is not None:
        return Stated(SCHEDULED, False, why.reason, why.message)
    refused = next((pod for seen, _ in late for pod in seen.living if pod.unschedulable), None)
    if refused is not None:
        return Stated(SCHEDULED, False, "Unschedulable", _refusal(refused))
    if phase(gang, picture) == STARTING:
        names = ", ".join(seen.unit.name for seen, _ in late)
        return Stated(SCHEDULED, False, ORDER, f"these start after others: {names}")
    said = (
        f"{counts.bound} of {counts.minimum} pods of {seen.unit.name} have a node" for seen, counts in late
    )
    return Stated(SCHEDULED, False, "InsufficientScheduledPods", "; ".join(said))


def _refusal(pod: Pod) -> str:
    held = pod.condition("PodScheduled")
    return f"{pod.metadata.name}: {(held.message if held is not None else None) or 'no node takes it'}"


def _ready(cliques: Counted) -> Stated:
    late = [(seen, counts) for seen, counts in cliques if not counts.available]
    if not late:
        return Stated(READY, True, "SufficientReadyPods", "as many pods as it needs are ready")
    said = (f"{counts.ready} of {counts.minimum} pods of {seen.unit.name} are ready" for seen, counts in late)
    return Stated(READY, False, "InsufficientReadyPods", "; ".join(said))


def _unhealthy(cliques: Counted) -> Stated:
    """It ran, and lacks pods now; one that has never run is not ready, and no more than that."""
    breached = [(seen, counts) for seen, counts in cliques if counts.breached and _ran(seen)]
    if not breached:
        return Stated(UNHEALTHY, False, "MinAvailableHolds", "no clique that ran lacks pods")
    said = (f"{seen.unit.name} has {counts.holding} of {counts.minimum} pods" for seen, counts in breached)
    return Stated(UNHEALTHY, True, "MinAvailableBreached", "; ".join(said))


def _ran(seen: CliqueSeen) -> bool:
    held = seen.held.status.recovery if seen.held is not None else None
    return held is not None and (held.healthy or held.last_terminated_at is not None)


def _disrupted(cliques: Counted, delay: float) -> Iterator[Stated]:
    """Stated while it is so: pods that it needs are being taken away."""
    going = (seen for seen, _ in cliques if any(pod.terminating for pod in seen.pods))
    if any(ended(seen, delay) for seen in going):
        yield Stated(DISRUPTED, True, "GangTermination", "its pods are deleted, to start them anew together")
        return
    for seen, _ in cliques:
        for pod in seen.pods:
            held = pod.condition(DISRUPTED)
            if held is not None and held.status == "True":
                yield Stated(
                    DISRUPTED, True, held.reason or DISRUPTED, f"{pod.metadata.name}: {held.message}"
                )
                return
