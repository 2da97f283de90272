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
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from grove_dp.clock import Clock
from grove_dp.errors import GroveError
from grove_dp.kube.events import Recorder, Reference
from grove_dp.kube.objects import PODS
from grove_operator.api import GANGS, PodGang
from grove_operator.applying import Writer
from grove_operator.controllers.state import Boards
from grove_operator.gang.ask import Placement, Refusal
from grove_operator.gang.demand import claims, demand, pod_key
from grove_operator.gang.lookout import Lookout
from grove_operator.gang.members import Group, Members, members
from grove_operator.gang.needs import unmodelled
from grove_operator.gang.pack import place
from grove_operator.gang.pins import GangKey, GangTimes, Pins, late_at, taken_back
from grove_operator.gang.release import release_patch
from grove_operator.gang.room import PodKey
from grove_operator.held import Held
from grove_operator.naming import L
from grove_operator.plan.picture import Waiting
from grove_operator.plan.pods import FORMER_NODE
from grove_operator.pods import Pod
from grove_operator.watching import Watched

__all__ = ["SPREAD", "Admission", "GangTimes"]

log = logging.getLogger(__name__)

SPREAD: Final = "grove-dp.io/spread"  # annotation of a set: a node label; its replicas in different domains
STARVED_S: Final = 300.0
EXTRA_S: Final = 1.0
TOLD_S: Final = 5.0  # an Event tells of a gang that has waited so long
RETRY_S: Final = 0.5


class WaitMeter(Protocol):
    """Who measures waiting."""

    def gang_waited(self, seconds: float) -> None:
        """A gang has been released."""
        ...


