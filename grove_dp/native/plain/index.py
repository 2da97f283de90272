"""Twin of `grove_dp.native.index`: each block has a set of holders; nothing is shared, skipped or put off."""

from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["Index"]

_COLUMNS = {0: {0}, 1: {0, 1}, 2: {0, 1, 2}, 3: {0, 3}}  # holding it on any of these will do
_PREDICTED = 3


@dataclass
class Block:
    """A block that somebody holds, or that something held goes on from."""

    parent: int | None
    depth: int
    holders: set[tuple[int, int]] = field(default_factory=set)  # (slot, medium)
    ends_s: dict[int, int] = field(default_factory=dict)  # of predictions, by slot
    children: int = 0


class Index:
    """What the native index must answer, but for what it forgets at its cap."""

    def __init__(self) -> None:
        self.now_s = 0
        self._blocks: dict[int, Block] = {}

    def store(self, slot: int, blocks: Iterable[int], *, parent: int | None = None, medium: int = 0) -> int:
        if parent is not None and parent not in self._blocks:
            raise LookupError("UnknownParent")
        kept = 0
        for name in blocks:
            self._born(name, parent).holders.add((slot, medium))
            parent, kept = name, kept + 1
        return kept

    def predict(self, slot: int, blocks: Iterable[int], *, ttl_s: int) -> int:
        names = list(blocks)
        self.store(slot, names, medium=_PREDICTED)
        for name in names:
            ends_s = self._blocks[name].ends_s
            ends_s[slot] = max(ends_s.get(slot, 0), self.now_s + ttl_s)
        return len(names)

    def remove(self, slot: int, blocks: Iterable[int], *, medium: int = 0) -> int:
        blocks = list(blocks)
        if medium == 0:  # who says that it forgot a block does not have it because we sent it there
            for name in blocks:
                self._dropped(slot, name, _PREDICTED)
        return sum(self._dropped(slot, name, medium) for name in blocks)

    def clear(self, slot: int) -> None:
        for name in list(self._blocks):
            for medium in range(4):
                self._dropped(slot, name, medium)

    def step(self, now_s: int) -> None:
        self.now_s = now_s
        for name, block in list(self._blocks.items()):
            for slot in [slot for slot, end_s in block.ends_s.items() if end_s <= now_s]:
                self._dropped(slot, name, _PREDICTED)

    def match(self, blocks: list[int], *, slots: int, medium: int = 0) -> list[int]:
        reach = [0] * slots
        for slot in range(slots):
            while reach[slot] < len(blocks) and self._has(slot, blocks[reach[slot]], medium):
                reach[slot] += 1
        return reach

    def known(self, blocks: list[int]) -> int:
        """How many of them, from the root on, are known."""
        return next((i for i, name in enumerate(blocks) if name not in self._blocks), len(blocks))

    def holds(self, slot: int, block: int, *, medium: int = 0) -> bool:
        return block in self._blocks and (slot, medium) in self._blocks[block].holders

    def depth(self, block: int) -> int | None:
        return self._blocks[block].depth if block in self._blocks else None

    def __len__(self) -> int:
        return len(self._blocks)

    def _has(self, slot: int, name: int, column: int) -> bool:
        held = self._blocks.get(name)
        return held is not None and any((slot, medium) in held.holders for medium in _COLUMNS[column])

    def _born(self, name: int, parent: int | None) -> Block:
        block = self._blocks.get(name)
        if block is None:
            depth = 0 if parent is None else self._blocks[parent].depth + 1
            block = self._blocks[name] = Block(parent, depth)
            if parent is not None:
                self._blocks[parent].children += 1
        elif block.parent != parent:
            raise ValueError("Misfit")
        return block

    def _dropped(self, slot: int, name: int, medium: int) -> bool:
        block = self._blocks.get(name)
        if block is None or (slot, medium) not in block.holders:
            return False
        block.holders.discard((slot, medium))
        if medium == _PREDICTED:
            del block.ends_s[slot]
        at: int | None = name
        while at is not None and not block.holders and not block.children:
            del self._blocks[at]
            at = block.parent
            if at is not None:
                block = self._blocks[at]
                block.children -= 1
        return True
