"""Requests and streams in vLLM 0.32's own bytes, to script workers with and to compare with.

`chat_stream(usage=True)` is what a worker sends when usage was asked for, `chat_stream(usage=False)` what the
same worker sends otherwise: the difference (one event, and where `system_fingerprint` stands) is what the
frontend has to undo when it asked on its own account. Shapes: tests/fixtures/vllm_http/base/chat_stream*.
"""

import itertools
from typing import Any

import msgspec

__all__ = [
    "CHAT",
    "COMPLETIONS",
    "DONE",
    "ERROR_EVENT",
    "MESSAGES",
    "RESPONSES",
    "chat",
    "chat_stream",
    "completion",
    "completion_stream",
    "messages_stream",
    "responses_stream",
]

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"
MODEL = "tiny-llama"
DONE = b"data: [DONE]"
# With json.dumps' spacing, as vLLM writes errors into streams.
ERROR_EVENT = (
    b'data: {"error": {"message": "The engine is currently busy and cannot accept new requests. '
    b'Please try again later or on a different instance.", '
    b'"type": "Service Unavailable", "param": null, "code": 503}}'
)
_PRINT = b'"system_fingerprint":"vllm-0.32.0-07a17c73"'
_USAGE = b'"usage":{"prompt_tokens":18,"total_tokens":24,"completion_tokens":6}'


def chat(model: str | None = MODEL, **fields: Any) -> bytes:
    """The body of a chat request."""
    named = {} if model is None else {"model": model}
    return msgspec.json.encode({**named, "messages": [{"role": "user", "content": "Hello"}], **fields})


def completion(model: str | None = MODEL, **fields: Any) -> bytes:
    """The body of a completions request."""
    named = {} if model is None else {"model": model}
    return msgspec.json.encode({**named, "prompt": "Hello", **fields})


def chat_stream(
    words: int = 5, *, usage: bool = False, n: int = 1, number: str = "8582d825798685bd"
) -> list[bytes]:
    """The events of a chat stream; with n > 1 the indices take turns."""
    start = (
        b'data: {"id":"chatcmpl-%b","object":"chat.completion.chunk","created":1795224942,' % number.encode()
    )
    start += b'"model":"tiny-llama","choices":['
    first = b'{"index":%d,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],'
    first += b'"prompt_token_ids":null,"prompt_text":null}'
    word = b'{"index":%d,"delta":{"content":"w%d"},"logprobs":null,"finish_reason":null,"token_ids":null}]}'
    last = (
        b'{"index":%d,"delta":{"content":"end"},"logprobs":null,"finish_reason":"length","stop_reason":null,'
    )
    last += b'"token_ids":null}]' + (b"}" if usage else b"," + _PRINT + b"}")
    events = [start + first % index for index in range(n)]
    events += [start + word % (index, at) for at, index in itertools.product(range(words), range(n))]
    events += [start + last % index for index in range(n)]
    return [*events, *([start + b"]," + _USAGE + b"," + _PRINT + b"}"] if usage else []), DONE]


def completion_stream(words: int = 5, *, usage: bool = False) -> list[bytes]:
    """The events of a completions stream."""
    start = b'data: {"id":"cmpl-bbb9d4455e1811af","object":"text_completion","created":1795224964,'
    start += b'"model":"tiny-llama","choices":['
    word = b'{"index":0,"text":" w%d","logprobs":null,"finish_reason":%b,"stop_reason":null,'
    word += b'"prompt_token_ids":null,"token_ids":null}]'
    events = [start + word % (at, b"null") + b"}" for at in range(words)]
    events.append(start + word % (words, b'"length"') + (b"}" if usage else b"," + _PRINT + b"}"))
    return [*events, *([start + b"]," + _USAGE + b"," + _PRINT + b"}"] if usage else []), DONE]


def responses_stream(words: int = 3) -> list[bytes]:
    """Events in the dialect of `/v1/responses`: named, numbered, no [DONE]."""
    created = b'event: response.created\ndata: {"response":{"id":"resp_1","model":"tiny-llama","usage":null},'
    created += b'"sequence_number":0,"type":"response.created"}'
    delta = b'event: response.output_text.delta\ndata: {"content_index":0,"delta":" w%d","item_id":"msg_1",'
    delta += b'"sequence_number":%d,"type":"response.output_text.delta"}'
    completed = b'event: response.completed\ndata: {"response":{"id":"resp_1","model":"tiny-llama",'
    completed += b'"usage":{"input_tokens":18,"output_tokens":3,"total_tokens":21}},'
    completed += b'"sequence_number":%d,"type":"response.completed"}'
    return [created, *(delta % (at, at + 1) for at in range(words)), completed % (words + 1)]


def messages_stream(words: int = 3) -> list[bytes]:
    """Events in the dialect of `/v1/messages`."""
    start = (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"chatcmpl-1","type":"message",'
    )
    start += b'"role":"assistant","content":[],"model":"tiny-llama",'
    start += b'"usage":{"input_tokens":18,"output_tokens":0}}}'
    delta = b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"type":"text_delta",'
    delta += b'"text":" w%d"},"index":0}'
    last = b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"max_tokens"},'
    last += b'"usage":{"input_tokens":18,"output_tokens":3}}'
    stop = b'event: message_stop\ndata: {"type":"message_stop"}'
    return [start, *(delta % at for at in range(words)), last, stop]
