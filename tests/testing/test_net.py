"""The fault proxy between the raw client and the scripted worker: each fault does what it says."""

import asyncio
import time

import pytest

from grove_dp.testing.http import ConnectionEnded, RawClient, json_answer, post
from grove_dp.testing.net import Fault, FaultProxy
from grove_dp.testing.worker import End, ScriptedWorker

REQUEST = post("/v1/completions", b"{}")
ANSWER = json_answer(b"0123456789")


async def _ask(proxy: FaultProxy) -> bytes:
    async with await RawClient.open(proxy.port) as client:
        await client.send(REQUEST)
        return (await client.answer()).body


async def test_without_a_fault_bytes_pass() -> None:
    async with ScriptedWorker(default=[ANSWER]) as worker, FaultProxy(worker.port) as proxy:
        assert await _ask(proxy) == b"0123456789"
        assert (proxy.links[0].up, proxy.links[0].down) == (len(REQUEST), len(ANSWER))


async def test_a_drip_gives_one_byte_at_a_time() -> None:
    async with ScriptedWorker(default=[ANSWER]) as worker, FaultProxy(worker.port, Fault(drip=True)) as proxy:
        assert await _ask(proxy) == b"0123456789"
        assert worker.calls[0].request.raw == REQUEST


@pytest.mark.parametrize("reset", [False, True])
async def test_a_cut_ends_the_connection_after_so_many_bytes(reset: bool) -> None:
    async with ScriptedWorker(default=[ANSWER]) as worker, FaultProxy(worker.port) as proxy:
        proxy.plan.append(Fault(cut_down_after=len(ANSWER) - 3, reset=reset))
        with pytest.raises(ConnectionEnded):
            await _ask(proxy)
        assert proxy.links[0].down == len(ANSWER) - 3
        assert await _ask(proxy) == b"0123456789"  # the next connection has no fault


async def test_a_cut_upwards_leaves_half_a_request() -> None:
    async with ScriptedWorker() as worker, FaultProxy(worker.port, Fault(cut_up_after=20)) as proxy:
        with pytest.raises(ConnectionEnded):
            await _ask(proxy)
        assert not worker.calls


async def test_delay_and_throttle_take_their_time() -> None:
    async with ScriptedWorker(default=[ANSWER]) as worker, FaultProxy(worker.port) as proxy:
        proxy.plan += [Fault(delay_s=0.05), Fault(bytes_per_s=2000)]
        for least_s in (0.1, (len(REQUEST) + len(ANSWER)) / 2000):
            start = time.monotonic()
            await _ask(proxy)
            assert time.monotonic() - start >= least_s


async def test_a_mute_connection_is_accepted_and_never_answered() -> None:
    async with ScriptedWorker() as worker, FaultProxy(worker.port, Fault(mute=True)) as proxy:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await _ask(proxy)
        assert worker.connections == 0


async def test_a_refused_connection_is_reset() -> None:
    async with FaultProxy(1, Fault(refuse=True)) as proxy:
        with pytest.raises(ConnectionError):
            await _ask(proxy)


async def test_a_swallowed_fin_hides_that_the_client_went() -> None:
    async with ScriptedWorker(default=[End.HANG]) as worker, FaultProxy(worker.port) as proxy:
        for swallow in (True, False):
            proxy.plan.append(Fault(swallow_fin=swallow))
            client = await RawClient.open(proxy.port)
            await client.send(REQUEST)
            call = await worker.call(len(worker.calls))
            client.finish()
            if swallow:
                with pytest.raises(TimeoutError):
                    await call.abandoned(within_s=0.1)
            else:
                await call.abandoned()
            client.close()


async def test_a_paused_connection_is_silent_and_goes_on() -> None:
    async with (
        ScriptedWorker(default=[ANSWER]) as worker,
        FaultProxy(worker.port) as proxy,
        await RawClient.open(proxy.port) as client,
    ):
        await client.send(REQUEST)
        await client.answer()
        proxy.pause()
        await client.send(REQUEST)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.answer()
        assert len(worker.calls) == 1
        proxy.resume()
        await worker.call(1)


async def test_a_refusing_proxy_listens_again_on_its_port() -> None:
    async with ScriptedWorker(default=[ANSWER]) as worker, FaultProxy(worker.port) as proxy:
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await _ask(proxy)
        await proxy.listen()
        assert await _ask(proxy) == b"0123456789"
