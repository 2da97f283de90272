"""An ask as a tree of levels, with its pods told apart by kind and its nodes by slot.

whole ─┬─ config ─┬─ group        pods stand at groups; demand counts them at every level
       │          └─ group
       └─ group
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter

import numpy as np

from grove_operator.gang.ask import Ask, AskConfig, AskGroup, AskPod
from grove_operator.gang.columns import Ints
from grove_operator.gang.needs import Needs
from grove_operator.gang.space import Space

__all__ = ["Kind", "Level", "Loose", "tree"]


class Kind:
    """Pods of equal needs. *rows*: of the room, with amounts; *known*: whether nodes have all of them."""

    __slots__ = ("amounts", "indices", "known", "needs", "rows")

    def __init__(self, room: Space, needs: Needs) -> None:
        self.needs = needs
        rows = room.rows(needs)
        self.known = rows is not None
        self.rows = rows or []
        self.indices: Ints = np.array([row for row, _ in self.rows], np.int64)
        self.amounts: Ints = np.array([value for _, value in self.rows], np.int64).reshape(-1, 1)


Loose = dict[Kind, list[AskPod]]


class Level:
    """A part of a gang that may be packed into one domain."""

    __slots__ = (
        "alike", "children", "demand", "fixed", "former", "loose", "name", "pack", "packed", "pods", "wanted"
    )  # fmt: skip

    def __init__(
        self,
        group: AskGroup | AskConfig | Ask,
        name: str = "",
        children: Sequence["Level"] = (),
        pods: Loose | None = None,
    ) -> None:
        self.name = name
        self.pack = group.pack
        self.children = children
        self.pods = pods or {}  # a group's own
        self.fixed: list[int] = []  # slots where pods of it are
        self.former: list[int] = []  # slots where pods of it were
        self.demand = {kind: len(held) for kind, held in self.pods.items()}
        self.packed: list[Level] = []  # levels below that have a domain to share
        self.loose: Loose = {kind: list(held) for kind, held in self.pods.items()}  # pods that have none
        for child in children:
            self._adopt(child)
        self.wanted: dict[int, int] = {}  # by row, of all pods
        for kind, count in self.demand.items():
            for row, value in kind.rows:
                self.wanted[row] = self.wanted.get(row, 0) + value * count
        same: dict[Hashable, list[Level]] = {}
        for child in self.packed:
            same.setdefault(child.shape(), []).append(child)
        self.alike = [(levels[0], len(levels)) for levels in same.values()]  # one of each shape, how often

    def _adopt(self, child: "Level") -> None:
        self.fixed += child.fixed
        self.former += child.former
        for kind, count in child.demand.items():
            self.demand[kind] = self.demand.get(kind, 0) + count
        if child.demand and child.constrained:
            self.packed.append(child)
        else:
            for kind, held in child.loose.items():
                self.loose.setdefault(kind, []).extend(held)

    @property
    def constrained(self) -> bool:
        """It, or a level below, has a domain to share."""
        return bool(self.pack.required or self.pack.preferred or self.packed)

    @property
    def total(self) -> int:
        """How many pods want a place."""
        return sum(self.demand.values())

    def keys(self, strict: bool) -> tuple[str, ...]:
        """Labels whose values its pods must share; *strict*: of what is preferred too."""
        wanted = (self.pack.required, self.pack.preferred if strict else None)
        return tuple(dict.fromkeys(key for key in wanted if key))

    def shape(self) -> Hashable:
        """Equal for levels that must find equal places."""
        return (
            self.pack,
            frozenset(self.demand.items()),
            tuple(self.fixed),
            tuple((child.shape(), times) for child, times in self.alike),
        )

    def every_pod(self) -> Loose:
        """All pods of it, as if no domain mattered."""
        found: Loose = {}
        for level in self.walk():
            for kind, pods in level.pods.items():
                found.setdefault(kind, []).extend(pods)
        return found

    def walk(self) -> Iterator["Level"]:
        """It and all below, from the outside in."""
        yield self
        for child in self.children:
            yield from child.walk()


def tree(room: Space, ask: Ask) -> Level:
    """The whole of *ask*. A group of two configs belongs to the first."""
    kinds: dict[Needs, Kind] = {}

    def leaf(group: AskGroup) -> Level:
        pods: Loose = {}
        for needs, alike in groupby(
            group.pods, attrgetter("needs")
        ):  # PERF: once for each run of equal needs
            kind = kinds.get(needs) or kinds.setdefault(needs, Kind(room, needs))
            pods.setdefault(kind, []).extend(alike)
        level = Level(group, group.name, pods=pods)
        level.fixed += _slots(room, group.fixed)
        level.former += _slots(room, (pod.former for pod in group.pods if pod.former))
        return level

    left = {group.name: leaf(group) for group in ask.groups}
    configs = []
    for config in ask.configs:
        names = [name for name in config.names if name in left]
        configs.append(Level(config, " + ".join(names), [left.pop(name) for name in names]))
    return Level(ask, "", [*configs, *left.values()])


def _slots(room: Space, nodes: Iterable[str]) -> list[int]:
    return [slot for name in nodes if (slot := room.nodes.slots.get(name)) is not None]
