"""Replicas wished for, by component: a pure function of one look. This is the part to replace.

    grow_to     load · (1 + head-room), and what the queue needs to be served in time, within bounds
    shrink_to   load · (1 + head-room + margin): what must be enough after something has gone

Between the two lies rest: a load that wavers by less than the margin moves nothing. Demand is counted in work
that arrives, so it does not depend on how many replicas there are, and the loop is feed-forward.

Whoever writes another one: the wish may be any number; levels, guards and the drain make it safe.
"""

from math import ceil
from typing import Final

import msgspec

from grove_dp.scaling.demand import Demand
from grove_dp.scaling.spec import Behavior, ComponentSpec

__all__ = ["Wish", "decide"]

_ROUNDING: Final = 1e-9


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """For one component. `shrink_to` None: nothing may go; `grow_to` 0: nothing need be there."""

    grow_to: int
    shrink_to: int | None
    reason: str
    message: str
    limited: bool = False  # bounds stand against the load


def decide(component: ComponentSpec, demand: Demand, behavior: Behavior) -> Wish:
    """What the load asks for, within the component's own bounds."""
    if demand.load is None:
        return _unknown(component)
    if not demand.workers and (demand.arriving > 0 or demand.queued > 0):
        return _nobody_serves(component, demand)
    return _bounded(component, _by_load(component, demand, behavior))


def _by_load(component: ComponentSpec, demand: Demand, behavior: Behavior) -> Wish:
    load = demand.load or 0.0
    each = component.workers_per_replica
    by_work = _replicas(load * (1 + behavior.headroom), each)
    by_queue = _replicas(load + demand.queued_s / behavior.queue_drain_seconds, each)
    rest = _replicas(load * (1 + behavior.headroom + behavior.margin), each)
    grow_to = max(by_work, by_queue)
    if not demand.idle:
        grow_to = max(1, grow_to)
    message = f"{_workers(load)} of work and {behavior.headroom:.0%} head-room"
    reason = "TokenLoad"
    if by_queue > by_work:
        reason = "QueueDrain"
        message = (
            f"{_workers(load)} of work and {demand.queued:.0f} requests that wait, to be served in"
            f" {behavior.queue_drain_seconds:g} s"
        )
    elif demand.idle:
        reason, message = "NoTraffic", "nothing runs, waits or comes"
    return Wish(grow_to=grow_to, shrink_to=max(rest, grow_to), reason=reason, message=message)


def _replicas(workers: float, each: int) -> int:
    return ceil(workers / each - _ROUNDING)


def _workers(load: float) -> str:
    return f"{load:.2f} workers" if load < 10 else f"{load:.1f} workers"


def _bounded(component: ComponentSpec, wish: Wish) -> Wish:
    least, most = _bounds(component)
    kept = None if wish.shrink_to is None else _between(wish.shrink_to, least, most)
    if most is not None and wish.grow_to > most:
        message = f"{wish.message} would be {wish.grow_to} replicas; maxReplicas is {most}"
        return Wish(grow_to=most, shrink_to=kept, reason="TooManyReplicas", message=message, limited=True)
    grow_to = _between(wish.grow_to, least, most)
    return msgspec.structs.replace(wish, grow_to=grow_to, shrink_to=kept, limited=grow_to > wish.grow_to)


def _bounds(component: ComponentSpec) -> tuple[int, int | None]:
    least = component.min_replicas
    if least is None:
        least = 0 if component.scale_to_zero else 1
    return least, component.max_replicas


def _between(count: int, least: int, most: int | None) -> int:
    count = max(count, least)
    return count if most is None else min(count, most)


def _unknown(component: ComponentSpec) -> Wish:
    least, _ = _bounds(component)
    message = (
        "output is decoded, but neither a step's time nor a cache is known yet; declare"
        f" decodeTokensPerSecond of {component.name}, or wait until it is learnt"
    )
    return Wish(grow_to=max(1, least), shrink_to=None, reason="CapacityUnknown", message=message)


def _nobody_serves(component: ComponentSpec, demand: Demand) -> Wish:
    """Requests come, and no worker is ready: enough to begin with, and what is starting stays."""
    least, _ = _bounds(component)
    message = (
        f"{demand.arriving:.2g} requests a second come, {demand.queued:.0f} wait, and no worker is ready"
    )
    return Wish(grow_to=max(1, least), shrink_to=None, reason="NoReadyWorker", message=message)
