"""What has changed for gangs: their own pods, the room, and the time.

nodes, pods ─► Room          pods, gangs, cliques ─► dirty gangs ─┐
                                          what is due, at a time ─┴─► `stirred` returns
"""

import asyncio
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from grove_dp.clock import Clock
from grove_dp.kube.informer import Change
from grove_operator.api import PodClique
from grove_operator.gang.pins import GangKey
from grove_operator.gang.room import Room, RoomNode
from grove_operator.held import Held
from grove_operator.naming import L
from grove_operator.pods import Pod
from grove_operator.watching import Watched, pod_facts

__all__ = ["Lookout"]


class Lookout:
    """Follows the informers from its making on."""

    def __init__(self, watched: Watched, clock: Clock) -> None:
        self._watched = watched
        self._clock = clock
        self.room = Room()
        self.dirty: set[GangKey] = set()
        self.gone: list[GangKey] = []
        self.bound_at = 0.0  # when a scheduler was last seen to bind a pod
        self.freed_at = 0.0  # when there was last more room than before
        self._freed = 0
        self._scaled: dict[GangKey, set[GangKey]] = {}  # by base
        self._stirred = asyncio.Event()
        watched.nodes.listen(self._node_told)
        watched.pods.listen(self._pod_told)
        watched.gangs.listen(self._gang_told)
        watched.cliques.listen(self._clique_told)

    # ------------------------------------------------------------ reading

    def pods(self, key: GangKey) -> Iterator[Pod]:
        """All with the gang's label."""
        return iter(self._watched.pods.by("gang", str(key)))

    def gang(self, key: GangKey) -> Held | None:
        """The PodGang, unless it is on its way out."""
        held = self._watched.gangs.get(*key)
        return held if held is not None and held.metadata.deletion_timestamp is None else None

    def clique(self, namespace: str, name: str) -> PodClique | None:
        """The PodClique of that name."""
        held = self._watched.cliques.get(namespace, name)
        return None if held is None else held.read(PodClique)

    def siblings(self, gang: Held) -> Iterator[str]:
        """Nodes that the same set's other replicas have, or are to have."""
        meta = gang.metadata
        for other in self._watched.gangs.by("set", f"{meta.namespace}/{meta.label(L.PART_OF)}"):
            if other.metadata.label(L.SET_REPLICA) != meta.label(L.SET_REPLICA):
                key = GangKey(meta.namespace, other.metadata.name)
                yield from (node for node, _ in self.room.reserved(str(key)).values())
                for pod in self.pods(key):
                    if node := pod.spec.node_name or ("" if pod.gated else pod.pinned):
                        yield node

    def cleared_at(self, pod: Pod) -> float:
        """By `now()`, when the grace is over of those that end for the sake of *pod*; 0: there are none."""
        node = pod.status.nominated_node_name
        ends = [one.ends for where, one in self.room.going() if where == node and one.ends] if node else []
        if not ends:
            return 0.0
        return self._clock.now() + datetime.fromisoformat(max(ends)).timestamp() - self._clock.wall()

    # ------------------------------------------------------------ waiting

    def stir(self, *keys: GangKey) -> None:
        """Look at these, and at whatever is due."""
        self.dirty.update(keys)
        self._stirred.set()

    async def stirred(self, due: float) -> None:
        """Return when something has changed, or at *due*."""
        if not self._stirred.is_set() and due > self._clock.now():
            wishes: list[asyncio.Task[Any]] = [asyncio.create_task(self._stirred.wait())]
            if due < float("inf"):
                wishes.append(asyncio.create_task(_slept(self._clock, due)))
            try:
                await asyncio.wait(wishes, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wish in wishes:
                    wish.cancel()
        await asyncio.sleep(0)  # what comes together is looked at together
        self._stirred.clear()
        if self.room.freed != self._freed:
            self._freed, self.freed_at = self.room.freed, self._clock.now()

    # ------------------------------------------------------------ listening

    def _node_told(self, change: Change[RoomNode]) -> None:
        if change.new is None:
            self.room.drop_node(change.last.metadata.name)
        else:
            self.room.put_node(change.new)
        self.stir()

    def _pod_told(self, change: Change[Pod]) -> None:
        pod = change.last
        if change.new is None:
            self.room.drop_pod(pod.metadata.namespace, pod.metadata.name)
        else:
            self.room.put_pod(change.new)
            if pod.bound and (change.old is None or not change.old.bound):
                self.bound_at = self._clock.now()
        if pod.gang and not (change.old and change.new and pod_facts(change.old) == pod_facts(change.new)):
            key = GangKey(pod.metadata.namespace, pod.gang)
            self.stir(key, *self._scaled.get(key, ()))
        else:
            self.stir()

    def _gang_told(self, change: Change[Held]) -> None:
        meta = change.last.metadata
        key = GangKey(meta.namespace, meta.name)
        if base := meta.label(L.BASE_GANG):
            scaled = self._scaled.setdefault(GangKey(meta.namespace, base), set())
            if change.new is None:
                scaled.discard(key)
            else:
                scaled.add(key)
        if change.new is None:
            self.gone.append(key)
            self.stir(*self._scaled.pop(key, ()))
        else:
            self.stir(key)

    def _clique_told(self, change: Change[Held]) -> None:
        meta = change.last.metadata
        if gang := meta.label(L.GANG):
            self.stir(GangKey(meta.namespace, gang))


async def _slept(clock: Clock, until: float) -> None:
    await clock.sleep(max(0.0, until - clock.now()))
