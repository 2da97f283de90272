"""The timeline of a replay as an SVG: what was asked and answered, and how long the first token took."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grove_dp.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from grove_dp.sim.report import Report

__all__ = ["plot"]


def plot(report: Report, path: Path, title: str) -> None:
    """Draw *report* to *path*; needs matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigurationError("--plot needs matplotlib: pip install 'grove-dp[plot]'") from None
    at = [place * report.slot_s for place in range(len(report.slots))]
    figure = Figure(figsize=(9, 7), layout="constrained")
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
