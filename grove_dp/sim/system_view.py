"""What a person watches while the whole system runs: load and replicas over time, workers, decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grove_dp.sim.distribution import Distribution

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from grove_dp.sim.runs import Run, Sample
    from grove_dp.sim.system import System

__all__ = ["course", "line", "screen"]

_BARS: Final = " ▁▂▃▄▅▆▇█"
_RECENT_S: Final = 3
_EVENTS: Final = 7
_COLOURS: Final = {"ready": "green", "draining": "yellow"}


def course(values: Sequence[float], width: int) -> str:
    """Values over time as a row of bars, the newest at the right; the highest one is full."""
    shown = list(values)[-width:]
    highest = max(shown, default=0.0) or 1.0
    return "".join(_BARS[round(value / highest * (len(_BARS) - 1))] for value in shown)


def line(system: System) -> str:
    """The state in one line, for logs and pipes; empty before the first sample."""
    run = system.now
    if not run.samples:
        return ""
    sample, report, first = run.samples[-1], run.report, _recent(run)
    p50, p99 = (first.at(share) * 1e3 for share in (0.5, 0.99))
    phase = system.plan.tide.phase(sample.at_s)
    return (
        f"{system.age_s:5.1f} s  {run.name}, {phase}: {_sent(run):.0f} requests/s, "
        f"{_tokens(run):,.0f} tokens/s, ttft p50 {p50:,.0f} ms p99 {p99:,.0f} ms; {sample.queued} wait, "
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


def screen(system: System) -> RenderableType:
    """The state as a rich screen."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    run = system.now
    told = [Text(f"{at_s:5.1f} s  {event}") for at_s, event in list(system.events)[-_EVENTS:]]
    title = f"grove-dp demo · the whole system · {run.name} · {system.model}"
    return Group(
        Panel(_courses(system, run), title=title, padding=(0, 1)),
        Panel(_workers(system), title="workers: the pods of the PodCliqueSet", padding=(0, 1)),
        Panel(_decision(system), title="autoscaler", padding=(0, 1)),
        Panel(Group(*told), title="events", padding=(0, 1)),
    )


def _courses(system: System, run: Run) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    rows = Table(expand=True, box=None, show_header=False)
    rows.add_column(no_wrap=True, width=12)
    rows.add_column(justify="right", no_wrap=True, width=17)
    rows.add_column(no_wrap=True, ratio=1)
    slots, samples, report = run.report.slots, run.samples[::2], run.report
    first, recent = [slot.ttft.at(0.99) for slot in slots], _recent(run)
    last = run.samples[-1] if run.samples else None

    def row(name: str, now: str, values: Sequence[float], colour: str) -> None:
        rows.add_row(name, now, Text(course(values, 60), colour))

    row("requests/s", f"{_sent(run):.1f}", [slot.sent for slot in slots], "blue")
    row("tokens/s", f"{_tokens(run):,.0f}", [slot.output_tokens for slot in slots], "blue")
    ttft = f"{recent.at(0.5) * 1e3:,.0f} / {recent.at(0.99) * 1e3:,.0f} ms"
    row("ttft p50/p99", ttft, first, "red")
    row("queue", f"{last.queued if last else 0}", [sample.queued for sample in samples], "red")
    row("workers", f"{last.ready if last else 0} ready", [sample.ready for sample in samples], "green")
    rows.add_row(
        f"{system.elapsed_s:.0f} s of {system.plan.tide.for_s:.0f} s",
        system.plan.tide.phase(last.at_s) if last else "",
        Text.assemble(
            (f"{report.sent}", "bold"),
            f" sent  {report.in_flight} in flight  ",
            (f"{report.ok} ok", "green"),
            "  ",
            (f"{run.failed} failed", "bold red" if run.failed else "green"),
            f"   first token within {system.plan.target_s:g} s: ",
            (f"{run.attained(system.plan.target_s):.1%}", "bold"),
        ),
    )
    return rows


def _workers(system: System) -> RenderableType:
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


def _decision(system: System) -> RenderableType:
    from rich.text import Text

    told = system.cluster.decision
    if not told.get("reason"):
        return Text(
            "…" if system.now is system.runs[0] else "there is none: the number of workers is fixed", "dim"
        )
    return Text.assemble((told["reason"], "bold"), f"  {told['message']}")
