"""Requests that are not HTTP/1.1 as RFC 9112 wants it: refused in OpenAI's shape, nothing of them forwarded.

One frontend serves the whole table, so that a request which breaks its connection must not hurt the next one.
Each refused request is followed on its connection by a decent one: after a framing error it must never be
served, because nothing on that connection can be trusted any more (request smuggling).
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from grove_dp.testing.frontend import Frontend
from grove_dp.testing.http import RawClient, post
from grove_dp.testing.vllm import COMPLETIONS, completion
from grove_dp.testing.worker import ScriptedWorker

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY = completion()
SMUGGLED = post("/v1/completions", completion(user="smuggled"))
CHUNKED_BODY = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


def request(*lines: bytes, line: bytes = b"POST /v1/completions HTTP/1.1", body: bytes = BODY) -> bytes:
    """A request with a Host header and the header lines given; without any, with its Content-Length."""
    lines = lines or (b"Content-Length: %d" % len(body),)
    return b"\r\n".join((line, b"Host: frontend", *lines)) + b"\r\n\r\n" + body


def chunked(body: bytes, *lines: bytes) -> bytes:
    return request(b"Transfer-Encoding: chunked", *lines, body=body)


def target(value: bytes) -> bytes:
    return request(line=b"POST %b HTTP/1.1" % value)


CL = b"Content-Length: %d" % len(BODY)
TE = b"Transfer-Encoding: chunked"

# name -> (bytes, statuses allowed)
FRAMING = {
    "content-length and chunked": (request(CL, TE, body=CHUNKED_BODY), {400}),
    "chunked and content-length": (request(TE, CL, body=CHUNKED_BODY), {400}),
    "chunked and content-length 0": (request(b"Content-Length: 0", TE, body=CHUNKED_BODY), {400}),
    "content-length twice, different": (request(CL, b"Content-Length: 3"), {400}),
    "content-length twice, same": (request(CL, CL), {400}),
    "content-length twice in other case": (request(CL, CL.lower()), {400}),
    "content-length as a list": (request(b"Content-Length: %d, %d" % (len(BODY), len(BODY))), {400}),
    "content-length as a list of two": (request(b"Content-Length: 3,%d" % len(BODY)), {400}),
    "content-length negative": (request(b"Content-Length: -1"), {400}),
    "content-length with plus": (request(b"Content-Length: +%d" % len(BODY)), {400}),
    "content-length in hex": (request(b"Content-Length: 0x10"), {400}),
    "content-length empty": (request(b"Content-Length:"), {400}),
    "content-length with a blank inside": (request(b"Content-Length: 1 0"), {400}),
    "content-length with a point": (request(b"Content-Length: 10.0"), {400}),
    "content-length not ASCII digits": (request("Content-Length: ١٠".encode()), {400}),
    "content-length beyond 64 bits": (request(b"Content-Length: 18446744073709551626"), {400, 413}),
    "content-length of 400 digits": (request(b"Content-Length: " + b"9" * 400), {400, 413}),
    "content-length too large": (request(b"Content-Length: 99999999"), {413}),
    "transfer-encoding gzip": (request(b"Transfer-Encoding: gzip"), {400, 501}),
    "transfer-encoding identity": (request(b"Transfer-Encoding: identity", CL), {400, 501}),
    "transfer-encoding gzip, chunked": (
        request(b"Transfer-Encoding: gzip, chunked", body=CHUNKED_BODY),
        {400, 501},
    ),
    "transfer-encoding chunked, chunked": (
        request(b"Transfer-Encoding: chunked, chunked", body=CHUNKED_BODY),
        {400, 501},
    ),
    "transfer-encoding chunked, gzip": (
        request(b"Transfer-Encoding: chunked, gzip", body=CHUNKED_BODY),
        {400, 501},
    ),
    "transfer-encoding chunked, identity": (
        request(b"Transfer-Encoding: chunked, identity", body=CHUNKED_BODY),
        {400, 501},
    ),
    "transfer-encoding twice": (request(TE, TE, body=CHUNKED_BODY), {400, 501}),
    "transfer-encoding with quotes": (
        request(b'Transfer-Encoding: "chunked"', body=CHUNKED_BODY),
        {400, 501},
    ),
    "transfer-encoding xchunked": (request(b"Transfer-Encoding: xchunked", body=CHUNKED_BODY), {400, 501}),
    "transfer-encoding with a vertical tab": (
        request(b"Transfer-Encoding: \x0bchunked", body=CHUNKED_BODY),
        {400, 501},
    ),
    "transfer-encoding with a parameter": (
        request(b"Transfer-Encoding: chunked;q=1", body=CHUNKED_BODY),
        {400, 501},
    ),
    "transfer-encoding empty": (request(b"Transfer-Encoding:", body=CHUNKED_BODY), {400, 501}),
    "transfer-encoding in HTTP/1.0": (
        request(TE, line=b"POST /v1/completions HTTP/1.0", body=CHUNKED_BODY),
        {400, 501},
    ),
}

CHUNKS = {
    "chunk size is no number": (chunked(b"xyz\r\nabc\r\n0\r\n\r\n"), {400}),
    "chunk size empty": (chunked(b"\r\nabc\r\n0\r\n\r\n"), {400}),
    "chunk size negative": (chunked(b"-3\r\nabc\r\n0\r\n\r\n"), {400}),
    "chunk size with plus": (chunked(b"+3\r\nabc\r\n0\r\n\r\n"), {400}),
    "chunk size with 0x": (chunked(b"0x3\r\nabc\r\n0\r\n\r\n"), {400}),
    "chunk size with a blank before": (chunked(b" 3\r\nabc\r\n0\r\n\r\n"), {400}),
    "chunk size with an underscore": (chunked(b"1_0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n"), {400}),
    "chunk size of 64 bits": (chunked(b"ffffffffffffffff\r\nabc\r\n0\r\n\r\n"), {400, 413}),
    "chunk size beyond 64 bits": (chunked(b"10000000000000003\r\nabc\r\n0\r\n\r\n"), {400, 413}),
    "chunk size of endless zeros": (chunked(b"0" * 5000 + b"3\r\nabc\r\n0\r\n\r\n"), {400}),
    "chunk size ends in LF": (chunked(b"3\nabc\r\n0\r\n\r\n"), {400}),
    "chunk size ends in CR": (chunked(b"3\rabc\r\n0\r\n\r\n"), {400}),
    "chunk data longer than said": (chunked(b"3\r\nabcd\r\n0\r\n\r\n"), {400}),
    "chunk data ends in LF": (chunked(b"3\r\nabc\n0\r\n\r\n"), {400}),
    "chunk data ends in CR": (chunked(b"3\r\nabc\r0\r\n\r\n"), {400}),
    "chunk data ends in other bytes": (chunked(b"3\r\nabcXX0\r\n\r\n"), {400}),
    "chunk extension with a bare CR": (chunked(b"3;a\rb\r\nabc\r\n0\r\n\r\n"), {400}),
    "chunk extension with a bare LF": (chunked(b"3;a\nb\r\nabc\r\n0\r\n\r\n"), {400}),
    "chunk extension with NUL": (chunked(b"3;a\x00b\r\nabc\r\n0\r\n\r\n"), {400}),
    "chunk extension without end": (
        chunked(b"3;" + b"a" * 70_000 + b"\r\nabc\r\n0\r\n\r\n"),
        {400, 413, 431},
    ),
    "last chunk ends in LF": (chunked(b"3\r\nabc\r\n0\n\r\n"), {400}),
    "trailer without colon": (chunked(b"3\r\nabc\r\n0\r\nnonsense\r\n\r\n"), {400}),
    "trailer with obs-fold": (chunked(b"3\r\nabc\r\n0\r\nx: 1\r\n 2\r\n\r\n"), {400}),
    "trailer with a bare LF": (chunked(b"3\r\nabc\r\n0\r\nx: 1\ny: 2\r\n\r\n"), {400}),
    "trailers without end": (chunked(b"3\r\nabc\r\n0\r\n" + b"x: 1\r\n" * 20_000 + b"\r\n"), {400, 413, 431}),
    "chunked body too large": (
        chunked(b"%x\r\n" % 3_000_000 + b" " * 3_000_000 + b"\r\n0\r\n\r\n"),
        {413},
    ),
}

HEADERS = {
    "obs-fold": (request(CL, b"X-Long: a\r\n b"), {400}),
    "obs-fold with a tab": (request(CL, b"X-Long: a\r\n\tb"), {400}),
    "obs-fold of the first header": (
        b"POST /v1/completions HTTP/1.1\r\n Host: x\r\n%b\r\n\r\n%b" % (CL, BODY),
        {400},
    ),
    "blank before the colon": (request(CL, b"X-Thing : 1"), {400}),
    "tab before the colon": (request(CL, b"X-Thing\t: 1"), {400}),
    "blank before the colon of content-length": (request(b"Content-Length : %d" % len(BODY)), {400}),
    "blank before the colon of transfer-encoding": (
        request(b"Transfer-Encoding : chunked", body=CHUNKED_BODY),
        {400},
    ),
    "header without colon": (request(CL, b"X-Thing"), {400}),
    "header without name": (request(CL, b": value"), {400}),
    "header name with a blank inside": (request(CL, b"X Thing: 1"), {400}),
    "header name with parentheses": (request(CL, b"X(1): 1"), {400}),
    "header name not ASCII": (request(CL, "X-ä: 1".encode()), {400}),
    "header name with NUL": (request(CL, b"X\x00Y: 1"), {400}),
    "header value with NUL": (request(CL, b"X: a\x00b"), {400}),
    "header value with a bell": (request(CL, b"X: a\x07b"), {400}),
    "header value with DEL": (request(CL, b"X: a\x7fb"), {400}),
    "header value with a bare CR": (request(CL, b"X: a\rb"), {400}),
    "header value with a bare LF": (request(CL, b"X: a\nY: b"), {400}),
    "a bare LF ends a header": (
        b"POST /v1/completions HTTP/1.1\nHost: x\n%b\n\n%b" % (CL, BODY),
        {400},
    ),
    "a bare LF ends the head": (
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n%b\r\n\n%b" % (CL, BODY),
        {400},
    ),
    "no host": (b"POST /v1/completions HTTP/1.1\r\n%b\r\n\r\n%b" % (CL, BODY), {400}),
    "host twice": (request(CL, b"Host: other"), {400}),
    "host with a blank": (
        b"POST /v1/completions HTTP/1.1\r\nHost: a b\r\n%b\r\n\r\n%b" % (CL, BODY),
        {400},
    ),
    "head too large": (request(CL, b"X: " + b"a" * 70_000), {431}),
    "head too large, many headers": (request(CL, *(b"X-%d: %b" % (n, b"a" * 900) for n in range(80))), {431}),
    "head without end": (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 80_000, {431}),
    "too many headers": (request(CL, *(b"X-%d: 1" % n for n in range(200))), {431}),
    "unknown expectation": (request(CL, b"Expect: a-miracle"), {417}),
}

LINES = {
    "no version": (request(line=b"POST /v1/completions"), {400}),
    "HTTP/0.9": (request(line=b"POST /v1/completions HTTP/0.9"), {400, 505}),
    "HTTP/2.0": (request(line=b"POST /v1/completions HTTP/2.0"), {400, 505}),
    "HTTP/11": (request(line=b"POST /v1/completions HTTP/11"), {400, 505}),
    "http/1.1 in lower case": (request(line=b"POST /v1/completions http/1.1"), {400, 505}),
    "HTTP/1.1 with a blank after": (request(line=b"POST /v1/completions HTTP/1.1 "), {400, 505}),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", {400, 505}),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40 + b"\r\n\r\n", {400}),
    "words, no request": (b"hello there\r\n\r\n", {400}),
    "two blanks after the method": (request(line=b"POST  /v1/completions HTTP/1.1"), {400}),
    "two blanks before the version": (request(line=b"POST /v1/completions  HTTP/1.1"), {400}),
    "a tab in the request line": (request(line=b"POST\t/v1/completions HTTP/1.1"), {400}),
    "a blank before the method": (b" " + request(), {400}),
    "method in lower case": (request(line=b"post /v1/completions HTTP/1.1"), {400, 405, 501}),
    "method unknown": (request(line=b"BREW /v1/completions HTTP/1.1"), {400, 405, 501}),
    "method with a colon": (request(line=b"PO:ST /v1/completions HTTP/1.1"), {400}),
    "method TRACE": (request(line=b"TRACE /v1/completions HTTP/1.1"), {400, 405, 501}),
    "method CONNECT": (request(line=b"CONNECT example.org:443 HTTP/1.1"), {400, 405, 501}),
    "target with NUL": (target(b"/v1/completions\x00"), {400}),
    "target with a control character": (target(b"/v1/comp\x01letions"), {400}),
    "target with DEL": (target(b"/v1/completions\x7f"), {400}),
    "target with a tab": (target(b"/v1/comp\tletions"), {400}),
    "target with a bare CR": (target(b"/v1/completions\r?"), {400}),
    "target without a slash": (target(b"v1/completions"), {400, 404}),
    "target empty": (target(b""), {400}),
    "target with two blanks inside": (target(b"/v1/completions x y"), {400}),
    "target with dots": (target(b"/v1/../v1/completions"), {400, 404}),
    "target with an encoded slash": (target(b"/v1%2fcompletions"), {400, 404}),
    "target too long": (target(b"/v1/completions?" + b"a" * 70_000), {414, 431}),
}

WELL_FRAMED = {404, 405, 417, 501}  # unwelcome, but where it ends is known: the connection may go on
REFUSED = {**FRAMING, **CHUNKS, **HEADERS, **LINES}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker() -> AsyncIterator[ScriptedWorker]:
    async with ScriptedWorker() as worker:
        yield worker


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(worker: ScriptedWorker) -> AsyncIterator[Frontend]:
    async with Frontend([worker.url], limits={"body_bytes": 1 << 20}) as frontend:
        yield frontend


@pytest_asyncio.fixture(loop_scope="module")
async def frontend(shared: Frontend, worker: ScriptedWorker) -> AsyncIterator[Frontend]:
    worker.calls.clear()
    yield shared
    await shared.settled()


async def _send_all(client: RawClient, raw: bytes) -> None:
    """Send what can be sent: the frontend may refuse and close before it has read everything."""
    try:
        await client.send(raw)
    except ConnectionError:
        return


@pytest.mark.parametrize("name", REFUSED)
async def test_it_is_refused_and_nothing_is_forwarded(
    frontend: Frontend, worker: ScriptedWorker, name: str
) -> None:
    raw, statuses = REFUSED[name]
    async with await frontend.client() as client:
        await _send_all(client, raw + SMUGGLED)
        answer = await client.answer()
        assert answer.status in statuses, answer
        assert answer.error()["message"]
        if answer.status in WELL_FRAMED and answer.header("connection") != "close":
            assert (await client.answer()).status == 200
            assert [b"smuggled" in call.request.body for call in worker.calls] == [True]
        else:
            assert answer.header("connection") == "close"
            assert await client.ended()
            assert not worker.calls


async def test_after_all_that_a_decent_request_is_served(frontend: Frontend, worker: ScriptedWorker) -> None:
    assert (await frontend.ask(post(COMPLETIONS, BODY))).json() == {"ok": True}
    assert worker.calls[0].request.body == BODY


async def test_a_refused_body_is_not_read_to_its_end(frontend: Frontend) -> None:
    async with await frontend.client() as client:
        await client.send(request(b"Content-Length: 99999999", body=b"x" * 1000))
        assert (await client.answer()).status == 413


async def test_a_truncated_request_is_never_forwarded(frontend: Frontend, worker: ScriptedWorker) -> None:
    for raw in (post(COMPLETIONS, BODY)[:-1], chunked(CHUNKED_BODY[:-2]), request()[:30]):
        async with await frontend.client() as client:
            await client.send(raw)
            client.finish()
            answer = await client.rest()
            assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert not worker.calls
