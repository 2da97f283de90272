"""Tests of `Meter`: values, windows, labels; and pages, each read by the parser made for it."""

import math
import random
import threading

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from grove_dp.metering import meter as module
from grove_dp.metering.meter import Meter, form_for, rungs
from tests.metering.protobuf_reader import families_of, message, varint, zigzag

OPEN_1 = "application/openmetrics-text; version=1.0.0"
OPEN_2 = "application/openmetrics-text; version=2.0.0"
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"


class Hands:
    """A clock that is set."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def meter(clock):
    return Meter(clock)


# ---------------------------------------------------------------- values and windows


def test_a_counter_grows_and_tells_its_rate(meter, clock):
    tokens = meter.counter("app_tokens", "Tokens", unit="tokens", labels=("model",), window=True)
    llama = tokens.series("llama")
    for _ in range(100):
        llama.add(5)
        clock.now += 0.1
    assert llama.value == 500
    assert llama.rate(5) == pytest.approx(50, rel=0.03)
    assert llama.mean(5) == 5
    clock.now += 100
    assert llama.rate(60) == 0
    assert math.isnan(llama.mean(60))
    with pytest.raises(ValueError, match="a counter only grows: app_tokens"):
        llama.add(-1)


def test_a_rate_of_a_young_meter_is_over_its_age(meter, clock):
    tokens = meter.counter("app_tokens", "Tokens", window=True).series()
    tokens.add(30)
    clock.now += 3
    assert tokens.rate(60) == 10


def test_a_gauge_is_what_it_was_set_to_and_has_no_window(meter):
    load = meter.gauge("app_load", "Load").series()
    load.set(3)
    load.add(-0.5)
    assert load.value == 2.5
    with pytest.raises(ValueError, match="NoWindow: app_load keeps no window; make it with window=True"):
        load.mean(10)


@pytest.mark.parametrize("name", ["log-normal", "bimodal", "constant", "one far off"])
def test_quantiles_are_near_the_exact_ones(name, meter, clock):
    draw = random.Random(7)
    draws = {
        "log-normal": lambda: draw.lognormvariate(-1, 1),
        "bimodal": lambda: draw.choice([0.03, 0.03, 8.0]) * draw.uniform(0.9, 1.1),
        "constant": lambda: 0.05,
        "one far off": lambda: 1000.0 if draw.random() < 0.0005 else 0.02,
    }
    waits = meter.histogram("app_wait_seconds", "Wait", unit="seconds", window=True).series()
    values = []
    for _ in range(6000):
        values.append(draws[name]())
        waits.observe(values[-1])
        clock.now += 0.01
    values.sort()
    for q in (0.01, 0.5, 0.9, 0.99, 0.999):
        side = min(q, 1 - q) / 31  # counts in slots are within 1 in 32
        least, most = (values[min(int(6000 * (q + off)), 5999)] for off in (-side, side + 1 / 6000))
        assert least * 0.978 <= waits.quantile(q, 61) <= most * 1.022
    assert waits.quantiles((0.5, 0.9), 61) == (waits.quantile(0.5, 61), waits.quantile(0.9, 61))


def test_a_family_answers_for_its_series_together(meter):
    waits = meter.histogram("app_wait_seconds", "Wait", labels=("model", "class"), window=True)
    for model, kind, value in (("a", "gold", 1.0), ("a", "free", 4.0), ("b", "gold", 16.0)):
        waits.series(model, kind).observe(value)
    assert waits.quantile(1, 10, model="a") == pytest.approx(4, rel=0.022)
    assert waits.quantile(1, 10) == pytest.approx(16, rel=0.022)
    assert waits.window(10, **{"class": "gold"})[:2] == (2, 17)
    assert waits.window(10, model="c").n == 0
    assert math.isnan(waits.quantile(0.5, 10, model="c"))
    with pytest.raises(ValueError, match=r"WrongLabels: app_wait_seconds has the labels .*, got .'worker'"):
        waits.quantile(0.5, 10, worker="w")


def test_many_times_the_same_value_is_one_call(meter):
    gaps = meter.histogram("app_gap_seconds", "Gap", window=True).series()
    gaps.observe_times(0.01, 5)
    assert (gaps.value, gaps.window(10).n, gaps.buckets().counts) == (5, 5, [5])


def test_threads_write_one_series_and_nothing_is_lost(meter):
    count = meter.counter("app_events", "Events").series()
    waits = meter.histogram("app_wait_seconds", "Wait").series()

    def write():
        for _ in range(20_000):
            count.add()
            waits.observe(0.1)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count.value == waits.value == 80_000


# ---------------------------------------------------------------- labels and refusals


def test_a_series_is_found_by_place_and_by_name(meter):
    family = meter.counter("app_events", "Events", labels=("model", "class"))
    assert family.series("m", "c") is family.series("m", **{"class": "c"})
    assert family.series("m", "c") is family.series(**{"class": "c", "model": "m"})
    assert family.series("m", "c") is not family.series("c", "m")


def test_what_cannot_be_says_its_reason(meter):
    family = meter.counter("app_events", "Events", labels=("model",), series_max=1)
    family.series("m")
    waits = meter.histogram("app_wait_seconds", "Wait", window=True).series()
    wrong = {
        "TooManySeries: app_events": lambda: family.series("n"),
        "WrongLabels: app_events": lambda: family.series(),
        "WrongLabels": lambda: family.series(kind="m"),
        "NameTaken: app_events": lambda: meter.gauge("app_events", "Events"),
        "BadMetricName: app events": lambda: meter.gauge("app events", "Events"),
        "BadUnit: app_load": lambda: meter.gauge("app_load", "Load", unit="seconds"),
        "BadLabelName: app_load": lambda: meter.gauge("app_load", "Load", labels=("le",)),
        "TooManyLabels: app_load": lambda: meter.gauge("app_load", "Load", labels=tuple("abcdefghi")),
        "BadRange: a": lambda: meter.histogram("a", "h", octaves=(0, 31)),
        "BadBuckets: a": lambda: meter.histogram("a", "h", rungs=(0, 400, 1)),
        "BadBuckets: 0 < first": lambda: rungs(0, 1),
        "a window is 1..900 seconds long, got 901": lambda: waits.quantile(0.5, 901),
        "a quantile is 0..1, got 1.5": lambda: waits.quantile(1.5, 60),
        "NoQuantile: app_events": lambda: family.quantile(0.5, 60),
        "BadText": lambda: meter.gauge("app_load", "Lo\0ad"),
        "series_max must be at least 1": lambda: meter.gauge("app_load", "Load", series_max=0),
    }
    for reason, attempt in wrong.items():
        with pytest.raises(ValueError, match=reason):
            attempt()
    with pytest.raises(TypeError):
        family.series(7)


def test_memory_is_within_its_budget(meter):
    labels = ("meta-llama/Llama-3.1-70B-Instruct", "interactive")
    for window, budget in ((False, 4 << 10), (True, 64 << 10)):
        family = meter.histogram(
            f"app_{window}_seconds".lower(), "Wait", labels=("model", "class"), window=window
        )
        before = meter.nbytes
        series = family.series(*labels)
        series.observe(1)
        assert 3 << 10 < meter.nbytes - before <= budget


# ---------------------------------------------------------------- pages


@pytest.fixture
def filled(meter):
    tokens = meter.counter("app_tokens", 'A "b" \\ c\nd', unit="tokens", labels=("model", "class"))
    tokens.series('a\\b"c\nd,e}', "ä 中").add(17)
    tokens.series("", "x").add(0.5)
    meter.gauge("app_load", "Load", unit="").series().set(math.nan)
    waits = meter.histogram(
        "app_wait_seconds", "Wait", unit="seconds", labels=("model",), rungs=rungs(0.25, 4, 2)
    )
    for value in (0, 0.3, 1.0, 1.5, 2.0, 9999.0):
        waits.series("m").observe(value)
    return meter


def samples_of(families):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("accept", "read"), [("", read_text), (OPEN_1, openmetrics.text_string_to_metric_families)]
)
def test_the_parser_of_prometheus_reads_what_was_written(filled, accept, read):
    text, _ = filled.scrape(accept)
    families = {family.name: family for family in read(text.decode())}
    assert families["app_tokens"].documentation == 'A "b" \\ c\nd'
    got = samples_of(families.values())
    assert got["app_tokens_total", ("class", "ä 中"), ("model", 'a\\b"c\nd,e}')] == 17
    assert got["app_tokens_total", ("class", "x"), ("model", "")] == 0.5
    assert math.isnan(got[("app_load",)])
    bucket = {labels[0][1]: value for (name, *labels), value in got.items() if name.endswith("_bucket")}
    bounds = "0.25 0.353553 0.5 0.707107 1.0 1.41421 2.0 2.82843 4.0 +Inf".split()
    assert bucket == dict(zip(bounds, (1, 2, 2, 2, 3, 3, 5, 5, 5, 6), strict=True))
    assert got["app_wait_seconds_count", ("model", "m")] == 6
    assert got["app_wait_seconds_sum", ("model", "m")] == pytest.approx(10003.8)


def test_native_histograms_are_read_by_the_parser(meter):
    # It takes no negative offset of the first span, so all values are above 1.
    sizes = meter.histogram("app_size_tokens", "Size", unit="tokens", labels=("model",), octaves=(0, 20))
    for value in (1.0, 1.5, 1.5, 2.0, 1000.0, 1e9):
        sizes.series('m"}{').observe(value)
    text = meter.scrape(OPEN_2)[0].decode()
    [family] = openmetrics.text_string_to_metric_families(text)
    [sample] = family.samples
    histogram = sample.native_histogram
    assert (family.unit, sample.labels) == ("tokens", {"model": 'm"}{'})
    assert (histogram.count_value, histogram.sum_value, histogram.schema) == (6, 1000001006.0, 4)
    assert (histogram.zero_threshold, histogram.zero_count) == (1, 1)
    assert decoded(histogram) == {10: 2, 16: 1, 160: 1, 321: 1}  # 2**(10/16) = 1.54 is the bound above 1.5


def decoded(histogram):
    """Index of a native bucket -> count: it holds values up to 2**(index/16)."""
    deltas, index, count, told = iter(histogram.pos_deltas), 0, 0, {}
    for span in histogram.pos_spans:
        index += span.offset
        for _ in range(span.length):
            count += next(deltas)
            told[index] = count
            index += 1
    return told


def test_a_native_histogram_of_less_than_a_second_begins_below_zero(meter):
    waits = meter.histogram("app_wait_seconds", "Wait").series()
    waits.observe(0.25)
    waits.observe(0.26)
    line = meter.scrape(OPEN_2)[0].decode().splitlines()[-2]
    assert "positive_spans:[-32:2],positive_deltas:[1,0]" in line


def test_the_reference_lists_what_there_is(filled):
    head, _, *rows = filled.reference().splitlines()
    assert head == "| metric | kind | unit | labels | window | what |"
    assert rows == [
        "| `app_load` | gauge | - | - | - | Load |",
        '| `app_tokens_total` | counter | tokens | model, class | - | A "b" \\ c d |',
        "| `app_wait_seconds` | histogram | seconds | model | - | Wait |",
    ]


# ---------------------------------------------------------------- protobuf


def test_protobuf_tells_what_the_text_tells(filled):
    page, content_type = filled.scrape(PROTOBUF)
    assert content_type.startswith("application/vnd.google.protobuf")
    told = families_of(page)
    kind, metrics, help_text = told["app_tokens_total"]
    assert (kind, help_text) == (0, 'A "b" \\ c\nd')
    assert message(metrics['a\\b"c\nd,e}', "ä 中"][3][0]) == {1: [17.0]}
    assert message(metrics["", "x"][3][0]) == {1: [0.5]}
    assert told["app_load"][0] == 1
    kind, metrics, _ = told["app_wait_seconds"]
    histogram = message(metrics[("m",)][7][0])
    assert (kind, histogram[1], histogram[2]) == (4, [6], [pytest.approx(10003.8)])
    classic = {bucket[2][0]: bucket[1][0] for bucket in map(message, histogram[3])}
    assert (classic[0.25], classic[1.0], classic[2.0], classic[4.0]) == (1, 3, 5, 5)
    assert (zigzag(histogram[5][0]), histogram[6], histogram[7]) == (4, [2**-18], [1])


def test_native_buckets_in_protobuf_are_where_the_values_are(meter):
    waits = meter.histogram("app_wait_seconds", "Wait").series()
    values = [0.0007, 0.25, 0.26, 0.26, 1.0, 3.0, 3.1, 5000.0]
    for value in values:
        waits.observe(value)
    _, metrics, _ = families_of(meter.scrape(PROTOBUF)[0])["app_wait_seconds"]
    histogram = message(metrics[()][7][0])
    deltas, at = [], 0
    while at < len(histogram[13][0]):
        delta, at = varint(histogram[13][0], at)
        deltas.append(zigzag(delta))
    index, count, told, left = 0, 0, {}, iter(deltas)
    for span in map(message, histogram[12]):
        index += zigzag(span[1][0])
        for _ in range(span[2][0]):
            count += next(left)
            told[index] = count
            index += 1
    where = [min(math.ceil(round(math.log2(value) * 16, 9)), 193) for value in values]  # 5000 s: the next one
    assert told == {index: where.count(index) for index in where}


def test_an_empty_meter_is_an_empty_page(meter):
    assert meter.scrape()[0] == b""
    assert meter.scrape(OPEN_1)[0] == b"# EOF\n"


def test_a_hidden_series_is_not_on_the_page_and_keeps_its_count(filled, clock):
    series = filled.families["app_tokens"].series("", "x")
    series.show(False)
    assert 'class="x"' not in filled.scrape()[0].decode()
    series.show()
    clock.now += 1
    assert 'app_tokens_total{model="",class="x"} 0.5' in filled.scrape()[0].decode()


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", module.TEXT),
        ("*/*", module.TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", module.TEXT),
        (OPEN_1, module.OPENMETRICS_1),
        ("application/openmetrics-text", module.OPENMETRICS_1),
        (OPEN_2, module.OPENMETRICS_2),
        (f"{OPEN_1};q=0.5,{OPEN_2};q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2", module.OPENMETRICS_2),
        (f"{OPEN_2};q=0.5,text/plain;q=0.9", module.TEXT),
        (f"{OPEN_1};q=0,text/plain", module.TEXT),
        (f"{OPEN_1};q=nonsense", module.TEXT),
        (f"{PROTOBUF};q=0.6,{OPEN_1};q=0.5,*/*;q=0.1", module.PROTOBUF),
        (f"{PROTOBUF.replace('delimited', 'text')},{OPEN_1};q=0.5", module.OPENMETRICS_1),
    ],
)
def test_the_scraper_chooses_the_form(accept, form):
    assert form_for(accept) is form


@pytest.mark.parametrize(
    ("accept", "read"),
    [
        ("", read_text),
        (OPEN_1, openmetrics.text_string_to_metric_families),
        (OPEN_2, openmetrics.text_string_to_metric_families),
    ],
)
def test_ordinary_metrics_join_the_page(filled, accept, read):
    other = CollectorRegistry()
    prometheus_client.Counter("other", "Other", registry=other).inc()
    names = {family.name for family in read(filled.scrape(accept, other)[0].decode())}
    assert {"app_tokens", "app_wait_seconds", "other"} <= names


def test_a_meter_joins_an_ordinary_registry(filled):
    registry = CollectorRegistry()
    registry.register(filled)
    assert registry.get_sample_value("app_wait_seconds_count", {"model": "m"}) == 6


def test_scrapes_within_half_a_second_get_the_same_page(meter, clock):
    load = meter.gauge("app_load", "Load").series()
    load.set(1)
    first = meter.scrape()
    load.set(2)
    clock.now += 0.4
    assert meter.scrape()[0] is first[0]
    assert b"app_load 2" in meter.scrape(OPEN_1)[0]
    clock.now += 0.2
    assert b"app_load 2" in meter.scrape()[0]


def test_a_page_is_rendered_while_others_write(meter):
    family = meter.histogram("app_wait_seconds", "Wait", labels=("model",))
    ended = threading.Event()

    def write():
        for n in range(200):
            series = family.series(f"m{n}")
            for k in range(100):
                series.observe(k / 100)
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    pages = 0
    while not ended.is_set() or not pages:
        text = meter.render(1).decode()
        for line in text.splitlines():
            assert line.startswith(("#", "app_wait_seconds"))
        pages += 1
    writer.join()
    [family_read] = openmetrics.text_string_to_metric_families(meter.render(1).decode())
    counts = [sample.value for sample in family_read.samples if sample.name.endswith("_count")]
    assert counts == [100] * 200
