"""The two API servers that the demo can run on: the embedded one, and the real one, which takes its time."""

from __future__ import annotations

import re
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from grove_dp.kube.errors import NotFound
from grove_dp.sim.processes import Child, end_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from grove_dp.clock import Clock
    from grove_dp.kube.access import Access

__all__ = ["embedded", "is_served", "real"]

_REAL: Final = ("grove_dp.testing.controlplane", "--scheduler", "--controller-manager", "--no-kubelet")
_KUBECONFIG: Final = re.compile(r"^ *export KUBECONFIG=(\S+)$", re.MULTILINE)
_LOOK_S: Final = 0.1


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
async def real(folder: Path, clock: Clock) -> AsyncIterator[tuple[Access, Path]]:
    """The real one, with its scheduler and its controllers, in a process that can be ended at any moment."""
    from grove_dp.kube.access import connect

    log = folder / "controlplane.log"
    child = Child("control plane", [sys.executable, "-m", *_REAL], log)
    try:
        await child.start()
        while (said := _KUBECONFIG.search(log.read_text())) is None:  # its own limits end it
            if not child.alive:
                raise child.failure("ended while starting")
            await clock.sleep(_LOOK_S)
        kubeconfig = Path(said[1])
        async with await connect(kubeconfig) as api:
            yield api, kubeconfig
    finally:
        await end_all([child])


async def is_served(api: Access, definition: dict[str, Any]) -> bool:
    """Whether objects of a CustomResourceDefinition can be asked for."""
    spec = definition["spec"]
    path = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
    try:
        await api.get(path, query={"limit": "1"})
    except NotFound:
        return False
    return True
