"""What goes when its owner goes, and what a deleted namespace takes with it.

The rules are those of the real garbage collector:

    an owner left             stay; drop the references to owners that went
    none left                 go
    owner waits (foreground)  go; it goes after those that block it (blockOwnerDeletion)
    owner orphans             stay, without the reference

The real one runs beside the API server and takes its time. Here it runs at the end of each call, so that a
test sees one state and not a race; `paused` holds it back for tests of what happens in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from grove_dp.testing.kubeapi.answers import Document
from grove_dp.testing.kubeapi.deletion import DeleteOptions
from grove_dp.testing.kubeapi.kinds import Kind
from grove_dp.testing.kubeapi.metadata import FINALIZER_FOREGROUND, FINALIZER_ORPHAN
from grove_dp.testing.kubeapi.registry import Registry
from grove_dp.testing.kubeapi.store import Change, Place, Store, Stored

__all__ = ["Garbage"]

NAMESPACE = ("", "namespaces")


class Garbage:
    """Collects after each call, unless it is `paused`. *kind_of* tells the kind of a table's objects."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        kind_of: Callable[[tuple[str, str]], Kind | None],
    ) -> None:
        self.paused = False
        self._store = store
        self._registry = registry
        self._kind_of = kind_of
        self._places: deque[Place] = deque()
        self._spaces: dict[str, None] = {}
        store.listeners.append(self._notice)

    def collect(self) -> None:
        """Until there is nothing left to do."""
        if self.paused:
            return
        while self._places or self._spaces:
            if self._places:
                self._look(self._places.popleft())
            else:
                self._empty(next(iter(self._spaces)))

    def _notice(self, resource: tuple[str, str], change: Change) -> None:
        if change.new is None:
            self._places.extend(self._store.dependents(change.last.uid))
            for owner in change.last.metadata.get("ownerReferences") or ():
                if (place := self._store.place(owner["uid"])) is not None:
                    self._places.append(place)
        elif change.last.metadata.get("ownerReferences") or "deletionTimestamp" in change.last.metadata:
            self._places.append(Place(resource, change.last.key))
        if resource == NAMESPACE and change.new is not None and "deletionTimestamp" in change.last.metadata:
            self._spaces[change.last.key[1]] = None
        elif change.new is None and self._is_ending(change.last.key[0]):
            self._spaces[change.last.key[0]] = None

    # ------------------------------------------------------------ one object

    def _look(self, place: Place) -> None:
        stored = self._store.table(place.resource).get(place.key)
        kind = self._kind_of(place.resource)
        if stored is None or kind is None:
            return
        finalizers = stored.metadata.get("finalizers") or ()
        if "deletionTimestamp" in stored.metadata:
            if FINALIZER_FOREGROUND in finalizers:
                self._end_dependents_first(kind, stored)
            elif FINALIZER_ORPHAN in finalizers:
                self._orphan_dependents(kind, stored)
        elif stored.metadata.get("ownerReferences"):
            self._judge(kind, stored)

    def _judge(self, kind: Kind, stored: Stored) -> None:
        """An object with owners: does one of them keep it?"""
        owners: list[Document] = stored.metadata["ownerReferences"]
        keeping = [owner for owner in owners if (there := self._owner(owner, stored)) and not _waits(there)]
        if keeping:
            if len(keeping) < len(owners):
                self._write_owners(kind, stored, keeping)
            return
        waiting = any((there := self._owner(owner, stored)) and _waits(there) for owner in owners)
        foreground = waiting and bool(self._store.dependents(stored.uid))
        self._delete(kind, stored, "Foreground" if foreground else "Background")

    def _owner(self, owner: Document, dependent: Stored) -> Stored | None:
        """The owner, if it is there; one in another namespace is not."""
        place = self._store.place(owner["uid"])
        if place is None or place.key[1] != owner["name"] or place.key[0] not in ("", dependent.key[0]):
            return None
        return self._store.table(place.resource).get(place.key)

    def _end_dependents_first(self, kind: Kind, stored: Stored) -> None:
        blocking = 0
        for place in self._store.dependents(stored.uid):
            dependent = self._store.table(place.resource).get(place.key)
            if dependent is None:
                continue
            blocking += _blocks(dependent, stored.uid)
            if "deletionTimestamp" not in dependent.metadata:
                self._places.append(place)
        if not blocking:
            self._take_finalizer(kind, stored, FINALIZER_FOREGROUND)

    def _orphan_dependents(self, kind: Kind, stored: Stored) -> None:
        for place in self._store.dependents(stored.uid):
            dependent = self._store.table(place.resource).get(place.key)
            dependent_kind = self._kind_of(place.resource)
            if dependent is not None and dependent_kind is not None:
                owners = dependent.metadata["ownerReferences"]
                others = [owner for owner in owners if owner["uid"] != stored.uid]
                self._write_owners(dependent_kind, dependent, others)
        self._take_finalizer(kind, stored, FINALIZER_ORPHAN)

    def _take_finalizer(self, kind: Kind, stored: Stored, finalizer: str) -> None:
        left = [name for name in stored.metadata["finalizers"] if name != finalizer]
        self._registry.update(kind, stored.key, lambda document: _with(document, "finalizers", left))

    def _write_owners(self, kind: Kind, stored: Stored, owners: list[Document]) -> None:
        self._registry.update(kind, stored.key, lambda document: _with(document, "ownerReferences", owners))

    def _delete(self, kind: Kind, stored: Stored, policy: str) -> None:
        finalizers = stored.metadata.get("finalizers") or ()
        if FINALIZER_ORPHAN in finalizers:
            policy = "Orphan"
        elif FINALIZER_FOREGROUND in finalizers:
            policy = "Foreground"
        self._registry.delete(kind, stored.key, DeleteOptions(propagation_policy=policy))

    # ------------------------------------------------------------ a whole namespace

    def _is_ending(self, namespace: str) -> bool:
        found = self._store.table(NAMESPACE).get(("", namespace)) if namespace else None
        return found is not None and "deletionTimestamp" in found.metadata

    def _empty(self, namespace: str) -> None:
        del self._spaces[namespace]
        left = 0
        for resource, table in list(self._store.tables.items()):
            kind = self._kind_of(resource)
            if kind is None or not kind.namespaced:
                continue
            for stored in table.list(namespace):
                if "deletionTimestamp" not in stored.metadata:
                    self._delete(kind, stored, "Background")
                left += table.get(stored.key) is not None
        kind = self._kind_of(NAMESPACE)
        assert kind is not None
        if not left:
            self._spaces.pop(namespace, None)
            space = self._store.table(NAMESPACE).get(("", namespace))
            if space is not None:
                self._store.remove(NAMESPACE, space)


def _waits(owner: Stored) -> bool:
    """It is being deleted, after its dependents."""
    finalizers = owner.metadata.get("finalizers") or ()
    return "deletionTimestamp" in owner.metadata and FINALIZER_FOREGROUND in finalizers


def _blocks(dependent: Stored, uid: str) -> bool:
    owners = dependent.metadata.get("ownerReferences") or ()
    return any(owner["uid"] == uid and owner.get("blockOwnerDeletion") for owner in owners)


def _with(document: Document, name: str, value: object) -> Document:
    return {**document, "metadata": {**document["metadata"], name: value}}
