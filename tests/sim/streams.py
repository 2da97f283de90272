"""A scripted HTTP server: every test says byte for byte what it answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec

Script = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]

STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(payload), payload)


def token(text: str = " word") -> bytes:
    fields = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]}
    return chunk(b"data: " + msgspec.json.encode(fields) + b"\n\n")


def usage(prompt: int, output: int, cached: int = 0) -> bytes:
    counts = {
        "prompt_tokens": prompt,
        "total_tokens": prompt + output,
        "completion_tokens": output,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    return chunk(b"data: " + msgspec.json.encode({"choices": [], "usage": counts}) + b"\n\n")


def answer(status: str, body: bytes, *head: str) -> bytes:
    lines = "".join(f"{line}\r\n" for line in head)
    return f"HTTP/1.1 {status}\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body


def whole_stream(tokens: int = 3) -> bytes:
    parts = [STREAM_HEAD, token(""), *[token() for _ in range(tokens)], usage(7, tokens, 4), DONE]
    return b"".join(parts)


@asynccontextmanager
async def server(script: Script) -> AsyncIterator[str]:
    """Serve *script*(body, writer) for every request on 127.0.0.1; yields the URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.split("content-length: ")[1].split("\r\n")[0])
                await script(await reader.readexactly(length), writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
