"""Sequence audit of one publisher of KV events: which batches may be applied, and what to do about a hole.

A worker numbers its batches from 0 in each life of its process; PUB drops silently, a crash starts again at
0, and the replay socket remembers the last 10,000 batches only. What is applied must be an unbroken run of
one life, or the index would promise blocks that were evicted in the hole. So:

    disconnected ──connected──► replaying ──end──► flowing ──gap──► replaying
         ▲                          │ sink full                        │ hopeless: drop the entries, go on
         └──────disconnected────────┴──► choked ──resume──► replaying  └──► flowing, *cold*

*Cold* says that the entries are a true but partial picture: they were dropped at a hole, or the replay did
not reach back to batch 0. `cold` holds the reason word; it ends with a complete replay, our own reset of the
worker's cache, or `warmed()`.

A sequence number alone does not name a life: a worker that restarted and wrote more than before looks like a
gap. So every replay asks from the last applied batch on, and the first answer must be that batch, byte for
byte (its time stamp makes it unique). It costs one batch per replay and keeps every batch that is known
across a cut connection; clearing at each reconnect would throw away what the replay socket no longer has.

No IO and no clock here. What comes in are calls, what goes out are `outlet` calls and `wish`.
"""

from collections import deque
from typing import Final, Literal, Protocol

from msgspec import Struct

__all__ = ["Ask", "Audit", "Bounds", "Outlet", "Relink", "State"]

State = Literal["disconnected", "replaying", "live", "cold"]
ATTEMPTS: Final = 3  # replays in a row that bring nothing new before we give up


class Bounds(Struct, frozen=True):
    """What may wait in memory while a replay runs."""

    held: int = 20_000  # live batches
    held_bytes: int = 32 << 20


class Outlet(Protocol):
    """Where batches go; False: no room now, nothing was taken."""

    def apply(self, payload: bytes) -> bool: ...

    def clear(self, restarted: bool) -> bool: ...


class Ask(Struct, frozen=True):
    """Ask the replay socket for batch *start* and all later ones."""

    start: int


class Relink(Struct, frozen=True):
    """Subscribe anew: the connection leads to a life that has ended."""


