from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families

from grove_dp.metering.ledger import Ledger
from grove_dp.metering.meter import Meter
from grove_dp.metering.prometheus import (
    COUNTERS,
    GAUGES,
    ControlMetrics,
    Page,
    Reading,
    WorkerReading,
)
from grove_dp.native.plane import CIRCUITS
from tests.metering.protobuf_reader import families_of, message

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
OPEN_METRICS_2 = "application/openmetrics-text; version=2.0.0"
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"


def page_of(told, accept="", meter=None):
    return Page(meter or Meter(), ControlMetrics().registry).render(told, accept)


def reading(counters=None, workers=()):
    none = {**dict.fromkeys([*COUNTERS, *GAUGES], 0), "ended": {}, "status": {}}
    return Reading(
        counters={**none, **(counters or {})},
        workers=workers,
        build={"version": "1"},
    )


def samples(page):
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def worker(**changes):
    book = dict.fromkeys(WorkerReading._fields, 0)
    return WorkerReading(**{**book, "id": "a:1", "state": "ready", "circuit": "closed", **changes})


# ---------------------------------------------------------------- the page


def test_requests_are_counted_by_endpoint_and_reason_and_answers_by_status():
    counters = {"ended": {("chat", "OK"): 3, ("none", "BadRequest"): 1}, "status": {200: 3, 400: 1}}
    page, _ = page_of(reading(counters=counters))
    found = samples(page)
    assert found["grove_dp_requests_total", "OK", "chat"] == 3
    assert found["grove_dp_requests_total", "BadRequest", "none"] == 1
    assert found["grove_dp_responses_total", "400"] == 1
    assert found["grove_dp_config_reload_errors_total",] == 0
    assert found["grove_dp_build_info", "1"] == 1


def test_a_worker_is_up_when_it_may_get_requests():
    workers = [
        worker(inflight=2, output_tokens=9),
        worker(id="b:1", circuit="open"),
        worker(id="c:1", state="draining"),
        worker(id="d:1", circuit="half_open"),
    ]
    found = samples(page_of(reading(workers=workers))[0])
    up = {name: found["grove_dp_worker_up", name] for name in ("a:1", "b:1", "c:1", "d:1")}
    assert up == {"a:1": 1, "b:1": 0, "c:1": 0, "d:1": 1}
    assert found["grove_dp_worker_inflight", "a:1"] == 2
    assert found["grove_dp_worker_output_tokens_total", "a:1"] == 9
    assert {state: found["grove_dp_worker_circuit", "b:1", state] for state in CIRCUITS} == {
        "closed": 0,
        "open": 1,
        "half_open": 0,
    }


def test_the_page_is_valid_in_both_formats():
    some, meter = reading(workers=[worker()]), Meter()
    row = Ledger(meter, lambda _number, _series: None).row("m", "default")
    row.times["ttft"].observe(0.2)
    row.times["gap"].observe(0.02)
    page, content_type = page_of(some, OPEN_METRICS, meter)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in open_families(page.decode())}
    page, content_type = page_of(some, "text/plain", meter)
    assert content_type.startswith("text/plain")
    plain = {family.name for family in text_string_to_metric_families(page.decode())}
    for name in ("requests", "time_to_first_token_seconds", "token_gap_seconds", "worker_up", "exchanges"):
        assert f"grove_dp_{name}" in names
        assert f"grove_dp_{name}" in plain


def test_native_histograms_and_all_registries_are_on_one_page_where_they_are_asked_for():
    meter = Meter()
    Ledger(meter, lambda _number, _series: None).row("m", "default").times["ttft"].observe(0.2)
    wanted = {
        "grove_dp_time_to_first_token_seconds",
        "grove_dp_worker_inflight",
        "grove_dp_control_lag_seconds",
    }
    page, content_type = page_of(reading(workers=[worker()]), OPEN_METRICS_2, meter)
    assert content_type.startswith("application/openmetrics-text; version=2.0.0")
    families = {family.name: family for family in open_families(page.decode())}
    assert wanted <= families.keys()
    samples = families["grove_dp_time_to_first_token_seconds"].samples
    [ttft] = [sample for sample in samples if sample.native_histogram]
    assert (ttft.native_histogram.schema, ttft.native_histogram.count_value) == (4, 1)
    page, content_type = page_of(reading(workers=[worker()]), PROTOBUF, meter)
    assert content_type.startswith("application/vnd.google.protobuf")
    told = families_of(page)
    assert wanted <= told.keys()
    histogram = message(told["grove_dp_time_to_first_token_seconds"][1]["m", "default"][7][0])
    assert 12 in histogram  # spans of native buckets
    page, content_type = page_of(reading(workers=[worker()]), "text/plain", meter)
    assert content_type.startswith("text/plain")
    assert wanted <= {family.name for family in text_string_to_metric_families(page.decode())}


def test_names_end_in_base_units_and_labels_are_bounded():
    some = reading(workers=[worker()])
    page, _ = page_of(some, OPEN_METRICS)
    labels = {
        label
        for family in open_families(page.decode())
        if family.name.startswith("grove_dp_")
        for sample in family.samples
        for label in sample.labels
    }
    assert labels <= {"endpoint", "reason", "code", "worker", "circuit", "le", "version"}
