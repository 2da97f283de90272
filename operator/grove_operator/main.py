"""The operator, put together.

    Watched ──┬─► Controller of sets ──────┐
              ├─► Controller of replicas ──┤─► Writer ─► API server
              └─► Admission (gangs) ───────┘        └─► answers back into Watched

Informers run as long as the process, controllers only while we lead. Whoever comes to lead starts from what
is there: the first look at everything writes nothing where nothing is left to do.
"""

import asyncio
from collections.abc import Callable
from random import Random

from grove_dp.clock import Clock, SystemClock
from grove_dp.kube.access import Access
from grove_dp.kube.controller import Again, Controller
from grove_dp.kube.events import Recorder
from grove_dp.kube.informer import Change
from grove_dp.kube.lease import Candidate, exit_at_once, lead_as
from grove_dp.kube.objects import Meta, Resource
from grove_dp.kube.pace import Pace
from grove_operator.api import ClusterTopologyBinding, PodCliqueSet
from grove_operator.applying import Writer
from grove_operator.controllers.names import Names
from grove_operator.controllers.replicas import Replicas
from grove_operator.controllers.sets import Sets
from grove_operator.controllers.state import Boards, Ground
from grove_operator.discovery import Discovery
from grove_operator.gang.admission import Admission, GangTimes
from grove_operator.held import Held
from grove_operator.metrics import OperatorMetrics
from grove_operator.missing import missing, troubled
from grove_operator.naming import L
from grove_operator.observing import Hashes
from grove_operator.plan.backends import Placing, placing, wanted_groups
from grove_operator.plan.backends.kai import Kai
from grove_operator.plan.backends.native import Native
from grove_operator.plan.expand import Rules
from grove_operator.plan.gangs import scheduler_of
from grove_operator.plan.pods import PodRules
from grove_operator.settings import OperatorSettings
from grove_operator.watching import Key, ReplicaKey, SetKey, Watched, replica_key
from grove_operator.world import Surroundings

__all__ = ["Operator"]

CONTROLLER = "grove-dp.io/operator"
BURST, PER_S = 200, 100.0  # of one key: a gang that starts changes often, and for good reasons


class Operator:
    """Keeps PodCliqueSets true, as long as `run` runs."""

    def __init__(
        self,
        api: Access,
        settings: OperatorSettings | None = None,
        *,
        identity: str = "grove-operator",
        clock: Clock | None = None,
        rng: Random | None = None,
        metrics: OperatorMetrics | None = None,
        stuck: Callable[[], object] = exit_at_once,
    ) -> None:
        """*identity* tells this one from others; *stuck* is called if it cannot stop when it must."""
        self.settings = settings or OperatorSettings()
        self._api = api
        self._identity = identity
        self._clock = clock or SystemClock()
        self._rng = rng or Random()
        self.metrics = metrics or OperatorMetrics()
        self._stuck = stuck
        self.watched = Watched(
            api, namespace=self.settings.cluster.namespace, clock=self._clock, rng=self._rng
        )
        self.world = Surroundings(self.settings, self.watched.bindings)
        scheduler = self.settings.scheduler
        self._discovery = Discovery(
            api, self._clock, self._found, wanted_groups(scheduler.backend, scheduler.names)
        )
        self._candidate: Candidate | None = None

    @property
    def leading(self) -> bool:
        """Whether this one works."""
        return self.metrics.leading

    @property
    def ready(self) -> bool:
        """Everything has been seen once."""
        return not self.missing()

    def missing(self) -> str:
        """What has not been seen yet, and why."""
        return missing(self.watched.informers())

    @property
    def troubled(self) -> bool:
        """Whether somebody has to do something about that."""
        return troubled(self.watched.informers())

    async def run(self) -> None:
        """Until cancelled."""
        await self._discovery.first()
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self.watched.run(), name="watch")
            looking = group.create_task(self._discovery.run(), name="discovery")
            try:
                await self.watched.synced()
                await self._lead()
            finally:
                watching.cancel()
                looking.cancel()

    async def _lead(self) -> None:
        leader = self.settings.leader
        if not leader.enabled:
            await self._work()
            return
        namespace = leader.namespace or self._api.namespace or "default"
        self._candidate = Candidate(
            self._api,
            namespace,
            leader.lease,
            self._identity,
            times=leader.times,
            clock=self._clock,
            rng=self._rng,
        )
        await lead_as(self._candidate, self._work, stuck=self._stuck)

    def _holding(self) -> bool:
        return self._candidate is None or self._candidate.holding

    def _found(self, served: frozenset[Resource]) -> None:
        self.watched.serve(served)
        self.watched.changed()

    # ------------------------------------------------------------ leading

    async def _work(self) -> None:
        """Everything that writes."""
        async with Recorder(
            self._api, CONTROLLER, self._identity, clock=self._clock, rng=self._rng
        ) as recorder:
            self.metrics.leading = True
            try:
                await _Reign(self, recorder).run()
            finally:
                self.metrics.leading = False

    def writer(self) -> Writer:
        """Writes as long as we lead."""
        return Writer(self._api, self.watched, self.metrics, self._holding)

    # ------------------------------------------------------------ what plans are told of the cluster

    def rules(self, owner: PodCliqueSet) -> Rules:
        """Of a set: who places its pods, who orders their start, which domains there are."""
        settings = self.settings
        placed = self.placing(scheduler_of(owner, settings.scheduler.default))
        by_init = settings.order.by == "init" or not placed.own
        pods = PodRules(
            scheduler="" if settings.scheduler.default == "default-scheduler" else settings.scheduler.default,
            instead=placed.instead,
            init_image=(settings.order.image or "") if by_init else "",
            init_command=settings.order.command,
            gated=placed.own,
            priority=placed.own or isinstance(placed.backend, Native),
        )
        topologies = self.topologies() if settings.topology.enabled else {}
        return Rules(pods, topologies, placed.backend, placed.absent)

    def placing(self, scheduler: str) -> Placing:
        """Who places the pods of sets with this scheduler, as far as is known now."""
        watched, setting = self.watched, self.settings.scheduler.backend
        found = self._discovery
        topologies = self._kai_topologies()
        return placing(setting, scheduler, watched.known, topologies, found.older, found.there)

    def places(self, gang: Held) -> bool:
        """Whether that is for our own backend."""
        return self.placing(gang.metadata.label(L.SCHEDULER) or self.settings.scheduler.default).own

    def _kai_topologies(self) -> dict[str, str]:
        """KAI's names of bindings that it knows by another."""
        return {
            held.metadata.name: str(named["topologyReference"])
            for held in self.watched.bindings
            for named in held.read(ClusterTopologyBinding).spec.scheduler_topology_bindings or ()
            if named.get("schedulerName") == Kai.SCHEDULER and named.get("topologyReference")
        }

    def topologies(self) -> dict[str, dict[str, str]]:
        """Node label keys by domain, of each binding."""
        return {
            held.metadata.name: dict(held.read(ClusterTopologyBinding).keys) for held in self.watched.bindings
        }


