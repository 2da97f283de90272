"""Runs of one trace through the whole system, and the table that sets them beside each other."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import msgspec

from grove_dp.sim.report import LATE_S, Report

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Run", "Sample", "as_many", "summary"]


class Sample(msgspec.Struct, frozen=True):
    """How it was at one moment of a run."""

    at_s: float
    pods: int  # that hold GPUs
    ready: int  # workers that take requests
    wished: int  # replicas that the load asks for; 0: nobody has said
    queued: int
    in_flight: int
    output_tokens: int  # since the run began


class Run:
    """The trace, played once."""

    def __init__(self, name: str, replicas: int) -> None:
        self.name = name
        self.replicas = replicas  # at its beginning
        self.report = Report()
        self.samples: list[Sample] = []
        self.update_s: tuple[float, float] | None = None  # when it began and when it was over
        self.gpu_s = 0.0
        self.took_s = 0.0  # until the last answer; 0: not played to its end

    @property
    def peak(self) -> int:
        """Most pods that were ready at a time."""
        return max((sample.ready for sample in self.samples), default=0)

    @property
    def failed(self) -> int:
        """Requests without a whole answer."""
        return self.report.failed + self.report.cut

    def attained(self, target_s: float) -> float:
        """Share of all requests whose first token came in time."""
        return self.report.ttft.within(target_s) / max(self.report.sent, 1)


def as_many(run: Run) -> int:
    """A fixed number of workers that costs no less than *run* did, but for a twentieth of one."""
    return max(1, ceil(round(run.gpu_s / run.took_s, 1)))


def summary(runs: Iterable[Run], target_s: float) -> list[str]:
    """What the runs that were played to their end came to; the first one is scaled."""
    played = [run for run in runs if run.took_s]
    if not played:
        return ["the story was not played to its end"]
    scaled = played[0]
    sent = scaled.report.sent
    lines = [
        f"the same {sent} requests on fresh workers; attained: first token within {target_s:g} s",
        "",
        "                       GPU-hours  attained  ttft p50       p99   failed",
        *(_row(run, target_s) for run in played),
        "",
        _for_the_peak(scaled),
        f"  workers that were ready: {' '.join(str(count) for count in _course(scaled))}",
    ]
    if scaled.update_s is not None:
        begun, over = scaled.update_s
        lines.append(f"  an update replaced each of them in the rush, in {over - begun:.1f} s")
    for run in played:
        lines += [f"  {run.name}: {count} × {why}" for why, count in run.report.reasons.most_common()]
    late_s = max(run.report.lateness.at(0.99) for run in played)
    if late_s > LATE_S:
        lines.append(
            f"  warning: this machine was busy: p99 of the requests left {late_s * 1e3:.0f} ms late; "
            "that is in these times"
        )
    return lines


def _row(run: Run, target_s: float) -> str:
    p50, p99 = (run.report.ttft.at(share) * 1e3 for share in (0.5, 0.99))
    return (
        f"  {run.name:20} {run.gpu_s / 3600:10.3f} {run.attained(target_s):9.1%} "
        f"{p50:6,.0f} ms {p99:6,.0f} ms {run.failed:8}"
    )


def _for_the_peak(scaled: Run) -> str:
    """What was not played, since it can be computed."""
    always_s = scaled.peak * scaled.took_s
    more = always_s / scaled.gpu_s - 1 if scaled.gpu_s else 0.0
    return f"  {scaled.peak} workers all the time would be {always_s / 3600:.3f} GPU-hours, {more:+.0%}"


def _course(run: Run) -> list[int]:
    """Ready workers over time, each change once."""
    counts = [sample.ready for sample in run.samples]
    return [count for place, count in enumerate(counts) if place == 0 or count != counts[place - 1]]
