"""The demo's world: simulated workers and the real frontend, each a process, so that one can really die.

    replay ──HTTP──► grove-dp serve ──HTTP──► worker-sim 1..N      all on 127.0.0.1, all ended with the world
                          └ admin port: states, in flight

`async with World(...)` yields only when everything answers; a port that is taken is replaced, and said. Then
`settled` waits until the frontend hears every worker's cache and, where the policy wants them, knows the
tokens of prompts: a replay before that would measure how the frontend gets there.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from grove_dp.metering.signals import Signals, decode
from grove_dp.sim.client import Endpoint, LoadClient, Unreachable
from grove_dp.sim.processes import Child, end_all, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from grove_dp.clock import Clock

__all__ = ["Placements", "WorkerState", "World", "WorldPlan"]

_PLACED = re.compile(rb'^grove_dp_placements_total\{basis="(\w+)"\} (\S+)$', re.MULTILINE)
_HELLO = b'{"model":"%s","max_tokens":1,"messages":[{"role":"user","content":"Are you there?"}]}'


class WorldPlan(msgspec.Struct, frozen=True):
    """What to start; a port of 0 is any free one. `direct` leaves the frontend out: worker 1 is asked.

    The workers: Llama 8B at 0.6 of an H100's speed, each with a cache of 2,000 blocks of 16 tokens.
    """

    workers: int = 4
    worker_speed: float = 0.6
    cache_blocks: int = 2000
    policy: str = "kv"
    port: int = 8000
    admin_port: int = 9090
    worker_port: int = 8101
    direct: bool = False
    ready_s: float = 60.0
    settle_s: float = 20.0

    @property
    def cache_tokens(self) -> int:
        """What one worker can cache."""
        return self.cache_blocks * 16


class _Events(msgspec.Struct):
    state: str = ""


class _Predictions(msgspec.Struct):
    judged: int = 0
    exact: int = 0


class _Cache(msgspec.Struct):
    events: _Events = msgspec.field(default_factory=_Events)
    predictions: _Predictions = msgspec.field(default_factory=_Predictions)


class WorkerState(msgspec.Struct):
    """A worker as the frontend's admin port shows it."""

    id: str
    state: str = ""
    reason: str | None = None
    circuit: str = ""
    inflight: int = 0
    kv: _Cache = msgspec.field(default_factory=_Cache)

    @property
    def feed(self) -> str:
        """How well the frontend hears its cache: `live` when it knows all of it."""
        return self.kv.events.state


class _States(msgspec.Struct):
    workers: list[WorkerState]


class Placements(msgspec.Struct, frozen=True):
    """How requests were placed, and how many predictions of cached tokens came true to the token."""

    by_tokens: int = 0
    by_text: int = 0
    judged: int = 0
    exact: int = 0

    def since(self, before: Placements) -> Placements:
        """What was added after *before*."""
        return Placements(
            self.by_tokens - before.by_tokens,
            self.by_text - before.by_text,
            self.judged - before.judged,
            self.exact - before.exact,
        )


