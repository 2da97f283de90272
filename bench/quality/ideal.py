"""What no router can beat: one cache that holds what all workers hold together."""

from __future__ import annotations

from collections import OrderedDict

from bench.quality.workloads import Workload

__all__ = ["pooled_hit_rate"]


def pooled_hit_rate(workload: Workload, tokens: float) -> float:
    """Share of prompt tokens found in a least-recently-used cache of *tokens*, when requests are served one
    after the other and without a wait. A prompt's blocks are used tail first, so that heads stay longest."""
    room = int(min(tokens // workload.block_tokens, 1 << 40))
    cache: OrderedDict[int, None] = OrderedDict()
    found = 0
    first, hashes, prompts = workload.first.tolist(), workload.hashes.tolist(), workload.prompt.tolist()
    for i, prompt in enumerate(prompts):
        chain = hashes[first[i] : first[i + 1]]
        for block in chain[: (prompt - 1) // workload.block_tokens]:  # one token is always computed
            if block not in cache:
                break
            found += 1
        for block in reversed(chain):
            cache[block] = None
            cache.move_to_end(block)
        while len(cache) > room:
            cache.popitem(last=False)
    return float(found * workload.block_tokens / sum(prompts))
