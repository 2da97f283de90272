"""One program of the control plane as a process that never outlives its owner.

It asks the kernel for SIGKILL when its parent dies (PR_SET_PDEATHSIG). The kernel means the parent *thread*,
so one thread that lives as long as the control plane starts all of its processes: `Launcher`. The request is
made by a few lines of Python that then become the program (15 ms); doing it in `preexec_fn` runs Python in a
fork of a process with threads, which may deadlock and which newer Pythons warn about.
Each is the head of its own session: Ctrl-C in a terminal reaches the owner alone, who then ends it in order.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from grove_dp.errors import GroveError

__all__ = ["Launcher", "PortTaken", "Process", "ProgramEnded"]

LOG_LINES = 25
_BECOME = """
import ctypes, os, sys
owner, file, *command = sys.argv[1:]
ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
if os.getppid() == int(owner):  # otherwise it died before the line above
    os.execv(file, command)
"""


class ProgramEnded(GroveError):
    """A program ended, or did not become ready in time; the message ends with its log."""

    reason = "ProgramEnded"


class PortTaken(ProgramEnded):
    """It ended because somebody else took its port first: another one will do."""

    reason = "PortTaken"


class Launcher:
    """The thread that is the parent of all processes of a control plane."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "controlplane")

    def start(self, command: Sequence[str], file: Path, log: Path, folder: Path) -> subprocess.Popen[bytes]:
        """Start *command* from *file* (whose name need not be command[0])."""
        return self._thread.submit(self._start, command, file, log, folder).result()

    def close(self) -> None:
        """End the thread, and with it whatever it started that still runs."""
        self._thread.shutdown()

    @staticmethod
    def _start(command: Sequence[str], file: Path, log: Path, folder: Path) -> subprocess.Popen[bytes]:
        # GOGC: 2.5 instead of 3.1 s until all are ready, and no proxy of the shell's.
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "GOGC": "400"}
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-ISc", _BECOME, str(os.getpid()), str(file), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )


class Process:
    """A program with its arguments; `ready` looks whether it can be used."""

    def __init__(
        self, name: str, file: Path, arguments: Sequence[str], folder: Path, ready: Callable[[], bool]
    ) -> None:
        self.name = name
        self.log_file = folder / f"{name}.log"
        self._file = file
        self._arguments = arguments
        self._folder = folder
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None
        self.log_file.unlink(missing_ok=True)  # of an attempt on other ports

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} is not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, launcher: Launcher) -> None:
        """Start it; `wait` waits until it is ready."""
        self._process = launcher.start([self.name, *self._arguments], self._file, self.log_file, self._folder)

    def wait(self, within_s: float) -> None:
        """Return when it is ready."""
        deadline = time.monotonic() + within_s
        while not self._ready():
            self.check()
            if time.monotonic() > deadline:
                raise self._ended(f"was not ready within {within_s:g} s")
            time.sleep(0.02)

    def check(self) -> None:
        """ProgramEnded unless it runs."""
        if not self.running:
            raise self._ended("ended")

    def kill(self) -> None:
        """SIGKILL to all of it, without waiting."""
        if self.running:
            os.killpg(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """SIGKILL, and wait until it is gone. Nothing in a control plane for tests is worth a farewell."""
        self.kill()
        if self._process is not None:
            self._process.wait()
            self._process = None

    def log(self) -> str:
        """What it wrote so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def _ended(self, how: str) -> ProgramEnded:
        log = self.log()
        kind = PortTaken if "address already in use" in log else ProgramEnded
        return kind(f"{self.name} {how}; the end of its log:\n" + "\n".join(log.splitlines()[-LOG_LINES:]))
