"""dashboards/grove-dp.json: a Grafana dashboard of what a frontend shows.

    python -m grove_dp.metering.dashboard > dashboards/grove-dp.json

From top to bottom as an operator asks: do clients get what was promised, where does the time go, what waits,
do the caches pay, is a worker in trouble, is the frontend itself well. A test holds the file to this, and
every metric in it, and in dashboards/alerts.yaml, to a page that is really served.
"""

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

__all__ = ["dashboard"]

_WIDTH: Final = 24
_PICK: Final = 'model=~"$model",slo_class=~"$slo_class"'


class _Panel(NamedTuple):
    """One graph: (expression, legend) of each line."""

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    width: int = 8


def _rate(metric: str, by: str, more: str = "") -> str:
    inner = ",".join(part for part in (_PICK, more) if part)
    return f"sum by ({by}) (rate({metric}{{{inner}}}[$__rate_interval]))"


def _quantiles(metric: str, *quantiles: float) -> tuple[tuple[str, str], ...]:
    summed = f"sum by (le) (rate({metric}_bucket{{{_PICK}}}[$__rate_interval]))"
    return tuple((f"histogram_quantile({q}, {summed})", f"p{q * 100:g}") for q in quantiles)


def _share(metric: str, by: str, whole: str) -> str:
    total = f"sum(rate({whole}{{{_PICK}}}[$__rate_interval]))"
    return f"{_rate(metric, by)} / ignoring({by}) group_left() {total}"


_KEPT: Final = _share("grove_dp_slo_kept_requests_total", "promise", "grove_dp_slo_requests_total")
_STAGES: Final = _share("grove_dp_stage_seconds_total", "stage", "grove_dp_stage_seconds_total")
_LAG: Final = "rate(grove_dp_control_lag_seconds_bucket[$__rate_interval])"
_FOUND, _ASKED = (_rate("grove_dp_tokens_total", "model", f'kind="{kind}"') for kind in ("cached", "prompt"))

