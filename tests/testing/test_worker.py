"""The scripted worker and the raw client against each other: what one sends is what the other sees."""

import asyncio
import time

import pytest

from grove_dp.testing.http import BadAnswer, ConnectionEnded, RawClient, chunk, json_answer, post, sse_answer
from grove_dp.testing.worker import End, ScriptedWorker

BODY = b'{"model":"tiny-llama","odd":  1}'


async def test_a_request_is_kept_byte_for_byte() -> None:
    raw = post("/v1/completions", BODY, "x-ODD:   spaced  ")
    async with ScriptedWorker() as worker, await RawClient.open(worker.port) as client:
        await client.send(*(raw[at : at + 1] for at in range(len(raw))))
        assert (await client.answer()).json() == {"ok": True}
    assert worker.calls[0].request.raw == raw
    assert worker.calls[0].request.header("X-Odd") == "spaced"


async def test_a_chunked_request_is_decoded_and_kept() -> None:
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = chunk(b"abc") + chunk(b"de") + chunk(b"")
    async with ScriptedWorker() as worker, await RawClient.open(worker.port) as client:
        await client.send(head, body)
        await client.answer()
    assert worker.calls[0].request.body == b"abcde"
    assert worker.calls[0].request.raw == head + body


async def test_health_and_models_are_answered_and_pipelined() -> None:
    async with ScriptedWorker("one", "two") as worker, await RawClient.open(worker.port) as client:
        await client.send(b"GET /health HTTP/1.1\r\n\r\n" * 3 + b"GET /v1/models HTTP/1.1\r\n\r\n")
        assert [(await client.answer("GET")).status for _ in range(3)] == [200, 200, 200]
        models = (await client.answer("GET")).json()["data"]
        assert [model["id"] for model in models] == ["one", "two"]
        assert worker.health_checks == 3
        assert not worker.calls


async def test_a_script_pauses_until_the_test_lets_it_go() -> None:
    go = asyncio.Event()
    stream = sse_answer([b"data: 1", b"data: 2"])
    async with ScriptedWorker() as worker, await RawClient.open(worker.port) as client:
        worker.script(stream[:150], go, stream[150:])
        await client.send(post("/v1/completions", BODY))
        head = await client.head()
        go.set()
        assert [event async for event in client.events(head)] == [b"data: 1", b"data: 2"]


@pytest.mark.parametrize("leave", ["close", "reset", "finish"])
async def test_the_moment_is_noted_at_which_the_peer_goes(leave: str) -> None:
    async with ScriptedWorker(default=[End.HANG]) as worker, await RawClient.open(worker.port) as client:
        await client.send(post("/v1/completions", BODY))
        call = await worker.call()
        before = time.monotonic()
        getattr(client, leave)()
        assert before <= await call.abandoned() <= time.monotonic()
        assert not call.finished.is_set()


@pytest.mark.parametrize("end", [End.CLOSE, End.RESET])
async def test_a_script_may_end_the_connection(end: End) -> None:
    async with ScriptedWorker() as worker, await RawClient.open(worker.port) as client:
        worker.script(json_answer(b"0123456789")[:-4], end)
        await client.send(post("/v1/completions", BODY))
        with pytest.raises(ConnectionEnded):
            await client.answer()


async def test_a_vanished_worker_refuses_until_it_listens_again() -> None:
    async with ScriptedWorker() as worker:
        await worker.vanish()
        with pytest.raises(ConnectionRefusedError):
            await RawClient.open(worker.port)
        await worker.listen()
        (await RawClient.open(worker.port)).close()


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\ncontent-length: 0\r\n\r\n",
        b"HTTP/2 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2 \r\nab\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx : y\r\ncontent-length: 0\r\n\r\n",
    ],
)
async def test_the_client_believes_no_crooked_answer(raw: bytes) -> None:
    async with (
        ScriptedWorker(default=[raw, End.CLOSE]) as worker,
        await RawClient.open(worker.port) as client,
    ):
        await client.send(post("/v1/completions", BODY))
        with pytest.raises(BadAnswer):
            await client.answer()
