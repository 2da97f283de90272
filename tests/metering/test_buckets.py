"""Histograms that add up."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grove_dp.metering.buckets import added, quantile

PARTS = st.lists(st.dictionaries(st.integers(-200, 200), st.floats(0, 1e6), max_size=6), max_size=4)


def bucket(seconds):
    return math.ceil(16 * math.log2(seconds))


def test_a_quantile_is_of_all_parts_together():
    assert quantile([{bucket(0.1): 99.0}, {bucket(5.0): 1.0}], 0.99) == pytest.approx(0.1, rel=0.03)
    assert quantile([{bucket(0.1): 98.0}, {bucket(5.0): 2.0}], 0.99) == pytest.approx(5.0, rel=0.03)


def test_nothing_has_the_quantile_zero():
    assert quantile([], 0.99) == quantile([{}], 0.5) == quantile([{3: 0.0}], 0.5) == 0.0


@given(PARTS)
def test_adding_loses_nothing_and_changes_no_part(parts):
    before = [dict(part) for part in parts]
    found = added(parts)
    assert sum(found.values()) == pytest.approx(sum(sum(part.values()) for part in parts))
    assert parts == before
