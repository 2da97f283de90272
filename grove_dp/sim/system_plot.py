"""The whole system's story drawn: the load, the replicas that followed it, and what times came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grove_dp.sim.plot import sheet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from matplotlib.axes import Axes

    from grove_dp.sim.runs import Run
    from grove_dp.sim.system import System

__all__ = ["plot_system"]

_ROOM: Final = 1.25  # above what is drawn
_COLOURS: Final = ("#1f77b4", "#ff7f0e")


def plot_system(system: System, path: Path) -> None:
    """Draw the runs that were played to *path*; needs matplotlib."""
    runs = [run for run in system.runs if run.samples]
    drawn = sheet(9, 8)
    load, replicas, times = drawn.subplots(3, 1, sharex=True)
    if runs:
        _load(load, runs[0])
    for run, colour in zip(runs, _COLOURS, strict=False):
        _replicas(replicas, run, colour)
        _times(times, run, colour)
    _, peak = replicas.get_ylim()
    replicas.set_ylim(0, peak * _ROOM)  # of its legend
    replicas.set_ylabel("GPUs held")
    times.axhline(system.plan.target_s, color="black", linewidth=0.8, linestyle=":", label="target")
    times.set_ylabel("slowest first token, s")
    times.set_yscale("log")
    times.yaxis.set_major_formatter("{x:g}")
    low, slowest = times.get_ylim()
    times.set_ylim(low, slowest * 3)  # of its legend, too
    times.set_xlabel("seconds of the trace")
    for axes in (load, replicas, times):
        axes.legend(loc="upper right", frameon=False, ncols=3)
        axes.grid(alpha=0.3)
    drawn.suptitle("\n".join(_told(runs, system.plan.target_s)) or "nothing was played")
    drawn.savefig(path, format="svg", metadata={"Date": None})


def _told(runs: Iterable[Run], target_s: float) -> Iterator[str]:
    """The story in a line for each run."""
    for run in runs:
        yield (
            f"{run.name}: {run.attained(target_s):.1%} of {run.report.sent} requests had a first token "
            f"within {target_s:g} s, for {run.gpu_s / 3600:.3f} GPU-hours; {run.failed} failed"
        )


def _load(axes: Axes, run: Run) -> None:
    slots = run.report.slots
    at = [place * run.report.slot_s for place in range(len(slots))]
    rates = [slot.sent / run.report.slot_s for slot in slots]
    axes.fill_between(
        at, rates, step="post", color="#2ca02c", alpha=0.3, label="requests/s, the same in all runs"
    )
    axes.set_ylabel("requests/s")
    axes.set_ylim(bottom=0)


def _replicas(axes: Axes, run: Run, colour: str) -> None:
    at = [sample.at_s for sample in run.samples]
    axes.step(at, [sample.pods for sample in run.samples], colour, label=run.name, where="post")
    if run.update_s is not None:
        axes.axvspan(*run.update_s, color=colour, alpha=0.15, label="rolling update")


def _times(axes: Axes, run: Run, colour: str) -> None:
    seen = [(place, slot) for place, slot in enumerate(run.report.slots) if slot.ttft.count]
    at = [place * run.report.slot_s for place, _ in seen]
    axes.plot(at, [slot.ttft.largest for _, slot in seen], colour, label=run.name)
