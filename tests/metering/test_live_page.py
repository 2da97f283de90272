"""The page of a frontend under load: every series that there can be has a value, and the values agree."""

import asyncio
import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from grove_dp.sim.publisher import EventSettings
from grove_dp.sim.worker import SimWorkers
from grove_dp.testing.frontend import Frontend, eventually

CLIENTS, ROUNDS, TOKENS = 4, 3, 24


def call(stream, tokens=TOKENS, news=""):
    body = json.dumps(
        {
            "model": "tiny-llama",
            "stream": stream,
            "max_tokens": tokens,
            "ignore_eos": True,
            "messages": [{"role": "user", "content": "Hi " * 60 + news}],
        }
    ).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Page:
    """Sums of samples by name and some of their labels."""

    def __init__(self, text, streams=0):
        self.streams = streams  # of TOKENS that have ended
        families = text_string_to_metric_families(text)
        self.samples = [sample for family in families for sample in family.samples]

    def sum(self, name, **labels):
        found = [
            sample.value
            for sample in self.samples
            if sample.name == f"grove_dp_{name}" and labels.items() <= sample.labels.items()
        ]
        assert found, f"{name} {labels} is not on the page"
        return sum(found)


async def aborted(frontend):
    """A client that goes in the middle of its stream."""
    async with await frontend.client() as client:
        await client.send(call(True, tokens=400))
        await client.head()
        await asyncio.sleep(0)


@pytest.fixture(scope="module")
def page():
    """After two streams' time, one of them still running; scraped once for all tests."""
    return asyncio.run(scraped())


async def scraped():
    events = EventSettings(endpoint="tcp://127.0.0.1:0", replay_endpoint="tcp://127.0.0.1:0")
    fleet = SimWorkers(
        2, profile="tiny-cpu", speed=2.0, enable_prompt_tokens_details=True, kv_events=events, max_num_seqs=2
    )
    async with (
        fleet as workers,
        Frontend([each.url for each in workers], workers={"max_inflight": 1}) as frontend,
    ):
        for worker in workers:
            await frontend.worker_until(worker.url.removeprefix("http://"), 10.0, state="ready")

        streams, news = 0, []

        async def ask():
            nonlocal streams
            for _ in range(ROUNDS):
                assert (await frontend.ask(call(True, news=" ".join(news)))).status == 200
                streams += 1

        async def tokenised():
            await ask()
            seen = Page((await frontend.admin("GET", "/metrics")).body.decode())
            by_tokens = seen.sum("placements_total", basis="tokens")
            if by_tokens and not seen.sum("stage_seconds_total", stage="tokenise"):
                news.append("more")  # all were recalled: none was made
            return by_tokens and seen.sum("stage_seconds_total", stage="tokenise")

        await eventually(tokenised, bool, 40, "a prompt is placed by tokens that were made for it")
        await asyncio.gather(*(ask() for _ in range(CLIENTS)))
        assert (await frontend.ask(call(False))).status == 200
        await aborted(frontend)
        await frontend.settled()
        still = asyncio.create_task(frontend.ask(call(True, tokens=3000)))
        await asyncio.sleep(1.2)  # the workers' own metrics are asked each second
        text = (await frontend.admin("GET", "/metrics")).body.decode()
        still.cancel()
        await asyncio.gather(still, return_exceptions=True)
        return Page(text, streams)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("arrivals_total", {}),
        ("endings_total", {}),
        *(("tokens_total", {"kind": kind}) for kind in ("prompt", "cached", "uncached", "output")),
        ("prefill_work_seconds_total", {}),
        ("worker_decode_virtual_load", {}),
        ("worker_kv_tokens", {}),
        ("worker_kv_capacity_tokens", {}),
        ("worker_decoding", {}),
        *((f"{name}_seconds_count", {}) for name in ("queue_wait", "time_to_first_token", "token_gap")),
        *((f"{name}_seconds_count", {}) for name in ("request_duration", "worker_startup")),
        *(
            ("stage_seconds_total", {"stage": name})
            for name in ("tokenise", "queue", "place", "prefill", "decode")
        ),
        ("slo_requests_total", {}),
        *(("slo_kept_requests_total", {"promise": promise}) for promise in ("ttft", "itl", "both")),
        ("predicted_cached_tokens_total", {"basis": "tokens"}),
        ("realised_cached_tokens_total", {"basis": "tokens"}),
        ("requests_total", {"reason": "ClientGone"}),
        ("index_stored_blocks_total", {}),
    ],
)
def test_it_has_a_value(page, name, labels):
    assert page.sum(name, **labels) > 0


@pytest.mark.parametrize(
    "name",
    [
        "retries_total",
        "retries_denied_total",
        "worker_ejected_total",
        "uncounted_models",
        "records_lost_total",
    ],
)
def test_what_did_not_happen_is_zero_and_not_absent(page, name):
    assert page.sum(name) == 0


def test_output_tokens_are_counted_once_however_they_came(page):
    of_models = page.sum("tokens_total", kind="output")
    of_workers = page.sum("output_tokens_total")
    ended = (page.streams + 1) * TOKENS
    assert of_workers == ended
    running = of_models - ended  # of the two streams that have not told their usage
    assert 0 < running < 3000
    gaps = page.sum("token_gap_seconds_count")
    of_running = gaps - page.streams * (TOKENS - 1)
    assert of_running in (running - 2, running - 1)  # who went had a token or had none


def test_the_stages_of_requests_make_up_their_time(page):
    stages = page.sum("stage_seconds_total")
    assert stages == pytest.approx(page.sum("request_duration_seconds_sum"), rel=0.02)


def test_an_answer_that_is_no_stream_has_no_time_to_its_first_token(page):
    assert (
        page.sum("time_to_first_token_seconds_count") == page.sum("slo_requests_total") + 1
    )  # one still runs
