"""prometheus-client's families as protobuf, read back."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.core import UnknownMetricFamily

from grove_dp.metering.meter import Meter
from grove_dp.metering.protobuf import delimited
from tests.metering.protobuf_reader import families_of, message

PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"


@pytest.fixture
def registry():
    return CollectorRegistry()


def test_counters_and_gauges_have_their_names_and_labels(registry):
    answers = Counter("answers", 'Answers "so" far', ["code"], registry=registry)
    answers.labels("200").inc(300)
    answers.labels("ä").inc()
    Gauge("load", "Load", registry=registry).set(-2.5)
    told = families_of(delimited(registry.collect()))
    kind, metrics, text = told["answers_total"]
    assert (kind, text) == (0, 'Answers "so" far')
    assert {labels: message(metric[3][0])[1] for labels, metric in metrics.items()} == {
        ("200",): [300.0],
        ("ä",): [1.0],
    }
    kind, metrics, _ = told["load"]
    assert (kind, message(metrics[()][2][0])) == (1, {1: [-2.5]})


def test_an_info_is_a_gauge_of_one_and_what_is_unknown_stays_so(registry):
    Info("build", "Build", registry=registry).info({"version": "1"})
    told = families_of(delimited([*registry.collect(), UnknownMetricFamily("odd", "Odd", 3)]))
    assert (told["build_info"][0], message(told["build_info"][1]["1",][2][0])) == (1, {1: [1.0]})
    assert (told["odd"][0], message(told["odd"][1][()][5][0])) == (3, {1: [3.0]})


def test_a_histogram_is_one_metric_of_cumulative_buckets(registry):
    waits = Histogram("wait", "Wait", ["who"], buckets=(1, 2), registry=registry)
    for value in (0.5, 0.5, 1.5, 9):
        waits.labels("a").observe(value)
    waits.labels("b").observe(1.5)
    kind, metrics, _ = families_of(delimited(registry.collect()))["wait"]
    histogram = message(metrics[("a",)][7][0])
    buckets = {bucket[2][0]: bucket[1][0] for bucket in map(message, histogram[3])}
    assert (kind, histogram[1], histogram[2]) == (4, [4], [11.5])
    assert buckets == {1.0: 2, 2.0: 3, float("inf"): 4}
    assert message(metrics[("b",)][7][0])[1] == [1]


def test_they_join_a_meters_page(registry):
    meter = Meter()
    meter.histogram("app_wait_seconds", "Wait").series().observe(0.3)
    Counter("other", "Other", registry=registry).inc()
    page, content_type = meter.scrape(PROTOBUF, registry)
    assert content_type.startswith("application/vnd.google.protobuf")
    assert set(families_of(page)) == {"app_wait_seconds", "other_total"}
