"""Twin of `grove_dp.native.kv.Feed`: dictionaries of (medium, hash), and a list of the rows that wait.

Chains are those of the plain twin, so it shares nothing with the C core. Its wait has no cap."""

from collections import Counter
from dataclasses import dataclass, field

from grove_dp.native.plain import kvwire
from grove_dp.native.plain.chain import ChainKey, chain, extra, root

__all__ = ["Feed"]

MEDIA = 3
EXTRA_MM, EXTRA_EMBEDS, EXTRA_OTHER, EXTRA_SALT = range(1, 5)
EXTRAS = {
    kvwire.BARE: EXTRA_MM,
    kvwire.MM: EXTRA_MM,
    kvwire.LORA: EXTRA_SALT,
    kvwire.SALT: EXTRA_SALT,
    kvwire.EMBEDS: EXTRA_EMBEDS,
    kvwire.OTHER: EXTRA_OTHER,
}


@dataclass
class Row:
    """Blocks in a row, as a store announces them."""

    medium: int
    parent: int | None
    hashes: list[int]
    tokens: list[int]
    block_size: int
    extras: list[int]
    asked: bool
    gone: list[int] = field(default_factory=list)


class Feed:
    """A worker's KV events applied to `index`, a set of (medium, chain)."""

    def __init__(self, key: ChainKey, model: bytes) -> None:
        self._key, self._model = key, model
        self.counts: Counter[str] = Counter()
        self._forget()

    def _forget(self) -> None:
        self._held: dict[tuple[int, int], tuple[int, int]] = {}  # (medium, hash): copies, chain
        self._waiting: list[Row] = []
        self._group, self._block_size = -1, 0

    @property
    def index(self) -> set[tuple[int, int]]:
        return {(medium, name) for (medium, _), (_, name) in self._held.items()}

    def __len__(self) -> int:
        return len(self._held)

    def find(self, medium: int, digest: int) -> tuple[int, int] | None:
        """(copies, chain) of an engine's hash."""
        return self._held.get((medium, digest))

    def clear(self) -> None:
        """Everything this worker holds is gone."""
        self.counts["dropped"] += sum(len(row.hashes) - len(row.gone) for row in self._waiting)
        self.counts["cleared"] += 1
        self._forget()

    def apply(self, payload: bytes, *, asked: bool = False) -> None:
        """All events of a payload, in order."""
        for event in kvwire.decode(payload).events:
            if event.kind == kvwire.CLEARED:
                self.clear()
            elif not self._follows(event):
                self.counts["other_groups"] += 1
            elif event.kind == kvwire.STORED:
                self._store(event, asked)
            else:
                told = len(event.copies) == len(event.hashes)
                for i, name in enumerate(event.hashes):
                    self._release(event.medium, name, event.copies[i] if told else None)

    def _follows(self, event: kvwire.Event) -> bool:
        group = event.group == -1 or self._group in (-1, event.group)
        return group and event.full and event.medium < MEDIA

    def _store(self, event: kvwire.Event, asked: bool) -> None:
        if not event.tokens:
            for name in event.hashes:
                self._also(event.medium, name, asked)
            return
        even = len(event.hashes) * event.block_size == len(event.tokens)
        if not even or event.block_size < self._block_size:
            self.counts["uneven"] += 1
            return
        self._block_size = event.block_size
        self._group = event.group if event.group != -1 else self._group
        start, extras = self._keys(event)
        row = Row(event.medium, event.parent, event.hashes, event.tokens, event.block_size, extras, asked)
        self._row(row, self._chain(row) if event.parent is not None else start)

    def _keys(self, event: kvwire.Event) -> tuple[int, list[int]]:
        """The root, if the event begins a prompt, and what else distinguishes each block."""
        lora, salt, kind = event.lora, -1, kvwire.BARE
        first = {key[0]: i for i, key in reversed(list(enumerate(event.extras)))}
        adapters = {i for i in first.values() if event.extras[i][1:3] == (kvwire.BARE, lora)}
        keys = [k for i, k in enumerate(event.extras) if k[1] != kvwire.LORA and i not in adapters]
        if event.parent is None:
            tagged = [k for b, kind, k, _ in event.extras if b == 0 and kind == kvwire.LORA]
            for i, key in enumerate(keys):
                if key[0] == 0 and (key[1] == kvwire.SALT or key[1] == kind == kvwire.BARE):
                    salt, kind = i, key[1]
            lora = lora or (tagged[-1] if tagged else b"")
        if not lora and event.lora_id > 0:
            lora = b"\0" + event.lora_id.to_bytes(4, "little")
        text = keys[salt][2] if salt >= 0 else b""
        extras = [0] * len(event.hashes)
        for i, (block, kind, name, offset) in enumerate(keys):
            if i != salt and block < len(extras):
                extras[block] = extra(self._key, extras[block], EXTRAS[kind], name, offset)
        return root(self._key, self._model, lora, text, event.block_size), extras

    def _chain(self, row: Row) -> int | None:
        """What is known of a row's parent, on the row's own medium first."""
        media = [(row.medium + i) % MEDIA for i in range(MEDIA)]
        known = [self._held[at] for m in media if (at := (m, row.parent)) in self._held]
        return known[0][1] if known else None

    def _row(self, row: Row, parent: int | None) -> None:
        if parent is None:
            self.counts["waiting"] += len(row.hashes)
            self._waiting.append(row)
            return
        self._blocks(row, parent)

    def _blocks(self, row: Row, parent: int) -> None:
        ready, late = [(row, parent)], []
        while ready:
            row, parent = ready.pop()
            late.append(row)
            names = chain(self._key, parent, row.tokens, row.block_size, row.extras)
            for digest, name in zip(row.hashes, names, strict=True):
                self._hold(row.medium, digest, name, row.asked)
            for digest, name in zip(row.hashes, names, strict=True):
                ready += [(other, name) for other in self._waiting if other.parent == digest]
                self._waiting = [other for other in self._waiting if other.parent != digest]
        self.counts["joined"] += sum(len(row.hashes) - len(row.gone) for row in late[1:])
        for row in reversed(late):
            for i in sorted(row.gone):
                self._release(row.medium, row.hashes[i], None)

    def _hold(self, medium: int, digest: int, name: int, asked: bool) -> None:
        self.counts["stored"] += 1
        copies, _ = self._held.get((medium, digest), (0, 0))
        self.counts["copies"] += copies > 0
        self._held[medium, digest] = (max(copies, 1) if asked else copies + 1, name)

    def _also(self, medium: int, digest: int, asked: bool) -> None:
        known = [self._held[m, digest] for m in range(MEDIA) if (m, digest) in self._held]
        if known:
            self._hold(medium, digest, known[0][1], asked)
        else:
            self.counts["unknown_hash"] += 1

    def _release(self, medium: int, digest: int, left: int | None) -> None:
        copies, name = self._held.pop((medium, digest), (0, 0))
        if copies == 0:
            self.counts["dropped" if self._forgo(medium, digest) else "unknown_removed"] += 1
            return
        self.counts["removed"] += 1
        remaining = copies - 1 if left is None else left
        if remaining:
            self._held[medium, digest] = (remaining, name)

    def _forgo(self, medium: int, digest: int) -> bool:
        """A block that waits is removed."""
        for row in self._waiting:
            for i, name in enumerate(row.hashes):
                if row.medium == medium and name == digest and i not in row.gone:
                    row.gone.append(i)
                    if len(row.gone) == len(row.hashes):
                        self._waiting.remove(row)
                    return True
        return False
