"""What a frontend measured of an act, read from its signals."""

import numpy as np
import pytest

from grove_dp.metering.records import DTYPE
from grove_dp.metering.signals import ModelSignal, Signals
from grove_dp.native.plane import RECORD
from grove_dp.sim.seen import STAGES, seen

MS = 1_000_000


def told(*lives, **model):
    records = np.zeros(len(lives), DTYPE)
    for record, life in zip(records, lives, strict=True):
        for name, at_ms in life.items():
            record[f"{name}_ns"] = at_ms * MS
    return Signals(
        boot_id="",
        now_ns=0,
        wall_offset_ns=0,
        first_seq=0,
        next_seq=len(lives),
        newest_seq=len(lives),
        lost=0,
        models=[ModelSignal(model="m", **model)],
        dtype=RECORD,
        records=records.tobytes(),
    )


def test_shares_are_of_all_time_and_a_request_without_a_token_has_none():
    found = seen(
        told(
            {"arrival": 1, "tokens": 11, "placed": 21, "sent": 31, "first": 61, "last": 101},
            {"arrival": 1, "placed": 1, "sent": 1, "first": 101, "last": 101},  # it did not wait for tokens
            {"arrival": 1, "placed": 5000},
        )
    )
    assert dict(zip(STAGES, found.shares, strict=True)) == pytest.approx(
        {"tokenise": 0.05, "queue": 0.05, "place": 0.05, "prefill": 0.65, "decode": 0.2}
    )


def test_series_give_times_and_promises():
    found = seen(
        told(ended=9, judged=8, kept=6, output_tokens=120, ttft={-48: 5.0, -16: 4.0}, itl={-64: 1.0})
    )
    assert (found.requests, found.kept, found.output_tokens) == (9, 0.75, 120)
    assert found.ttft_s == pytest.approx((0.125, 0.5), rel=0.03)
    line = found.line("kv", 2.0)
    assert "60 tokens/s" in line
    assert "promises kept 75.0%" in line


def test_an_act_without_requests_is_no_error():
    assert seen(told()).shares == (0.0,) * 5
