"""What the operator knows of the cluster: an informer for each kind, and the keys that changes concern.

    SetKey      a set: what its replicas share, its status, whose turn an update is
    ReplicaKey  one replica of a set: everything else, in a pipeline of its own

Objects are found by the labels that say where in a set they stand, pods by the uid of their clique. A change
that makes no difference to any plan – a status that we wrote, a pod's heartbeat – wakes nobody.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
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
    POD_GROUPS,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    SETS,
    kind_key,
)
from grove_operator.gang.room import RoomNode
from grove_operator.held import Held, same_but_status
from grove_operator.naming import L
from grove_operator.pods import Pod

__all__ = ["COMMON", "PLACED", "Key", "ReplicaKey", "SetKey", "Watched", "pod_facts", "replica_key"]

COMMON: Final = (SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS, SECRETS)  # of a set
PLACED: Final = (SERVICES, GROUPS, GANGS, CLIQUES, AUTOSCALERS)  # of a replica of it
GROUPS_S: Final = 10.0
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
    """The informers. `run` keeps them all; those of PodGroups as long as `serve` says that there are any."""

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
        self.kinds = {kind_key(kind): held(kind) for kind in (*COMMON, *PLACED, *POD_GROUPS)}
        self.served: frozenset[Resource] = frozenset()  # of POD_GROUPS
        self.known: frozenset[Resource] = frozenset()  # of them, those that have been listed
        self.changed: Callable[[], None] = lambda: None  # what is known
        self._serving = asyncio.Event()
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
        """All without which nothing can be done."""
        yield from (self.sets, self.bindings, self.pods, self.nodes)
        yield from (self.kinds[kind.kind] for kind in (*COMMON, *PLACED))

    async def run(self) -> None:
        """Keep them until cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in self.informers():
                group.create_task(informer.run(), name=f"watch {informer.resource.plural}")
            group.create_task(self._keep_served(group), name="watch PodGroups")

    async def synced(self) -> None:
        """Return when every kind has been listed; one of PodGroups that cannot be is not waited for."""
        for informer in self.informers():
            await informer.synced()
        with suppress(TimeoutError):
            async with asyncio.timeout(GROUPS_S):
                for kind in self.served:
                    await self.kinds[kind_key(kind)].synced()

    # ------------------------------------------------------------ PodGroups of schedulers

    def serve(self, served: frozenset[Resource]) -> None:
        """Which of POD_GROUPS there are."""
        self.served = served
        self._serving.set()

    async def _keep_served(self, group: asyncio.TaskGroup) -> None:
        kept: dict[Resource, asyncio.Task[None]] = {}
        while True:
            for kind in kept.keys() - self.served:
                kept.pop(kind).cancel()
            for kind in self.served - kept.keys():
                kept[kind] = group.create_task(self._keep(kind), name=f"watch {kind_key(kind)}")
            await self._serving.wait()
            self._serving.clear()

    async def _keep(self, kind: Resource) -> None:
        informer = self.kinds[kind_key(kind)]
        running = asyncio.create_task(informer.run(), name=f"watch {informer.resource.group}")
        try:
            await informer.synced()
            self.known |= {kind}
            self.changed()
            await running
        finally:
            running.cancel()
            self.known -= {kind}
            self.changed()

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
