"""The whole frontend: CPU per request with exact tokens, and the time to the first token while Python burns.

    turn 1    kv   round_robin      the same requests, the same fake workers, one after the other: what
    turn 2    kv   round_robin      forwarding alone costs stands beside, measured within the same seconds
    ...

A row is the median of its turns. CPU is that of all threads of the frontend's process, the token thread and
the index thread among them, over exactly the window. The fakes do not publish KV events (their intake has
rows of its own): what the frontend sent is kept in the index as a prediction, at about the price of an event.

Figures count only where the frontend placed by tokens: its own counters say so (EXACT_MIN). While CPU is
measured a request may wait PATIENCE_S for its tokens, so that a stall of the machine does not turn it into
another, cheaper kind of request; the time to the first token is measured with the defaults.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bench.proxy import procs
from bench.proxy.measure import Window
from bench.proxy.procs import pinned
from bench.proxy.tools import BUILD, LOAD, BenchError
from bench.proxy.work import BURN
from bench.results import Row, row
from bench.routing.prompts import PROMPTS, bodies, write_prompts
from bench.routing.workers import Fakes, fakes

__all__ = ["LOADS", "Load", "Plan", "rows"]

KV, ROUND_ROBIN, BURNING = "kv", "round_robin", "kv, burning"
PATIENCE_S = 1.0
EXACT_MIN = 0.97  # of a window's placements
READY_S = 20.0
TICK_MS = 0.2  # a fake's time to its first token, at most


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """One row: a prompt, how many of it at a time or per second, and the bounds in milliseconds."""

    name: str
    prompt: str
    conns: int
    must: float
    aim: float
    rate: float = 0.0
    seconds: float = 2.0

    @property
    def streamed(self) -> bool:
        return PROMPTS[self.prompt].stream


LOADS = (
    Load(name="frontend, 1 K tokens", prompt="1k_tokens", conns=8, must=0.2, aim=0.1),
    Load(name="frontend, 8 KiB unseen", prompt="8k_unseen", conns=8, must=0.15, aim=0.1),
    Load(name="frontend, 128 KiB unseen", prompt="128k_unseen", conns=4, must=1.5, aim=1.1),
    Load(
        name="frontend, 128 KiB known but for the last turn", prompt="128k_known", conns=4, must=0.3, aim=0.15
    ),
)
BURNT = Load(
    name="TTFT p99, exact, Python burning 20 of 100 ms",
    prompt="1k_tokens_streamed",
    conns=64,
    must=15,
    aim=10,
    rate=200,
    seconds=4,
)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How long, and where."""

    turns: int = 5
    pace: float = 1.0  # < 1: shorter windows
    cpu: int = 0
    generator_cpu: int = 1


class Running(msgspec.Struct, frozen=True):
    """A frontend."""

    port: int
    admin_port: int
    pids: list[int]

    def placed(self) -> dict[str, float]:
        """Placements by what was known of the prompt."""
        page = _page(f"http://127.0.0.1:{self.admin_port}/metrics").decode()
        mark = 'grove_dp_placements_total{basis="'
        lines = (line.removeprefix(mark) for line in page.splitlines() if line.startswith(mark))
        return {name: float(count) for name, _, count in (line.partition('"} ') for line in lines)}


def _page(url: str, body: bytes | None = None) -> bytes:
    asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        told: bytes = answer.read()
        return told


