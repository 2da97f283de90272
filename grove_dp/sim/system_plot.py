"""The whole system's story drawn: the load, the replicas that followed it, and what times came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grove_dp.sim.plot import sheet

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from grove_dp.sim.runs import Run
    from grove_dp.sim.system import System

__all__ = ["plot_system"]

_COLOURS: Final = ("#1f77b4", "#ff7f0e")


def plot_system(system: System, path: Path) -> None:
    """Draw the runs that were played to *path*; needs matplotlib."""
    runs = [run for run in system.runs if run.samples]
    drawn = sheet(9, 8)
    load, replicas, times = drawn.subplots(3, 1, sharex=True)
    if runs:
        _load(load, runs[0])
    for run, colour in zip(runs, _COLOURS, strict=False):
        _replicas(replicas, run, colour, hours=run.gpu_s / 3600)
        _times(times, run, colour, system.plan.target_s)
    replicas.set_ylabel("GPUs held")
    replicas.set_ylim(bottom=0)
    times.axhline(system.plan.target_s, color="black", linewidth=0.8, linestyle=":", label="target")
    times.set_ylabel("first token, slowest, s")
    times.set_yscale("log")
    times.set_xlabel("seconds of the trace")
    for axes in (load, replicas, times):
        axes.legend(loc="upper right", frameon=False)
        axes.grid(alpha=0.3)
    drawn.suptitle(f"the same {runs[0].report.sent} requests" if runs else "nothing was played")
    drawn.savefig(path, format="svg", metadata={"Date": None})


def _load(axes: Axes, run: Run) -> None:
    slots = run.report.slots
    at = [place * run.report.slot_s for place in range(len(slots))]
    axes.step(
        at, [slot.sent / run.report.slot_s for slot in slots], "#2ca02c", label="requests/s", where="post"
    )
    axes.set_ylabel("requests/s")
    axes.set_ylim(bottom=0)


def _replicas(axes: Axes, run: Run, colour: str, hours: float) -> None:
    at = [sample.at_s for sample in run.samples]
    label = f"{run.name}: {hours:.3f} GPU-hours"
    axes.step(at, [sample.pods for sample in run.samples], colour, label=label, where="post")
    if run.update_s is not None:
        axes.axvspan(*run.update_s, color=colour, alpha=0.15, label="rolling update")


def _times(axes: Axes, run: Run, colour: str, target_s: float) -> None:
    seen = [(place, slot) for place, slot in enumerate(run.report.slots) if slot.ttft.count]
    at = [place * run.report.slot_s for place, _ in seen]
    label = f"{run.name}: {run.attained(target_s):.1%} attained"
    axes.plot(at, [slot.ttft.largest for _, slot in seen], colour, label=label)
