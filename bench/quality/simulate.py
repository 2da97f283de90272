"""One run in virtual time: builds the simulator on demand, starts it, reads what it measured."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.quality.workloads import Workload
from grove_dp.sim.profiles import Profile

__all__ = ["ITL_SLO_S", "TTFT_SLO_S", "Run", "build", "engine_settings", "simulate", "unloaded_prefill_s"]

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "bench"
PROGRAM = BUILD / "gdp-quality"
CORE = (
    "route/fit",
    "route/cost",
    "route/survey",
    "route/roster",
    "route/tally",
    "route/late",
    "base/alloc",
    "meter/hist",
)
FLAGS = ["-std=c11", "-D_GNU_SOURCE=", "-O3", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
TTFT_SLO_S, ITL_SLO_S = 2.0, 0.060


@dataclass(frozen=True)
class Run:
    """What one simulation told. rows: TTFT, mean time between tokens, tokens found in the cache, tokens
    predicted there, worker, seconds in the queue, preemptions, prompt; per request, in order of arrival."""

    told: dict[str, Any]
    rows: NDArray[np.float64]


DEFAULTS: dict[str, float | str] = {
    "event_delay_s": 0.005,
    "belief_s": 5.0,
    "approx_s": 120.0,
    "ttft_slo_s": TTFT_SLO_S,
    "itl_slo_s": ITL_SLO_S,
}


def build() -> None:
    """Compiles the simulator with the core's own cost and queue where a source is newer."""
    sources = [
        *sorted((Path(__file__).parent / "c").glob("*.c")),
        *(ROOT / f"csrc/{part}.c" for part in CORE),
    ]
    heads = [
        *(Path(__file__).parent / "c").glob("*.h"),
        *(ROOT / "csrc/include/gdp").glob("*.h"),
        *(ROOT / "csrc/route").glob("*.h"),
    ]
    newest = max(path.stat().st_mtime_ns for path in [*sources, *heads])
    if PROGRAM.exists() and PROGRAM.stat().st_mtime_ns > newest:
        return
    BUILD.mkdir(parents=True, exist_ok=True)
    compiler = shlex.split(os.environ.get("CC", "cc"))
    include = [f"-I{ROOT / 'csrc/include'}", f"-I{Path(__file__).parent / 'c'}"]
    made = PROGRAM.with_suffix(f".{os.getpid()}")  # put in place at once: somebody may be running the old one
    done = subprocess.run(
        [*compiler, *FLAGS, *include, "-o", str(made), *map(str, sources), "-lm"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"CompileFailed: {PROGRAM.name}\n{done.stderr}")
    made.replace(PROGRAM)


def engine_settings(profile: Profile, kv_tokens: float) -> dict[str, float]:
    """The profile's roofline, folded to seconds per unit."""
    moved = profile.bandwidth * profile.memory_efficiency
    return {
        "weight_s": profile.weight_bytes / moved,
        "kv_s": profile.kv_bytes_per_token / moved,
        "multiply_s": 2 * profile.params / (profile.flops * profile.compute_efficiency),
        "attend_s": 4.0 * profile.layers * profile.hidden / (profile.flops * profile.attention_efficiency),
        "cpu_s": profile.cpu_s,
        "fixed_s": profile.fixed_s,
        "seqs_max": profile.max_num_seqs,
        "budget": profile.max_num_batched_tokens,
        "kv_tokens": kv_tokens,
    }


def unloaded_prefill_s(profile: Profile, prompt: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds that the prompt takes on an idle worker that knows nothing of it."""
    unit = engine_settings(profile, 0)
    steps = np.ceil(prompt / profile.max_num_batched_tokens)
    work = prompt * unit["multiply_s"] + prompt * prompt / 2 * unit["attend_s"]
    return np.asarray(np.maximum(work, steps * unit["weight_s"]) + steps * profile.fixed_s)


def changes(workload: Workload, workers: int) -> str:
    """Three workers of every eight leave one after the other and come back empty."""
    span = float(workload.arrival_s[-1])
    told: list[tuple[float, int, int]] = []
    for worker in range(workers):
        turn = worker % 8
        if turn < 3:
            told += [(span * (0.2 + 0.2 * turn), worker, 0), (span * (0.35 + 0.2 * turn), worker, 1)]
    return ",".join(f"{at:.3f}:{worker}:{up}" for at, worker, up in sorted(told))


def simulate(
    workload: Workload,
    *,
    policy: str,
    workers: int,
    profile: Profile,
    kv_tokens: float,
    settings: dict[str, float] | None = None,
) -> Run:
    """Runs the workload against *workers* engines behind one frontend; `build` must have been called."""
    given: dict[str, float | str] = {"policy": policy, "workers": workers, **DEFAULTS}
    given |= engine_settings(profile, kv_tokens)
    given |= settings or {}
    if workload.leave_and_return:
        given["changes"] = changes(workload, workers)
    with tempfile.TemporaryDirectory(prefix="gdp-quality-") as folder:
        asked, found = Path(folder) / "workload", Path(folder) / "result"
        workload.write(asked)
        words = [f"{key}={value}" for key, value in given.items()]
        done = subprocess.run(
            [str(PROGRAM), str(asked), str(found), *words], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"SimulationFailed: {done.stderr}")
        rows = np.fromfile(found, dtype="<f8").reshape(-1, 8)
    told = msgspec.json.decode(done.stdout)
    return Run(told, rows)
