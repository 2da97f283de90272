"""The two API servers that the demo can run on: the embedded one, and the real one, which takes its time."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from grove_dp.kube.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from grove_dp.clock import Clock
    from grove_dp.kube.access import Access

__all__ = ["embedded", "is_served", "real"]


@asynccontextmanager
async def embedded(folder: Path, clock: Clock) -> AsyncIterator[tuple[Access, Path]]:
    """Our API server in this process, its scheduler, and its kubeconfig for others."""
    from grove_dp.kube.access import Access
    from grove_dp.testing.kubeapi import InProcess, Scheduler, Server
    from grove_dp.testing.kubeapi.serve import serving

    server = Server(clock)
    async with serving(server, folder) as served, Scheduler(server), Access(InProcess(server)) as api:
        yield api, served.kubeconfig


@asynccontextmanager
async def real() -> AsyncIterator[tuple[Access, Path]]:
    """The real one, with its scheduler and its controllers."""
    from grove_dp.kube.access import connect
    from grove_dp.testing.controlplane import ControlPlane

    plane = ControlPlane(scheduler=True, controller_manager=True)
    await asyncio.to_thread(plane.start)
    try:
        async with await connect(plane.admin.kubeconfig) as api:
            yield api, plane.admin.kubeconfig
    finally:
        await asyncio.to_thread(plane.close)


async def is_served(api: Access, definition: dict[str, Any]) -> bool:
    """Whether objects of a CustomResourceDefinition can be asked for."""
    spec = definition["spec"]
    path = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
    try:
        await api.get(path, query={"limit": "1"})
    except NotFound:
        return False
    return True
