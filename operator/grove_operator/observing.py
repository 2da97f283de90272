"""What there is of one replica of a set, from the informers.

    objects by label replica ──► Live (counts, owners) ──► tree ──► Picture
    pods by uid of their clique ──────────────────────────────────────┘

What we have deleted ourselves is not there any more, though a watch may still show it.
"""

from collections.abc import Collection, Iterator, Mapping

import msgspec

from grove_dp.kube.objects import Meta
from grove_operator.api import (
    CLIQUES,
    GROUPS,
    PodClique,
    PodCliqueScalingGroup,
    PodCliqueSet,
    PodGang,
    kind_key,
)
from grove_operator.applying import Writer
from grove_operator.held import Held
from grove_operator.plan.documents import Document, Key
from grove_operator.plan.hashing import set_hash
from grove_operator.plan.picture import CliqueSeen, Picture, Waiting
from grove_operator.plan.tree import Live, clique_hashes, tree
from grove_operator.pods import Pod
from grove_operator.watching import COMMON, PLACED, ReplicaKey, SetKey, Watched

__all__ = ["Hashes", "Seen", "SetHashes", "Surplus", "observe", "observe_common", "read_set"]


class Seen(msgspec.Struct, frozen=True):
    """A replica, and its objects as documents."""

    picture: Picture
    live: Live
    observed: Mapping[Key, Document]
    owners: frozenset[str]


class SetHashes(msgspec.Struct, frozen=True):
    """Hashes of a set's templates, at one generation of it."""

    generation: int
    cliques: Mapping[str, str]
    hash: str


class Hashes:
    """PERF: hashing templates takes longer than all other planning, and 500 replicas share one set."""

    def __init__(self) -> None:
        self._known: dict[str, SetHashes] = {}

    def of(self, owner: PodCliqueSet) -> SetHashes:
        """Of a set as it stands."""
        known = self._known.get(owner.metadata.uid)
        if known is None or known.generation != owner.metadata.generation:
            cliques = clique_hashes(owner)
            known = SetHashes(owner.metadata.generation, cliques, set_hash(owner.spec.template, cliques))
            self._known[owner.metadata.uid] = known
        return known

    def forget(self, uid: str) -> None:
        """A set that is gone."""
        self._known.pop(uid, None)


class Surplus(msgspec.Struct, frozen=True):
    """What there is of a replica that is not to be."""

    observed: Mapping[Key, Document]
    owners: frozenset[str]


def read_set(watched: Watched, key: SetKey) -> PodCliqueSet | None:
    """The set of that name."""
    held = watched.sets.get(key.namespace, key.name)
    return None if held is None else held.read(PodCliqueSet)


def observe(
    watched: Watched,
    writer: Writer,
    owner: PodCliqueSet,
    hashes: SetHashes,
    key: ReplicaKey,
    waiting: Mapping[str, Waiting],
) -> Seen | Surplus:
    """The replica of *key*. *waiting*: gangs of it that are held back."""
    objects = list(_objects(watched, writer, key))
    groups = {held.metadata.name: held for kind, held in objects if kind == GROUPS.kind}
    owners = frozenset(
        [
            owner.metadata.uid,
            *(
                held.metadata.uid
                for held in groups.values()
                if _controller(held.metadata) == owner.metadata.uid
            ),
        ]
    )
    observed = {(kind, held.metadata.name): held.document for kind, held in objects}
    if key.number >= owner.spec.replicas:
        return Surplus(observed, owners)
    cliques = {
        held.metadata.name: held.read(PodClique)
        for kind, held in objects
        if kind == CLIQUES.kind and _controller(held.metadata) in owners
    }
    live_groups = {
        name: held.read(PodCliqueScalingGroup) for name, held in groups.items() if held.metadata.uid in owners
    }
    live = Live(
        cliques={name: one.spec.replicas for name, one in cliques.items() if _stays(one.metadata)},
        groups={name: one.spec.replicas for name, one in live_groups.items() if _stays(one.metadata)},
        owners={name: one.metadata for name, one in live_groups.items() if _stays(one.metadata)},
        minimums={
            name: one.spec.min_available
            for name, one in cliques.items()
            if _stays(one.metadata) and one.spec.min_available
        },
    )
    replica = tree(owner, live, range(key.number, key.number + 1), hashes.cliques)[0]
    gangs = watched.gangs
    picture = Picture(
        owner=owner,
        replica=replica,
        hash=hashes.hash,
        cliques={
            unit.name: CliqueSeen(
                unit, cliques.get(unit.name), _pods(watched, writer, cliques.get(unit.name))
            )
            for unit in replica.units
        },
        groups=live_groups,
        gangs={
            gang.name: held.read(PodGang)
            for gang in replica.gangs
            if (held := gangs.get(key.namespace, gang.name)) is not None
            and _controller(held.metadata) == owner.metadata.uid
        },
        waiting=waiting,
    )
    return Seen(picture, live, observed, owners)


def observe_common(watched: Watched, writer: Writer, key: SetKey) -> Mapping[Key, Document]:
    """What the replicas of a set share."""
    found = (
        (kind.kind, held)
        for kind in COMMON
        for held in watched.kinds[kind.kind].by("set", f"{key.namespace}/{key.name}")
    )
    return {
        (kind, held.metadata.name): held.document
        for kind, held in found
        if not writer.is_deleted(held.metadata.uid)
    }


def _objects(watched: Watched, writer: Writer, key: ReplicaKey) -> Iterator[tuple[str, Held]]:
    """By their labels; but what is called as if it were of another replica has a label that is wrong."""
    where = f"{key.namespace}/{key.name}/{key.number}"
    called = f"{key.name}-{key.number}"
    for kind in (*PLACED, *watched.known):
        for held in watched.kinds[kind_key(kind)].by("replica", where):
            name = held.metadata.name
            if (name == called or name.startswith(f"{called}-")) and not writer.is_deleted(held.metadata.uid):
                yield kind_key(kind), held


def _pods(watched: Watched, writer: Writer, clique: PodClique | None) -> tuple[Pod, ...]:
    if clique is None:
        return ()
    found: Collection[Pod] = watched.pods.by("owner", clique.metadata.uid)
    return tuple(pod for pod in found if not writer.is_deleted(pod.metadata.uid))


def _controller(meta: Meta) -> str:
    owner = meta.owner
    return owner.uid if owner is not None else ""


def _stays(meta: Meta) -> bool:
    return meta.deletion_timestamp is None
