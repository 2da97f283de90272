"""What placing by KV cache did, as Prometheus families: placements, the index, feeds, predictions.

Labels are bounded: worker is a registered worker, the others are enums.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from grove_dp.native.plane import Audit

__all__ = ["STEPS", "FeedReading", "KvReading", "RoutingReading", "routing_families"]

FEED_STATES: Final = ("live", "cold", "replaying", "disconnected", "silent")
_RATIOS: Final = ("0.0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "1.0", "+Inf")

STEPS: Final = {
    "exact": "tokens_exact",
    "recalled": "tokens_recalled",
    "declined": "tokens_declined",
    "late": "tokens_late",
    "skipped": "tokens_skipped",
}
_INDEX: Final[Mapping[str, tuple[str, str]]] = {
    "bytes": ("grove_dp_index_bytes", "Memory of the prefix index"),
    "bytes_max": ("grove_dp_index_max_bytes", "Its cap"),
    "feed_bytes": ("grove_dp_index_feed_bytes", "Memory for the workers' own names of blocks"),
    "blocks": ("grove_dp_index_blocks", "Distinct blocks known"),
    "predicted_blocks": ("grove_dp_index_predicted_blocks", "Blocks that only our placements say"),
    "ring_used": ("grove_dp_index_ring_bytes", "Bytes that wait for the index thread"),
}
_INDEX_COUNTERS: Final[Mapping[str, tuple[str, str]]] = {
    "stored": ("grove_dp_index_stored_blocks", "Blocks that workers said they have"),
    "removed": ("grove_dp_index_removed_blocks", "Blocks that workers said they have no more"),
    "predictions": ("grove_dp_index_predictions", "Placed prompts whose blocks are expected"),
    "misfits": ("grove_dp_index_misfits", "Chains of blocks that contradict what is known"),
    "stale": ("grove_dp_index_stale_messages", "Messages of workers that had gone"),
    "evicted": ("grove_dp_index_evicted_blocks", "Blocks forgotten at the cap"),
    "expired": ("grove_dp_index_expired_predictions", "Predictions that ran out"),
    "orphans": ("grove_dp_index_orphans", "Stores under a block that is not known"),
    "refused": ("grove_dp_index_refused_blocks", "Blocks not stored for want of memory"),
    "messages": ("grove_dp_index_messages", "Messages that the index thread took"),
    "ring_lost": ("grove_dp_index_lost_messages", "Messages for which the ring had no room"),
}
_FEED_COUNTERS: Final[Mapping[str, tuple[str, str]]] = {
    "messages": ("grove_dp_worker_kv_messages", "Batches of KV events received"),
    "gaps": ("grove_dp_worker_kv_gaps", "Gaps in the numbers of its batches"),
    "restarts": ("grove_dp_worker_kv_restarts", "Times that its numbers began anew"),
    "replays": ("grove_dp_worker_kv_replays", "Replays asked for"),
    "lost": ("grove_dp_worker_kv_lost_batches", "Batches that nobody could bring"),
    "refused": ("grove_dp_worker_kv_refused", "Times that the index thread had no room"),
    "malformed": ("grove_dp_worker_kv_malformed", "Payloads that could not be read"),
}


class FeedReading(NamedTuple):
    """What one worker tells of its cache."""

    state: str  # one of FEED_STATES
    held: int  # blocks
    seq: int = -1  # of its last batch; -1: none
    messages: int = 0
    gaps: int = 0
    restarts: int = 0
    replays: int = 0
    lost: int = 0
    refused: int = 0
    malformed: int = 0


class KvReading(NamedTuple):
    """One worker as far as its cache goes."""

    id: str
    feed: FeedReading
    by_tokens: Audit
    by_text: Audit
    ratio: float | None  # over the last minute
    alarm: bool
    backlog_s: float


class RoutingReading(NamedTuple):
    """Everything of it, copied at one time."""

    counters: Mapping[str, Any]
    figures: Mapping[str, int]  # of the index
    workers: Sequence[KvReading]


def routing_families(reading: RoutingReading) -> Iterator[Metric]:
    """Every family."""
    yield from _placements(reading.counters)
    for key, told in _INDEX.items():
        yield GaugeMetricFamily(*told, reading.figures[key])
    for key, told in _INDEX_COUNTERS.items():
        yield CounterMetricFamily(*told, reading.figures[key])
    yield from _feeds(reading.workers)
    yield from _predictions(reading.workers)


def _placements(counters: Mapping[str, Any]) -> Iterator[Metric]:
    placed = CounterMetricFamily(
        "grove_dp_placements", "Placements by what was known of the prompt", labels=("basis",)
    )
    for basis, count in counters["placed_by"].items():
        placed.add_metric((basis,), count)
    steps = CounterMetricFamily(
        "grove_dp_token_steps", "Requests that wanted their tokens, by how that ended", labels=("outcome",)
    )
    for outcome, key in STEPS.items():
        steps.add_metric((outcome,), counters[key])
    yield placed
    yield steps
    yield CounterMetricFamily(
        "grove_dp_demoted_requests", "Requests that stood aside in the queue", counters["demoted"]
    )


def _feeds(workers: Sequence[KvReading]) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "grove_dp_worker_kv_events",
        "1 for the state in which its KV events are",
        labels=("worker", "state"),
    )
    held = GaugeMetricFamily("grove_dp_worker_kv_blocks", "Blocks that it has told of", labels=("worker",))
    backlog = GaugeMetricFamily(
        "grove_dp_worker_backlog_seconds",
        "Predicted time of prompts placed and not computed",
        labels=("worker",),
    )
    counted = {key: CounterMetricFamily(*told, labels=("worker",)) for key, told in _FEED_COUNTERS.items()}
    for worker in workers:
        for name in FEED_STATES:
            state.add_metric((worker.id, name), worker.feed.state == name)
        held.add_metric((worker.id,), worker.feed.held)
        backlog.add_metric((worker.id,), worker.backlog_s)
        for key, family in counted.items():
            family.add_metric((worker.id,), getattr(worker.feed, key))
    yield from (state, held, backlog, *counted.values())


def _predictions(workers: Sequence[KvReading]) -> Iterator[Metric]:
    labels = ("worker", "basis")
    predicted = CounterMetricFamily(
        "grove_dp_predicted_cached_tokens", "Cached tokens predicted, of requests judged", labels=labels
    )
    realised = CounterMetricFamily(
        "grove_dp_realised_cached_tokens", "Cached tokens found, of requests judged", labels=labels
    )
    agreed = CounterMetricFamily(
        "grove_dp_predictions_exact", "Requests whose prediction was right to the token", labels=labels
    )
    silent = CounterMetricFamily(
        "grove_dp_not_auditable", "Requests whose worker did not report cached tokens", labels=labels
    )
    spread = HistogramMetricFamily(
        "grove_dp_cached_tokens_ratio", "Realised over predicted cached tokens, per request", labels=labels
    )
    ratio = GaugeMetricFamily(
        "grove_dp_worker_prediction_ratio",
        "Realised over predicted cached tokens in the last minute; no sample: too little to tell",
        labels=("worker",),
    )
    alarm = GaugeMetricFamily(
        "grove_dp_worker_prediction_alarm", "1 while that ratio is under 0.9", labels=("worker",)
    )
    for worker in workers:
        for basis, audit in (("tokens", worker.by_tokens), ("text", worker.by_text)):
            told = (worker.id, basis)
            predicted.add_metric(told, audit.predicted)
            realised.add_metric(told, audit.realised)
            agreed.add_metric(told, audit.agreed)
            silent.add_metric(told, audit.not_auditable)
            if audit.judged:
                spread.add_metric(told, _cumulative(audit), None)
        if worker.ratio is not None:
            ratio.add_metric((worker.id,), worker.ratio)
        alarm.add_metric((worker.id,), worker.alarm)
    yield from (predicted, realised, agreed, silent, spread, ratio, alarm)


def _cumulative(audit: Audit) -> list[tuple[str, float]]:
    """Bin 0 is none at all, bin i up to (and without) i/10, the last all of it or more."""
    buckets, seen = [], 0
    for bound, count in zip(_RATIOS, audit.bins, strict=True):
        seen += count
        buckets.append((bound, float(seen)))
    return buckets
