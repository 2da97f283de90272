"""Gangs on a scheduler that knows none: all pods of one are let go together, onto nodes with room, or none.

    gated pods, all there ─► in their turn ─► place ─┬─ refused: wait, and say why
                                                      └─ reserve ─► un-gate and pin, stage by stage ─► bound
                                       once more, elsewhere ◄── not bound in time ──┘        │ too often
                                                                    all of it again, later ◄─┘

Turn: priority, what has begun, base before scaled, age. What does not fit is passed by, until it has waited
for STARVED_S; then nothing younger begins before it. Pods beyond a minimum come after all minimums, and leave
what has just become free to gangs for EXTRA_S.

kube-scheduler has the last word: a pin only narrows, so nothing is over-committed, and who was quicker than
we has the node. Then the pods that were left over are made anew, with other pins; after `tries` the whole
gang is, unless it has run before. So no gang is half bound for longer than tries x confirm_s.

Nothing here is polled: pods, nodes and gangs that change are looked at, and what was refused again when there
is more room than at that time.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Final, NamedTuple, Protocol

import msgspec

from grove_dp.clock import Clock
from grove_dp.errors import GroveError
from grove_dp.kube.events import Recorder, Reference
from grove_dp.kube.informer import Change
from grove_dp.kube.objects import PODS
from grove_operator.api import GANGS, PackConstraint, PodClique, PodGang
from grove_operator.applying import Writer
from grove_operator.controllers.state import Boards
from grove_operator.gang.ask import Ask, AskConfig, AskGroup, AskPod, Packing, Placement
from grove_operator.gang.members import Group, Members, members
from grove_operator.gang.needs import Needs, needs, unmodelled
from grove_operator.gang.pack import place
from grove_operator.gang.release import release_patch
from grove_operator.gang.room import PodKey, Room, RoomNode
from grove_operator.held import Held
from grove_operator.naming import L
from grove_operator.plan.picture import Waiting
from grove_operator.plan.pods import FORMER_NODE
from grove_operator.pods import Pod
from grove_operator.watching import Watched, pod_facts

__all__ = ["Admission", "GangTimes"]

log = logging.getLogger(__name__)

STARVED_S: Final = 300.0
EXTRA_S: Final = 1.0
PATIENCE: Final = 12  # confirm_s, for a scheduler that is slow
REFUSED_S: Final = 1.0  # a scheduler that has said no is given so long to make room
TOLD_S: Final = 1.0  # an Event tells of a gang that has waited so long
RETRY_S: Final = 0.5
BACKOFF_MAX_S: Final = 300.0


class GangTimes(msgspec.Struct, frozen=True):
    """How long a gang may be half bound, and what then."""

    confirm_s: float = 10.0
    tries: int = 3
    backoff_s: float = 5.0


class WaitMeter(Protocol):
    """Who measures waiting."""

    def gang_waited(self, seconds: float) -> None:
        """A gang has been released."""
        ...


class _Key(NamedTuple):
    namespace: str
    name: str


class _Pins(msgspec.Struct):
    """Of a gang that has pods to be released, or not bound yet."""

    since: float
    refused_at: int = -1  # how much room there had been when it was refused
    extra_refused_at: int = -1
    setbacks: int = 0  # in a row
    not_before: float = 0.0
    due: float = float("inf")  # it is to be looked at then, whatever happens
    established: bool = False  # it has run as a whole
    told: str = ""
    released: dict[str, float] = {}  # uid -> when we let it go, of those not bound yet
    flying: set[str] = set()  # being patched
    score: float | None = None


class Admission:
    """The own backend. `run` it beside the controllers."""

    def __init__(
        self,
        watched: Watched,
        writer: Writer,
        boards: Boards,
        recorder: Recorder,
        clock: Clock,
        meter: WaitMeter,
        *,
        times: GangTimes | None = None,
        scheduler: str = "default-scheduler",
    ) -> None:
        """Pods of another *scheduler* are counted and released, not placed."""
        self._watched = watched
        self._writer = writer
        self._boards = boards
        self._recorder = recorder
        self._clock = clock
        self._meter = meter
        self._times = times or GangTimes()
        self._scheduler = scheduler
        self.room = Room()
        self._gangs: dict[_Key, _Pins] = {}
        self._dirty: set[_Key] = set()
        self._open: set[_Key] = set()  # gangs that more room or time may help
        self._scaled: dict[_Key, set[_Key]] = {}
        self._stirred = asyncio.Event()
        self._freed = (0, 0.0)  # room.freed, and when it was first seen so
        self._due = float("inf")
        self._bound_at = 0.0  # when a scheduler was last seen to bind a pod
        self._tasks: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------ listening

    def follow(self) -> None:
        """Learn of every change from now on."""
        self._watched.nodes.listen(self._node_told)
        self._watched.pods.listen(self._pod_told)
        self._watched.gangs.listen(self._gang_told)
        self._watched.cliques.listen(self._clique_told)

    def _node_told(self, change: Change[RoomNode]) -> None:
        if change.new is None:
            self.room.drop_node(change.last.metadata.name)
        else:
            self.room.put_node(change.new)
        self._stirred.set()

    def _pod_told(self, change: Change[Pod]) -> None:
        if change.new is None:
            self.room.drop_pod(change.last.metadata.namespace, change.last.metadata.name)
        else:
            self.room.put_pod(change.new)
        pod = change.last
        if pod.bound and change.new is not None and (change.old is None or not change.old.bound):
            self._bound_at = self._clock.now()
        if pod.gang and not (change.old and change.new and pod_facts(change.old) == pod_facts(change.new)):
            key = _Key(pod.metadata.namespace, pod.gang)
            self._dirty.add(key)
            self._dirty |= self._scaled.get(key, set())
        self._stirred.set()

    def _gang_told(self, change: Change[Held]) -> None:
        meta = change.last.metadata
        key = _Key(meta.namespace, meta.name)
        base = meta.label(L.BASE_GANG)
        if base:
            self._scaled.setdefault(_Key(meta.namespace, base), set()).add(key)
        if change.new is None:
            self._scaled.pop(key, None)
            self._forget(key)
            for held in self._scaled.values():
                held.discard(key)
        else:
            self._dirty.add(key)
            self._stirred.set()

    def _clique_told(self, change: Change[Held]) -> None:
        meta = change.last.metadata
        if gang := meta.label(L.GANG):
            self._dirty.add(_Key(meta.namespace, gang))
            self._stirred.set()

    def _forget(self, key: _Key) -> None:
        self._dirty.discard(key)
        self._open.discard(key)
        if self._gangs.pop(key, None) is not None:
            self.room.unreserve(_owner(key))
            self._boards.hold_back(*key, None)

    # ------------------------------------------------------------ life

    async def run(self) -> None:
        """Admit gangs until cancelled."""
        try:
            while True:
                await self._stir()
                self._pass()
        finally:
            for task in self._tasks:
                task.cancel()

    async def _stir(self) -> None:
        """Until something has changed, or is due."""
        if not self._stirred.is_set() and self._due > self._clock.now():
            waiting = asyncio.ensure_future(self._stirred.wait())
            due = asyncio.ensure_future(
                self._clock.sleep(max(0.0, self._due - self._clock.now()))
                if self._due < float("inf")
                else self._stirred.wait()
            )
            try:
                await asyncio.wait({waiting, due}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                due.cancel()
        await asyncio.sleep(0)  # what comes together is looked at together
        self._stirred.clear()

    def _again(self, key: _Key, at: float) -> None:
        pins = self._gangs[key]
        pins.due = min(pins.due, at)
        self._due = min(self._due, at)

    # ------------------------------------------------------------ a pass

    def _pass(self) -> None:
        """Look at every gang that could go on, in their turn."""
        now = self._clock.now()
        self._due = float("inf")
        if self.room.freed != self._freed[0]:
            self._freed = (self.room.freed, now)
        starved = ""
        extras: list[tuple[_Key, PodGang, Members]] = []
        dirty, self._dirty = self._dirty, set()
        for key, gang, crowd in sorted(self._candidates(dirty, now), key=_turn):
            waiting = self._admit(key, gang, crowd, starved, now)
            self._tell(key, gang, waiting, now)
            if waiting is None:
                extras.append((key, gang, crowd))
            elif self._gangs[key].refused_at >= 0 and now - self._gangs[key].since > STARVED_S:
                starved = starved or key.name
            self._note(key)
        waiting_for_room = any(self._gangs[key].refused_at >= 0 for key in self._open)
        extras = [one for one in extras if not self._gangs[one[0]].flying]
        for key, _, _ in extras:
            self._gangs[key].extra_refused_at = -1
        for again in (True, False):  # who was there before, before who is new
            for key, gang, crowd in extras:
                self._admit_extras(key, gang, crowd, waiting_for_room, again, now)
                self._note(key)

    def _note(self, key: _Key) -> None:
        """Whether it is to be looked at again though nothing of its own has changed."""
        pins = self._gangs[key]
        if pins.refused_at >= 0 or pins.extra_refused_at >= 0 or pins.due < float("inf"):
            self._open.add(key)
        else:
            self._open.discard(key)

    def _candidates(self, dirty: set[_Key], now: float) -> Iterator[tuple[_Key, PodGang, Members]]:
        """Those that have changed, those that more room or time may help; the others are left alone."""
        for key in sorted(dirty | self._open):
            held = self._watched.gangs.get(*key)
            if held is None or held.metadata.deletion_timestamp or self._writer.is_deleted(held.metadata.uid):
                self._forget(key)
                continue
            pins = self._gangs.setdefault(key, _Pins(now))
            room_grew = pins.refused_at >= 0 and pins.refused_at != self.room.freed
            extra_room = pins.extra_refused_at >= 0 and pins.extra_refused_at != self.room.freed
            if not (key in dirty or room_grew or extra_room or pins.due <= now):
                self._due = min(self._due, pins.due)
                continue
            pins.due = float("inf")
            gang = held.read(PodGang)
            yield key, gang, members(gang, self._pods(key), partial(self._clique, key))

    def _pods(self, key: _Key) -> Iterator[Pod]:
        for pod in self._watched.pods.by("gang", f"{key.namespace}/{key.name}"):
            if not self._writer.is_deleted(pod.metadata.uid):
                yield pod

    def _clique(self, key: _Key, name: str) -> PodClique | None:
        held = self._watched.cliques.get(key.namespace, name)
        return None if held is None else held.read(PodClique)

    # ------------------------------------------------------------ minimums

    def _admit(self, key: _Key, gang: PodGang, crowd: Members, starved: str, now: float) -> Waiting | None:
        """Let go what its minimums still lack; why not, if that cannot be."""
        pins = self._gangs[key]
        pins.refused_at = -1
        if crowd.scheduled:
            pins.established, pins.setbacks, pins.not_before = True, 0, 0.0
            self.room.unreserve(_owner(key))
        self._confirm(key, crowd, now)
        needed = [(group, pod) for group in crowd.groups for pod in group.needed]
        if not needed or pins.flying:
            return self._short(crowd) if not pins.flying else None
        if why := self._short(crowd) or self._early(key, gang, crowd, starved, now):
            self.room.unreserve(_owner(key))
            return why
        pods = [pod for _, pod in needed]
        nodes: Mapping[PodKey, str] = {}
        if self._is_placed_by_us(pods):
            placed = self._place(key, gang, crowd, pods)
            if isinstance(placed, Waiting):
                return placed
            nodes = placed
        opened = [pod for group, pod in needed if group.opened]
        if opened:
            self._release(key, opened, nodes, now)
        closed = {group.spec.name for group, _ in needed if not group.opened}
        if closed:
            return Waiting("StartOrder", f"{', '.join(sorted(closed))} starts when its parents have")
        return None

    def _short(self, crowd: Members) -> Waiting | None:
        missing = [
            f"{group.spec.name} has {len(group.released) + len(group.free)} of {group.spec.min_replicas}"
            for group in crowd.groups
            if group.short
        ]
        if not missing:
            return None
        if any(group.barred for group in crowd.groups):
            return Waiting("OtherGates", f"pods are held by scheduling gates of others: {'; '.join(missing)}")
        return Waiting("PodsPending", f"pods are still to be made: {'; '.join(missing)}")

    def _early(self, key: _Key, gang: PodGang, crowd: Members, starved: str, now: float) -> Waiting | None:
        """Why it is not its turn."""
        pins = self._gangs[key]
        base = gang.metadata.label(L.BASE_GANG)
        if base and not crowd.begun and not self._is_scheduled(_Key(key.namespace, base)):
            return Waiting("BaseGangPending", f"gang {base} must have its nodes first")
        if pins.not_before > now:
            self._again(key, pins.not_before)
            return Waiting(
                "BackingOff", f"tried {pins.setbacks} times; once more when others have had a turn"
            )
        pins.not_before = 0.0
        if starved and starved != key.name and not crowd.begun:
            return Waiting("Yielding", f"gang {starved} has waited for longer than {STARVED_S:g} s")
        return None

    def _is_scheduled(self, key: _Key) -> bool:
        """Its minimums have nodes; those of later stages are reserved since it was admitted."""
        held = self._watched.gangs.get(*key)
        if held is None:
            return True  # a base without pods: nothing to wait for
        crowd = members(held.read(PodGang), self._pods(key), partial(self._clique, key))
        return crowd.begun and all(
            group.bound >= group.spec.min_replicas or not group.opened for group in crowd.groups
        )

    def _is_placed_by_us(self, pods: Iterable[Pod]) -> bool:
        return all(
            pod.spec.scheduler_name in ("", self._scheduler) and unmodelled(pod) is None for pod in pods
        )

    # ------------------------------------------------------------ places

    def _place(
        self, key: _Key, gang: PodGang, crowd: Members, pods: list[Pod]
    ) -> Mapping[PodKey, str] | Waiting:
        """Nodes by pod, reserved; or why there are none."""
        pins = self._gangs[key]
        self.room.unreserve(_owner(key))
        answer = place(self.room, _ask(gang, crowd, {_pod_key(pod) for pod in pods}))
        if not isinstance(answer, Placement):
            pins.refused_at = self.room.freed
            return Waiting(answer.reason, answer.message)
        pins.score = answer.score
        self.room.reserve(_owner(key), _claims(pods, answer))
        return answer.nodes

    def _admit_extras(
        self, key: _Key, gang: PodGang, crowd: Members, waiting_for_room: bool, again: bool, now: float
    ) -> None:
        """Pods beyond the minimum, one by one; those that come *again* do not wait, their room is free."""
        pins = self._gangs[key]
        later = waiting_for_room and now < self._freed[1] + EXTRA_S
        for group in crowd.groups:
            for pod in _extra(group, again):
                if later and not again:
                    self._again(key, self._freed[1] + EXTRA_S)
                    return
                if not self._is_placed_by_us([pod]):
                    self._release(key, [pod], {}, now)
                    continue
                answer = place(self.room, _ask(gang, crowd, {_pod_key(pod)}))
                if not isinstance(answer, Placement):
                    pins.extra_refused_at = self.room.freed
                    break
                self.room.reserve(f"{_owner(key)}+{pod.metadata.name}", _claims([pod], answer))
                self._release(key, [pod], answer.nodes, now)

    # ------------------------------------------------------------ letting go

    def _release(self, key: _Key, pods: list[Pod], nodes: Mapping[PodKey, str], now: float) -> None:
        pins = self._gangs[key]
        for pod in pods:
            uid = pod.metadata.uid
            pins.flying.add(uid)
            pins.released[uid] = now
            task = asyncio.create_task(
                self._let_go(key, pod, nodes.get(_pod_key(pod), "")), name=f"release {uid}"
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _let_go(self, key: _Key, pod: Pod, node: str) -> None:
        meta = pod.metadata
        retry = False
        try:
            await self._writer.merge(PODS, meta.namespace, meta.name, release_patch(pod, node))
        except GroveError as error:
            log.warning("pod %s/%s is not released: %s", meta.namespace, meta.name, error)
            retry = True
        finally:
            self.room.unreserve(f"{_owner(key)}+{meta.name}")
            if (pins := self._gangs.get(key)) is not None:
                pins.flying.discard(meta.uid)
                if retry:
                    self._again(key, self._clock.now() + RETRY_S)
                    self._open.add(key)
                else:
                    self._dirty.add(key)
            self._stirred.set()

    # ------------------------------------------------------------ whether they arrived

    def _confirm(self, key: _Key, crowd: Members, now: float) -> None:
        """Pods that were let go and found no node in time are made anew; with them, at last, all others."""
        pins = self._gangs[key]
        unbound = {pod.metadata.uid: pod for pod in crowd.unbound()}
        for uid in list(pins.released):
            if uid not in unbound and uid not in pins.flying:
                del pins.released[uid]
        for uid in unbound:
            pins.released.setdefault(uid, now)
        late = []
        for uid, pod in unbound.items():
            if uid in pins.flying:
                continue
            due = self._late_at(pod, pins.released[uid])
            if now >= due:
                late.append(pod)
            else:
                self._again(key, due)
        if late:
            self._give_up(key, crowd, late, now)

    def _late_at(self, pod: Pod, released: float) -> float:
        """When a pod that was *released* then should have had its node.

        One that the scheduler has not judged may only be behind others: as long as it binds some, time is not
        counted, for pods that were made anew would have to wait behind even more.
        """
        limit_s = self._times.confirm_s
        if pod.condition("PodScheduled") is None:
            return min(max(released, self._bound_at) + limit_s, released + PATIENCE * limit_s)
        if pod.unschedulable and not pod.status.nominated_node_name:
            limit_s = min(REFUSED_S, limit_s)
        return released + limit_s

    def _give_up(self, key: _Key, crowd: Members, late: list[Pod], now: float) -> None:
        pins = self._gangs[key]
        pins.setbacks += 1
        going = late
        if pins.setbacks > self._times.tries and not pins.established and not self._was_healthy(key, crowd):
            parents = {name for group in crowd.groups for name in group.parents if not group.opened}
            started = (
                {
                    group.spec.name
                    for group in crowd.groups
                    if group.spec.name in parents or any(pod.ready for pod in group.released)
                }
                if any(group.parents for group in crowd.groups)
                else set()
            )
            going = [
                pod for group in crowd.groups if group.spec.name not in started for pod in group.released
            ]
        if pins.setbacks >= self._times.tries:
            over = pins.setbacks - self._times.tries
            pins.not_before = now + min(self._times.backoff_s * 2.0**over, BACKOFF_MAX_S)
        for pod in going:
            pins.released.pop(pod.metadata.uid, None)
        task = asyncio.create_task(self._make_anew(key, going), name=f"anew {key.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _make_anew(self, key: _Key, pods: list[Pod]) -> None:
        try:
            await self._writer.delete_pods(pods)
        except (GroveError, ExceptionGroup) as error:
            log.warning("gang %s/%s: pods are not taken back: %s", *key, error)
        self._dirty.add(key)
        self._stirred.set()

    def _was_healthy(self, key: _Key, crowd: Members) -> bool:
        """Some operator has seen it run: a pod that is missing now is no reason to end the others."""
        for group in crowd.groups:
            clique = self._clique(key, group.spec.name)
            if clique is not None and clique.status.recovery is not None and clique.status.recovery.healthy:
                return True
        return False

    # ------------------------------------------------------------ saying why

    def _tell(self, key: _Key, gang: PodGang, waiting: Waiting | None, now: float) -> None:
        pins = self._gangs[key]
        if waiting is None:
            if self._boards.waiting.get(key) is not None:
                self._meter.gang_waited(now - pins.since)
            pins.since, pins.told = now, ""
        elif now >= pins.since + TOLD_S and pins.told != waiting.reason:
            pins.told = waiting.reason
            about = Reference.to(GANGS, gang.metadata)
            self._recorder.record(about, waiting.reason, waiting.message, action="Schedule", kind="Warning")
        elif not pins.told:
            self._again(key, pins.since + TOLD_S)
        self._boards.hold_back(*key, waiting)


def _turn(candidate: tuple[_Key, PodGang, Members]) -> tuple[object, ...]:
    key, gang, crowd = candidate
    meta = gang.metadata
    return (
        -crowd.priority,
        not crowd.begun,
        meta.label(L.BASE_GANG) is not None,
        meta.creation_timestamp or "",
        key,
    )


def _extra(group: Group, again: bool) -> list[Pod]:
    """Pods beyond the minimum that may go: those that were on a node before, or those that were not."""
    if not group.opened:
        return []
    return [pod for pod in group.extra if (pod.metadata.annotation(FORMER_NODE) is not None) is again]


def _owner(key: _Key) -> str:
    return f"{key.namespace}/{key.name}"


# ------------------------------------------------------------ what is asked for


def _pod_key(pod: Pod) -> PodKey:
    return (pod.metadata.namespace, pod.metadata.name)


def _claims(pods: Iterable[Pod], placed: Placement) -> dict[PodKey, tuple[str, Needs]]:
    return {_pod_key(pod): (placed.nodes[_pod_key(pod)], needs(pod)) for pod in pods}


def _ask(gang: PodGang, crowd: Members, wanted: set[PodKey]) -> Ask:
    """Places for the pods *wanted*, beside those that the gang has."""
    return Ask(
        groups=tuple(_ask_group(group, wanted) for group in crowd.groups),
        pack=_packing(gang.spec.topology_constraint),
        configs=tuple(
            AskConfig(config.pod_group_names, _packing(config.topology_constraint))
            for config in gang.spec.topology_constraint_group_configs or ()
        ),
    )


def _ask_group(group: Group, wanted: set[PodKey]) -> AskGroup:
    return AskGroup(
        group.spec.name,
        pods=tuple(
            AskPod(_pod_key(pod), needs(pod), pod.metadata.annotation(FORMER_NODE) or "")
            for pod in group.free
            if _pod_key(pod) in wanted
        ),
        fixed=tuple(node for pod in group.released if (node := pod.spec.node_name or pod.pinned)),
        pack=_packing(group.spec.topology_constraint),
    )


def _packing(constraint: PackConstraint | None) -> Packing:
    pack = constraint.pack_constraint if constraint is not None else None
    return Packing(pack.required, pack.preferred) if pack is not None else Packing()
