"""What all frontends tell, as what a decision needs: demand by component, and what the picture lacks.

A component's demand is counted in workers, as work that arrives and not as requests in flight: those grow
with the queue, and whoever scales by them overshoots (in simulation, a target of 1.5 in flight per worker
kept 62 % of its promises for more GPU-hours than a target of 1.0 that kept 98 %).

    prefill   seconds of a worker that arriving uncached prompts take, per second
    decode    output tokens per second / those of one worker at the limit of its promise, by the learnt time
              of a step; or its share of pinned cache, if that is more
    queued    the work of what waits at the frontends now; what was refused or waits is in the rates, too

What a frontend tells of a worker that no frontend can reach is still demand: pods are not asked. What workers
did that left within the window was demand, too: it comes to the others now.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from grove_dp.metering.buckets import quantile
from grove_dp.metering.decode import LEARNT
from grove_dp.metering.merging import Merged, ModelNow, WorkerNow
from grove_dp.metering.signals import CurveSignal, Signals
from grove_dp.scaling.demand import Demand, Occupancy, Snapshot
from grove_dp.scaling.spec import ComponentSpec, Spec

__all__ = ["occupancies", "snapshot"]

STARTUPS: Final = 5  # measured ones before they are believed


def snapshot(
    spec: Spec,
    namespace: str,
    merged: Merged,
    pods: Mapping[str, Occupancy],
    now: float,
    missing: Sequence[str] = (),
) -> Snapshot:
    """*merged* and *pods* of the last poll, for one set. *missing*: frontends that were not even asked."""
    mine = [one for one in merged.workers if _belongs(one, namespace, spec.pod_clique_set)]
    left = [one for one in merged.left if _belongs(one, namespace, spec.pod_clique_set)]
    lost = (f"{merged.lost} records were lost",) if merged.lost else ()
    none = () if merged.frontends else ("NoFrontends",)
    bases = {*spec.models, *(one.told.base for one in mine if one.told.base)}
    served = {name: told.base for told, *_ in merged.workers for name in told.models}
    queues = [model for model in merged.models if served.get(model.model, model.model) in bases]
    judged = sum(model.judged for model in queues)
    demands = {
        component.name: _demand(component, mine, left, queues, merged, spec.slo.itl_seconds or merged.itl_s)
        for component in spec.components
    }
    return Snapshot(
        now=now,
        missing=(*missing, *none, *merged.missing, *lost),
        demands=demands,
        pods=pods,
        startup_s=_startup(merged.startups),
        attained=sum(model.kept for model in queues) / judged if judged else None,
        queue_wait_s=quantile([model.times.queue_wait for model in queues], 0.99) if queues else 0.0,
    )


def _belongs(worker: WorkerNow, namespace: str, name: str) -> bool:
    return worker.told.pcs == name and worker.told.namespace == namespace


# ------------------------------------------------------------ demand


def _demand(
    component: ComponentSpec,
    workers: Sequence[WorkerNow],
    left: Sequence[WorkerNow],
    queues: Sequence[ModelNow],
    merged: Merged,
    itl_s: float,
) -> Demand:
    mine = [one for one in workers if one.told.component == component.name]
    worked = [*mine, *(one for one in left if one.told.component == component.name)]
    takes_new = component.role != "decode"
    queued = sum(model.queued for model in queues)
    arriving = sum(model.arrived_per_s for model in queues)
    front = [one for one in workers if one.told.role != "decode"]
    placed = sum(one.placed_per_s for one in (*workers, *left) if one.told.role != "decode")
    more = _withheld(queued, arriving, placed)
    prefill, rate = _prefill(component, worked)
    decode, capacity = _decode(component, mine, worked, merged.curves, itl_s)
    share = _share(mine, front) if takes_new else 0.0
    waiting = share * sum(model.queued_tokens for model in queues)
    return Demand(
        known=len(mine),
        workers=sum(one.told.state == "ready" for one in mine),
        prefill=more * prefill,
        decode=None if decode is None else more * decode,
        queued_s=waiting / rate if rate else 0.0,
        queued=share * queued,
        arriving=arriving,
        prefill_tokens=rate,
        decode_tokens=capacity,
    )


def _withheld(queued: float, arriving: float, placed: float) -> float:
    """What arrives / what gets to a worker; without a queue the two are the same but for chance."""
    return max(1.0, arriving / placed) if queued > 0 and placed > 0 else 1.0


def _prefill(component: ComponentSpec, mine: Sequence[WorkerNow]) -> tuple[float, float]:
    """Workers that prompts fill, and uncached tokens that one worker takes per second."""
    if component.role == "decode":
        return 0.0, 0.0
    work = sum(one.work_s_per_s for one in mine)
    tokens = _of_placed(mine) * sum(
        max(0.0, one.prompt_tokens_per_s - one.cached_tokens_per_s) for one in mine
    )
    declared = component.prefill_tokens_per_second
    if declared is not None:
        return tokens / declared, declared
    return work, tokens / work if work > 0 else 0.0


def _of_placed(mine: Sequence[WorkerNow]) -> float:
    """Requests placed for each that ended: tokens are known of those that ended, work of those placed."""
    placed, ended = sum(one.placed_per_s for one in mine), sum(one.ended_per_s for one in mine)
    return placed / ended if placed > 0 and ended > 0 else 1.0


def _decode(
    component: ComponentSpec,
    mine: Sequence[WorkerNow],
    worked: Sequence[WorkerNow],
    curves: Iterable[CurveSignal],
    itl_s: float,
) -> tuple[float | None, float]:
    """Workers that output fills, and tokens that one worker makes per second at the limit of its promise."""
    if component.role == "prefill":
        return 0.0, 0.0
    told = [one.told for one in mine if one.told.kv_capacity > 0]
    cache = sum(each.kv_tokens / each.kv_capacity for each in told) if told else None
    tokens = sum(one.output_tokens_per_s for one in worked)
    capacity = component.decode_tokens_per_second or _at_the_limit(mine, curves, itl_s)
    if capacity:
        return max(tokens / capacity, cache or 0.0), capacity
    if tokens <= 0 and not sum(one.decode for one in mine):
        return cache or 0.0, 0.0
    return cache, 0.0


def _at_the_limit(mine: Sequence[WorkerNow], curves: Iterable[CurveSignal], itl_s: float) -> float:
    """So many requests that a step takes as long as is promised, each with a token per step; 0: unknown."""
    bases = {one.told.base for one in mine}
    learnt = [one for one in curves if one.step_n >= LEARNT and bases.intersection(one.models)]
    if not learnt:
        return 0.0
    start, per_request, per_token = learnt[0].step
    pinned = sum(max(0.0, one.told.kv_tokens) for one in mine)
    each = per_request + per_token * pinned / max(1.0, sum(one.inflight for one in mine))
    return (itl_s - start) / each / itl_s if itl_s > start and each > 0 else 0.0


def _share(mine: Sequence[WorkerNow], front: Sequence[WorkerNow]) -> float:
    """Of the queue: as our ready workers to all that take new requests."""
    everyone = sum(one.told.state == "ready" for one in front)
    return sum(one.told.state == "ready" for one in mine) / everyone if everyone else 1.0


# ------------------------------------------------------------ pods


def occupancies(answers: Iterable[Signals]) -> dict[str, Occupancy]:
    """By the pods' uids. A frontend that does not know a pod has nothing there."""
    found: dict[str, Occupancy] = {}
    for told in answers:
        for worker in told.workers:
            if worker.pod_uid:
                before = found.get(worker.pod_uid, Occupancy())
                found[worker.pod_uid] = Occupancy(
                    before.inflight + worker.inflight, before.draining and worker.draining
                )
    return found


def _startup(seconds: Sequence[float]) -> float | None:
    if len(seconds) < STARTUPS:
        return None
    return sorted(seconds)[int(0.9 * (len(seconds) - 1))]
