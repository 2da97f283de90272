"""The registry: every worker we know, what we believe about it, and the table the data plane gets. Pure.

Discovery, health probes, the admin API and the workers file all write here; nobody else decides a worker's
state.
A worker owns one slot of the books for as long as anything may still be booked on it:

    add ──► in the table ──remove──► leaving (in the table, draining) ──inflight 0──► gone, slot free
                 │                                                                      ▲
                 └────────remove(force)──► not in the table, slot set aside ──inflight 0┘

    starting ──probe ok──► ready ──failures in a row──► unhealthy ──probe ok──► ready
    (draining and leaving lie over these three: what is underneath goes on being probed)

Free slots are taken in the order in which they were freed, so that a slot rests as long as possible and a
late look at the books cannot meet a new owner.

A model is known while any registered worker has had it: when all of its workers are down the answer must be
"not now" (503), not "no such model" (404).
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec
from msgspec import Raw, Struct

from grove_dp.errors import ClientFault, GroveError
from grove_dp.native.plane import CLASSES, ModelRow, WorkerRow
from grove_dp.routing.models import base_of, same_models
from grove_dp.routing.specs import Source, WorkerSpec

__all__ = [
    "NoSuchWorker",
    "Registry",
    "Table",
    "TooManyWorkers",
    "Worker",
    "WorkerExists",
]

Health = Literal["starting", "ready", "unhealthy"]


class WorkerExists(ClientFault):
    """A worker with this id is registered."""

    reason = "WorkerExists"
    status = 409


class NoSuchWorker(ClientFault):
    """No worker has this id."""

    reason = "NoSuchWorker"
    status = 404


class TooManyWorkers(GroveError):
    """Every slot of the books is taken."""

    reason = "TooManyWorkers"
    status = 409


# ---------------------------------------------------------------- what we know of it


class Worker(Struct, eq=False):
    """One registered worker. Only the registry changes it."""

    spec: WorkerSpec
    slot: int
    address: str | None = None  # numeric; None until the name resolved
    health: Health = "starting"
    reason: str = "NotProbed"  # why it is not ready; "" while it is
    warning: str = ""  # something to look at that does not stop it
    probe_failures: int = 0  # in a row
    draining: bool = False
    leaving: bool = False
    models: dict[str, bytes] = {}
    base: str | None = None  # the model that its adapters belong to
    block_size: int | None = None  # of its KV cache, as its metrics tell
    heals: bool = False  # its events have a hole that requests are to fill

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def state(self) -> str:
        """One of the plane's STATES."""
        return "draining" if self.draining or self.leaving or self.spec.held else self.health

    def cap(self, default: int) -> int:
        """Its own max_inflight, or *default* where it brings none."""
        return default if self.spec.max_inflight is None else self.spec.max_inflight

    @property
    def refuses(self) -> bool:
        """Nobody listens there: what it has not begun to answer, it will not."""
        return self.state == "unhealthy" and self.reason == "ProbeRefused"

    @property
    def why(self) -> str:
        """The reason word for people: why it gets nothing, else what to look at."""
        if self.leaving:
            return "Removed"
        if self.draining:
            return "Drained"
        return self.spec.held or self.reason or self.warning


class Table(NamedTuple):
    """What is published: rows for the plane, and how much of it can serve."""

    workers: list[WorkerRow]
    models: list[ModelRow]
    models_body: bytes
    ready: int  # workers that are ready and have a model
    awaited: int = 0  # models whose requests wait for a worker to come


