"""Waiting for a worker when all are at their cap: in order, not for ever, not without bound."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec
import pytest

from grove_dp.testing.frontend import PATIENCE_S
from grove_dp.testing.http import RawClient, json_answer, post
from grove_dp.testing.vllm import COMPLETIONS, completion

if TYPE_CHECKING:
    from conftest import Rig

    from grove_dp.testing.frontend import Frontend

GOOD = json_answer(b"{}")
ONE = {"max_inflight": 1}


async def _send(stack: AsyncExitStack, frontend: "Frontend", number: int) -> RawClient:
    """A client whose request number *number* is in flight, waiting or served."""
    client = await stack.enter_async_context(await frontend.client())
    await client.send(post(COMPLETIONS, completion(seed=number)))
    await frontend.exchanges_until(number + 1)
    return client


async def test_waiting_requests_are_served_in_order_of_arrival(rig: "Rig") -> None:
    go = asyncio.Event()
    worker = await rig.worker(default=[go, GOOD])
    frontend = await rig.serve(worker, workers=ONE)
    async with AsyncExitStack() as stack:
        clients = [await _send(stack, frontend, number) for number in range(8)]
        assert len(worker.calls) == 1
        assert (await frontend.workers())[worker.id]["inflight"] == 1
        go.set()
        assert [(await client.answer()).status for client in clients] == [200] * 8
    assert [msgspec.json.decode(call.request.body)["seed"] for call in worker.calls] == list(range(8))


async def test_a_full_queue_answers_429_with_retry_after(rig: "Rig") -> None:
    go = asyncio.Event()
    worker = await rig.worker(default=[go, GOOD])
    frontend = await rig.serve(worker, workers=ONE, queue={"length": 2})
    async with AsyncExitStack() as stack:
        clients = [await _send(stack, frontend, number) for number in range(3)]
        refused = await frontend.ask(post(COMPLETIONS, completion()))
        assert refused.status == 429
        assert int(refused.header("retry-after") or 0) >= 1
        assert refused.error()["reason"] == "QueueFull"
        go.set()
        assert [(await client.answer()).status for client in clients] == [200] * 3


async def test_a_wait_too_long_ends_in_503_with_retry_after(rig: "Rig") -> None:
    go = asyncio.Event()
    worker = await rig.worker(default=[go, GOOD])
    frontend = await rig.serve(worker, workers=ONE, queue={"wait_s": 0.3})
    async with AsyncExitStack() as stack:
        first = await _send(stack, frontend, 0)
        start = time.monotonic()
        refused = await frontend.ask(post(COMPLETIONS, completion()))
        assert 0.25 < time.monotonic() - start < 20
        assert refused.status == 503
        assert int(refused.header("retry-after") or 0) >= 1
        assert refused.error()["reason"] == "QueueTimeout"
        go.set()
        assert (await first.answer()).status == 200


async def test_a_client_that_leaves_the_queue_frees_its_place(rig: "Rig") -> None:
    go = asyncio.Event()
    worker = await rig.worker(default=[go, GOOD])
    frontend = await rig.serve(worker, workers=ONE, queue={"length": 1})
    async with AsyncExitStack() as stack:
        first = await _send(stack, frontend, 0)
        (await _send(stack, frontend, 1)).close()
        await frontend.exchanges_until(1)
        third = await _send(stack, frontend, 1)
        go.set()
        assert [(await client.answer()).status for client in (first, third)] == [200, 200]
    assert len(worker.calls) == 2  # the one that left was never sent


async def test_a_freed_place_is_used_at_once(rig: "Rig") -> None:
    worker = await rig.worker(default=[0.005, GOOD])
    frontend = await rig.serve(worker, workers=ONE)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(await frontend.client()) for _ in range(20)]
        start = time.monotonic()
        for client in clients:
            await client.send(post(COMPLETIONS, completion()))
        assert [(await client.answer()).status for client in clients] == [200] * 20
        assert time.monotonic() - start < 20


async def test_a_drained_worker_frees_its_queue_to_another(rig: "Rig") -> None:
    go = asyncio.Event()
    full, other = await rig.worker(default=[go, GOOD]), await rig.worker(default=[GOOD])
    frontend = await rig.serve(full, workers=ONE)
    async with AsyncExitStack() as stack:
        first = await _send(stack, frontend, 0)
        second = await _send(stack, frontend, 1)
        await frontend.admin("POST", "/workers", {"url": other.url})
        assert (await second.answer()).status == 200
        assert len(other.calls) == 1
        go.set()
        assert (await first.answer()).status == 200


@pytest.mark.parametrize("threads", [0, 2])
async def test_the_cap_holds_over_all_threads(rig: "Rig", threads: int) -> None:
    worker = await rig.worker(default=[0.01, GOOD])
    frontend = await rig.serve(worker, workers={"max_inflight": 3}, http={"threads": threads})
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(await frontend.client()) for _ in range(30)]
        for client in clients:
            await client.send(post(COMPLETIONS, completion()))
        seen = 0
        waiting = [asyncio.create_task(client.answer()) for client in clients]
        while not all(task.done() for task in waiting):
            seen = max(seen, (await frontend.workers())[worker.id]["inflight"])
            await asyncio.sleep(0.005)
        assert [task.result().status for task in waiting] == [200] * 30
    assert seen <= 3


async def test_too_many_connections_are_refused_and_the_rest_served(rig: "Rig") -> None:
    worker = await rig.worker()
    frontend = await rig.serve(worker, limits={"connections": 8})
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(await frontend.client()) for _ in range(12)]
        answers = []
        for client in clients:
            try:
                await client.send(post(COMPLETIONS, completion()))
                answers.append((await client.answer()).status)
            except ConnectionError:
                answers.append(0)
    assert answers.count(200) == 8
    assert set(answers) <= {200, 503, 0}


async def test_buffers_over_their_limit_refuse_new_bodies(rig: "Rig") -> None:
    go = asyncio.Event()
    worker = await rig.worker(default=[go, GOOD])
    frontend = await rig.serve(worker, workers=ONE, limits={"body_bytes": 1 << 20, "buffered_bytes": 2 << 20})
    big = completion(padding="x" * 900_000)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(await frontend.client()) for _ in range(6)]
        for client in clients:
            await client.send(post(COMPLETIONS, big))
        done = [asyncio.create_task(client.answer()) for client in clients]
        finished, _ = await asyncio.wait(done, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result().status for task in finished} == {503}
        go.set()
        answers = [await task for task in done]
    refused = [answer for answer in answers if answer.status != 200]
    assert 0 < len(refused) < 6
    assert {answer.error()["reason"] for answer in refused} == {"BuffersFull"}
