"""What is to be done in one replica of a set, from what there is: all decisions of a reconcile, in one place.

Picture ─┬─ rollout   cliques that keep their template, pods that may be replaced
         ├─ recovery  pods of a gang that has been broken for too long
         ├─ crews     pods that are too many, lost, missing; marks that pods have lost
         └─ expand ─ diff ─► Steps
"""

from collections.abc import Iterator, Mapping

import msgspec

from grove_operator.api import CLIQUES, GANGS
from grove_operator.controllers.names import Names
from grove_operator.controllers.state import Ground
from grove_operator.observing import Seen
from grove_operator.plan.crew import Crew, crew
from grove_operator.plan.diff import Steps, diff
from grove_operator.plan.documents import Wanted
from grove_operator.plan.expand import Rules, replica_objects
from grove_operator.plan.order import Parent, parents
from grove_operator.plan.picture import CliqueSeen, Picture
from grove_operator.plan.pods import lost_marks, pod
from grove_operator.plan.recovery import Recovery, recovery
from grove_operator.plan.rollout import Rollout, rollout
from grove_operator.pods import Pod
from grove_operator.watching import ReplicaKey

__all__ = ["Coming", "Plan", "Planner"]


class Coming(msgspec.Struct, frozen=True):
    """A pod that is to be made, for which clique, and as a member of which gang."""

    pod: Wanted
    clique: str
    gang: str


class Plan(msgspec.Struct, frozen=True):
    """What is to be done."""

    going: tuple[Pod, ...]
    marks: tuple[tuple[Pod, Mapping[str, str]], ...]  # labels of ours that a pod has no more
    steps: Steps
    coming: tuple[Coming, ...]
    recovery: Recovery
    rollout: Rollout

    def __bool__(self) -> bool:
        return bool(self.going or self.marks or self.steps or self.coming)

    def coming_to(self, picture: Picture) -> Iterator[Coming]:
        """Of the pods those whose gang is there, and as it is to be, whatever becomes of the steps."""
        changing = {one.wanted.name for one in self.steps.patches if one.wanted.resource == GANGS}
        return (one for one in self.coming if one.gang in picture.gangs and one.gang not in changing)


class Planner:
    """Makes plans."""

    def __init__(self, ground: Ground, names: Names) -> None:
        self._ground = ground
        self._names = names

    def plan(self, seen: Seen, key: ReplicaKey) -> Plan:
        """For a replica as it is seen."""
        picture = seen.picture
        owner = picture.owner
        rules = self._ground.rules(owner)
        update = rollout(picture, key.number in self._ground.boards.of(key.set).turns)
        revival = recovery(picture, self._ground.clock.wall())
        ending = {one.metadata.uid for one in (*update.replace, *revival.terminate)}
        crews = {
            name: self._crew(picture, clique, update.surge.get(name, 0), ending)
            for name, clique in picture.cliques.items()
        }
        names = {name: one.names for name, one in crews.items()}
        wanted = replica_objects(owner, seen.live, picture.replica, rules, names, update.held)
        steps = diff(wanted, seen.observed, seen.owners)
        excess = (one for crew in crews.values() for one in (*crew.surplus, *crew.lost))
        going = {one.metadata.uid: one for one in (*update.replace, *revival.terminate, *excess)}
        return Plan(
            going=tuple(one for one in going.values() if not one.terminating),
            marks=tuple(
                (one, lost)
                for clique in picture.cliques.values()
                for one, lost in lost_marks(owner, clique.unit, clique.pods)
                if one.metadata.uid not in going
            ),
            steps=steps,
            coming=tuple(self._coming(picture, rules, crews, steps)),
            recovery=revival,
            rollout=update,
        )

    def _crew(self, picture: Picture, clique: CliqueSeen, surge: int, ending: set[str]) -> Crew:
        unit, owner = clique.unit, picture.owner.metadata.uid
        if surge:
            unit = msgspec.structs.replace(unit, count=unit.count + surge)
        pods = (one for one in clique.pods if one.metadata.uid not in ending)
        taken = [*self._names.used(owner, unit.name), *(one.metadata.name for one in clique.pods)]
        return crew(unit, pods, unit.hash, self._names.seed(owner), taken)

    def _coming(
        self, picture: Picture, rules: Rules, crews: Mapping[str, Crew], steps: Steps
    ) -> Iterator[Coming]:
        """Pods whose clique is there, and as it is to be, and whose gang is nobody else's."""
        changing = {one.wanted.name for one in steps.patches if one.wanted.resource == CLIQUES}
        foreign = {one.name for one in steps.foreign if one.resource == GANGS}
        order: Mapping[str, tuple[Parent, ...]] | None = None
        uncounted = _uncounted(picture, rules)
        for name, clique in picture.cliques.items():
            held, unit = clique.held, clique.unit
            missing = crews[name].missing
            if held is None or held.metadata.deletion_timestamp or name in changing or not missing:
                continue
            if unit.gang in foreign:
                continue
            order = order or parents(picture.owner.spec.template, picture.replica)
            for berth in missing:
                former = self._names.former(held.metadata.uid, berth.index)
                made = pod(
                    picture.owner, unit, held, berth.name, berth.index, rules.pods, order[name], former
                )
                if rules.backend is not None:
                    told = rules.backend.alone if unit.gang in uncounted else rules.backend.pod
                    made = told(made)
                yield Coming(made, name, unit.gang)


def _uncounted(picture: Picture, rules: Rules) -> frozenset[str]:
    """Gangs with pods that their PodGroup does not count: they began in another way."""
    backend = rules.backend
    if backend is None:
        return frozenset()
    return frozenset(
        clique.unit.gang
        for clique in picture.cliques.values()
        if any(not (pod.terminating or backend.counts(pod)) for pod in clique.pods)
    )
