"""The loads, and what each of them is for."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["BURN", "WORKS", "Work"]

BURN = "20/100"  # GROVE_DP_BURN: busy Python for 20 ms of every 100 ms, in the frontend's own process

Kind = Literal["turns", "latency", "memory", "burn"]


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """One load. `period_ms` is a stream's time between tokens, so conns / period is the event rate.

    turns    proxies are measured in turns, all of them started beforehand
    latency  as turns, with a window without any proxy in each turn; many short ones, as the machine's own
             stalls (1 to 20 ms, seen by every proxy and none alike) make the p99 of any single one a lottery
    memory   on a fresh process, in the order of this table
    burn     ours alone, started with the burner
    """

    name: str
    kind: Kind
    body: str
    conns: int
    period_ms: float = 10.0
    rate: float = 0.0  # requests/s at planned instants; 0: closed loop
    seconds: float = 2.0
    warmup_s: float = 0.5
    turns: int = 1  # for each one asked for


WORKS = {
    work.name: work
    for work in (
        Work(name="ns_small", kind="turns", body="small", conns=64),
        Work(name="ns_8k", kind="turns", body="8k", conns=64),
        Work(name="ns_128k", kind="turns", body="128k", conns=64),
        Work(name="sse_25k", kind="turns", body="stream100", conns=256, turns=2),  # 25,600 events/s
        Work(name="sse_100k", kind="turns", body="stream100", conns=1000, turns=2),  # 100,000 events/s
        Work(
            name="lat_2000",
            kind="latency",
            body="small",
            conns=128,
            rate=2000,
            warmup_s=0.2,
            seconds=1,
            turns=5,
        ),
        Work(name="mem_1000", kind="memory", body="stream1000", conns=1000, period_ms=200, warmup_s=2),
        Work(name="mem_8000", kind="memory", body="stream1000", conns=8000, period_ms=2000, warmup_s=6),
        Work(
            name="burn_3k", kind="burn", body="stream100", conns=60, period_ms=20, seconds=3
        ),  # 3,000 events/s
    )
}
