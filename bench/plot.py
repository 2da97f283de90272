"""A result's rows as an SVG: one bar per row, its length the share of the must that is used up.

Rows have different units, so they meet on the one scale they share. 1.0 is the promise; a bar beyond it is
broken and red. A bound from below (">=") is drawn inverted, so shorter is better everywhere. The notch is the
aim.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from bench.results import figure

if TYPE_CHECKING:
    from bench.results import Row

__all__ = ["draw", "share"]

WIDEST = 2.5  # a bar that is broken by more than this is cut at the edge
GOOD, BROKEN, NOTCH = "#4c8c6b", "#c0453a", "#222222"


def share(row: Row, bound: str | None = None) -> float | None:
    """How much of the row's must is used: 1.0 is the limit. None when there is nothing to compare."""
    if row.must is None:
        return None
    of, sign, limit = row.must.split()
    judged = float(bound.split()[2]) if bound else (row.ratio if of == "ratio" else row.value)
    if judged is None:
        return None
    over, under = (judged, float(limit)) if sign == "<=" else (float(limit), judged)
    return max(over, 0.0) / under if under > 0 else None


def draw(rows: Sequence[Row], *, title: str, path: Path) -> None:
    """Writes the SVG; the same rows give the same bytes."""
    bars = [(row, used) for row in rows if (used := share(row)) is not None]
    with mpl.rc_context({"svg.hashsalt": "grove-dp", "svg.fonttype": "none", "font.size": 9}):
        drawing, axes = plt.subplots(figsize=(8.5, 1.0 + 0.34 * max(1, len(bars))), layout="constrained")
        for at, (row, used) in enumerate(bars):
            axes.barh(at, used, color=GOOD if row.ok else BROKEN, height=0.62)
            axes.text(1.01, at, _label(row), va="center", fontsize=8, transform=axes.get_yaxis_transform())
            if row.aim and (notch := share(row, row.aim)) is not None:
                axes.plot([notch, notch], [at - 0.36, at + 0.36], color=NOTCH, linewidth=1.2)
        axes.axvline(1.0, color=NOTCH, linewidth=0.8, linestyle="--")
        axes.set_yticks(range(len(bars)), [row.name for row, _ in bars])
        axes.invert_yaxis()
        axes.set_xlim(0, min(WIDEST, max([1.1, *(used * 1.05 for _, used in bars)])))
        axes.set_xlabel("share of the must (1.0 = the limit; notch = the aim)")
        axes.set_title(title)
        axes.spines[["top", "right"]].set_visible(False)
        drawing.savefig(path, format="svg", metadata={"Date": None})
        plt.close(drawing)


def _label(row: Row) -> str:
    value = f"{figure(row.value)} {row.unit}"
    return value if row.ratio is None else f"{value}, {figure(row.ratio)} × {row.anchor}"
