"""From what frontends tell to what autoscalers are told: one sample per measure and target.

A target is what can be scaled (targets.py). Workers that nobody placed in a cluster (`place` of the workers
file) form a target with the labels role and model alone, in every namespace.

    prefill_work_seconds_per_second   seconds of a worker that arriving uncached prompts take, per second
    decode_virtual_load               workers that what is decoding now needs to keep its promise: by the
                                      learnt time of a step, or by cache in use, whichever is more
    queued_tokens                     of prompts that wait for a worker, shared out among the model's targets
                                      by their ready workers
    queue_wait_seconds                99th percentile of the last minute; the same for all targets of a model
    output_tokens_per_second          as the workers counted them

A load that nobody can know yet (no step learnt, no cache told, and something is decoding) is left out: it is
an error for who asks, never a zero.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from grove_dp.metering.buckets import quantile
from grove_dp.metering.external.board import EVERYWHERE, Picture, Sample
from grove_dp.metering.external.targets import TargetKey
from grove_dp.metering.merging import Merged, ModelNow, WorkerNow
from grove_dp.metering.signals import CurveSignal

__all__ = ["picture"]

LEARNT: Final = 16  # observations before a curve is believed

Known = Callable[[Iterable[TargetKey]], Iterable[TargetKey]]


def picture(merged: Merged, known: Known = tuple) -> Picture:
    """What the external metrics server publishes. *known*: which targets there are, of those with workers
    and others (KnownTargets.look)."""
    targets = _targets(merged.workers)
    for key in known(targets):
        targets.setdefault(key, [])
    bases = {name: told.base for told, *_ in merged.workers for name in told.models}
    queues = defaultdict(list)
    for model in merged.models:
        queues[bases.get(model.model, model.model)].append(model)
    samples = [
        Sample(
            metric=f"grove_dp_{name}",
            namespace=key.namespace,
            labels=key.labels,
            value=value,
            wall_s=merged.wall_s,
            window_s=max(1, round(merged.window_s)),
        )
        for key, workers in targets.items()
        for name, value in _measures(key, workers, targets, queues[key.model], merged)
    ]
    missing = merged.missing + ((f"{merged.lost} records were lost",) if merged.lost else ())
    return Picture(samples=tuple(samples), missing=missing)


def _targets(workers: Iterable[WorkerNow]) -> dict[TargetKey, list[WorkerNow]]:
    found: dict[TargetKey, list[WorkerNow]] = {}
    for worker in workers:
        told = worker.told
        key = TargetKey(told.namespace or EVERYWHERE, told.pcs, told.component, told.role, told.base)
        found.setdefault(key, []).append(worker)
    return found


def _measures(
    key: TargetKey,
    workers: Sequence[WorkerNow],
    targets: Mapping[TargetKey, Sequence[WorkerNow]],
    queue: Sequence[ModelNow],
    merged: Merged,
) -> Iterator[tuple[str, float]]:
    yield "prefill_work_seconds_per_second", sum(worker.work_s_per_s for worker in workers)
    yield "output_tokens_per_second", sum(worker.output_tokens_per_s for worker in workers)
    load = _virtual_load(workers, _curve(merged.curves, key.model), merged.itl_s)
    if load is not None:
        yield "decode_virtual_load", load
    if key.role == "decode":  # it gets what prefill workers are done with: nothing waits for it
        yield "queued_tokens", 0.0
        yield "queue_wait_seconds", 0.0
        return
    yield "queued_tokens", _share(key, targets) * sum(model.queued_tokens for model in queue)
    yield "queue_wait_seconds", quantile([model.times.queue_wait for model in queue], 0.99)


def _share(key: TargetKey, targets: Mapping[TargetKey, Sequence[WorkerNow]]) -> float:
    """Of a model's queue: as its ready workers to those of all targets that take new requests."""

    def ready(one: TargetKey) -> int:
        return sum(worker.told.state == "ready" for worker in targets[one])

    rivals = [one for one in targets if one.model == key.model and one.role != "decode"]
    everyone = sum(map(ready, rivals))
    return ready(key) / everyone if everyone else 1 / len(rivals)


def _curve(curves: Iterable[CurveSignal], model: str) -> CurveSignal | None:
    return next((curve for curve in curves if model in curve.models and curve.step_n >= LEARNT), None)


def _virtual_load(workers: Sequence[WorkerNow], curve: CurveSignal | None, itl_s: float) -> float | None:
    """Workers needed; None when nothing tells."""
    decoding = sum(worker.decode for worker in workers)
    known = [worker.told for worker in workers if worker.told.kv_capacity > 0]
    by_cache = sum(told.kv_tokens / told.kv_capacity for told in known)
    by_step = None
    if curve is not None and decoding > 0:
        context = sum(told.kv_tokens for told in known) / max(1.0, sum(worker.inflight for worker in workers))
        start, per_request, per_token = curve.step
        slope = per_request + per_token * context
        by_step = decoding * slope / (itl_s - start) if itl_s > start else math.inf
    if by_step is not None and math.isfinite(by_step):
        return max(by_step, by_cache)
    return by_cache if known or not decoding else None
