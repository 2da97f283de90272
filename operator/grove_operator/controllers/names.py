"""Names and places of pods: none is given twice, and whoever comes back comes back to where it was.

A gang is written with its pods' names before they are made, so names are drawn from a seed, the same each
time a plan is made. A name that was used is never drawn again by this process; another has another seed.
"""

from collections.abc import Collection
from random import Random

from grove_dp.kube.informer import Change
from grove_operator.naming import L
from grove_operator.pods import Pod

__all__ = ["Names"]


class Names:
    """Of all cliques, by the uid of each."""

    def __init__(self, rng: Random) -> None:
        self.seed = rng.randbytes(8)
        self._used: dict[str, set[str]] = {}
        self._nodes: dict[str, dict[str, str]] = {}  # by index, where a pod was last

    def used(self, clique: str) -> Collection[str]:
        """Names of pods that there were."""
        return self._used.get(clique, ())

    def gave(self, clique: str, name: str) -> None:
        """A pod of that name was made."""
        self._used.setdefault(clique, set()).add(name)

    def former(self, clique: str, index: int) -> str:
        """The node that the last pod with this index had; empty if none is known."""
        return self._nodes.get(clique, {}).get(str(index), "")

    def forget(self, clique: str) -> None:
        """A clique that is gone."""
        self._used.pop(clique, None)
        self._nodes.pop(clique, None)

    def told(self, change: Change[Pod]) -> None:
        """Remember where pods were."""
        pod = change.last
        owner = pod.metadata.owner
        index = pod.metadata.label(L.POD_INDEX)
        if owner is None or owner.kind != "PodClique" or index is None:
            return
        if pod.spec.node_name and change.new is not None:
            self._nodes.setdefault(owner.uid, {})[index] = pod.spec.node_name
