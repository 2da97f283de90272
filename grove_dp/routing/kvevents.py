"""Intake of the workers' KV events: subscriptions, audit, replay; raw payloads go on to a sink.

    worker's rank ──PUB──► Tap ──frames──► Feed ──seq──► Audit ──payload──► Sink (ring to the index thread)
                  ◄─ROUTER── Replay ◄──wish────┘

One Feed per publisher, that is per slot of the books: a data-parallel rank is a worker of its own. Payloads
are not looked into here: the index thread decodes them. What goes wrong costs the worker its entries, with a
reason, a counter and one line in the log, and never the intake.

Subscribe before a worker is ready, then wait for `settled`: what it publishes between is held, and what it
published before is replayed. Nothing here waits for a full sink: what it refuses is fetched again after a
pause, from the worker's memory instead of ours.

Everything runs in callbacks of the loop; `close()` ends it all.
A slot costs three ZMQ sockets, four open files and 60 KB (3,900 slots: 4 s to subscribe to all of them).
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from enum import IntEnum
from types import TracebackType
from typing import Final, Protocol, Self

import zmq
from msgspec import Struct

from grove_dp.errors import WorkerFault
from grove_dp.routing.kvaudit import Ask, Audit, Bounds, Relink, State
from grove_dp.routing.kvreplay import SEQ_BYTES, Replay, ReplayLimits
from grove_dp.routing.kvsources import KvSource
from grove_dp.routing.kvtap import Tap

__all__ = ["FeedState", "IntakeLimits", "Kind", "KvEvents", "Sink", "UnreachableSource"]

RECEIVE_MAX: Final = 4_096  # messages that wait in ZMQ; then the publisher's own queue (100,000) fills
SOCKETS_MAX: Final = 65_535  # three for each slot and each replay; ZMQ's default is 1,023
STEADY_S: Final = 5.0  # a connection that ends sooner counts as one that failed
RELINK_MAX_S: Final = 5.0
RETRY_S: Final = 1.0  # when the process has no more sockets or files
EMPTY: Final = memoryview(b"")

_log = logging.getLogger(__name__)


class Kind(IntEnum):
    """What a message to the index thread means."""

    EVENTS = 0  # one batch as the worker sent it
    CLEAR = 1  # drop what is known of the slot
    RESTART = 2  # the same, because its process began anew: its hashes may mean something else


class Sink(Protocol):
    """Takes messages for the index thread; False: no room, nothing was taken."""

    def push(self, slot: int, kind: int, payload: memoryview) -> bool: ...


class UnreachableSource(WorkerFault):
    """ZMQ does not accept an endpoint."""

    reason = "UnreachableKvSource"


class IntakeLimits(Struct, frozen=True):
    """Bounds of one feed."""

    replay: ReplayLimits = ReplayLimits()
    held: Bounds = Bounds()
    full_pause_s: float = 0.05  # after the sink refused
    relink_pause_s: float = 0.1  # the first; it doubles while connections fail
    expire_s: float = 30.0  # without a connection, then the entries are dropped


class FeedState(Struct, frozen=True):
    """One publisher as the admin API and the metrics show it."""

    slot: int
    worker: str
    endpoint: str
    state: State
    reason: str  # why it is cold or not connected, "" while live
    seq: int  # of the last batch applied; -1: none
    messages: int
    bytes: int
    gaps: int
    restarts: int
    replays: int
    lost: int  # batches that nobody could bring
    refused: int  # times that the sink was full
    dropped: int  # malformed messages


class KvEvents:
    """All subscriptions of one frontend."""

    def __init__(
        self,
        sink: Sink,
        limits: IntakeLimits | None = None,
        changed: Callable[[int], None] = lambda slot: None,
        *,
        heal: bool = False,
    ) -> None:
        """*changed* is called with a slot whose state changed; *heal*: cold slots ask for full reports."""
        self._sink = sink
        self._limits = limits or IntakeLimits()
        self._changed = changed
        self._heal = heal
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, SOCKETS_MAX)
        self._feeds: dict[int, Feed] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for slot in list(self._feeds):
            self.unfollow(slot)
        self._context.term()  # does not wait: every socket lingers 0 s and is closed

    def follow(self, slot: int, worker: str, source: KvSource) -> None:
        """Subscribe to *worker*'s one rank, which has *slot*; again with another source: anew."""
        feed = self._feeds.get(slot)
        if feed and (feed.worker, feed.source) == (worker, source):
            return
        self.unfollow(slot)
        self._feeds[slot] = Feed(self._context, self._sink, slot, worker, source, self._limits, self._changed)

    def unfollow(self, slot: int) -> None:
        """The slot's owner has gone; its entries are the caller's to drop with the slot."""
        if feed := self._feeds.pop(slot, None):
            feed.close()

    async def settled(self, slot: int, timeout_s: float) -> bool:
        """Wait until the first replay of *slot* is over, whatever it brought; False: it is not yet."""
        feed = self._feeds[slot]
        try:
            async with asyncio.timeout(timeout_s):
                await feed.settled.wait()
        except TimeoutError:
            return False
        return True

    def cleared(self, slot: int) -> None:
        """We emptied the worker's cache (/reset_prefix_cache, /sleep, /pause): drop its entries at once."""
        if feed := self._feeds.get(slot):
            feed.reset()

    def warmed(self, slot: int) -> None:
        """Predictions for *slot* agree with its answers again: it is cold no more."""
        if feed := self._feeds.get(slot):
            feed.warmed()

    def cold(self, slot: int) -> bool:
        """Less is known of *slot* than it holds, or nothing that can be trusted."""
        feed = self._feeds.get(slot)
        return feed is None or feed.audit.state != "live"

    def heals(self, slot: int) -> bool:
        """Requests to *slot* should ask for kv_cache_report_mode=full, which announces hit blocks again."""
        feed = self._feeds.get(slot)
        return self._heal and feed is not None and feed.audit.state == "cold" and not feed.audit.choked

    def states(self) -> Iterator[FeedState]:
        return (feed.state() for feed in self._feeds.values())


