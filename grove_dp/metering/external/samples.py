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

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from grove_dp.metering.buckets import quantile
from grove_dp.metering.decode import LEARNT, Decoding, virtual_load
from grove_dp.metering.external.board import EVERYWHERE, Picture, Sample
from grove_dp.metering.external.targets import TargetKey
from grove_dp.metering.merging import Merged, ModelNow, WorkerNow
from grove_dp.metering.signals import CurveSignal

__all__ = ["picture"]

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
    load = virtual_load(_decoding(workers), _step(merged.curves, key.model), merged.itl_s)
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


def _step(curves: Iterable[CurveSignal], model: str) -> Sequence[float] | None:
    """What a step of the model's workers takes, once that is learnt."""
    return next((curve.step for curve in curves if model in curve.models and curve.step_n >= LEARNT), None)


def _decoding(workers: Sequence[WorkerNow]) -> Decoding:
    told = [worker.told for worker in workers if worker.told.kv_capacity > 0]
    return Decoding(
        requests=sum(worker.decode for worker in workers),
        inflight=sum(worker.inflight for worker in workers),
        pinned_tokens=sum(each.kv_tokens for each in told),
        cache_share=sum(each.kv_tokens / each.kv_capacity for each in told) if told else None,
    )
