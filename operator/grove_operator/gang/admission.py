"""Gangs on a scheduler that knows none: all pods of one are let go together, onto nodes with room, or none.

    gated pods, all there ─► in their turn ─► place ─┬─ refused: wait, and say why
                                                      └─ reserve ─► un-gate and pin, stage by stage ─► bound
                                       once more, elsewhere ◄── not bound in time ──┘        │ too often
                                                                    all of it again, later ◄─┘

Whose turn it is: `queue`. Pods beyond a minimum come after all minimums, and leave what has just become free
to gangs for EXTRA_S.

kube-scheduler has the last word: a pin only narrows, so nothing is over-committed, and who was quicker than
we has the node. Then the pods that were left over are made anew, with other pins; after `tries`, or if there
is no room for them, the whole gang is, unless it has run before. So no gang is half bound for longer than
tries x confirm_s, and the grace of those that are ended for its sake.

Nothing here is polled: pods, nodes and gangs that change are looked at, and what was refused again when there
is more room than at that time.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from grove_dp.clock import Clock
from grove_dp.kube.events import Recorder
from grove_operator.api import PodGang
from grove_operator.applying import Writer
from grove_operator.controllers.state import Boards
from grove_operator.gang.arrivals import Arrivals
from grove_operator.gang.ask import Refusal
from grove_operator.gang.demand import pod_key
from grove_operator.gang.lookout import Lookout
from grove_operator.gang.members import Members, members
from grove_operator.gang.pins import GangKey, GangTimes, Pins
from grove_operator.gang.places import LEAVING, SPREAD, Found, Places
from grove_operator.gang.probes import Probes, provisioning
from grove_operator.gang.queue import Fence, Turn, fenced, starving
from grove_operator.gang.releases import Releases
from grove_operator.gang.reports import PREEMPTING, Reports, WaitMeter
from grove_operator.held import Held
from grove_operator.plan.picture import Waiting
from grove_operator.pods import Pod
from grove_operator.watching import Watched

__all__ = ["SPREAD", "Admission", "GangTimes"]

EXTRA_S: Final = 1.0
RETRY_S: Final = 0.5
LEFT_S: Final = 5.0  # who waits for pods on their way out looks after them so often


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
        self._places = Places(self._lookout, boards, clock, is_ours)
        self._releases = Releases(writer, self._landed, self._lookout.stir)
        self._writer = writer
        self._arrivals = Arrivals(self._lookout, self._places, self._releases, times or GangTimes(), is_ours)
        self._probes = Probes(self._room, times or GangTimes())
        self._reports = Reports(boards, recorder, meter)
        self._boards = boards
        self._clock = clock
        self._gangs: dict[GangKey, Pins] = {}
        self._open: set[GangKey] = set()
        self._fence = Fence()
        self._due = float("inf")

    async def run(self) -> None:
        """Admit gangs until cancelled."""
        try:
            while True:
                await self._lookout.stirred(self._due)
                self._pass()
        finally:
            self._releases.cancel()

    def _again(self, key: GangKey, at: float | None) -> None:
        if at is not None:
            pins = self._gangs[key]
            pins.due = min(pins.due, at)
            self._due = min(self._due, at)

    # ------------------------------------------------------------ a pass

    def _pass(self) -> None:
        """Look at every gang that could go on, in their turn."""
        now = self._clock.now()
        self._due = float("inf")
        while self._lookout.gone:
            self._forget(self._lookout.gone.pop())
        self._put_fence(now)
        dirty, self._lookout.dirty = self._lookout.dirty, set()
        whole: list[Turn] = []
        for turn in sorted(self._turns(dirty, now), key=lambda turn: turn.rank):
            waiting = self._admit(turn, now)
            self._again(turn.key, self._reports.tell(turn, waiting, now))
            if waiting is None and not turn.pins.flying:
                turn.pins.extra_refused_at = -1
                whole.append(turn)
            self._note(turn.key)
        short_of_room = any(self._gangs[key].refused_at >= 0 for key in self._open)
        for again in (True, False):  # who was there before, before who is new
            for turn in whole:
                self._admit_extras(turn, short_of_room, again, now)
                self._note(turn.key)
        if self._fence.is_idle(self._gangs):
            self._lookout.stir()

    def _turns(self, dirty: set[GangKey], now: float) -> Iterator[Turn]:
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
            yield self._turn(key, held, pins)

    def _turn(self, key: GangKey, held: Held, pins: Pins) -> Turn:
        return Turn(key, held, held.read(PodGang), self._members(key, held), pins)

    def _members(self, key: GangKey, held: Held) -> Members:
        pods = (pod for pod in self._lookout.pods(key) if not self._writer.is_deleted(pod.metadata.uid))
        return members(held.read(PodGang), pods, partial(self._lookout.clique, key.namespace))

    def _put_fence(self, now: float) -> None:
        """Around the nodes of the gang that has been refused for too long, if one has."""
        found = starving(self._gangs, self._open, now)
        held = self._lookout.gang(found[0]) if found else None
        fence = None
        if found and held is not None:
            key, self._due = found
            fence = fenced(self._room, self._turn(key, held, self._gangs[key]))
        self._lookout.dirty |= self._fence.put(fence)

    def _note(self, key: GangKey) -> None:
        (self._open.add if self._gangs[key].open else self._open.discard)(key)

    def _forget(self, key: GangKey) -> None:
        self._open.discard(key)
        self._fence.outside.discard(key)
        self._probes.forget(key)
        if self._gangs.pop(key, None) is not None:
            self._room.unreserve(str(key))
            self._boards.hold_back(*key, None)

    # ------------------------------------------------------------ minimums

    def _admit(self, turn: Turn, now: float) -> Waiting | None:
        """Let go what its minimums still lack; why not, if that cannot be."""
        key, crowd, pins = turn.key, turn.crowd, turn.pins
        pins.refused_at = -1
        if not crowd.half:
            pins.half_since = float("inf")
        if crowd.scheduled:
            pins.arrived()
            self._room.unreserve(str(key))
        self._probes.put(turn)
        self._again(key, self._arrivals.confirm(turn, now))
        if pins.flying:
            return _on_its_way(turn)
        needed = [(group, pod) for group in crowd.groups for pod in group.needed]
        why = crowd.lacks
        if why and not pins.probed_until:
            self._again(key, self._arrivals.give_up(turn, now))
        if not needed:
            return why or _on_its_way(turn)
        if why := why or self._early(turn, now):
            self._room.unreserve(str(key))
            return why
        if pins.probed_until:
            self._release(turn, [pod for _, pod in needed], Found(), now)
            return _on_its_way(turn)
        closed = None if crowd.begun else self._fence.around(turn)
        found = self._places.for_minimum(turn, [pod for _, pod in needed], closed)
        if isinstance(found, Refusal):
            at = self._probes.begin(turn, found, now)
            if at == 0.0:
                self._release(turn, [pod for _, pod in needed], Found(), now)
                return _on_its_way(turn)
            self._again(key, at)
            return self._refused(turn, found, now, closed is not None)
        self._preempt(turn, found)
        self._release(turn, [pod for group, pod in needed if group.opened], found, now)
        later = sorted({group.spec.name for group, _ in needed if not group.opened})
        if later:
            return Waiting("StartOrder", f"{', '.join(later)} starts when its parents have")
        return _on_its_way(turn)

    def _early(self, turn: Turn, now: float) -> Waiting | None:
        """Why it is not its turn."""
        key, pins, base = turn.key, turn.pins, turn.base
        if base and not turn.crowd.begun and not self._has_nodes(GangKey(key.namespace, base)):
            return Waiting("BaseGangPending", f"gang {base} must have its nodes first")
        if pins.not_before > now:
            self._again(key, pins.not_before)
            return Waiting("BackingOff", f"tried {pins.setbacks} times; again when others have had a turn")
        pins.not_before = 0.0
        return None

    def _has_nodes(self, key: GangKey) -> bool:
        """Its minimums have; for those of later stages they have been reserved since it was admitted."""
        held = self._lookout.gang(key)
        if held is None:
            return True  # a base without pods: nothing to wait for
        crowd = self._members(key, held)
        groups = crowd.groups
        return crowd.begun and all(one.bound >= one.spec.min_replicas or not one.opened for one in groups)

    def _refused(self, turn: Turn, refusal: Refusal, now: float, outside: bool) -> Waiting:
        """There is no place: it waits, and what it has of its nodes is given up in time."""
        pins = turn.pins
        pins.refused_at, pins.ever = self._room.freed, refusal.ever
        if refusal.reason == LEAVING:
            self._again(turn.key, now + LEFT_S)
        self._again(turn.key, self._arrivals.give_up(turn, now))
        if outside:
            return self._fence.keeps_out(turn.key, refusal)
        return Waiting(refusal.reason, refusal.message)

    # ------------------------------------------------------------ more than the minimum

    def _admit_extras(self, turn: Turn, short_of_room: bool, again: bool, now: float) -> None:
        """Pods beyond the minimum, one by one; those that come *again* do not wait, their room is free."""
        settled_at = self._lookout.freed_at + EXTRA_S
        closed = None if again else self._fence.around(turn)
        for group in turn.crowd.groups:
            for pod in group.extras(again):
                if short_of_room and now < settled_at and not again:
                    self._again(turn.key, settled_at)
                    return
                found = self._places.for_extra(turn, pod, closed)
                if isinstance(found, Refusal):
                    turn.pins.extra_refused_at = self._room.freed
                    if found.reason == LEAVING:
                        self._again(turn.key, now + LEFT_S)
                    if closed is not None:
                        self._fence.outside.add(turn.key)
                    break
                self._preempt(turn, found)
                self._release(turn, [pod], found, now)

    # ------------------------------------------------------------ letting go

    def _preempt(self, turn: Turn, found: Found) -> None:
        """Remember at whose cost it is let go, and say so once."""
        before = turn.pins.preempting
        if not turn.crowd.scheduled:
            turn.pins.preempting = found.cost
        if found.cost and found.cost != before:
            self._reports.preempts(turn, found.cost)

    def _release(self, turn: Turn, pods: list[Pod], found: Found, now: float) -> None:
        for pod in pods:
            uid = pod.metadata.uid
            turn.pins.flying.add(uid)
            turn.pins.released[uid] = now
            name = pod_key(pod)
            self._releases.let_go(turn.key, pod, found.nodes.get(name, ""), found.within.get(name, ()))

    def _landed(self, key: GangKey, pod: Pod, fine: bool) -> None:
        self._places.settled(key, pod)
        if (pins := self._gangs.get(key)) is not None:
            pins.flying.discard(pod.metadata.uid)
            if fine:
                self._lookout.stir(key)
            else:
                self._again(key, self._clock.now() + RETRY_S)
                self._open.add(key)
                self._lookout.stir()


def _on_its_way(turn: Turn) -> Waiting | None:
    """It is let go, and room is about to be made for it: those in its way go, or nodes come."""
    if turn.pins.preempting:
        return Waiting(PREEMPTING, turn.pins.preempting)
    return provisioning(turn)
