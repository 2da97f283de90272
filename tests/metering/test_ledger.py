"""Rows of the ledger: one per model and class, named once, each with every series that the plane writes."""

from grove_dp.metering.ledger import Ledger
from grove_dp.metering.meter import Meter
from grove_dp.native.meter import TEXT
from grove_dp.native.plane import ACCOUNT_KEYS, ACCOUNTS, Plane


def test_a_row_has_every_series_and_stays():
    opened = {}
    ledger = Ledger(Meter(), lambda number, series: opened.update({number: series}))
    assert ledger.numbers("llama", ["batch"]) == (0, 1)
    assert ledger.numbers("qwen", []) == (2,)
    assert ledger.numbers("llama", ["batch", "chat"]) == (0, 1, 3)
    assert [(row.model, row.slo_class) for row in ledger.rows] == [
        ("llama", "default"),
        ("llama", "batch"),
        ("qwen", "default"),
        ("llama", "chat"),
    ]
    assert all(set(series) == ACCOUNT_KEYS for series in opened.values())


def test_a_plane_takes_each_account_once():
    plane = Plane(2)
    ledger = Ledger(Meter(), plane.account)
    assert ledger.numbers("llama", ["batch"]) == (0, 1)
    plane.close()


def test_beyond_the_last_row_nothing_is_counted_and_nothing_breaks():
    meter = Meter()
    ledger = Ledger(meter, lambda _number, _series: None)
    ledger._rows.update({("m", str(n)): None for n in range(ACCOUNTS - 1)})
    assert ledger.numbers("llama", []) == (ACCOUNTS - 1,)
    assert ledger.numbers("qwen", []) == ()
    assert ledger.numbers("llama", ["batch"]) == ()
    for _ in range(3):  # each table asks again
        ledger.numbers("qwen", [])
    assert b"grove_dp_uncounted_models 2\n" in meter.render(TEXT)
