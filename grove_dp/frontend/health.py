"""Active probes: is a worker well, and which models does it serve.

One task per worker that has an address. Its first probe and its first GET /v1/models go out at once and
side by side, so a worker that is up serves one round trip after it was registered. While it starts (vLLM
refuses connections for 25 s and more) it is asked each 0.25 s at first and then ever slower up to
health.interval_s; afterwards each interval, give or take a tenth, and after a chance part of one at first:
the probes of many workers and many frontends do not march in step, not even of those that came together.

Seen through vLLM's life: a draining worker says 200 here while it refuses requests (the circuit sees that,
not we); a dead engine says 503 once and then refuses; a restarted one answers again, and that closes its
circuit.
"""

import asyncio
import logging
from collections.abc import Callable
from random import Random
from typing import Final

import msgspec
from msgspec import Raw, Struct

from grove_dp.clock import Clock
from grove_dp.frontend.asking import Asker, NoAnswer
from grove_dp.frontend.followers import Followers
from grove_dp.routing.workers import Registry, Worker
from grove_dp.settings import Settings

__all__ = ["Prober", "read_models"]

FIRST_RETRY_S: Final = 0.25
RETRY_GROWTH: Final = 1.5

_log = logging.getLogger(__name__)


class Prober:
    """Asks every worker in turn and tells the registry."""

    def __init__(
        self,
        registry: Registry,
        settings: Callable[[], Settings],
        asker: Asker,
        changed: Callable[[], None],
        close_circuit: Callable[[int], None],
        clock: Clock,
        rng: Random,
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._asker = asker
        self._changed = changed
        self._close_circuit = close_circuit
        self._clock = clock
        self._rng = rng
        self._followers = Followers(registry, self._watch, lambda worker: worker.address is not None)
        self.follow = self._followers.follow

    async def run(self) -> None:
        """Probe until cancelled."""
        await self._followers.run()

    async def _watch(self, worker: Worker) -> None:
        """The life of one worker as its probes see it."""
        retry_s, models_due, ready_before = FIRST_RETRY_S, self._clock.now(), False
        while True:
            asks_models = not worker.spec.models and self._clock.now() >= models_due
            failure, models = await asyncio.gather(
                self._health(worker), self._models(worker) if asks_models else _nothing()
            )
            self._note(worker, failure, models)
            settings = self._settings().health
            if failure is not None and worker.health != "ready":
                models_due = 0.0  # ask again with the probe that may find it back
            elif models is not None:
                models_due = self._clock.now() + settings.models_interval_s
            if worker.health == "starting" or (worker.health == "ready" and not worker.models):
                wait_s, retry_s = min(retry_s, settings.interval_s), retry_s * RETRY_GROWTH
            else:
                wait_s, retry_s = settings.interval_s, FIRST_RETRY_S
            least, most = (0.9, 1.1) if ready_before or worker.health != "ready" else (0.1, 1.0)
            ready_before = worker.health == "ready"
            await self._clock.sleep(wait_s * self._rng.uniform(least, most))

    def _note(self, worker: Worker, failure: str | None, models: dict[str, bytes] | None) -> None:
        before = worker.state
        if failure is None:
            news = self._registry.probe_ok(worker)
            if news:
                self._close_circuit(worker.slot)
        else:
            news = self._registry.probe_failed(worker, failure, self._settings().health.failures)
        if models is not None and self._registry.models_seen(worker, models):
            _log.info("models of a worker", extra={"worker": worker.id, "models": ",".join(models)})
            news = True
        if worker.state != before:
            level = logging.WARNING if worker.state == "unhealthy" else logging.INFO
            _log.log(
                level,
                "worker is %s",
                worker.state,
                extra={"worker": worker.id, "reason": failure or "ProbeOk"},
            )
        if news:
            self._changed()

    async def _health(self, worker: Worker) -> str | None:
        """The reason word of a failure, or None."""
        try:
            await self._get(worker, self._settings().health.path)
        except NoAnswer as failed:
            return str(failed)
        return None

    async def _models(self, worker: Worker) -> dict[str, bytes] | None:
        """What it serves, or None when it did not say."""
        try:
            return read_models(await self._get(worker, "/v1/models"))
        except NoAnswer:
            return None  # /health tells the trouble
        except msgspec.DecodeError as error:
            _log.warning(
                "GET /v1/models gave no list of models", extra={"worker": worker.id, "error": str(error)}
            )
            return None

    async def _get(self, worker: Worker, path: str) -> bytes:
        urgent = worker.health != "ready"
        return await self._asker.get(worker, path, self._settings().health.timeout_s, urgent=urgent)


async def _nothing() -> None:
    """Stands where nothing is asked."""


class _Listed(Struct):
    data: list[Raw]


class _Named(Struct):
    id: str


def read_models(body: bytes) -> dict[str, bytes]:
    """The objects of a GET /v1/models by id, verbatim. msgspec.DecodeError when it is no such list."""
    listed = msgspec.json.decode(body, type=_Listed).data
    return {msgspec.json.decode(item, type=_Named).id: bytes(item) for item in listed}
