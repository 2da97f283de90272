"""An open watch: what was there, what happened since, and what happens from now on.

    resourceVersion unset or 0    ADDED for everything there is, then changes
    resourceVersion N             the changes after N; one ERROR line with 410 if they are no longer known

With bookmarks there is one each minute, and one two seconds before the watch's time is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from grove_dp.clock import Clock
from grove_dp.testing.kubeapi.answers import Refusal
from grove_dp.testing.kubeapi.lists import selector_of
from grove_dp.testing.kubeapi.paths import Call
from grove_dp.testing.kubeapi.selectors import Selector
from grove_dp.testing.kubeapi.store import Change, Store, Table, Watcher, event_line

__all__ = ["WatchReply", "watch"]

BOOKMARK_S: Final = 60.0
BEFORE_END_S: Final = 2.0


class WatchReply:
    """An answer without an end of its own. `lines` is for one reader; `close` is to be called in any case."""

    status: Final = 200

    def __init__(self, store: Store, table: Table, watcher: Watcher, end_s: float, bookmarks: bool) -> None:
        self.watcher = watcher
        self.latency_s = 0.0
        self.lost = False
        self.refusal: Refusal | None = None  # why it ended before it began
        self._store = store
        self._table = table
        self._end_s = end_s
        self._bookmarks = bookmarks

    def close(self) -> None:
        """Nobody reads it any more."""
        self.watcher.frozen = False
        self.watcher.end()
        if self.watcher in self._table.watchers:
            self._table.watchers.remove(self.watcher)

    def bookmark(self) -> None:
        """Tell how far the reader is."""
        metadata = {"resourceVersion": str(self._store.version), "creationTimestamp": None}
        body = msgspec.json.encode({"metadata": metadata})
        self.watcher.add(event_line("BOOKMARK", self.watcher.kind.head + body[1:]))

    async def lines(self, clock: Clock) -> AsyncIterator[bytes]:
        """Whatever there is, as soon as there is any, until the watch ends."""
        ready = asyncio.Event()
        self.watcher.wake = ready.set
        pace = asyncio.create_task(self._pace(clock)) if self._end_s or self._bookmarks else None
        try:
            while True:
                if lines := self.watcher.take():
                    yield b"".join(lines)
                elif self.watcher.ended:
                    return
                else:
                    ready.clear()
                    await ready.wait()
        finally:
            if pace is not None:
                pace.cancel()
            self.close()

    async def _pace(self, clock: Clock) -> None:
        left_s = self._end_s or float("inf")
        while left_s > 0:
            wait_s = min(BOOKMARK_S, left_s - BEFORE_END_S) if left_s > BEFORE_END_S else left_s
            await clock.sleep(wait_s)
            left_s -= wait_s
            if self._bookmarks and left_s > 0:
                self.bookmark()
        self.watcher.end()


def watch(store: Store, call: Call) -> WatchReply:
    """Begin to watch."""
    table = store.table(call.kind.resource)
    watcher = Watcher(call.kind, call.namespace, _selector(call))
    end_s = _seconds(call.query.get("timeoutSeconds", ""))
    reply = WatchReply(store, table, watcher, end_s, call.flag("allowWatchBookmarks"))
    try:
        for change in _before(store, table, call):
            watcher.offer(change)
    except Refusal as refusal:
        if refusal.code != 410:
            raise
        reply.refusal = refusal
        watcher.add(event_line("ERROR", msgspec.json.encode(refusal.document())))
        watcher.end()
    else:
        table.watchers.append(watcher)
    return reply


def _selector(call: Call) -> Selector | None:
    """A watch of one object is one of its name."""
    if not call.name:
        return selector_of(call)
    named = f"metadata.name={call.name}"
    fields = call.query.get("fieldSelector", "")
    query = {**call.query, "fieldSelector": f"{fields},{named}" if fields else named}
    return selector_of(msgspec.structs.replace(call, query=query))


def _before(store: Store, table: Table, call: Call) -> list[Change]:
    """What the watch is told first."""
    text = call.query.get("resourceVersion", "")
    if text in ("", "0"):
        return [Change(None, stored, stored.version) for stored in table.list(call.namespace)]
    if not text.isdecimal():
        words = (
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        )
        raise Refusal(500, "", words)
    return list(table.since(int(text)))


def _seconds(text: str) -> float:
    return float(text) if text.isdecimal() else 0.0
