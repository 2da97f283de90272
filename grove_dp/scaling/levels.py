"""Which objects move: from replicas wished for by component to replicas of every target. Pure.

    1 repair    what is under its floor or over its ceiling
    2 shrink    from what has most, by at most a quarter at a time; what has no place first
    3 budget    more GPUs than allowed: from who has most of its wish
    4 grow      one replica at a time to the component that has least of its wish, into its smallest target
    5 the set   grows where components have lacked room for a while, shrinks when the rest can hold all

Growing one at a time to who has least makes the smallest share as large as the budget allows: the rate that a
set attains is that of its poorest stage. A proportional cut would feed stages that cannot use it.

A target is never left between 0 and its minimum; from 0 it comes back with its minimum at once. What is
pending for too long (`refused`) counts as nothing, and its target is asked for no more.
"""

from collections.abc import Collection, Mapping
from math import ceil
from typing import Final, NamedTuple

import msgspec

from grove_dp.scaling.decide import Wish
from grove_dp.scaling.spec import Spec
from grove_dp.scaling.tree import Component, Target, Tree

__all__ = ["Allotment", "Move", "allot"]

SHRINK_SHARE: Final = 0.25
GROW_LEAST: Final = 4  # a small component may grow by so many at once, a large one to twice its size


class Move(msgspec.Struct, frozen=True):
    """One target is to have another number of replicas."""

    target: Target
    to: int
    reason: str
    message: str = ""
    component: str = ""  # empty: the set

    @property
    def grows(self) -> bool:
        """It is more than now."""
        return self.to > self.target.replicas


class Allotment(NamedTuple):
    """What every target is to have, as moves of those that differ."""

    moves: tuple[Move, ...]
    lacking: Mapping[str, int]  # replicas wished for that found no room, by component
    limits: Mapping[str, str]  # why: BudgetExhausted, CapacityRefused, TooManyReplicas


def allot(
    spec: Spec,
    tree: Tree,
    wishes: Mapping[str, Wish],
    refused: Collection[str] = (),
    set_may_grow: bool = False,
) -> Allotment:
    """*refused*: keys of targets whose pending replicas found no place in time. *set_may_grow*: components
    have lacked room for long enough."""
    plan = _Plan(spec, tree, wishes, refused)
    plan.repair()
    plan.shrink()
    plan.fit()
    plan.grow()
    top = _top(spec, tree, plan, set_may_grow)
    moves = plan.moves(leaving=top is not None and not top.grows)
    return Allotment((*moves, top) if top else moves, plan.lacking, plan.limits)


