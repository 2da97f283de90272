"""Objects by version, what happened to them, and who wants to know.

One counter gives every write its version, whatever the kind: a list and the watch that follows it agree.

    put, remove ──► Change (old, new, version) ──► history of the table, a ring  ──► watches that begin late
                                               ──► watchers, live                ──► lines, encoded once
                                               ──► listeners: garbage collector, scheduler

Stored documents never change: a write makes a new one, and whoever held the old one still has it. They are
kept without `apiVersion` and `kind`, which depend on how they are asked for; see `Kind.encode`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from grove_dp.testing.kubeapi.answers import Document, expired
from grove_dp.testing.kubeapi.selectors import Selector

if TYPE_CHECKING:
    from grove_dp.testing.kubeapi.kinds import Kind

__all__ = ["Change", "Key", "Place", "Store", "Stored", "Table", "Watcher"]

Key = tuple[str, str]  # namespace ("" for kinds without) and name
Happening = Literal["ADDED", "MODIFIED", "DELETED"]
WINDOW: Final = 10_000  # changes of a kind that a late watch can still be told
UNREAD: Final = 100_000  # lines; a reader further behind is cut off, as the real server does
_encode = msgspec.json.Encoder().encode


class Stored:
    """One version of an object."""

    __slots__ = ("_body", "document", "key", "version")

    def __init__(self, document: Document, version: int) -> None:
        metadata: Document = {**document["metadata"], "resourceVersion": str(version)}
        self.document: Document = {**document, "metadata": metadata}
        self.key: Key = (metadata.get("namespace", ""), metadata["name"])
        self.version = version
        self._body: bytes | None = None

    @property
    def metadata(self) -> Document:
        found: Document = self.document["metadata"]
        return found

    @property
    def uid(self) -> str:
        uid: str = self.metadata["uid"]
        return uid

    @property
    def body(self) -> bytes:
        """Encoded, once."""
        if self._body is None:
            self._body = _encode(self.document)
        return self._body


class Change:
    """One write. *old* is None for a new object, *new* for one that went."""

    __slots__ = ("_lines", "new", "old", "version")

    def __init__(self, old: Stored | None, new: Stored | None, version: int) -> None:
        self.old = old
        self.new = new
        self.version = version
        self._lines: dict[tuple[bytes, Happening], bytes] = {}

    @property
    def last(self) -> Stored:
        """The object as it now is, or was."""
        found = self.new or self.old
        assert found is not None
        return found

    def line(self, kind: Kind, what: Happening) -> bytes:
        """The event for watchers of *kind*, encoded once for all of them."""
        key = (kind.head, what)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = event_line(what, kind.encode(self._shown(what)))
        return line

    def _shown(self, what: Happening) -> Stored:
        """What went, or left a selection, is shown as it last was there, with the version of its going."""
        if what == "DELETED":
            assert self.old is not None
            return Stored(self.old.document, self.version)
        return self.last


def event_line(what: str, encoded: bytes) -> bytes:
    """One line of a watch."""
    return b'{"type":"%s","object":%s}\n' % (what.encode(), encoded)


class Watcher:
    """Lines of one watch that were not read yet. `wake` is called when there are some, or no more come."""

    def __init__(self, kind: Kind, namespace: str, selector: Selector | None) -> None:
        self.kind = kind
        self.ended = False
        self.frozen = False  # nothing is heard of it any more, not even its end
        self.wake: Callable[[], None] = _nobody
        self._namespace = namespace
        self._selector = selector
        self._lines: list[bytes] = []

    def take(self) -> list[bytes]:
        """What came since the last time."""
        lines, self._lines = self._lines, []
        return lines

    def offer(self, change: Change) -> None:
        """Note *change*, if it is of what is watched."""
        if self._namespace and change.last.key[0] != self._namespace:
            return
        was = change.old is not None and self.selects(change.old)
        now = change.new is not None and self.selects(change.new)
        if now:
            self.add(change.line(self.kind, "MODIFIED" if was else "ADDED"))
        elif was:
            self.add(change.line(self.kind, "DELETED"))

    def selects(self, stored: Stored) -> bool:
        """Whether it is of what is watched."""
        return self._selector is None or self._selector(stored.document)

    def add(self, line: bytes) -> None:
        """One more line."""
        if self.frozen:
            return
        if len(self._lines) >= UNREAD:
            self.end()
        elif not self.ended:
            self._lines.append(line)
            self.wake()

    def end(self) -> None:
        """No more lines come."""
        if not self.frozen:
            self.ended = True
            self.wake()


def _nobody() -> None:
    """Before anybody listens."""


class Table:
    """All objects of one resource, by namespace and name, and their last changes."""

    def __init__(self, window: int) -> None:
        self._objects: dict[str, dict[str, Stored]] = {}
        self.history: deque[Change] = deque(maxlen=window)
        self.forgotten = 0  # the version of the newest change that is no longer in the history
        self.watchers: list[Watcher] = []

    def get(self, key: Key) -> Stored | None:
        """None if there is none."""
        return self._objects.get(key[0], {}).get(key[1])

    def list(self, namespace: str = "") -> list[Stored]:
        """In the order of namespace and name; those of all namespaces for ""."""
        chosen = [namespace] if namespace else sorted(self._objects)
        return [stored for space in chosen for _, stored in sorted(self._objects.get(space, {}).items())]

    def note(self, change: Change) -> None:
        """Keep what *change* left, and remember it."""
        space, name = change.last.key
        if change.new is not None:
            self._objects.setdefault(space, {})[name] = change.new
        else:
            del self._objects[space][name]
            if not self._objects[space]:
                del self._objects[space]
        if len(self.history) == self.history.maxlen:
            self.forgotten = self.history[0].version
        self.history.append(change)

    def since(self, version: int) -> Iterator[Change]:
        """What happened after *version*; 410 if not all of it is known."""
        if version < self.forgotten:
            raise expired(f"too old resource version: {version} ({self.forgotten})")
        return (change for change in self.history if change.version > version)

    def forget(self, version: int) -> None:
        """The history up to *version*."""
        self.history.clear()
        self.forgotten = version


class Place:
    """Where an object is: its table by group and plural, and its key."""

    __slots__ = ("key", "resource")

    def __init__(self, resource: tuple[str, str], key: Key) -> None:
        self.resource = resource
        self.key = key


class Store:
    """All tables. Every listener is called after each write with the resource's group and plural."""

    def __init__(self, window: int = WINDOW) -> None:
        self.version = 1
        self.tables: dict[tuple[str, str], Table] = {}
        self.listeners: list[Callable[[tuple[str, str], Change], None]] = []
        self.losing = 0  # so many of the next events reach no live watch
        self._window = window
        self._places: dict[str, Place] = {}
        self._dependents: dict[str, dict[str, None]] = {}

    def table(self, resource: tuple[str, str]) -> Table:
        """Of group and plural; made on first use."""
        table = self.tables.get(resource)
        if table is None:
            table = self.tables[resource] = Table(self._window)
        return table

    def put(self, resource: tuple[str, str], document: Document, old: Stored | None) -> Stored:
        """Write an object as it shall be; *old* is what it replaces."""
        self.version += 1
        new = Stored(document, self.version)
        self._publish(resource, Change(old, new, self.version))
        return new

    def remove(self, resource: tuple[str, str], old: Stored) -> Stored:
        """Take it away; returns it as it last was, with the version of its going."""
        self.version += 1
        self._publish(resource, Change(old, None, self.version))
        return Stored(old.document, self.version)

    def place(self, uid: str) -> Place | None:
        """Where the object with this uid is."""
        return self._places.get(uid)

    def dependents(self, uid: str) -> list[Place]:
        """Objects that name it as an owner."""
        return [self._places[dependent] for dependent in self._dependents.get(uid, ())]

    def _publish(self, resource: tuple[str, str], change: Change) -> None:
        table = self.table(resource)
        table.note(change)
        self._index(resource, change)
        if self.losing:
            self.losing -= 1
        else:
            for watcher in table.watchers:
                watcher.offer(change)
        for listener in self.listeners:
            listener(resource, change)

    def _index(self, resource: tuple[str, str], change: Change) -> None:
        uid = change.last.uid
        before = _owner_uids(change.old)
        after = _owner_uids(change.new)
        for owner in before - after:
            self._dependents[owner].pop(uid, None)
            if not self._dependents[owner]:
                del self._dependents[owner]
        for owner in after - before:
            self._dependents.setdefault(owner, {})[uid] = None
        if change.new is None:
            del self._places[uid]
        elif change.old is None:
            self._places[uid] = Place(resource, change.new.key)


def _owner_uids(stored: Stored | None) -> set[str]:
    return {owner["uid"] for owner in stored.metadata.get("ownerReferences") or ()} if stored else set()
