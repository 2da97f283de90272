"""Real vLLM workers on CPU: set up once outside the tree's history, started and killed as the tests wish."""

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from bench import results
from grove_dp.testing.frontend import eventually, free_port
from grove_dp.testing.http import RawClient

HERE = Path(__file__).parent
RIG = Path(os.environ.get("GROVE_DP_VLLM_RIG", HERE.parent.parent / ".cache" / "vllm"))
START_S = 200.0
MODEL_LEN, BLOCKS = 1024, 96  # one of these nobody can use: 95 of 32 tokens, three conversations or so
KV_FLAGS = ("--max-model-len", str(MODEL_LEN), "--num-gpu-blocks-override", str(BLOCKS))
KV_FLAGS += (
    "--enable-auto-tool-choice",
    "--tool-call-parser",
    "hermes",
    "--enable-lora",
    "--max-lora-rank",
    "8",
)


class VllmWorker:
    """One `vllm serve` with its engine process, on a port that it keeps over restarts."""

    def __init__(self, folder: Path, core: int) -> None:
        self._core = core  # each on its own core: unpinned, two engines' spinning threads halve each other
        self.port = free_port()
        self.folder = folder
        self.flags: tuple[str, ...] = ()
        self._starter: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def id(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return int((self.folder / "pid").read_text())

    def start(self, *flags: str) -> None:
        """Start with these flags; `healthy` tells when it can be used."""
        self.flags = flags
        command = ["bash", str(HERE / "rig/start.sh"), str(RIG), str(self.folder), str(self.port), *flags]
        environment = {**os.environ, "CORE": str(self._core), "VLLM_HOST_IP": "127.0.0.1"}
        self._starter = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment)

    async def ensure(self, *flags: str) -> None:
        """Running with exactly these flags."""
        if self._starter and await self.healthy() and self.flags == flags and self.running():
            return
        await self.end()
        self.start(*flags)

    async def ready(self) -> None:
        await eventually(self.healthy, bool, START_S, f"vLLM on {self.port} is healthy ({self.folder}/log)")

    async def healthy(self) -> bool:
        try:
            async with await RawClient.open(self.port) as client:
                await client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                return (await client.answer("GET")).status == 200
        except ConnectionError:
            return False

    async def running_requests(self) -> float:
        """What the engine itself says."""
        async with await RawClient.open(self.port) as client:
            await client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            page = (await client.answer("GET")).body
        gauges = re.findall(rb"^vllm:num_requests_(?:running|waiting)\{.*\} ([0-9.]+)$", page, re.MULTILINE)
        assert gauges, "no gauge of running requests in vLLM's metrics"
        return sum(float(value) for value in gauges)

    def running(self) -> bool:
        """The server process lives (a zombie of the finished start script does not count)."""
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return False
        return state != "Z"

    def engine_pid(self) -> int:
        """The EngineCore process: the one below the server whose title says so."""
        for pid in self._below(self.pid):
            if b"EngineCore" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        raise AssertionError(f"no EngineCore below {self.pid}")

    def _below(self, pid: int) -> Iterator[int]:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in map(int, children):
            yield child
            yield from self._below(child)

    async def gone(self, within_s: float = 40.0) -> None:
        """Wait until the process has ended by itself."""

        async def look() -> bool:
            return self.running()

        await eventually(look, lambda lives: not lives, within_s, f"vLLM on {self.port} ends")

    async def end(self) -> None:
        """Kill its whole session (start.sh gave it one of its own)."""
        if self._starter is None:
            return
        self._starter.terminate()
        self._starter.wait()
        if (self.folder / "pid").exists():
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                return
            await self.gone()


@pytest.fixture(scope="module")
def rig() -> Path:
    """The folder of the rig, set up by the first run (about a minute and 0.9 GB)."""
    subprocess.run(["bash", str(HERE / "rig/setup.sh"), str(RIG)], check=True)
    return RIG


@pytest.fixture(scope="module")
def adapter(rig: Path) -> Path:
    """A LoRA adapter for the rig's model."""
    folder = rig / "lora"
    if not (folder / "adapter_config.json").exists():
        script = str(HERE / "rig/make_tiny_lora.py")
        subprocess.run([rig / "venv/bin/python", script, str(folder)], check=True)
    return folder


@asynccontextmanager
async def _running(
    workers: list[VllmWorker], flags: Sequence[tuple[str, ...]]
) -> AsyncIterator[list[VllmWorker]]:
    """All of them started side by side, healthy, and ended."""
    try:
        for worker, own in zip(workers, flags, strict=True):
            worker.start(*own)
        await asyncio.gather(*(worker.ready() for worker in workers))
        yield workers
    finally:
        for worker in workers:
            await worker.end()


def _two(folders: pytest.TempPathFactory) -> list[VllmWorker]:
    return [VllmWorker(folders.mktemp(f"vllm-{core}"), core) for core in (0, 1)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers(rig: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[VllmWorker]]:
    """Two workers."""
    async with _running(_two(tmp_path_factory), [(), ()]) as workers:
        yield workers


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kv_workers(
    rig: Path, adapter: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[list[VllmWorker]]:
    """Two workers with small caches that tell of them: the first by TCP on ports that it chooses anew in each
    life, the second by socket files, `events` and `replay` in its folder."""
    workers = _two(tmp_path_factory)
    by_file = workers[1].folder
    endpoints = [("tcp://*:0", "tcp://*:0"), (f"ipc://{by_file}/events", f"ipc://{by_file}/replay")]
    common = (*KV_FLAGS, "--lora-modules", f"tiny-lora={adapter}")
    flags = [(*common, "--kv-events-config", _kv_events(*ends)) for ends in endpoints]
    async with _running(workers, flags):
        yield workers


def _kv_events(endpoint: str, replay: str) -> str:
    told = {"enable_kv_cache_events": True, "publisher": "zmq", "topic": "kv"}
    return json.dumps(told | {"endpoint": endpoint, "replay_endpoint": replay})


@pytest.fixture(scope="module")
def figures(request: pytest.FixtureRequest) -> Iterator[list[results.Row]]:
    """Rows of bench/results/<vllm or vllm_kv>.json, written when the module ends."""
    rows: list[results.Row] = []
    yield rows
    if rows:
        name = request.path.stem.removeprefix("test_")
        path = results.write(results.new("make test-vllm", rows), name)
        print(f"\n{results.table_text(rows)}\nwritten to {path}")
