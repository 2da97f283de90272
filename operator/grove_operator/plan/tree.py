"""The tree of a set: which groups, cliques and gangs each of its replicas has now.

    Replica r ─┬─ Group g (count: the live one)
               ├─ Unit  clique c             gang p-r        standalone
               ├─ Unit  g's replica i, c     gang p-r        i < minAvailable
               └─ Unit  g's replica i, c     gang p-r-g-k    i = minAvailable + k

Templates say how many there are at first; from then on the live objects do, at every level. A count below
minAvailable is left where it stands but counts as minAvailable (nobody's replica is destroyed by a slip of an
autoscaler); 0 is honoured: such a clique or group is in no gang, and nobody waits for it.

A replica of more than PODS_MOST pods is not made (TooManyPods): the schema bounds each count, and their
product is looked at before anything is made of it.

Everything is known by its place in the tree and never by taking names apart: `a-0` beside `a` does no harm.
Where two places come to one name (clique `g-0-c`, and clique `c` of group `g`), `expand` raises NamesCollide.
"""

from collections.abc import Iterator, Mapping
from itertools import chain

import msgspec

from grove_dp.errors import GroveError
from grove_dp.kube.objects import Meta
from grove_operator import naming
from grove_operator.api import PODS_MOST, CliqueTemplate, GroupTemplate, PodCliqueSet
from grove_operator.plan.hashing import template_hash

__all__ = [
    "Gang",
    "Group",
    "Live",
    "NamesCollide",
    "Replica",
    "TooManyPods",
    "Unit",
    "clique_hashes",
    "effective",
    "tree",
]


class NamesCollide(GroveError):
    """Two objects of a set would have one name; another name for a clique or a group is the remedy."""

    reason = "NamesCollide"


class TooManyPods(GroveError):
    """A replica would have more pods than a set may have in one; fewer replicas of a group are the remedy."""

    reason = "TooManyPods"


class Live(msgspec.Struct, frozen=True):
    """What the live objects say, by name: how many replicas they ask for, and which groups there are."""

    cliques: Mapping[str, int] = {}
    groups: Mapping[str, int] = {}
    owners: Mapping[str, Meta] = {}  # the groups: cliques can be made once their owner has a uid
    minimums: Mapping[str, int] = {}  # minAvailable of cliques: it stays, where a template says nothing of it


class Group(msgspec.Struct, frozen=True):
    """A PodCliqueScalingGroup."""

    name: str
    template: GroupTemplate
    asked: int
    count: int


class Unit(msgspec.Struct, frozen=True):
    """A PodClique."""

    name: str
    template: CliqueTemplate
    hash: str
    replica: int
    gang: str
    asked: int
    count: int
    minimum: int  # minAvailable
    group: Group | None = None
    index: int = 0  # within the group

    @property
    def scaled(self) -> bool:
        """Whether its gang is one beyond the base."""
        return self.group is not None and self.index >= self.group.template.minimum


class Gang(msgspec.Struct, frozen=True):
    """A PodGang, and the cliques in it that are to run."""

    name: str
    replica: int
    units: tuple[Unit, ...]
    group: Group | None = None  # of a scaled gang
    index: int = 0


class Replica(msgspec.Struct, frozen=True):
    """One replica of a set."""

    index: int
    groups: tuple[Group, ...]
    units: tuple[Unit, ...]  # in the order of templates, those of groups after the standalone ones

    @property
    def gangs(self) -> Iterator[Gang]:
        """The base gang, then the scaled ones; none that would be empty."""
        members: dict[str, list[Unit]] = {}
        for unit in self.units:
            members.setdefault(unit.gang, []).append(unit)
        for name, units in members.items():
            first = units[0]
            place = (first.group, first.index) if first.scaled else (None, 0)
            if there := tuple(unit for unit in units if unit.count):
                yield Gang(name, self.index, there, *place)


def effective(asked: int, minimum: int) -> int:
    """How many count where *asked* are asked for: not fewer than *minimum*, or none."""
    return max(asked, minimum) if asked > 0 else 0


def tree(
    owner: PodCliqueSet,
    live: Live,
    indices: range | None = None,
    hashes: Mapping[str, str] | None = None,
) -> tuple[Replica, ...]:
    """The replicas of a set, or those of *indices*. *hashes*: of its cliques, where they are known."""
    if hashes is None:
        hashes = clique_hashes(owner)
    wanted = range(owner.spec.replicas) if indices is None else indices
    return tuple(_replica(owner, live, index, hashes) for index in wanted)


def clique_hashes(owner: PodCliqueSet) -> Mapping[str, str]:
    """Of the templates of a set, by name."""
    template = owner.spec.template
    return {one.name: template_hash(one, template.priority_class_name) for one in template.cliques}


def _replica(owner: PodCliqueSet, live: Live, index: int, hashes: Mapping[str, str]) -> Replica:
    template = owner.spec.template
    groups = tuple(_group(owner.metadata.name, live, index, group) for group in template.groups)
    _bounded(sum(group.count * len(group.template.clique_names) for group in groups))
    alone = (one for one in template.cliques if template.group_of(one.name) is None)
    units = tuple(
        chain(
            (_standalone(owner.metadata.name, live, index, one, hashes[one.name]) for one in alone),
            *(_members(owner, live, index, group, hashes) for group in groups),
        )
    )
    _bounded(sum(unit.count for unit in units))
    return Replica(index, groups, units)


def _bounded(pods: int) -> None:
    if pods > PODS_MOST:
        raise TooManyPods(
            f"it would have {pods} pods or more, at most are {PODS_MOST}: scale its cliques or groups down"
        )


def _group(set_name: str, live: Live, index: int, template: GroupTemplate) -> Group:
    name = naming.group(set_name, index, template.name)
    asked = live.groups.get(name, template.count)
    return Group(name, template, asked, effective(asked, template.minimum))


def _standalone(set_name: str, live: Live, index: int, template: CliqueTemplate, hash_: str) -> Unit:
    name = naming.clique(set_name, index, template.name)
    return _unit(live, name, template, hash_, index, naming.base_gang(set_name, index))


def _unit(
    live: Live,
    name: str,
    template: CliqueTemplate,
    hash_: str,
    replica: int,
    gang: str,
    group: Group | None = None,
    index: int = 0,
) -> Unit:
    asked = live.cliques.get(name, template.count)
    minimum = template.spec.min_available or live.minimums.get(name) or template.count
    return Unit(name, template, hash_, replica, gang, asked, effective(asked, minimum), minimum, group, index)


def _members(
    owner: PodCliqueSet, live: Live, index: int, group: Group, hashes: Mapping[str, str]
) -> Iterator[Unit]:
    base = naming.base_gang(owner.metadata.name, index)
    minimum = group.template.minimum
    for place in range(group.count):
        gang = base if place < minimum else naming.scaled_gang(group.name, place, minimum)
        for clique in group.template.clique_names:
            template = owner.spec.template.clique(clique)
            if template is None:
                continue  # refused by validation; what there is can still run
            name = naming.group_clique(group.name, place, clique)
            yield _unit(live, name, template, hashes[clique], index, gang, group, place)
