"""One question to a worker's replay socket, and its answers.

    DEALER ──["", start: 8 bytes big-endian]──► ROUTER
           ◄──["", seq, payload]                          up to 0.25.1
           ◄──["", topic, seq, payload]                   since 0.26.0
           ◄──["", ("",) -1, ""]                          the end

Answers are read from their end, so that both forms are one. The publisher's thread answers between two
batches of its own, so an answer may be slow to begin; a question that was lost (ROUTER drops what it cannot
send) ends by its time-outs. Each question has a socket of its own: what an older one left cannot mix in.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import zmq
from msgspec import Struct

from grove_dp.routing.kvtap import Tap

__all__ = ["SEQ_BYTES", "Replay", "ReplayLimits"]

SEQ_BYTES: Final = 8
END: Final = b"\xff" * SEQ_BYTES


class ReplayLimits(Struct, frozen=True):
    """How long an answer may take."""

    idle_s: float = 2.0  # without any message
    total_s: float = 120.0


class Replay:
    """Runs until it calls `done`; before that `ended(failure)`, unless a `reply` wanted no more of it."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        endpoint: str,
        start: int,
        limits: ReplayLimits,
        receive_max: int,
        reply: Callable[[int, bytes], bool],
        ended: Callable[[str], None],
        done: Callable[[], None],
    ) -> None:
        self.messages = self.bytes = self.malformed = 0
        self._limits = limits
        self._reply = reply
        self._ended = ended
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._until = self._heard + limits.total_s
        self._tap = Tap(context, zmq.DEALER, endpoint, self._received, self._linked, receive_max)
        self._timer = self._loop.call_at(self._heard + limits.idle_s, self._late)
        self._tap.send([b"", start.to_bytes(SEQ_BYTES, "big")])

    def close(self) -> None:
        self._timer.cancel()
        self._tap.close()

    def _end(self, failure: str) -> None:
        self.close()
        self._ended(failure)
        self._done()

    def _linked(self, up: bool) -> None:
        if not up and not self._tap.closed:
            self._end("ReplayDisconnected")

    def _late(self) -> None:
        now, due = self._loop.time(), min(self._heard + self._limits.idle_s, self._until)
        if now >= due:
            self._end("ReplayTimeout")
        else:
            self._timer = self._loop.call_at(due, self._late)

    def _received(self, messages: list[list[bytes]], ended: bool) -> None:
        self._heard = self._loop.time()
        for frames in messages:
            if not 3 <= len(frames) <= 4 or len(frames[-2]) != SEQ_BYTES:
                self.malformed += 1
                continue
            if frames[-2] == END:
                return self._end("")
            self.messages += 1
            self.bytes += len(frames[-1])
            if not self._reply(int.from_bytes(frames[-2], "big"), frames[-1]):
                self.close()
                return self._done()
        return None
