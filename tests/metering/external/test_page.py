"""The adapter's own metrics page."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from grove_dp.metering.external.page import AdapterReading, page
from tests.metering.external.rig import AGGREGATOR, rig

READING = AdapterReading(
    answers={200: 5, 401: 1},
    reviews={"token": 2, "access": 3},
    series=7,
    complete=True,
    picture_age_s=0.5,
    certificate_ends_s=1.8e9,
    renewals=1,
)


def samples(body):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_the_page_tells_what_is_known():
    told = samples(page(lambda: READING)("")[0])
    assert told["grove_dp_external_answers_total", "200"] == 5
    assert told["grove_dp_external_answers_total", "401"] == 1
    assert told["grove_dp_external_reviews_total", "access"] == 3
    assert told["grove_dp_external_series",] == 7
    assert told["grove_dp_external_picture_complete",] == 1
    assert told["grove_dp_external_picture_age_seconds",] == 0.5
    assert told["grove_dp_external_certificate_end_timestamp_seconds",] == 1.8e9
    assert told["grove_dp_external_renewals_total",] == 1
    assert told["process_open_fds",] > 0


def test_what_is_not_known_is_left_out():
    unknown = READING._replace(complete=False, picture_age_s=None, certificate_ends_s=None)
    told = samples(page(lambda: unknown)("")[0])
    assert told["grove_dp_external_picture_complete",] == 0
    assert ("grove_dp_external_picture_age_seconds",) not in told
    assert ("grove_dp_external_certificate_end_timestamp_seconds",) not in told


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0", "text/plain"])
async def test_the_port_shows_it_to_those_who_may(accept):
    async with rig(page=page(lambda: READING)) as port, port.aggregator() as caller:
        status, headers, body = await caller.get("/metrics", {**AGGREGATOR, "Accept": accept})
        assert status == 200
        assert ("openmetrics" in headers["Content-Type"]) == ("openmetrics" in accept)
        assert b"grove_dp_external_series 7" in body
        assert (await caller.get("/metrics", {"X-Remote-User": "eve"}))[0] == 403
        port.cluster.rights.add(("prometheus", "/metrics"))
        assert (await caller.get("/metrics", {"X-Remote-User": "prometheus"}))[0] == 200
        async with port.caller() as stranger:
            assert (await stranger.get("/metrics"))[0] == 401
