"""What was encoded before, per turn: a known conversation costs only its new turn.

A tree of nodes. A node stands for the beginning of a rendered conversation, up to a cut (spans.cuts: before a
turn's first token, which splits the text for the tokenizer too), and holds what it adds to its parent: names
of blocks, and the tokens that do not fill a block yet. Conversations that begin alike share nodes, whatever
the messages were that made the text.

    scope -- system prompt -- user 1 -- assistant 1, user 2 -- assistant 2, user 3
                 \\-- user 1'

Texts are not kept. A node's key is 64 bits that chain over the turns, seeded by a secret of this memo: a
conversation of 128 KiB is 16 KiB of names, and two texts share a key with the chance that two blocks of the
index share a name. Whole prompts are remembered by the core, by their requests' bytes (gdp/recall.h).

Bytes are bounded: the least recently used leaf goes first. A look-up touches a node and all above it, the
node first, so that no node is ever older than its parent.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np

from grove_dp.tokens.blocks import Prompt
from grove_dp.tokens.tokenizer import NO_IDS, Ids

__all__ = ["Memo", "Node"]

_NODE_BYTES = 330  # of the objects themselves


class Node:
    """What one turn adds to those before it."""

    __slots__ = ("key", "names", "parent", "state", "tail", "tokens")

    def __init__(
        self, key: int, parent: "Node | None", state: int, names: bytes, tail: Ids, tokens: int
    ) -> None:
        """*names*: of the blocks that end here; *state*: the name of the last block so far, or the root;
        *tail*: the tokens behind it; *tokens*: from the beginning of the prompt."""
        self.key, self.parent = key, parent
        self.state, self.names, self.tokens = state, names, tokens
        self.tail: Ids = tail.copy()  # a slice would keep the ids of the whole prompt

    @classmethod
    def start(cls, root: int, first: Ids = NO_IDS) -> "Node":
        """Where a prompt begins that begins with the tokens *first*. Not to be memoised."""
        return cls(0, None, root, b"", first, len(first))

    @property
    def size(self) -> int:
        return len(self.names) + self.tail.nbytes + _NODE_BYTES

    def prompt(self) -> Prompt:
        """The prompt that ends here."""
        names: list[bytes] = []
        node: Node | None = self
        while node is not None:
            names.append(node.names)
            node = node.parent
        names.reverse()
        return Prompt(self.tokens, np.frombuffer(b"".join(names), np.uint64))


class Memo:
    """Nodes by key, within a number of bytes."""

    def __init__(self, bytes_max: int = 64 << 20) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        self.evicted = 0
        self._nodes: OrderedDict[int, Node] = OrderedDict()

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        """Least recently used first."""
        return iter(self._nodes.values())

    def get(self, key: int) -> Node | None:
        """The node of *key*, which counts as used now, as do all above it."""
        found = self._nodes.get(key)
        if found is not None:
            self.touch(found)
        return found

    def deepest(self, keys: Sequence[int]) -> tuple[int, Node | None]:
        """The longest known beginning of a conversation: how many turns, and its node."""
        for count in range(len(keys), 0, -1):
            if (node := self.get(keys[count - 1])) is not None:
                return count, node
        return 0, None

    def put(self, node: Node) -> None:
        """Add a node below one that is here, or was just added. Touch the last of them afterwards."""
        self._drop(node.key)
        self._nodes[node.key] = node
        self.bytes += node.size

    def clear(self) -> None:
        self._nodes.clear()
        self.bytes = 0

    def touch(self, found: Node) -> None:
        """Count a node, and all above it, as used now. Then make room."""
        nodes: OrderedDict[int, Node] = self._nodes
        node: Node | None = found
        while node is not None:
            if nodes.get(node.key) is node:  # not evicted, nor replaced by its like
                nodes.move_to_end(node.key)
            node = node.parent
        while self.bytes > self.bytes_max:
            self._drop(next(iter(nodes)))
            self.evicted += 1

    def _drop(self, key: int) -> None:
        node = self._nodes.pop(key, None)
        if node is not None:
            self.bytes -= node.size
