"""Black-box tests of the frontend: a real process between real sockets, its books checked after each."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from grove_dp.testing.frontend import Frontend
from grove_dp.testing.net import Fault, FaultProxy
from grove_dp.testing.worker import ScriptedWorker, Step


class Rig:
    """Makes workers, proxies and frontends; all end with the test, the frontends with settled books."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.frontends: list[Frontend] = []

    async def worker(self, *models: str, default: list[Step] | None = None) -> ScriptedWorker:
        return await self._stack.enter_async_context(ScriptedWorker(*models, default=default))

    async def proxy(self, worker: ScriptedWorker, default: Fault | None = None) -> FaultProxy:
        return await self._stack.enter_async_context(FaultProxy(worker.port, default))

    async def serve(
        self, *workers: ScriptedWorker | FaultProxy | str, ready: str = "/readyz", **settings: Any
    ) -> Frontend:
        """A frontend before these workers, ready, with every worker ready."""
        urls = [worker if isinstance(worker, str) else worker.url for worker in workers]
        frontend = Frontend(urls, **settings)
        self._stack.push_async_exit(frontend.__aexit__)
        await frontend.start(ready)
        self.frontends.append(frontend)
        if ready == "/readyz":
            for url in urls:
                await frontend.worker_until(url.removeprefix("http://"), state="ready")
        return frontend


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        rig = Rig(stack)
        yield rig
        for frontend in rig.frontends:
            if frontend.running:
                await frontend.settled()
