"""Numbers and times as Kubernetes writes them."""

from decimal import Decimal
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grove_dp.metering.external.quantity import quantity, timestamp


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0, "0"),
        (-0.0, "0"),
        (3, "3"),
        (12.0, "12"),
        (1.5, "1500m"),
        (0.001, "1m"),
        (0.0004, "1m"),  # a little is never nothing
        (1.0004, "1001m"),
        (1.1, "1100m"),
        (0.1 + 0.2, "300m"),  # 0.30000000000000004: noise is not work
        (2.9999999999999996, "3"),
        (-1.5, "-1500m"),
        (-0.0004, "-1m"),
        (1e6, "1000000"),
        (1e-12, "0"),
        (9.2e15, "9200000000000000"),
        (123456.789, "123456789m"),
    ],
)
def test_a_number_is_a_quantity(value, text):
    assert quantity(value) == text


@pytest.mark.parametrize("value", [nan, inf, -inf, 1e16, 1e300, -1e16])
def test_what_no_quantity_can_say_is_refused(value):
    with pytest.raises(ValueError, match="Quantity"):
        quantity(value)


@given(st.floats(min_value=-9e12, max_value=9e12))
def test_a_quantity_is_never_nearer_to_zero_than_the_number(value):
    text = quantity(value)
    told = Decimal(text[:-1]) / 1000 if text.endswith("m") else Decimal(text)
    assert abs(told) >= abs(Decimal(repr(value))) - Decimal("1e-9")
    assert abs(told - Decimal(repr(value))) < Decimal("0.001")


def test_a_time_has_whole_seconds_in_utc():
    assert timestamp(1_767_323_045.999) == "2026-01-02T03:04:05Z"
    assert timestamp(0) == "1970-01-01T00:00:00Z"