_ROWS: Final[tuple[tuple[str, tuple[_Panel, ...]], ...]] = (
    (
        "What clients get",
        (
            _Panel(
                "Time to first token",
                "s",
                _quantiles("grove_dp_time_to_first_token_seconds", 0.5, 0.95, 0.99),
            ),
            _Panel("Time between tokens", "s", _quantiles("grove_dp_token_gap_seconds", 0.5, 0.95, 0.99)),
            _Panel(
                "Promises kept",
                "percentunit",
                ((_KEPT, "{{promise}}"),),
            ),
            _Panel("Requests", "reqps", ((_rate("grove_dp_arrivals_total", "model"), "{{model}}"),)),
            _Panel("Tokens", "short", ((_rate("grove_dp_tokens_total", "kind"), "{{kind}} /s"),)),
            _Panel(
                "Requests that ended otherwise than well",
                "reqps",
                (
                    (
                        'sum by (reason) (rate(grove_dp_requests_total{reason!="OK"}[$__rate_interval]))',
                        "{{reason}}",
                    ),
                ),
            ),
        ),
    ),
    (
        "Where the time goes",
        (
            _Panel(
                "Shares of a request's time",
                "percentunit",
                ((_STAGES, "{{stage}}"),),
            ),
            _Panel("Wait for a worker", "s", _quantiles("grove_dp_queue_wait_seconds", 0.5, 0.99)),
            _Panel(
                "Waiting now",
                "short",
                (
                    (f"sum by (model) (grove_dp_queue_requests{{{_PICK}}})", "{{model}}, requests"),
                    (f"sum by (model) (grove_dp_queue_prompt_tokens{{{_PICK}}})", "{{model}}, tokens"),
                ),
            ),
        ),
    ),
    (
        "Caches",
        (
            _Panel(
                "Prompt tokens found in caches",
                "percentunit",
                ((f"{_FOUND} / {_ASKED}", "{{model}}"),),
            ),
            _Panel(
                "Found of what was predicted, last minute",
                "percentunit",
                (("grove_dp_worker_prediction_ratio", "{{worker}}"),),
            ),
            _Panel(
                "Placements by what was known",
                "reqps",
                (("sum by (basis) (rate(grove_dp_placements_total[$__rate_interval]))", "{{basis}}"),),
            ),
            _Panel(
                "Workers whose events are not live",
                "short",
                (('sum by (state) (grove_dp_worker_kv_events{state!="live"})', "{{state}}"),),
            ),
            _Panel(
                "Memory of the index",
                "bytes",
                (("grove_dp_index_bytes", "index"), ("grove_dp_index_feed_bytes", "names of the workers")),
            ),
            _Panel(
                "Tokens of prompts",
                "reqps",
                (("sum by (outcome) (rate(grove_dp_token_steps_total[$__rate_interval]))", "{{outcome}}"),),
            ),
        ),
    ),
    (
        "Workers",
        (
            _Panel("In flight", "short", (("grove_dp_worker_inflight", "{{worker}}"),)),
            _Panel("Decoding", "short", (("grove_dp_worker_decoding", "{{worker}}"),)),
            _Panel(
                "Workers that decoding needs to keep its promise",
                "short",
                (("grove_dp_worker_decode_virtual_load", "{{worker}}"),),
            ),
            _Panel(
                "Of its cache pinned",
                "percentunit",
                (("grove_dp_worker_kv_tokens / (grove_dp_worker_kv_capacity_tokens > 0)", "{{worker}}"),),
            ),
            _Panel("Prompts before a new one", "s", (("grove_dp_worker_backlog_seconds", "{{worker}}"),)),
            _Panel(
                "Not to be used",
                "short",
                (
                    ("grove_dp_worker_up == 0", "{{worker}}"),
                    ('grove_dp_worker_circuit{circuit="open"} == 1', "{{worker}}, circuit open"),
                ),
            ),
        ),
    ),
    (
        "The frontend itself",
        (
            _Panel(
                "How late the control loop wakes, p99",
                "s",
                (
                    (
                        f"histogram_quantile(0.99, sum by (le) ({_LAG}))",
                        "lag",
                    ),
                ),
            ),
            _Panel(
                "Bytes held, connections",
                "short",
                (("grove_dp_buffered_bytes", "bytes"), ("grove_dp_connections", "connections")),
            ),
            _Panel(
                "Tries on another worker",
                "reqps",
                (
                    ("rate(grove_dp_retries_total[$__rate_interval])", "retries"),
                    ("rate(grove_dp_retries_denied_total[$__rate_interval])", "refused by the budget"),
                ),
            ),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """The document as Grafana imports it."""
    return {
        "uid": "grove-dp",
        "title": "grove_dp frontends",
        "schemaVersion": 39,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "10s",
        "templating": {"list": [_source(), *(_variable(name) for name in ("model", "slo_class"))]},
        "panels": list(_panels()),
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "query": f"label_values(grove_dp_arrivals_total, {name})",
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "refresh": 2,
    }


def _panels() -> Iterator[dict[str, Any]]:
    top, number = 0, 1
    for title, panels in _ROWS:
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "gridPos": {"x": 0, "y": top, "w": _WIDTH, "h": 1},
        }
        number, top, left = number + 1, top + 1, 0
        for panel in panels:
            if left + panel.width > _WIDTH:
                left, top = 0, top + 8
            yield _graph(panel, number, left, top)
            number, left = number + 1, left + panel.width
        top += 8


def _graph(panel: _Panel, number: int, left: int, top: int) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    targets = [
        {"refId": chr(ord("A") + place), "expr": expression, "legendFormat": legend, "datasource": source}
        for place, (expression, legend) in enumerate(panel.lines)
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "gridPos": {"x": left, "y": top, "w": panel.width, "h": 8},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=1))
