"""Windows -> rows: medians over turns, ratios within a turn, and the project's bounds. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable

import msgspec

from bench.proxy.measure import Window
from bench.proxy.peers import DIRECT, GROVE, NGINX
from bench.proxy.run import Samples, Turn
from bench.results import Row, row

__all__ = ["rows"]

Figure = Callable[[Window], float]


class Promise(msgspec.Struct, frozen=True):
    """One row out of the turns of one work."""

    name: str
    work: str
    unit: str
    figure: Figure
    must: str
    aim: str
    added: bool = (
        False  # what comes on top of the same turn's window without a proxy; medians, then their ratio
    )


def _per_request(w: Window) -> float:
    return w.cpu_us_per_request


def _per_event(w: Window) -> float:
    return w.cpu_us_per_event


def _age_p99_ms(w: Window) -> float:
    return w.age_us.p99 / 1e3


REQUEST, EVENT = "µs CPU/request", "µs CPU/event"
PROMISES = (
    Promise("ns_small", "ns_small", REQUEST, _per_request, "ratio <= 1.15", "ratio <= 0.9"),
    Promise("ns_8k", "ns_8k", REQUEST, _per_request, "ratio <= 1.5", "ratio <= 1.1"),
    Promise("ns_128k", "ns_128k", REQUEST, _per_request, "ratio <= 2.0", "ratio <= 1.4"),
    Promise("sse_25k", "sse_25k", EVENT, _per_event, "ratio <= 0.9", "ratio <= 0.75"),
    Promise(
        "sse_100k_delivered", "sse_100k", "events/s", lambda w: w.events_per_s, "ratio >= 0.97", "ratio >= 1"
    ),
    Promise("sse_100k_age_p99", "sse_100k", "ms", _age_p99_ms, "ratio <= 1.2", "ratio <= 1"),
    Promise(
        "latency_added_p50", "lat_2000", "µs", lambda w: w.latency_us.p50, "ratio <= 1.1", "ratio <= 1", True
    ),
    Promise(
        "latency_added_p99", "lat_2000", "µs", lambda w: w.latency_us.p99, "ratio <= 1.5", "ratio <= 1", True
    ),
    Promise("age_p99_burning", "burn_3k", "ms", _age_p99_ms, "value <= 8", "value <= 5"),
)
GROWTH = {
    "mem_1000": ("rss_growth_1000", "value <= 25", "value <= 12"),
    "mem_8000": ("rss_growth_8000", "value <= 105", "value <= 70"),
}


def rows(samples: Samples, ours: str = GROVE) -> list[Row]:
    """What was promised, about *ours*; then, for scale, the other proxies beside nginx, without bounds."""
    own = [made for p in PROMISES if (made := _row(p, samples.turns.get(p.work, []), ours, bounded=True))]
    others = sorted({name for turns in samples.turns.values() for turn in turns for name in turn})
    beside = [
        made
        for name in others
        if name not in (DIRECT, NGINX, ours)
        for p in PROMISES
        if (made := _row(p, samples.turns.get(p.work, []), name, bounded=False))
    ]
    return [*own, *_memory(samples, ours), *beside]


def _row(p: Promise, turns: list[Turn], name: str, *, bounded: bool) -> Row | None:
    value = _median(_figures(p, turns, name))
    if value is None:
        return None
    anchor = _median(_figures(p, turns, NGINX))
    pairs = [
        own / other
        for t in turns
        for own in _figures(p, [t], name)
        for other in _figures(p, [t], NGINX)
        if other > 0
    ]
    return row(
        p.name if bounded else f"{p.name}_{name}",
        value,
        p.unit,
        anchor=NGINX if anchor is not None else None,
        anchor_value=anchor,
        ratio=None if p.added else _median(pairs),
        must=p.must if bounded else None,
        aim=p.aim if bounded else None,
    )


def _figures(p: Promise, turns: list[Turn], name: str) -> list[float]:
    """The figure in every turn that has it."""
    if p.added:
        return [p.figure(t[name]) - p.figure(t[DIRECT]) for t in turns if name in t and DIRECT in t]
    return [p.figure(t[name]) for t in turns if name in t]


def _memory(samples: Samples, ours: str) -> list[Row]:
    """Bounds are absolute: what a stream costs is a matter of our buffers; nginx' figures stand beside."""
    own, beside = samples.memory.get(ours), samples.memory.get(NGINX)
    if own is None:
        return []
    anchor = NGINX if beside else None
    made = [
        row("rss_idle", own.idle_mib, "MiB", anchor=anchor, anchor_value=beside.idle_mib if beside else None)
    ]
    for work, loaded in own.loaded_mib.items():
        name, must, aim = GROWTH[work]
        other = beside.loaded_mib[work] - beside.idle_mib if beside else None
        grown = loaded - own.idle_mib
        made.append(row(name, grown, "MiB", anchor=anchor, anchor_value=other, must=must, aim=aim))
    return made


def _median(figures: Iterable[float]) -> float | None:
    known = list(figures)
    return statistics.median(known) if known else None
