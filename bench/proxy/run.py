"""The order of windows: proxies take turns, so drift cancels.

    turn 1   nginx  grove      the machine drifts by a quarter within an hour, but hardly within
    turn 2   nginx  grove      the 5 s of a turn: a row's ratio is the median of the turns' ratios
    turn 3   nginx  grove
             aiohttp           there for scale only: once

A turn in which somebody else used more than a quarter of a CPU is measured again while time allows; the
quietest turns count.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.proxy import procs
from bench.proxy.measure import Bench, Window, measure
from bench.proxy.peers import AIOHTTP, DIRECT, GROVE, Peer, Site
from bench.proxy.ready import check_answers, wait_ready
from bench.proxy.tools import FAKE, BenchError
from bench.proxy.work import BURN, Work

__all__ = ["Memory", "Plan", "Samples", "Turn", "collect"]

WORKERS = 4
FOREIGN_MAX = 0.25  # CPUs
EXTRA_TURNS = 6
FOR_SCALE = (AIOHTTP,)

Turn = dict[str, Window]


class Plan(msgspec.Struct, frozen=True):
    peers: dict[str, Peer]
    works: tuple[Work, ...]
    reps: int = 3
    pace: float = 1.0
    cpu: int = 0
    generator_cpu: int = 1
    extra_until_s: float = 420.0  # no noisy turn is measured again later than this into the run


class Memory(msgspec.Struct):
    idle_mib: float
    loaded_mib: dict[str, float] = {}


class Samples(msgspec.Struct):
    turns: dict[str, list[Turn]] = {}
    memory: dict[str, Memory] = {}
    faults: list[str] = []


class Running(msgspec.Struct, frozen=True):
    port: int
    pids: list[int]


class _Run:
    def __init__(self, plan: Plan, bench: Bench, first_worker: int, folder: Path) -> None:
        self._plan, self._bench, self._first_worker, self._folder = plan, bench, first_worker, folder
        self._extra_until = time.monotonic() + plan.extra_until_s
        self.samples = Samples()

    def all(self) -> Samples:
        self._in_turns([work for work in self._plan.works if work.kind in ("turns", "latency")])
        self._memory([work for work in self._plan.works if work.kind == "memory"])
        self._burning([work for work in self._plan.works if work.kind == "burn"])
        return self.samples

    # ---- proxies take turns

    def _in_turns(self, works: list[Work]) -> None:
        if not works:
            return
        with contextlib.ExitStack() as stack:
            proxies = {name: stack.enter_context(self._started(name)) for name in self._plan.peers}
            for work in works:
                self.samples.turns[work.name] = self._turns(work, proxies)

    def _turns(self, work: Work, proxies: dict[str, Running]) -> list[Turn]:
        if work.kind == "latency":
            proxies = {DIRECT: Running(self._first_worker, []), **proxies}
        paired = {name: proxy for name, proxy in proxies.items() if name not in FOR_SCALE}
        turns: list[Turn] = []
        wanted = self._plan.reps * work.turns
        while paired.keys() - {DIRECT} and self._wants_another(turns, wanted):
            turns.append(self._turn(work, paired))
        kept = sorted(turns, key=_foreign)[:wanted]
        if len(paired) < len(proxies):
            for_scale = {name: proxy for name, proxy in proxies.items() if name in (DIRECT, *FOR_SCALE)}
            kept.append(self._turn(work, for_scale))
        self._note_faults(work, kept)
        return kept

    def _turn(self, work: Work, proxies: dict[str, Running]) -> Turn:
        return {name: self._window(work, name, proxy) for name, proxy in proxies.items()}

    def _wants_another(self, turns: list[Turn], wanted: int) -> bool:
        """True until enough turns were calm, there are enough in all, or no time is left for extra ones."""
        if len(turns) < wanted:
            return True
        calm = sum(_foreign(turn) <= FOREIGN_MAX for turn in turns)
        return calm < wanted and len(turns) < wanted + EXTRA_TURNS and time.monotonic() < self._extra_until

    # ---- memory, on fresh processes

    def _memory(self, works: list[Work]) -> None:
        names = [name for name in self._plan.peers if name not in FOR_SCALE]
        for name in names if works else []:
            with self._started(name) as proxy:
                memory = self.samples.memory[name] = Memory(procs.rss_mib(proxy.pids))
                for work in works:
                    window = self._window(work, name, proxy)
                    self._note_faults(work, [{name: window}])
                    memory.loaded_mib[work.name] = window.rss_mib

    # ---- a busy control thread

    def _burning(self, works: list[Work]) -> None:
        if not works or GROVE not in self._plan.peers:
            return
        with self._started(GROVE, {"GROVE_DP_BURN": BURN}) as proxy:
            for work in works:
                self.samples.turns[work.name] = self._turns(work, {GROVE: proxy})

    # ---- one proxy, one window

    @contextlib.contextmanager
    def _started(self, name: str, env: dict[str, str] | None = None) -> Iterator[Running]:
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder))
        folder.chmod(0o777)  # nginx' worker may run as another user
        port = procs.free_port(2)
        workers = tuple(f"127.0.0.1:{self._first_worker + i}" for i in range(WORKERS))
        launch = self._plan.peers[name](Site(port, port + 1, workers, folder))
        log = folder / "log"
        with procs.running(
            launch.command, cpu=self._plan.cpu, log=log, env={**launch.env, **(env or {})}
        ) as process:
            try:
                wait_ready(port, process)
                check_answers(port, self._first_worker)
            except BenchError as error:
                raise BenchError(f"{name}: {error}\n{log.read_text(errors='replace')[-2000:]}") from None
            yield Running(port, procs.tree(process.pid))

    def _window(self, work: Work, name: str, proxy: Running) -> Window:
        window = measure(self._bench, work, proxy.port, proxy.pids)
        what = (
            f"{window.events_per_s:8.0f} ev/s"
            if window.streamed
            else f"{window.ok / window.seconds:8.0f} req/s"
        )
        cost = window.cpu_us_per_event if window.streamed else window.cpu_us_per_request
        print(
            f"  {work.name:9} {name:8} {what} {cost:8.2f} µs CPU, RSS {window.rss_mib:5.0f} MiB, "
            f"latency p99 {window.latency_us.p99 / 1e3:7.2f} ms, age p99 {window.age_us.p99 / 1e3:7.2f} ms, "
            f"foreign {window.foreign_cores:.2f}",
            file=sys.stderr,
            flush=True,
        )
        return window

    def _note_faults(self, work: Work, turns: list[Turn]) -> None:
        for turn in turns:
            for name, window in turn.items():
                if fault := window.fault():
                    self.samples.faults.append(f"{work.name}: {name}: {fault}")


def _foreign(turn: Turn) -> float:
    return max(window.foreign_cores for window in turn.values())


def collect(plan: Plan) -> Samples:
    """Starts the fake workers and everything in the plan, measures, and leaves no process behind."""
    first = procs.free_port(WORKERS)
    ports = f"{first}-{first + WORKERS - 1}"
    with tempfile.TemporaryDirectory(prefix="gdp-bench-") as path:
        folder = Path(path)
        folder.chmod(0o755)
        log = folder / "fake.log"
        with procs.running([str(FAKE), "--ports", ports], cpu=plan.generator_cpu, log=log) as fake:
            _wait_for_fake(log)
            bench = Bench(plan.generator_cpu, fake.pid, f"127.0.0.1:{first}", plan.pace)
            return _Run(plan, bench, first, folder).all()


def _wait_for_fake(log: Path) -> None:
    end = time.monotonic() + 5
    while "ready" not in (said := log.read_text()):
        if time.monotonic() > end:
            raise BenchError(f"NoWorkers: the fake workers did not start: {said}")
        time.sleep(0.02)
