"""Pods whose containers really run: what the demo's kubelet starts for each, and how long each held its GPUs.

    pod bound ──► its command, on an address of its own ──► answers /health ──► Ready
    pod deleted ──► preStop sleep ──► SIGTERM ──► the process drains and ends ──► pod gone

What runs is what the container's `args` say, with $(POD_IP) filled in, so that an edit of a template is an
edit of the process. Addresses are of 127.0.0.0/8: all pods have the same port, as in a cluster. GPUs are
held from the moment that a pod is bound until its process has ended: that is what a cluster is paid for.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec

from grove_dp.sim.client import Endpoint, LoadClient, Unreachable
from grove_dp.sim.processes import Child, end_all

if TYPE_CHECKING:
    from pathlib import Path

    from grove_dp.clock import Clock

__all__ = ["Lifetime", "WorkerPods"]

START_S: Final = 30.0
POLL_S: Final = 0.05
GRACE_S: Final = 30.0


class Lifetime(msgspec.Struct):
    """A pod on its node."""

    pod: str
    gpus: int
    began: float
    ended: float | None = None

    def gpu_s(self, since: float, until: float) -> float:
        """GPU-seconds of it between two moments."""
        end = until if self.ended is None else min(self.ended, until)
        return self.gpus * max(0.0, end - max(self.began, since))


class WorkerPods:
    """`Containers` of a kubelet: one process for each pod. `close` ends those that are left."""

    def __init__(self, folder: Path, *, clock: Clock) -> None:
        self._folder = folder  # of their output
        self._clock = clock
        self._numbers = itertools.count(1)
        self._children: dict[str, Child] = {}  # by uid of the pod
        self._held: dict[str, Lifetime] = {}
        self.lifetimes: list[Lifetime] = []

    @property
    def running(self) -> int:
        """Pods that hold GPUs now."""
        return sum(each.ended is None for each in self.lifetimes)

    @property
    def pids(self) -> list[int]:
        """Of their processes."""
        return [child.pid for child in self._children.values() if child.alive]

    def gpu_s(self, since: float, until: float) -> float:
        """GPU-seconds that all pods together held between two moments."""
        return sum(each.gpu_s(since, until) for each in self.lifetimes)

    async def start(self, pod: dict[str, Any]) -> str:
        """Its address, once it answers."""
        uid, name = pod["metadata"]["uid"], pod["metadata"]["name"]
        number = next(self._numbers)
        address = f"127.{os.getpid() % 200 + 20}.{number >> 8}.{number & 255}"
        container = pod["spec"]["containers"][0]
        self._hold(uid, name, container)
        arguments = [argument.replace("$(POD_IP)", address) for argument in container["args"]]
        child = Child(name, [sys.executable, "-m", "grove_dp", *arguments], self._folder / f"{uid}.log")
        self._children[uid] = child
        await child.start()
        await self._answers(
            child, LoadClient(_endpoint(address, container), clock=self._clock, timeout_s=2.0)
        )
        return address

    def _hold(self, uid: str, name: str, container: dict[str, Any]) -> None:
        if uid not in self._held:  # else it is tried again
            gpus = int(container["resources"]["limits"]["nvidia.com/gpu"])
            self._held[uid] = Lifetime(name, gpus, self._clock.now())
            self.lifetimes.append(self._held[uid])

    async def _answers(self, child: Child, probe: LoadClient) -> None:
        try:
            async with asyncio.timeout(START_S):
                while True:
                    try:
                        await probe.get("/health")
                        return
                    except Unreachable:
                        if not child.alive:
                            raise OSError(str(child.failure("ended while starting"))) from None
                        await self._clock.sleep(POLL_S)
        finally:
            probe.close()

    async def stop(self, pod: dict[str, Any]) -> None:
        """As a kubelet ends a container: its preStop sleep, SIGTERM, and SIGKILL after the grace period."""
        uid = pod["metadata"]["uid"]
        child = self._children.pop(uid, None)
        if child is not None:
            await self._clock.sleep(_pre_stop_s(pod))
            await end_all([child], pod["metadata"].get("deletionGracePeriodSeconds") or GRACE_S)
        if (held := self._held.pop(uid, None)) is not None:
            held.ended = self._clock.now()

    async def close(self) -> None:
        """End what still runs, now."""
        await end_all(self._children.values(), 0.0)


def _endpoint(address: str, container: dict[str, Any]) -> Endpoint:
    return Endpoint(address, container["ports"][0]["containerPort"])


def _pre_stop_s(pod: dict[str, Any]) -> float:
    lifecycle = pod["spec"]["containers"][0].get("lifecycle") or {}
    return float(lifecycle.get("preStop", {}).get("sleep", {}).get("seconds", 0))
