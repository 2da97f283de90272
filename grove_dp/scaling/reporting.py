"""What an autoscaler says of itself: the status of its object, and the explanation that its admin port gives.

Conditions:

    PictureComplete   every frontend told, and the cluster was heard of
    ScalingActive     we scale: not in advisory mode, not beside an HPA, not without a set
    ScalingLimited    the load asks for more than bounds, budget or the cluster allow
    Attained          streams kept their promises as often as is to be; Unknown without streams

Loads change with every tick. A status is written when a word, a count or a condition changes, else once a
minute at most.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from grove_dp.kube.conditions import Stated, stated
from grove_dp.kube.stamps import second_time
from grove_dp.scaling.actuator import Outcome
from grove_dp.scaling.decision import Decision, Step
from grove_dp.scaling.kinds import Autoscaler
from grove_dp.scaling.levels import Move
from grove_dp.scaling.tree import Component

__all__ = ["Report", "explanation", "idle_status", "report"]

Document = dict[str, Any]

QUIET_S: Final = 60.0


class Report(msgspec.Struct, frozen=True):
    """A status, and when it was written."""

    status: Document
    wall_s: float

    def due(self, before: "Report | None") -> bool:
        """It says something new, or it says so often enough."""
        if before is None or _essence(self.status) != _essence(before.status):
            return True
        return self.status != before.status and self.wall_s - before.wall_s >= QUIET_S


def report(one: Autoscaler, decision: Decision, outcome: Outcome, before: Document) -> Report:
    """The status after a tick; *before* is the one that the object has."""
    wall_s = decision.wall_s
    reason, message = decision.reason, decision.message
    if outcome.failures:
        reason, message = outcome.failures[0].reason, outcome.failures[0].message
    status: Document = {
        "observedGeneration": one.generation,
        "lastDecision": _since(
            None if outcome.scaled else before.get("lastDecision"), reason, message, wall_s
        ),
        "components": [_component(component, decision) for component in _components(decision)],
        "draining": [pod.metadata.name for pod in decision.draining],
        "conditions": stated(before.get("conditions"), _conditions(one, decision), now=wall_s).conditions,
    }
    if outcome.scaled:
        status["lastScale"] = _scale(outcome.scaled[-1], wall_s)
    elif "lastScale" in before:
        status["lastScale"] = before["lastScale"]
    return Report(status, wall_s)


def idle_status(one: Autoscaler, reason: str, message: str, wall_s: float, before: Document) -> Report:
    """The status of one that cannot even look."""
    active = Stated("ScalingActive", False, reason, message, one.generation)
    status = {
        **before,
        "components": [],
        "draining": [],
        "observedGeneration": one.generation,
        "lastDecision": _since(before.get("lastDecision"), reason, message, wall_s),
        "conditions": stated(before.get("conditions"), [active], now=wall_s).conditions,
    }
    return Report(status, wall_s)


def _essence(status: Document) -> Document:
    """Without what changes with every tick."""
    components = [
        {name: value for name, value in one.items() if name not in ("load", "message")}
        for one in status.get("components", ())
    ]
    conditions = [
        {name: value for name, value in one.items() if name != "message"}
        for one in status.get("conditions", ())
    ]
    decision = status.get("lastDecision", {}).get("reason")
    rest = {name: status.get(name) for name in ("observedGeneration", "lastScale", "draining")}
    return {**rest, "components": components, "conditions": conditions, "reason": decision}


def _since(before: Mapping[str, Any] | None, reason: str, message: str, wall_s: float) -> Document:
    same = before is not None and before.get("reason") == reason
    time = before["time"] if before is not None and same else second_time(wall_s)
    return {"time": time, "reason": reason, "message": message}


def _scale(move: Move, wall_s: float) -> Document:
    return {
        "time": second_time(wall_s),
        "kind": move.target.resource.kind,
        "name": move.target.name,
        "from": move.target.replicas,
        "to": move.to,
        "reason": move.reason,
    }


def _components(decision: Decision) -> Iterable[Component]:
    return decision.tree.components if decision.tree is not None else ()


def _component(component: Component, decision: Decision) -> Document:
    name = component.spec.name
    wish, demand = decision.wishes[name], decision.seen.demands.get(name)
    steps = [step for step in decision.steps if step.move.component == name]
    load = demand.load if demand is not None and not decision.seen.missing else None
    return {
        "name": name,
        "replicas": component.replicas,
        "ready": component.ready,
        "wished": wish.grow_to,
        "desired": component.replicas + sum(step.desired - step.move.target.replicas for step in steps),
        "load": "unknown" if load is None else f"{load:.2f}",
        "reason": decision.limits[name].reason if name in decision.limits else wish.reason,
        "message": wish.message,
    }


# ------------------------------------------------------------ conditions


def _conditions(one: Autoscaler, decision: Decision) -> Iterable[Stated]:
    seen, generation = decision.seen, one.generation
    missing = "; ".join(seen.missing)
    yield Stated(
        "PictureComplete",
        not missing,
        "PictureIncomplete" if missing else "Complete",
        missing or "every frontend tells, and the cluster was heard of",
        generation,
    )
    yield _active(one, decision)
    yield _limited(one, decision)
    yield _attained(one, decision)


def _limited(one: Autoscaler, decision: Decision) -> Stated:
    limits = [f"{name}: {limit.message}" for name, limit in decision.limits.items()]
    limits += [f"{name}: {wish.message}" for name, wish in decision.wishes.items() if wish.limited]
    if limits:
        word = next((limit.reason for limit in decision.limits.values()), "Bounds")
        return Stated("ScalingLimited", True, word, "; ".join(limits), one.generation)
    if decision.seen.missing:
        message = "what is needed is not known while the picture is incomplete"
        return Stated("ScalingLimited", None, "PictureIncomplete", message, one.generation)
    message = "bounds, budget and cluster allow all that is wished for"
    return Stated("ScalingLimited", False, "WithinBounds", message, one.generation)


def _active(one: Autoscaler, decision: Decision) -> Stated:
    generation = one.generation
    if one.spec.mode != "direct":
        word = "SwitchedOff" if one.spec.mode == "off" else "Advisory"
        return Stated("ScalingActive", False, word, f"mode is {one.spec.mode}", generation)
    tree = decision.tree
    owned = [f"{target.hpa} scales {target.key}" for target in tree.targets if target.hpa] if tree else []
    if owned:
        message = f"HorizontalPodAutoscaler {'; '.join(owned)}: delete it, or leave scaling to it"
        return Stated("ScalingActive", False, "OwnedByHpa", message, generation)
    if tree is not None and tree.unknown:
        message = f"the set has no clique or scaling group {', '.join(tree.unknown)} that can be scaled"
        return Stated("ScalingActive", False, "UnknownComponent", message, generation)
    return Stated("ScalingActive", True, "Direct", "replicas are ours to change", generation)


def _attained(one: Autoscaler, decision: Decision) -> Stated:
    share, wanted = decision.seen.attained, one.spec.slo.attainment
    if share is None:
        return Stated(
            "Attained", None, "NoStreams", "nothing was promised in the last minute", one.generation
        )
    message = f"{share:.1%} of the last minute's streams kept their promises; {wanted:.1%} are to"
    return Stated(
        "Attained", share >= wanted, "Kept" if share >= wanted else "Missed", message, one.generation
    )


# ------------------------------------------------------------ for people


def explanation(one: Autoscaler, decision: Decision, outcome: Outcome) -> Document:
    """Everything that led to a decision."""
    seen = decision.seen
    return {
        "namespace": one.namespace,
        "name": one.name,
        "set": one.spec.pod_clique_set,
        "mode": one.spec.mode,
        "wall_s": decision.wall_s,
        "reason": decision.reason,
        "message": decision.message,
        "missing": list(seen.missing),
        "attained": seen.attained,
        "queue_wait_s": seen.queue_wait_s,
        "components": [_explained(component, decision) for component in _components(decision)],
        "moves": [_move(step, outcome) for step in decision.steps],
        "cancelled": [pod.metadata.name for pod in decision.unmark],
        "failures": [msgspec.to_builtins(failure) for failure in outcome.failures],
    }


def _explained(component: Component, decision: Decision) -> Document:
    name = component.spec.name
    wish, demand = decision.wishes[name], decision.seen.demands.get(name)
    told: Document = {} if demand is None else msgspec.to_builtins(demand)
    limited = decision.limits[name].message if name in decision.limits else ""
    needed = {"needed": wish.shrink_to, "limited": limited}
    return {**_component(component, decision), **needed, "demand": told}


def _move(step: Step, outcome: Outcome) -> Document:
    move = step.move
    return {
        "kind": move.target.resource.kind,
        "name": move.target.name,
        "from": move.target.replicas,
        "to": move.to,
        "reason": move.reason,
        "message": move.message,
        "made": move in outcome.scaled,
        "objection": msgspec.to_builtins(step.objection) if step.objection else None,
        "waits_for": [pod.metadata.name for pod in step.drain.waiting],
        "gave_up": [pod.metadata.name for pod in step.drain.overdue],
    }
