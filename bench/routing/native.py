"""The C programs of this bench: built when a source is newer, run, and their one line of JSON read."""

from __future__ import annotations

import os
import shlex
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.proxy.tools import BUILD, BenchError

__all__ = ["EVENTS", "INDEX", "Program", "medians"]

ROOT = Path(__file__).resolve().parents[2]
CORE = ("route/*.c", "base/*.c")
FLAGS = [
    "-std=c11",
    "-D_GNU_SOURCE=",
    "-O3",
    "-DNDEBUG",
    "-fno-strict-overflow",
    "-Wall",
    "-Wextra",
    "-pthread",
]


class Program(msgspec.Struct, frozen=True):
    """One program: c/NAME.c beside the core's routing."""

    name: str

    @property
    def path(self) -> Path:
        return BUILD / f"gdp-bench-{self.name}"

    def built(self) -> Path:
        """Compiles it where a source is newer."""
        own = Path(__file__).parent / "c" / f"{self.name}.c"
        core = (path for part in CORE for path in sorted((ROOT / "csrc").glob(part)))
        sources = [own, *core]
        inputs = [*sources, *(ROOT / "csrc").glob("**/*.h")]
        if self.path.exists() and self.path.stat().st_mtime_ns > max(p.stat().st_mtime_ns for p in inputs):
            return self.path
        self.path.parent.mkdir(parents=True, exist_ok=True)
        compiler = shlex.split(os.environ.get("CC", "cc"))
        include = f"-I{ROOT / 'csrc' / 'include'}"
        command = [*compiler, *FLAGS, include, "-o", str(self.path), *map(str, sources), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"CompileFailed: {self.path.name}\n{done.stderr}")
        return self.path


EVENTS, INDEX = Program("events"), Program("index")


def medians(program: Program, words: Sequence[object], runs: int) -> dict[str, float]:
    """What the program prints, run so often: the median of each number."""
    command = [str(program.built()), *map(str, words)]
    told = []
    for _ in range(runs):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"ProgramFailed: {shlex.join(command)}: {done.stderr.strip()}")
        told.append(msgspec.json.decode(done.stdout, type=dict[str, float]))
    return {key: statistics.median(run[key] for run in told) for key in told[0]}