class Audit:
    """Decides for one publisher."""

    def __init__(self, outlet: Outlet, replayable: bool, bounds: Bounds | None = None) -> None:
        self.cold = ""  # why the entries are not all there; "" while they are
        self.wish: Ask | Relink | None = None  # for the caller to fulfil; a new wish cancels the old one
        self.next: int | None = None  # the batch to apply next; None: any
        self.gaps = self.restarts = self.replays = self.lost = self.duplicates = self.refused = 0
        self._outlet = outlet
        self._replayable = replayable
        self._bounds = bounds or Bounds()
        self._phase: Literal["disconnected", "replaying", "flowing", "choked"] = "disconnected"
        self._last: bytes | None = None  # batch next-1, the proof of its life; None: nothing applied
        self._live: tuple[int, bytes] | None = None  # newest of this connection
        self._held: deque[tuple[int, bytes]] = deque()
        self._held_bytes = 0
        self._overflown = False
        self._owes_clear = False
        self._start = 0  # of the running replay
        self._reached: int | None = None  # the batch that the replay must bring next; None: no answer yet
        self._attempts = 0

    @property
    def state(self) -> State:
        if self._phase == "disconnected" or self._phase == "replaying":
            return self._phase
        return "cold" if self.cold or self.choked else "live"

    @property
    def reason(self) -> str:
        return "SinkFull" if self.choked else self.cold

    @property
    def choked(self) -> bool:
        """The sink was full; `resume()` when it may have room."""
        return self._phase == "choked"

    # ---------------------------------------------------------------- the connection

    def connected(self) -> None:
        """A new subscription is up; nothing of an older one will come any more."""
        self._forget_connection()
        self._phase, self._attempts = "flowing", 0
        if self._owes_clear or not self._replayable:
            self._start_without_replay()
        else:
            self._ask()

    def disconnected(self) -> None:
        """The subscription ended. What is applied stays true until a replay says otherwise."""
        self._forget_connection()
        self._phase, self.wish = "disconnected", None

    def _forget_connection(self) -> None:
        self._drop_held()
        self._live = None

    def _start_without_replay(self) -> None:
        """Nobody can say what was missed, so what was known must go."""
        if (self._last is not None or self._owes_clear) and not self._clear():
            return
        if self._replayable:
            self._ask()
            return
        self.cold = self.cold or "NoReplay"
        self._phase, self.next = "flowing", None

    # ---------------------------------------------------------------- live batches

    def live(self, seq: int, payload: bytes) -> None:
        """A batch from the subscription."""
        if seq == self.next and self._phase == "flowing":  # PERF: nearly always
            self._live = seq, payload
            self._apply(seq, payload)
            return
        if self._phase == "disconnected" or self.wish is _RELINK:
            return
        newest, self._live = self._live, (seq, payload)
        if newest is not None and seq <= newest[0]:
            if newest == self._live:
                self.duplicates += 1
                return
            self._restarted_live(seq, payload)
        elif self._phase == "replaying":
            self._hold(seq, payload)
        elif self._phase == "flowing":
            self._flow(seq, payload)

    def _flow(self, seq: int, payload: bytes) -> None:
        if self.next is None:
            self._begin_at(seq, "NoReplay" if not self._replayable else self.cold or "ReplayTruncated")
            self._apply(seq, payload)
        elif seq < self.next:
            self.duplicates += 1  # the replay had brought it
        elif seq == self.next:
            self._apply(seq, payload)
        else:
            self._gap(seq, payload)

    def _gap(self, seq: int, payload: bytes) -> None:
        if self._attempts == 0:
            self.gaps += 1
        if self._replayable and self._attempts < ATTEMPTS:
            self._held.appendleft((seq, payload))
            self._held_bytes += len(payload)
            self._ask()
        elif self._give_up("ReplayIncomplete" if self._replayable else "NoReplay", seq):
            self._apply(seq, payload)

    def _restarted_live(self, seq: int, payload: bytes) -> None:
        """The numbers went back on one connection: what is held is of a life that ended."""
        self.restarts += 1
        self._drop_held()
        self._attempts = 0
        if not self._clear(restarted=True):
            return
        self.cold = ""
        if self._replayable:
            self._hold(seq, payload)
            self._ask()
        else:
            self._phase = "flowing"
            self._flow(seq, payload)

    def _hold(self, seq: int, payload: bytes) -> None:
        size = self._held_bytes + len(payload)
        if self._overflown or len(self._held) >= self._bounds.held or size > self._bounds.held_bytes:
            self._overflown = True  # a later replay will bring it
            return
        self._held.append((seq, payload))
        self._held_bytes = size

    def _drop_held(self) -> None:
        self._held.clear()
        self._held_bytes, self._overflown = 0, False

    # ---------------------------------------------------------------- replay

    def _ask(self) -> None:
        self._start = 0 if self._last is None or self.next is None else self.next - 1
        self._reached = None
        self._attempts += 1
        self.replays += 1
        self._phase, self.wish = "replaying", Ask(self._start)

    def reply(self, seq: int, payload: bytes) -> bool:
        """A batch from the replay socket; False: this replay is of no more use."""
        if self._phase != "replaying":
            return False
        if self._reached is None:
            return self._first_reply(seq, payload)
        if seq < self._reached:
            self.duplicates += 1
            return True
        if seq > self._reached:
            if self._attempts < ATTEMPTS:
                self._ask()
                return False
            if not self._give_up("ReplayGap", seq):
                return False
        return self._take_reply(seq, payload)

    def _first_reply(self, seq: int, payload: bytes) -> bool:
        if seq < self._start:
            return True  # older than asked for: says nothing
        if self._last is None:
            self._begin_at(seq, "ReplayTruncated")
        elif seq == self._start:
            if payload != self._last:
                return self._restarted_replay()
            self._reached = seq + 1
            return True
        elif not self._give_up("ReplayTruncated", seq):  # its memory begins behind our last batch
            return False
        return self._take_reply(seq, payload)

    def _take_reply(self, seq: int, payload: bytes) -> bool:
        self._reached = seq + 1
        self._attempts = 0
        return self._apply(seq, payload)

    def _restarted_replay(self) -> bool:
        """Another life answers than the one we listen to."""
        self.restarts += 1
        self._drop_held()
        if self._clear(restarted=True):
            self.cold, self._attempts, self.wish = "", 0, _RELINK
        return False

    def replay_ended(self, failure: str = "") -> None:
        """The end marker came, or *failure* says why it will not."""
        if self._phase != "replaying" or self.wish is _RELINK:
            return
        if failure:
            if self._attempts < ATTEMPTS:
                self._ask()
                return
            if not self._give_up(failure, self._held[0][0] if self._held else None):
                return
        elif self._reached is None and self._last is not None:
            self._restarted_replay()  # not even the batch that we have: a younger life
            return
        elif self._last is None:
            self.next, self.cold = 0, ""  # it has not said anything yet
        self._phase, self.wish = "flowing", None
        self._release_held()

    def _release_held(self) -> None:
        overflown, self._overflown = self._overflown, False
        while self._held and self._phase == "flowing":
            seq, payload = self._held.popleft()
            self._held_bytes -= len(payload)
            self._flow(seq, payload)
        if self._phase != "flowing":
            self._overflown = overflown
        elif overflown and self._replayable:
            self._attempts = 0
            self._ask()  # now: no later batch may come to tell us of the hole
        else:
            self._attempts = 0

    # ---------------------------------------------------------------- what goes out

    def _apply(self, seq: int, payload: bytes) -> bool:
        if not self._outlet.apply(payload):
            self.refused += 1
            self._choke()
            return False
        self.next, self._last = seq + 1, payload
        return True

    def _begin_at(self, seq: int, why: str) -> None:
        """The first batch of an empty picture; only batch 0 makes it whole."""
        self.cold = why if seq else ""
        self.lost += seq

    def _give_up(self, why: str, seq: int | None) -> bool:
        """Start over, empty, at *seq*."""
        if seq is not None and self.next is not None:
            self.lost += max(0, seq - self.next)
        self.cold = why
        self._attempts = 0
        if not self._clear():
            return False
        self.next = seq
        return True

    def _clear(self, restarted: bool = False) -> bool:
        """Drop the entries; while the sink has no room even for that, nothing else may go there."""
        self._last, self.next = None, None
        self._owes_clear = not self._outlet.clear(restarted)
        if self._owes_clear:
            self._choke()
        return not self._owes_clear

    def _choke(self) -> None:
        self._drop_held()
        self.wish = None
        if self._phase != "disconnected":
            self._phase = "choked"

    def resume(self) -> None:
        """The sink may have room again: fetch what it refused, without a hole where there is a replay."""
        if not self.choked:
            return
        self._attempts = 0
        if self._replayable and not self._owes_clear:
            self._ask()
            return
        self.cold = self.cold or "SinkFull"
        self._start_without_replay()

    # ---------------------------------------------------------------- from outside

    def reset(self) -> bool:
        """We emptied the worker's cache ourselves: drop the entries now, its own event comes a step later."""
        if self._owes_clear or not self._outlet.clear(False):
            self._owes_clear = True
            self._last, self.next = None, None
            self._choke()
            return False
        if self._phase == "flowing":
            self.cold = ""  # an empty cache is known in full
        return True

    def expire(self, why: str) -> None:
        """Nobody will tell what becomes of the entries: drop them."""
        if self._last is not None:
            self.cold = why
            self._clear()

    def warmed(self) -> None:
        """The entries were seen to agree with the worker again."""
        self.cold = ""


_RELINK: Final = Relink()
