"""The ZMQ side of KV events: a PUB socket for batches as they come, a ROUTER socket for those missed.

    PUB     topic, sequence (8 bytes, big-endian), payload
    ROUTER  asked  empty, first sequence      (anything else is ignored, as vLLM ignores it)
            says   empty[, topic], sequence, payload   for each buffered batch from there on
                   empty[, empty], -1, empty           the end

The sequence starts at 0 with each process; nothing else on the wire tells of a restart. Sockets live in the
event loop: sending never blocks (PUB and ROUTER drop for peers that do not read), requests wake a reader.
The first is an XPUB in truth, the same to subscribers, so that a test can wait until one is heard.
Unlike vLLM, it always binds: a simulated worker is asked for its address, never told a router's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import zmq

from grove_dp.sim.cache_events import CacheEvent, encode_batch, wire_of

__all__ = ["EventPublisher", "EventSettings"]

_END = (-1).to_bytes(8, "big", signed=True)


class EventSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how the ranks of one worker publish; ports of rank 0, 0 for free ones."""

    endpoint: str
    replay_endpoint: str | None = None
    topic: str = ""
    buffer_steps: int = 10_000
    hwm: int = 100_000
    format: str = "map"
    int_hashes: bool = True

    def moved(self, ranks: int) -> EventSettings:
        """The same, that many ports further."""
        replay = self.replay_endpoint and _moved(self.replay_endpoint, ranks)
        return msgspec.structs.replace(self, endpoint=_moved(self.endpoint, ranks), replay_endpoint=replay)


class EventPublisher:
    """The publisher of one data-parallel rank."""

    def __init__(self, settings: EventSettings, rank: int, *, wall: Callable[[], float]) -> None:
        self._rank = rank
        self._wall = wall
        self._wire = wire_of(settings.format)
        self._settings = settings.moved(rank)
        self._topic = settings.topic.encode()
        self._buffer: deque[tuple[bytes, bytes]] = deque(maxlen=settings.buffer_steps)
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._pub: zmq.Socket[bytes] | None = None
        self._router: zmq.Socket[bytes] | None = None
        self._lost_next: float = 0
        self.sequence = self.lost = self.subscribers = 0
        self.newest = -1  # the last number that subscribers were sent

    def open(self) -> None:
        """Bind, with the sequence at 0 and nothing to replay; a port once chosen stays."""
        self.sequence = self.lost = self.subscribers = 0
        self.newest = -1
        self._lost_next = 0
        self._buffer.clear()
        self._context = context = zmq.Context()
        try:
            self._pub = pub = context.socket(zmq.XPUB)
            pub.set_hwm(self._settings.hwm)
            pub.setsockopt(zmq.XPUB_VERBOSER, 1)
            endpoint, replay = _bound(pub, self._settings.endpoint), self._settings.replay_endpoint
            if replay is not None:
                self._router = router = context.socket(zmq.ROUTER)
                if self._wire.replay_unbounded:
                    router.setsockopt(zmq.SNDHWM, 2 * (self._settings.buffer_steps + 1))
                replay = _bound(router, replay)
                _watch(router, self._answer)
            _watch(pub, self._count)
        except BaseException:
            self.close()
            raise
        self._settings = msgspec.structs.replace(self._settings, endpoint=endpoint, replay_endpoint=replay)

    def close(self) -> None:
        """Let go of the sockets; returns when the ports are free."""
        if self._context is None:
            return
        for socket in (self._pub, self._router):
            if socket is not None and not socket.closed:
                asyncio.get_running_loop().remove_reader(socket.fileno())
        self._context.destroy(linger=0)
        self._context = self._pub = self._router = None

    def lose_next(self, batches: float) -> None:
        """Keep that many of the coming batches from subscribers, but not from a replay."""
        self._lost_next = batches

    def publish(self, events: Sequence[CacheEvent]) -> None:
        """Send what one step did; a step that did nothing sends nothing."""
        if not events or self._pub is None:
            return
        payload = encode_batch(
            self._wire, events, at=self._wall(), rank=self._rank, int_hashes=self._settings.int_hashes
        )
        sequence = self.sequence.to_bytes(8, "big")
        self.sequence += 1
        self._buffer.append((sequence, payload))
        if self._lost_next > 0:
            self._lost_next -= 1
            self.lost += 1
            return
        self._pub.send_multipart((self._topic, sequence, payload))
        self.newest = self.sequence - 1

    @property
    def facts(self) -> dict[str, Any]:
        """As `/kv_event_sources` shows it."""
        return {
            "enable_kv_cache_events": True,
            "publisher": "zmq",
            "endpoint": self._settings.endpoint,
            "replay_endpoint": self._settings.replay_endpoint,
            "buffer_steps": self._settings.buffer_steps,
            "hwm": self._settings.hwm,
            "max_queue_size": 100_000,
            "topic": self._settings.topic,
        }

    def _count(self) -> None:
        """Note who comes and goes."""
        while self._pub is not None and self._pub.poll(0, zmq.POLLIN):
            self.subscribers += 1 if self._pub.recv(zmq.NOBLOCK)[:1] == b"\x01" else -1

    def _answer(self) -> None:
        """Serve every request that waits."""
        router = self._router
        while router is not None and router.poll(0, zmq.POLLIN):
            frames = router.recv_multipart(zmq.NOBLOCK)
            if len(frames) == 3:
                self._replay(router, frames[0], int.from_bytes(frames[2], "big"))

    def _replay(self, router: zmq.Socket[bytes], peer: bytes, start: int) -> None:
        topic = (self._topic,) if self._wire.replay_topic else ()
        for sequence, payload in self._buffer:
            if int.from_bytes(sequence, "big") >= start:
                router.send_multipart((peer, b"", *topic, sequence, payload))
        router.send_multipart((peer, b"", *(b"" for _ in topic), _END, b""))


def _watch(socket: zmq.Socket[bytes], read: Callable[[], None]) -> None:
    """Call when something came in; the descriptor speaks once for all that waits, so ask now as well."""
    asyncio.get_running_loop().add_reader(socket.fileno(), read)
    read()


def _bound(socket: zmq.Socket[bytes], endpoint: str) -> str:
    """Bind; the endpoint as it is known from now on."""
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        raise OSError(error.errno, f"{endpoint}: {error.strerror}") from error
    if not endpoint.endswith(":0"):
        return endpoint
    return endpoint[:-1] + socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2]


def _moved(endpoint: str, ports: int) -> str:
    """Ranks and workers stand on consecutive ports, or each on a free one."""
    place, _, port = endpoint.rpartition(":")
    if not endpoint.startswith("tcp://") or not port.isdigit():
        raise ValueError(f"no endpoint {endpoint!r}: give tcp://HOST:PORT, for example tcp://127.0.0.1:5557")
    return f"{place}:{int(port) + ports if int(port) else 0}"
