"""Processes that a bench starts: on one CPU, with a log, ended by pid whatever happens."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.proxy.tools import BenchError

__all__ = ["free_port", "pinned", "rss_mib", "running", "tree"]

FIRST_PORT, LAST_PORT = 21000, 31000  # below the ephemeral ports, which collide with listeners under load


def free_port(count: int = 1) -> int:
    """The first of *count* neighbouring ports of 127.0.0.1 that nobody listens on."""
    start = FIRST_PORT + os.getpid() % 500 * 16  # two benches at once rarely look at the same ports
    for first in itertools.chain(range(start, LAST_PORT, 16), range(FIRST_PORT, start, 16)):
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise BenchError(f"NoPort: no {count} free ports between {FIRST_PORT} and {LAST_PORT}")


def _is_free(port: int) -> bool:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def pinned(cpu: int, command: Sequence[str]) -> list[str]:
    return ["taskset", "-c", str(cpu), *command]


@contextlib.contextmanager
def running(
    command: Sequence[str], *, cpu: int, log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The command while the context lasts; in its own session, so that a Ctrl-C reaches only us."""
    with log.open("wb") as sink:
        process = subprocess.Popen(
            pinned(cpu, command),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with _undisturbed():
            _end(process)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C waits until the process of the first is gone."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM first, then SIGKILL for whoever of the family is left after 3 s."""
    family = tree(process.pid) if process.poll() is None else []
    for number, patience_s in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0)):
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
            family = [pid for pid in family if pid != process.pid and Path(f"/proc/{pid}").exists()]
            if not family:
                return


def tree(root: int) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    family = [root]
    for pid in family:
        family += children.get(pid, [])
    return family


def rss_mib(pids: Sequence[int]) -> float:
    return sum(_rss_kib(pid) for pid in pids) / 1024


def _rss_kib(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0
