"""The pods of a clique: who stays, who is missing, who is too many, who is lost.

    pods ─┬─ on their way out     not counted; their indices are free, for a leader is index 0 at any time
          ├─ lost                 Failed or Succeeded, or second to an index: deleted and replaced
          └─ living ─┬─ kept      as many as the clique has
                     └─ surplus   by `victims`
    count - kept = missing        fresh names, lowest free indices

`names` is what the clique's gang refers to: those kept and those missing, before the latter are made.
"""

from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from grove_operator.plan.pods import free_indices, pod_names
from grove_operator.plan.tree import Unit
from grove_operator.plan.victims import victims
from grove_operator.pods import Pod

__all__ = ["Berth", "Crew", "crew"]

OVER: Final = ("Failed", "Succeeded")


class Berth(msgspec.Struct, frozen=True):
    """A pod that is to be made."""

    name: str
    index: int


class Crew(msgspec.Struct, frozen=True):
    """What a clique has and what it lacks."""

    kept: tuple[Pod, ...] = ()
    missing: tuple[Berth, ...] = ()
    surplus: tuple[Pod, ...] = ()
    lost: tuple[Pod, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of all that the clique has, or is about to have."""
        return tuple(sorted([pod.metadata.name for pod in self.kept] + [one.name for one in self.missing]))


def crew(unit: Unit, pods: Iterable[Pod], current: str, seed: bytes, used: Collection[str] = ()) -> Crew:
    """*pods*: all that the clique controls; *current*: the hash of its template.

    Fresh names are drawn from *seed*; those *used* before are not drawn.
    """
    held = sorted(pods, key=lambda pod: (pod.metadata.creation_timestamp or "", pod.metadata.name))
    living, lost = _sorted_out(pod for pod in held if pod.metadata.deletion_timestamp is None)
    surplus = victims(living, len(living) - unit.count, current)
    gone = {pod.metadata.name for pod in surplus}
    kept = tuple(pod for pod in living if pod.metadata.name not in gone)
    number = unit.count - len(kept)
    names = pod_names(unit.name, number, seed, {pod.metadata.name for pod in held} | set(used))
    indices = [index for pod in kept if (index := pod.index) is not None]
    missing = map(Berth, names, free_indices(indices, number))
    return Crew(kept, tuple(missing), surplus, tuple(lost))


def _sorted_out(pods: Iterable[Pod]) -> tuple[list[Pod], list[Pod]]:
    """Living and lost; of two with one index the first lives. Who has no label is not killed for it."""
    living: list[Pod] = []
    lost: list[Pod] = []
    taken: set[int] = set()
    for pod in pods:
        index = pod.index
        if pod.status.phase in OVER or index in taken:
            lost.append(pod)
            continue
        living.append(pod)
        if index is not None:
            taken.add(index)
    return living, lost
