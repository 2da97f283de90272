"""What the operator knows of the cluster: an informer for each kind, and the keys that changes concern.

    SetKey      a set: what its replicas share, its status, whose turn an update is
    ReplicaKey  one replica of a set: everything else, in a pipeline of its own

Objects are found by the labels that say where in a set they stand, pods by the uid of their clique. A change
that makes no difference to any plan – a status that we wrote, a pod's heartbeat – wakes nobody.
"""

import asyncio
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any, Final, NamedTuple

from grove_dp.clock import Clock
from grove_dp.kube.access import Access
from grove_dp.kube.informer import Change, Informer
from grove_dp.kube.objects import NODES, PODS, Resource
from grove_operator import naming
from grove_operator.api import (
    AUTOSCALERS,
    BINDINGS,
    CLIQUES,
    GANGS,
    GROUPS,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    SETS,
)
from grove_operator.gang.room import RoomNode
from grove_operator.held import Held, same_but_status
from grove_operator.naming import L
from grove_operator.pods import Pod

__all__ = ["COMMON", "PLACED", "Key", "ReplicaKey", "SetKey", "Watched", "pod_facts", "replica_key"]

COMMON: Final = (SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS, SECRETS)  # of a set
PLACED: Final = (SERVICES, GROUPS, GANGS, CLIQUES, AUTOSCALERS)  # of a replica of it
OURS: Final = f"{naming.MANAGED_BY}={naming.OPERATOR}"


class SetKey(NamedTuple):
    """A PodCliqueSet."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class ReplicaKey(NamedTuple):
    """One replica of a PodCliqueSet."""

    namespace: str
    name: str
    number: int

    @property
    def set(self) -> SetKey:
        """Its set."""
        return SetKey(self.namespace, self.name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}[{self.number}]"


Key = SetKey | ReplicaKey


class Watched:
    """The informers. `run` keeps them all."""

    def __init__(
        self, api: Access, *, namespace: str | None = None, clock: Clock, rng: Random | None = None
    ) -> None:
        """Of *namespace*, or of all."""

        def held(resource: Resource, labels: str = OURS) -> Informer[Held]:
            return Informer(
                api,
                resource,
                Held,
                namespace=namespace,
                labels=labels,
                indexes={"set": _by_set, "replica": _by_replica, "owner": _by_owner},
                clock=clock,
                rng=rng,
            )

        self.sets = held(SETS, "")
        self.kinds = {kind.kind: held(kind) for kind in (*COMMON, *PLACED)}
        self.bindings = held(BINDINGS, "")
        self.pods = Informer(
            api,
            PODS,
            Pod,
            indexes={"owner": _by_owner, "gang": _by_gang},
            clock=clock,
            rng=rng,
        )
        self.nodes = Informer(api, NODES, RoomNode, clock=clock, rng=rng)
        self.own = False  # while a write of ours is taken over: who wrote it knows

    @property
    def cliques(self) -> Informer[Held]:
        """PodCliques."""
        return self.kinds[CLIQUES.kind]

    @property
    def groups(self) -> Informer[Held]:
        """PodCliqueScalingGroups."""
        return self.kinds[GROUPS.kind]

    @property
    def gangs(self) -> Informer[Held]:
        """PodGangs."""
        return self.kinds[GANGS.kind]

    def informers(self) -> Iterator[Informer[Any]]:
        """All of them."""
        yield from (self.sets, self.bindings, self.pods, self.nodes)
        yield from self.kinds.values()

    async def run(self) -> None:
        """Keep them until cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in self.informers():
                group.create_task(informer.run(), name=f"watch {informer.resource.plural}")

    async def synced(self) -> None:
        """Return when every kind has been listed."""
        for informer in self.informers():
            await informer.synced()

    def wrote(self, kind: str, answer: Any) -> None:
        """Take over what a write returned, without waking anybody for it."""
        before, self.own = self.own, True
        try:
            (self.pods if kind == PODS.kind else self.sets if kind == SETS.kind else self.kinds[kind]).wrote(
                answer
            )
        finally:
            self.own = before

    # ------------------------------------------------------------ who is concerned

    def set_keys(self, change: Change[Held]) -> Iterable[Key]:
        """Of a change of a set: only if a plan could see it."""
        if change.old is not None and change.new is not None and same_but_status(change.old, change.new):
            return ()
        meta = change.last.metadata
        return (SetKey(meta.namespace, meta.name),)

    def held_keys(self, change: Change[Held]) -> Iterable[Key]:
        """Of a change of an object of ours: its replica, or its set."""
        if self.own or (change.old and change.new and same_but_status(change.old, change.new)):
            return ()
        keys = {_key(held) for held in (change.old, change.new) if held is not None}
        return [key for key in keys if key is not None]

    def pod_keys(self, change: Change[Pod]) -> Iterable[Key]:
        """Of a change of a pod: its replica."""
        if self.own or (change.old and change.new and pod_facts(change.old) == pod_facts(change.new)):
            return ()
        keys = {_key(held) for held in (change.old, change.new) if held is not None}
        return [key for key in keys if isinstance(key, ReplicaKey)]


def replica_key(held: Held | Pod) -> ReplicaKey | None:
    """Where an object of ours stands."""
    key = _key(held)
    return key if isinstance(key, ReplicaKey) else None


def pod_facts(pod: Pod) -> tuple[Any, ...]:
    """All of a pod that any plan looks at."""
    return (
        pod.metadata.uid,
        pod.metadata.labels,
        pod.metadata.annotations,
        pod.metadata.deletion_timestamp is None,
        pod.metadata.owner_references,
        [gate.name for gate in pod.spec.scheduling_gates or ()],
        pod.spec.node_name,
        pod.status.phase,
        pod.ready,
        pod.unschedulable,
        [
            (one.started, one.ready, one.last_state is None or one.last_state.terminated is None)
            for one in pod.status.container_statuses or ()
        ],
    )


def _key(held: Held | Pod) -> Key | None:
    meta = held.metadata
    name = meta.label(L.PART_OF)
    if name is None or meta.label(naming.MANAGED_BY) != naming.OPERATOR:
        return None
    index = meta.label(L.SET_REPLICA)
    if index is None:
        return SetKey(meta.namespace, name)
    return ReplicaKey(meta.namespace, name, int(index)) if index.isdecimal() else None


# ------------------------------------------------------------ indexes


def _by_set(held: Held) -> Iterable[str]:
    meta = held.metadata
    return (f"{meta.namespace}/{meta.label(L.PART_OF)}",)


def _by_replica(held: Held) -> Iterable[str]:
    meta = held.metadata
    return (f"{meta.namespace}/{meta.label(L.PART_OF)}/{meta.label(L.SET_REPLICA)}",)


def _by_owner(held: Held | Pod) -> Iterable[str]:
    return tuple(owner.uid for owner in held.metadata.owner_references or () if owner.controller)


def _by_gang(pod: Pod) -> Iterable[str]:
    gang = pod.gang
    return (f"{pod.metadata.namespace}/{gang}",) if gang else ()