class _Plan:
    """Counts by target, worked on step by step."""

    def __init__(self, spec: Spec, tree: Tree, wishes: Mapping[str, Wish], refused: Collection[str]) -> None:
        self.spec = spec
        self.refused = refused
        self.wishes = wishes
        self.components = [one for one in tree.components if one.spec.level == "component" and one.targets]
        self.others = sum(one.gpus * one.replicas for one in tree.components if one.spec.level != "component")
        self.counts = {target.key: target.replicas for one in self.components for target in one.targets}
        self.owner = {target.key: one.spec.name for one in self.components for target in one.targets}
        self.total = {one.spec.name: one.replicas for one in self.components}  # PERF: 500 targets, many steps
        self.why: dict[str, tuple[str, str]] = {}
        self.lacking: dict[str, int] = {}
        self.limits: dict[str, str] = {}

    # ------------------------------------------------------------ counting

    def has(self, component: Component) -> int:
        return self.total[component.spec.name]

    def supply(self, component: Component) -> int:
        """Without those that found no place in time."""
        off = sum(map(self.written_off, component.targets)) if self.refused else 0
        return self.has(component) - off

    def written_off(self, target: Target) -> int:
        """Of those counted, the ones that found no place; they are the first to go."""
        gone = max(0, target.replicas - self.counts[target.key])
        return max(0, target.pending - gone) if target.key in self.refused else 0

    def least(self, component: Component, target: Target) -> int:
        """Under which it must not be; 0 only where that is allowed and nothing is wished for."""
        nothing = component.spec.scale_to_zero and self.wish(component).shrink_to == 0
        return 0 if nothing else max(target.minimum, target.floor, 1)

    def wish(self, component: Component) -> Wish:
        return self.wishes[component.spec.name]

    @property
    def used(self) -> int:
        return self.others + sum(self.has(component) * component.gpus for component in self.components)

    @property
    def held(self) -> int:
        """With what is to go: it has its GPUs until it has emptied."""
        leaving = sum(
            component.gpus * max(0, target.replicas - self.counts[target.key])
            for component in self.components
            for target in component.targets
        )
        return self.used + leaving

    def put(self, target: Target, count: int, reason: str, message: str) -> None:
        self.total[self.owner[target.key]] += count - self.counts[target.key]
        self.counts[target.key] = count
        self.why[target.key] = (reason, message)

    # ------------------------------------------------------------ steps

    def repair(self) -> None:
        for component in self.components:
            for target in component.targets:
                count, ceiling = target.replicas, target.ceiling
                if 0 < count < max(target.minimum, target.floor):
                    least = max(target.minimum, target.floor)
                    self.put(target, least, "BelowMinimum", f"less than {least} must never run")
                elif ceiling is not None and count > max(ceiling, target.minimum):
                    most = max(ceiling, target.minimum)
                    self.put(target, most, "AboveMaximum", f"its own bounds allow {most}")

    def shrink(self) -> None:
        for component in self.components:
            wish, here = self.wish(component), self.has(component)
            off = sum(map(self.written_off, component.targets))
            if wish.shrink_to is None:
                continue
            surplus = max(0, here - max(wish.shrink_to, wish.grow_to))
            step = max(1, int(SHRINK_SHARE * here), off)
            if wish.shrink_to == 0 and component.spec.scale_to_zero:
                surplus = step = here
            for _ in range(min(surplus, step)):
                if not self.take(component, wish.reason, wish.message):
                    break

    def take(self, component: Component, reason: str, message: str) -> bool:
        """One replica less of it: where something has no place, else where there is most."""
        able = [each for each in component.targets if self.counts[each.key] > self.least(component, each)]
        if not able:
            return False

        def spare(target: Target) -> tuple[bool, int, int]:
            over = self.counts[target.key] - self.least(component, target)
            return self.written_off(target) > 0, over, target.index

        chosen = max(able, key=spare)
        left = self.counts[chosen.key] - 1
        self.put(chosen, left if left >= chosen.minimum else 0, reason, message)
        return True

    def fit(self) -> None:
        budget = self.spec.gpu_budget
        if budget is None:
            return
        while self.used > budget:
            costly = [one for one in self.components if one.gpus]
            by_share = sorted(costly, key=self.share, reverse=True)
            said = f"{self.used} GPUs are more than the budget of {budget}"
            if not any(self.take(component, "OverBudget", said) for component in by_share):
                return

    def share(self, component: Component) -> float:
        """Of its wish that it has."""
        return self.has(component) / max(1, self.wish(component).grow_to)

    def grow(self) -> None:
        room = {one.spec.name: _stride(one.replicas) for one in self.components}
        hungry = [one for one in self.components if self.supply(one) < self.wish(one).grow_to]
        while hungry:
            component = min(hungry, key=lambda one: (self.share(one), one.gpus))
            added = self.add(component) if room[component.spec.name] > 0 else -1
            room[component.spec.name] -= added
            if added <= 0 or self.supply(component) >= self.wish(component).grow_to:
                hungry.remove(component)
                if added == 0:
                    self.lacking[component.spec.name] = self.wish(component).grow_to - self.supply(component)

    def add(self, component: Component) -> int:
        """Replicas added to its smallest target that can take one: 0 if there is none."""
        name, wish = component.spec.name, self.wish(component)
        able = [each for each in component.targets if self.able(each)]
        if not able:
            refused = any(each.key in self.refused for each in component.targets)
            self.limits[name] = "CapacityRefused" if refused else "TooManyReplicas"
            return 0
        chosen = min(able, key=lambda each: (self.counts[each.key], each.index))
        count = self.counts[chosen.key]
        more = 1 if count else max(1, chosen.minimum, chosen.floor)
        budget = self.spec.gpu_budget
        if budget is not None and self.held + more * component.gpus > budget:
            self.limits[name] = "BudgetExhausted"
            return 0
        self.put(chosen, count + more, wish.reason, wish.message)
        return more

    def able(self, target: Target) -> bool:
        full = target.ceiling is not None and self.counts[target.key] >= target.ceiling
        return not full and target.key not in self.refused

    # ------------------------------------------------------------ result

    def moves(self, *, leaving: bool) -> tuple[Move, ...]:
        """*leaving*: a replica of the set goes, and with it what is in it; nothing else shrinks meanwhile."""
        made = (
            Move(target, self.counts[target.key], *self.why[target.key], component.spec.name)
            for component in self.components
            for target in component.targets
            if self.counts[target.key] != target.replicas
        )
        return tuple(move for move in made if move.grows or not leaving)


