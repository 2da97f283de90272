"""Twin of `grove_dp.native.meter`: every second is a dictionary, nothing is packed, nothing is forgotten.

Times are integers of nanoseconds, so that shares of slots come out the same.
"""

import math
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = ["Counter", "Family", "Gauge", "Histogram", "Scale", "Series", "Window", "number", "page"]

SECOND = 1_000_000_000
SLOTS = 128  # seconds that are kept apart; what is older is kept by tens


class Scale:
    """Buckets up to 2**lo, then 16 for each power of two up to 2**hi, then all the rest."""

    def __init__(self, lo: int = -18, hi: int = 12) -> None:
        self.lo, self.hi = lo, hi
        self.bounds: list[float] = [2.0 ** (lo + i / 16) for i in range(16 * (hi - lo) + 1)]

    def bucket(self, value: float) -> int:
        return bisect_left(self.bounds, value)

    def value(self, bucket: int) -> float:
        if bucket == 0:
            return 0.0
        if bucket == len(self.bounds):
            return self.bounds[-1]
        return math.sqrt(self.bounds[bucket - 1] * self.bounds[bucket])


class View(NamedTuple):
    """What a window holds."""

    n: float
    sum: float
    buckets: "Tally[int]"


class Window:
    """Seconds by number: the buckets and the sum of each."""

    def __init__(self) -> None:
        self.seconds: dict[int, tuple[Tally[int], float]] = {}
        self.open = 0

    def add(self, bucket: int, value: float, now_ns: int, times: int = 1) -> None:
        second = now_ns // SECOND
        if second < self.open - 2:
            self.seconds.clear()
            self.open = second
        self.open = max(self.open, second)
        tally, total = self.seconds.get(self.open, (Tally(), 0.0))
        tally[bucket] += times
        self.seconds[self.open] = tally, total + value * times

    def look(self, window_s: int, now_ns: int) -> View:
        begin_ns = max(max(now_ns, self.open * SECOND) - window_s * SECOND, 0)
        n, total, buckets = 0.0, 0.0, Tally[int]()
        for second, (tally, added) in self.seconds.items():
            share = self._share(second, begin_ns)
            n += share * tally.total()
            total += share * added
            for bucket, count in tally.items():
                buckets[bucket] += share * count  # type: ignore[assignment]
        return View(n, total, buckets)

    def _share(self, second: int, begin_ns: int) -> float:
        """How much of the slot in which the second is kept lies inside."""
        decade = second // 10
        closed = decade < self.open // 10
        if closed and (decade * 10 * SECOND >= begin_ns or self.open - decade * 10 >= SLOTS):
            first, length = decade * 10 * SECOND, 10 * SECOND
        else:
            first, length = second * SECOND, SECOND
        return min(max(first + length - begin_ns, 0) / length, 1.0)


def quantile(view: View, scale: Scale, q: float) -> float:
    total = sum(view.buckets.values())
    if total <= 0:
        return math.nan
    half = 0.5 if total > 1 else total / 2
    rank = min(max(q * total * (1 - 1e-12), half), total - half)
    seen = 0.0
    for bucket in sorted(view.buckets):
        seen += view.buckets[bucket]
        if seen >= rank:
            return scale.value(bucket)
    return scale.value(max(view.buckets))


# ---------------------------------------------------------------- the page


class Counter:
    def __init__(self) -> None:
        self.value = 0.0

    def add(self, by: float) -> None:
        self.value += by


class Gauge(Counter):
    def set(self, value: float) -> None:
        self.value = value


class Histogram:
    def __init__(self, scale: Scale) -> None:
        self.scale, self.sum = scale, 0.0
        self.buckets: Tally[int] = Tally()
        self.window = Window()

    def observe(self, value: float, now_ns: int = 0) -> None:
        value = value if value > 0 else 0.0
        bucket = self.scale.bucket(value)
        self.buckets[bucket] += 1
        self.sum += value
        self.window.add(bucket, value, now_ns)

    def quantile(self, q: float, window_s: int, now_ns: int) -> float:
        return quantile(self.window.look(window_s, now_ns), self.scale, q)


Series = Counter | Gauge | Histogram


class Family(NamedTuple):
    name: str
    help: str
    unit: str
    kind: str
    labels: tuple[str, ...]
    series: dict[tuple[str, ...], Series]
    rungs: Sequence[int] = tuple(range(-160, 129, 16))


def number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if 0 <= value < 1e15 and value == int(value):
        return str(int(value))
    short = f"{value:.15g}"
    return short if float(short) == value else f"{value:.17g}"


def escaped(text: str, quotes: bool = True) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def page(families: Sequence[Family], form: int) -> str:
    """0: text, 1: OpenMetrics 1, 2: OpenMetrics 2."""
    lines = [line for family in families for line in family_lines(family, form)]
    return "".join(f"{line}\n" for line in [*lines, *(["# EOF"] if form else [])])


def family_lines(family: Family, form: int) -> Iterator[str]:
    name = f"{family.name}_total" if form == 0 and family.kind == "counter" else family.name
    yield f"# HELP {name} {escaped(family.help, quotes=form > 0)}"
    yield f"# TYPE {name} {family.kind}"
    if form and family.unit:
        yield f"# UNIT {name} {family.unit}"
    for values, series in family.series.items():
        pairs = zip(family.labels, values, strict=True)
        labels = ",".join(f'{label}="{escaped(value)}"' for label, value in pairs)
        if isinstance(series, Histogram):
            yield from (native if form == 2 else classic)(family, labels, series)
        else:
            suffix = "_total" if family.kind == "counter" else ""
            yield f"{sample(family.name + suffix, labels)} {number(series.value)}"


def sample(name: str, labels: str) -> str:
    return f"{name}{{{labels}}}" if labels else name


def classic(family: Family, labels: str, series: Histogram) -> Iterator[str]:
    comma = "," if labels else ""
    for k in family.rungs:
        bound = 2.0 ** (k / 16)
        text = f"{bound:.17g}" if k % 16 == 0 else f"{bound:.6g}"
        text = text if set(text) & {".", "e"} else f"{text}.0"
        seen = sum(n for bucket, n in series.buckets.items() if bucket <= k - 16 * series.scale.lo)
        yield f'{family.name}_bucket{{{labels}{comma}le="{text}"}} {seen}'
    yield f'{family.name}_bucket{{{labels}{comma}le="+Inf"}} {series.buckets.total()}'
    yield f"{sample(family.name + '_count', labels)} {series.buckets.total()}"
    yield f"{sample(family.name + '_sum', labels)} {number(series.sum)}"


def native(family: Family, labels: str, series: Histogram) -> Iterator[str]:
    held = sorted(bucket for bucket in series.buckets if bucket)
    spans: list[list[int]] = []
    after = -16 * series.scale.lo
    for bucket in held:
        if spans and bucket == after:
            spans[-1][1] += 1
        else:
            spans.append([bucket - after, 1])
        after = bucket + 1
    counts = [series.buckets[bucket] for bucket in held]
    deltas = [count - before for count, before in zip(counts, [0, *counts], strict=False)]
    parts = [
        f"count:{series.buckets.total()}",
        f"sum:{number(series.sum)}",
        "schema:4",
        f"zero_threshold:{number(series.scale.bounds[0])}",
        f"zero_count:{series.buckets[0]}",
    ]
    if held:
        parts += [
            f"positive_spans:[{','.join(f'{offset}:{length}' for offset, length in spans)}]",
            f"positive_deltas:[{','.join(map(str, deltas))}]",
        ]
    yield f"{sample(family.name, labels)} {{{','.join(parts)}}}"
