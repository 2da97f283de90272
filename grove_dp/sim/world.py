"""The demo's world: simulated workers and the real frontend, each a process, so that one can really die.

    replay ──HTTP──► grove-dp serve ──HTTP──► worker-sim 1..N      all on 127.0.0.1, all ended with the world
                          └ admin port: states, in flight

`async with World(...)` yields only when everything answers; a port that is taken is replaced, and said.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from grove_dp.sim.client import Endpoint, LoadClient, Unreachable
from grove_dp.sim.processes import Child, end_all, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from grove_dp.clock import Clock

__all__ = ["WorkerState", "World", "WorldPlan"]


class WorldPlan(msgspec.Struct, frozen=True):
    """What to start; a port of 0 is any free one. `direct` leaves the frontend out: worker 1 is asked."""

    workers: int = 4
    worker_speed: float = 1.0
    port: int = 8000
    admin_port: int = 9090
    worker_port: int = 8101
    direct: bool = False
    ready_s: float = 60.0


class WorkerState(msgspec.Struct):
    """A worker as the frontend's admin port shows it."""

    id: str
    state: str = ""
    reason: str | None = None
    circuit: str = ""
    inflight: int = 0


class _States(msgspec.Struct):
    workers: list[WorkerState]


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
            f"--port {port} --seed {place} --speed {self._plan.worker_speed} --enable-prompt-tokens-details"
        )
        return Child(name, _command("worker-sim", flags), self._log(name))

    def _frontend(self) -> Child:
        urls = ",".join(f"http://127.0.0.1:{port}" for port in self.worker_ports)
        flags = (
            f"--http.port {self.port} --admin.port {self.admin_port} --workers.urls {urls} "
            "--routing.expose_headers --health.interval_s 0.5 --drain.grace_s 1"
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


def _command(role: str, flags: str) -> list[str]:
    return [sys.executable, "-m", "grove_dp", role, *flags.split()]
