"""What the frontend measured of an act, from its own signals: the second half of the demo's summary.

The first half is what the clients saw. The two are kept apart, because they need not agree: a client's time
to the first token holds its own delays too. Times are of the last minute (an act is shorter than that), so
this is asked right after an act, of a frontend that served that act alone.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from grove_dp.metering.buckets import quantile

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import numpy.typing as npt

    from grove_dp.metering.signals import ModelSignal, Signals

__all__ = ["STAGES", "Seen", "seen"]

STAGES: Final = ("tokenise", "queue", "place", "prefill", "decode")


class Seen(NamedTuple):
    """One act as its frontend saw it."""

    requests: int
    ttft_s: tuple[float, float]  # p50, p95
    gap_s: float  # p95
    wait_s: float  # p99
    kept: float  # share of the streams that kept both promises
    output_tokens: int
    shares: tuple[float, ...]  # of all requests' time, by STAGES

    def line(self, policy: str, took_s: float) -> str:
        """For people."""
        shares = ", ".join(f"{name} {share:.0%}" for name, share in zip(STAGES, self.shares, strict=True))
        return (
            f"  {policy:12} ttft p50 {self.ttft_s[0] * 1e3:.0f} ms, p95 {self.ttft_s[1] * 1e3:.0f} ms; "
            f"between tokens p95 {self.gap_s * 1e3:.0f} ms; wait p99 {self.wait_s * 1e3:.1f} ms; "
            f"{self.output_tokens / max(took_s, 1e-9):,.0f} tokens/s; promises kept {self.kept:.1%}\n"
            f"  {'':12} where the time went: {shares}"
        )


def seen(told: Signals) -> Seen:
    """Read an answer that holds all records of the act."""
    models = told.models
    judged = sum(model.judged for model in models)
    return Seen(
        requests=sum(model.ended for model in models),
        ttft_s=(_quantile(models, "ttft", 0.5), _quantile(models, "ttft", 0.95)),
        gap_s=_quantile(models, "itl", 0.95),
        wait_s=_quantile(models, "queue_wait", 0.99),
        kept=sum(model.kept for model in models) / judged if judged else 1.0,
        output_tokens=sum(model.output_tokens for model in models),
        shares=_shares(told.array()),
    )


def _quantile(models: Iterable[ModelSignal], name: str, q: float) -> float:
    return quantile([getattr(model, name) for model in models], q)


def _shares(records: npt.NDArray[np.void]) -> tuple[float, ...]:
    """Of the time of all streams whose first token came."""
    done = records[(records["first_ns"] > 0) & (records["placed_ns"] > 0)]
    times = {name: done[f"{name}_ns"].astype("f8") for name in ("arrival", "placed", "sent", "first", "last")}
    tokens = done["tokens_ns"].astype("f8")
    times["tokens"] = tokens + (tokens == 0) * times["arrival"]  # 0: it did not wait for its tokens
    edges = [times[name] for name in ("arrival", "tokens", "placed", "sent", "first", "last")]
    spent = [float((later - earlier).sum()) for earlier, later in pairwise(edges)]
    whole = sum(spent)
    return tuple(part / whole if whole else 0.0 for part in spent)
