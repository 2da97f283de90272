"""The native body scanner against its plain twin and against Python's own json."""

import json
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from grove_dp.native import openai
from grove_dp.native.plain import openai as plain

from .mutation import mutated

FIXTURES = Path(__file__).parents[1] / "fixtures" / "vllm_http"

BODIES = [
    b'{"model":"m","messages":[{"role":"user","content":"a \\"quoted\\" {[ text"}],"stream":true}',
    b' { "model" : "a\\/b\\u00e9" , "stream" : true , "stream_options" : { "include_usage" : false } } \n',
    b'{"stream":true,"stream_options":{},"n":2,"prompt":["a","b"],"max_tokens":7,"best_of":1}',
    b'{"stream":true,"stream_options":{"continuous_usage_stats":true,"x":[1,{"y":2}]},"max_output_tokens":1e3}',
    b'{"stream":true,"stream_options":null,"priority":-3,"cache_salt":"s","previous_response_id":"resp_1"}',
    b'{"mod\\u0065l":"hidden","model":null,"prompt":[[1,2],[3]],"kv_transfer_params":{"a":[]},"tools":[{}]}',
    b'{"max_completion_tokens":99999999999999999999,"max_tokens":5,"n":"2","stream":null,"t":NaN,"u":-Infinity}',
    b'{"stream":true,"stream_options":{"include_usage":null,"a":1},"temperature":-0.5E+2,"logit_bias":{"1":2}}',
    b"{}",
]
CHAT = (
    b'{"id":"chatcmpl-1","choices":[{"message":{"content":"\\"usage\\":{"}}],"usage":{"prompt_tokens":5,'
    b'"total_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":3}}}'
)
MESSAGE = (
    b'data: {"type":"message_start","message":{"usage":{"input_tokens":18,"output_tokens":0,'
    b'"cache_read_input_tokens":2}}}'
)
RESPONSE = (
    b'{"id" : "resp_1a","usage" : { "input_tokens" : 1 , '
    b'"input_tokens_details" : { "cached_tokens" : 0 , "x":[{}] }, "output_tokens":2.5}} {"usage":null}'
)
ANSWERS = [CHAT, MESSAGE, RESPONSE]
FORM = (
    b'--b1\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    b'--b1\r\ncontent-disposition: form-data; name="file"; filename="a"\r\nContent-Type: a/b\r\n\r\n'
    b"RIFF\r\n--b\r\n\0\r\n"
    b"--b1\r\nContent-Disposition: form-data; name=stream\r\n\r\ntrue\r\n--b1--\r\n"
)
KINDS = [b"multipart/form-data; boundary=b1", b'Multipart/Form-Data ;charset=x; boundary="b1"']


@given(mutated(BODIES))
@settings(max_examples=600, deadline=None)
def test_bodies_are_read_as_the_twin_reads_them(data):
    body = openai.scan(data)
    assert body == plain.scan(data)
    if body.why != "OK":
        assert 0 <= openai.where(data) <= len(data)


