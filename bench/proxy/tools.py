"""Builds the instruments (c/) into build/bench when a source is newer."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.proxy.bodies import write_bodies

__all__ = ["BUILD", "FAKE", "LOAD", "BenchError", "alone", "build"]

SOURCES = Path(__file__).parent / "c"
BUILD = Path(__file__).resolve().parents[2] / "build" / "bench"
FAKE = BUILD / "gdp-bench-fake"
LOAD = BUILD / "gdp-bench-load"
PROGRAMS = {
    FAKE: ("fake", "fake_routes", "vllm_text", "head", "base"),
    LOAD: ("load", "load_conn", "load_report", "head", "hist", "proc", "base"),
}
FLAGS = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror"]


class BenchError(Exception):
    """The bench cannot run here; the message names the remedy."""


@contextlib.contextmanager
def alone(*, wait: bool) -> Iterator[None]:
    """Two benches at once measure each other: the second of this checkout waits for the first."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        if wait:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(
                    "another bench is running; this one begins when it has ended", file=sys.stderr, flush=True
                )
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build() -> None:
    """Compiles what is stale and writes the request bodies."""
    BUILD.mkdir(parents=True, exist_ok=True)
    newest = max(path.stat().st_mtime_ns for path in SOURCES.iterdir())
    for program, parts in PROGRAMS.items():
        if not program.exists() or program.stat().st_mtime_ns < newest:
            _compile(program, [str(SOURCES / f"{part}.c") for part in parts])
    write_bodies(BUILD / "bodies")


def _compile(program: Path, sources: list[str]) -> None:
    compiler = shlex.split(os.environ.get("CC", "cc"))
    try:
        run = subprocess.run(
            [*compiler, *FLAGS, "-o", program, *sources], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise BenchError(
            f"NoCompiler: {compiler[0]} is not there; install one (Debian: apt install gcc)"
        ) from None
    if run.returncode:
        raise BenchError(f"CompileFailed: {program.name}\n{run.stderr}")
