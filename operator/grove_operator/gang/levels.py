"""An ask as a tree of levels, with its pods told apart by kind and its nodes by slot.

whole ─┬─ config ─┬─ group        pods stand at groups; demand counts them at every level
       │          └─ group
       └─ group
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence

from grove_operator.gang.ask import Ask, AskGroup, AskPod, Packing
from grove_operator.gang.needs import Needs
from grove_operator.gang.room import Room

__all__ = ["Kind", "Level", "tree"]


class Kind:
    """Pods of equal needs. *rows*: of the room, with amounts; None: it asks for what no node has."""

    __slots__ = ("needs", "rows")

    def __init__(self, room: Room, needs: Needs) -> None:
        self.needs = needs
        self.rows = room.rows(needs)


class Level:
    """A part of a gang that may be packed into one domain."""

    __slots__ = (
        "alike", "children", "demand", "fixed", "former", "loose", "name", "pack", "packed", "pods", "total"
    )  # fmt: skip

    def __init__(self, name: str, pack: Packing, children: Sequence["Level"] = ()) -> None:
        self.name = name
        self.pack = pack
        self.children = children
        self.pods: dict[Kind, list[AskPod]] = {}  # a group's own
        self.demand: Counter[Kind] = Counter()
        self.fixed: list[int] = []  # slots where pods of it are
        self.former: list[int] = []  # slots where pods of it were
        for child in children:
            self.demand.update(child.demand)
            self.fixed += child.fixed
            self.former += child.former
        self.settle()

    def settle(self) -> None:
        """Know what follows from pods and children."""
        wanting = [child for child in self.children if child.demand]
        self.total = self.demand.total()
        self.packed = [child for child in wanting if child.constrained]
        self.loose: dict[Kind, list[AskPod]] = {}  # pods that may be anywhere in it
        for level in (self, *(child for child in wanting if not child.constrained)):
            for kind, pods in (level.pods if level is self else level.loose).items():
                self.loose.setdefault(kind, []).extend(pods)
        same: dict[Hashable, list[Level]] = {}
        for child in self.packed:
            same.setdefault(child.shape(), []).append(child)
        self.alike = [(levels[0], len(levels)) for levels in same.values()]  # one of each shape, how often

    @property
    def constrained(self) -> bool:
        """It, or a level below, has a domain to share."""
        return bool(self.pack.required or self.pack.preferred or self.packed)

    def shape(self) -> Hashable:
        """Equal for levels that must find equal places."""
        return (
            self.pack.required,
            frozenset(self.demand.items()),
            tuple(self.fixed),
            tuple((child.shape(), times) for child, times in self.alike),
        )

    def walk(self) -> Iterator["Level"]:
        """It and all below, from the outside in."""
        yield self
        for child in self.children:
            yield from child.walk()


def tree(room: Room, ask: Ask) -> Level:
    """The whole of *ask*. A group of two configs belongs to the first."""
    kinds: dict[Needs, Kind] = {}
    known: dict[int, Kind] = {}  # by address: PERF equal needs are mostly one object

    def kind_of(needs: Needs) -> Kind:
        found = known.get(id(needs))
        if found is None:
            if needs not in kinds:
                kinds[needs] = Kind(room, needs)
            found = known[id(needs)] = kinds[needs]
        return found

    def leaf(group: AskGroup) -> Level:
        level = Level(group.name, group.pack)
        for pod in group.pods:
            level.pods.setdefault(kind_of(pod.needs), []).append(pod)
        level.demand.update({kind: len(pods) for kind, pods in level.pods.items()})
        level.fixed += _slots(room, group.fixed)
        level.former += _slots(room, (pod.former for pod in group.pods if pod.former))
        level.settle()
        return level

    left = {group.name: leaf(group) for group in ask.groups}
    configs = [
        Level(
            " + ".join(config.names), config.pack, [left.pop(name) for name in config.names if name in left]
        )
        for config in ask.configs
    ]
    return Level("", ask.pack, [*configs, *left.values()])


def _slots(room: Room, nodes: Iterable[str]) -> list[int]:
    return [slot for name in nodes if (slot := room.nodes.slots.get(name)) is not None]
