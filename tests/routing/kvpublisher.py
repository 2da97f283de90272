"""A publisher of KV events as vLLM's is: PUB, a ROUTER that replays a bounded memory, and lives that end."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

import zmq

from grove_dp.routing.kvsources import KvSource

END = b"\xff" * 8


class Publisher:
    """Binds two free ports and keeps them over restarts."""

    def __init__(self, *, frames: int = 4, kept: int = 10_000, topic: str = "kv@w") -> None:
        self.frames = frames
        self.topic = topic.encode()
        self.life = 0
        self.asked: list[int] = []
        self.mute = False  # hear questions and say nothing
        self.unsaid: set[int] = set()  # batches that replays leave out
        self._kept = kept
        self._context = zmq.Context()
        self._ports = [0, 0]
        self.start()

    @property
    def source(self) -> KvSource:
        return self.source_at(*self._ports)

    def source_at(self, port: int, replay_port: int) -> KvSource:
        replay = f"tcp://127.0.0.1:{replay_port}" if replay_port else ""
        return KvSource(0, f"tcp://127.0.0.1:{port}", replay, self.topic.decode(), self._kept)

    @property
    def ports(self) -> list[int]:
        return self._ports

    def start(self) -> None:
        """A new life, on the same ports; batches count from 0."""
        self.life += 1
        self.seq = 0
        self.memory: deque[tuple[int, bytes]] = deque(maxlen=self._kept)
        self.heard = asyncio.Event()  # somebody subscribes
        self._pub = self._bind(zmq.XPUB, 0)
        self._router = self._bind(zmq.ROUTER, 1)
        self._answering = asyncio.ensure_future(self._answer())

    def _bind(self, kind: int, index: int) -> "zmq.Socket[bytes]":
        socket = self._context.socket(kind)
        socket.linger = 0
        socket.sndhwm = 100_000
        socket.bind(f"tcp://127.0.0.1:{self._ports[index] or '*'}")
        self._ports[index] = int(socket.getsockopt_string(zmq.LAST_ENDPOINT).rsplit(":", 1)[1])
        return socket

    async def stop(self) -> None:
        """The process dies: connections end."""
        self._answering.cancel()
        await asyncio.gather(self._answering, return_exceptions=True)
        for socket in (self._pub, self._router):
            socket.close()

    def payload(self, seq: int) -> bytes:
        return f"{self.life}:{seq}".encode()

    def publish(self, count: int = 1, *, unheard: bool = False) -> None:
        """*count* more batches; *unheard*: no subscriber gets them, replays do."""
        for _ in range(count):
            payload = self.payload(self.seq)
            self.memory.append((self.seq, payload))
            if not unheard:
                self.send(self.topic, self.seq.to_bytes(8, "big"), payload)
            self.seq += 1

    def send(self, *frames: bytes) -> None:
        """A message as it is."""
        self._pub.send_multipart(frames)

    async def _answer(self) -> None:
        """Looks every ms: ZMQ's descriptors tell of changes only, and tests are short."""
        while True:
            await asyncio.sleep(0.001)
            if self._pub.poll(0):
                self._pub.recv()
                self.heard.set()
            while self._router.poll(0):
                who, *question = self._router.recv_multipart()
                if len(question) != 2 or question[0] != b"":
                    continue
                start = int.from_bytes(question[1], "big")
                self.asked.append(start)
                if not self.mute:
                    self._replay(who, start)

    def _replay(self, who: bytes, start: int) -> None:
        topic = [self.topic] if self.frames == 4 else []
        for seq, payload in self.memory:
            if seq >= start and seq not in self.unsaid:
                self._router.send_multipart([who, b"", *topic, seq.to_bytes(8, "big"), payload])
        self._router.send_multipart([who, b"", *([b""] if topic else []), END, b""])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        self._context.term()
