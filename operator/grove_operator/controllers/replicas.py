"""One replica of a set: observe, plan, apply, until nothing is left to do; then say what it came to.

    observe ─► Picture ─► planning ─► Plan ─► apply ─┐
       ▲                              │ empty        │ again
       └──────────────────────────────┼──────────────┘
                                      ▼
                                   statuses
    apply: minimums ─► pods that go ─► objects ─► pods that come      (their clique and gang are there)

Answers of writes are observed at once, so a new replica is complete after three rounds: groups and gangs, the
groups' cliques, their pods.

What fails keeps nothing else from being done: the rest of the plan is applied, statuses say what there is and
what is wrong, and only then the failure goes on to the controller, which tries again.
"""

import logging
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from grove_dp.errors import GroveError
from grove_dp.kube.controller import Again
from grove_dp.kube.events import Reference
from grove_dp.kube.objects import PODS
from grove_operator.api import CLIQUES, SETS
from grove_operator.applying import done, failure, taken, together
from grove_operator.controllers.endings import end_finalizers
from grove_operator.controllers.names import Names
from grove_operator.controllers.planning import Coming, Plan, Planner
from grove_operator.controllers.state import Ground
from grove_operator.controllers.statuses import SUMMED_S, Statuses
from grove_operator.controllers.troubles import is_stale, troubles
from grove_operator.observing import Seen, Surplus, observe, read_set
from grove_operator.plan.backends import first
from grove_operator.plan.diff import diff
from grove_operator.plan.picture import Picture, Waiting
from grove_operator.plan.recovery import Recovery
from grove_operator.watching import ReplicaKey

__all__ = ["Replicas"]

log = logging.getLogger(__name__)

ROUNDS: Final = 8
SOON_S: Final = 0.2


class Replicas:
    """The controller of replicas."""

    def __init__(self, ground: Ground, names: Names) -> None:
        self._ground = ground
        self._names = names
        self._planner = Planner(ground, names)
        self._statuses = Statuses(ground)

    async def reconcile(self, key: ReplicaKey) -> Again | None:
        """Make it so."""
        try:
            again = await self._make_so(key)
        except Exception as error:
            self._note(key, error)
            if not is_stale(error):
                await self._tell_all_the_same(key)
            raise
        self._note(key, None)
        return again

    async def _make_so(self, key: ReplicaKey) -> Again | None:
        await end_finalizers(self._ground.watched, self._ground.writer, key)
        for _ in range(ROUNDS):
            seen = self._look(key)
            if seen is None:
                return None
            if isinstance(seen, Surplus):
                return await self._remove(key, seen)
            plan = self._planner.plan(seen, key)
            if plan:
                await self._apply(seen, plan)
            elif plan.steps.foreign:
                raise taken(plan.steps.foreign)
            else:
                return await self._conclude(key, seen, plan)
        return Again(SOON_S)

    def _look(self, key: ReplicaKey) -> Seen | Surplus | None:
        """What there is; None where nothing is to be done about it."""
        ground = self._ground
        owner = read_set(ground.watched, key.set)
        if owner is None or owner.metadata.deletion_timestamp or ground.boards.of(key.set).refused:
            return None
        waiting = _InNamespace(ground.boards.waiting, key.namespace)
        return observe(ground.watched, ground.writer, owner, ground.hashes.of(owner), key, waiting)

    # ------------------------------------------------------------ applying

    async def _apply(self, seen: Seen, plan: Plan) -> None:
        writer = self._ground.writer
        urgent, steps = first(plan.steps)
        await self._record_terminations(seen.picture, plan.recovery)
        await together(done(one.wanted, partial(writer.patch, one)) for one in urgent)
        await writer.delete_pods(plan.going)
        await together(
            writer.merge(PODS, one.metadata.namespace, one.metadata.name, {"metadata": {"labels": marks}})
            for one, marks in plan.marks
        )
        failed = await failure(writer.apply(steps, seen.owners))
        coming = plan.coming if failed is None else plan.coming_to(seen.picture)
        without = await failure(together(done(one.pod, partial(self._make, one, seen)) for one in coming))
        if errors := [one for one in (failed, without) if one is not None]:
            raise ExceptionGroup("not all could be done", errors)

    async def _make(self, coming: Coming, seen: Seen) -> None:
        await self._ground.writer.create(coming.pod, seen.owners)
        self._names.gave(seen.picture.owner.metadata.uid, coming.clique, coming.pod.name)

    async def _record_terminations(self, picture: Picture, revival: Recovery) -> None:
        """Write down that a gang is ended before it is: it must not be ended twice."""
        for name, document in revival.cliques.items():
            await self._ground.writer.merge(
                CLIQUES, picture.owner.metadata.namespace, name, {"status": {"recovery": document}}, "status"
            )
        self._record(picture, revival)

    def _record(self, picture: Picture, revival: Recovery) -> None:
        about = Reference.to(SETS, picture.owner.metadata)
        for reason, message in revival.told:
            self._ground.recorder.record(about, reason, message, action="Recover", kind="Warning")

    async def _remove(self, key: ReplicaKey, surplus: Surplus) -> Again | None:
        """A replica that is too many: all of it goes."""
        await self._ground.writer.apply(diff((), surplus.observed, surplus.owners), surplus.owners)
        self._statuses.forget(key)
        return None

    # ------------------------------------------------------------ what it came to

    async def _conclude(self, key: ReplicaKey, seen: Seen, plan: Plan) -> Again | None:
        """Nothing is left to do: write statuses, and say when to look again."""
        self._note(key, None)
        self._record(seen.picture, plan.recovery)
        again_s = await self._tell(key, seen, plan)
        return None if again_s is None else Again(again_s)

    async def _tell(self, key: ReplicaKey, seen: Seen, plan: Plan) -> float | None:
        times = (plan.recovery.look_again_s, await self._statuses.tell(key, seen, plan.rollout))
        return min((one for one in times if one is not None), default=None)

    async def _tell_all_the_same(self, key: ReplicaKey) -> None:
        """Not all could be done; what there is, and what is wrong, is told as ever."""
        try:
            seen = self._look(key)
            if isinstance(seen, Seen):
                again_s = await self._tell(key, seen, self._planner.plan(seen, key))
                if again_s is not None:
                    self._ground.wake(key, again_s)
        except (GroveError, ExceptionGroup) as error:
            log.debug("statuses of %s are not told: %s", key, error)  # what failed first is raised

    def _note(self, key: ReplicaKey, error: Exception | None) -> None:
        """What went wrong, for the set to tell; of one that is gone nothing is kept."""
        if key.set not in self._ground.boards:
            return
        board, now = self._ground.boards.of(key.set), self._ground.clock.now()
        if board.troubles.put(key.number, () if error is None else troubles(error), now):
            self._ground.wake(key.set, SUMMED_S)


class _InNamespace(Mapping[str, Waiting]):
    """Those of one namespace, by name."""

    def __init__(self, held: Mapping[tuple[str, str], Waiting], namespace: str) -> None:
        self._held = held
        self._namespace = namespace

    def __getitem__(self, name: str) -> Waiting:
        return self._held[self._namespace, name]

    def __iter__(self) -> Iterator[str]:
        return (name for namespace, name in self._held if namespace == self._namespace)

    def __len__(self) -> int:
        return sum(1 for _ in self)
