"""What runs came to: the figures that policies are compared by.

A run is one draw of arrivals; p95 of the time to first token moves by 1 % from one draw to the next. So a
case is run with several seeds, and quantiles are taken over all their requests together.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from bench.quality.simulate import ITL_SLO_S, TTFT_SLO_S, Run, unloaded_prefill_s
from grove_dp.sim.profiles import Profile

__all__ = ["LONGEST", "Figures", "figures_of"]

LONGEST = 0.9  # requests with prompts beyond this quantile are the longest decile


class Figures(msgspec.Struct, frozen=True):
    """Shares are of 1. Goodput: requests whose first token came within 2 s on top of what their prompt takes
    on an idle worker, and whose mean time between tokens stayed within 60 ms."""

    ttft_p50_s: float
    ttft_p95_s: float
    ttft_p99_s: float
    itl_p95_s: float
    goodput: float
    goodput_longest: float
    hit_rate: float
    max_min_load: float
    agreement: float
    preempted: int


def figures_of(runs: Sequence[Run], profile: Profile, workers: int) -> Figures:
    """The figures of the same case with several seeds."""
    ttft, between, cached, predicted, _, _, preempted, prompt = np.concatenate([run.rows for run in runs]).T
    kept = (ttft <= TTFT_SLO_S + unloaded_prefill_s(profile, prompt)) & (between <= ITL_SLO_S)
    longest = prompt >= np.quantile(prompt, LONGEST)
    p50, p95, p99 = np.quantile(ttft, [0.5, 0.95, 0.99])
    return Figures(
        ttft_p50_s=float(p50),
        ttft_p95_s=float(p95),
        ttft_p99_s=float(p99),
        itl_p95_s=float(np.mean([run.told["itl_p95_s"] for run in runs])),
        goodput=float(kept.mean()),
        goodput_longest=float(kept[longest].mean()),
        hit_rate=float(cached.sum() / prompt.sum()),
        max_min_load=float(np.mean([_max_min_load(run, workers) for run in runs])),
        agreement=float((cached == predicted).mean()),
        preempted=int(preempted.sum()),
    )


def _max_min_load(run: Run, workers: int) -> float:
    """Prompt tokens computed by the busiest worker, per one of the idlest."""
    cached, worker, prompt = run.rows[:, 2], run.rows[:, 4].astype(int), run.rows[:, 7]
    computed = np.bincount(worker, prompt - cached, minlength=workers)
    return float(computed.max() / max(computed.min(), 1.0))
