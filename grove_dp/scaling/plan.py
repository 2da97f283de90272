"""One tick's thinking, from a snapshot to what is to be done: pure, with its memory as an argument.

    Snapshot, Tree, Memory ──► decide ──► hold ──► levels ──► guards ──► drains ──► Decision, Memory

What is remembered, and why a new leader may begin without it:

    what was needed    of each component, for the hold: nothing goes that was wished for within it. Without
                       memory the hold begins anew
    growth             when a target grew last, whoever did that: what came just now may be starting
    pending            since when a target's replicas lack a place; after a while they count as nothing
    lacking            since when components have lacked room in the set
"""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from grove_dp.kube.objects import Pod
from grove_dp.scaling.decide import Wish, decide
from grove_dp.scaling.decision import Decision, Step
from grove_dp.scaling.demand import Demand, Snapshot
from grove_dp.scaling.drains import Drain, drain, needless, until
from grove_dp.scaling.guards import OWNERSHIP, STATE, View, first_objection
from grove_dp.scaling.kinds import Autoscaler
from grove_dp.scaling.levels import Move, allot
from grove_dp.scaling.spec import Behavior
from grove_dp.scaling.tree import Component, Tree
from grove_dp.scaling.wording import limit, said

__all__ = ["Memory", "marker", "plan"]

