"""Pods on nodes, once no domain matters any more.

The pods of one kind fill the fullest node that takes any, then the next (best fit); the kind that asks most
of what is scarcest goes first (first fit decreasing). Where that fails with several kinds, other orders are
tried. For one kind it never fails if the sum says that they fit.
"""

from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np

from grove_operator.gang.ask import AskPod
from grove_operator.gang.columns import Flags, Ints
from grove_operator.gang.levels import Kind, Loose
from grove_operator.gang.stock import LIMIT, Stock

__all__ = ["Filling"]


class _Order(msgspec.Struct, frozen=True):
    """Kinds by what is scarce, or by how little choice they have; the fullest nodes first or last."""

    scarce: bool = True
    fullest: bool = True
    former: bool = True


USUAL: Final = _Order()
ORDERS: Final = (USUAL, _Order(former=False), _Order(scarce=False), _Order(fullest=False, former=False))


class Filling:
    """Of a stock. *shunned*: slots that are better left to others; *returning*: some pods were somewhere."""

    def __init__(self, stock: Stock, shunned: Flags | None, returning: bool) -> None:
        self._stock = stock
        self._returning = returning
        self._shunned = shunned

    def ways(self, loose: Loose, nodes: Ints, hint: Ints | None) -> Iterator[bool]:
        """A way for all of *loose* on *nodes*: True, once and while it stands; False for each that failed."""
        mark = len(self._stock.trail)
        for order in ORDERS[: 1 if len(loose) == 1 else None]:
            kinds = self._sorted(loose, nodes, order)
            if not any(self._left(kind, loose[kind], nodes, hint, order) for kind in kinds):
                yield True
                self._stock.undo(mark)
                return
            self._stock.undo(mark)
            yield False

    def partly(self, loose: Loose) -> tuple[int, Kind | None]:
        """How many pods find a place anywhere, and a kind that does not. They keep it."""
        fitting, short = 0, None
        for kind in self._sorted(loose, self._stock.every, USUAL):
            pods = loose[kind]
            room = int(self._stock.caps[kind].sum())
            if room:
                fitting += min(room, len(pods))
                self._left(kind, pods[:room], self._stock.every, None, USUAL)
            if room < len(pods):
                short = short or kind
        return fitting, short

    def _sorted(self, loose: Loose, nodes: Ints, order: _Order) -> list[Kind]:
        if len(loose) == 1:
            return list(loose)
        size = {kind: -dict(kind.rows).get(self._stock.scarce, 0) if order.scarce else 0 for kind in loose}
        if len(set(size.values())) == len(loose):
            return sorted(loose, key=size.__getitem__)
        choice = {kind: int(self._stock.caps[kind][nodes].sum()) / len(pods) for kind, pods in loose.items()}
        return sorted(loose, key=lambda kind: (size[kind], choice[kind]))

    def _left(self, kind: Kind, pods: list[AskPod], nodes: Ints, hint: Ints | None, order: _Order) -> int:
        """How many of *pods* would find no place on *nodes*; only if 0, all have got one."""
        if order.former and self._returning:
            pods = self._returned(kind, pods, nodes)
        if not pods:
            return 0
        caps = self._stock.caps[kind][nodes]
        some = caps.nonzero()[0]
        caps = caps[some]
        lacking = len(pods) - int(caps.sum())
        if lacking > 0:
            return lacking
        slots, counts = self._best(nodes[some], caps, len(pods), hint, order.fullest)
        self._stock.take(kind, slots, counts, pods)
        return 0

    def _best(
        self, slots: Ints, caps: Ints, wanted: int, hint: Ints | None, fullest: bool
    ) -> tuple[Ints, Ints]:
        """Of *slots*, which take all, those to fill, and how far: one number tells the place of each."""
        width = len(self._stock.every)
        place = (caps if fullest else LIMIT - caps) * width + self._stock.nodes.rank[slots]
        if hint is not None:
            place += hint[slots] * (width * (LIMIT + 1))
        if self._shunned is not None:
            place += self._shunned[slots] * (1 << 61)
        if len(slots) > wanted:
            first = place.argpartition(wanted - 1)[:wanted]
            first = first[place[first].argsort()]
        else:
            first = place.argsort()
        slots, counts = slots[first], caps[first]
        sums = counts.cumsum()
        last = int(sums.searchsorted(wanted))
        counts = counts[: last + 1].copy()
        counts[last] -= sums[last] - wanted
        return slots[: last + 1], counts

    def _returned(self, kind: Kind, pods: list[AskPod], nodes: Ints) -> list[AskPod]:
        """Put pods where they were; those that do not fit there any more come back."""
        inside = np.zeros(len(self._stock.every), np.bool_)
        inside[nodes] = True
        back: dict[int, list[AskPod]] = {}
        left = []
        for pod in pods:
            slot = self._stock.nodes.slots.get(pod.former, -1)
            if slot >= 0 and inside[slot] and len(back.get(slot, ())) < self._stock.caps[kind][slot]:
                back.setdefault(slot, []).append(pod)
            else:
                left.append(pod)
        if back:
            counts = np.array([len(there) for there in back.values()], np.int64)
            slots = np.array(list(back), np.int64)
            self._stock.take(kind, slots, counts, [pod for there in back.values() for pod in there])
        return left
