"""Many requests, clients that vanish, workers killed with SIGKILL and started again: nothing lost or leaked.

    64 clients ──► grove-dp serve ──► 3 worker-sim processes, one of them dead now and then

What must hold at the end: no request failed of which the client had not seen a byte; a stream cut by its
worker's death ended with a well-formed error; no booking, exchange or socket is left; memory did not grow.

GROVE_DP_SOAK_REQUESTS sets the length (60,000: about a minute on two cores).
"""

import asyncio
import collections
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from grove_dp.testing.frontend import Frontend, eventually, free_port
from grove_dp.testing.http import Answer, BadAnswer, RawClient, post
from grove_dp.testing.vllm import CHAT, COMPLETIONS, DONE, chat, completion

REQUESTS = int(os.environ.get("GROVE_DP_SOAK_REQUESTS", "60000"))
CLIENTS, WORKERS = 64, 3
KILL_EVERY_S, DEAD_S = 1.0, 0.5
GROWTH_BYTES = 6 << 20
VANISH = 0.1  # share of requests whose client leaves
STREAMED = 0.45


class WorkerProcess:
    """A simulated worker that can be killed and started again on its port."""

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "grove_dp", "worker-sim", "--port", str(self.port)]
        command += ["--profile", "tiny-cpu", "--speed", "4", "--model", "tiny-llama"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    async def healthy(self) -> bool:
        try:
            async with await RawClient.open(self.port) as client:
                await client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                return (await client.answer("GET")).status == 200
        except ConnectionError:
            return False


class Load:
    """Clients that send until the requests are used up; `seen` counts what became of them."""

    def __init__(self, port: int, requests: int, seed: int) -> None:
        self._port, self._left = port, requests
        self._rng = random.Random(seed)
        self.seen: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []

    @property
    def done(self) -> int:
        return self.seen.total()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._client())

    async def _client(self) -> None:
        while self._left > 0:
            async with await RawClient.open(self._port) as client:
                client.patience_s = 30.0
                for _ in range(self._rng.randrange(1, 40)):  # requests on one connection
                    if self._left <= 0:
                        return
                    self._left -= 1
                    outcome = await self._request(client)
                    self.seen[outcome] += 1
                    if outcome not in ("answered", "streamed"):
                        break

    async def _request(self, client: RawClient) -> str:
        tokens = self._rng.randrange(1, 40)
        if self._rng.random() < STREAMED:
            raw = post(CHAT, chat(stream=True, max_tokens=tokens))
        else:
            raw = post(COMPLETIONS, completion(max_tokens=tokens))
        if self._rng.random() < VANISH:
            return await self._vanish(client, raw)
        try:
            await client.send(raw)
            answer = await client.answer()
        except (ConnectionError, BadAnswer, TimeoutError) as error:
            return self._failed(f"{error!r} after {raw[:40]!r}")
        return self._judge(answer)

    def _judge(self, answer: Answer) -> str:
        if answer.status != 200:
            return self._failed(f"{answer.status}: {answer.body[:300]!r}")
        if not (answer.header("content-type") or "").startswith("text/event-stream"):
            return "answered"
        *_, last, done = answer.events()
        if done != DONE:
            return self._failed(f"a stream ended with {done!r}")
        return "cut with an error" if last.startswith(b'data: {"error"') else "streamed"

    async def _vanish(self, client: RawClient, raw: bytes) -> str:
        """Leave in the middle of the request, before the answer, or in the middle of it."""
        where = self._rng.random()
        await client.send(raw[: self._rng.randrange(1, len(raw))] if where < 0.3 else raw)
        if where > 0.6:
            await asyncio.sleep(self._rng.random() * 0.05)
        (client.reset if self._rng.random() < 0.5 else client.close)()
        return "vanished"

    def _failed(self, why: str) -> str:
        self.failures.append(why)
        return "failed"


@pytest.fixture
async def workers(tmp_path: Path) -> AsyncIterator[list[WorkerProcess]]:
    workers = [WorkerProcess(tmp_path / f"worker-{number}.log") for number in range(WORKERS)]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            await eventually(worker.healthy, bool, 30.0, f"the worker on {worker.port} is healthy")
        yield workers
    finally:
        for worker in workers:
            worker.kill()


async def _reap(workers: list[WorkerProcess], rng: random.Random, kills: list[float]) -> None:
    """Kill one worker at a time, leave it dead for a while, start it again."""
    while True:
        await asyncio.sleep(KILL_EVERY_S)
        worker = rng.choice(workers)
        worker.kill()
        kills.append(time.monotonic())
        await asyncio.sleep(DEAD_S)
        worker.start()
        await eventually(worker.healthy, bool, 30.0, f"the worker on {worker.port} is back")


async def _warm_up(frontend: Frontend) -> tuple[int, int]:
    """Sockets when nothing happens, and memory after a tenth of the work."""
    sockets = frontend.sockets()
    await Load(frontend.port, REQUESTS // 10, seed=1).run()
    return sockets, frontend.rss_bytes()


@pytest.mark.soak
@pytest.mark.timeout(120 + REQUESTS // 100)
async def test_nothing_is_lost_and_nothing_leaks(workers: list[WorkerProcess]) -> None:
    urls = [worker.url for worker in workers]
    kills: list[float] = []
    async with Frontend(urls, log={"level": "warning"}, workers={"connections_idle_s": 1.0}) as frontend:
        for url in urls:
            await frontend.worker_until(url.removeprefix("http://"), state="ready")
        sockets, rss = await _warm_up(frontend)
        load = Load(frontend.port, REQUESTS - REQUESTS // 10, seed=2)
        reaper = asyncio.create_task(_reap(workers, random.Random(3), kills))
        began = time.monotonic()
        await load.run()
        took_s = time.monotonic() - began
        reaper.cancel()
        await asyncio.gather(reaper, return_exceptions=True)

        await frontend.settled(10.0)
        grown = frontend.rss_bytes() - rss
        print(
            f"\n{load.done} requests in {took_s:.0f} s, {len(kills)} kills, {dict(load.seen)}, "
            f"memory {rss >> 20} MiB {grown / (1 << 20):+.1f}"
        )

        async def open_sockets() -> int:
            return frontend.sockets()

        await eventually(
            open_sockets, lambda now: now <= sockets + WORKERS, 10.0, f"{sockets} sockets are open"
        )
    assert not load.failures, f"{len(load.failures)} requests failed: {load.failures[:5]}"
    assert load.seen["streamed"] > load.done * STREAMED * 0.7
    assert load.seen["vanished"] > load.done * VANISH * 0.7
    assert len(kills) >= took_s / 8, "the workers were hardly killed"
    assert grown <= GROWTH_BYTES, f"memory grew by {grown / (1 << 20):.1f} MiB"
