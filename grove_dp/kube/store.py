"""The objects that an informer holds, found by name and by index.

An object's versions never go back: what is older than what is held is left aside, whether it comes by a
list, by a watch, or as the answer to a write of ours. What has gone stays gone: an answer that comes after
the watch has told of the end is older than that end, and must not bring the object back.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

import msgspec

from grove_dp.kube.objects import Object, version_of

__all__ = ["Change", "Store"]

GRAVES = 4096

T = TypeVar("T", bound=Object)
Key = tuple[str, str]  # namespace, name
Index = Callable[[T], Iterable[str]]


class Change(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """What became of an object: *old* is None for one that came, *new* for one that went."""

    old: T | None
    new: T | None

    @property
    def last(self) -> T:
        """The object as last seen."""
        held = self.new if self.new is not None else self.old
        assert held is not None
        return held


class Store(Generic[T]):
    """Objects of one kind."""

    def __init__(self, indexes: Mapping[str, Index[T]]) -> None:
        self._held: dict[Key, T] = {}
        self._indexes = dict(indexes)
        self._gone: dict[Key, int] = {}  # the versions at which they went, of the last GRAVES
        self._found: dict[str, dict[str, dict[Key, T]]] = {index: {} for index in indexes}

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._held.values()))

    def get(self, namespace: str, name: str) -> T | None:
        """The object of that name."""
        return self._held.get((namespace, name))

    def by(self, index: str, key: str) -> list[T]:
        """Those with *key*."""
        return list(self._found[index].get(key, {}).values())

    def put(self, held: T) -> Change[T] | None:
        """Hold this version; None if it is not newer than what is held."""
        meta = held.metadata
        key = (meta.namespace, meta.name)
        old = self._held.get(key)
        version = version_of(meta.resource_version)
        if old is not None and version <= version_of(old.metadata.resource_version):
            return None
        if version <= self._gone.get(key, -1):
            return None
        self._held[key] = held
        self._index(key, old, held)
        return Change(old, held)

    def remove(self, gone: T) -> Change[T] | None:
        """Let go of it, and hold its last state in the change; None if a newer one is held, or none."""
        meta = gone.metadata
        key = (meta.namespace, meta.name)
        old = self._held.get(key)
        if old is None or version_of(meta.resource_version) < version_of(old.metadata.resource_version):
            return None
        del self._held[key]
        self._bury(key, version_of(meta.resource_version))
        self._index(key, old, None)
        return Change(gone if gone.metadata.uid == old.metadata.uid else old, None)

    def replace(self, found: Iterable[T], version: int) -> Iterator[Change[T]]:
        """Hold what a list of *version* found, and nothing older that it did not find."""
        keys = set()
        for held in found:
            keys.add((held.metadata.namespace, held.metadata.name))
            if change := self.put(held):
                yield change
        for key, old in list(self._held.items()):
            if key not in keys and version_of(old.metadata.resource_version) <= version:
                del self._held[key]
                self._bury(key, version)
                self._index(key, old, None)
                yield Change(old, None)

    def _bury(self, key: Key, version: int) -> None:
        self._gone.pop(key, None)
        self._gone[key] = version
        if len(self._gone) > GRAVES:
            del self._gone[next(iter(self._gone))]

    def _index(self, key: Key, old: T | None, new: T | None) -> None:
        for index, keys_of in self._indexes.items():
            found = self._found[index]
            before = () if old is None else tuple(keys_of(old))
            after = () if new is None else tuple(keys_of(new))
            for name in before:
                if name not in after:
                    del found[name][key]
                    if not found[name]:
                        del found[name]
            if new is not None:
                for name in after:
                    found.setdefault(name, {})[key] = new
