"""The native event reader against its plain twin, and on the recorded streams of real workers."""

from pathlib import Path

import pytest
from hypothesis import given, settings

from grove_dp.native import http1, sse
from grove_dp.native.plain import sse as plain

from .mutation import mutated

FIXTURES = Path(__file__).parents[1] / "fixtures" / "vllm_http"

EVENTS = [
    b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}\n\n',
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":null}\r\n\r\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":1},"system_fingerprint":"vllm-1"}\n\ndata: [DONE]\n\n',
    b'data: {"choices" : [ ] , "usage" : {"a":1}, "system_fingerprint" : "a\\"b"}\n\n',
    b'data: {"error": {"message": "busy"}}\n\ndata:{"error":{"x":1}}\r\r',
    b": keep-alive\n\n: ping\r\n\r\n\n\r\n",
    b'event: error\ndata: {"type":"error"}\n\nevent:response.failed\ndata: {}\n\n',
    b'event: message_delta\nid: 7\nretry: 1\ndata: {"usage":{"output_tokens":3}}\ndata: {"choices":[]}\n\n',
    b'data: {"text":"\\"usage\\":{} \\"finish_reason\\":1","error":{}}\n\ndata\nevent\n\n',
]


@given(mutated(EVENTS))
@settings(max_examples=400, deadline=None)
def test_events_are_read_as_the_twin_reads_them(data):
    assert sse.next_event(data) == plain.next_event(data)
    assert sse.fingerprint(data) == plain.fingerprint(data)


@given(mutated(EVENTS))
@settings(max_examples=300, deadline=None)
def test_an_event_in_pieces_is_the_same_event(data):
    whole = sse.next_event(data)
    for cut in range(len(data)):
        early = sse.next_event(data[:cut])
        if early[0] == sse.MORE:
            assert sse.next_event(data, cut) == whole
        else:
            assert early == whole


def test_an_event_of_megabytes_in_pieces_is_searched_once():
    data = b'data: {"x":"' + b"a" * 3_000_000 + b'","finish_reason":"stop"}\n\n'
    step, seen = 65536, 0
    for end in range(step, len(data), step):
        assert sse.next_event(data[:end], seen) == (sse.MORE, None)
        seen = end
    size, event = sse.next_event(data, seen)
    assert (size, event.finish) == (len(data), True)


def events_of(path):
    data = path.read_bytes()
    size, head = http1.response(data)
    if not (head.event_stream and head.chunked):
        return None
    chunks, payload, rest = http1.Chunked(), b"", data[size:]
    while rest and not chunks.done:
        used, run = chunks.next(rest)
        assert used > 0
        payload, rest = payload + run, rest[used:]
    events = []
    while payload:
        size, event = sse.next_event(payload)
        assert (size, event) == plain.next_event(payload)
        if event is None:
            break
        events.append(event)
        payload = payload[size:]
    return events


STREAMS = [
    p for p in sorted(FIXTURES.glob("*/*.response.http")) if b"text/event-stream" in p.read_bytes()[:400]
]


@pytest.mark.parametrize("path", STREAMS, ids=lambda p: f"{p.parent.name}-{p.name.split('.')[0]}")
def test_recorded_streams_are_read_to_their_end(path):
    events = events_of(path)
    if events is None:
        return
    assert events
    if any(event.kind == sse.DONE for event in events):
        assert events[-1].kind == sse.DONE
    for event in events:
        assert not event.usage_only or event.usage


def test_the_recorded_overload_is_an_error_event():
    events = events_of(FIXTURES / "overload" / "overload_200_stream_error.response.http")
    assert [event.kind for event in events] == [sse.ERROR, sse.DONE]


def test_a_null_usage_is_no_usage():
    _, event = sse.next_event(b'data: {"choices":[],"usage":null}\n\n')
    assert (event.usage, event.usage_only) == (False, False)


def test_a_carriage_return_at_the_end_waits_for_its_line_feed():
    assert sse.next_event(b"data: x\n\r") == (sse.MORE, None)
    assert sse.next_event(b"data: x\n\r\n")[0] == 10
    assert sse.next_event(b"data: x\n\rd")[0] == 9