class Registry:
    """All workers by id, in the order in which they came."""

    def __init__(self, slots: int) -> None:
        self._workers: dict[str, Worker] = {}
        self._free: deque[int] = deque(range(slots))
        self._set_aside: set[int] = set()  # of workers removed by force, until nothing is booked there
        self._taken: list[int] = []
        self._first_seen: dict[str, int] = {}  # model -> place in GET /v1/models
        self._models_seen = 0
        self._classes: dict[str, int] = {}  # base model -> class of workers that learn rates together

    def __iter__(self) -> Iterator[Worker]:
        return iter(list(self._workers.values()))

    def __len__(self) -> int:
        return len(self._workers)

    def get(self, worker_id: str) -> Worker:
        """The worker with this id, or NoSuchWorker."""
        worker = self._workers.get(worker_id)
        if worker is None:
            raise NoSuchWorker(f"no worker {worker_id!r}; GET /workers lists them")
        return worker

    def by_slot(self) -> dict[int, str]:
        """Ids by slot, for what the plane tells by slot."""
        return {worker.slot: worker.id for worker in self}

    # ------------------------------------------------------------ who is in

    def add(self, spec: WorkerSpec) -> Worker:
        """Register a worker; one that is leaving stays instead. WorkerExists, TooManyWorkers."""
        known = self._workers.get(spec.id)
        if known is not None and not known.leaving:
            raise WorkerExists(f"worker {spec.id} is registered (by {known.spec.source})")
        if known is not None:
            known.draining = spec.draining
            return self._update(known, spec)
        if not self._free:
            raise TooManyWorkers(f"worker {spec.id}: no free slot; remove a worker first")
        worker = Worker(spec=spec, slot=self._free.popleft(), address=spec.literal, draining=spec.draining)
        self._taken.append(worker.slot)
        self._workers[spec.id] = worker
        self._say_models(worker, {name: _model_body(name) for name in spec.models})
        return worker

    def remove(self, worker_id: str, *, force: bool = False) -> None:
        """Give it nothing new and let it go when nothing is in flight there; with *force* now."""
        worker = self.get(worker_id)
        worker.leaving = True
        if force:
            del self._workers[worker_id]
            self._set_aside.add(worker.slot)

    def drain(self, worker_id: str, on: bool) -> None:
        """Stop (or resume) giving it new requests."""
        self.get(worker_id).draining = on

    def sync(self, source: Source, specs: Iterable[WorkerSpec]) -> list[str]:
        """Make *source*'s workers exactly these; others' workers stay. Returns what was refused."""
        wanted = {spec.id: spec for spec in specs}
        for worker in self:
            if worker.spec.source == source and worker.id not in wanted:
                worker.leaving = True
        return [why for spec in wanted.values() if (why := self.put(spec))]

    def put(self, spec: WorkerSpec) -> str:
        """Add the worker, or make the one of the same source what *spec* says. Why it was refused, or ""."""
        known = self._workers.get(spec.id)
        try:
            if known is not None and known.spec.source == spec.source and not known.leaving:
                self._update(known, spec)
            else:
                self.add(spec)
        except (WorkerExists, TooManyWorkers) as error:
            return str(error)
        return ""

    def leave(self, worker_id: str, source: Source, pod_uid: str) -> None:
        """Let *source*'s worker go when nothing is in flight there, if it still is that pod's."""
        worker = self._workers.get(worker_id)
        if worker is not None and worker.spec.source == source and worker.spec.place.pod_uid == pod_uid:
            worker.leaving = True

    def _update(self, worker: Worker, spec: WorkerSpec) -> Worker:
        before, worker.leaving = worker.spec, False
        if (before.host, before.port, before.place.pod_uid) != (spec.host, spec.port, spec.place.pod_uid):
            self.remove(worker.id, force=True)
            return self.add(spec)
        if (
            before.draining != spec.draining
        ):  # a drain by the admin API outlives a reload that says nothing new
            worker.draining = spec.draining
        worker.spec = spec
        if spec.models != before.models:
            self._say_models(worker, {name: _model_body(name) for name in spec.models})
        return worker

    def reap(self, inflight: Callable[[int], int]) -> list[str]:
        """Let go of leaving workers and of slots set aside where nothing is in flight. The ids that went."""
        gone = [worker for worker in self if worker.leaving and inflight(worker.slot) == 0]
        for worker in gone:
            del self._workers[worker.id]
            self._free.append(worker.slot)
        for slot in [slot for slot in self._set_aside if inflight(slot) == 0]:
            self._set_aside.remove(slot)
            self._free.append(slot)
        return [worker.id for worker in gone]

    @property
    def waiting_to_go(self) -> bool:
        """True while `reap` has something to wait for."""
        return bool(self._set_aside) or any(worker.leaving for worker in self._workers.values())

    def taken(self) -> list[int]:
        """Slots taken since the last call: their books must start at zero."""
        slots, self._taken = self._taken, []
        return slots

    # ------------------------------------------------------------ what was seen

    def probe_ok(self, worker: Worker) -> bool:
        """A probe was answered well. True when the worker was not known to be well before."""
        news = worker.health != "ready" or worker.probe_failures > 0
        worker.health, worker.reason, worker.probe_failures = "ready", "", 0
        return news

    def probe_failed(self, worker: Worker, reason: str, limit: int) -> bool:
        """A probe failed. True when that changed the worker's state or the reason for it."""
        worker.probe_failures += 1
        before = worker.health, worker.reason
        if worker.health == "ready" and worker.probe_failures >= limit:
            worker.health = "unhealthy"
        if worker.health != "ready":
            worker.reason = reason
        return (worker.health, worker.reason) != before

    def resolved(self, worker: Worker, addresses: Sequence[str]) -> bool:
        """The name stands for these addresses; one in use stays if it is among them. True when it changed."""
        worker.warning = ""
        if worker.address in addresses:
            return False
        if worker.reason == "NameNotResolved":
            worker.health, worker.reason = "starting", "NotProbed"
        worker.address = addresses[0]
        return True

    def not_resolved(self, worker: Worker) -> bool:
        """The name could not be resolved; the last address stays. True when that is news."""
        before = worker.reason, worker.warning
        if worker.address is None:
            worker.health, worker.reason = "unhealthy", "NameNotResolved"
        else:
            worker.warning = "NameNotResolved"
        return (worker.reason, worker.warning) != before

    def models_seen(self, worker: Worker, models: Mapping[str, bytes]) -> bool:
        """What the worker's /v1/models lists: id -> object verbatim. True when that is news."""
        if worker.spec.models or same_models(worker.models, models):
            return False
        self._say_models(worker, models)
        return True

    def _say_models(self, worker: Worker, models: Mapping[str, bytes]) -> None:
        worker.models = dict(models)
        worker.base = base_of(models)
        for name in models:
            self._note(name)

    def _note(self, model: str) -> None:
        self._models_seen += 1
        self._first_seen.setdefault(model, self._models_seen)

    # ------------------------------------------------------------ what is published

    def table(
        self,
        max_inflight: int,
        exact: Mapping[str, int] | None = None,
        accounts: Callable[[str], Sequence[int]] = lambda _: (),
        known: Collection[str] = (),
    ) -> Table:
        """Rows for the plane; *max_inflight* is the cap of workers that bring none, *exact* names the models
        whose requests wait for their tokens, with what their prompts are remembered by, *accounts* where they
        are counted (ModelRow), *known* the models that are there without a worker, too."""
        waited = exact or {}
        placed = [worker for worker in self if worker.address is not None]
        index = {worker.slot: i for i, worker in enumerate(placed)}
        bodies: dict[str, bytes] = {}
        serving: dict[str, list[int]] = {}
        for worker in self:
            for name, body in worker.models.items():
                bodies.setdefault(name, body)
                serving.setdefault(name, [])
                if worker.slot in index:
                    serving[name].append(index[worker.slot])
        for name in known:
            self._note(name)
            bodies.setdefault(name, _model_body(name))
            serving.setdefault(name, [])
        self._first_seen = {name: place for name, place in self._first_seen.items() if name in bodies}
        names = sorted(bodies, key=self._first_seen.__getitem__)
        return Table(
            workers=[_row(worker, max_inflight, self.class_of(worker)) for worker in placed],
            models=[
                ModelRow(
                    name, serving[name], bodies[name], name in waited, waited.get(name, 0), accounts(name)
                )
                for name in names
            ],
            models_body=_models_body([bodies[name] for name in names]),
            ready=sum(worker.state == "ready" and bool(worker.models) for worker in placed),
            awaited=sum(not serving[name] for name in known),
        )

    def class_of(self, worker: Worker) -> int:
        """Workers of one base model are taken to be alike; beyond CLASSES models share."""
        base = worker.base
        return 0 if base is None else self._classes.setdefault(base, len(self._classes) % CLASSES)


def _row(worker: Worker, max_inflight: int, class_of: int) -> WorkerRow:
    spec = worker.spec
    assert worker.address is not None
    return WorkerRow(
        slot=worker.slot,
        id=spec.id,
        authority=spec.authority,
        ip=worker.address,
        port=spec.port,
        state="refusing" if worker.refuses else worker.state,
        max_inflight=worker.cap(max_inflight),
        class_of=class_of,
        rank=spec.rank,
        heals=worker.heals,
    )


def _model_body(name: str) -> bytes:
    """What a worker would say of a model that is only named."""
    return msgspec.json.encode({"id": name, "object": "model", "created": 0, "owned_by": "vllm"})


def _models_body(bodies: Iterable[bytes]) -> bytes:
    return msgspec.json.encode({"object": "list", "data": [Raw(body) for body in bodies]})
