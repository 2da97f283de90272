"""Why a gang waits, from what stands in the cluster: its PodGang, its pods, its Events. Nothing is written.

    explain(api, "ml", "serve-0") ──► Explanation ──► lines for people, or the Struct itself as JSON

A pod is counted once, by how far it has come: gated (the operator holds it), released (it waits for the
scheduler, or for a gate of somebody else), bound (it has a node), ready.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from grove_dp.errors import GroveError
from grove_dp.kube.access import Access
from grove_dp.kube.errors import NotFound
from grove_dp.kube.objects import PODS, Meta
from grove_operator.api import EVENTS, GANGS, PodGang
from grove_operator.naming import GATE, TOPOLOGY_NAME, L
from grove_operator.pods import Pod

__all__ = ["Explanation", "NoSuchGang", "explain", "lines"]

EVENTS_MAX: Final = 8
STATES: Final = ("gated", "released", "bound", "ready", "going")


class NoSuchGang(GroveError):
    """There is no PodGang of that name."""

    reason = "NoSuchGang"
    status = 404


class Why(msgspec.Struct, frozen=True):
    """What a gang waits for."""

    condition: str
    reason: str
    message: str
    since: str | None


class Group(msgspec.Struct, frozen=True):
    """One clique of the gang: how many pods it needs, and how far those that there are have come."""

    name: str
    needs: int
    pods: int
    gated: int = 0
    released: int = 0
    bound: int = 0
    ready: int = 0
    going: int = 0


class Told(msgspec.Struct, frozen=True):
    """An Event."""

    at: str
    count: int
    reason: str
    note: str


class Explanation(msgspec.Struct, frozen=True):
    """A gang as it stands."""

    namespace: str
    name: str
    phase: str
    scheduler: str
    topology: str
    base: str  # the gang that goes before it; empty for a base gang
    waits: Why | None
    groups: tuple[Group, ...]
    gates: Mapping[str, int]  # of others, and how many pods each holds
    conditions: tuple[Why, ...]
    events: tuple[Told, ...]


class _Series(msgspec.Struct, frozen=True, rename="camel"):
    count: int = 1
    last_observed_time: str = ""


class _Regarding(msgspec.Struct, frozen=True):
    kind: str = ""
    name: str = ""


class _Event(msgspec.Struct, frozen=True, rename="camel"):
    metadata: Meta = Meta()
    involved_object: _Regarding = _Regarding()
    event_time: str | None = None
    last_timestamp: str | None = None
    reason: str = ""
    message: str = ""
    series: _Series | None = None

    @property
    def at(self) -> str:
        last = self.series.last_observed_time if self.series else ""
        return last or self.last_timestamp or self.event_time or self.metadata.creation_timestamp or ""


class _Events(msgspec.Struct):
    items: list[_Event] | None = None


class _Pods(msgspec.Struct):
    items: list[Pod] | None = None


async def explain(api: Access, namespace: str, name: str) -> Explanation:
    """What holds PodGang *name*. NoSuchGang."""
    try:
        gang = await api.get(GANGS.path(namespace, name), into=PodGang)
    except NotFound:
        raise NoSuchGang(
            f"there is no PodGang {name} in namespace {namespace}; `kubectl get podgangs -A` lists them"
        ) from None
    pods = await api.get(PODS.path(namespace), into=_Pods, query={"labelSelector": f"{L.GANG}={name}"})
    events = await api.get(
        EVENTS.path(namespace), into=_Events, query={"fieldSelector": f"involvedObject.name={name}"}
    )
    return explanation(gang, pods.items or (), [each for each in events.items or () if _about(each, gang)])


def explanation(gang: PodGang, pods: Sequence[Pod], events: Sequence[_Event]) -> Explanation:
    """The same from what was read."""
    conditions = tuple(map(_why, gang.status.conditions or ()))
    held = Counter(
        gate.name
        for pod in pods
        if pod.living
        for gate in pod.spec.scheduling_gates or ()
        if gate.name != GATE
    )
    latest = sorted(events, key=lambda each: each.at)[-EVENTS_MAX:]
    return Explanation(
        namespace=gang.metadata.namespace,
        name=gang.metadata.name,
        phase=gang.status.phase or "Pending",
        scheduler=gang.metadata.label(L.SCHEDULER) or "",
        topology=gang.metadata.annotation(TOPOLOGY_NAME) or "",
        base=gang.metadata.label(L.BASE_GANG) or "",
        waits=_waits(gang.status.conditions or ()),
        groups=tuple(_group(each.name, each.min_replicas, pods) for each in gang.spec.podgroups),
        gates=dict(sorted(held.items())),
        conditions=conditions,
        events=tuple(_told(each) for each in latest),
    )


def _about(event: _Event, gang: PodGang) -> bool:
    return (event.involved_object.kind, event.involved_object.name) == (GANGS.kind, gang.metadata.name)


def _told(event: _Event) -> Told:
    return Told(event.at, event.series.count if event.series else 1, event.reason, event.message)


def _why(condition: Mapping[str, Any]) -> Why:
    return Why(
        f"{condition.get('type', '')}={condition.get('status', '')}",
        condition.get("reason") or "",
        condition.get("message") or "",
        condition.get("lastTransitionTime"),
    )


def _waits(conditions: Sequence[Mapping[str, Any]]) -> Why | None:
    """The first thing that is not as it should be: a later one follows from it."""
    by_type = {condition.get("type"): condition for condition in conditions}
    for type_, bad in (
        ("DisruptionTarget", "True"),
        ("Initialized", "False"),
        ("Scheduled", "False"),
        ("Ready", "False"),
        ("Unhealthy", "True"),
    ):
        condition = by_type.get(type_)
        if condition is not None and condition.get("status") == bad:
            return _why(condition)
    return None


def _group(name: str, needs: int, pods: Sequence[Pod]) -> Group:
    own = [pod for pod in pods if pod.clique == name]
    counts = Counter(map(_state, own))
    return Group(name, needs, len(own), **{state: counts[state] for state in STATES})


def _state(pod: Pod) -> str:
    if not pod.living:
        return "going"
    if pod.ready:
        return "ready"
    if pod.bound:
        return "bound"
    return "gated" if pod.gated else "released"


# ------------------------------------------------------------ for people


def lines(told: Explanation, wall_s: float) -> Iterator[str]:
    """As a table; *wall_s*: seconds since 1970."""
    facts = [told.phase, told.scheduler, told.topology and f"topology {told.topology}"]
    facts.append(told.base and f"after {told.base}")
    yield f"{told.namespace}/{told.name}  {', '.join(fact for fact in facts if fact)}"
    if told.waits is None:
        yield "  waits for nothing"
    else:
        since = _ago(told.waits.since, wall_s)
        yield f"  waits   {told.waits.reason}{since}: {told.waits.message}"
    for gate, number in told.gates.items():
        yield f"  gate    {gate} of somebody else holds {number} of its pods"
    wide = max(24, *(len(group.name) for group in told.groups)) if told.groups else 24
    heads = ("needs", "pods", *STATES)
    yield f"  {'clique':{wide}}" + "".join(head.rjust(9) for head in heads)
    for group in told.groups:
        values = (getattr(group, head) for head in heads)
        yield f"  {group.name:{wide}}" + "".join(str(value).rjust(9) for value in values)
    for condition in told.conditions:
        yield f"  {condition.condition:{wide}} {condition.reason}: {condition.message}".rstrip(": ")
    for event in told.events:
        times = f" x{event.count}" if event.count > 1 else ""
        yield f"  event{_ago(event.at, wall_s)}{times} {event.reason}: {event.note}"


def _ago(at: str | None, wall_s: float) -> str:
    try:
        then = datetime.fromisoformat(at or "").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return ""
    seconds = max(int(wall_s - then), 0)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f", {seconds // size} {unit} ago"
    return f", {seconds} s ago"
