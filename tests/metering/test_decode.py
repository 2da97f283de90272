"""Decoding as workers: the fuller of cache and step counts."""

import pytest

from grove_dp.metering.decode import Decoding, virtual_load

STEP = (0.010, 0.001, 1e-6)  # a promise of 60 ms is kept by 25 requests of 1,000 tokens


def test_a_worker_is_full_when_a_step_takes_as_long_as_is_promised_between_tokens():
    full = Decoding(requests=25, inflight=25, pinned_tokens=25_000, cache_share=0.3)
    assert virtual_load(full, STEP, 0.060) == pytest.approx(1.0)
    assert virtual_load(
        full._replace(requests=50, inflight=50, pinned_tokens=50_000), STEP, 0.060
    ) == pytest.approx(2)


def test_a_cache_that_is_fuller_than_the_step_counts():
    assert virtual_load(Decoding(5, 5, 5_000, 0.9), STEP, 0.060) == 0.9


def test_what_does_nothing_needs_nobody_whoever_tells():
    assert virtual_load(Decoding(0, 0), None, 0.060) == 0.0
    assert virtual_load(Decoding(0, 0, cache_share=0.2), STEP, 0.060) == 0.2


def test_while_nothing_tells_the_load_is_not_known():
    assert virtual_load(Decoding(3, 3), None, 0.060) is None
    assert virtual_load(Decoding(3, 3), STEP, 0.005) is None  # no step is as short as the promise


def test_where_only_the_cache_tells_it_is_believed():
    assert virtual_load(Decoding(3, 3, 900, 0.4), None, 0.060) == 0.4
