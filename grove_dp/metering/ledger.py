"""The series of requests by model and class, which the I/O threads write.

    Ledger ── families, once
      └─ row(model, slo_class) ── number ── Plane.account(number, series) ── a cell for each thread

A row is made when a table first names its model (a class when the settings name it) and stays: counters must
not begin anew when a model comes back. There are 1,024 rows; what comes later is not counted here, which
`grove_dp_uncounted_models` tells. A row takes about 220 KiB: four windows of 64 KiB at most 900 s long.

Stages of a request, in seconds summed up (their shares are ratios of rates):

    arrival ─ tokenise ─ queue ─ place ─ prefill ─ decode ─ end
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from grove_dp.metering.meter import Meter, rungs
from grove_dp.native.meter import Counter, Family, Gauge, Histogram, Series
from grove_dp.native.plane import ACCOUNTS

__all__ = ["WINDOW_S", "Ledger", "Row"]

WINDOW_S: Final = 60  # of what is told to others
LABELS: Final = ("model", "slo_class")
STAGES: Final = ("tokenise", "queue", "place", "prefill", "decode")
KINDS: Final = ("prompt", "cached", "uncached", "output")

Open = Callable[[int, Mapping[str, Series]], None]


class Row(NamedTuple):
    """One model and class."""

    model: str
    slo_class: str
    number: int
    counts: Mapping[str, Counter]
    times: Mapping[str, Histogram]
    levels: Mapping[str, Gauge]


class Ledger:
    """All rows."""

    def __init__(self, meter: Meter, open_account: Open) -> None:
        """*open_account* is Plane.account."""
        self.meter = meter
        self._refused: set[tuple[str, str]] = set()
        self._uncounted = meter.gauge(
            "grove_dp_uncounted_models", "Models and classes for whose series there was no room"
        ).series()
        self._open = open_account
        self._rows: dict[tuple[str, str], Row] = {}
        self._counts = _Counts(meter)
        self._times = _times(meter)
        self._levels = {
            "waiting": meter.gauge(
                "grove_dp_queue_requests", "Requests waiting for a worker", unit="requests", labels=LABELS
            ),
            "waiting_tokens": meter.gauge(
                "grove_dp_queue_prompt_tokens", "Tokens of their prompts", unit="tokens", labels=LABELS
            ),
        }

    @property
    def rows(self) -> Iterable[Row]:
        return self._rows.values()

    def numbers(self, model: str, classes: Sequence[str]) -> tuple[int, ...]:
        """Account numbers of the default class and of *classes*, in that order; () when there is no room."""
        rows = [self.row(model, name) for name in ("default", *classes)]
        return tuple(row.number for row in rows if row is not None) if None not in rows else ()

    def row(self, model: str, slo_class: str) -> Row | None:
        """The row, made if it is new; None when there are too many."""
        known = self._rows.get((model, slo_class))
        if known is None and len(self._rows) < ACCOUNTS:
            labels = model, slo_class
            row = Row(
                model,
                slo_class,
                len(self._rows),
                self._counts.series(labels),
                {name: family.series(*labels) for name, family in self._times.items()},
                {name: family.series(*labels) for name, family in self._levels.items()},
            )
            self._open(row.number, {**row.counts, **row.times, **row.levels})
            known = self._rows[labels] = row
        if known is None and len(self._refused) < ACCOUNTS:
            self._refused.add((model, slo_class))
            self._uncounted.set(len(self._refused))
        return known


class _Counts:
    """The counters: a family may hold several of an account's, told apart by one more label."""

    def __init__(self, meter: Meter) -> None:
        def family(name: str, text: str, unit: str, *more: str, window: bool = False) -> Family[Counter]:
            return meter.counter(f"grove_dp_{name}", text, unit=unit, labels=(*LABELS, *more), window=window)

        self._arrived = family("arrivals", "Requests that came for a model", "", window=True)
        self._ended = family("endings", "Requests that ended, however", "")
        self._tokens = family(
            "tokens",
            "Tokens as the workers counted them; output of a stream that runs: one for each event with some",
            "",
            "kind",
            window=True,
        )
        self._work = family(
            "prefill_work_seconds",
            "Uncached prompts placed, in seconds that their worker was expected to take",
            "seconds",
            window=True,
        )
        self._judged = family("slo_requests", "Streams whose first token came", "")
        self._kept = family("slo_kept_requests", "Of these, those that kept a promise", "", "promise")
        self._stages = family("stage_seconds", "Time of ended requests, by stage", "seconds", "stage")

    def series(self, labels: tuple[str, str]) -> Mapping[str, Counter]:
        """One of each, for one model and class."""
        kept = {"kept_ttft": "ttft", "kept_itl": "itl", "kept": "both"}
        return {
            "arrived": self._arrived.series(*labels),
            "ended": self._ended.series(*labels),
            "work": self._work.series(*labels),
            "judged": self._judged.series(*labels),
            **{kind: self._tokens.series(*labels, kind) for kind in KINDS},
            **{name: self._kept.series(*labels, promise) for name, promise in kept.items()},
            **{stage: self._stages.series(*labels, stage) for stage in STAGES},
        }


def _times(meter: Meter) -> Mapping[str, Family[Histogram]]:
    def family(
        name: str, text: str, first_s: float, last_s: float, per_octave: int, *, window: bool = True
    ) -> Family[Histogram]:
        return meter.histogram(
            f"grove_dp_{name}_seconds",
            text,
            unit="seconds",
            labels=LABELS,
            window=window,
            rungs=rungs(first_s, last_s, per_octave),
        )

    return {
        "ttft": family("time_to_first_token", "Arrival of a request to its first event", 2**-10, 64, 2),
        "gap": family("token_gap", "Time between two events of a stream with output", 2**-13, 8, 2),
        "wait": family("queue_wait", "Time from a request's arrival until a worker got it", 2**-16, 256, 1),
        "duration": family(
            "request_duration", "Arrival of a request to its end", 2**-10, 1024, 1, window=False
        ),
        "connect": family("upstream_connect", "Time to connect to a worker", 2**-16, 4, 1, window=False),
    }
