"""A worker on every address of 127.0.0.0/8 at once: `python -m bench.kube.everywhere PORT LOG`.

Answers probes, and chats with one short JSON. LOG gets a line for each first probe of an address and for each
chat: `probe|chat ADDRESS MONOTONIC_NS`. Prints a line when it listens.

It has next to nothing to do: when a sleep of its own ends late, the machine was busy, whoever is measured.
That is `lag SECONDS MONOTONIC_NS`.
"""

import asyncio
import sys
import time
from pathlib import Path
from typing import TextIO, cast

import uvloop

MODELS = b'{"object":"list","data":[{"id":"m","object":"model"}]}'
NAP_S = 0.01
LATE_S = 0.02
CHAT = (
    b'{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"finish_reason":"stop","message":'
    b'{"role":"assistant","content":"ok"}}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}'
)


class Worker(asyncio.Protocol):
    """One connection; requests are small and come one after the other."""

    seen: set[str] = set()  # noqa: RUF012  addresses that were probed
    log: TextIO

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._address = transport.get_extra_info("sockname")[0]
        self._held = b""

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            head = self._held[:end].lower()
            length = (
                int(head.split(b"content-length:")[1].split(b"\r\n")[0]) if b"content-length:" in head else 0
            )
            if len(self._held) < end + 4 + length:
                return
            self._held = self._held[end + 4 + length :]
            self._answer(head.split(b" ", 2)[1])

    def _answer(self, path: bytes) -> None:
        status, body = b"404 Not Found", b"{}"
        if path == b"/health":
            status, body = b"200 OK", b""
            if self._address not in self.seen:
                self.seen.add(self._address)
                self._note("probe")
        elif path == b"/v1/models":
            status, body = b"200 OK", MODELS
        elif path.startswith(b"/v1/chat"):
            status, body = b"200 OK", CHAT
            self._note("chat")
        head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(head % (status, len(body)) + body)

    def _note(self, what: str) -> None:
        self.log.write(f"{what} {self._address} {time.monotonic_ns()}\n")


async def serve(port: int) -> None:
    """Until killed."""
    server = await asyncio.get_running_loop().create_server(Worker, "0.0.0.0", port, backlog=4096)
    print("listening", flush=True)
    async with server:
        while True:
            due = time.monotonic() + NAP_S
            await asyncio.sleep(NAP_S)
            if (late := time.monotonic() - due) > LATE_S:
                Worker.log.write(f"lag {late:.3f} {time.monotonic_ns()}\n")


if __name__ == "__main__":
    with Path(sys.argv[2]).open("w", buffering=1) as Worker.log:
        uvloop.run(serve(int(sys.argv[1])))
