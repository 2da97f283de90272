"""Children that cannot be left behind: started with a log file, ended by pid on every way out.

A child leads its own session, so that Ctrl-C reaches only us and the order of ending stays ours, and the
kernel kills it should this process die without a word (PR_SET_PDEATHSIG). A few lines of Python ask for that
and then become the program: `preexec_fn` would run Python in a fork of a process that has threads.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

from grove_dp.errors import GroveError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["Child", "ChildFailed", "end_all", "free_port"]

_LOG_LINES = 12
_BECOME = """
import ctypes, os, sys
parent, *command = sys.argv[1:]
ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
if os.getppid() == int(parent):  # otherwise it died before the line above
    os.execv(command[0], command)
"""


class ChildFailed(GroveError):
    """A child process that ended, or did not become ready; the message carries the end of its log."""

    reason = "ProcessFailed"


class Child:
    """A subprocess, named for messages; may be started again after it ended. *command* begins with a path."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self._command = command
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process id, 0 before the first start."""
        return self._process.pid if self._process is not None else 0

    @property
    def alive(self) -> bool:
        """Started and not known to have ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it; its output is appended to the log."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *_mortal(self._command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )

    def send(self, number: signal.Signals) -> None:
        """Send a signal by pid, if it still runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def ended(self) -> int | None:
        """Wait for the end; returns the exit status."""
        return await self._process.wait() if self._process is not None else None

    def failure(self, what: str) -> ChildFailed:
        """The error for a child that did not do its part."""
        lines = self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:] if self._log.exists() else []
        said = "\n".join(f"  | {line}" for line in lines) or "  | (it said nothing)"
        return ChildFailed(f"{self.name} {what}; the end of its output:\n{said}")


async def end_all(children: Iterable[Child], grace_s: float = 2.0) -> None:
    """SIGTERM to all, SIGKILL to those left after *grace_s*, or at once when this is itself cancelled."""
    left = [child for child in children if child.alive]
    for child in left:
        child.send(signal.SIGTERM)
    try:
        async with asyncio.timeout(grace_s):
            await asyncio.gather(*(child.ended() for child in left))
    except TimeoutError:
        pass
    finally:
        for child in left:
            child.send(signal.SIGKILL)
    await asyncio.gather(*(child.ended() for child in left))


def _mortal(command: Sequence[str]) -> Sequence[str]:
    if sys.platform != "linux":
        return command
    return [sys.executable, "-ISc", _BECOME, str(os.getpid()), *command]


def free_port(preferred: int, taken: Iterable[int] = ()) -> int:
    """*preferred* when it is free on 127.0.0.1, else one that the system picks."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            if found not in taken:
                return found
    raise ChildFailed("no free port on 127.0.0.1")
