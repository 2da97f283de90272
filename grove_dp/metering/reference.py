"""docs/metrics.md: every metric of a frontend, made from the code that serves them.

    python -m grove_dp.metering.reference > docs/metrics.md

A test holds the page to this.
"""

from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric

from grove_dp.metering.ledger import Ledger
from grove_dp.metering.meter import Meter
from grove_dp.metering.prometheus import COUNTERS, GAUGES, ControlMetrics, Reading, WorkerReading, families
from grove_dp.metering.routing import STEPS, FeedReading, KvReading, RoutingReading
from grove_dp.native.plane import BASES, Audit

__all__ = ["page"]

_HEAD = """\
# Metrics of a frontend

`GET /metrics` of the admin port, as text, OpenMetrics 1.0 or 2.0, or protobuf. This page is made by
`python -m grove_dp.metering.reference`.

[bench/results/page.svg](../bench/results/page.svg) draws a frontend under load from these series alone
(`make bench-page`).

Histograms have classic buckets at powers of 2^(1/16) seconds; native ones of schema 4 in OpenMetrics 2.0 and
protobuf.
`model` and `slo_class` have at most 1,024 combinations, `worker` is a registered worker.

## Requests by model and class
"""

_ABSENT = """
## What is not measured

- The stage `transfer` of a request's time: prefill and decode run in one worker, so nothing is handed over.
- When the first token of an answer came that is no stream: it is in no time to first token, and its stages
  `prefill` and `decode` are one, told as `prefill`.
- Cached tokens, where a worker does not report them (vLLM: `--enable-prompt-tokens-details`): `kind="cached"`
  and `"uncached"` stay behind `"prompt"`, and `grove_dp_not_auditable_total` counts such requests.
- `grove_dp_worker_decode_virtual_load`, until 16 steps were seen or the worker tells of its cache.
- Promises (`grove_dp_slo_*`) of answers that are no streams. Their share over any window is a ratio of rates.
"""


def page() -> str:
    """The whole page."""
    meter = Meter()
    Ledger(meter, lambda _number, _series: None)
    return f"{_HEAD}\n{meter.reference()}\n## Everything else\n\n{_table(_others())}{_ABSENT}"


def _others() -> Iterator[Metric]:
    """Families as they are when everything is there once."""
    audit = Audit(1, 1, 0, 1, 1, [0] * 12)
    book = dict.fromkeys(WorkerReading._fields, 0)
    worker = WorkerReading(**{**book, "id": "w", "state": "ready", "circuit": "closed"})  # type: ignore[arg-type]
    counters = dict.fromkeys([*COUNTERS, *GAUGES, *STEPS.values(), "demoted"], 0)
    told = counters | {
        "ended": {("chat", "OK"): 1},
        "status": {200: 1},
        "placed_by": dict.fromkeys(BASES, 1),
    }
    cache = KvReading("w", FeedReading("live", 0), audit, audit, 1.0, False, 0.0)
    index = _Zeros()
    yield from families(Reading(told, [worker], {"version": "1"}, RoutingReading(told, index, [cache])))
    yield from ControlMetrics().registry.collect()


class _Zeros(dict[str, int]):
    def __missing__(self, key: str) -> int:
        return 0


def _table(found: Iterable[Metric]) -> str:
    lines = ["| metric | kind | labels | what |\n|---|---|---|---|\n"]
    for family in sorted(found, key=lambda family: family.name):
        if not family.name.startswith("grove_dp_"):
            continue
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        name = f"{family.name}_total" if family.type == "counter" else family.name
        lines.append(f"| `{name}` | {family.type} | {', '.join(labels) or '-'} | {family.documentation} |\n")
    return "".join(lines)


if __name__ == "__main__":
    print(page(), end="")
