"""Jobs of the data plane: requests that wait for their token ids, taken and given back from threads."""

import gc
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import aiohttp
import numpy as np
import pytest

from grove_dp.frontend.plane import table_settings
from grove_dp.native.plane import Job, ModelRow, Plane, WorkerRow
from grove_dp.settings import Settings
from grove_dp.testing.http import json_answer
from grove_dp.testing.worker import ScriptedWorker

CHAT = {"model": "grove", "messages": [{"role": "user", "content": "Hello"}]}


@contextmanager
def token_thread(plane: Plane, work) -> Iterator[None]:
    """Gives every job to *work* on a thread of its own, until the block ends."""

    def run() -> None:
        while not ended.is_set():
            if (job := plane.take_job(0.5)) is not None:
                work(job)
            del job  # a thread that waits for the next one must not hold this one

    ended = threading.Event()
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        plane.close_jobs()
        thread.join()


@asynccontextmanager
async def opened(wait_s: float = 5.0) -> AsyncIterator[tuple[Plane, aiohttp.ClientSession]]:
    """A plane before one worker that answers all, and a client of it."""
    async with ScriptedWorker(default=[json_answer(b'{"done": true}')]) as worker:
        plane = Plane(1)
        port = plane.listen("127.0.0.1", 0)
        settings = table_settings(Settings()) | {"tokens_wait_s": wait_s}
        row = WorkerRow(0, "w", worker.id, "127.0.0.1", int(worker.id.rpartition(":")[2]), "ready", 0)
        plane.publish(settings, [row], [ModelRow("grove", [0], b"{}", exact=True)], b"{}", b"{}")
        plane.start()
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
                yield plane, client
        finally:
            plane.close()


async def ask(client: aiohttp.ClientSession) -> object:
    async with client.post("/v1/chat/completions", json=CHAT) as answer:
        assert answer.status == 200
        return await answer.json()


async def test_a_job_tells_what_was_asked_and_its_answer_lets_the_request_go_on():
    seen: list[tuple[str, str, bytes, bool]] = []

    def work(job: Job) -> None:
        seen.append((job.endpoint, job.model, job.body, job.gone))
        job.answer(np.array([1, 2], dtype=np.uint64), 40, 16)

    async with opened() as (plane, client):
        with token_thread(plane, work):
            assert await ask(client) == {"done": True}
        assert plane.counters()["tokens_exact"] == 1
    [(endpoint, model, body, gone)] = seen
    assert (endpoint, model, gone) == ("chat", "grove", False)
    assert json.loads(body) == CHAT


async def test_what_is_declined_forgotten_or_late_goes_on_without():
    late: list[Job] = []
    ways = iter([Job.decline, lambda job: None, late.append])

    async with opened(wait_s=0.05) as (plane, client):
        with token_thread(plane, lambda job: next(ways)(job)):
            for _ in range(3):
                assert await ask(client) == {"done": True}
                gc.collect()
        counters = plane.counters()
        [job] = late
        assert job.gone
        job.decline()
        late.clear()
    assert (counters["tokens_declined"], counters["tokens_late"], counters["tokens_exact"]) == (2, 1, 0)


async def test_a_job_is_given_back_once():
    refusals: list[BaseException] = []

    def work(job: Job) -> None:
        job.decline()
        for again in (job.decline, lambda: job.answer(np.zeros(0, dtype=np.uint64), 1, 16)):
            try:
                again()
            except ValueError as error:
                refusals.append(error)
        with pytest.raises((ValueError, TypeError)):
            job.answer([1, 2], 2, 16)

    async with opened() as (plane, client):
        with token_thread(plane, work):
            await ask(client)
    assert [str(error) for error in refusals] == ["this job was given back already"] * 2


async def test_closing_while_jobs_are_out_is_refused():
    held: list[Job] = []
    async with opened(wait_s=0.05) as (plane, client):
        with token_thread(plane, held.append):
            await ask(client)
        with pytest.raises(RuntimeError, match="1 jobs are out"):
            plane.close()
        held.clear()
    assert plane.take_job is not None
    with pytest.raises(ValueError, match="closed"):
        plane.take_job(0)


async def test_closed_jobs_wake_whoever_waits():
    async with opened() as (plane, _):
        plane.close_jobs()
        assert plane.take_job(30.0) is None
