"""What a figure has to be read with: how fast this machine was just then, and who else used it.

`bare_s`   pods as many, made by a plain client and run by scheduler and kubelet, without any operator
`Busy`     CPUs that were used meanwhile, and those of them that none of our processes used
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path

import uvloop

from bench.operator.rig import NAMESPACE, Rig, clique
from bench.proxy.procs import tree
from grove_dp.kube.access import connect
from grove_dp.kube.objects import PODS

__all__ = ["Busy", "bare_s"]

AT_ONCE = 32  # writes in flight, as the operator has them
WITHIN_S = 120.0
CLIQUE = "grove.io/podclique"  # by this label the witness tells pods apart
TICKS = os.sysconf("SC_CLK_TCK")
IDLE = (3, 4)  # of the first line of /proc/stat: idle, waiting for a disk


def bare_s(rig: Rig, pods: int) -> float:
    """Until as many pods are ready, and nothing else is made; they are gone again afterwards."""
    before = len(rig.witness.all("bare"))
    began = time.monotonic()
    uvloop.run(_create(rig.plane.admin.kubeconfig, before, pods))
    rig.until(lambda: len(rig.ready("bare")) == pods, WITHIN_S, f"{pods} bare pods are ready")
    taken = max(seen.ready for seen in rig.ready("bare")) - began
    rig.api.delete(PODS.path(NAMESPACE))
    rig.until(lambda: not rig.of("bare"), WITHIN_S, "they are gone")
    rig.calm()
    return taken


async def _create(kubeconfig: Path, first: int, count: int) -> None:
    spec = clique("bare", 1)["spec"]["podSpec"]
    slots = asyncio.Semaphore(AT_ONCE)
    async with await connect(kubeconfig) as api:

        async def create(number: int) -> None:
            meta = {"name": f"bare-{number}", "labels": {CLIQUE: "bare"}}
            async with slots:
                await api.create(
                    PODS.path(NAMESPACE),
                    {"apiVersion": "v1", "kind": "Pod"} | {"metadata": meta, "spec": spec},
                )

        await asyncio.gather(*(create(first + number) for number in range(count)))


class Busy:
    """From its making on."""

    def __init__(self) -> None:
        self._began = self._read()

    def others(self) -> float:
        """CPUs that processes used which are not ours."""
        began, now = self._began, self._read()
        return max(0.0, (now[1] - began[1] - (now[2] - began[2])) / (now[0] - began[0]))

    @staticmethod
    def _read() -> tuple[float, float, float]:
        """Seconds: of the clock, of all CPUs in use, of ours."""
        fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        used = sum(ticks for at, ticks in enumerate(fields) if at not in IDLE)
        return time.monotonic(), used / TICKS, sum(map(_used_s, tree(os.getpid())))


def _used_s(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
    return 0.0
