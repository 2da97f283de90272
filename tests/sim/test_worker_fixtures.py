"""The simulated worker against recorded exchanges of a real vLLM 0.32, byte for byte.

What must differ is masked on both sides: ids, times, fingerprints, and the words themselves (the recorded
model has random weights; the simulator draws its own). Token counts are not
masked: the tokenizer is the same.
"""

import asyncio
import re
from pathlib import Path

import pytest

from grove_dp.sim.publisher import EventSettings
from grove_dp.sim.worker import SimWorkers

RECORDED = Path(__file__).parent.parent / "fixtures" / "vllm_http"

COMMON = {
    "profile": "tiny-cpu",
    "served_model_name": ("tiny-llama",),
    "max_model_len": 512,
    "max_num_seqs": 16,
    "block_size": 32,
    "num_gpu_blocks": 64,
    "speed": 50.0,
}
SCALEOUT = {
    "api_key": "sk-test",
    "enable_prompt_tokens_details": True,
    "enable_per_request_metrics": True,
    "enable_request_id_headers": True,
    "enable_auto_tool_choice": True,
    "server_dev_mode": True,
    "lora_modules": (("tiny-lora", "/srv/lora"),),
}
RENDER = {"enable_tokenizer_info_endpoint": True}
TOPICS = {
    "base": "kv@127.0.0.1:8101@tiny-llama",
    "scaleout": "kv@127.0.0.1:8102@tiny-llama",
    "dp2": "kv@127.0.0.1:8106@tiny-llama",
}

# Paths the simulator has not: development and scale-out endpoints.
OTHER_PATHS = {
    f"scaleout/{name}"
    for name in (
        "abort_requests generate generate_stream generate_text get_is_sleeping "
        "get_server_info_json get_server_info_text is_paused is_paused_after pause "
        "render_chat render_completion resume"
    ).split()
}
# The recorded model was cut off in the middle of a forced form, or met a stop word by chance: other lengths.
OTHER_LENGTH = {
    "base/chat_stop_string",
    "base/chat_response_format_json_schema",
    "scaleout/tools_required_nonstream",
    "scaleout/tools_named_nonstream",
    "scaleout/tools_named_stream",
}

STRING = rb'"(?:[^"\\]|\\.)*"'
MASKS = [
    (re.compile(rb"^date: .*", re.MULTILINE), b"date: *"),
    (re.compile(rb"^content-length: [1-9]\d*", re.MULTILINE), b"content-length: *"),
    (re.compile(rb"^x-request-id: [0-9a-f]{32}", re.MULTILINE), b"x-request-id: *"),
    (re.compile(rb"\b(chatcmpl-tool|chatcmpl|cmpl|modelperm|resp_|msg_)-?[0-9a-f]{16}\b"), rb"\1-*"),
    (re.compile(rb'"created(_at)?":\d+'), rb'"created\1":0'),
    (re.compile(rb"vllm-0\.32\.0-(dp2-)?[0-9a-f]{8}"), rb"vllm-0.32.0-\1*"),
    (re.compile(rb'"(root|name_or_path)":' + STRING), rb'"\1":"*"'),
    (re.compile(rb'"((?:replay_)?endpoint)":"tcp://[^"]+"'), rb'"\1":"tcp://*"'),
    (re.compile(rb'"(\w+_ms|tokens_per_second)":[0-9.e+-]+'), rb'"\1":0.0'),
    (re.compile(rb'"(content|text|delta|token)":"(?:[^"\\]|\\.)+"'), rb'"\1":"*"'),
    (re.compile(rb'"decoded_token":' + STRING), b'"decoded_token":"*"'),
    (re.compile(rb'"token_ids":\[[\d,]+\]'), b'"token_ids":[*]'),
    (re.compile(rb'"bytes":\[[\d,]+\]'), b'"bytes":[*]'),
    (re.compile(rb'"logprob":-?[0-9.]+'), b'"logprob":-1'),
    (re.compile(rb'"rank":\d+'), b'"rank":1'),
    (re.compile(rb'"\d+":\{"logprob"'), b'"0":{"logprob"'),
    (re.compile(rb'"token_logprobs":\[[^\]]*\]'), b'"token_logprobs":[*]'),
    (re.compile(rb'"top_logprobs":\[(null,)?(\{"(?:[^"\\]|\\.)+":-[^\]]*)\]'), b'"top_logprobs":[*]'),
    (re.compile(rb'"(text_offset|tokens)":\[[^\]]*\](?=,"to)'), rb'"\1":[*]'),
]
ECHOED_TEXT = re.compile(rb'"text_offset":\[[^\]]*\]')


def masked(part: bytes) -> bytes:
    for pattern, replacement in MASKS:
        part = pattern.sub(replacement, part)
    return part