class Feed:
    """One publisher: fulfils what its audit wishes."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        sink: Sink,
        slot: int,
        worker: str,
        source: KvSource,
        limits: IntakeLimits,
        changed: Callable[[int], None],
    ) -> None:
        self.worker = worker
        self.source = source
        self.settled = asyncio.Event()
        self.audit = Audit(self, bool(source.replay_endpoint), limits.held)
        self._context = context
        self._sink = sink
        self._slot = slot
        self._limits = limits
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._messages = self._bytes = self._dropped = 0
        self._told: tuple[State, str] = ("disconnected", "")
        self._replay: tuple[Ask, Replay] | None = None
        self._timers: dict[Callable[..., None], asyncio.TimerHandle] = {}  # one of each kind
        self._tap: Tap | None = None
        self._up_at: float | None = None
        self._failed = 0  # connections in a row
        self._link()
        self.audit.reset()  # whatever the slot held before is not of this publisher

    # ---------------------------------------------------------------- the audit's outlet

    def apply(self, payload: bytes) -> bool:
        return self._sink.push(self._slot, Kind.EVENTS, memoryview(payload))

    def clear(self, restarted: bool) -> bool:
        return self._sink.push(self._slot, Kind.RESTART if restarted else Kind.CLEAR, EMPTY)

    # ---------------------------------------------------------------- from outside

    def close(self) -> None:
        for ends in (self._tap, self._replay and self._replay[1]):
            if ends:
                ends.close()
        for timer in self._timers.values():
            timer.cancel()

    def reset(self) -> None:
        self.audit.reset()
        self._follow_up()

    def warmed(self) -> None:
        self.audit.warmed()
        self._follow_up()

    def state(self) -> FeedState:
        audit = self.audit
        return FeedState(
            self._slot,
            self.worker,
            self.source.endpoint,
            audit.state,
            audit.reason,
            -1 if audit.next is None else audit.next - 1,
            self._messages,
            self._bytes,
            audit.gaps,
            audit.restarts,
            audit.replays,
            audit.lost,
            audit.refused,
            self._dropped,
        )

    # ---------------------------------------------------------------- the subscription

    def _link(self) -> None:
        """A socket serves one connection: what it gives can be of one life of the worker only."""
        source = self.source
        try:
            self._tap = Tap(
                self._context,
                zmq.SUB,
                source.endpoint,
                self._received,
                self._linked,
                RECEIVE_MAX,
                topic=source.topic,
            )
        except zmq.ZMQError as error:
            raise UnreachableSource(
                f"cannot subscribe to {source.endpoint} of {self.worker}: {error}"
            ) from None
        self._later(self._limits.expire_s, self._expire)

    def _linked(self, up: bool) -> None:
        if up:
            if expiry := self._timers.pop(self._expire, None):
                expiry.cancel()
            self._up_at = self._loop.time()
            self.audit.connected()
        else:
            self._unlink()
            self._relink_soon()
        self._follow_up()

    def _relink_soon(self) -> None:
        """At once after a good connection, later each time after others: if somebody else has that port, each
        knock is answered by hanging up."""
        steady = self._up_at is not None and self._loop.time() - self._up_at > STEADY_S
        self._up_at, self._failed = None, 0 if steady else self._failed + 1
        if self._failed < 2:
            self._relink()
            return
        self._later(min(RELINK_MAX_S, self._limits.relink_pause_s * 2 ** (self._failed - 2)), self._relink)

    def _relink(self) -> None:
        try:
            self._link()
        except UnreachableSource as error:
            self._say(logging.WARNING, str(error), reason=error.reason)
            self._later(RETRY_S, self._relink)

    def _unlink(self) -> None:
        self.audit.disconnected()
        self._later(self._limits.expire_s, self._expire)
        if self._tap:
            self._tap.close()
            self._tap = None

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        def due() -> None:
            del self._timers[call]
            call()

        if call not in self._timers:
            self._timers[call] = self._loop.call_later(seconds, due)

    def _expire(self) -> None:
        self.audit.expire("Disconnected")
        self._follow_up()

    def _received(self, messages: list[list[bytes]], ended: bool) -> None:
        if ended:
            return  # not all of one life, perhaps; a replay brings what counts
        live = self.audit.live
        for frames in messages:
            if len(frames) != 3 or len(frames[1]) != SEQ_BYTES:
                self._malformed(frames)
                continue
            payload = frames[2]
            self._messages += 1
            self._bytes += len(payload)
            live(int.from_bytes(frames[1], "big"), payload)
        if self.audit.wish or (self.audit.state, self.audit.reason) != self._told:
            self._follow_up()

    def _malformed(self, frames: list[bytes]) -> None:
        self._dropped += 1
        if self._dropped == 1:  # one line; the counter says how many
            self._say(
                logging.WARNING, "kv event message dropped", reason="MalformedMessage", frames=len(frames)
            )

    # ---------------------------------------------------------------- wishes

    def _follow_up(self) -> None:
        """Do what the audit wishes, and tell once what changed."""
        wish = self.audit.wish
        if self._replay and wish is not self._replay[0]:
            self._end_replay()
        if isinstance(wish, Ask) and not self._replay:
            self._ask(wish)
        elif isinstance(wish, Relink):
            self._unlink()
            self._later(self._limits.relink_pause_s, self._relink)
        elif self.audit.choked:
            self._later(self._limits.full_pause_s, self._retry)
        self._tell()

    def _ask(self, wish: Ask) -> None:
        try:
            self._replay = (
                wish,
                Replay(
                    self._context,
                    self.source.replay_endpoint,
                    wish.start,
                    self._limits.replay,
                    self.source.buffer_steps + 2,
                    self.audit.reply,
                    self._replay_ended,
                    self._follow_up,
                ),
            )
        except zmq.ZMQError:
            self._replay_ended("ReplayUnreachable")
            self._follow_up()  # asks again, as often as the audit allows

    def _replay_ended(self, failure: str) -> None:
        self._end_replay()
        if failure:
            self._say(logging.WARNING, "kv event replay failed", reason=failure)
        self.audit.replay_ended(failure)

    def _end_replay(self) -> None:
        if not self._replay:
            return
        replay = self._replay[1]
        self._replay = None
        replay.close()
        self._messages += replay.messages
        self._bytes += replay.bytes
        self._dropped += replay.malformed

    def _retry(self) -> None:
        self.audit.resume()
        self._follow_up()

    # ---------------------------------------------------------------- the log

    def _tell(self) -> None:
        audit = self.audit
        now = audit.state, audit.reason
        if now[0] in ("live", "cold"):
            self.settled.set()
        if now == self._told:
            return
        self._told = now
        state, reason = now
        level = logging.WARNING if state == "cold" else logging.INFO
        self._say(level, f"kv events are {state}", reason=reason, next=audit.next, lost=audit.lost)
        self._changed(self._slot)

    def _say(self, level: int, sentence: str, **facts: object) -> None:
        known = {name: value for name, value in facts.items() if value not in ("", None)}
        _log.log(level, sentence, extra={"worker": self.worker, "endpoint": self.source.endpoint} | known)
