"""What a person watches while the whole system runs: replicas and why, load and times, workers, events.

The first panel tells the story alone, in ten rows; events follow it on a terminal of 24 rows, the workers in
short; all of them in a table where there are 40. What is left is for events.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Final

from grove_dp.sim.distribution import Distribution
from grove_dp.sim.manifests import SURGE
from grove_dp.sim.show import told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from grove_dp.sim.runs import Run, Sample
    from grove_dp.sim.system import System

__all__ = ["course", "line", "screen"]

_BARS: Final = "▁▂▃▄▅▆▇█"
_RECENT_S: Final = 3
_EVENTS: Final = (5, 12)  # rows of their panel: with fewer it goes, more it never takes
_NAME, _NOW = 13, 18  # columns of a course's name and of its value now
_BORDER: Final = 2  # rows of a panel
_EDGE: Final = 4  # columns of a panel
_CELL: Final = 26  # columns of a worker in short
_COLOURS: Final = {"ready": "green", "draining": "yellow"}


def course(values: Sequence[float], columns: int, whole: int, highest: float = 0.0) -> str:
    """Values over time as a row of bars, for *whole* of them so many *columns*; the highest one is full."""
    whole = max(whole, len(values))
    highest = max(highest, *values, 0.0) or 1.0
    bars = []
    for column in range(columns):
        begin = column * whole // columns
        shown = values[begin : max(begin + 1, (column + 1) * whole // columns)]
        if not shown:
            break
        full = max(shown) / highest * len(_BARS)
        bars.append(_BARS[ceil(full) - 1] if full > 0 else " ")
    return "".join(bars)


def line(system: System) -> str:
    """The state in one line, for logs and pipes; empty before the first sample."""
    run = system.now
    if not run.samples:
        return ""
    sample, report, first = run.samples[-1], run.report, _recent(run)
    p50, p99 = (f"{first.at(share) * 1e3:,.0f} ms" if first.count else "–" for share in (0.5, 0.99))
    phase = system.plan.tide.phase(sample.at_s)
    return (
        f"{system.age_s:5.1f} s  {run.name}, {phase}: {_sent(run):.0f} requests/s, "
        f"{_tokens(run):,.0f} tokens/s, ttft p50 {p50} p99 {p99}; {sample.queued} wait, "
        f"{sample.in_flight} in flight, {report.ok} ok, {run.failed} failed; {_replicas(sample)}"
    )


def _replicas(sample: Sample) -> str:
    wished = f", {sample.wished} wished" if sample.wished else ""
    return f"workers {sample.ready} ready of {sample.pods}{wished}"


def _recent(run: Run) -> Distribution:
    """First tokens of the last seconds."""
    found = Distribution()
    for slot in run.report.slots[-_RECENT_S:]:
        found.merge(slot.ttft)
    return found


def _sent(run: Run) -> float:
    slots = run.report.slots[-_RECENT_S:]
    return sum(slot.sent for slot in slots) / (max(len(slots), 1) * run.report.slot_s)


def _tokens(run: Run) -> float:
    """Output tokens per second of answers that ended in the last seconds."""
    slots = run.report.slots[-_RECENT_S:]
    return sum(slot.output_tokens for slot in slots) / (max(len(slots), 1) * run.report.slot_s)


# ------------------------------------------------------------ the screen


def screen(system: System, width: int, height: int) -> RenderableType:
    """The state as a rich screen of at most that size."""
    from rich.console import Group
    from rich.panel import Panel

    def panel(content: RenderableType, title: str) -> Panel:
        return Panel(content, title=title, padding=(0, 1))

    inner = width - _EDGE
    reasons = 1 if width >= 120 else 2
    head = [_courses(system, inner), _decision(system, inner, reasons), _requests(system)]
    panels = [panel(Group(*head), _title(system))]
    left = height - (5 + reasons + 1 + _BORDER)
    most = system.plan.most + SURGE
    full, short = most + 1 + _BORDER, ceil(most / max(inner // _CELL, 1)) + _BORDER
    for rows, workers in ((full, _workers), (short, _workers_in_short)):
        if left - rows >= _EVENTS[0]:
            panels.append(panel(workers(system, inner), "workers: the pods of the PodCliqueSet"))
            left -= rows
            break
    if left >= _EVENTS[0]:
        panels.append(panel(told(system.events, inner, min(left, _EVENTS[1]) - _BORDER), "events"))
    return Group(*panels)


def _title(system: System) -> str:
    run, whole_s = system.now, system.plan.tide.for_s
    if not run.samples:
        return f"grove-dp demo · the whole system · {run.name} · starting"
    at_s = min(system.elapsed_s, run.took_s or system.elapsed_s)
    phase = system.plan.tide.phase(at_s)
    return f"grove-dp demo · the whole system · {run.name} · {at_s:.0f} s of {whole_s:.0f} s, {phase}"


def _courses(system: System, inner: int) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    run, rows = system.now, Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    rows.add_column(no_wrap=True, width=_NAME, style="bold")
    rows.add_column(justify="right", no_wrap=True, width=_NOW)
    rows.add_column(no_wrap=True)
    whole = round(system.plan.tide.for_s)
    columns = max(0, min(inner - _NAME - _NOW - 3, 2 * whole))

    def row(name: str, now: str, values: Sequence[float], colour: str, highest: float = 0.0) -> None:
        rows.add_row(name, now, Text(course(values, columns, whole, highest), colour))

    slots, samples, recent = run.report.slots, run.samples[::2], _recent(run)
    last = run.samples[-1] if run.samples else None
    now = f"{last.ready} of {last.pods} ready" if last else "–"
    row("workers", now, [sample.ready for sample in samples], "green", system.plan.most)
    row("tokens/s", f"{_tokens(run):,.0f}", [slot.output_tokens for slot in slots], "blue")
    ttft = f"{recent.at(0.5) * 1e3:,.0f} / {recent.at(0.99) * 1e3:,.0f} ms" if recent.count else "–"
    row("ttft p50/p99", ttft, [slot.ttft.at(0.99) for slot in slots], "red")
    row("queue", f"{last.queued if last else 0}", [sample.queued for sample in samples], "red")
    row("requests/s", f"{_sent(run):.1f}", [slot.sent for slot in slots], "blue")
    return rows


def _decision(system: System, inner: int, rows: int) -> RenderableType:
    """Why there are so many, always on as many rows."""
    from rich.console import Console
    from rich.text import Text

    asked = system.cluster.decision
    if asked.get("reason"):
        text = Text.assemble(("why  ", "bold"), (asked["reason"], "bold green"), f"  {asked['message']}")
    elif system.now is system.runs[0]:
        text = Text("why  the autoscaler has not decided yet", "dim")
    else:
        text = Text("why  there is no autoscaler in this run: their number is fixed", "dim")
    lines = list(text.wrap(Console(width=inner), inner))[:rows]
    return Text("\n").join([*lines, *(Text() for _ in range(rows - len(lines)))])


def _requests(system: System) -> RenderableType:
    from rich.text import Text

    run, target_s = system.now, system.plan.target_s
    report = run.report
    begun = report.ttft.count + report.failed
    return Text.assemble(
        (f"{report.sent}", "bold"),
        f" sent  {report.in_flight} in flight  ",
        (f"{report.ok} ok", "green"),
        "  ",
        (f"{run.failed} failed", "bold red" if run.failed else "green"),
        f"   first token within {target_s:g} s: ",
        (f"{report.ttft.within(target_s) / begun:.1%}" if begun else "–", "bold"),
        no_wrap=True,
        overflow="ellipsis",
    )


# ------------------------------------------------------------ workers


def _workers(system: System, _: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    rows = Table(expand=True, box=None)
    rows.add_column("pod", no_wrap=True)
    rows.add_column("state", no_wrap=True)
    for name in ("in flight", "placed", "cached", "output tokens"):
        rows.add_column(name, justify="right", no_wrap=True)
    for worker in system.signals.workers if system.signals else ():
        cached = f"{worker.cached_tokens / worker.prompt_tokens:.0%}" if worker.prompt_tokens else "–"
        rows.add_row(
            worker.pod or worker.id,
            Text(worker.state, _COLOURS.get(worker.state, "red")),
            str(worker.inflight),
            str(worker.placed),
            cached,
            f"{worker.output_tokens:,}",
        )
    return rows


def _workers_in_short(system: System, inner: int) -> Table:
    """The end of each name, its state, and how much it has in flight; several beside each other."""
    from rich.table import Table
    from rich.text import Text

    beside = max(inner // _CELL, 1)
    cells = [
        Text.assemble(
            f"{(worker.pod or worker.id).rpartition('-')[2]} ",
            (worker.state, _COLOURS.get(worker.state, "red")),
            f" {worker.inflight} in flight",
            no_wrap=True,
            overflow="ellipsis",
        )
        for worker in (system.signals.workers if system.signals else ())
    ]
    rows = Table(expand=True, box=None, show_header=False, padding=(0, 1, 0, 0))
    for _ in range(beside):
        rows.add_column(no_wrap=True, ratio=1)
    for begin in range(0, len(cells), beside):
        rows.add_row(*cells[begin : begin + beside])
    return rows
