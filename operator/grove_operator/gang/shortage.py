"""Why a gang has no place: one word, and a sentence with figures, as kube-scheduler gives them."""

from collections.abc import Iterator

import numpy as np

from grove_operator.gang.ask import Refusal
from grove_operator.gang.columns import Flags
from grove_operator.gang.filling import Filling
from grove_operator.gang.levels import Kind, Level
from grove_operator.gang.space import Space
from grove_operator.gang.stock import Stock

__all__ = ["refusal"]


def refusal(room: Space, root: Level, stock: Stock, filling: Filling) -> Refusal:
    """Of the gang *root*, for which no place was found; *stock* is as it was, and is used up."""
    required = (root.pack.required,) if root.pack.required else ()
    empty = Stock(room, root, empty=True)
    ever = bool((empty.copies(root, empty.every, required, own=bool(required)) >= 1).any())
    alone = _narrow(room, root, stock)  # while nothing is placed
    fitting, short = filling.partly(root.every_pod())
    if short is None:
        return Refusal("NoDomainFits", f"All {_pods(root.total)} fit, but {alone}.", ever)
    nobody = not room.nodes.fits(short.needs.where).any()
    causes = ", ".join(_causes(room, short, stock)) or "none takes one more"
    nodes = (
        f"of {_count(len(room.nodes.slots), 'node')}: {causes}" if room.nodes.slots else "there are no nodes"
    )
    message = f"{fitting} of {_pods(root.total)} fit; {nodes}."
    return Refusal("NoNodeMatches" if nobody else "InsufficientCapacity", message, ever)


def _narrow(room: Space, root: Level, stock: Stock) -> str:
    """Which level finds no domain."""
    enough: list[str] = []
    for level in root.walk():
        key = level.pack.required
        if not key or not level.demand:
            continue
        if good := int((stock.copies(level, stock.every, (key,), own=True) >= 1).sum()):
            enough.append(f"{_who(level)} needs one {key}: {good} have enough in sum, but not node by node")
            continue
        domains = room.nodes.domains((key,))
        who = f"{_who(level)} needs one {key}"
        if not domains.count:
            return f"{who}, a label that no node has"
        held = np.zeros(domains.count)
        for kind, wanted in level.demand.items():
            sums = np.bincount(domains.codes + 1, weights=stock.caps[kind], minlength=domains.count + 1)[1:]
            held += np.minimum(sums, wanted)
        best = int(held.argmax())
        if level.fixed:
            return f"{who}, where pods of it are already, and there is no room there for {_pods(level.total)}"
        most = f"{domains.names[best]}, the best of {domains.count}, holds {int(held[best])} of {level.total}"
        return f"{who}: {most}"
    return enough[0] if len(enough) == 1 else "no domains hold all levels of the gang at once"


def _causes(room: Space, kind: Kind, stock: Stock) -> Iterator[str]:
    """What stands against one more pod of *kind*, over all nodes."""
    nodes, where = room.nodes, kind.needs.where
    left: Flags = nodes.domains(()).codes == 0
    for good, one, many in (
        (nodes.ready, "is not ready", "are not ready"),
        (nodes.uncordoned(where), "is cordoned", "are cordoned"),
        (nodes.tolerated(where), "has a taint that is not tolerated", "have taints that are not tolerated"),
        (nodes.asked(where), "does not match selector and affinity", "do not match selector and affinity"),
    ):
        if count := int((left & ~good).sum()):
            yield f"{count} {one if count == 1 else many}"
        left = left & good
    for name, value in kind.needs.requests:
        row = room.resources.get(name)
        lacking = left if row is None else left & (stock.free[row] < value)
        if count := int(lacking.sum()):
            yield f"{count} {'lacks' if count == 1 else 'lack'} {name}"
    if kind.needs.ports:
        taken = np.zeros(len(left), np.bool_)
        taken[list(room.clashing(kind.needs.ports))] = True
        if count := int((left & taken).sum()):
            yield f"{count} {'has' if count == 1 else 'have'} the host port taken"


def _who(level: Level) -> str:
    return level.name or "the gang"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _pods(number: int) -> str:
    return _count(number, "pod")
