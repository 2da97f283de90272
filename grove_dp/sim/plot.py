"""Drawn as SVG: the timeline of a replay, and two policies beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grove_dp.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from grove_dp.sim.acts import Act
    from grove_dp.sim.report import Report

__all__ = ["plot", "plot_acts", "sheet"]

_COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#ff7f0e")
_TOGETHER = 3


def plot(report: Report, path: Path, title: str) -> None:
    """Draw *report* to *path*; needs matplotlib."""
    at = [place * report.slot_s for place in range(len(report.slots))]
    figure = sheet(9, 7)
    rates, times, tokens = figure.subplots(3, 1, sharex=True)
    figure.suptitle(title)
    for name, colour in (("sent", "#1f77b4"), ("ok", "#2ca02c"), ("cut", "#ff7f0e"), ("failed", "#d62728")):
        rates.step(
            at,
            [getattr(slot, name) / report.slot_s for slot in report.slots],
            colour,
            label=name,
            where="post",
        )
    rates.set_ylabel("requests/s")
    for share, colour in ((0.5, "#1f77b4"), (0.99, "#d62728")):
        seen = [(x, slot.ttft.at(share)) for x, slot in zip(at, report.slots, strict=True) if slot.ttft.count]
        times.plot([x for x, _ in seen], [y for _, y in seen], colour, label=f"p{share * 100:.0f}")
    times.set_ylabel("first token, s")
    tokens.step(
        at,
        [slot.output_tokens / report.slot_s for slot in report.slots],
        "#2ca02c",
        label="output",
        where="post",
    )
    tokens.set_ylabel("tokens/s")
    tokens.set_xlabel("seconds of the replay")
    for axes in (rates, times, tokens):
        axes.legend(loc="upper right", frameon=False)
        axes.grid(alpha=0.3)
    figure.savefig(path, format="svg", metadata={"Date": None})


def plot_acts(acts: Sequence[Act], path: Path) -> None:
    """Draw acts that played the same requests to *path*: first tokens and hit rates; needs matplotlib."""
    figure = sheet(10, 4)
    times, hits = figure.subplots(1, 2)
    for act, colour in zip(acts, _COLOURS, strict=False):
        _first_tokens(times, act, colour)
        _hit_rates(hits, act, colour)
    for axes in (times, hits):
        axes.legend(loc="lower right", frameon=False)
        axes.grid(alpha=0.3)
    times.set_xlim(left=0)  # after both are drawn: it fixes the right end, too
    figure.suptitle(f"the same {acts[0].report.sent} requests" if acts else "nothing was compared")
    figure.savefig(path, format="svg", metadata={"Date": None})


def _first_tokens(axes: Axes, act: Act, colour: str) -> None:
    shares = [place / 200 for place in range(1, 201)]
    median_ms = act.report.ttft.at(0.5) * 1e3
    times_ms = [act.report.ttft.at(share) * 1e3 for share in shares]
    axes.plot(
        times_ms, [100 * share for share in shares], colour, label=f"{act.policy}: p50 {median_ms:.0f} ms"
    )
    axes.set_xlabel("first token within, ms")
    axes.set_ylabel("requests, %")
    axes.set_ylim(0, 100)


def _hit_rates(axes: Axes, act: Act, colour: str) -> None:
    """Per second of the answers' ends, the last few seconds together: single ones hold few requests."""
    report = act.report
    at, rates = [], []
    for end in range(_TOGETHER, len(report.slots) + 1):
        slots = report.slots[end - _TOGETHER : end]
        prompt = sum(slot.prompt_tokens for slot in slots)
        if prompt:
            at.append(end * report.slot_s)
            rates.append(100 * sum(slot.cached_tokens for slot in slots) / prompt)
    axes.plot(at, rates, colour, label=f"{act.policy}: {report.hit_rate:.0%}")
    axes.set_xlabel("seconds of the replay")
    axes.set_ylabel("prompt tokens from caches, %")
    axes.set_ylim(0, 100)


def sheet(width: float, height: float) -> Figure:
    """An empty drawing, in inches; ConfigurationError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigurationError("--plot needs matplotlib: pip install 'grove-dp[plot]'") from None
    return Figure(figsize=(width, height), layout="constrained")
