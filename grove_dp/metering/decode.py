"""Decoding as workers: how many of them what decodes now would need to keep its promise.

Two things fill a worker that decodes, and the fuller one counts:

    its cache      tokens pinned / tokens it has room for
    its step       a step of n requests takes  start + n (per request + per token * context)  seconds, as
                   learnt; so many requests that it takes as long as is promised between tokens fill a worker
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = ["LEARNT", "Decoding", "virtual_load"]

LEARNT: Final = 16  # observations before a step's time is believed


class Decoding(NamedTuple):
    """What one worker, or several that are alike, have to do."""

    requests: float  # past their first token
    inflight: float
    pinned_tokens: float = 0.0
    cache_share: float | None = (
        None  # pinned of its room, summed over the workers that tell; None: nobody does
    )


def virtual_load(now: Decoding, step: Sequence[float] | None, itl_s: float) -> float | None:
    """Workers needed; None when nothing tells. *step*: start, per request and per token, in seconds."""
    by_step = math.inf if step is None else _by_step(now, step, itl_s)
    if now.requests > 0 and math.isfinite(by_step):
        return max(by_step, now.cache_share or 0.0)
    if now.cache_share is None and now.requests > 0:
        return None
    return now.cache_share or 0.0


def _by_step(now: Decoding, step: Sequence[float], itl_s: float) -> float:
    start, per_request, per_token = step
    context = now.pinned_tokens / max(1.0, now.inflight)
    return now.requests * (per_request + per_token * context) / (itl_s - start) if itl_s > start else math.inf
