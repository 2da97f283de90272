"""What the cases are fed: the bytes that a client and a vLLM worker really send."""

from __future__ import annotations

from bench.proxy.bodies import BODIES, BodySet, chat_bodies

__all__ = [
    "ANSWER",
    "CHUNKED",
    "EVENT",
    "REQUEST_HEAD",
    "RESPONSE_HEAD",
    "STREAMED_BODY",
    "YARDSTICK",
    "body",
]

YARDSTICK = bytes(range(256)) * 16  # one calibration round walks 4 KiB
REQUEST_HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAccept-Encoding: gzip, deflate\r\n"
    b"Connection: keep-alive\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
    b"User-Agent: OpenAI/Python 2.8.0\r\nX-Stainless-Lang: python\r\nX-Stainless-OS: Linux\r\n"
    b"X-Stainless-Runtime: CPython\r\nAuthorization: Bearer sk-0123456789abcdef\r\n"
    b"x-stainless-retry-count: 0\r\nContent-Length: 300\r\n\r\n"
)
RESPONSE_HEAD = (
    b"HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 01:35:42 GMT\r\nserver: uvicorn\r\n"
    b"content-type: text/event-stream; charset=utf-8\r\nvary: Origin\r\ntransfer-encoding: chunked\r\n\r\n"
)
EVENT = (
    b'data: {"id":"chatcmpl-8582d825798685bd","object":"chat.completion.chunk","created":1795224942,'
    b'"model":"m","choices":[{"index":0,"delta":{"content":" token"},"logprobs":null,'
    b'"finish_reason":null,"token_ids":null}]}\n\n'
)
CHUNKED = (f"{len(EVENT):x}\r\n".encode() + EVENT + b"\r\n") * 100 + b"0\r\n\r\n"
ANSWER = (
    b'{"id":"chatcmpl-b4b871bed543b933","object":"chat.completion","created":1795224940,"model":"m","choices":[{'
    b'"index":0,"message":{"role":"assistant","content":"This is a canned answer of a handful of words.",'
    b'"refusal":null},"logprobs":null,"finish_reason":"stop","stop_reason":null}],"service_tier":null,"usage":{'
    b'"prompt_tokens":18,"total_tokens":24,"completion_tokens":6,"prompt_tokens_details":{"cached_tokens":16}}}'
)
STREAMED_BODY = chat_bodies(BodySet(300, 100, stream=True))[0]


def body(name: str) -> bytes:
    """One request body of a set of bench.proxy.bodies."""
    return chat_bodies(BODIES[name])[0]
