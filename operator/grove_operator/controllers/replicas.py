"""One replica of a set: observe, plan, apply, until nothing is left to do; then say what it came to.

    observe ─► Picture ─┬─ rollout   cliques that keep their template, pods that may be replaced
                        ├─ recovery  pods of a gang that has been broken for too long
                        ├─ crews     pods that are too many, lost, missing
                        └─ expand ─ diff ─► Steps
    apply: minimums ─► pods that go ─► objects ─► pods that come      (their clique and gang are there)

Answers of writes are observed at once, so a new replica is complete after three rounds: groups and gangs, the
groups' cliques, their pods. A status is written when the replica has settled, and while it has not, later and
later: what comes to pass meanwhile is one write and not five. A breach is told soon, for its time counts.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from grove_dp.clock import Clock
from grove_dp.kube.controller import Again
from grove_dp.kube.events import Recorder, Reference
from grove_dp.kube.objects import Resource
from grove_operator.api import CLIQUES, GANGS, GROUPS, SETS, PodCliqueSet
from grove_operator.applying import ForeignObject, Writer, together
from grove_operator.controllers.endings import end_finalizers
from grove_operator.controllers.names import Names
from grove_operator.controllers.state import Boards
from grove_operator.observing import Hashes, Seen, Surplus, observe, read_set
from grove_operator.plan.backends import first
from grove_operator.plan.crew import Crew, crew
from grove_operator.plan.diff import Steps, diff
from grove_operator.plan.documents import Wanted
from grove_operator.plan.expand import Rules, replica_objects
from grove_operator.plan.health import tally
from grove_operator.plan.order import Parent, parents
from grove_operator.plan.picture import CliqueSeen, Picture, Waiting
from grove_operator.plan.pods import pod
from grove_operator.plan.recovery import Recovery, recovery
from grove_operator.plan.rollout import Rollout, rollout
from grove_operator.plan.status import (
    clique_status,
    gang_status,
    group_status,
    settled,
    status_patch,
    summary,
)
from grove_operator.plan.tree import Gang
from grove_operator.plan.turns import stage
from grove_operator.pods import Pod
from grove_operator.watching import Key, ReplicaKey, Watched

__all__ = ["Replicas"]

ROUNDS: Final = 8
SOON_S: Final = 0.2
SETTLING_S: Final = (1.0, 2.0, 4.0, 8.0)  # a status of an unsettled replica waits so long, write by write
SUMMED_S: Final = 0.1  # a set's status waits so long for more replicas


class _Plan(msgspec.Struct, frozen=True):
    """What is to be done."""

    going: tuple[Pod, ...]
    steps: Steps
    coming: tuple[tuple[Wanted, str], ...]  # with the uid of its clique
    recovery: Recovery
    rollout: Rollout

    def __bool__(self) -> bool:
        return bool(self.going or self.steps or self.coming)


class _Unsettled(msgspec.Struct, frozen=True):
    """Statuses that wait to be written, since when, and how many writes a replica has had while unsettled."""

    since: float | None
    writes: int


class Replicas:
    """The controller of replicas."""

    def __init__(
        self,
        watched: Watched,
        writer: Writer,
        rules: Callable[[PodCliqueSet], Rules],
        *,
        hashes: Hashes,
        names: Names,
        boards: Boards,
        recorder: Recorder,
        clock: Clock,
        wake: Callable[[Key, float], None],
    ) -> None:
        """*wake* has a key reconciled after some seconds."""
        self._watched = watched
        self._writer = writer
        self._rules = rules
        self._hashes = hashes
        self._names = names
        self._boards = boards
        self._recorder = recorder
        self._clock = clock
        self._wake = wake
        self._unsettled: dict[ReplicaKey, _Unsettled] = {}

    async def reconcile(self, key: ReplicaKey) -> Again | None:
        """Make it so."""
        await end_finalizers(self._watched, self._writer, key)
        for _ in range(ROUNDS):
            owner = read_set(self._watched, key.set)
            if owner is None or owner.metadata.deletion_timestamp or self._boards.of(key.set).refused:
                return None
            seen = observe(
                self._watched, self._writer, owner, self._hashes.of(owner), key, self._waiting(key)
            )
            if isinstance(seen, Surplus):
                return await self._remove(key, seen)
            plan = self._plan(seen, key)
            if not plan:
                return await self._conclude(key, seen, plan)
            await self._apply(seen, plan)
        return Again(SOON_S)

    # ------------------------------------------------------------ planning

    def _waiting(self, key: ReplicaKey) -> Mapping[str, Waiting]:
        """Gangs of the namespace that are held back, by name."""
        return _InNamespace(self._boards.waiting, key.namespace)

    def _plan(self, seen: Seen, key: ReplicaKey) -> _Plan:
        picture = seen.picture
        owner = picture.owner
        rules = self._rules(owner)
        update = rollout(picture, key.number in self._boards.of(key.set).turns)
        revival = recovery(picture, self._clock.wall())
        ending = {one.metadata.uid for one in (*update.replace, *revival.terminate)}
        crews = {
            name: self._crew(clique, update.surge.get(name, 0), ending)
            for name, clique in picture.cliques.items()
        }
        names = {name: one.names for name, one in crews.items()}
        wanted = replica_objects(owner, seen.live, picture.replica, rules, names, update.held)
        steps = diff(wanted, seen.observed, seen.owners)
        if steps.foreign:
            first = steps.foreign[0]
            raise ForeignObject(f"{first.resource.kind} {first.namespace}/{first.name} belongs to another")
        excess = (one for crew in crews.values() for one in (*crew.surplus, *crew.lost))
        going = {one.metadata.uid: one for one in (*update.replace, *revival.terminate, *excess)}
        return _Plan(
            going=tuple(one for one in going.values() if not one.terminating),
            steps=steps,
            coming=tuple(self._coming(picture, rules, crews, steps)),
            recovery=revival,
            rollout=update,
        )

    def _crew(self, clique: CliqueSeen, surge: int, ending: set[str]) -> Crew:
        unit = clique.unit
        if surge:
            unit = msgspec.structs.replace(unit, count=unit.count + surge)
        pods = (one for one in clique.pods if one.metadata.uid not in ending)
        used = self._names.used(clique.held.metadata.uid) if clique.held is not None else ()
        taken = [*used, *(one.metadata.name for one in clique.pods)]
        return crew(unit, pods, unit.hash, self._names.seed, taken)

    def _coming(
        self, picture: Picture, rules: Rules, crews: Mapping[str, Crew], steps: Steps
    ) -> Iterator[tuple[Wanted, str]]:
        """Pods whose clique is there, and as it is to be."""
        changing = {one.wanted.name for one in steps.patches if one.wanted.resource == CLIQUES}
        order: Mapping[str, tuple[Parent, ...]] | None = None
        for name, clique in picture.cliques.items():
            held = clique.held
            missing = crews[name].missing
            if held is None or held.metadata.deletion_timestamp or name in changing or not missing:
                continue
            order = order or parents(picture.owner.spec.template, picture.replica)
            for berth in missing:
                former = self._names.former(held.metadata.uid, berth.index)
                made = pod(
                    picture.owner,
                    clique.unit,
                    held,
                    berth.name,
                    berth.index,
                    rules.pods,
                    order[name],
                    former,
                )
                yield made if rules.backend is None else rules.backend.pod(made), held.metadata.uid

    # ------------------------------------------------------------ applying

    async def _apply(self, seen: Seen, plan: _Plan) -> None:
        urgent, steps = first(plan.steps)
        await self._record_terminations(seen.picture, plan.recovery)
        await together(self._writer.patch(one) for one in urgent)
        await self._writer.delete_pods(plan.going)
        await self._writer.apply(steps, seen.owners)
        await together(self._make(wanted, clique, seen.owners) for wanted, clique in plan.coming)

    async def _make(self, wanted: Wanted, clique: str, owners: frozenset[str]) -> None:
        await self._writer.create(wanted, owners)
        self._names.gave(clique, wanted.name)

    async def _record_terminations(self, picture: Picture, revival: Recovery) -> None:
        """Write down that a gang is ended before it is: it must not be ended twice."""
        for name, document in revival.cliques.items():
            await self._writer.merge(
                CLIQUES, picture.owner.metadata.namespace, name, {"status": {"recovery": document}}, "status"
            )
        self._record(picture, revival)

    def _record(self, picture: Picture, revival: Recovery) -> None:
        about = Reference.to(SETS, picture.owner.metadata)
        for reason, message in revival.told:
            self._recorder.record(about, reason, message, action="Recover", kind="Warning")

    async def _remove(self, key: ReplicaKey, surplus: Surplus) -> Again | None:
        """A replica that is too many: all of it goes."""
        await self._writer.apply(diff((), surplus.observed, surplus.owners), surplus.owners)
        self._unsettled.pop(key, None)
        if self._boards.drop(key):
            self._wake(key.set, SUMMED_S)
        return None

    # ------------------------------------------------------------ what it came to

    async def _conclude(self, key: ReplicaKey, seen: Seen, plan: _Plan) -> Again | None:
        """Nothing is left to do: write statuses, and say when to look again."""
        picture = seen.picture
        again = plan.recovery.look_again_s
        if self._boards.put(key, summary(picture), stage(picture, plan.rollout)):
            self._wake(key.set, SUMMED_S)
        self._record(picture, plan.recovery)
        patches = list(self._statuses(picture, plan.rollout))
        if patches:
            wait_s = self._wait_s(key, picture)
            if wait_s > 0.001:
                return Again(wait_s if again is None else min(wait_s, again))
            namespace = picture.owner.metadata.namespace
            await together(
                self._writer.merge(kind, namespace, name, {"status": patch}, "status")
                for kind, name, patch in patches
            )
        if settled(picture):
            self._unsettled.pop(key, None)
        elif patches:
            self._unsettled[key] = _Unsettled(None, self._unsettled[key].writes + 1)
        return None if again is None else Again(again)

    def _gang_status(self, gang: Gang, picture: Picture, now: float) -> dict[str, object]:
        score = self._boards.scores.get((picture.owner.metadata.namespace, gang.name))
        placed = {} if score is None else {"placementScore": round(score, 3)}
        return gang_status(gang, picture, now) | placed

    def _wait_s(self, key: ReplicaKey, picture: Picture) -> float:
        """How long statuses that differ still wait."""
        if settled(picture):
            return 0.0
        now = self._clock.now()
        held = self._unsettled.get(key, _Unsettled(None, 0))
        since = now if held.since is None else held.since
        self._unsettled[key] = _Unsettled(since, held.writes)
        limit_s = SOON_S if _suffers(picture) else SETTLING_S[min(held.writes, len(SETTLING_S) - 1)]
        return since + limit_s - now

    def _statuses(
        self, picture: Picture, update: Rollout
    ) -> Iterator[tuple[Resource, str, dict[str, object]]]:
        now = self._clock.wall()
        for name, clique in picture.cliques.items():
            if clique.held is not None:
                held = self._watched.cliques.get(picture.owner.metadata.namespace, name)
                patch = status_patch(
                    held.status if held else None, clique_status(clique, picture, now, update)
                )
                if patch:
                    yield CLIQUES, name, patch
        for group in picture.replica.groups:
            held = self._watched.groups.get(picture.owner.metadata.namespace, group.name)
            if held is not None and group.name in picture.groups:
                patch = status_patch(held.status, group_status(group, picture, now, update))
                if patch:
                    yield GROUPS, group.name, patch
        for gang in picture.replica.gangs:
            held = self._watched.gangs.get(picture.owner.metadata.namespace, gang.name)
            if held is not None and gang.name in picture.gangs:
                patch = status_patch(held.status, self._gang_status(gang, picture, now))
                if patch:
                    yield GANGS, gang.name, patch


def _suffers(picture: Picture) -> bool:
    """Something that ran lacks pods."""
    for clique in picture.cliques.values():
        recovery = clique.held.status.recovery if clique.held is not None else None
        if recovery is not None and recovery.healthy and tally(clique).breached:
            return True
    return False


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
