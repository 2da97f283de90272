"""What an update may do now in one replica of a set: which cliques get the new template, which pods go.

    a clique that stands alone    unit: a pod                 minimum: minAvailable pods ready
    a group                       unit: a replica of it,      minimum: minAvailable replicas in which each
                                  all its cliques together    clique has its minAvailable pods ready

    1  old units that do not serve go at once, all of them: nobody misses them
    2  others go while  missing < maxUnavailable (1 unless given)
                   and  available >= minimum, before each of them goes

*Missing* are units that do not serve, whatever the reason: a new pod that does not come up stops the update.
But who has never served is not missing, for there may be no room for it, and in a full cluster the others
would wait for ever: a replica of which no status says that it was healthy, a pod without a node whose index
never had one before (it would carry a note of that node). Pods go by age, the oldest first; replicas by
index, those begun first.

Delete first, but for `maxSurge` more pods that a clique may have while it has old ones; with those,
maxUnavailable may be 0. A group's surge is ignored: one replica more would be another gang. Surplus pods go
before any ready one goes for the update, or both together would take more than either may.

Nothing is remembered. A clique has the new template, or is *held* and keeps the old one; a pod has the hash
of what it was made of. An operator that starts in mid-roll, a third template, a rollback and a change of
strategy all find in these what is left to do. Pods go only once their clique is seen to describe the new
ones, so that nothing comes back old.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Final

import msgspec

from grove_operator.api import PodCliqueSet, RollingUpdate
from grove_operator.plan.picture import Picture
from grove_operator.plan.pods import FORMER_NODE
from grove_operator.plan.revision import Revision, revision
from grove_operator.plan.tree import Group
from grove_operator.pods import Pod

__all__ = ["ON_DELETE", "Rollout", "rollout", "rolls"]

ON_DELETE: Final = "OnDelete"


class Rollout(msgspec.Struct, frozen=True):
    """One replica's update. Where nothing differs, it is done, and says nothing."""

    cliques: Mapping[str, Revision] = {}
    held: frozenset[str] = frozenset()  # keep the pods that they describe
    replace: tuple[Pod, ...] = ()  # to be deleted, so that new ones come
    surge: Mapping[str, int] = {}  # pods beyond the count that a clique may have now
    left: bool = False  # something is of a former template, and it is ours to change that
    turn: bool = True  # it may be changed now

    @property
    def lost(self) -> bool:
        """Something does not serve, and did before."""
        return any(one.lost for one in self.cliques.values())

    @property
    def done(self) -> bool:
        """The next replica may have its turn."""
        return not self.left and not self.lost


class _Part(msgspec.Struct, frozen=True):
    """What a clique or a group adds."""

    held: tuple[str, ...] = ()
    replace: tuple[Pod, ...] = ()
    surge: Mapping[str, int] = {}


def rolls(owner: PodCliqueSet) -> bool:
    """Whether updates replace pods, and not those who delete them."""
    strategy = owner.spec.update_strategy
    return strategy is None or strategy.type != ON_DELETE


def rollout(picture: Picture, turn: bool) -> Rollout:
    """*turn*: whether this replica may be updated now."""
    cliques = {name: revision(seen) for name, seen in picture.cliques.items()}
    adopted = [name for name, one in cliques.items() if one.adopted]
    if not rolls(picture.owner):
        return Rollout(cliques, frozenset(adopted))
    left = any(not one.settled for one in cliques.values())
    if not turn or not left:
        behind = (name for name, one in cliques.items() if one.behind)
        return Rollout(cliques, frozenset([*adopted, *behind]), left=left, turn=turn)
    parts = [_clique(one) for one in cliques.values() if one.seen.unit.group is None]
    parts += [_group(group, cliques) for group in picture.replica.groups]
    return Rollout(
        cliques,
        frozenset(chain(adopted, *(part.held for part in parts))),
        tuple(chain.from_iterable(part.replace for part in parts)),
        {name: number for part in parts for name, number in part.surge.items()},
        left,
    )


# ------------------------------------------------------------ a clique


def _clique(one: Revision) -> _Part:
    if one.behind or not one.old:
        return _Part()
    seen = one.seen
    count = seen.unit.count
    bounds = seen.unit.template.rolling_update
    surge = (bounds.max_surge or 0) if bounds else 0
    going = [pod for pod in one.old if not pod.ready]
    if len(seen.living) <= count + min(surge, len(one.old)):
        number = min(_away(bounds, surge) - _missing(one), one.ready - seen.minimum + 1)
        going += sorted((pod for pod in one.old if pod.ready), key=_age)[: max(0, number)]
    more = min(surge, len(one.old) - len(going))
    return _Part(replace=tuple(going), surge={seen.unit.name: more} if more else {})


def _missing(one: Revision) -> int:
    """How many of its pods do not serve, less those without a node that are the first of their index."""
    fresh = sum(not pod.bound and pod.metadata.annotation(FORMER_NODE) is None for pod in one.new)
    count = one.seen.unit.count
    return min(count, max(count, len(one.seen.living)) - fresh) - one.ready


def _age(pod: Pod) -> tuple[str, str]:
    return pod.metadata.creation_timestamp or "", pod.metadata.name


def _away(bounds: RollingUpdate | None, surge: int) -> int:
    given = bounds.max_unavailable if bounds else None
    return 1 if given is None else max(given, 0 if surge else 1)


# ------------------------------------------------------------ a group


class _Place(msgspec.Struct, frozen=True):
    """A replica of a group."""

    index: int
    members: tuple[Revision, ...]

    @property
    def left(self) -> bool:
        return any(not one.settled for one in self.members)

    @property
    def available(self) -> bool:
        return all(one.served for one in self.members)

    @property
    def missing(self) -> bool:
        return any(one.lost for one in self.members)

    @property
    def order(self) -> tuple[bool, int]:
        return not any(one.begun for one in self.members), self.index


def _group(group: Group, cliques: Mapping[str, Revision]) -> _Part:
    places = _places(group, cliques)
    chosen = _chosen(group, places)
    going = {place.index for place in chosen}
    waiting = [place for place in places if place.left and place.index not in going]
    return _Part(held=_behind(waiting), replace=tuple(chain.from_iterable(map(_old, chosen))))


def _places(group: Group, cliques: Mapping[str, Revision]) -> list[_Place]:
    members: list[list[Revision]] = [[] for _ in range(group.count)]
    for one in cliques.values():
        unit = one.seen.unit
        if unit.group is not None and unit.group.name == group.name:
            members[unit.index].append(one)
    return [_Place(index, tuple(ones)) for index, ones in enumerate(members)]


def _chosen(group: Group, places: Sequence[_Place]) -> list[_Place]:
    chosen = [place for place in places if place.left and not place.available]
    able = sorted((place for place in places if place.left and place.available), key=lambda one: one.order)
    available = sum(place.available for place in places)
    missing = sum(place.missing for place in places)
    number = min(_away(group.template.rolling_update, 0) - missing, available - group.template.minimum + 1)
    return chosen + able[: max(0, number)]


def _behind(places: Iterable[_Place]) -> tuple[str, ...]:
    return tuple(one.seen.unit.name for place in places for one in place.members if one.behind)


def _old(place: _Place) -> tuple[Pod, ...]:
    if any(one.behind for one in place.members):
        return ()  # first the template, of all of them
    return tuple(pod for one in place.members for pod in one.old)
