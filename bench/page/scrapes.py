"""Pages of `/metrics`, and what happened between two: rates, quantiles, shares, as PromQL would say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Interval", "Page", "intervals"]

Labels = tuple[tuple[str, str], ...]


class Page:
    """One scrape."""

    def __init__(self, at_s: float, text: str) -> None:
        self.at_s = at_s
        self.bytes = len(text)
        self._samples: dict[str, dict[Labels, float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                known = self._samples.setdefault(sample.name, {})
                known[tuple(sorted(sample.labels.items()))] = sample.value

    def by(self, name: str, label: str) -> dict[str, float]:
        """Sums of a series `grove_dp_<name>` by one of its labels."""
        found: dict[str, float] = {}
        for labels, value in self._samples.get(f"grove_dp_{name}", {}).items():
            key = dict(labels).get(label, "")
            found[key] = found.get(key, 0.0) + value
        return found

    def sum(self, name: str) -> float:
        """Over all its labels."""
        return sum(self._samples.get(f"grove_dp_{name}", {}).values())


class Interval(NamedTuple):
    """What happened between two scrapes."""

    before: Page
    after: Page

    @property
    def at_s(self) -> float:
        return self.after.at_s

    @property
    def seconds(self) -> float:
        return self.after.at_s - self.before.at_s

    def rate(self, name: str) -> float:
        """Of a counter, per second."""
        return (self.after.sum(name) - self.before.sum(name)) / self.seconds

    def rates(self, name: str, label: str) -> dict[str, float]:
        """The same by a label."""
        return {key: more / self.seconds for key, more in self._more(name, label).items()}

    def shares(self, name: str, label: str) -> dict[str, float]:
        """Of what a counter grew by; empty when that is nothing."""
        more = self._more(name, label)
        whole = sum(more.values())
        return {key: part / whole for key, part in more.items()} if whole else {}

    def quantile(self, name: str, q: float) -> float | None:
        """Of a histogram's classic buckets, interpolated within one; None when nothing was observed."""
        more = self._more(f"{name}_bucket", "le")
        buckets = sorted((float(bound), count) for bound, count in more.items())
        if not buckets or buckets[-1][1] <= 0:
            return None
        rank = q * buckets[-1][1]
        low = seen = 0.0
        for bound, upto in buckets:
            if upto >= rank and upto > seen:
                return low if bound == float("inf") else low + (bound - low) * (rank - seen) / (upto - seen)
            low, seen = bound, upto
        return low

    def _more(self, name: str, label: str) -> Mapping[str, float]:
        before = self.before.by(name, label)
        return {key: value - before.get(key, 0.0) for key, value in self.after.by(name, label).items()}


def intervals(pages: Sequence[Page], over: int) -> Iterator[Interval]:
    """Each page with the one *over* scrapes before it."""
    steps: Iterable[tuple[Page, Page]] = (
        zip(pages, pages[over:], strict=False) if over > 1 else pairwise(pages)
    )
    for before, after in steps:
        yield Interval(before, after)
