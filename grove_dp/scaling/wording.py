"""One word and one sentence for what a tick came to, for people: pure."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from grove_dp.kube.objects import Pod
from grove_dp.scaling.decide import Wish
from grove_dp.scaling.decision import Step
from grove_dp.scaling.demand import Snapshot
from grove_dp.scaling.guards import Objection
from grove_dp.scaling.kinds import Autoscaler
from grove_dp.scaling.tree import Tree

__all__ = ["limit", "said"]

NAMED: Final = 3  # pods or objects in a message


def said(
    steps: tuple[Step, ...],
    seen: Snapshot,
    wishes: Mapping[str, Wish],
    limits: Mapping[str, Objection],
    lacking: Mapping[str, int],
    tree: Tree,
) -> tuple[str, str]:
    """One word and one sentence for the whole tick."""
    made = next((step for step in steps if step.now), None)
    if made is not None:
        move = made.move
        return move.reason, f"{move.target.key} {move.target.replicas} -> {move.to}: {move.message}"
    if seen.missing:
        return "PictureIncomplete", f"nothing is decided without {'; '.join(seen.missing)}"
    draining = next((step for step in steps if step.objection is None), None)
    if draining is not None:
        move, waits = draining.move, _named(draining.drain.waiting)
        to = f"{move.target.key} {move.target.replicas} -> {move.to}"
        return "Draining", f"{to} as soon as {waits}: {move.message}"
    if steps and steps[0].objection is not None:
        move, objection = steps[0].move, steps[0].objection
        stays = f"{move.target.key} stays at {move.target.replicas}, not {move.to}"
        return objection.reason, f"{stays}: {objection.message}"
    if tree.unknown:
        return "UnknownComponent", f"the set has no clique or scaling group {', '.join(tree.unknown)}"
    for name, found in limits.items():
        return found.reason, f"{name}: {lacking.get(name, 0)} more are wished for; {found.message}"
    limited = next(
        (wish for wish in wishes.values() if wish.limited and wish.reason == "TooManyReplicas"), None
    )
    if limited is not None:
        return limited.reason, limited.message
    return "Steady", "; ".join(f"{name}: {wish.message}" for name, wish in wishes.items())


def limit(one: Autoscaler, tree: Tree, name: str, why: str, refused: Collection[str]) -> Objection:
    """*why* component *name* has less than is wished for, as a sentence."""
    if why == "BudgetExhausted":
        return Objection(why, f"the budget of {one.spec.gpu_budget} GPUs has no room for one")
    targets = [target for each in tree.components if each.spec.name == name for target in each.targets]
    waiting = [
        f"{target.pending} of {target.replicas} replicas of {target.key}"
        for target in targets
        if target.key in refused
    ]
    if waiting:
        return Objection(why, f"{_few(waiting)} find no place")
    return Objection(why, "its objects are as large as they may be")


def _named(pods: Sequence[Pod]) -> str:
    """Those that are to be empty, by name as long as they are few."""
    names = [pod.metadata.name for pod in pods]
    return f"{_few(names)} {'is' if len(pods) == 1 else 'are'} empty"


def _few(names: Sequence[str]) -> str:
    """The first of them, and how many there are beside."""
    shown = [*names[:NAMED], f"{len(names) - NAMED} more"] if len(names) > NAMED else names
    return ", ".join(shown)