class _Bench:
    def __init__(self, plan: Plan, workers: Fakes, folder: Path) -> None:
        self._plan, self._workers, self._folder = plan, workers, folder

    @contextlib.contextmanager
    def frontend(
        self, name: str, settings: Mapping[str, Any], env: Mapping[str, str] | None = None
    ) -> Iterator[Running]:
        """A frontend, ready: its placements are exact if its policy asks for that."""
        port = procs.free_port(2)
        faces = {"http": {"port": port}, "admin": {"port": port + 1}}
        config = self._folder / f"{name}.yaml"
        config.write_text(json.dumps(faces | {"workers": {"urls": self._workers.urls}} | dict(settings)))
        command = [str(Path(sys.executable).parent / "grove-dp"), "serve", "--config", str(config)]
        log = self._folder / f"{name}.log"
        with procs.running(command, cpu=self._plan.cpu, log=log, env=env) as process:
            running = Running(port, port + 1, procs.tree(process.pid))
            try:
                self._wait(running, process, exact=ROUND_ROBIN not in name)
            except BenchError as error:
                raise BenchError(f"{error}\n{log.read_text(errors='replace')[-2000:]}") from None
            yield running

    @staticmethod
    def _wait(running: Running, process: subprocess.Popen[bytes], *, exact: bool) -> None:
        body = bodies(PROMPTS["1k_tokens"])[0]
        end = time.monotonic() + READY_S
        while process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError):
                _page(f"http://127.0.0.1:{running.port}/v1/chat/completions", body)
                if not exact or running.placed().get("tokens"):
                    return
            time.sleep(0.1)
        raise BenchError("FrontendNotReady: it did not answer, or did not place by tokens")

    def window(self, load: Load, running: Running) -> Window:
        """One window of a load."""
        options = {
            "--port": running.port,
            "--bodies": BUILD / "prompts" / f"{load.prompt}.bin",
            "--conns": load.conns,
            "--stream": int(load.streamed),
            "--rate": load.rate,
            "--warmup": max(0.5, self._plan.pace),
            "--seconds": max(0.5, load.seconds * self._plan.pace),
            "--backend": self._workers.pid,
            "--proxy": ",".join(map(str, running.pids)),
        }
        words = [str(word) for pair in options.items() for word in pair]
        run = subprocess.run(
            pinned(self._plan.generator_cpu, [str(LOAD), *words]),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        if run.returncode:
            raise BenchError(f"LoadFailed: {load.name}: {run.stderr.strip()}")
        window = msgspec.structs.replace(msgspec.json.decode(run.stdout, type=Window), streamed=load.streamed)
        if fault := window.fault():
            raise BenchError(f"WrongAnswers: {load.name}: {fault}")
        return window

    def exact_window(self, load: Load, running: Running) -> tuple[Window, float]:
        """A window, and the share of requests that were placed by their tokens."""
        before = running.placed()
        window = self.window(load, running)
        after = running.placed()
        grown = {basis: count - before.get(basis, 0.0) for basis, count in after.items()}
        return window, grown.get("tokens", 0.0) / max(1.0, sum(grown.values()))

    def note(self, load: Load, name: str, window: Window, share: float | None = None) -> None:
        exact = "" if share is None else f", {share:.1%} by tokens"
        print(
            f"  {load.name:46} {name:12} {window.ok / window.seconds:7.0f} req/s"
            f" {window.cpu_us_per_request / 1e3:7.3f} ms CPU, first event p99"
            f" {window.first_event_us.p99 / 1e3:6.2f} ms{exact}, foreign {window.foreign_cores:.2f}",
            file=sys.stderr,
            flush=True,
        )

    def cpu(self) -> Iterator[Row]:
        """CPU per request of each load, beside round robin's."""
        patient = {"tokens": {"wait_s": PATIENCE_S}}
        with (
            self.frontend(KV, {"routing": {"policy": KV}} | patient) as kv,
            self.frontend(ROUND_ROBIN, {"routing": {"policy": ROUND_ROBIN}}) as plain,
        ):
            for load in LOADS:
                yield self._cpu_row(load, kv, plain)

    def _cpu_row(self, load: Load, kv: Running, plain: Running) -> Row:
        costs, anchors = [], []
        for _ in range(self._plan.turns):
            window, share = self.exact_window(load, kv)
            self.note(load, KV, window, share)
            if share < EXACT_MIN:
                raise BenchError(f"NotExact: {load.name}: only {share:.1%} were placed by their tokens")
            costs.append(window.cpu_us_per_request / 1e3)
            window = self.window(load, plain)
            self.note(load, ROUND_ROBIN, window)
            anchors.append(window.cpu_us_per_request / 1e3)
        return row(
            load.name,
            statistics.median(costs),
            "ms CPU/request",
            anchor=ROUND_ROBIN,
            anchor_value=statistics.median(anchors),
            ratio=statistics.median(own / other for own, other in zip(costs, anchors, strict=True)),
            must=f"value <= {load.must:g}",
            aim=f"value <= {load.aim:g}",
        )

    def burning(self) -> Iterator[Row]:
        """The time to the first token with a busy control loop, beside the same with an idle one."""
        settings = {"routing": {"policy": KV}}
        with (
            self.frontend(BURNING, settings, {"GROVE_DP_BURN": BURN}) as burning,
            self.frontend(KV, settings) as idle,
        ):
            taken: dict[str, list[float]] = {BURNING: [], KV: []}
            shares = []
            for _ in range(self._plan.turns):
                for name, running in ((BURNING, burning), (KV, idle)):
                    window, share = self.exact_window(BURNT, running)
                    self.note(BURNT, name, window, share)
                    taken[name].append(window.first_event_us.p99 / 1e3)
                    if name == BURNING:
                        shares.append(share)
        yield row(
            BURNT.name,
            statistics.median(taken[BURNING]),
            "ms",
            anchor="not burning",
            anchor_value=statistics.median(taken[KV]),
            must=f"value <= {BURNT.must:g}",
            aim=f"value <= {BURNT.aim:g}",
        )
        yield row("placed by tokens meanwhile", statistics.median(shares), "share", must="value >= 0.95")


def rows(plan: Plan, folder: Path) -> Iterator[Row]:
    """Starts fakes and frontends, measures, and leaves no process behind."""
    write_prompts(BUILD / "prompts")
    with fakes(plan.generator_cpu, folder) as workers:
        workers.tick(TICK_MS)
        bench = _Bench(plan, workers, folder)
        yield from bench.cpu()
        yield from bench.burning()
