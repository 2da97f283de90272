"""`/metrics` of a simulated worker: vLLM's families, labels and buckets, the simulator's values.

The form (names, help, labels, bucket bounds, order) is data: `data/vllm_metrics.txt`, taken from a scrape of
a real vLLM 0.32. Counters and histograms are kept here; gauges are read off the engine when somebody asks.
Values that the simulator has no notion of stay 0.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from prometheus_client.utils import floatToGoString

from grove_dp.sim.engine import Engine
from grove_dp.sim.sequences import Output

if TYPE_CHECKING:
    from grove_dp.sim.exchange import Exchange

__all__ = ["CONTENT_TYPE", "WorkerMetrics", "render"]

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"
_SAMPLE = re.compile(r"(vllm:\w+)\{(.*)\}")
_OWN_LABEL = re.compile(r'(?:reason|finished_reason|source|sleep_state)="(\w+)"')


def _number(value: float) -> str:
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return text


class _Histogram:
    def __init__(self, bounds: list[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


def _one_two_five(limit: int) -> list[str]:
    """Bounds 1, 2, 5, 10, ... up to the longest sequence."""
    steps = (m * 10**e for e in range(12) for m in (1, 2, 5))
    return [f"{step}.0" for step in steps if step <= limit]


class WorkerMetrics:
    """Counters and histograms of one engine."""

    def __init__(self, facts: Mapping[str, str], max_model_len: int, started_at: float) -> None:
        text = (files("grove_dp.sim") / "data" / "vllm_metrics.txt").read_text()
        for name, value in {**facts, "lengths": " ".join(_one_two_five(max_model_len))}.items():
            text = text.replace(f"{{{name}}}", value)
        self.lines = text.splitlines()
        self._started_at = started_at
        self._histograms = {
            parts[2]: _Histogram([float(bound) for bound in parts[3:]])
            for parts in (line.split() for line in self.lines if line.startswith("# BUCKETS "))
        }
        self._ended: Counter[str] = Counter()
        self.rejected = 0
        self._ttft = self._histograms["vllm:time_to_first_token_seconds"]
        self._gap = self._histograms["vllm:inter_token_latency_seconds"]
        self._step = self._histograms["vllm:iteration_tokens_total"]

    def stepped(self, engine: Engine) -> None:
        work = engine.last_work
        self._step.observe(work.decode_seqs + work.prefill_tokens)

    def first_token(self, waited_s: float) -> None:
        self._ttft.observe(waited_s)

    def next_token(self, gap_s: float) -> None:
        self._gap.observe(gap_s)

    def finished(self, output: Output, exchange: "Exchange") -> None:
        """One sequence has reached its end."""
        self._ended[output.finish_reason or "stop"] += 1
        sequence, timing = output.sequence, exchange.timing
        waited, rest = timing.first - timing.asked, timing.last - timing.first
        made = sequence.generated
        for name, value in (
            ("prompt_tokens", sequence.prompt_len),
            ("generation_tokens", made),
            ("max_num_generation_tokens", made),
            ("params_n", exchange.ask.n),
            ("params_max_tokens", exchange.ask.max_tokens),
            ("time_per_output_token_seconds", rest / max(1, made - 1)),
            ("queue_time_seconds", 0.0),
            ("inference_time_seconds", waited + rest),
            ("prefill_time_seconds", waited),
            ("decode_time_seconds", rest),
            ("num_preemptions", sequence.preemptions),
            ("prefill_kv_computed_tokens", sequence.prompt_len - sequence.cached_tokens),
        ):
            self._histograms[f"vllm:request_{name}"].observe(value)
        self._histograms["vllm:e2e_request_latency_seconds"].observe(waited + rest)

    def samples(self, found: re.Match[str], values: Mapping[str, float], rank: int) -> Iterator[str]:
        """The lines that one line of the form stands for."""
        name, labels = found[1], found[2].replace('engine="0"', f'engine="{rank}"', 1)
        base, _, part = name.rpartition("_")
        if base in self._histograms and part in ("count", "sum"):
            if part == "count":
                yield from _histogram(base, labels, self._histograms[base])
            return
        own = _OWN_LABEL.search(labels)
        value = (
            self._started_at
            if name.endswith("_created")
            else values.get(f"{name}/{own[1]}" if own else name, 0.0)
        )
        yield f"{name}{{{labels}}} {_number(value)}"

    def values(self, engine: Engine) -> dict[str, float]:
        totals = engine.totals
        computed = totals.prompt_tokens - totals.cached_tokens
        values: dict[str, float] = {
            "vllm:num_requests_running": engine.running,
            "vllm:num_requests_waiting": engine.waiting,
            "vllm:num_requests_waiting_by_reason/capacity": engine.waiting,
            "vllm:engine_sleep_state/awake": 1,
            "vllm:kv_cache_usage_perc": engine.pool.usage,
            "vllm:gpu_cache_usage_perc": engine.pool.usage,  # its name until 0.9
            "vllm:prefix_cache_queries_total": totals.query_tokens,
            "vllm:prefix_cache_hits_total": totals.cached_tokens,
            "vllm:num_preemptions_total": totals.preemptions,
            "vllm:prompt_tokens_total": totals.prompt_tokens,
            "vllm:prompt_tokens_by_source_total/local_compute": max(0, computed),
            "vllm:prompt_tokens_by_source_total/local_cache_hit": totals.cached_tokens,
            "vllm:prompt_tokens_cached_total": totals.cached_tokens,
            "vllm:prompt_tokens_cached_by_source_total/device": totals.cached_tokens,
            "vllm:generation_tokens_total": totals.generated_tokens,
            "vllm:admission_rejections_total/max_num_queued_reqs": self.rejected,
            "vllm:cache_config_info": 1,
        }
        values.update({f"vllm:request_success_total/{reason}": n for reason, n in self._ended.items()})
        return values


def render(engines: Sequence[tuple[WorkerMetrics, Engine]]) -> bytes:
    """The exposition of one worker; its ranks are told apart by the label `engine`."""
    return "".join(f"{line}\n" for line in _rendered(engines)).encode()


def _rendered(engines: Sequence[tuple[WorkerMetrics, Engine]]) -> Iterator[str]:
    values = [metrics.values(engine) for metrics, engine in engines]
    for line in engines[0][0].lines:
        if line.startswith("# BUCKETS "):
            continue
        found = _SAMPLE.match(line)
        if found is None:
            yield line
            continue
        for rank, (metrics, _) in enumerate(engines):
            yield from metrics.samples(found, values[rank], rank)


def _histogram(name: str, labels: str, histogram: _Histogram) -> Iterator[str]:
    engine, model = labels.split(",", 1)
    below = 0
    for bound, count in zip([*histogram.bounds, float("inf")], histogram.counts, strict=True):
        below += count
        yield f'{name}_bucket{{{engine},le="{_number(bound)}",{model}}} {_number(below)}'
    yield f"{name}_count{{{labels}}} {_number(below)}"
    yield f"{name}_sum{{{labels}}} {_number(histogram.sum)}"