@given(mutated(BODIES))
@settings(max_examples=250, deadline=None)
def test_usage_is_spliced_as_the_twin_splices_it(data):
    spliced = openai.splice_usage(data)
    assert spliced == plain.splice_usage(data)
    if spliced is not None:
        again = openai.scan(spliced)
        assert (again.include_usage, again.stream, openai.splice_usage(spliced)) == (2, True, None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
KNOWN = st.fixed_dictionaries(
    {},
    optional={
        "model": st.none() | st.text(),
        "stream": st.none() | st.booleans(),
        "n": st.none() | st.integers(-(2**40), 2**40),
        "max_tokens": st.none() | st.integers(0, 2**62),
        "priority": st.integers(-(2**62), 2**62),
        "messages": JSON,
        "prompt": JSON,
        "tools": JSON,
        "stream_options": st.none() | st.dictionaries(st.sampled_from(["include_usage", "x"]), st.booleans()),
    },
)


@given(st.dictionaries(st.text(), JSON, max_size=4), KNOWN, st.sampled_from([None, 0, 2]), st.booleans())
@settings(max_examples=200, deadline=None)
def test_whatever_json_writes_is_understood(other, known, indent, ascii_only):
    value = {**other, **known}
    try:
        data = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        return
    body = openai.scan(data)
    assert body.why == "OK"
    if isinstance(value.get("model"), str):
        room = 4 * len(value["model"]) + 1
        name = openai.unescape(body.model, room) if body.model_escaped else body.model
        if "\0" in value["model"] or any(0xD800 <= ord(c) < 0xE000 for c in value["model"]):
            assert name == openai.BAD
        else:
            assert name == value["model"].encode()
    else:
        assert body.model is None
    assert body.stream == (value.get("stream") is True)
    for field in ("messages", "prompt", "tools"):
        span = getattr(body, field)
        assert json.loads(span) == value[field] if field in value else span == b""
    spliced = openai.splice_usage(data)
    if spliced is not None:
        options = dict(value.get("stream_options") or {}, include_usage=True)
        assert json.loads(spliced) == {**json.loads(data), "stream_options": options}


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_strings_are_unescaped_as_the_twin_does_it(data):
    seeds = [
        b"plain",
        b'a\\"b\\\\c\\/\\b\\f\\n\\r\\t',
        b"\\ud83d\\ude00\\u00e9\\u20AC",
        b"\\\\ud83d\\ude00",
        b"\\u0000",
    ]
    text = data.draw(mutated(seeds, most=3))
    room = data.draw(st.integers(0, 40))
    fast, slow = openai.unescape(text, room), plain.unescape(text, room)
    if fast == openai.MORE or slow == openai.MORE:  # which fault is met first is not promised
        fast, slow = openai.unescape(text, 400), plain.unescape(text, 400)
    assert fast == slow


@given(mutated(ANSWERS))
@settings(max_examples=300, deadline=None)
def test_usage_and_id_are_found_as_the_twin_finds_them(data):
    assert openai.usage(data) == plain.usage(data)
    assert openai.response_id(data) == plain.response_id(data)


@given(st.sampled_from(KINDS), mutated([FORM], most=3))
@settings(max_examples=250, deadline=None)
@example(KINDS[0], b"--b1\r\nContent-Disposition: form-data; name=model\r\n\r\n--b1--")
def test_forms_are_read_as_the_twin_reads_them(kind, data):
    fast, slow = openai.multipart(kind, data), plain.multipart(kind, data)
    if fast[0] == slow[0] == openai.BAD:
        return
    assert fast == slow


@given(mutated(KINDS, most=3))
@settings(max_examples=150, deadline=None)
def test_boundaries_are_read_as_the_twin_reads_them(kind):
    assert openai.multipart(kind, FORM) == plain.multipart(kind, FORM)


def test_recorded_requests_are_scanned_and_recorded_answers_tell_their_usage():
    scanned = counted = 0
    for path in sorted(FIXTURES.glob("*/*.request.http")):
        _, _, body = path.read_bytes().partition(b"\r\n\r\n")
        if body.startswith(b"{") and b"bad_json" not in path.name.encode():
            value = json.loads(body)
            found = openai.scan(body)
            assert found.why == "OK" or not isinstance(value.get("model"), str), path.name
            assert found == plain.scan(body)
            scanned += 1
    for path in sorted(FIXTURES.glob("*/*.response.http")):
        _, _, body = path.read_bytes().partition(b"\r\n\r\n")
        assert openai.usage(body) == plain.usage(body)
        if body.startswith(b"{") and '"usage":{' in body.decode():
            want = json.loads(body)["usage"]
            _, prompt, output, _ = openai.usage(body)
            assert prompt == want.get("prompt_tokens", want.get("input_tokens"))
            assert output == want.get("completion_tokens", want.get("output_tokens", -1))
            counted += 1
    assert scanned > 40
    assert counted > 10