def _stride(here: int) -> int:
    return max(GROW_LEAST, here)


# ------------------------------------------------------------ the set


def _top(spec: Spec, tree: Tree, plan: _Plan, may_grow: bool) -> Move | None:
    """Whole replicas of the set, where they are ours to change."""
    span, here = spec.set_replicas, tree.top.replicas
    if span is None:
        return None
    if not span.min <= here <= span.max:
        to = min(max(here, span.min), span.max)
        return Move(tree.top, to, "OutOfBounds", f"setReplicas allow {span.min} to {span.max}")
    wished = [one for one in tree.components if one.spec.level == "set"]
    up = [ceil(plan.wishes[one.spec.name].grow_to / _per_replica(one)) for one in wished]
    lacking = [name for name, why in plan.limits.items() if why != "BudgetExhausted"]
    if here < span.max and (max(up, default=0) > here or (may_grow and lacking)):
        return _one_more(spec, tree, plan, wished, lacking)
    if here > max(span.min, 1) and all(_spared(plan, one, here) for one in tree.components):
        names = ", ".join(one.spec.name for one in tree.components)
        return Move(tree.top, here - 1, "SetConsolidated", f"{here - 1} replicas hold all of {names}")
    return None


def _per_replica(component: Component) -> int:
    """Replicas of a component that a replica of the set brings along."""
    return max(1, component.at_first)


def _one_more(
    spec: Spec, tree: Tree, plan: _Plan, wished: list[Component], lacking: list[str]
) -> Move | None:
    cost = sum(one.gpus * _per_replica(one) for one in tree.components)
    if spec.gpu_budget is not None and plan.used + cost > spec.gpu_budget:
        plan.limits |= {one.spec.name: "BudgetExhausted" for one in wished}
        return None
    if lacking:
        message = f"no room in {tree.top.replicas} replicas for more of {', '.join(lacking)}"
        return Move(tree.top, tree.top.replicas + 1, "NoRoomInSet", message)
    first = max(wished, key=lambda one: plan.wishes[one.spec.name].grow_to)
    wish = plan.wishes[first.spec.name]
    return Move(tree.top, tree.top.replicas + 1, wish.reason, f"{first.spec.name}: {wish.message}")


def _spared(plan: _Plan, component: Component, here: int) -> bool:
    """All that it needs would still be there without the set's last replica."""
    need = plan.wishes[component.spec.name].shrink_to
    if need is None:
        return False
    if component.spec.level == "set":
        return need <= (here - 1) * _per_replica(component)
    return need <= sum(target.replicas for target in component.targets if target.index < here - 1)
