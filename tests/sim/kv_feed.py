"""A subscriber to KV events: batches as they come, batches replayed."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import zmq
import zmq.asyncio

from grove_dp.sim.publisher import EventPublisher

RECORDED = Path(__file__).parent.parent / "fixtures" / "kv_scenarios"
END = b"\xff" * 8


def recorded_frames(name: str) -> list[list[bytes]]:
    """The multipart messages of a recording."""
    lines = (RECORDED / name).read_text().splitlines()
    return [[bytes.fromhex(frame) for frame in json.loads(line)["frames_hex"]] for line in lines]


def masked(frames: list[bytes]) -> tuple[bytes, int, bytes]:
    """Topic, sequence, and the payload with its time set to 0."""
    topic, sequence, payload = frames
    assert payload[:2] == b"\x93\xcb"
    return topic, int.from_bytes(sequence, "big"), payload[:2] + struct.pack(">d", 0.0) + payload[10:]


def sequences_of(batches: list[list[bytes]]) -> list[int]:
    return [int.from_bytes(frames[-2], "big") for frames in batches]


def events_of(frames: list[bytes]) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = msgspec.msgpack.decode(frames[-1])[1]
    return events


async def replay_frames(endpoint: str, *request: bytes, patience_s: float = 5.0) -> list[list[bytes]]:
    """Every message of the reply, the end marker too."""
    context = zmq.asyncio.Context()
    dealer = context.socket(zmq.DEALER)
    try:
        dealer.connect(endpoint)
        await dealer.send_multipart(request)
        found: list[list[bytes]] = []
        async with asyncio.timeout(patience_s):
            while not found or found[-1][-2] != END:
                found.append(await dealer.recv_multipart())
        return found
    finally:
        context.destroy(linger=0)


async def replayed(endpoint: str, start: int = 0) -> list[list[bytes]]:
    """Topic, sequence and payload of each replayed batch."""
    reply = await replay_frames(endpoint, b"", start.to_bytes(8, "big"))
    return [frames[1:] for frames in reply[:-1]]


class Feed:
    """A subscription, read all the time: ZMQ subscribes anew after a reconnect only while somebody reads."""

    def __init__(self, socket: zmq.asyncio.Socket, publisher: EventPublisher) -> None:
        self._socket, self._publisher = socket, publisher
        self._batches: asyncio.Queue[list[bytes]] = asyncio.Queue()

    async def read(self) -> None:
        while True:
            self._batches.put_nowait(await self._socket.recv_multipart())

    async def next(self) -> list[bytes]:
        async with asyncio.timeout(5):
            return await self._batches.get()

    async def heard(self) -> None:
        """The publisher knows of this subscription."""
        async with asyncio.timeout(5):
            while not self._publisher.subscribers:  # noqa: ASYNC110 - ZMQ's own thread makes the connection
                await asyncio.sleep(0.002)


@asynccontextmanager
async def subscribed(publisher: EventPublisher) -> AsyncIterator[Feed]:
    """A subscriber that has been heard."""
    context = zmq.asyncio.Context()
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.RECONNECT_IVL, 5)
    socket.subscribe(b"")
    socket.connect(publisher.facts["endpoint"])
    feed = Feed(socket, publisher)
    reading = asyncio.create_task(feed.read())
    try:
        await feed.heard()
        yield feed
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        context.destroy(linger=0)