class _Turn(msgspec.Struct, frozen=True):
    """A gang that is looked at in this pass."""

    key: GangKey
    held: Held
    gang: PodGang
    crowd: Members
    pins: Pins

    @property
    def rank(self) -> tuple[object, ...]:
        """Smaller is earlier."""
        meta = self.gang.metadata
        base = meta.label(L.BASE_GANG) is None
        return -self.crowd.priority, not self.crowd.begun, not base, meta.creation_timestamp or "", self.key


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
        is_ours: Callable[[Held], bool] = lambda gang: True,
    ) -> None:
        """*is_ours*: which gangs we place; what is gated of others is released as soon as it is whole."""
        self._lookout = Lookout(watched, clock)
        self._room = self._lookout.room
        self._writer = writer
        self._boards = boards
        self._recorder = recorder
        self._clock = clock
        self._meter = meter
        self._times = times or GangTimes()
        self._is_ours = is_ours
        self._gangs: dict[GangKey, Pins] = {}
        self._open: set[GangKey] = set()
        self._due = float("inf")
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Admit gangs until cancelled."""
        try:
            while True:
                await self._lookout.stirred(self._due)
                self._pass()
        finally:
            for task in self._tasks:
                task.cancel()

    def _again(self, key: GangKey, at: float) -> None:
        pins = self._gangs[key]
        pins.due = min(pins.due, at)
        self._due = min(self._due, at)

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ------------------------------------------------------------ a pass

    def _pass(self) -> None:
        """Look at every gang that could go on, in their turn."""
        now = self._clock.now()
        self._due = float("inf")
        while self._lookout.gone:
            self._forget(self._lookout.gone.pop())
        dirty, self._lookout.dirty = self._lookout.dirty, set()
        turns = sorted(self._turns(dirty, now), key=lambda turn: turn.rank)
        starved = self._starved(now)
        whole: list[_Turn] = []
        for turn in turns:
            waiting = self._admit(turn, starved, now)
            self._tell(turn, waiting, now)
            if waiting is None and not turn.pins.flying:
                turn.pins.extra_refused_at = -1
                whole.append(turn)
            self._note(turn.key)
        short_of_room = any(self._gangs[key].refused_at >= 0 for key in self._open)
        for again in (True, False):  # who was there before, before who is new
            for turn in whole:
                self._admit_extras(turn, short_of_room, again, now)
                self._note(turn.key)

    def _turns(self, dirty: set[GangKey], now: float) -> Iterator[_Turn]:
        """Those that have changed, those that more room or time may help; the others are left alone."""
        for key in sorted(dirty | self._open):
            held = self._lookout.gang(key)
            if held is None or self._writer.is_deleted(held.metadata.uid):
                self._forget(key)
                continue
            pins = self._gangs.setdefault(key, Pins(now))
            freed = self._room.freed
            more_room = 0 <= pins.refused_at != freed or 0 <= pins.extra_refused_at != freed
            if not (key in dirty or more_room or pins.due <= now):
                self._due = min(self._due, pins.due)
                continue
            pins.due = float("inf")
            yield _Turn(key, held, held.read(PodGang), self._members(key, held), pins)

    def _members(self, key: GangKey, held: Held) -> Members:
        pods = (pod for pod in self._lookout.pods(key) if not self._writer.is_deleted(pod.metadata.uid))
        return members(held.read(PodGang), pods, partial(self._lookout.clique, key.namespace))

    def _starved(self, now: float) -> GangKey | None:
        """The gang that has been refused for too long, if one has."""
        waits = [
            (pins.since, key)
            for key in self._open
            if (pins := self._gangs[key]).refused_at >= 0 and now > pins.since + STARVED_S
        ]
        return min(waits)[1] if waits else None

    def _note(self, key: GangKey) -> None:
        (self._open.add if self._gangs[key].open else self._open.discard)(key)

    def _forget(self, key: GangKey) -> None:
        self._open.discard(key)
        if self._gangs.pop(key, None) is not None:
            self._room.unreserve(str(key))
            self._boards.hold_back(*key, None)

    # ------------------------------------------------------------ minimums

    def _admit(self, turn: _Turn, starved: GangKey | None, now: float) -> Waiting | None:
        """Let go what its minimums still lack; why not, if that cannot be."""
        key, crowd, pins = turn.key, turn.crowd, turn.pins
        pins.refused_at = -1
        if crowd.scheduled:
            pins.arrived()
            self._room.unreserve(str(key))
        self._confirm(turn, now)
        if pins.flying:
            return None
        needed = [(group, pod) for group in crowd.groups for pod in group.needed]
        why = _short(crowd)
        if not needed:
            return why
        if why := why or self._early(turn, starved, now):
            self._room.unreserve(str(key))
            return why
        nodes = self._place(turn, [pod for _, pod in needed])
        if isinstance(nodes, Waiting):
            return nodes
        self._release(turn, [pod for group, pod in needed if group.opened], nodes, now)
        closed = sorted({group.spec.name for group, _ in needed if not group.opened})
        return Waiting("StartOrder", f"{', '.join(closed)} starts when its parents have") if closed else None

    def _early(self, turn: _Turn, starved: GangKey | None, now: float) -> Waiting | None:
        """Why it is not its turn."""
        key, pins, begun = turn.key, turn.pins, turn.crowd.begun
        base = turn.gang.metadata.label(L.BASE_GANG)
        if base and not begun and not self._has_nodes(GangKey(key.namespace, base)):
            return Waiting("BaseGangPending", f"gang {base} must have its nodes first")
        if pins.not_before > now:
            self._again(key, pins.not_before)
            return Waiting("BackingOff", f"tried {pins.setbacks} times; again when others have had a turn")
        pins.not_before = 0.0
        if starved and starved != key and not begun:
            return Waiting("Yielding", f"gang {starved} has waited for longer than {STARVED_S:g} s")
        return None

    def _has_nodes(self, key: GangKey) -> bool:
        """Its minimums have; for those of later stages they have been reserved since it was admitted."""
        held = self._lookout.gang(key)
        if held is None:
            return True  # a base without pods: nothing to wait for
        crowd = self._members(key, held)
        groups = crowd.groups
        return crowd.begun and all(one.bound >= one.spec.min_replicas or not one.opened for one in groups)

    # ------------------------------------------------------------ places

    def _is_placed(self, turn: _Turn, pods: Iterable[Pod]) -> bool:
        """Whether it is we who find nodes for them."""
        return self._is_ours(turn.held) and all(unmodelled(pod) is None for pod in pods)

    def _place(self, turn: _Turn, pods: list[Pod]) -> Mapping[PodKey, str] | Waiting:
        """Nodes, reserved; none where the scheduler is to choose; or why there is no place."""
        if not self._is_placed(turn, pods):
            return {}
        self._room.unreserve(str(turn.key))
        answer = self._find(turn, pods)
        if not isinstance(answer, Placement):
            turn.pins.refused_at = self._room.freed
            return Waiting(answer.reason, answer.message)
        self._room.reserve(str(turn.key), claims(pods, answer))
        self._boards.score(*turn.key, float(answer.score))
        return answer.nodes

    def _find(self, turn: _Turn, pods: list[Pod]) -> Placement | Refusal:
        apart = turn.gang.metadata.annotation(SPREAD)
        elsewhere = set(self._lookout.siblings(turn.held)) if apart else ()
        return place(self._room, demand(turn.gang, turn.crowd, pods, apart, elsewhere))

    def _admit_extras(self, turn: _Turn, short_of_room: bool, again: bool, now: float) -> None:
        """Pods beyond the minimum, one by one; those that come *again* do not wait, their room is free."""
        settled_at = self._lookout.freed_at + EXTRA_S
        for group in turn.crowd.groups:
            for pod in _extras(group, again):
                if short_of_room and now < settled_at and not again:
                    self._again(turn.key, settled_at)
                    return
                if not self._is_placed(turn, [pod]):
                    self._release(turn, [pod], {}, now)
                    continue
                answer = self._find(turn, [pod])
                if not isinstance(answer, Placement):
                    turn.pins.extra_refused_at = self._room.freed
                    break
                self._room.reserve(f"{turn.key}+{pod.metadata.name}", claims([pod], answer))
                self._release(turn, [pod], answer.nodes, now)

    # ------------------------------------------------------------ letting go

    def _release(self, turn: _Turn, pods: list[Pod], nodes: Mapping[PodKey, str], now: float) -> None:
        for pod in pods:
            uid = pod.metadata.uid
            turn.pins.flying.add(uid)
            turn.pins.released[uid] = now
            self._begin(self._let_go(turn.key, pod, nodes.get(pod_key(pod), "")), f"release {uid}")

    async def _let_go(self, key: GangKey, pod: Pod, node: str) -> None:
        meta = pod.metadata
        failed = False
        try:
            await self._writer.merge(PODS, meta.namespace, meta.name, release_patch(pod, node))
        except GroveError as error:
            log.warning("pod %s/%s is not released: %s", meta.namespace, meta.name, error)
            failed = True
        self._room.unreserve(f"{key}+{meta.name}")
        if (pins := self._gangs.get(key)) is not None:
            pins.flying.discard(meta.uid)
            if failed:
                self._again(key, self._clock.now() + RETRY_S)
                self._open.add(key)
                self._lookout.stir()
            else:
                self._lookout.stir(key)

    # ------------------------------------------------------------ whether they arrived

    def _confirm(self, turn: _Turn, now: float) -> None:
        """Pods that were let go and found no node in time are made anew; with them, at last, all others."""
        pins = turn.pins
        late = []
        for pod in pins.seen(turn.crowd, now):
            due = late_at(pod, pins.released[pod.metadata.uid], self._lookout.bound_at, self._times)
            if now >= due:
                late.append(pod)
            else:
                self._again(turn.key, due)
        if not late or not self._is_ours(turn.held):
            return
        pins.set_back(self._times, now)
        whole = pins.setbacks > self._times.tries and not pins.established and not self._has_run(turn)
        going = taken_back(turn.crowd, late, whole)
        for pod in going:
            pins.released.pop(pod.metadata.uid, None)
        self._begin(self._make_anew(turn.key, going), f"anew {turn.key}")

    async def _make_anew(self, key: GangKey, pods: list[Pod]) -> None:
        try:
            await self._writer.delete_pods(pods)
        except (GroveError, ExceptionGroup) as error:
            log.warning("gang %s: pods are not taken back: %s", key, error)
        self._lookout.stir(key)

    def _has_run(self, turn: _Turn) -> bool:
        """Some operator has seen it run: a pod that is missing now is no reason to end the others."""
        cliques = (self._lookout.clique(turn.key.namespace, one.spec.name) for one in turn.crowd.groups)
        found = (one.status.recovery for one in cliques if one is not None)
        return any(recovery is not None and recovery.healthy for recovery in found)

    # ------------------------------------------------------------ saying why

    def _tell(self, turn: _Turn, waiting: Waiting | None, now: float) -> None:
        key, pins = turn.key, turn.pins
        if waiting is None:
            if key in self._boards.waiting:
                self._meter.gang_waited(now - pins.since)
            pins.since, pins.told = now, ""
        elif now >= pins.since + TOLD_S and pins.told != waiting.reason:
            pins.told = waiting.reason
            about = Reference.to(GANGS, turn.gang.metadata)
            self._recorder.record(about, waiting.reason, waiting.message, action="Schedule", kind="Warning")
        elif not pins.told:
            self._again(key, pins.since + TOLD_S)
        self._boards.hold_back(*key, waiting)


def _short(crowd: Members) -> Waiting | None:
    """Why its minimums cannot be whole yet."""
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


def _extras(group: Group, again: bool) -> list[Pod]:
    """Pods beyond the minimum that may go: those that were on a node before, or those that were not."""
    if not group.opened:
        return []
    return [pod for pod in group.extra if (pod.metadata.annotation(FORMER_NODE) is not None) is again]
