"""What the scrapes tell, as six panels over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from bench.page.load import Phase
from bench.page.scrapes import Interval, Page

__all__ = ["draw"]

STAGES = ("tokenise", "queue", "place", "prefill", "decode")
COLOURS = ("#8c6bb1", "#d98c3f", "#999999", "#3f78b5", "#4c8c6b")


def draw(pages: Sequence[Page], told: Sequence[Interval], phases: Sequence[Phase], path: Path) -> None:
    """Writes the SVG."""
    with mpl.rc_context({"svg.hashsalt": "grove-dp", "svg.fonttype": "none", "font.size": 8}):
        drawing, axes = plt.subplots(3, 2, figsize=(10, 8), layout="constrained", sharex=True)
        panels: tuple[Callable[[Any], None], ...] = (
            lambda at: _requests(at, told, phases),
            lambda at: _tokens(at, told),
            lambda at: _times(at, told, "time_to_first_token_seconds", "time to first token"),
            lambda at: _times(at, told, "token_gap_seconds", "between tokens"),
            lambda at: _load(at, pages),
            lambda at: _stages(at, told),
        )
        for at, panel in zip(axes.flat, panels, strict=True):
            panel(at)
            at.spines[["top", "right"]].set_visible(False)
            at.legend(loc="upper left", fontsize=7, framealpha=0.8, edgecolor="none")
        for at in axes[-1]:
            at.set_xlabel("seconds")
        drawing.suptitle(
            "A frontend under load, from its /metrics alone (scraped each 0.5 s, rates over 2 s)"
        )
        drawing.savefig(path, format="svg", metadata={"Date": None})
        plt.close(drawing)


def _requests(at: Any, told: Sequence[Interval], phases: Sequence[Phase]) -> None:
    edges, begin = [0.0], 0.0
    for phase in phases:
        begin += phase.seconds
        edges.append(begin)
    at.stairs([phase.rate for phase in phases], edges, color="#bbbbbb", label="sent, planned")
    at.plot([each.at_s for each in told], [each.rate("arrivals_total") for each in told], label="arrived")
    at.plot([each.at_s for each in told], [each.rate("endings_total") for each in told], label="ended")
    at.set_title("requests / s")
    at.set_ylim(bottom=0)


def _tokens(at: Any, told: Sequence[Interval]) -> None:
    for kind in ("prompt", "cached", "output"):
        rates = [each.rates("tokens_total", "kind").get(kind, 0.0) for each in told]
        at.plot([each.at_s for each in told], rates, label=kind)
    at.set_title("tokens / s")
    at.set_ylim(bottom=0)


def _times(at: Any, told: Sequence[Interval], name: str, title: str) -> None:
    for q, style in ((0.5, "-"), (0.95, "--"), (0.99, ":")):
        found = [(each.at_s, each.quantile(name, q)) for each in told]
        known = [(when, value * 1e3) for when, value in found if value is not None]
        at.plot(*zip(*known, strict=True), style, label=f"p{q * 100:g}")
    at.set_yscale("log")
    at.set_title(f"{title}, ms")


def _load(at: Any, pages: Sequence[Page]) -> None:
    times = [page.at_s for page in pages]
    for name, label in (
        ("queue_requests", "waiting"),
        ("worker_prefilling", "prefilling"),
        ("worker_decoding", "decoding"),
    ):
        at.plot(times, [page.sum(name) for page in pages], label=label)
    at.set_title("requests now")
    at.set_ylim(bottom=0)


def _stages(at: Any, told: Sequence[Interval]) -> None:
    shares = [each.shares("stage_seconds_total", "stage") for each in told]
    rows = [[share.get(stage, 0.0) for share in shares] for stage in STAGES]
    at.stackplot([each.at_s for each in told], rows, labels=STAGES, colors=COLOURS)
    at.set_title("where the time of ended requests went")
    at.set_ylim(0, 1)
