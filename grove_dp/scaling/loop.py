"""One autoscaler's ticks.

    1 ask every frontend        2 what the cluster has
    3 one snapshot              4 think (plan: pure)
    5 the only writes           6 remember, and say what was done

While pods drain, ticks are closer together: whoever waits for them holds GPUs.
"""

import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from grove_dp.clock import Clock
from grove_dp.scaling.actuator import Actuator, Outcome
from grove_dp.scaling.decision import Decision
from grove_dp.scaling.drains import marked
from grove_dp.scaling.kinds import Autoscaler
from grove_dp.scaling.lookout import Lookout
from grove_dp.scaling.plan import Memory, marker, plan
from grove_dp.scaling.reading import tree
from grove_dp.scaling.reporting import explanation
from grove_dp.scaling.signals import snapshot
from grove_dp.scaling.tree import Objects

__all__ = ["Look", "Loop", "Told", "no_set"]

DRAINING_S: Final = 2.0
REMEMBERED: Final = 64

Look = Callable[[Autoscaler], tuple[Objects | None, tuple[str, ...]]]  # objects, and why they may be old
Told = Callable[[Autoscaler, Decision | None, Outcome], Awaitable[None]]  # None: there is no set

_log = logging.getLogger(__name__)


def no_set(one: Autoscaler) -> str:
    """What is said of one that has nothing to scale."""
    return f"there is no PodCliqueSet {one.spec.pod_clique_set} in namespace {one.namespace}"


class Loop:
    """Ticks for one set."""

    def __init__(
        self,
        one: Callable[[], Autoscaler],
        look: Look,
        lookout: Lookout,
        actuator: Actuator,
        told: Told,
        clock: Clock,
        *,
        tick_s: float = 5.0,
    ) -> None:
        """*one* is read anew for each tick, *look* reads the cluster, *told* gets every decision."""
        self._one = one
        self._look = look
        self._lookout = lookout
        self._actuator = actuator
        self._told = told
        self._clock = clock
        self._tick_s = tick_s
        self._memory = Memory()
        self._said = ""
        self._over = False
        self.decision: Decision | None = None  # of the last tick; None: there is no set
        self.explained: dict[str, Any] = {}  # the last tick, for people
        self.changes: Counter[str] = Counter()  # of replicas, by reason
        self.history: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)  # ticks that came to something new

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            began = self._clock.now()
            decision = await self._tried()
            busy = decision is not None and decision.draining
            period_s = min(DRAINING_S, self._tick_s) if busy else self._tick_s
            await self._clock.sleep(max(0.0, began + period_s - self._clock.now()))

    async def _tried(self) -> Decision | None:
        """A tick; one that fails by a fault of ours must not end the scaling of other sets."""
        try:
            return await self.tick()
        except Exception as error:  # noqa: BLE001 - whatever it is, the other sets go on
            _log.exception("a tick failed", extra={"autoscaler": self._one().key})
            self.explained |= {"reason": "InternalError", "message": f"{type(error).__name__}: {error}"}
            return None

    async def tick(self) -> Decision | None:
        """One pass; safe to run twice, safe to miss. None: there is no set."""
        one = self._one()
        view = await self._lookout.look()
        if self._over:
            return None
        objects, old = self._look(one)
        if objects is None:
            self.decision = None
            self._note({"reason": "SetNotFound", "message": no_set(one)}, one)
            await self._told(one, None, Outcome())
            return None
        seen = snapshot(
            one.spec,
            one.namespace,
            view.merged,
            view.pods,
            self._clock.now(),
            (*view.missing, *old),
        )
        decision, memory = plan(one, tree(one.spec, objects), seen, self._memory, self._clock.wall())
        outcome = await self._actuator.carry_out(decision, marker(one), one.spec.behavior.drain_seconds)
        self._memory, self.decision = memory, decision
        self.changes.update(move.reason for move in outcome.scaled)
        self._note(explanation(one, decision, outcome), one)
        await self._told(one, decision, outcome)
        return decision

    async def abandon(self) -> None:
        """Decide nothing any more, and take away what we marked: nobody else will."""
        self._over = True
        one = self._one()
        objects, _ = self._look(one)
        if objects is not None:
            await self._actuator.release(marked(tree(one.spec, objects), marker(one)))

    def _note(self, explained: dict[str, Any], one: Autoscaler) -> None:
        """Keep what is new, and log it."""
        self.explained = {"namespace": one.namespace, "name": one.name, **explained}
        made = [f"{move['name']} {move['from']}->{move['to']}" for move in explained.get("moves", ())]
        failed = [failure["reason"] for failure in explained.get("failures", ())]
        said = f"{explained['reason']} {made} {failed}"
        if said == self._said:
            return
        self._said = said
        self.history.append(self.explained)
        facts = {"autoscaler": one.key, "reason": explained["reason"]}
        if failed:
            facts["failed"] = ", ".join(failed)
        _log.info("%s", explained["message"], extra=facts)
