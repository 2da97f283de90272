"""Heads, bodies, events: what every request and every token passes through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.micro import samples

if TYPE_CHECKING:
    from bench.micro.cases import Cases
    from bench.micro.conftest import Gauge

SCANNED = {
    "openai_scan_300": samples.body("small"),
    "openai_scan_8k": samples.body("8k"),
    "openai_scan_128k": samples.body("128k"),
}


def test_a_request_head_of_the_openai_client(gauge: Gauge, cases: Cases) -> None:
    gauge("http1_request", cases.on("http1_request", samples.REQUEST_HEAD))


def test_a_response_head_of_vllm(gauge: Gauge, cases: Cases) -> None:
    gauge("http1_response", cases.on("http1_response", samples.RESPONSE_HEAD))


def test_a_chunked_body_of_a_hundred_events(gauge: Gauge, cases: Cases) -> None:
    gauge("chunked_100", cases.on("chunked", samples.CHUNKED))


@pytest.mark.parametrize("name", SCANNED)
def test_scanning_a_chat_request(name: str, gauge: Gauge, cases: Cases) -> None:
    gauge(name, cases.on("openai_scan", SCANNED[name]))


def test_splicing_include_usage_into_a_streamed_request(gauge: Gauge, cases: Cases) -> None:
    gauge("openai_splice", cases.on("openai_splice", samples.STREAMED_BODY))


def test_reading_the_usage_of_an_answer(gauge: Gauge, cases: Cases) -> None:
    gauge("openai_usage", cases.on("openai_usage", samples.ANSWER))


def test_an_event_of_one_token(gauge: Gauge, cases: Cases) -> None:
    gauge("sse_next", cases.on("sse_next", samples.EVENT))
