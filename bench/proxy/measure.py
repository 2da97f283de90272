"""One window: a load on a proxy, its CPU, memory and answers, and whether the figures can be believed."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from urllib.request import urlopen

import msgspec

from bench.proxy.bodies import BODIES
from bench.proxy.procs import pinned
from bench.proxy.tools import BUILD, LOAD, BenchError
from bench.proxy.work import Work

__all__ = ["Bench", "Quantiles", "Window", "measure"]


class Quantiles(msgspec.Struct, frozen=True):
    n: int = 0
    p50: float = 0.0
    p99: float = 0.0
    max: float = 0.0


class Window(msgspec.Struct, frozen=True):
    """What the load generator reports; see c/load_report.c."""

    seconds: float
    proxy_cpu_s: float
    foreign_cores: float  # CPUs used by none of ours: somebody else was measured too
    rss_mib: float
    ok: int
    events: int  # delivered to the client, without data: [DONE]
    latency_us: Quantiles
    age_us: Quantiles
    first_event_us: Quantiles = Quantiles()
    generator_cores: float = 0.0
    refused: int = 0
    refused_status: int = 0
    broken: int = 0
    unasked_usage: int = 0
    no_done: int = 0
    in_flight: int = 0
    streamed: bool = False

    @property
    def cpu_us_per_request(self) -> float:
        return self.proxy_cpu_s * 1e6 / max(1, self.ok)

    @property
    def cpu_us_per_event(self) -> float:
        return self.proxy_cpu_s * 1e6 / max(1, self.events)

    @property
    def events_per_s(self) -> float:
        return self.events / self.seconds

    def fault(self) -> str | None:
        """Why the figures mean nothing: the proxy did not do the work. None when it did."""
        if self.refused:
            return f"{self.refused} replies were not 200 (first: {self.refused_status})"
        if self.broken:
            return f"{self.broken} connections broke under a reply"
        if self.no_done:
            return f"{self.no_done} streams ended without [DONE]"
        if self.unasked_usage:
            return f"{self.unasked_usage} usage events reached a client that had not asked"
        if not (self.events if self.streamed else self.ok):
            return "nothing was delivered"
        return None


class Bench(msgspec.Struct, frozen=True):
    """Where the instruments run, and how long a window may be."""

    generator_cpu: int
    backend_pid: int
    backend: str  # host:port of the first fake worker
    pace: float = 1.0  # < 1: shorter windows


def measure(bench: Bench, work: Work, port: int, proxy: Sequence[int]) -> Window:
    """Puts *work* on *port* and watches the processes in *proxy* meanwhile."""
    with urlopen(f"http://{bench.backend}/_bench/period?us={work.period_ms * 1000:.0f}", timeout=5):
        pass
    stream = BODIES[work.body].stream
    options = {
        "--port": port,
        "--bodies": BUILD / "bodies" / f"{work.body}.bin",
        "--conns": work.conns,
        "--stream": int(stream),
        "--rate": work.rate,
        "--warmup": work.warmup_s,
        "--seconds": max(1.0, work.seconds * bench.pace),
        "--backend": bench.backend_pid,
        "--proxy": ",".join(map(str, proxy)),
    }
    words = [str(word) for pair in options.items() for word in pair if pair[1] != ""]
    run = subprocess.run(
        pinned(bench.generator_cpu, [str(LOAD), *words]),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    if run.returncode:
        raise BenchError(f"LoadFailed: {work.name} on port {port}: {run.stderr.strip()}")
    window = msgspec.json.decode(run.stdout, type=Window)
    return msgspec.structs.replace(window, streamed=stream)
