"""The native HTTP/1.1 parser against its plain twin, whole and in pieces."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grove_dp.native import http1
from grove_dp.native.plain import http1 as plain

from .mutation import mutated, pieces

FIXTURES = Path(__file__).parents[1] / "fixtures" / "vllm_http"
RECORDED = sorted(FIXTURES.glob("*/*.response.http"))

REQUESTS = [
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a:8000\r\ncontent-type: x/y\r\nContent-Length: 12\r\n\r\n",
    b"GET /v1/models?a=b&c HTTP/1.1\r\nhost: [::1]:80\r\naccept: */*\r\nX-Request-Id:  \tabc\t \r\n\r\n",
    b"GET http://a.org/x?y HTTP/1.1\r\nHost: a.org\r\nConnection: close, X-Foo\r\nX-Foo: 1\r\n\r\n",
    b"\r\n\r\nPOST /x HTTP/1.0\r\nConnection: keep-alive\r\nKeep-Alive: x=5\r\nContent-Length: 0\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te, upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 3\r\n\r\n",
    b"GET HTTP://h?q HTTP/1.9\r\nHost:h\r\nTraceparent: 00-1-2-3\r\nContent-Encoding:br\r\nDate: x\r\n\r\n",
]
RESPONSES = [
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; a=b\r\ntransfer-encoding: chunked\r\n\r\n",
    b"HTTP/1.1 503\r\ncontent-type: application/json\r\ncontent-length: 17\r\nretry-after: 1\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\nContent-Type: text/plain\r\n\r\n",
    b"HTTP/1.1 204 \r\nConnection: close\r\nProxy-Authenticate: x\r\n\r\n",
]
BODIES = [
    b"5\r\nhello\r\n0\r\n\r\n",
    b"1;a=b\r\nx\r\n1A\r\nabcdefghijklmnopqrstuvwxyz\r\n000\r\nTrailer: v\r\nOther:\r\n\r\n",
    b"ff\r\n" + b"z" * 255 + b"\r\n3\r\nabc\r\n0;last\r\n\r\n",
    b"2\r\n\r\n\r\n0\r\n\r\nGET / HTTP/1.1",
]


def prefixes_agree(parse, data):
    """Every prefix of a good head wants more; the resumed call answers like the first."""
    size, found = parse(data)
    for cut in range(len(data)):
        early, _ = parse(data[:cut])
        assert early in (http1.MORE, http1.BAD) if cut < size or size < 0 else early == size
        if size > 0 and cut < size:
            assert early == http1.MORE
        if early == http1.MORE:
            assert parse(data, cut) == (size, found)


@given(mutated(REQUESTS), st.integers(0, 12))
@settings(max_examples=300, deadline=None)
def test_requests_are_read_as_the_twin_reads_them(data, most):
    assert http1.request(data, 0, most) == plain.request(data, most)


@given(mutated(RESPONSES))
@settings(max_examples=250, deadline=None)
def test_responses_are_read_as_the_twin_reads_them(data):
    assert http1.response(data) == plain.response(data)


@given(mutated(REQUESTS))
@settings(max_examples=150, deadline=None)
def test_a_request_in_pieces_is_the_same_request(data):
    prefixes_agree(http1.request, data)


@given(mutated(RESPONSES))
@settings(max_examples=100, deadline=None)
def test_a_response_in_pieces_is_the_same_response(data):
    prefixes_agree(http1.response, data)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_chunks_are_decoded_as_the_twin_decodes_them(data):
    body = data.draw(mutated(BODIES))
    fast, slow = http1.Chunked(), plain.Chunked()
    for piece in data.draw(pieces(body)):
        while piece:
            used, run = fast.next(piece)
            assert (used, run) == slow.next(piece)
            if used == http1.BAD:
                return
            assert (fast.done, fast.boundary) == (slow.done, slow.boundary)
            assert used > 0 or fast.done
            if used == 0:
                return
            piece = piece[used:]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_chunked_body_does_not_depend_on_how_it_was_cut(data):
    body = data.draw(mutated(BODIES))
    whole = decode([body])
    assert decode(data.draw(pieces(body))) == whole
    assert decode([bytes([byte]) for byte in body]) == whole


def decode(parts):
    """(payload, bytes read, done), or None when the body is refused."""
    chunks, payload, read = http1.Chunked(), b"", 0
    for part in parts:
        while part and not chunks.done:
            used, run = chunks.next(part)
            if used < 0:
                return None
            payload, read, part = payload + run, read + used, part[used:]
    return payload, read, chunks.done


@given(
    mutated([b"close", b"keep-alive, Close", b" a ,\tb\t,, c", b""]),
    st.sampled_from([b"close", b"b", b"CLOSE"]),
)
def test_lists_are_searched_as_the_twin_searches_them(value, token):
    if b"\0" not in value:
        assert http1.list_has(value, token) == plain.list_has(value, token)


@pytest.mark.parametrize("path", RECORDED, ids=lambda p: f"{p.parent.name}-{p.name.split('.')[0]}")
def test_recorded_answers_of_real_workers_are_read(path):
    data = path.read_bytes()
    size, head = http1.response(data)
    assert (size, head) == plain.response(data)
    assert size > 0
    if head.chunked:
        payload, _, _ = decode([data[size:]])
        assert payload is not None
    elif head.length is not None:
        assert len(data) - size in (head.length, 0)


def test_every_refusal_has_a_status_and_a_sentence():
    for why in http1.WHY:
        status, text = http1.status(why)
        assert status in (400, 417, 431, 501, 505)
        assert text
