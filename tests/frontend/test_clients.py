"""Clients that people use, against the frontend and simulated workers: the openai package and curl."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import openai
import pytest

from grove_dp.sim.worker import SimWorkers
from grove_dp.testing.frontend import Frontend

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openai.types.chat import ChatCompletionMessageParam

MESSAGES: "Iterable[ChatCompletionMessageParam]" = [{"role": "user", "content": "Tell me about groves."}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "count_trees",
        "parameters": {"type": "object", "properties": {"grove": {"type": "string"}}},
    },
}


@pytest.fixture
async def workers() -> AsyncIterator[SimWorkers]:
    async with SimWorkers(count=2, speed=50, profile="tiny-cpu", enable_auto_tool_choice=True) as workers:
        yield workers


@pytest.fixture
async def frontend(workers: SimWorkers) -> AsyncIterator[Frontend]:
    async with Frontend([worker.url for worker in workers]) as frontend:
        yield frontend
        await frontend.settled()


@pytest.fixture
async def client(frontend: Frontend) -> AsyncIterator[openai.AsyncOpenAI]:
    url = f"http://127.0.0.1:{frontend.port}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def model(client: openai.AsyncOpenAI) -> str:
    return (await client.models.list()).data[0].id


async def test_openai_chat(client: openai.AsyncOpenAI, model: str) -> None:
    answer = await client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=8)
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8


async def test_openai_stream_without_usage(client: openai.AsyncOpenAI, model: str) -> None:
    stream = await client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=8, stream=True)
    events = [event async for event in stream]
    assert all(event.choices for event in events)  # no usage event that was not asked for
    assert events[-1].choices[0].finish_reason == "length"
    assert not any(event.usage for event in events)


async def test_openai_stream_with_usage(client: openai.AsyncOpenAI, model: str) -> None:
    stream = await client.chat.completions.create(
        model=model, messages=MESSAGES, max_tokens=8, stream=True, stream_options={"include_usage": True}
    )
    *_, last = [event async for event in stream]
    assert (last.choices, last.usage and last.usage.completion_tokens) == ([], 8)


async def test_openai_streams_at_once(client: openai.AsyncOpenAI, model: str, workers: SimWorkers) -> None:
    async def one(number: int) -> int:
        content: ChatCompletionMessageParam = {"role": "user", "content": f"number {number}"}
        stream = await client.chat.completions.create(
            model=model, messages=[content], max_tokens=16, stream=True
        )
        return sum([1 async for event in stream if event.choices[0].delta.content])

    counts = await asyncio.gather(*(one(number) for number in range(40)))
    assert min(counts) > 0


async def test_openai_completions_and_responses(client: openai.AsyncOpenAI, model: str) -> None:
    text = await client.completions.create(model=model, prompt="Once", max_tokens=5)
    assert text.choices[0].finish_reason == "length"
    pieces = [
        event.type
        async for event in await client.responses.create(
            model=model, input="Hi", max_output_tokens=5, stream=True
        )
    ]
    assert (pieces[0], pieces[-1]) == ("response.created", "response.completed")


async def test_openai_tools(client: openai.AsyncOpenAI, model: str) -> None:
    choice: Any = {"type": "function", "function": {"name": "count_trees"}}
    answer = await client.chat.completions.create(
        model=model, messages=MESSAGES, tools=[TOOL], tool_choice=choice, max_tokens=40
    )
    calls = answer.choices[0].message.tool_calls
    assert calls
    assert calls[0].function.name == "count_trees"  # type: ignore[union-attr]


async def test_openai_errors_are_the_packages_own(client: openai.AsyncOpenAI, model: str) -> None:
    with pytest.raises(openai.NotFoundError):
        await client.chat.completions.create(model="none", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=10**9)


async def test_a_broken_stream_raises_in_openai(
    client: openai.AsyncOpenAI, model: str, workers: SimWorkers
) -> None:
    for worker in workers:
        worker.fault("die_mid_stream", after_events=3)
    stream = await client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=50, stream=True)
    with pytest.raises(openai.APIError):
        async for _ in stream:
            pass


async def test_leaving_a_stream_frees_the_worker(
    frontend: Frontend, client: openai.AsyncOpenAI, model: str, workers: SimWorkers
) -> None:
    for worker in workers:
        worker.fault("slow", delay_s=0.2)
    stream = await client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=100, stream=True)
    await anext(aiter(stream))
    await stream.close()
    await frontend.settled()


async def _curl(*arguments: str) -> tuple[int, bytes]:
    clean = {
        name: value for name, value in os.environ.items() if name != "LD_PRELOAD"
    }  # no sanitizer in curl
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "--max-time", "10", *arguments, stdout=asyncio.subprocess.PIPE, env=clean
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out


async def test_curl_streams(frontend: Frontend, model: str) -> None:
    body = json.dumps({"model": model, "messages": MESSAGES, "max_tokens": 4, "stream": True})
    for options in ([], ["--http1.0"], ["-H", "Expect: 100-continue"], ["-H", "Transfer-Encoding: chunked"]):
        code, out = await _curl(
            "-N", *options, "-H", "Content-Type: application/json", "-d", body,
            f"http://127.0.0.1:{frontend.port}/v1/chat/completions",
        )  # fmt: skip
        assert code == 0
        assert out.endswith(b"data: [DONE]\n\n")


async def test_curl_lists_models_and_uploads_a_form(frontend: Frontend, model: str) -> None:
    code, out = await _curl(f"http://127.0.0.1:{frontend.port}/v1/models")
    assert (code, json.loads(out)["data"][0]["id"]) == (0, model)
    code, out = await _curl(
        "-F", f"model={model}", "-F", "file=@/proc/self/status;type=audio/wav", "-w", "%{http_code}",
        f"http://127.0.0.1:{frontend.port}/v1/audio/transcriptions",
    )  # fmt: skip
    assert (code, out[-3:]) == (0, b"404")  # the simulated worker has no such route; it was asked
