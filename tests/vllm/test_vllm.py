"""The frontend before two real vLLM workers: bytes as direct, aborts that reach the engine, nothing lost.

Run by `make test-vllm`. Failures are caused as operators cause them: SIGTERM with and without
`--shutdown-timeout`, SIGKILL of an engine; all under load.
"""

import asyncio
import os
import re
import signal
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from bench import results
from grove_dp.testing.frontend import Frontend, eventually
from grove_dp.testing.http import Answer, BadAnswer, RawClient, post
from grove_dp.testing.vllm import CHAT, COMPLETIONS, DONE, MESSAGES, RESPONSES, chat, completion

if TYPE_CHECKING:
    from conftest import VllmWorker

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

DRAIN = ("--shutdown-timeout", "20")
STREAM = {"stream": True}
PLAIN: dict[str, Any] = {"max_tokens": 12, "temperature": 0, "seed": 7}
LONG: dict[str, Any] = {"max_tokens": 450, "temperature": 0, "ignore_eos": True}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
ASKED = {"stream": True, "stream_options": {"include_usage": True}}
# name -> target, body
SAME = {
    "chat": (CHAT, chat(**PLAIN)),
    "chat, two choices": (CHAT, chat(n=2, max_tokens=12, temperature=1, seed=7)),
    "chat, logprobs": (CHAT, chat(logprobs=True, top_logprobs=2, **PLAIN)),
    "chat, unknown field": (CHAT, chat(no_such_field={"a": [1]}, **PLAIN)),
    "chat stream": (CHAT, chat(**STREAM, **PLAIN)),
    "chat stream, usage asked": (CHAT, chat(**ASKED, **PLAIN)),
    "chat stream, continuous usage": (
        CHAT,
        chat(stream=True, stream_options={"include_usage": True, "continuous_usage_stats": True}, **PLAIN),
    ),
    "chat stream, token ids": (CHAT, chat(return_token_ids=True, **STREAM, **PLAIN)),
    "completion": (COMPLETIONS, completion(**PLAIN)),
    "completion stream": (COMPLETIONS, completion(**STREAM, **PLAIN)),
    "completion stream, usage asked": (COMPLETIONS, completion(**ASKED, **PLAIN)),
    "responses": (RESPONSES, b'{"model":"tiny-llama","input":"Hello","max_output_tokens":4,"temperature":0}'),
    "responses stream": (
        RESPONSES,
        b'{"model":"tiny-llama","input":"Hello","max_output_tokens":4,"temperature":0,"stream":true}',
    ),
    "messages": (MESSAGES, chat(max_tokens=4, temperature=0)),
    "messages stream": (MESSAGES, chat(max_tokens=4, temperature=0, **STREAM)),
    "tokenize": ("/tokenize", completion()),
    "detokenize": ("/detokenize", b'{"model":"tiny-llama","tokens":[40,41,42]}'),
    "error: no messages": (CHAT, b'{"model":"tiny-llama"}'),
    "error: temperature": (CHAT, chat(temperature=-1)),
    "error: no tokens": (CHAT, chat(max_tokens=0)),
    "error: too long": (CHAT, chat(messages=[{"role": "user", "content": "word " * 2000}])),
    "error: too long, stream": (CHAT, chat(messages=[{"role": "user", "content": "word " * 2000}], **STREAM)),
    "error: options without stream": (CHAT, chat(stream_options={"include_usage": True})),
    "error: tools not enabled": (CHAT, chat(tools=[TOOL], tool_choice="auto")),
    "error: embeddings": ("/v1/embeddings", b'{"model":"tiny-llama","input":"x"}'),
}
MASKS = [
    (rb'"(chatcmpl|cmpl|resp|msg|modelperm|embd|chatcmpl-tool)[-_][0-9a-f-]+"', rb'"ID"'),
    (rb'"created(_at)?":[0-9.]+', rb'"created":0'),
    (rb'"(cached_tokens|created_cache_tokens)":[0-9]+', rb'"cached":0'),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(workers: "list[VllmWorker]") -> AsyncIterator[Frontend]:
    """The frontend with its defaults, but for health checks and deadlines quick enough for a test.

    The deadlines matter: in about every third run of SIGTERM without a timeout, vLLM 0.32 kills its engine
    and leaves requests that were in it without an answer: their connections open, the listener closed.
    """
    urls = [worker.url for worker in workers]
    defaults: dict[str, Any] = {"circuit": {"failures": 5, "open_s": 2.0}, "queue": {"no_worker_s": 2.0}}
    defaults["health"] = {"interval_s": 0.5, "timeout_s": 5.0}
    deadlines = {"first_token_s": 8.0, "answer_s": 8.0, "between_tokens_s": 8.0, "hold_max_s": 4.0}
    async with Frontend(urls, deadlines=deadlines, **defaults) as frontend:
        yield frontend


@pytest_asyncio.fixture(loop_scope="module")
async def frontend(shared: Frontend) -> AsyncIterator[Frontend]:
    yield shared
    await shared.settled()


async def _all_ready(frontend: Frontend, workers: "list[VllmWorker]", *flags: tuple[str, ...]) -> None:
    """Both workers running with these flags, and the frontend knows."""
    for worker, wanted in zip(workers, flags, strict=True):
        await worker.ensure(*wanted)
    for worker in workers:
        await worker.ready()
        await frontend.worker_until(worker.id, within_s=20, state="ready", circuit="closed")


def _masked(answer: Answer) -> tuple[int, list[str], bytes]:
    body = answer.body
    for pattern, mask in MASKS:
        body = re.sub(pattern, mask, body)
    ours = {"x-request-id", "date", "content-length"}  # masked ids differ in length
    return answer.status, sorted(f"{k}: {v}" for k, v in answer.headers if k not in ours), body


async def _ask(port: int, raw: bytes) -> Answer:
    async with await RawClient.open(port) as client:
        await client.send(raw)
        return await client.answer()


# ---------------------------------------------------------------- the same answers


@pytest.mark.parametrize("name", SAME)
async def test_the_answer_is_the_same_as_direct(
    frontend: Frontend, workers: "list[VllmWorker]", name: str
) -> None:
    await _all_ready(frontend, workers, (), ())
    target, body = SAME[name]
    for _ in range(8):  # vLLM puts two tokens into one event when it falls behind: then look again
        direct = await _ask(workers[0].port, post(target, body))
        through = await frontend.ask(post(target, body))
        if len(_masked(through)[2]) == len(_masked(direct)[2]):
            break
    assert _masked(through) == _masked(direct)
    assert (through.status == 200) is not name.startswith("error")


# ---------------------------------------------------------------- clients that leave


@pytest.mark.parametrize("leave", ["close", "reset"])
@pytest.mark.parametrize("streamed", [True, False])
async def test_an_abort_reaches_the_engine(
    frontend: Frontend,
    workers: "list[VllmWorker]",
    figures: list[results.Row],
    streamed: bool,
    leave: str,
) -> None:
    await _all_ready(frontend, workers, (), ())

    async def running() -> float:
        return sum([await worker.running_requests() for worker in workers])

    clients = [await frontend.client() for _ in range(6)]  # together they take long enough to be seen
    for client in clients:
        await client.send(post(CHAT, chat(stream=streamed, **LONG)))
        if streamed:
            await anext(client.events(await client.head()))
    await eventually(running, lambda count: count > 0, 5.0, "the engines run the requests")
    left = time.monotonic()
    for client in clients:
        getattr(client, leave)()
    await eventually(running, lambda count: count == 0, 5.0, "the engines run nothing")
    took_s = time.monotonic() - left
    kind = f"abort_seen_by_engine_{'stream' if streamed else 'answer'}_{leave}"
    figures.append(results.row(kind, took_s, "s", must="value <= 1.0"))
    assert took_s <= 1.0


# ---------------------------------------------------------------- speed


async def test_the_first_token_comes_as_soon_as_direct(
    frontend: Frontend, workers: "list[VllmWorker]", figures: list[results.Row]
) -> None:
    await _all_ready(frontend, workers, (), ())
    raw = post(CHAT, chat(**STREAM, **PLAIN))
    times: dict[str, list[float]] = {"direct": [], "through": []}
    for number in range(40):
        for name, port in (("direct", workers[number % 2].port), ("through", frontend.port)):
            start = time.perf_counter()
            async with await RawClient.open(port) as client:
                await client.send(raw)
                events = client.events(await client.head())
                await anext(events)
                times[name].append((time.perf_counter() - start) * 1000)
                assert [event async for event in events][-1] == DONE
    through, direct = statistics.median(times["through"]), statistics.median(times["direct"])
    figures.append(
        results.row("ttft_p50", through, "ms", anchor="direct", anchor_value=direct, aim="ratio <= 1.1")
    )
    assert through < direct * 2


# ---------------------------------------------------------------- workers that go


@dataclass
class Load:
    """Clients that ask without a pause, half of them streams, until told to stop."""

    port: int
    answered: int = 0
    streamed: int = 0
    cut: int = 0  # streams that had begun, ended with a well-formed error
    failed: list[str] = field(default_factory=list)  # nothing, or no whole answer, seen
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def client(self, number: int) -> None:
        streamed = number % 2 == 0
        raw = post(CHAT, chat(stream=streamed, max_tokens=60, ignore_eos=True, temperature=0))
        while not self.stop.is_set():
            try:
                async with await RawClient.open(self.port) as client:
                    client.patience_s = 60.0
                    await client.send(raw)
                    self.judge(await client.answer())
            except (ConnectionError, BadAnswer, TimeoutError) as error:
                self.failed.append(repr(error))

    def judge(self, answer: Answer) -> None:
        if answer.status != 200:
            self.failed.append(f"{answer.status}: {answer.body[:300]!r}")
        elif not (answer.header("content-type") or "").startswith("text/event-stream"):
            self.answered += 1
        else:
            *_, last, done = answer.events()
            if done != DONE:
                self.failed.append(f"a stream ended with {done!r}")
            elif last.startswith(b'data: {"error"'):
                self.cut += 1
            else:
                self.streamed += 1


async def _under_load(
    frontend: Frontend, victim: "VllmWorker", blow: int, pid: int, clients: int = 8
) -> Load:
    """Send *blow* to *pid* while clients are served; go on until the worker is gone, and a little longer."""
    load = Load(frontend.port)
    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(load.client(number))
        await eventually(_count_of(load), lambda count: count >= clients, 30.0, "the load is served")
        await frontend.exchanges_until(clients, 10.0)
        os.kill(pid, blow)
        await victim.gone()
        before = load.answered + load.streamed
        await eventually(_count_of(load), lambda count: count >= before + clients, 30.0, "the rest is served")
        load.stop.set()
    return load


def _count_of(load: Load) -> Any:
    async def look() -> int:
        return load.answered + load.streamed

    return look


def _report(name: str, load: Load, figures: list[results.Row]) -> None:
    figures += [
        results.row(f"{name}_failed_before_first_byte", len(load.failed), "requests", must="value <= 0"),
        results.row(f"{name}_served", load.answered + load.streamed, "requests"),
        results.row(f"{name}_streams_cut_with_error", load.cut, "streams"),
    ]
    served = f"{load.answered} answers, {load.streamed} streams, {load.cut} cut, {len(load.failed)} failed"
    print(f"\n{name}: {served}")


async def test_sigterm_with_a_shutdown_timeout_loses_nothing(
    frontend: Frontend, workers: "list[VllmWorker]", figures: list[results.Row]
) -> None:
    await _all_ready(frontend, workers, (), DRAIN)
    load = await _under_load(frontend, workers[1], signal.SIGTERM, workers[1].pid)
    _report("sigterm_with_timeout", load, figures)
    assert load.failed == []
    assert load.cut == 0  # what ran was allowed to finish


async def test_sigterm_without_a_timeout_fails_nobody_before_the_first_byte(
    frontend: Frontend, workers: "list[VllmWorker]", figures: list[results.Row]
) -> None:
    await _all_ready(frontend, workers, (), ())
    load = await _under_load(frontend, workers[1], signal.SIGTERM, workers[1].pid)
    _report("sigterm_without_timeout", load, figures)
    assert load.failed == []


async def test_sigkill_of_an_engine_fails_nobody_before_the_first_byte(
    frontend: Frontend, workers: "list[VllmWorker]", figures: list[results.Row]
) -> None:
    await _all_ready(frontend, workers, (), ())
    load = await _under_load(frontend, workers[1], signal.SIGKILL, workers[1].engine_pid())
    _report("sigkill_of_engine", load, figures)
    assert load.failed == []
