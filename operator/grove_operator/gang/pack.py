"""Places for all pods of a gang, or none; why not, in figures.

    Ask ──► levels: the whole, its configs, its groups ──► search ──► Placement | Refusal

Each level may require that its pods share one domain (nodes with one value of a label), or prefer it. What is
preferred is tried first, then given up from the inside out: a group widens before the whole does.

20 pods on 5,000 nodes cost 0.3 ms, in a block of racks of hosts 2 ms: pods of equal needs are one kind, of
which arrays say how many each node still takes, and a domain is tried only if it has enough of everything
(`bench.operator.packing`).
"""

from grove_operator.gang.ask import Ask, AskConfig, AskGroup, AskPod, Packing, Placement, Refusal
from grove_operator.gang.levels import tree
from grove_operator.gang.search import Search
from grove_operator.gang.shortage import refusal
from grove_operator.gang.space import Space

__all__ = ["Ask", "AskConfig", "AskGroup", "AskPod", "Packing", "Placement", "Refusal", "place"]


def place(room: Space, ask: Ask) -> Placement | Refusal:
    """Places for all pods of *ask*, or why there are none. Nothing is reserved."""
    root = tree(room, ask)
    if not root.demand:
        return Placement({})
    search = Search(room, root, ask)
    if search.found():
        return search.placement()
    return refusal(room, root, search.stock, search.filling)
