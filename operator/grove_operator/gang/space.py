"""What a search for places looks at: the room as it is, or as it would be without some pods, or nodes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from grove_operator.gang.columns import Flags, Ints
from grove_operator.gang.needs import Needs, Port
from grove_operator.gang.nodes import Roster

__all__ = ["Imagined", "PodKey", "Space", "Spared"]

PodKey = tuple[str, str]  # namespace, name
Spared = Callable[[int, PodKey], bool]  # slot of its node, pod: whether it counts


class Space(Protocol):
    """Nodes, and what is free there."""

    @property
    def nodes(self) -> Roster:
        """All of them, by slot."""
        ...

    @property
    def resources(self) -> Mapping[str, int]:
        """The row of each."""
        ...

    @property
    def free(self) -> Ints:
        """By resource and slot; below 0 where more is used than there is."""
        ...

    @property
    def allocatable(self) -> Ints:
        """By resource and slot: what would be free if no pod were there."""
        ...

    def rows(self, asked: Needs) -> list[tuple[int, int]] | None:
        """Row and amount of each resource; None: no node has one of them."""
        ...

    def open(self, asked: Needs) -> Flags:
        """The slots that such a pod may go to, full or not."""
        ...

    def clashing(self, ports: tuple[Port, ...], counts: Spared | None = None) -> Iterator[int]:
        """Slots of nodes where one of these ports is taken, by a pod that *counts*."""
        ...


class Imagined:
    """*base* with so much *more* free, only ports of pods that *count*, and without the nodes *closed*."""

    def __init__(
        self, base: Space, more: Ints | None = None, counts: Spared | None = None, closed: Flags | None = None
    ) -> None:
        self._base = base
        self._free = base.free if more is None else base.free + more
        self._counts = counts
        self._closed = closed

    @property
    def nodes(self) -> Roster:
        """All of them, by slot."""
        return self._base.nodes

    @property
    def resources(self) -> Mapping[str, int]:
        """The row of each."""
        return self._base.resources

    @property
    def free(self) -> Ints:
        """By resource and slot."""
        return self._free

    @property
    def allocatable(self) -> Ints:
        """By resource and slot."""
        return self._base.allocatable

    def rows(self, asked: Needs) -> list[tuple[int, int]] | None:
        """Row and amount of each resource; None: no node has one of them."""
        return self._base.rows(asked)

    def open(self, asked: Needs) -> Flags:
        """The slots that such a pod may go to, full or not."""
        found = self._base.open(asked)
        return found if self._closed is None else found & ~self._closed

    def clashing(self, ports: tuple[Port, ...], counts: Spared | None = None) -> Iterator[int]:
        """Slots of nodes where one of these ports is taken."""
        return self._base.clashing(ports, counts or self._counts)
