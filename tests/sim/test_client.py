"""The load client against scripted bytes: every way an answer can end is counted under its own word."""

import asyncio

import pytest

from grove_dp.clock import SystemClock
from grove_dp.errors import ConfigurationError
from grove_dp.sim.answer import Answer, MalformedAnswer
from grove_dp.sim.client import Endpoint, LoadClient, Outcome, Unreachable
from grove_dp.sim.distribution import Distribution
from tests.sim.streams import DONE, STREAM_HEAD, answer, chunk, server, token, usage, whole_stream

ERROR = chunk(b'data: {"error": {"message": "gone", "type": "WorkerFailed", "param": null, "code": 502}}\n\n')


async def ask(sent: bytes, *, close: bool = True, timeout_s: float = 5.0) -> Outcome:
    async def script(_body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        if close:
            writer.close()

    async with server(script) as url:
        client = LoadClient(Endpoint.of(url), clock=SystemClock(), timeout_s=timeout_s)
        try:
            return await client.post("/v1/chat/completions", b"{}")
        finally:
            client.close()


async def test_a_whole_stream_is_measured_by_its_usage():
    got = await ask(whole_stream(3))
    assert (got.reason, got.status, got.tokens_seen) == ("", 200, 3)
    assert (got.prompt_tokens, got.output_tokens, got.cached_tokens) == (7, 3, 4)
    assert got.ttft_s is not None
    assert 0 < got.ttft_s <= got.e2e_s
    assert 0 <= got.tpot_s <= got.e2e_s - got.ttft_s


async def test_a_whole_answer_without_a_stream_is_measured_too():
    body = b'{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}'
    got = await ask(
        answer("200 OK", body, "content-type: application/json", "X-Grove-Worker: w-1"), close=False
    )
    assert (got.reason, got.worker, got.prompt_tokens, got.output_tokens) == ("", "w-1", 5, 2)


@pytest.mark.parametrize(
    ("sent", "reason", "kind"),
    [
        (b"", "CutBeforeFirstByte", "failed"),
        (b"HTTP/1.1 200 OK\r\ncontent-", "CutBeforeFirstByte", "failed"),
        (STREAM_HEAD, "CutMidStream", "failed"),
        (STREAM_HEAD + token() + token()[:20], "CutMidStream", "failed"),
        (STREAM_HEAD + token() + b"0\r\n\r\n", "CutMidStream", "failed"),  # ends without [DONE]
        (STREAM_HEAD + ERROR + DONE, "StreamError:WorkerFailed", "failed"),  # no token came before it
        (STREAM_HEAD + token() + ERROR + DONE, "StreamError:WorkerFailed", "cut"),
        (
            answer("503 Service Unavailable", b'{"error":{"type":"NoReadyWorker"}}'),
            "Status503:NoReadyWorker",
            "failed",
        ),
        (answer("401 Unauthorized", b'{"error":"Unauthorized"}'), "Status401:Unauthorized", "failed"),
        (answer("500 Oops", b"<html>"), "Status500", "failed"),
        (STREAM_HEAD + b"zz\r\n", "MalformedAnswer", "failed"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "MalformedAnswer", "failed"),
    ],
)
async def test_each_bad_end_has_its_own_word(sent, reason, kind):
    got = await ask(sent)
    assert got.reason == reason
    assert (got.failed, got.cut) == (kind == "failed", kind == "cut")
    assert got.ttft_s is None


async def test_an_answer_that_never_comes_times_out():
    got = await ask(b"", close=False, timeout_s=0.05)
    assert got.reason == "TimedOut"


async def test_a_closed_port_is_a_failed_connection():
    async with server(lambda *_: asyncio.sleep(0)) as url:
        pass
    got = await LoadClient(Endpoint.of(url), clock=SystemClock()).post("/v1/completions", b"{}")
    assert got.reason == "ConnectFailed"
    with pytest.raises(Unreachable, match="is a server there"):
        await LoadClient(Endpoint.of(url), clock=SystemClock()).get("/v1/models")


async def test_connections_are_used_again_until_they_have_been_idle_too_long():
    seen = []

    async def script(_body: bytes, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peername")[1])
        writer.write(whole_stream())

    async with server(script) as url:
        client = LoadClient(Endpoint.of(url), clock=SystemClock(), idle_s=60.0)
        for _ in range(2):
            assert (await client.post("/v1/chat/completions", b"{}")).reason == ""
        client._idle_s = 0.0
        assert (await client.post("/v1/chat/completions", b"{}")).reason == ""
        client.close()
    assert seen[0] == seen[1] != seen[2]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
def test_the_reader_sees_the_same_answer_however_it_is_cut_into_reads(size):
    gaps = Distribution()
    read = Answer(gaps)
    sent = b"HTTP/1.1 100 Continue\r\n\r\n" + whole_stream(5)
    for place in range(0, len(sent), size):
        read.feed(sent[place : place + size], place)
    assert (read.complete, read.done, read.tokens, read.status) == (True, True, 5, 200)
    assert read.usage.startswith(b'{"choices":[],"usage"')
    assert gaps.count == 4
    with pytest.raises(MalformedAnswer):
        read.feed(b"x", 0.0)


def test_comments_and_several_events_in_one_chunk_are_told_apart():
    read = Answer()
    events = b": keep-alive\n\n" + b'data: {"choices":[{"text":"a"}]}\n\n' * 4
    read.feed(STREAM_HEAD + chunk(events) + usage(1, 4) + DONE, 1.0)
    assert (read.tokens, read.done, read.first_token_at) == (4, True, 1.0)


@pytest.mark.parametrize("url", ["https://a", "ftp://a:1", "http://"])
def test_only_plain_http_is_spoken(url):
    with pytest.raises(ConfigurationError, match="http://HOST"):
        Endpoint.of(url)


def test_a_base_url_of_openai_clients_is_understood():
    assert Endpoint.of("http://h:81/v1/") == Endpoint("h", 81, "")
    assert Endpoint.of("h:81/p") == Endpoint("h", 81, "/p")
