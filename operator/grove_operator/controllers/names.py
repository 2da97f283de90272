"""Names and places of pods: none is given twice, and whoever comes back comes back to where it was.

A gang is written with its pods' names before they are made, so names are drawn from a seed, the same each
time a plan is made. A name that was used is never drawn again by this process; another has another seed. A
clique, or a whole set, that is deleted and made again does not come to names of pods that take their time to
end: what was used is kept by the set, not by the clique, and a set draws from its uid, too.
"""

from collections.abc import Collection
from random import Random

from grove_dp.kube.informer import Change
from grove_operator.naming import L
from grove_operator.pods import Pod

__all__ = ["Names"]


class Names:
    """Of the cliques of all sets."""

    def __init__(self, rng: Random) -> None:
        self._seed = rng.randbytes(8)
        self._used: dict[str, dict[str, set[str]]] = {}  # by uid of the set and name of the clique
        self._nodes: dict[str, dict[str, str]] = {}  # by uid of the clique and index: where a pod was last

    def seed(self, owner: str) -> bytes:
        """What names of a set's pods are drawn from; *owner*: the uid of the set."""
        return self._seed + owner.encode()

    def used(self, owner: str, clique: str) -> Collection[str]:
        """Names of pods that there were of a clique."""
        return self._used.get(owner, {}).get(clique, ())

    def gave(self, owner: str, clique: str, name: str) -> None:
        """A pod of that name was made."""
        self._used.setdefault(owner, {}).setdefault(clique, set()).add(name)

    def former(self, clique: str, index: int) -> str:
        """The node that the last pod with this index had; empty if none is known. *clique*: its uid."""
        return self._nodes.get(clique, {}).get(str(index), "")

    def forget(self, uid: str) -> None:
        """A set or a clique that is gone."""
        self._used.pop(uid, None)
        self._nodes.pop(uid, None)

    def told(self, change: Change[Pod]) -> None:
        """Remember where pods were."""
        pod = change.last
        owner = pod.metadata.owner
        index = pod.metadata.label(L.POD_INDEX)
        if owner is None or owner.kind != "PodClique" or index is None:
            return
        if pod.spec.node_name and change.new is not None:
            self._nodes.setdefault(owner.uid, {})[index] = pod.spec.node_name
