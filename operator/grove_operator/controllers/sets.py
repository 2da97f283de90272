"""A set as a whole: what its replicas share, which of them an update may touch, and what all of them come to.

    deleted ──► its pods in a few calls, our finalizer off; the garbage collector does the rest
    refused ──► a condition and an Event say why; nothing is made, and what there is stays
    else    ──► finalizer, access ──► replicas (when the set has changed) ──► turns ──► status
                   └─ what of it fails is told in the status, and tried again; the rest goes on

Rules are asked here, too, for a cluster without webhooks. A set whose objects are there already is not
refused: it was accepted once, and is healed as far as it can be read. What rules it breaks is in its
`lastErrors`.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final

from grove_dp.kube.conditions import Stated, stated, without
from grove_dp.kube.controller import Again
from grove_dp.kube.events import Reference
from grove_dp.kube.objects import PODS, Meta
from grove_operator import naming
from grove_operator.admission.faults import sentence
from grove_operator.admission.subject import World
from grove_operator.admission.validate import Verdict, validate
from grove_operator.api import SETS, PodCliqueSet
from grove_operator.applying import failure, taken, together
from grove_operator.controllers.endings import ORPHAN, without_finalizer
from grove_operator.controllers.state import Ground, SetBoard
from grove_operator.controllers.troubles import troubles
from grove_operator.held import Held
from grove_operator.naming import SET_FINALIZER, L
from grove_operator.observing import observe_common
from grove_operator.plan.diff import diff
from grove_operator.plan.documents import Document, Wanted
from grove_operator.plan.expand import Rules, common, unordered
from grove_operator.plan.status import set_status, status_patch
from grove_operator.plan.topology import missing, topology_name
from grove_operator.plan.troubles import Trouble, last_errors, summed
from grove_operator.plan.turns import turns
from grove_operator.watching import PLACED, ReplicaKey, SetKey

__all__ = ["REFUSED", "Sets"]

log = logging.getLogger(__name__)

REFUSED: Final = "Refused"
INVALID: Final = "InvalidSpec"
UNORDERED: Final = (
    "its cliques are to start one after the other, and all start at once: its scheduler must see a gang"
    " whole, and there is no image of an init container; set order.image"
)
ABSENT: Final = (
    "its scheduler is told of gangs by PodGroups of {group}/{version}, which are not served here: its pods"
    " are {placed}; install that scheduler, or name default-scheduler"
)
DELETES: Final = 8  # calls that delete a set's pods at the same time
STATUS_S: Final = 1.0  # a set's status is written no more often, until all of it is there


class Sets:
    """The controller of sets."""

    def __init__(self, ground: Ground, world: Callable[[], World]) -> None:
        """*world*: what rules depend on besides the set."""
        self._watched = ground.watched
        self._writer = ground.writer
        self._rules = ground.rules
        self._hashes = ground.hashes
        self._boards = ground.boards
        self._recorder = ground.recorder
        self._clock = ground.clock
        self._wake = ground.wake
        self._world = world
        self._written: dict[SetKey, float] = {}

    async def reconcile(self, key: SetKey) -> Again | None:
        """Make it so."""
        held = self._watched.sets.get(key.namespace, key.name)
        if held is None:
            self._written.pop(key, None)
            self._boards.forget(key)
            return None
        if held.metadata.deletion_timestamp:
            return await self._end(key, held)
        board = self._boards.of(key)
        verdict = validate(held.document, None, self._world())
        if await self._refuse(key, held, board, verdict):
            return None
        owner = held.read(PodCliqueSet)
        rules = self._rules(owner)
        failed = await failure(self._make_common(key, held, common(owner, rules)))
        found = (*_broken(verdict), *(() if failed is None else troubles(failed)))
        board.troubles.put(None, found, self._clock.now())
        self._tell_replicas(key, owner, rules, board)
        again_s = await self._sum_up(key, owner, rules, board)
        if failed is None:
            return None if again_s is None else Again(again_s)
        if again_s is not None:
            self._wake(key, again_s)
        raise failed

    async def _make_common(self, key: SetKey, held: Held, wanted: Iterable[Wanted]) -> None:
        """Our finalizer, and what the replicas share."""
        if SET_FINALIZER not in (held.metadata.finalizers or ()):
            await self._hold(held)
        owners = frozenset([held.metadata.uid])
        steps = diff(wanted, observe_common(self._watched, self._writer, key), owners)
        await self._writer.apply(steps, owners)
        if steps.foreign:
            raise taken(steps.foreign)

    # ------------------------------------------------------------ its end

    async def _end(self, key: SetKey, held: Held) -> Again | None:
        meta = held.metadata
        self._hashes.forget(meta.uid)
        if SET_FINALIZER not in (meta.finalizers or ()):
            return None
        if not self._orphans(key, meta):
            labels = ",".join(f"{key}={value}" for key, value in naming.managed(meta.name).items())
            pods = (self._writer.delete_collection(PODS, meta.namespace, one) for one in _parts(held, labels))
            try:
                await together(pods)
            except ExceptionGroup as error:  # the garbage collector finds them, too, if more slowly
                log.warning("pods of %s/%s are left to the garbage collector: %s", *key, error.exceptions[0])
        await without_finalizer(self._writer, SETS, held, SET_FINALIZER)
        return None

    def _orphans(self, key: SetKey, meta: Meta) -> bool:
        """Whether what it made is to stay; the garbage collector may be done with it before we look."""
        return ORPHAN in (meta.finalizers or ()) or any(
            not held.metadata.owner_references
            for kind in PLACED
            for held in self._watched.kinds[kind.kind].by("set", f"{key.namespace}/{key.name}")
        )

    async def _hold(self, held: Held) -> None:
        meta = held.metadata
        finalizers = [*(meta.finalizers or ()), SET_FINALIZER]
        patch = {"metadata": {"resourceVersion": meta.resource_version, "finalizers": finalizers}}
        await self._writer.merge(SETS, meta.namespace, meta.name, patch)

    # ------------------------------------------------------------ rules

    async def _refuse(self, key: SetKey, held: Held, board: SetBoard, verdict: Verdict) -> bool:
        """Whether nothing may be made of it."""
        there = self._watched.cliques.by("set", f"{key.namespace}/{key.name}")
        board.refused = bool(verdict.faults) and not there
        conditions = held.status.get("conditions")
        if not board.refused:
            outcome = without(conditions, REFUSED)
        else:
            why = sentence(verdict.faults)
            outcome = stated(
                conditions,
                [Stated(REFUSED, True, INVALID, why, held.metadata.generation)],
                now=self._clock.wall(),
            )
            about = Reference.to(SETS, held.metadata)
            if outcome.changed:
                self._recorder.record(about, INVALID, why, action="Validate", kind="Warning")
        if outcome.changed:
            patch = {"status": {"conditions": outcome.conditions or None}}
            await self._writer.merge(SETS, key.namespace, key.name, _whole(held, patch), "status")
        return board.refused

    # ------------------------------------------------------------ replicas

    def _tell_replicas(self, key: SetKey, owner: PodCliqueSet, rules: Rules, board: SetBoard) -> None:
        """All of them, when something has changed that they are made of."""
        meta = owner.metadata
        made_of = (meta.uid, meta.generation, meta.labels, meta.annotations, rules)
        if board.expanded == made_of:
            return
        board.expanded = made_of
        if unordered(owner, rules):
            about = Reference.to(SETS, meta)
            self._recorder.record(about, "StartOrderNotKept", UNORDERED, action="Expand", kind="Warning")
        if rules.absent is not None:
            about, instead = Reference.to(SETS, meta), rules.pods.instead
            placed = f"placed gang by gang by {instead}" if instead else "handed to it one by one"
            said = ABSENT.format(group=rules.absent.group, version=rules.absent.version, placed=placed)
            self._recorder.record(about, "SchedulerNotServed", said, action="Expand", kind="Warning")
        indices = set(range(owner.spec.replicas))
        for kind in self._watched.kinds.values():
            for held in kind.by("set", f"{key.namespace}/{key.name}"):
                label = held.metadata.label(L.SET_REPLICA) or ""
                if label.isdecimal():
                    indices.add(int(label))
        for index in sorted(indices):
            self._wake(ReplicaKey(*key, index), 0.0)

    async def _sum_up(self, key: SetKey, owner: PodCliqueSet, rules: Rules, board: SetBoard) -> float | None:
        """Turns and status, from what the replicas have said; of an old set not before all have.

        Returned is when to do it again, in seconds.
        """
        wanted = range(owner.spec.replicas)
        if owner.status.observed_generation is None:
            board.complete = True
        told = board.troubles.told(self._clock.now(), _codes(owner))
        if not board.complete and any(one not in board.summaries and one not in told for one in wanted):
            return None
        board.complete = True
        errors = last_errors(owner.status.last_errors, summed(told), self._clock.wall())
        status = self._status(key, owner, rules, board, errors)
        due_s = board.troubles.due_s(self._clock.now())
        held = self._watched.sets.get(key.namespace, key.name)
        patch = status_patch(held.status if held is not None else None, status)
        if not patch or held is None:
            return due_s
        wait_s = self._written.get(key, -STATUS_S) + STATUS_S - self._clock.now()
        if wait_s > 0.001 and status["availableReplicas"] < owner.spec.replicas:
            return wait_s if due_s is None else min(wait_s, due_s)
        self._written[key] = self._clock.now()
        await self._writer.merge(SETS, key.namespace, key.name, _whole(held, {"status": patch}), "status")
        self._record_errors(owner, errors)
        return due_s

    def _status(
        self, key: SetKey, owner: PodCliqueSet, rules: Rules, board: SetBoard, errors: list[Document]
    ) -> Document:
        """As it is to be; whoever's turn in an update begins or ends is told."""
        wanted = range(owner.spec.replicas)
        now = self._clock.wall()
        stages = {index: board.stages[index] for index in wanted if index in board.stages}
        hashes = self._hashes.of(owner)
        took = turns(owner, stages, hashes.hash, now)
        for index in took.indices ^ board.turns:
            self._wake(ReplicaKey(*key, index), 0.0)
        board.turns = took.indices
        name = topology_name(owner.spec.template)
        return set_status(
            owner,
            {index: board.summaries[index] for index in wanted if index in board.summaries},
            hashes.hash,
            now,
            progress=took.progress,
            topology=name,
            bound=name in rules.topologies if name else True,
            missing=missing(owner.spec.template, rules.topologies),
            enabled=self._world().topology,
            errors=errors,
        )

    def _record_errors(self, owner: PodCliqueSet, errors: list[Document]) -> None:
        """An Event for each that was not told before, of however many replicas it is."""
        codes = _codes(owner)
        for one in errors:
            if one["code"] not in codes:
                about = Reference.to(SETS, owner.metadata)
                self._recorder.record(
                    about, one["code"], one["description"], action="Reconcile", kind="Warning"
                )


def _broken(verdict: Verdict) -> tuple[Trouble, ...]:
    """The rules that a set at work breaks."""
    return (Trouble(INVALID, sentence(verdict.faults)),) if verdict.faults else ()


def _codes(owner: PodCliqueSet) -> Collection[str]:
    """Of the errors that its status tells."""
    return {str(one.get("code")) for one in owner.status.last_errors or ()}


def _parts(held: Held, labels: str) -> Iterator[str]:
    """Selectors of its pods: the API server deletes the pods of one call one after the other."""
    replicas = max(1, int(held.spec.get("replicas") or 0))
    for part in range(min(replicas, DELETES)):
        indices = ",".join(map(str, range(part, replicas, DELETES)))
        yield f"{labels},{L.SET_REPLICA} in ({indices})"


def _whole(held: Held, patch: Mapping[str, object]) -> dict[str, object]:
    """A patch for that version of it: lists of conditions are replaced as a whole."""
    return {"metadata": {"resourceVersion": held.metadata.resource_version}, **patch}
