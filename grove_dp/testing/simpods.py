"""Pods whose container is a `grove-dp worker-sim`: a kubelet's half of the data plane's tests.

    pod bound ──► process on an address of its own ──► answers /health ──► Ready
    pod deleted ──► preStop sleep ──► SIGTERM ──► the process drains and ends ──► pod gone

Every pod has an address of its own in 127.0.0.0/8, so that all may have the same port, as pods do.
"""

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from grove_dp.testing.kubelet.status import Document

__all__ = ["SimPods"]

START_S: Final = 30.0
POLL_S: Final = 0.05
GRACE_S: Final = 30


class SimPods:
    """`Containers` of a kubelet: each a worker-sim on *port*, with *arguments*. Ends them at its own end."""

    def __init__(self, port: int, arguments: Sequence[str] = ()) -> None:
        self._port = port
        self._arguments = list(arguments)
        self._count = itertools.count(1)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}  # by uid of the pod

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    async def start(self, pod: Document) -> str:
        """Its address, once it answers."""
        number = next(self._count)
        address = f"127.{os.getpid() % 200 + 20}.{number >> 8}.{number & 255}"
        command = ["-m", "grove_dp", "worker-sim", "--host", address, "--port", str(self._port)]
        process = subprocess.Popen(  # noqa: ASYNC220 - starting takes a millisecond
            [sys.executable, *command, *self._arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._processes[pod["metadata"]["uid"]] = process
        async with asyncio.timeout(START_S):
            while not await self._answers(address):
                if (code := process.poll()) is not None:
                    raise OSError(f"worker-sim on {address} ended with {code}")
                await asyncio.sleep(POLL_S)
        return address

    async def stop(self, pod: Document) -> None:
        """As a kubelet ends a container: its preStop sleep, SIGTERM, and SIGKILL after the grace period."""
        process = self._processes.pop(pod["metadata"]["uid"], None)
        if process is None:
            return
        await asyncio.sleep(_pre_stop_s(pod))
        process.terminate()
        grace_s = pod["metadata"].get("deletionGracePeriodSeconds") or GRACE_S
        try:
            await asyncio.to_thread(process.wait, grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    async def _answers(self, address: str) -> bool:
        try:
            reader, writer = await asyncio.open_connection(address, self._port)
        except OSError:
            return False
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        said = await reader.read()
        writer.close()
        return said.startswith(b"HTTP/1.1 200")


def _pre_stop_s(pod: Document) -> float:
    lifecycle = pod["spec"]["containers"][0].get("lifecycle") or {}
    return float(lifecycle.get("preStop", {}).get("sleep", {}).get("seconds", 0))