class World:
    """Owns the processes; `url` is where requests go."""

    def __init__(self, plan: WorldPlan, *, clock: Clock, announce: Callable[[str], None]) -> None:
        self._plan = plan
        self._clock = clock
        self._announce = announce
        self._folder = tempfile.TemporaryDirectory(prefix="grove-dp-demo-")
        self._taken: list[int] = []
        wanted = [plan.worker_port and plan.worker_port + place for place in range(plan.workers)]
        self.worker_ports = [self._port(port, "worker") for port in wanted]
        self.workers = [self._worker(place, port) for place, port in enumerate(self.worker_ports)]
        self.port = self.worker_ports[0] if plan.direct else self._port(plan.port, "frontend")
        self.admin_port = 0 if plan.direct else self._port(plan.admin_port, "admin")
        self.frontend = None if plan.direct else self._frontend()
        self._admin = LoadClient(Endpoint("127.0.0.1", self.admin_port), clock=clock, timeout_s=2.0)

    @property
    def url(self) -> str:
        """The base URL for clients."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        """The frontend's admin API."""
        return f"http://127.0.0.1:{self.admin_port}"

    def worker_id(self, place: int) -> str:
        """The name under which the frontend knows a worker."""
        return f"127.0.0.1:{self.worker_ports[place]}"

    def _port(self, preferred: int, whose: str) -> int:
        port = free_port(preferred, self._taken)
        if preferred not in (port, 0):
            self._announce(f"port {preferred} is taken; the {whose} uses {port}")
        self._taken.append(port)
        return port

    def _worker(self, place: int, port: int) -> Child:
        name = f"worker {place + 1}"
        flags = (
            f"--port {port} --seed {place} --speed {self._plan.worker_speed} --enable-prompt-tokens-details "
            f"--num-gpu-blocks {self._plan.cache_blocks} --max-model-len 16384 "
            "--kv-events-endpoint tcp://127.0.0.1:0 --kv-replay-endpoint tcp://127.0.0.1:0"
        )
        return Child(name, _command("worker-sim", flags), self._log(name))

    def _frontend(self) -> Child:
        urls = ",".join(f"http://127.0.0.1:{port}" for port in self.worker_ports)
        flags = (
            f"--http.port {self.port} --admin.port {self.admin_port} --workers.urls {urls} "
            f"--routing.policy {self._plan.policy} --routing.expose_headers --health.interval_s 0.5 "
            "--drain.delay_s 0 --drain.grace_s 1"
        )
        return Child("frontend", _command("serve", flags), self._log("frontend"))

    def _log(self, name: str) -> Path:
        return Path(self._folder.name) / f"{name.replace(' ', '-')}.log"

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(*(self._start(child, port, "/health") for child, port in self._upstream()))
            if self.frontend is not None:
                await self._start(self.frontend, self.admin_port, "/readyz")
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _upstream(self) -> list[tuple[Child, int]]:
        return list(zip(self.workers, self.worker_ports, strict=True))

    async def _start(self, child: Child, port: int, path: str) -> None:
        """Start *child* and wait until *path* answers 200."""
        probe = LoadClient(Endpoint("127.0.0.1", port), clock=self._clock, timeout_s=2.0)
        await child.start()
        try:
            async with asyncio.timeout(self._plan.ready_s):
                while True:
                    try:
                        await probe.get(path)
                        return
                    except Unreachable:
                        if not child.alive:
                            raise child.failure("ended while starting") from None
                        await self._clock.sleep(0.1)
        except TimeoutError:
            raise child.failure(f"was not ready after {self._plan.ready_s:g} s") from None
        finally:
            probe.close()

    async def close(self) -> None:
        """End every process, the frontend first, and forget the logs."""
        self._admin.close()
        try:
            if self.frontend is not None:
                await end_all([self.frontend])
        finally:
            await end_all(self.workers)
            self._folder.cleanup()

    # -- what happens to workers -------------------------------------------------------------------------

    async def kill_worker(self, place: int) -> None:
        """kill -9, as an out-of-memory kill or a lost node would."""
        self.workers[place].send(signal.SIGKILL)
        await self.workers[place].ended()

    async def restart_worker(self, place: int) -> None:
        """Start it again on its port; returns when it answers."""
        await self._start(self.workers[place], self.worker_ports[place], "/health")

    async def states(self) -> list[WorkerState]:
        """The workers as the frontend sees them; without one, whether they run."""
        if self.frontend is None:
            return [
                WorkerState(self.worker_id(place), "ready" if child.alive else "down")
                for place, child in enumerate(self.workers)
            ]
        return msgspec.json.decode(await self._admin.get("/workers"), type=_States).workers

    # -- what the frontend knows --------------------------------------------------------------------------

    async def settled(self, model: str) -> bool:
        """Wait until caches are heard and, with policy kv, tokens known; False when that took too long."""
        if self.frontend is None:
            return True
        asker = LoadClient(Endpoint.of(self.url), clock=self._clock, timeout_s=5.0)
        try:
            async with asyncio.timeout(self._plan.settle_s):
                while not await self._knows(asker, model):
                    await self._clock.sleep(0.2)
        except TimeoutError:
            return False
        finally:
            asker.close()
        return True

    async def _knows(self, asker: LoadClient, model: str) -> bool:
        if any(worker.feed != "live" for worker in await self.states()):
            return False
        if self._plan.policy != "kv":
            return True
        await asker.post("/v1/chat/completions", _HELLO % model.encode())
        return (await self.placements()).by_tokens > 0

    def waited_s(self) -> float:
        """How long the processes could have run and got no CPU, all together, as Linux counts it."""
        children = [child for child in (*self.workers, self.frontend) if child is not None and child.alive]
        return sum(_run_delay_s(child.pid) for child in children)

    async def signals(self) -> Signals:
        """What the frontend tells of all that it served."""
        return decode(await self._admin.get("/signals"))

    async def placements(self) -> Placements:
        """Counts since the frontend began."""
        if self.frontend is None:
            return Placements()
        page = await self._admin.get("/metrics")
        placed = {basis: int(float(count)) for basis, count in _PLACED.findall(page)}
        told = [worker.kv.predictions for worker in await self.states()]
        return Placements(
            placed.get(b"tokens", 0),
            placed.get(b"text", 0),
            sum(one.judged for one in told),
            sum(one.exact for one in told),
        )


def _run_delay_s(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):  # ended, or a system that does not count it
        return 0.0


def _command(role: str, flags: str) -> list[str]:
    return [sys.executable, "-m", "grove_dp", role, *flags.split()]