MARKER: Final = "grove-dp-autoscale"
GAP_SHARE: Final = 0.2  # of the hold that may pass without a look, before it begins anew
_NOTHING: Final = Demand()


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What the next tick needs of the earlier ones."""

    needs: Mapping[str, tuple[tuple[float, int], ...]] = {}  # (when, replicas), by component, for the hold
    since: float | None = None  # looks have been complete
    last: float = 0.0
    counts: Mapping[str, int] = {}  # replicas by target
    grown_at: Mapping[str, float] = {}
    pending_since: Mapping[str, float] = {}
    lacking_since: float | None = None


def marker(one: Autoscaler) -> str:
    """What we write beside a drain that we decided."""
    return f"{MARKER}/{one.name}"


def plan(
    one: Autoscaler, tree: Tree, seen: Snapshot, memory: Memory, wall_s: float
) -> tuple[Decision, Memory]:
    """What is to be done now."""
    behavior = one.spec.behavior
    wishes = {each.spec.name: _wish(each, seen, behavior) for each in tree.components}
    memory = _looked(memory, tree, seen, wishes, behavior)
    refused = _refused(memory, seen.now, behavior)
    held = {
        each.spec.name: _held(wishes[each.spec.name], each, memory, seen.now, behavior)
        for each in tree.components
    }
    lacked_s = 0.0 if memory.lacking_since is None else seen.now - memory.lacking_since
    may_grow = memory.lacking_since is not None and lacked_s >= behavior.set_after_seconds
    allotted = allot(one.spec, tree, held, refused, may_grow)
    if not seen.missing:
        lacks = any(why != "BudgetExhausted" for why in allotted.limits.values())
        since = memory.lacking_since if memory.lacking_since is not None else seen.now
        memory = msgspec.structs.replace(memory, lacking_since=since if lacks else None)
    unknown = {each.spec.name for each in tree.components if _stranger(each, seen)}
    steps = tuple(
        _step(_view(move, one, tree, seen, memory, unknown, refused), seen, wall_s) for move in allotted.moves
    )
    limits = {name: limit(one, tree, name, why, refused) for name, why in allotted.limits.items()}
    reason, message = said(steps, seen, held, limits, allotted.lacking, tree)
    decision = Decision(
        wall_s=wall_s,
        reason=reason,
        message=message,
        steps=steps,
        unmark=_unmark(one, tree, seen, steps, wall_s),
        wishes=held,
        lacking=allotted.lacking,
        limits=limits,
        tree=tree,
        seen=seen,
    )
    return decision, memory


def _wish(component: Component, seen: Snapshot, behavior: Behavior) -> Wish:
    """Of one component; on half a picture what there is, for half a load would look like little."""
    if seen.missing:
        message = "what it needs is not known while the picture is incomplete"
        return Wish(grow_to=component.replicas, shrink_to=None, reason="PictureIncomplete", message=message)
    return decide(component.spec, seen.demands.get(component.spec.name, _NOTHING), behavior)


def _step(view: View, seen: Snapshot, wall_s: float) -> Step:
    move = view.move
    held_back = first_objection(view, STATE)
    objection = first_objection(view, OWNERSHIP) or held_back
    return Step(
        move=move,
        objection=objection,
        drain=Drain() if objection or move.grows else drain(move.target, move.to, seen, wall_s),
        desired=move.target.replicas if held_back else move.to,
    )


# ------------------------------------------------------------ memory


def _looked(
    memory: Memory, tree: Tree, seen: Snapshot, wishes: Mapping[str, Wish], behavior: Behavior
) -> Memory:
    now = seen.now
    counts = {target.key: target.replicas for target in tree.targets}
    grown = {key: memory.grown_at[key] for key in counts if key in memory.grown_at}
    grown |= {key: now for key, count in counts.items() if count > memory.counts.get(key, count)}
    pending = {
        target.key: memory.pending_since.get(target.key, now) for target in tree.targets if target.pending
    }
    memory = msgspec.structs.replace(memory, counts=counts, grown_at=grown, pending_since=pending)
    if seen.missing:
        return memory
    gap_s = max(GAP_SHARE * behavior.hold_seconds, 60.0)
    since = memory.since if memory.since is not None and now - memory.last <= gap_s else now
    needs = {}
    for component in tree.components:
        name = component.spec.name
        wanted = wishes[name].shrink_to
        need = component.replicas if wanted is None else wanted
        kept = [each for each in memory.needs.get(name, ()) if each[1] > need]  # later and more: it rules
        needs[name] = (*(each for each in kept if each[0] > now - behavior.hold_seconds), (now, need))
    return msgspec.structs.replace(memory, needs=needs, since=since, last=now)


def _held(wish: Wish, component: Component, memory: Memory, now: float, behavior: Behavior) -> Wish:
    """*wish* with as many as were needed at any time within the hold; and says so."""
    here, hold_s = component.replicas, behavior.hold_seconds
    if wish.shrink_to is None or memory.since is None:
        return msgspec.structs.replace(wish, shrink_to=None)
    seen_s = now - memory.since
    if seen_s < hold_s:  # there was more that we have not seen
        why, most = f"its load has been seen for {seen_s:.0f} s of {hold_s:g}", None
    else:
        why = f"so many were needed within the last {hold_s:g} s"
        most = max((need for _, need in memory.needs.get(component.spec.name, ())), default=wish.shrink_to)
    held = msgspec.structs.replace(wish, shrink_to=most)
    if here <= wish.shrink_to or (most is not None and here > most):
        return held
    return msgspec.structs.replace(held, reason="Held", message=f"{wish.message}; {here} stay: {why}")


def _refused(memory: Memory, now: float, behavior: Behavior) -> frozenset[str]:
    return frozenset(
        key for key, since in memory.pending_since.items() if now - since >= behavior.pending_seconds
    )


# ------------------------------------------------------------ judging


def _stranger(component: Component, seen: Snapshot) -> bool:
    """The cluster says that it is ready, and no frontend knows of it."""
    demand = seen.demands.get(component.spec.name)
    return component.ready > 0 and (demand is None or not demand.known)


def _view(
    move: Move,
    one: Autoscaler,
    tree: Tree,
    seen: Snapshot,
    memory: Memory,
    unknown: Collection[str],
    refused: Collection[str],
) -> View:
    behavior = one.spec.behavior
    grown_at = memory.grown_at.get(move.target.key)
    startup_s = behavior.startup_seconds if seen.startup_s is None else seen.startup_s
    return View(
        move=move,
        tree=tree,
        mode=one.spec.mode,
        missing=seen.missing,
        unknown=unknown,
        refused=refused,
        grown_s_ago=None if grown_at is None else seen.now - grown_at,
        settle_s=max(startup_s, behavior.hold_seconds),
    )


def _unmark(
    one: Autoscaler, tree: Tree, seen: Snapshot, steps: tuple[Step, ...], wall_s: float
) -> tuple[Pod, ...]:
    """Marks of ours that nothing stands behind any more. On half a picture only those whose time is up."""
    ours = marker(one)
    going = {pod.metadata.uid for step in steps if step.objection is None for pod in step.drain.going}
    to = {step.move.target.key: step.move.to for step in steps if step.objection is None}
    for target in tree.targets:
        wanted = drain(target, max(to.get(target.key, 0), target.replicas), seen, wall_s)
        going |= {pod.metadata.uid for pod in wanted.going}
    if seen.missing and one.spec.mode == "direct":
        return tuple(pod for pod in needless(tree, going, ours) if _overdue(pod, wall_s))
    return needless(tree, going, ours)


def _overdue(pod: Pod, wall_s: float) -> bool:
    end = until(pod)
    return end is not None and end <= wall_s
