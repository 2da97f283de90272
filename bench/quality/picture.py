"""One picture: for every mix, how late and how often too late, by policy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from bench.quality.matrix import KV_TOKENS, POLICIES, Outcome

__all__ = ["draw"]

OURS, OTHERS, EDGE = "#4c8c6b", "#b9bfc4", "#222222"


def draw(
    outcomes: Sequence[Outcome], path: Path, *, load: int = 95, queue: str = "fifo", workers: int = 8
) -> None:
    """Writes the SVG; the same outcomes give the same bytes."""
    place = (load, queue, workers, KV_TOKENS)
    shown = [o for o in outcomes if (o.case.load, o.case.queue, o.case.workers, o.case.kv_tokens) == place]
    mixes = list(dict.fromkeys(o.case.mix for o in shown))
    with mpl.rc_context({"svg.hashsalt": "grove-dp", "svg.fonttype": "none", "font.size": 8}):
        drawing, grid = plt.subplots(
            2, len(mixes), figsize=(2.6 * len(mixes) + 1.2, 5.2), layout="constrained", squeeze=False
        )
        for column, name in enumerate(mixes):
            of = {o.case.policy: o.figures for o in shown if o.case.mix == name}
            policies = [policy for policy in POLICIES if policy in of]
            late = [of[policy].ttft_p95_s for policy in policies]
            missed = [100 * (1 - of[policy].goodput) for policy in policies]
            for axes, values, what in (
                (grid[0][column], late, "p95 TTFT, s"),
                (grid[1][column], missed, "missed, %"),
            ):
                colours = [OURS if policy in ("kv", "approx") else OTHERS for policy in policies]
                axes.barh(range(len(policies)), values, color=colours, height=0.7)
                axes.axvline(values[0], color=EDGE, linewidth=0.7, linestyle="--")
                axes.set_yticks(range(len(policies)), policies if column == 0 else [""] * len(policies))
                axes.invert_yaxis()
                axes.set_xlabel(what)
                axes.set_xlim(0, min(max(values), 4 * sorted(values)[len(values) // 2]) * 1.08 + 1e-9)
                axes.spines[["top", "right"]].set_visible(False)
            grid[0][column].set_title(name)
        drawing.suptitle(
            f"{workers} workers, {load} % load, {queue}: shorter is better; the dashed line is kv"
        )
        drawing.savefig(path, format="svg", metadata={"Date": None})
        plt.close(drawing)
