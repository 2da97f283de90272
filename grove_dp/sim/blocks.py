"""The pool of KV-cache blocks with its prefix cache, as vLLM 0.32 keeps it.

A block holds `block_size` tokens. A full block has a hash that chains over everything before it, so equal
hashes mean equal prefixes. A block that nobody uses waits in the free queue; if it has a hash its content
can still be taken back (a hit), until the queue hands it out again (an eviction):

      oldest                              newest
    [no hash][no hash][hash a][hash b] ... [hash z]      <- free queue
     ^ handed out first                     ^ freed last

A finished sequence gives its blocks back tail first, so that the shared head of a prompt is evicted last.
Two blocks may carry the same hash (two equal prompts computed side by side); each is kept and evicted by
itself. Block 0 is never handed out: vLLM uses it as a placeholder, so N blocks make N - 1 usable ones.
"""

from collections import OrderedDict
from collections.abc import Iterable

from grove_dp.sim.cache_events import AllBlocksCleared, BlockRemoved, CacheEvent, Key

__all__ = ["BlockPool"]


class BlockPool:
    """Blocks by number, with reference counts, hashes and the free queue."""

    def __init__(self, num_blocks: int, events: list[CacheEvent] | None = None) -> None:
        """Evictions and resets are appended to `events`."""
        if num_blocks < 2:
            raise ValueError(f"a pool needs at least 2 blocks (one is the placeholder), got {num_blocks}")
        self._users = [0] * num_blocks
        self._hash: list[Key | None] = [None] * num_blocks
        self._by_hash: dict[Key, list[int]] = {}
        self._events = events
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(1, num_blocks))

    @property
    def usable(self) -> int:
        return len(self._users) - 1

    @property
    def free(self) -> int:
        """Blocks without a user, cached ones included."""
        return len(self._free)

    @property
    def usage(self) -> float:
        """Share of the usable blocks that live sequences hold."""
        return 1.0 - self.free / self.usable

    @property
    def cached(self) -> int:
        """Blocks that carry a hash."""
        return sum(map(len, self._by_hash.values()))

    def match(self, hashes: Iterable[Key]) -> list[int]:
        """Blocks of the longest cached prefix of this chain."""
        found: list[int] = []
        for key in hashes:
            blocks = self._by_hash.get(key)
            if blocks is None:
                break
            found.append(blocks[0])
        return found

    def idle_among(self, blocks: Iterable[int]) -> int:
        """How many of these sit in the free queue and would leave it when taken."""
        return sum(not self._users[block] for block in blocks)

    def share(self, blocks: Iterable[int]) -> None:
        """Add a user to blocks found by `match`."""
        for block in blocks:
            if not self._users[block]:
                del self._free[block]
            self._users[block] += 1

    def take(self, count: int) -> list[int]:
        """Hand out `count` blocks, oldest free ones first; the caller has checked `free`."""
        taken = [self._free.popitem(last=False)[0] for _ in range(count)]
        for block in taken:
            self._evict(block)
            self._users[block] = 1
        return taken

    def store(self, block: int, key: Key) -> None:
        """Make a full block findable by its hash."""
        if self._hash[block] is None:
            self._hash[block] = key
            self._by_hash.setdefault(key, []).append(block)

    def release(self, blocks: Iterable[int]) -> None:
        """Take one user from each block, given head first; they enter the queue tail first."""
        unnamed = []
        for block in reversed(list(blocks)):
            self._users[block] -= 1
            if not self._users[block]:
                self._free[block] = None
                if self._hash[block] is None:
                    unnamed.append(block)
        for block in reversed(unnamed):
            self._free.move_to_end(block, last=False)

    def forget(self) -> bool:
        """Drop the prefix cache; refused (False) while any block has a user."""
        if self.free != self.usable:
            return False
        self._by_hash.clear()
        self._hash = [None] * len(self._hash)
        if self._events is not None:
            self._events.append(AllBlocksCleared())
        return True

    def _evict(self, block: int) -> None:
        key = self._hash[block]
        if key is None:
            return
        self._hash[block] = None
        twins = self._by_hash[key]
        twins.remove(block)
        if not twins:
            del self._by_hash[key]
        if self._events is not None:
            self._events.append(BlockRemoved(block_hashes=[key]))
