"""HTTP/1.1 that is odd but right: it must pass, however it is cut into pieces."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from grove_dp.testing.frontend import Frontend
from grove_dp.testing.http import chunk, post, sse_answer
from grove_dp.testing.vllm import CHAT, COMPLETIONS, chat, chat_stream, completion
from grove_dp.testing.worker import End, ScriptedWorker

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY = completion()
HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker() -> AsyncIterator[ScriptedWorker]:
    async with ScriptedWorker() as worker:
        yield worker


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(worker: ScriptedWorker) -> AsyncIterator[Frontend]:
    async with Frontend([worker.url]) as frontend:
        yield frontend


@pytest_asyncio.fixture(loop_scope="module")
async def frontend(shared: Frontend, worker: ScriptedWorker) -> AsyncIterator[Frontend]:
    worker.calls.clear()
    worker.answers.clear()
    yield shared
    await shared.settled()


PASSES = {
    "CRLF before the request line": b"\r\n" + HEAD + LENGTH + b"\r\n" + BODY,
    "blanks around a value": HEAD + b"Content-Length: \t %d \t \r\n\r\n" % len(BODY) + BODY,
    "no blank after the colon": HEAD + b"Content-Length:%d\r\n\r\n" % len(BODY) + BODY,
    "header names in any case": HEAD + b"cOnTeNt-LeNgTh: %d\r\n\r\n" % len(BODY) + BODY,
    "content-length with leading zeros": HEAD + b"Content-Length: 000%d\r\n\r\n" % len(BODY) + BODY,
    "header value with high bytes": HEAD + b"X-Name: \xc3\xa4\xff\r\n" + LENGTH + b"\r\n" + BODY,
    "header value empty": HEAD + b"X-Name:\r\n" + LENGTH + b"\r\n" + BODY,
    "header value with a tab inside": HEAD + b"X-Name: a\tb\r\n" + LENGTH + b"\r\n" + BODY,
    "header name of odd token characters": HEAD + b"!#$%&'*+-.^_`|~: 1\r\n" + LENGTH + b"\r\n" + BODY,
    "many headers": HEAD + b"".join(b"X-%d: 1\r\n" % n for n in range(90)) + LENGTH + b"\r\n" + BODY,
    "a large head": HEAD + b"X: " + b"a" * 50_000 + b"\r\n" + LENGTH + b"\r\n" + BODY,
    "HTTP/1.2, to be read as 1.1": HEAD.replace(b"1.1", b"1.2") + LENGTH + b"\r\n" + BODY,
    "a query": HEAD.replace(b"completions", b"completions?a=b&c=%20") + LENGTH + b"\r\n" + BODY,
    "absolute form": HEAD.replace(b" /v1", b" http://x/v1") + LENGTH + b"\r\n" + BODY,
    "chunked": HEAD + CHUNKED + b"\r\n" + chunk(BODY) + chunk(b""),
    "chunked, in upper case": HEAD + CHUNKED.upper() + b"\r\n" + chunk(BODY) + chunk(b""),
    "chunk size in upper case hex with zeros": HEAD
    + CHUNKED
    + b"\r\n"
    + b"%06X\r\n%b\r\n0000\r\n\r\n" % (len(BODY), BODY),
    "chunks of one byte": HEAD
    + CHUNKED
    + b"\r\n"
    + b"".join(chunk(BODY[at : at + 1]) for at in range(len(BODY)))
    + chunk(b""),
    "chunk extensions": HEAD + CHUNKED + b'\r\n%x;a=b;c="d e"\r\n%b\r\n0;last\r\n\r\n' % (len(BODY), BODY),
    "trailers": HEAD + CHUNKED + b"\r\n" + chunk(BODY) + b"0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n",
    "body beyond one read": (HEAD + b"Content-Length: %d\r\n\r\n" % (1 << 20)) + BODY.ljust(1 << 20),
}


@pytest.mark.parametrize("name", PASSES)
async def test_it_passes_in_one_piece(frontend: Frontend, worker: ScriptedWorker, name: str) -> None:
    assert (await frontend.ask(PASSES[name])).json() == {"ok": True}
    assert worker.calls[0].request.body.rstrip() == BODY


@pytest.mark.parametrize("name", [name for name, raw in PASSES.items() if len(raw) < 5000])
async def test_it_passes_one_byte_at_a_time(frontend: Frontend, worker: ScriptedWorker, name: str) -> None:
    raw = PASSES[name]
    async with await frontend.client() as client:
        await client.send(*(raw[at : at + 1] for at in range(len(raw))))
        assert (await client.answer()).json() == {"ok": True}
    assert worker.calls[0].request.body == BODY


async def test_a_request_passes_cut_at_any_point(frontend: Frontend, worker: ScriptedWorker) -> None:
    raw = PASSES["chunk extensions"]
    async with await frontend.client() as client:
        for at in range(1, len(raw)):
            await client.send(raw[:at], raw[at:], gap_s=0.001)
            assert (await client.answer()).status == 200
    assert {call.request.body for call in worker.calls} == {BODY}


async def test_ten_pipelined_requests_are_answered_in_order(
    frontend: Frontend, worker: ScriptedWorker
) -> None:
    numbers = list(range(10))
    worker.default, default = [lambda: _echo(worker)], worker.default
    try:
        async with await frontend.client() as client:
            await client.send(b"".join(post(COMPLETIONS, completion(seed=n)) for n in numbers))
            assert [(await client.answer()).json()["seed"] for _ in numbers] == numbers
    finally:
        worker.default = default


def _echo(worker: ScriptedWorker) -> bytes:
    body = worker.calls[-1].request.body
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body


async def test_pipelined_streams_and_local_answers_keep_their_order(
    frontend: Frontend, worker: ScriptedWorker
) -> None:
    worker.script(sse_answer(chat_stream()))
    async with await frontend.client() as client:
        await client.send(
            post(CHAT, chat(stream=True))
            + b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
            + post(COMPLETIONS, BODY)
        )
        assert (await client.answer()).events() == chat_stream()
        assert (await client.answer("GET")).json()["object"] == "list"
        assert (await client.answer()).json() == {"ok": True}


async def test_a_connection_serves_many_requests(frontend: Frontend, worker: ScriptedWorker) -> None:
    connections = worker.connections
    async with await frontend.client() as client:
        for _ in range(50):
            await client.send(post(COMPLETIONS, BODY))
            answer = await client.answer()
            assert answer.status == 200
            assert answer.header("connection") in (None, "keep-alive")
    assert worker.connections - connections <= 2  # the pool kept its own


async def test_expect_100_continue_gets_its_interim_answer(frontend: Frontend) -> None:
    async with await frontend.client() as client:
        await client.send(HEAD + b"Expect: 100-continue\r\n" + LENGTH + b"\r\n")
        async with asyncio.timeout(20):
            assert (await client.head()).status == 100
        await client.send(BODY)
        assert (await client.answer()).json() == {"ok": True}


async def test_expect_100_continue_is_not_asked_for_a_body_too_large(frontend: Frontend) -> None:
    async with await frontend.client() as client:
        await client.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n")
        assert (await client.answer()).status == 413


async def test_expect_with_the_body_already_sent(frontend: Frontend) -> None:
    async with await frontend.client() as client:
        await client.send(HEAD + b"Expect: 100-continue\r\n" + LENGTH + b"\r\n" + BODY)
        head = await client.head()
        answer = await client.answer() if head.status == 100 else head
        assert answer.status == 200


async def test_expect_never_reaches_the_worker(frontend: Frontend, worker: ScriptedWorker) -> None:
    await test_expect_100_continue_gets_its_interim_answer(frontend)
    assert worker.calls[0].request.values("expect") == []


@pytest.mark.parametrize("target", ["/v1/models", "/health", "/ping", "/version"])
async def test_head_is_get_without_the_body(frontend: Frontend, target: str) -> None:
    async with await frontend.client() as client:
        await client.send(f"HEAD {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = await client.answer("HEAD")
        await client.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        got = await client.answer("GET")
    assert (head.status, got.status) == (200, 200)
    assert head.body == b""
    assert head.header("content-length") == got.header("content-length")


async def test_options_tells_the_methods(frontend: Frontend) -> None:
    async with await frontend.client() as client:
        await client.send(b"OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await client.answer("OPTIONS")
    assert answer.status in (200, 204)
    assert "POST" in (answer.header("allow") or "")


async def test_connection_close_is_honoured(frontend: Frontend, worker: ScriptedWorker) -> None:
    async with await frontend.client() as client:
        await client.send(post(COMPLETIONS, BODY, close=True))
        answer = await client.answer()
        assert (answer.status, answer.header("connection")) == (200, "close")
        assert await client.ended()
    assert worker.calls[0].request.header("connection") != "close"  # hop by hop: the pool's own affair


async def test_http_1_0_is_closed_after_the_answer(frontend: Frontend) -> None:
    async with await frontend.client() as client:
        await client.send(HEAD.replace(b"1.1", b"1.0") + LENGTH + b"\r\n" + BODY)
        answer = await client.answer()
        assert answer.json() == {"ok": True}
        assert await client.ended()


async def test_http_1_0_without_a_host_passes(frontend: Frontend) -> None:
    answer = await frontend.ask(b"POST /v1/completions HTTP/1.0\r\n" + LENGTH + b"\r\n" + BODY)
    assert answer.json() == {"ok": True}


async def test_http_1_0_with_keep_alive_is_kept(frontend: Frontend) -> None:
    async with await frontend.client() as client:
        for _ in range(3):
            await client.send(
                HEAD.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\n" + LENGTH + b"\r\n" + BODY
            )
            answer = await client.answer()
            assert answer.json() == {"ok": True}
            assert answer.header("connection") == "keep-alive"


@pytest.mark.parametrize("keep", [b"", b"Connection: keep-alive\r\n"])
async def test_a_stream_to_http_1_0_ends_with_the_connection(
    frontend: Frontend, worker: ScriptedWorker, keep: bytes
) -> None:
    worker.script(sse_answer(chat_stream()))
    body = chat(stream=True)
    async with await frontend.client() as client:
        await client.send(
            b"POST /v1/chat/completions HTTP/1.0\r\n%bContent-Length: %d\r\n\r\n%b" % (keep, len(body), body)
        )
        answer = await client.answer()
        assert answer.header("transfer-encoding") is None
        assert answer.header("content-length") is None
        assert answer.events() == chat_stream()
        assert await client.ended()


async def test_a_worker_that_answers_http_1_0_is_understood(
    frontend: Frontend, worker: ScriptedWorker
) -> None:
    worker.script(b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n" + b'{"a":1}', End.CLOSE)
    assert (await frontend.ask(post(COMPLETIONS, BODY))).json() == {"a": 1}


async def test_a_worker_may_answer_in_pieces(frontend: Frontend, worker: ScriptedWorker) -> None:
    raw = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: application/json\r\n\r\n"
    raw += chunk(b'{"a":') + chunk(b"1}") + chunk(b"")
    async with await frontend.client() as client:
        for at in range(1, len(raw)):
            worker.script(raw[:at], 0.001, raw[at:])
            await client.send(post(COMPLETIONS, BODY))
            assert (await client.answer()).json() == {"a": 1}


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 422 \r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    ],
)
async def test_answers_of_all_kinds_are_relayed(
    frontend: Frontend, worker: ScriptedWorker, raw: bytes
) -> None:
    worker.script(raw)
    answer = await frontend.ask(post(COMPLETIONS, BODY))
    assert f" {answer.status} ".encode() in raw
    assert answer.body in (b"", b"{}")


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX : 1\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
)
async def test_a_crooked_answer_becomes_502(frontend: Frontend, worker: ScriptedWorker, raw: bytes) -> None:
    worker.default, default = [raw], worker.default
    try:
        answer = await frontend.ask(post(COMPLETIONS, BODY))
    finally:
        worker.default = default
    assert answer.status == 502
    assert answer.error()["message"]
    await shared_worker_is_back(frontend, worker)


async def shared_worker_is_back(frontend: Frontend, worker: ScriptedWorker) -> None:
    """Let the circuit close again, so that the next test of the module finds a ready worker."""
    for _ in range(100):
        if (await frontend.ask(post(COMPLETIONS, BODY))).status == 200:
            break
        await asyncio.sleep(0.05)
    await frontend.worker_until(worker.id, circuit="closed")


async def test_a_body_that_is_no_json_is_400(frontend: Frontend, worker: ScriptedWorker) -> None:
    for body in (b"", b"{", b"[]", b'{"model":"tiny-llama"', b'{"model":1}', b"\xff\xfe", b'{"model":"a"}x'):
        answer = await frontend.ask(post(COMPLETIONS, body))
        assert answer.status == 400, body
        assert answer.error()["message"]
    assert not worker.calls


async def test_json_of_every_shape_reaches_the_worker_unchanged(
    frontend: Frontend, worker: ScriptedWorker
) -> None:
    bodies = [
        b'{"model":"tiny-llama"}',
        b'\n\t { "model" : "tiny-llama" , "x" : [ 1 , { "model" : "inner" } ] }\r\n',
        b'{"model":"tiny\\u002dllama","prompt":"\\ud83d\\ude00"}',
        json.dumps({"prompt": {"model": "other", "deep": [[[["]}"]]]]}, "model": "tiny-llama"}).encode(),
        '{"model":"tiny-llama","prompt":"äß😀","n":1e-7}'.encode(),
        b'{"model":"tiny-llama","prompt":"' + b"a" * 300_000 + b'"}',
    ]
    for body in bodies:
        assert (await frontend.ask(post(COMPLETIONS, body))).status == 200, body
    assert [call.request.body for call in worker.calls] == bodies
