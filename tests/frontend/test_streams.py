"""Streams through the frontend: the bytes that a client sees, whatever was asked for on its behalf."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from grove_dp.testing.http import BadAnswer, ConnectionEnded, chunk, post, sse_answer, sse_head
from grove_dp.testing.vllm import (
    CHAT,
    COMPLETIONS,
    DONE,
    ERROR_EVENT,
    MESSAGES,
    RESPONSES,
    chat,
    chat_stream,
    completion,
    completion_stream,
    messages_stream,
    responses_stream,
)
from grove_dp.testing.worker import End

if TYPE_CHECKING:
    from conftest import Rig

RECORDED = Path(__file__).parent.parent / "fixtures/vllm_http/base"
STREAM = {"stream": True}
ASKED = {"stream": True, "stream_options": {"include_usage": True}}
# target, body, stream with usage, stream without
DIALECTS = {
    "chat": (CHAT, chat(**STREAM), chat_stream(), chat_stream()),
    "completions": (COMPLETIONS, completion(**STREAM), completion_stream(), completion_stream()),
    "responses": (RESPONSES, completion(**STREAM), responses_stream(), responses_stream()),
    "messages": (MESSAGES, chat(max_tokens=5, **STREAM), messages_stream(), messages_stream()),
}


def _recorded(name: str) -> bytes:
    return (RECORDED / f"{name}.response.http").read_bytes()


def _recorded_events(name: str) -> list[bytes]:
    """The events of a recorded stream, ids and times masked as the two recordings differ in them."""
    chunks = _recorded(name).split(b"\r\n\r\n", 1)[1].split(b"\r\n")[1::2]
    identity = chunks[0].split(b'"id":"')[1].split(b'"')[0]
    return [line.replace(identity, b"ID").strip() for line in chunks if line.startswith(b"data:")]


# ---------------------------------------------------------------- usage


async def test_recorded_stream_with_usage_becomes_the_recorded_stream_without(rig: "Rig") -> None:
    worker = await rig.worker()
    frontend = await rig.serve(worker)
    worker.script(_recorded("chat_stream_usage"), End.CLOSE)
    answer = await frontend.ask(post(CHAT, chat(**STREAM)))
    identity = answer.body.split(b'"id":"')[1].split(b'"')[0]
    assert [event.replace(identity, b"ID") for event in answer.events()] == _recorded_events("chat_stream")


@pytest.mark.parametrize("spacing", ["compact", "wide"])
async def test_usage_is_asked_for_and_nothing_else_of_the_body_changes(rig: "Rig", spacing: str) -> None:
    worker = await rig.worker(default=[sse_answer(chat_stream(usage=True))])
    frontend = await rig.serve(worker)
    body = b'{"odd": [1 ,2], "model":"tiny-llama","messages":[],"stream":true,"zz":"\xc3\xa4\\u0041"}'
    if spacing == "wide":
        body = b'\n { "stream" : true ,\t"model" : "tiny-llama" , "messages" : [ ] , "x" : 1.50 } \n'
    assert (await frontend.ask(post(CHAT, body))).events() == chat_stream()
    sent = worker.calls[0].request.body
    assert msgspec.json.decode(sent) == {
        **msgspec.json.decode(body),
        "stream_options": {"include_usage": True},
    }
    start = next(at for at in range(len(body)) if body[at] != sent[at])
    end = len(body) - start
    assert sent.startswith(body[:start])
    assert sent.endswith(body[-end:])  # one splice, the rest byte for byte


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"include_usage": False},
        {"continuous_usage_stats": False},
        {"include_usage": False, "x": [1]},
        None,
    ],
)
async def test_options_of_the_client_are_kept_when_usage_is_added(rig: "Rig", options: object) -> None:
    worker = await rig.worker(default=[sse_answer(chat_stream(usage=True))])
    frontend = await rig.serve(worker)
    answer = await frontend.ask(post(CHAT, chat(stream=True, stream_options=options)))
    assert answer.events() == chat_stream()
    sent = msgspec.json.decode(worker.calls[0].request.body)["stream_options"]
    assert sent == {**(options or {}), "include_usage": True}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("target", "body"),
    [
        (CHAT, chat(**ASKED)),
        (CHAT, chat()),
        (CHAT, chat(stream=False)),
        (COMPLETIONS, completion(**ASKED)),
        (COMPLETIONS, completion(stream=False)),
        (RESPONSES, completion(stream=True)),
        (MESSAGES, chat(stream=True)),
        ("/v1/embeddings", completion(stream=True)),
    ],
)
async def test_other_bodies_reach_the_worker_byte_for_byte(rig: "Rig", target: str, body: bytes) -> None:
    worker = await rig.worker()
    frontend = await rig.serve(worker)
    await frontend.ask(post(target, body))
    assert worker.calls[0].request.body == body


@pytest.mark.parametrize("target", [CHAT, COMPLETIONS])
async def test_usage_that_the_client_asked_for_is_left_in(rig: "Rig", target: str) -> None:
    chatting = target == CHAT
    stream = chat_stream(usage=True) if chatting else completion_stream(usage=True)
    worker = await rig.worker(default=[sse_answer(stream)])
    frontend = await rig.serve(worker)
    body = chat(**ASKED) if chatting else completion(**ASKED)
    answer = await frontend.ask(post(target, body))
    assert answer.events() == stream


async def test_completions_lose_the_unasked_usage_too(rig: "Rig") -> None:
    worker = await rig.worker(default=[sse_answer(completion_stream(usage=True))])
    frontend = await rig.serve(worker)
    answer = await frontend.ask(post(COMPLETIONS, completion(**STREAM)))
    assert answer.events() == completion_stream()


async def test_usage_injection_can_be_switched_off(rig: "Rig") -> None:
    worker = await rig.worker(default=[sse_answer(chat_stream())])
    frontend = await rig.serve(worker, usage={"inject": False})
    body = chat(**STREAM)
    assert (await frontend.ask(post(CHAT, body))).events() == chat_stream()
    assert worker.calls[0].request.body == body


async def test_two_choices_end_in_a_stream_as_if_unasked(rig: "Rig") -> None:
    worker = await rig.worker(default=[sse_answer(chat_stream(usage=True, n=2))])
    frontend = await rig.serve(worker)
    for _ in range(2):  # the first time, the worker's fingerprint is not known yet
        answer = await frontend.ask(post(CHAT, chat(n=2, **STREAM)))
        assert answer.events() == chat_stream(n=2)


async def test_a_worker_that_ignores_the_wish_for_usage_is_relayed(rig: "Rig") -> None:
    worker = await rig.worker(default=[sse_answer(chat_stream())])
    frontend = await rig.serve(worker)
    assert (await frontend.ask(post(CHAT, chat(**STREAM)))).events() == chat_stream()


async def test_the_end_of_a_stream_may_come_in_pieces_cut_anywhere(rig: "Rig") -> None:
    worker = await rig.worker()
    frontend = await rig.serve(worker)
    raw = sse_answer(chat_stream(1, usage=True))
    start = raw.index(b'"finish_reason":"length"') - 40
    async with await frontend.client() as client:
        for at in range(start, len(raw)):
            worker.script(raw[:at], 0.0, raw[at:])
            await client.send(post(CHAT, chat(**STREAM)))
            assert (await client.answer()).events() == chat_stream(1)


async def test_chunks_of_the_worker_need_not_be_events(rig: "Rig") -> None:
    worker = await rig.worker()
    frontend = await rig.serve(worker)
    payload = b"".join(event + b"\n\n" for event in chat_stream(usage=True))
    async with await frontend.client() as client:
        for size in (1, 2, 3, 7, 64, 500, len(payload)):
            pieces = b"".join(chunk(payload[at : at + size]) for at in range(0, len(payload), size))
            worker.script(sse_head() + pieces + chunk(b""))
            await client.send(post(CHAT, chat(**STREAM)))
            assert (await client.answer()).events() == chat_stream()


# ---------------------------------------------------------------- bytes and time


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_stream_comes_through_as_it_was_sent(rig: "Rig", dialect: str) -> None:
    target, body, sent, seen = DIALECTS[dialect]
    worker = await rig.worker(default=[sse_answer(sent)])
    frontend = await rig.serve(worker)
    answer = await frontend.ask(post(target, body))
    assert answer.status == 200
    assert answer.header("content-type") == "text/event-stream; charset=utf-8"
    assert answer.events() == seen


@pytest.mark.parametrize(
    "name", ["responses_stream", "messages_stream", "chat_stream_logprobs", "chat_stream_n2"]
)
async def test_recorded_streams_come_through_byte_for_byte(rig: "Rig", name: str) -> None:
    worker = await rig.worker(default=[_recorded(name), End.CLOSE])
    frontend = await rig.serve(worker)
    target = {"r": RESPONSES, "m": MESSAGES, "c": CHAT}[name[0]]
    answer = await frontend.ask(post(target, chat(stream=True)))
    recorded = _recorded(name).split(b"\r\n\r\n", 1)[1].split(b"\r\n")[1:-3:2]
    assert answer.body == b"".join(recorded)


async def test_an_event_is_passed_on_while_the_next_is_not_there_yet(rig: "Rig") -> None:
    worker = await rig.worker()
    frontend = await rig.serve(worker)
    gates = [asyncio.Event() for _ in range(4)]
    first, *others = chat_stream(2)
    steps: list[object] = [sse_head() + chunk(first + b"\n\n")]
    for gate, event in zip(gates, others, strict=False):
        steps += [gate, chunk(event + b"\n\n")]
    worker.script(*steps, chunk(b""))  # type: ignore[arg-type]
    async with await frontend.client() as client:
        await client.send(post(CHAT, chat(**ASKED)))
        events = client.events(await client.head())
        assert await anext(events) == first
        for gate, event in zip(gates, others, strict=False):
            gate.set()
            assert await anext(events) == event


async def test_a_silent_stream_gets_the_workers_comments(rig: "Rig") -> None:
    stream = chat_stream()
    comment = chunk(b": keep-alive\n\n")
    worker = await rig.worker()
    frontend = await rig.serve(worker)
    worker.script(
        sse_head() + chunk(stream[0] + b"\n\n"),
        comment,
        comment,
        b"".join(chunk(event + b"\n\n") for event in stream[1:]) + chunk(b""),
    )
    answer = await frontend.ask(post(CHAT, chat(**ASKED)))
    assert [event for event in answer.events() if event != b": keep-alive"] == stream
    assert answer.events().count(b": keep-alive") == 2


async def test_comments_before_the_first_event_do_not_hide_an_error(rig: "Rig") -> None:
    worker = await rig.worker(
        default=[
            sse_head() + chunk(b": keep-alive\n\n"),
            chunk(ERROR_EVENT + b"\n\n") + chunk(DONE + b"\n\n") + chunk(b""),
        ]
    )
    frontend = await rig.serve(worker, retry={"attempts": 1})
    assert (await frontend.ask(post(CHAT, chat(**STREAM)))).status == 503


async def test_comments_release_the_head_after_the_longest_hold(rig: "Rig") -> None:
    go = asyncio.Event()
    worker = await rig.worker()
    frontend = await rig.serve(worker, deadlines={"hold_max_s": 0.2})
    comments = [step for _ in range(10) for step in (chunk(b": keep-alive\n\n"), 0.05)]
    worker.script(sse_head(), *comments, go, b"".join(chunk(e + b"\n\n") for e in chat_stream()) + chunk(b""))
    async with await frontend.client() as client:
        await client.send(post(CHAT, chat(**STREAM)))
        head = await client.head()
        assert head.status == 200
        go.set()
        events = [event async for event in client.events(head)]
    assert [event for event in events if not event.startswith(b":")] == chat_stream()


# ---------------------------------------------------------------- errors


async def test_an_error_as_first_event_is_retried_on_the_other_worker(rig: "Rig") -> None:
    busy = await rig.worker(default=[sse_answer([ERROR_EVENT, DONE])])
    free = await rig.worker(default=[sse_answer(chat_stream(usage=True))])
    frontend = await rig.serve(busy, free, routing={"policy": "round_robin"})
    for _ in range(4):
        answer = await frontend.ask(post(CHAT, chat(**STREAM)))
        assert (answer.status, answer.events()) == (200, chat_stream())
    assert busy.calls
    assert len(free.calls) == 4


async def test_an_error_as_first_event_everywhere_becomes_an_http_error(rig: "Rig") -> None:
    workers = [await rig.worker(default=[sse_answer([ERROR_EVENT, DONE])]) for _ in range(2)]
    frontend = await rig.serve(*workers)
    answer = await frontend.ask(post(CHAT, chat(**STREAM)))
    assert answer.status == 503
    assert "busy" in str(answer.error()["message"])
    assert [len(worker.calls) for worker in workers] == [1, 1]


async def test_an_error_of_the_client_in_the_first_event_is_not_retried(rig: "Rig") -> None:
    error = b'data: {"error": {"message": "too long", "type": "BadRequestError", "param": null, "code": 400}}'
    workers = [await rig.worker(default=[sse_answer([error, DONE])]) for _ in range(2)]
    frontend = await rig.serve(*workers)
    answer = await frontend.ask(post(CHAT, chat(**STREAM)))
    assert answer.status == 400
    assert sum(len(worker.calls) for worker in workers) == 1


async def test_an_error_after_content_is_relayed(rig: "Rig") -> None:
    stream = [*chat_stream()[:3], ERROR_EVENT, DONE]
    worker = await rig.worker(default=[sse_answer(stream)])
    frontend = await rig.serve(worker)
    assert (await frontend.ask(post(CHAT, chat(**STREAM)))).events() == stream


@pytest.mark.parametrize("end", [End.CLOSE, End.RESET])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_worker_that_dies_in_a_stream_leaves_a_well_formed_error(
    rig: "Rig", dialect: str, end: End
) -> None:
    target, body, sent, _ = DIALECTS[dialect]
    half = sse_head() + b"".join(chunk(event + b"\n\n") for event in sent[:3]) + b"c8\r\n" + sent[3][:20]
    seen = asyncio.Event()
    worker = await rig.worker(default=[half, seen, end])
    frontend = await rig.serve(worker)
    async with await frontend.client() as client:
        await client.send(post(target, body))
        head = await client.head()
        events = []
        async for event in client.events(head):
            events.append(event)
            if len(events) == 3:
                seen.set()
    assert events[:3] == sent[:3]
    if dialect in ("chat", "completions"):
        error, done = events[3:]
        assert done == DONE
        assert error.startswith(b'data: {"error"')
    else:
        (error,) = events[3:]
        name, data = error.split(b"\n")
        assert name == b"event: error"
        assert data.startswith(b"data: {")
        assert msgspec.json.decode(data[6:])["type"] == "error"
    assert sent[3][:20] not in error


async def test_a_worker_that_dies_before_the_first_event_is_replaced(rig: "Rig") -> None:
    dying = await rig.worker(default=[sse_head(), End.RESET])
    living = await rig.worker(default=[sse_answer(chat_stream(usage=True))])
    frontend = await rig.serve(dying, living, routing={"policy": "round_robin"})
    for _ in range(4):
        assert (await frontend.ask(post(CHAT, chat(**STREAM)))).events() == chat_stream()


@pytest.mark.parametrize("at", [1, 60, 200, 330, 500])
async def test_a_dying_worker_never_leaves_half_an_event(rig: "Rig", at: int) -> None:
    raw = sse_answer(chat_stream(usage=True))
    worker = await rig.worker(default=[raw[: len(sse_head()) + at], 0.05, End.RESET])
    frontend = await rig.serve(worker, retry={"attempts": 1})
    answer = await frontend.ask(post(CHAT, chat(**STREAM)))
    if answer.status == 200:
        *whole, error, done = answer.events()
        assert whole == chat_stream()[: len(whole)]
        assert (error[:14], done) == (b'data: {"error"', DONE)
    else:
        assert answer.status == 502


async def test_silence_between_tokens_ends_in_an_error(rig: "Rig") -> None:
    worker = await rig.worker(default=[sse_head() + chunk(chat_stream()[0] + b"\n\n"), End.HANG])
    frontend = await rig.serve(worker, deadlines={"between_tokens_s": 0.3})
    start = time.monotonic()
    answer = await frontend.ask(post(CHAT, chat(**STREAM)))
    assert 0.25 < time.monotonic() - start < 20
    first, error, done = answer.events()
    assert (first, done) == (chat_stream()[0], DONE)
    assert b"TokenGapTimeout" in error
    await worker.calls[0].abandoned()


# ---------------------------------------------------------------- clients that leave or do not read


@pytest.mark.parametrize("leave", ["close", "reset", "finish"])
@pytest.mark.parametrize(
    "phase", ["before the answer", "before the first event", "between events", "whole body"]
)
async def test_when_the_client_goes_the_worker_is_told_at_once(rig: "Rig", phase: str, leave: str) -> None:
    event = chunk(chat_stream()[0] + b"\n\n")
    steps = {
        "before the answer": [],
        "before the first event": [sse_head()],
        "between events": [sse_head() + event],
        "whole body": [],
    }[phase]
    worker = await rig.worker(default=[*steps, End.HANG])
    frontend = await rig.serve(worker)
    body = chat(stream=False) if phase == "whole body" else chat(**STREAM)
    async with await frontend.client() as client:
        await client.send(post(CHAT, body))
        call = await worker.call()
        if phase == "between events":
            await anext(client.events(await client.head()))
        else:
            await frontend.exchanges_until(1)
        left_at = time.monotonic()
        getattr(client, leave)()
        assert await call.abandoned() - left_at < 5
    await frontend.settled()


async def test_half_close_may_be_allowed(rig: "Rig") -> None:
    go = asyncio.Event()
    worker = await rig.worker(default=[go, sse_answer(chat_stream(usage=True))])
    frontend = await rig.serve(worker, http={"half_close": "allow"})
    async with await frontend.client() as client:
        await client.send(post(CHAT, chat(**STREAM)))
        await worker.call()
        client.finish()
        await asyncio.sleep(0.1)
        go.set()
        assert (await client.answer()).events() == chat_stream()


async def test_a_reader_that_stops_costs_little_memory(rig: "Rig") -> None:
    event = chunk(b"data: " + b"x" * 16_000 + b"\n\n") * 8
    worker = await rig.worker()
    frontend = await rig.serve(worker)
    worker.default = [
        sse_head() + chunk(chat_stream()[0] + b"\n\n"),
        *([event] * 4000),
    ]  # 512 MB, were it read
    for _ in range(20):
        await frontend.ask(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method="GET")
    before = frontend.rss_bytes()
    async with await frontend.client(receive_bytes=4096) as client:
        await client.send(post(CHAT, chat(**STREAM)))
        call = await worker.call()
        await client.head()
        await asyncio.sleep(2.0)  # long enough for gigabytes on loopback
        grown = frontend.rss_bytes() - before
        assert not call.finished.is_set()
    assert grown <= 1 << 20, f"grew by {grown / 1024:.0f} KiB"
    assert await call.abandoned() > 0


async def test_a_slow_reader_gets_every_byte(rig: "Rig") -> None:
    events = [b"data: " + b"%d " % n + b"y" * 5000 for n in range(300)]
    worker = await rig.worker(default=[sse_answer([*events, DONE])])
    frontend = await rig.serve(worker)
    async with await frontend.client(receive_bytes=4096) as client:
        await client.send(post(CHAT, chat(**ASKED)))
        head = await client.head()
        seen = []
        async for event in client.events(head):
            seen.append(event)
            if len(seen) % 20 == 0:
                await asyncio.sleep(0.005)
    assert seen == [*events, DONE]


async def test_an_answer_cut_short_is_not_presented_as_whole(rig: "Rig") -> None:
    body = b'{"ok":' + b"1" * 100_000
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 200000\r\n\r\n"
    worker = await rig.worker(default=[head + body, 0.1, End.RESET])
    frontend = await rig.serve(worker, retry={"attempts": 1})
    async with await frontend.client() as client:
        await client.send(post(CHAT, chat()))
        try:
            answer = await client.answer()
        except (ConnectionEnded, BadAnswer):
            return
    assert answer.status == 502
