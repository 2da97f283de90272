"""All autoscalers of one process: which there are, each as leader of its set.

    informers ──► TokenAutoscalers, and those of the file ──► one task per set
                                                                 lead(Lease grove-dp-autoscale-<set>) ──► Loop

A set has one Lease, whoever scales it: a second process, or a second installation, stands by. Of two
autoscalers of one set the older scales, and the other says so. One that cannot be read says so, too, and
keeps nobody else from being scaled.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, Final
from weakref import WeakValueDictionary

import msgspec

from grove_dp.clock import Clock
from grove_dp.errors import GroveError
from grove_dp.kube.access import Access
from grove_dp.kube.informer import Change, Informer
from grove_dp.kube.lease import Candidate, LeaseTimes, exit_at_once, lead_as
from grove_dp.kube.objects import PODS, Pod
from grove_dp.metering.external.overview import Names, Where, frontend_url
from grove_dp.metering.merging import Fetch, Frontends
from grove_dp.scaling.actuator import Actuator, Outcome
from grove_dp.scaling.decision import Decision
from grove_dp.scaling.kinds import (
    AUTOSCALERS,
    CLIQUES,
    GROUPS,
    HPAS,
    SETS,
    Autoscaler,
    Clique,
    CliqueSet,
    Group,
    Hpa,
    TokenAutoscaler,
)
from grove_dp.scaling.lookout import Lookout
from grove_dp.scaling.loop import Loop, no_set
from grove_dp.scaling.reading import PART_OF
from grove_dp.scaling.series import Led
from grove_dp.scaling.settings import Settings, objection
from grove_dp.scaling.spec import Spec
from grove_dp.scaling.telling import Telling
from grove_dp.scaling.tree import Objects

__all__ = ["Fleet", "lease_name"]

MANAGED: Final = "app.kubernetes.io/managed-by=grove-operator"
SILENT_S: Final = 200.0  # bookmarks come each minute: what we know of the cluster may be old
ALL: Final = "*"
FRESH_S: Final = 1.0  # what frontends told so lately is not asked for again by another autoscaler

_log = logging.getLogger(__name__)


def lease_name(name: str) -> str:
    """Of the Lease for set *name*."""
    return f"grove-dp-autoscale-{name}"


class _Running(msgspec.Struct):
    """One autoscaler at work."""

    one: Autoscaler
    task: "asyncio.Task[None]"
    loop: Loop
    candidate: Candidate | None


class Fleet:
    """Scales until cancelled."""

    def __init__(
        self,
        api: Access,
        settings: Settings,
        fetch: Fetch,
        clock: Clock,
        rng: Random,
        *,
        identity: str,
        dry_run: bool = False,
        where: Callable[[Iterable[str]], Where] | None = None,
        times: LeaseTimes | None = None,
        stuck: Callable[[], object] = exit_at_once,
    ) -> None:
        """*fetch* asks a frontend; *where* finds frontends by what they are named; *identity*: ours."""
        self._api = api
        self._settings = settings
        self._fetch = fetch
        self._clock = clock
        self._rng = rng
        self._identity = identity
        self._dry_run = dry_run
        self._where = where or names
        self._times = times
        self._stuck = stuck
        self.namespace = settings.namespace or api.namespace
        namespace = None if self.namespace == ALL else self.namespace
        common: dict[str, Any] = {"namespace": namespace, "clock": clock, "rng": rng}
        by_set = {"set": _set_of}
        self._autoscalers = Informer(api, AUTOSCALERS, TokenAutoscaler, **common)
        self._sets = Informer(api, SETS, CliqueSet, **common)
        self._cliques = Informer(api, CLIQUES, Clique, **common, indexes=by_set)
        self._groups = Informer(api, GROUPS, Group, **common, indexes=by_set)
        self._pods = Informer(api, PODS, Pod, **common, labels=MANAGED, indexes=by_set)
        self._hpas = Informer(
            api, HPAS, Hpa, **common, indexes={"namespace": lambda hpa: (hpa.metadata.namespace,)}
        )
        self._telling = Telling(api, self._autoscalers, clock, rng, identity=identity, dry_run=dry_run)
        self._running: dict[str, _Running] = {}  # by the key of the autoscaler
        self._lookouts: WeakValueDictionary[tuple[str, ...], Lookout] = WeakValueDictionary()
        self._changed = asyncio.Event()
        self._objected: set[tuple[str, str]] = set()  # what is wrong with autoscalers, by key

    # ------------------------------------------------------------ for the admin port

    @property
    def cluster(self) -> str:
        """The API server's address."""
        return self._api.host

    @property
    def synced(self) -> bool:
        """The cluster has been seen."""
        return all(informer.is_synced for informer in self._needed)

    def explained(self) -> list[dict[str, Any]]:
        """The last tick of every autoscaler here, and who leads."""
        return [
            {
                "leading": each.candidate is None or each.candidate.holding,
                "leader": "" if each.candidate is None else each.candidate.holder,
                "namespace": each.one.namespace,
                "name": each.one.name,
                "set": each.one.spec.pod_clique_set,
                **each.loop.explained,
                "changes": dict(each.loop.changes),
                "history": list(each.loop.history),
            }
            for each in self._running.values()
        ]

    def led(self) -> Iterable[Led]:
        """The sets that we scale now, with the last decision of each."""
        for each in self._running.values():
            leading = each.candidate is None or each.candidate.holding
            if leading and each.loop.decision is not None:
                yield Led(each.one, each.loop.decision, each.loop.changes)

    # ------------------------------------------------------------ running

    @property
    def _informers(self) -> list[Informer[Any]]:
        ours: list[Informer[Any]] = [self._autoscalers] if self._settings.watch else []
        return [*ours, self._sets, self._cliques, self._groups, self._pods, self._hpas]

    @property
    def _needed(self) -> list[Informer[Any]]:
        """Without TokenAutoscalers those of the file can be scaled: a cluster need not know the kind."""
        return self._informers[bool(self._settings.watch and self._settings.autoscalers) :]

    async def run(self) -> None:
        """Follow the autoscalers that there are, until cancelled."""
        self._autoscalers.listen(self._heard)
        async with self._telling, asyncio.TaskGroup() as group:
            for informer in self._informers:
                group.create_task(informer.run())
            for informer in self._needed:
                await informer.synced()
            try:
                while True:
                    self._changed.clear()
                    await self._sync(group)
                    if not self._running:
                        _log.warning("no TokenAutoscaler to follow", extra={"namespace": self.namespace})
                    await self._changed.wait()
            finally:
                for each in self._running.values():
                    each.task.cancel()

    def _heard(self, _: Change[TokenAutoscaler]) -> None:
        self._changed.set()

    async def _sync(self, group: asyncio.TaskGroup) -> None:
        """Exactly those run that are to."""
        wanted, problems = self._wanted()
        for key, each in list(self._running.items()):
            new = wanted.get(key)
            if new is None or new.spec.pod_clique_set != each.one.spec.pod_clique_set or _asks(new, each.one):
                if new is None or new.spec.pod_clique_set != each.one.spec.pod_clique_set:
                    await each.loop.abandon()
                each.task.cancel()
                await asyncio.wait({each.task})
                del self._running[key]
            else:
                each.one = new
        for key, one in wanted.items():
            if key not in self._running:
                self._running[key] = self._start(one, group)
        for one, reason, message in problems:
            if (one.key, message) not in self._objected:
                _log.warning("%s: %s", one.key, message, extra={"reason": reason})
            await self._telling.undecided(one, reason, message)
        self._objected = {(one.key, message) for one, _, message in problems}

    def _wanted(self) -> tuple[dict[str, Autoscaler], list[tuple[Autoscaler, str, str]]]:
        """The autoscaler of each set, and what is wrong with the others."""
        wanted: dict[str, Autoscaler] = {}
        problems: list[tuple[Autoscaler, str, str]] = []
        owners: dict[tuple[str, str], Autoscaler] = {}
        for one, problem in self._all():
            key = (one.namespace, one.spec.pod_clique_set)
            if problem:
                problems.append((one, "InvalidSpec", problem))
            elif key in owners:
                message = f"{owners[key].name} scales the set {one.spec.pod_clique_set} already"
                problems.append((one, "AnotherAutoscaler", message))
            else:
                owners[key] = wanted[one.key] = one
        return wanted, problems

    def _all(self) -> Iterable[tuple[Autoscaler, str]]:
        """Those of the file, then those of the cluster, the oldest first; each with what is wrong with it."""
        for one in self._settings.listed:
            yield one, ""
        stored = [each for each in self._autoscalers if each.metadata.deletion_timestamp is None]
        for each in sorted(stored, key=lambda each: (each.metadata.creation_timestamp or "", _key(each))):
            yield _decoded(each)

    def _start(self, one: Autoscaler, group: asyncio.TaskGroup) -> _Running:
        key = one.key
        candidate = None
        if not self._dry_run:
            candidate = Candidate(
                self._api,
                one.namespace,
                lease_name(one.spec.pod_clique_set),
                f"{self._identity}/{one.name}",
                times=self._times,
                clock=self._clock,
                rng=self._rng,
            )
        loop = Loop(
            lambda: self._running[key].one,
            self._look,
            self._lookout(one.spec.frontends or self._settings.frontends),
            Actuator(
                self._api,
                dry_run=self._dry_run,
                holding=(lambda: True) if candidate is None else (lambda: candidate.holding),
            ),
            self._told,
            self._clock,
            tick_s=self._settings.tick_seconds,
        )
        work = loop.run() if candidate is None else lead_as(candidate, loop.run, stuck=self._stuck)
        return _Running(one, group.create_task(work, name=f"scaling {key}"), loop, candidate)

    def _lookout(self, named: tuple[str, ...]) -> Lookout:
        """The one for these frontends; it is gone with the last autoscaler that looks from it."""
        found = self._lookouts.get(named)
        if found is None:
            frontends = Frontends(self._fetch, self._clock, window_s=self._settings.window_seconds)
            fresh_s = min(FRESH_S, self._settings.tick_seconds / 2)
            found = self._lookouts[named] = Lookout(self._where(named), frontends, self._clock, fresh_s)
        return found

    def _look(self, one: Autoscaler) -> tuple[Objects | None, tuple[str, ...]]:
        """What there is of its set."""
        name, namespace = one.spec.pod_clique_set, one.namespace
        top = self._sets.get(namespace, name)
        if top is None or top.metadata.deletion_timestamp is not None:
            return None, ()
        key = f"{namespace}/{name}"
        objects = Objects(
            top=top,
            cliques=tuple(self._cliques.by("set", key)),
            groups=tuple(self._groups.by("set", key)),
            pods=tuple(self._pods.by("set", key)),
            hpas=tuple(self._hpas.by("namespace", namespace)),
        )
        silent = [one.resource.plural for one in self._informers if one.quiet_s > SILENT_S]
        return objects, tuple(f"{plural}: not heard of for {SILENT_S:.0f} s" for plural in silent)

    async def _told(self, one: Autoscaler, decision: Decision | None, outcome: Outcome) -> None:
        if decision is None:
            await self._telling.undecided(one, "SetNotFound", no_set(one))
        else:
            await self._telling.decided(one, decision, outcome)


def names(named: Iterable[str]) -> Where:
    """The frontends behind admin ports, each a URL or a name with many addresses."""
    return Names([frontend_url(one) for one in named])


def _asks(new: Autoscaler, old: Autoscaler) -> bool:
    """It names other frontends."""
    return new.spec.frontends != old.spec.frontends


def _key(one: TokenAutoscaler) -> str:
    return f"{one.metadata.namespace}/{one.metadata.name}"


def _set_of(one: Any) -> tuple[str, ...]:
    name = one.metadata.label(PART_OF)
    return (f"{one.metadata.namespace}/{name}",) if name else ()


def _decoded(one: TokenAutoscaler) -> tuple[Autoscaler, str]:
    meta = one.metadata
    try:
        spec = msgspec.json.decode(one.spec, type=Spec)
        problem = objection(spec)
        for named in spec.frontends:
            frontend_url(named)
    except (msgspec.ValidationError, GroveError) as error:
        spec, problem = Spec(pod_clique_set=meta.name, components=()), str(error)
    made = Autoscaler(
        namespace=meta.namespace, name=meta.name, spec=spec, generation=meta.generation, stored=True
    )
    return made, problem
