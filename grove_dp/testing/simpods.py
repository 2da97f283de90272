"""Pods whose container is a `grove-dp worker-sim`: a kubelet's half of the data plane's tests.

    pod bound ──► process on an address of its own ──► answers /health ──► Ready
    pod deleted ──► preStop sleep ──► SIGTERM ──► the process drains and ends ──► pod gone

Every pod has an address of its own in 127.0.0.0/8, so that all may have the same port, as pods do.
"""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from urllib.error import URLError

from grove_dp.testing.controlplane import Api, Document
from grove_dp.testing.kubelet import FakeKubelet

__all__ = ["SimPods"]

START_S = 30.0
POLL_S = 0.05


class SimPods(FakeKubelet):
    """A kubelet that runs every pod's container as a worker-sim on *port*, with *arguments*."""

    def __init__(self, api: Api, port: int, arguments: Sequence[str] = ()) -> None:
        super().__init__(api, self._start)
        self._port = port
        self._arguments = list(arguments)
        self._count = itertools.count(1)
        self._lock = threading.Lock()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}  # by uid of the pod

    def close(self) -> None:
        """End the processes too."""
        super().close()
        for process in self.processes.values():
            process.kill()
            process.wait()

    def _start(self, pod: Document) -> str:
        number = next(self._count)
        address = f"127.{os.getpid() % 200 + 20}.{number >> 8}.{number & 255}"
        command = [sys.executable, "-m", "grove_dp", "worker-sim", "--host", address]
        command += ["--port", str(self._port), *self._arguments]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with self._lock:
            self.processes[pod["metadata"]["uid"]] = process
        self._until_it_answers(address, process)
        return address

    def _until_it_answers(self, address: str, process: "subprocess.Popen[bytes]") -> None:
        end = time.monotonic() + START_S
        while time.monotonic() < end and process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://{address}:{self._port}/health", timeout=1.0):
                    return
            except (URLError, OSError):
                time.sleep(POLL_S)
        raise OSError(f"worker-sim on {address}:{self._port} does not answer")

    def _stop(self, pod: Document) -> None:
        process = self.processes.get(pod["metadata"]["uid"])
        if process is not None:
            time.sleep(_pre_stop_s(pod))
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(pod["metadata"].get("deletionGracePeriodSeconds") or 30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        super()._stop(pod)


def _pre_stop_s(pod: Document) -> float:
    lifecycle = pod["spec"]["containers"][0].get("lifecycle", {})
    return float(lifecycle.get("preStop", {}).get("sleep", {}).get("seconds", 0))