def _gone(told: Callable[[Meta], None]) -> Callable[[Change[Held]], None]:
    """A listener that tells of objects that are no more."""
    return lambda change: told(change.last.metadata) if change.new is None else None


class _Reign:
    """The controllers, from coming to lead to its end."""

    def __init__(self, operator: Operator, recorder: Recorder) -> None:
        clock, rng, watched = operator._clock, operator._rng, operator.watched
        self._watched = watched
        self._operator = operator
        writer = operator.writer()
        names, self._boards = Names(rng), Boards()
        ground = Ground(watched, writer, operator.rules, Hashes(), self._boards, recorder, clock, self._wake)
        self._replicas = Replicas(ground, names)
        self._sets = Sets(ground, operator.world)
        gang = operator.settings.gang
        self._admission = Admission(
            watched,
            writer,
            self._boards,
            recorder,
            clock,
            operator.metrics,
            times=GangTimes(
                gang.confirm_s, gang.tries, gang.backoff_s, gang.provision_s if gang.provision else None
            ),
            is_ours=operator.places,
        )
        self._controller = Controller[Key](
            "sets",
            self._reconcile,
            workers=operator.settings.work.workers,
            clock=clock,
            rng=rng,
            pace=Pace(BURST, PER_S),
        )
        operator.metrics.follow(self._controller.reading)
        self._boards.changed = self._gang_changed
        watched.pods.listen(names.told)
        for informer in (watched.sets, watched.cliques):
            informer.listen(_gone(lambda meta: names.forget(meta.uid)))
        watched.gangs.listen(_gone(lambda meta: self._boards.forget_gang(meta.namespace, meta.name)))
        self._controller.follow(watched.sets, watched.set_keys)
        for informer in watched.kinds.values():
            self._controller.follow(informer, watched.held_keys)
        self._controller.follow(watched.pods, watched.pod_keys)
        watched.bindings.listen(lambda _: self._wake_all())
        watched.changed = self._wake_all

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._controller.run(), name="controller")
            group.create_task(self._admission.run(), name="admission")

    async def _reconcile(self, key: Key) -> Again | None:
        if isinstance(key, ReplicaKey):
            return await self._replicas.reconcile(key)
        return await self._sets.reconcile(key)

    def _wake(self, key: Key, after_s: float) -> None:
        self._controller.queue.add(key, after_s=after_s)

    def _wake_all(self) -> None:
        for held in self._watched.sets:
            self._wake(SetKey(held.metadata.namespace, held.metadata.name), 0.0)

    def _gang_changed(self, namespace: str, gang: str) -> None:
        held = self._watched.gangs.get(namespace, gang)
        key = replica_key(held) if held is not None else None
        if key is not None:
            self._wake(key, 0.0)
