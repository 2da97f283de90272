"""Fake workers that a frontend takes for exact: they tell a model's folder, a block size, and tokens.

The fakes are those of bench.proxy, in C, so that one CPU feeds a frontend at its limit. They have no
tokenizer; what a frontend asks of /tokenize when it meets a worker is a fixed set of probes, so a simulated
worker is asked first and its answers are handed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.proxy import procs
from bench.proxy.tools import FAKE, BenchError
from bench.routing.prompts import MODEL
from grove_dp.sim.tokenizer import DEFAULT_MODEL
from grove_dp.sim.worker import SimWorkers
from grove_dp.tokens.probe import probes

__all__ = ["WORKERS", "Fakes", "fakes"]

WORKERS = 8


class Fakes(msgspec.Struct, frozen=True):
    """Where they listen, and whose CPU is not the frontend's."""

    first_port: int
    pid: int

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{self.first_port + number}" for number in range(WORKERS)]

    def tick(self, period_ms: float) -> None:
        """From now on a stream's tokens come so far apart, and the first one at most so late."""
        url = f"{self.urls[0]}/_bench/period?us={period_ms * 1000:.0f}"
        with urllib.request.urlopen(url, timeout=5):
            pass


def _answer(url: str, body: bytes) -> bytes | None:
    """What a worker's /tokenize says of a body; None where it refuses."""
    asked = urllib.request.Request(f"{url}/tokenize", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            told: bytes = answer.read()
            return told
    except urllib.error.HTTPError:
        return None


async def _tokenized() -> list[tuple[bytes, bytes]]:
    """The probes and a simulated worker's answers."""
    async with SimWorkers(1, served_model_name=(MODEL,), max_model_len=131_072) as [worker]:
        bodies = [probe.body for probe in probes(MODEL)]
        answers = [await asyncio.to_thread(_answer, worker.url, body) for body in bodies]
    return [(body, answer) for body, answer in zip(bodies, answers, strict=True) if answer is not None]


@contextlib.contextmanager
def fakes(cpu: int, folder: Path) -> Iterator[Fakes]:
    """They run on *cpu* while the context lasts."""
    asked = folder / "tokenize.bin"
    parts = [part for pair in asyncio.run(_tokenized()) for part in pair]
    asked.write_bytes(b"".join(struct.pack("=I", len(part)) + part for part in parts))
    first = procs.free_port(WORKERS)
    options = {
        "--ports": f"{first}-{first + WORKERS - 1}",
        "--model": MODEL,
        "--root": str(DEFAULT_MODEL),
        "--tokenize": str(asked),
    }
    words = [word for pair in options.items() for word in pair]
    log = folder / "fake.log"
    with procs.running([str(FAKE), *words], cpu=cpu, log=log) as process:
        end = time.monotonic() + 5
        while "ready" not in (said := log.read_text()):
            if time.monotonic() > end:
                raise BenchError(f"NoWorkers: the fake workers did not start: {said}")
            time.sleep(0.02)
        yield Fakes(first, process.pid)
