"""The native meter against its plain twin: windows, quantiles, and the page to the byte."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grove_dp.native import meter
from grove_dp.native.plain import meter as plain

SECOND = plain.SECOND


class Hands:
    """A clock that is set."""

    def __init__(self, now_ns):
        self.now_ns = now_ns

    def __call__(self):
        return self.now_ns / SECOND


QUARTER = SECOND // 4  # exact as a float of seconds
STEPS = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 8), st.integers(0, 400), st.integers(-4000, 4000)),  # quarters of a second
        st.one_of(st.floats(0, 1e5), st.sampled_from([0.0, 0.5, 1.0, 3e-6, 4096.0, 5e3])),
        st.integers(1, 900),
    ),
    max_size=40,
)


@given(STEPS, st.integers(0, 1 << 34))
@settings(max_examples=80, deadline=None)
def test_windows_hold_what_the_twin_holds(steps, start):
    clock = Hands((20_000 + start) * QUARTER)
    made = meter.Meter(clock)
    histogram = made.histogram("a", "h", window=True).series()
    counter = made.counter("b", "h", window=True).series()
    twin = plain.Histogram(plain.Scale())
    for quarters, value, window_s in steps:
        clock.now_ns += quarters * QUARTER
        histogram.observe(value)
        counter.add(value)
        twin.observe(value, clock.now_ns)
        seen, got = twin.window.look(window_s, clock.now_ns), histogram.window(window_s)
        assert got.n == pytest.approx(seen.n)
        assert got.sum == pytest.approx(seen.sum)
        assert counter.window(window_s)[:2] == pytest.approx(got[:2])
        for q in (0.0, 0.1, 0.5, 0.99, 1.0):
            want = plain.quantile(seen, twin.scale, q)
            assert histogram.quantile(q, window_s) == pytest.approx(want, nan_ok=True)
    assert histogram.value == sum(twin.buckets.values())


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=30))
def test_odd_values_count_as_none_and_sums_stay_finite(values):
    made = meter.Meter()
    histogram = made.histogram("a", "h", window=True).series()
    for value in values:
        histogram.observe(value)
    assert histogram.value == len(values)
    assert math.isfinite(histogram.buckets().sum)
    assert math.isfinite(histogram.window(60).sum)


TEXTS = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=12)


@given(
    help_text=TEXTS,
    labels=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4, unique=True),
    values=st.lists(st.floats(0, 1e6), max_size=20),
    gauge=st.floats(),
)
@settings(max_examples=60, deadline=None)
def test_the_page_is_the_twins_page(help_text, labels, values, gauge):
    made, families = meter.Meter(), []
    both = ("model", "class")
    counter = made.counter("t_tokens", help_text, unit="tokens", labels=both)
    families.append(plain.Family("t_tokens", help_text, "tokens", "counter", both, {}))
    for pair in labels:
        counter.series(*pair).add(len(pair[0]) + 0.5)
        families[-1].series[pair] = twin = plain.Counter()
        twin.add(len(pair[0]) + 0.5)
    made.gauge("load", help_text).series().set(gauge)
    families.append(plain.Family("load", help_text, "", "gauge", (), {(): plain.Gauge()}))
    families[-1].series[()].set(gauge)
    wait = made.histogram("w_seconds", help_text, unit="seconds", octaves=(-10, 8), rungs=(-64, 64, 8))
    waits = wait.series()
    spread = plain.Histogram(plain.Scale(-10, 8))
    rungs = range(-64, 65, 8)
    families.append(plain.Family("w_seconds", help_text, "seconds", "histogram", (), {(): spread}, rungs))
    for value in values:
        waits.observe(value)
        spread.observe(value)
    for form in (meter.TEXT, meter.OPENMETRICS_1, meter.OPENMETRICS_2):
        assert made.render(form).decode() == plain.page(families, form)


@given(st.floats())
def test_a_number_is_written_as_the_twin_writes_it_and_comes_back(value):
    made = meter.Meter()
    made.gauge("a", "h").series().set(value)
    told = made.render(meter.TEXT).decode().splitlines()[-1].removeprefix("a ")
    assert told == plain.number(value)
    assert float(told) == value or math.isnan(value)


def test_classic_buckets_are_exact_on_their_bounds():
    made = meter.Meter()
    histogram = made.histogram("a", "h").series()
    for k in range(-10, 9):
        histogram.observe(2.0**k)
        histogram.observe(math.nextafter(2.0**k, 1e9))
    lines = made.render(meter.TEXT).decode().splitlines()
    told = {line.split('"')[1]: int(line.rsplit(" ", 1)[1]) for line in lines if "_bucket" in line}
    assert [told[f"{2.0**k:.17g}".removesuffix(".0") + ("" if k < 0 else ".0")] for k in range(-10, 9)] == [
        2 * i + 1 for i in range(19)
    ]
