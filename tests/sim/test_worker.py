"""The worker as clients and operators meet it: clients that leave, faults, lifecycle, the openai package."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from grove_dp.sim.worker import SimWorker, SimWorkers

STORY = {"prompt": "story", "max_tokens": 2000, "ignore_eos": True}
METRICS = Path(__file__).parent.parent / "fixtures" / "vllm_metrics" / "metrics_under_load.prom"


def workers_with(count: int = 1, **changes: Any) -> SimWorkers:
    return SimWorkers(count, profile="tiny-cpu", **{"speed": 20.0, **changes})


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def until(truth: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not truth():  # noqa: ASYNC110 - the state of a worker is polled as an operator would
            await asyncio.sleep(0.002)


def head_of(path: str, body: bytes, extra: str = "") -> bytes:
    fixed = "Host: x\r\nContent-Type: application/json\r\n"
    return f"POST {path} HTTP/1.1\r\n{fixed}Content-Length: {len(body)}\r\n{extra}\r\n".encode() + body


async def begun(worker: SimWorker, body: dict[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A stream whose first token has come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.port)
    writer.write(
        head_of("/v1/completions", json.dumps({**body, "stream": True}).encode(), "Connection: close\r\n")
    )
    await reader.readuntil(b"data: ")
    return reader, writer


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_is_forgotten_at_once(stream: bool) -> None:
    async with workers_with(speed=1.0) as workers:
        _, writer = await asyncio.open_connection("127.0.0.1", workers[0].port)
        writer.write(head_of("/v1/completions", json.dumps({**STORY, "stream": stream}).encode()))
        await until(lambda: workers[0].state()["running"] == 1)
        await closed(writer)
        await until(lambda: workers[0].state()["requests_open"] == 0)
        state = workers[0].state()
        assert (state["running"], state["blocks_used"], state["requests_aborted"]) == (0, 0, 1)


async def test_a_stopped_reader_does_not_make_the_worker_grow() -> None:
    async with workers_with(speed=1000.0) as workers:
        reader, writer = await begun(workers[0], {**STORY, "max_tokens": 20_000})
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: workers[0].state()["engine"]["generated_tokens"] >= 20_000)
        held = workers[0].state()["events_sent"]
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        rest = await reader.read()
        assert rest.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert held < workers[0].state()["events_sent"] < 20_000
        await closed(writer)


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with workers_with() as workers:
        reader, writer = await asyncio.open_connection("127.0.0.1", workers[0].port)
        ask = b'{"prompt":"a","max_tokens":2}'
        last = b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" + head_of("/v1/completions", ask) + last)
        answers = await reader.read()
        assert [answers.find(mark) > 0 for mark in (b"content-length: 0", b"text_completion", b"0.32.0")] == [
            True
        ] * 3
        assert (
            answers.find(b"content-length: 0") < answers.find(b"text_completion") < answers.find(b'"0.32.0"')
        )
        await closed(writer)


CHUNKED = b'b;x=y\r\n{"prompt":"\r\nd\r\nHello world"}\r\n0\r\nTrailer: t\r\n\r\n'


async def test_a_chunked_body_and_expect_continue_are_taken_byte_by_byte() -> None:
    async with workers_with() as workers:
        reader, writer = await asyncio.open_connection("127.0.0.1", workers[0].port)
        head = b"POST /tokenize HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        for byte in CHUNKED:
            writer.write(bytes([byte]))
            await writer.drain()
        answer = await reader.readuntil(b"}")
        assert b'"tokens":[42,1850,360,3937,476]' in answer
        await closed(writer)


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"GET /health HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET  /health HTTP/1.1\r\n\r\n",
        b"POST /tokenize HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"POST /tokenize HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /tokenize HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /health HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused(bytes_sent: bytes) -> None:
    async with workers_with() as workers:
        reader, writer = await asyncio.open_connection("127.0.0.1", workers[0].port)
        writer.write(bytes_sent)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert answer.endswith(b"Invalid HTTP request received.")
        await closed(writer)


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    async with workers_with(keep_alive_s=0.05) as workers:
        reader, writer = await asyncio.open_connection("127.0.0.1", workers[0].port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(3):
            assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
        await closed(writer)


async def test_sigterm_ends_running_streams_with_an_error_line(http: aiohttp.ClientSession) -> None:
    async with workers_with(speed=1.0) as workers:
        reader, writer = await begun(workers[0], STORY)
        await workers[0].shutdown()
        rest = await reader.read()
        assert b'data: {"error": {"message": "EngineCore encountered an issue.' in rest
        assert rest.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(f"{workers[0].url}/health")
        await closed(writer)


async def test_a_drain_lets_running_streams_finish_and_refuses_new_ones(http: aiohttp.ClientSession) -> None:
    async with workers_with(speed=1.0, shutdown_timeout_s=20) as workers:
        worker = workers[0]
        reader, writer = await begun(worker, {**STORY, "max_tokens": 150})
        ending = asyncio.create_task(worker.shutdown())
        await until(lambda: worker.draining)
        async with http.post(f"{worker.url}/v1/completions", json=STORY) as refused:
            assert refused.status == 500
            assert (await refused.json())["error"]["message"] == "cannot schedule new futures after shutdown"
        async with http.get(f"{worker.url}/health") as health:
            assert health.status == 200
        rest = await reader.read()
        assert b'"finish_reason":"length"' in rest
        assert b'"error"' not in rest
        await ending
        await closed(writer)


async def test_a_crash_ends_streams_and_health(http: aiohttp.ClientSession) -> None:
    async with workers_with(speed=1.0) as workers:
        reader, writer = await begun(workers[0], STORY)
        workers[0].fault("crash")
        assert b'"code": 500}}' in await reader.read()
        async with http.get(f"{workers[0].url}/health") as health:
            assert health.status == 503
        await closed(writer)


async def test_a_refusing_worker_comes_back_by_the_admin_port(http: aiohttp.ClientSession) -> None:
    async with workers_with(2, admin_port=0) as workers:
        admin, url = workers.admin_url, workers[1].url
        async with http.post(f"{admin}/workers/1/fault", json={"kind": "refuse"}) as done:
            assert done.status == 200
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(f"{url}/health")
        async with http.get(f"{admin}/workers/1/state") as state:
            assert (await state.json())["listening"] is False
        await http.post(f"{admin}/workers/1/fault", json={"kind": "none"})
        async with http.get(f"{url}/health") as health:
            assert health.status == 200


async def test_error500_counts_down_and_spares_health(http: aiohttp.ClientSession) -> None:
    async with workers_with() as workers:
        workers[0].fault("error500", count=2)
        statuses = []
        for _ in range(3):
            async with http.get(f"{workers[0].url}/health") as health:
                assert health.status == 200
            async with http.post(
                f"{workers[0].url}/v1/completions", json={"prompt": "a", "max_tokens": 1}
            ) as answer:
                statuses.append(answer.status)
        assert statuses == [500, 500, 200]


async def test_a_stream_dies_after_the_events_it_was_given() -> None:
    async with workers_with() as workers:
        workers[0].fault("die_mid_stream", after_events=3, count=1)
        reader, writer = await begun(workers[0], STORY)
        rest = await reader.read()
        assert rest.count(b"data: ") == 2
        assert not rest.endswith(b"0\r\n\r\n")
        assert workers[0].state()["events_sent"] == 3
        assert workers[0].state()["running"] == 0
        await closed(writer)


async def test_an_error_comes_in_a_200_stream_and_as_503_otherwise(http: aiohttp.ClientSession) -> None:
    async with workers_with() as workers:
        workers[0].fault("error_in_200")
        async with http.post(f"{workers[0].url}/v1/completions", json={**STORY, "stream": True}) as stream:
            assert stream.status == 200
            assert (await stream.text()).startswith(
                'data: {"error": {"message": "The engine is currently busy'
            )
        async with http.post(f"{workers[0].url}/v1/completions", json=STORY) as whole:
            assert whole.status == 503


async def test_a_hanging_worker_answers_nothing_but_its_switch(http: aiohttp.ClientSession) -> None:
    async with workers_with() as workers:
        workers[0].fault("hang")
        for path in ("/health", "/v1/models"):
            with pytest.raises(TimeoutError):
                await http.get(workers[0].url + path, timeout=aiohttp.ClientTimeout(total=0.05))
        async with http.post(f"{workers[0].url}/sim/fault", json={"kind": "none"}) as done:
            assert done.status == 200


async def test_a_slow_worker_is_late_and_merges(http: aiohttp.ClientSession) -> None:
    async with workers_with() as workers:
        workers[0].fault("slow", delay_s=0.05)
        ask = {"prompt": "a", "max_tokens": 40, "ignore_eos": True, "stream": True}
        start = asyncio.get_running_loop().time()
        async with http.post(f"{workers[0].url}/v1/completions", json=ask) as stream:
            text = await stream.text()
        assert asyncio.get_running_loop().time() - start >= 0.05
        assert 2 <= text.count("data: ") < 41


async def test_a_field_of_an_unexpected_type_is_answered_with_500(
    http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        workers_with() as workers,
        http.post(f"{workers[0].url}/v1/completions", json={"prompt": "a", "stop": 5}) as answer,
    ):
        assert answer.status == 500
        assert (await answer.json())["error"]["type"] == "InternalServerError"
    assert "POST /v1/completions failed" in caplog.text


async def test_a_wrong_fault_is_explained(http: aiohttp.ClientSession) -> None:
    async with (
        workers_with() as workers,
        http.post(f"{workers[0].url}/sim/fault", json={"kind": "sulk"}) as answer,
    ):
        assert answer.status == 400
        assert "sulk" in await answer.text()


async def test_a_restarted_worker_is_empty_and_on_its_port(http: aiohttp.ClientSession) -> None:
    async with workers_with() as workers:
        url = workers[0].url
        async with http.post(f"{url}/v1/completions", json={"prompt": "a " * 200, "max_tokens": 1}) as answer:
            assert answer.status == 200
        await workers[0].restart()
        assert workers[0].url == url
        assert workers[0].state()["blocks_cached"] == 0
        async with http.get(f"{url}/health") as health:
            assert health.status == 200


async def test_keep_alive_comments_come_while_nothing_else_does(http: aiohttp.ClientSession) -> None:
    async with workers_with(speed=0.01, sse_keep_alive_s=0.02) as workers:
        ask = {"prompt": "a", "max_tokens": 1, "stream": True}
        async with http.post(f"{workers[0].url}/v1/completions", json=ask) as stream:
            text = await stream.text()
        assert text.startswith(": keep-alive\n\n")
        assert text.endswith("data: [DONE]\n\n")


async def test_stop_strings_cut_the_text_of_streams_and_whole_answers_alike(
    http: aiohttp.ClientSession,
) -> None:
    async with workers_with() as workers:
        ask = {"prompt": "abc", "max_tokens": 200, "stop": ["er"], "ignore_eos": True}
        async with http.post(f"{workers[0].url}/v1/completions", json=ask) as answer:
            choice = (await answer.json())["choices"][0]
        async with http.post(f"{workers[0].url}/v1/completions", json={**ask, "stream": True}) as stream:
            events = [json.loads(line[6:]) for line in (await stream.text()).split("\n\n")[:-2]]
        assert choice["stop_reason"] == "er"
        assert "er" not in choice["text"]
        assert "".join(event["choices"][0]["text"] for event in events) == choice["text"]
        assert workers[0].state()["running"] == 0


async def test_the_metrics_have_the_recorded_form(http: aiohttp.ClientSession) -> None:
    def form(text: str) -> tuple[set[str], set[str]]:
        lines = text.replace("tiny-llama", "M").splitlines()
        about = {line for line in lines if line.startswith("# ") and "vllm:" in line}
        labels = re.compile(r'(\w+)="[^"]*"')
        names = set()
        for line in lines:
            if line.startswith("vllm:"):
                bound = re.search(r'le="[^"]*"', line)
                names.add(line.split("{")[0] + str(labels.findall(line)) + (bound[0] if bound else ""))
        return about, names

    async with workers_with(max_model_len=512, block_size=32, num_gpu_blocks=64) as workers:
        async with http.post(
            f"{workers[0].url}/v1/completions", json={"prompt": "a b c", "max_tokens": 9}
        ) as done:
            assert done.status == 200
        async with http.get(f"{workers[0].url}/metrics") as scrape:
            text = await scrape.text()
            assert scrape.headers["content-type"] == "text/plain; version=1.0.0; charset=utf-8"
    assert form(text) == form(METRICS.read_text())
    assert 'vllm:generation_tokens_total{engine="0",model_name="tiny-llama"} 9.0' in text
    assert (
        'vllm:request_success_total{engine="0",finished_reason="length",model_name="tiny-llama"} 1.0' in text
    )
    assert 'vllm:inter_token_latency_seconds_bucket{engine="0",le="+Inf",model_name="tiny-llama"} 8.0' in text


TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
        },
    },
}
HELLO: Any = [{"role": "user", "content": "Hello there, how are you today?"}]


async def test_the_openai_package_gets_streams_tools_responses_and_errors() -> None:
    async with (
        workers_with() as workers,
        openai.AsyncOpenAI(base_url=f"{workers[0].url}/v1", api_key="none", max_retries=0) as client,
    ):
        assert [card.id async for card in client.models.list()] == ["tiny-llama"]
        stream = await client.chat.completions.create(
            model="tiny-llama",
            messages=HELLO,
            max_tokens=5,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].usage
        assert chunks[-1].usage.completion_tokens == 5
        called = await client.chat.completions.create(
            model="tiny-llama", messages=HELLO, tools=[TOOL], tool_choice="required"
        )
        calls = called.choices[0].message.tool_calls
        assert called.choices[0].finish_reason == "tool_calls"
        assert calls
        assert json.loads(calls[0].function.arguments) == {"city": "Paris"}
        answer = await client.responses.create(model="tiny-llama", input="Hello", max_output_tokens=4)
        assert answer.usage
        assert answer.usage.output_tokens == 4
        async with client.responses.stream(model="tiny-llama", input="Hello", max_output_tokens=4) as events:
            kinds = [event.type async for event in events]
        assert kinds[0] == "response.created"
        with pytest.raises(openai.NotFoundError, match="nope"):
            await client.chat.completions.create(model="nope", messages=HELLO)


async def test_the_openai_package_puts_a_streamed_tool_call_together() -> None:
    named: Any = {"type": "function", "function": {"name": "get_weather"}}
    async with (
        workers_with() as workers,
        openai.AsyncOpenAI(base_url=f"{workers[0].url}/v1", api_key="none") as client,
        client.chat.completions.stream(
            model="tiny-llama", messages=HELLO, tools=[TOOL], tool_choice=named
        ) as stream,
    ):
        final = await stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert final.choices[0].finish_reason == "tool_calls"
    assert calls
    assert calls[0].function.name == "get_weather"
    assert json.loads(calls[0].function.arguments) == {"city": "Paris"}