def chunks_of(body: bytes) -> list[bytes]:
    """Chunks of a chunked body, each as it was framed."""
    found = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        found.append(rest[:length])
        assert rest[length : length + 2] == b"\r\n"
        body = rest[length + 2 :]
    return found


def parts_of(response: bytes) -> list[bytes]:
    """Head, then the body or its chunks, all masked."""
    head, _, body = response.partition(b"\r\n\r\n")
    pieces = chunks_of(body) if b"transfer-encoding: chunked" in head else [body]
    return [masked(head), *map(masked, pieces)]


async def exchanged(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    response = await reader.read()
    writer.close()
    await writer.wait_closed()
    return response


def recorded(name: str) -> tuple[bytes, bytes]:
    request = (RECORDED / f"{name}.request.http").read_bytes()
    return request, (RECORDED / f"{name}.response.http").read_bytes()


def names_in(*folders: str) -> list[str]:
    found = [
        f"{folder}/{path.name[:-13]}"
        for folder in folders
        for path in (RECORDED / folder).glob("*.request.http")
    ]
    return sorted(set(found) - OTHER_PATHS - OTHER_LENGTH)


def settings_of(name: str) -> dict[str, object]:
    folder = name.partition("/")[0]
    own = {"scaleout": SCALEOUT, "dp2": {"data_parallel_size": 2}, "render": RENDER}.get(folder, {})
    topic = TOPICS.get(folder, "")
    events = EventSettings(endpoint="tcp://127.0.0.1:0", replay_endpoint="tcp://127.0.0.1:0", topic=topic)
    return {**COMMON, **own, "kv_events": events}


def by_choice(parts: list[bytes]) -> list[bytes]:
    """Events of several choices in the order of their choice; how steps interleave them is chance."""

    def index(part: bytes) -> int:
        found = re.search(rb'"index":(\d)', part)
        return int(found[1]) if found else 0

    return sorted(parts, key=index)


def merged(parts: list[bytes]) -> list[bytes]:
    """Named text events counted once: vLLM may put several tokens into one."""
    found: list[bytes] = []
    for part in parts:
        plain = re.sub(rb'"sequence_number":\d+', b'"sequence_number":0', part)
        if not (found and found[-1] == plain):
            found.append(plain)
    return found


@pytest.mark.parametrize("name", names_in("base", "scaleout", "dp2", "render"))
async def test_answers_as_recorded(name: str) -> None:
    request, response = recorded(name)
    async with SimWorkers(1, **settings_of(name)) as workers:
        if name.endswith("_hit"):
            await exchanged(workers[0].port, request)
        answer = await exchanged(workers[0].port, request)
    expected, got = parts_of(response), parts_of(answer)
    if "_n2" in name:
        expected, got = by_choice(expected), by_choice(got)
    if "responses" in name:
        expected, got = merged(expected), merged(got)
    assert got == expected


@pytest.mark.parametrize("name", sorted(OTHER_LENGTH))
async def test_forced_forms_have_the_recorded_head_and_prompt(name: str) -> None:
    request, response = recorded(name)
    async with SimWorkers(1, **settings_of(name)) as workers:
        answer = await exchanged(workers[0].port, request)
    expected, got = parts_of(response), parts_of(answer)
    assert got[0] == expected[0]
    prompt = re.compile(rb'"prompt_tokens":\d+')
    assert prompt.findall(answer) == prompt.findall(response)
    if "stream" in name and "nonstream" not in name:
        arguments = re.compile(rb'("arguments":)' + STRING)
        mask = lambda event: arguments.sub(rb'\1"*"', event)  # noqa: E731
        assert [mask(event) for event in got[1:4]] == [mask(event) for event in expected[1:4]]


async def test_every_recorded_content_length_is_right_for_its_own_body() -> None:
    request, _ = recorded("base/chat_nonstream")
    async with SimWorkers(1, **COMMON) as workers:
        answer = await exchanged(workers[0].port, request)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}\r\n".encode() in head


async def test_a_full_queue_answers_as_recorded() -> None:
    stream, streamed = recorded("overload/overload_200_stream_error")
    whole, refused = recorded("overload/overload_503_nonstream")
    async with SimWorkers(1, **{**COMMON, "max_num_queued_reqs": 0}) as workers:
        assert parts_of(await exchanged(workers[0].port, stream)) == parts_of(streamed)
        assert parts_of(await exchanged(workers[0].port, whole)) == parts_of(refused)


async def test_a_crashed_engine_answers_as_recorded() -> None:
    async with SimWorkers(1, **COMMON) as workers:
        for name in ("crash_inflight_nonstream", "crash_health"):
            request, response = recorded(f"engine_crash/{name}")
            request = request or b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            workers[0].fault("crash")
            assert parts_of(await exchanged(workers[0].port, request)) == parts_of(response)
