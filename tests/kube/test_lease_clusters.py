"""Leading on real API servers, over real connections that are cut, silent and refused."""

import asyncio
import itertools
import time
from contextlib import AsyncExitStack, suppress

import pytest

from grove_dp.kube.candidate import LeaseTimes
from grove_dp.kube.lease import lead
from grove_dp.kube.objects import LEASES
from tests.kube.election import GIVEN_BACK

TIMES = LeaseTimes(duration_s=2.0, deadline_s=1.2, stop_s=0.5, retry_s=0.2)


class Runner:
    """Leads, and notes when."""

    def __init__(self, cluster, name, api, proxy, spans):
        self.name = name
        self.api, self.proxy = api, proxy
        self.leading = asyncio.Event()
        self._spans = spans
        self._cluster = cluster
        self.stuck = []
        self.start()

    def start(self):
        self.task = asyncio.create_task(
            lead(
                self.api,
                self._cluster.namespace,
                "operator",
                self.name,
                self._work,
                times=TIMES,
                stuck=lambda: self.stuck.append(self.name),
            )
        )

    async def _work(self):
        span = [time.monotonic(), None, self.name]
        self._spans.append(span)
        self.leading.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)
            span[1] = time.monotonic()
            self.leading.clear()

    async def stop(self):
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


@pytest.fixture
async def pair(cluster):
    """A leader and one that stands by, each with a line of its own; never two at once."""
    spans = []
    async with AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(cluster.line()) for _ in range(3)]
        reader = lines[2][0]
        await reader.create(LEASES.path(cluster.namespace), GIVEN_BACK)
        runners = []
        for name, (api, proxy) in zip(("first", "second"), lines, strict=False):
            runners.append(Runner(cluster, name, api, proxy, spans))
            await asyncio.wait_for(runners[0].leading.wait(), 10)
        path = LEASES.path(cluster.namespace, "operator")

        async def spec():
            return (await reader.get(path))["spec"]

        async def change(patch):
            return await reader.merge(path, patch)

        runners[0].spec, runners[0].change, runners[0].delete = spec, change, lambda: reader.delete(path)
        yield runners
        for runner in runners:
            await runner.stop()
            assert not runner.stuck
    for before, after in itertools.pairwise(sorted(spans)):
        assert before[1] <= after[0], f"two lead: {before} and {after}"


async def follows(runner, limit_s):
    started = time.monotonic()
    await asyncio.wait_for(runner.leading.wait(), 10)
    assert time.monotonic() - started < limit_s


async def test_who_stops_properly_is_followed_at_once(pair):
    first, second = pair
    before = await first.spec()
    assert before["holderIdentity"] == "first"
    await first.stop()
    await follows(second, 1)
    after = await first.spec()
    assert after["holderIdentity"] == "second"
    assert after["leaseTransitions"] == before["leaseTransitions"] + 1
    assert after["acquireTime"] > before["renewTime"]


@pytest.mark.parametrize("fault", ["silent", "cut", "refused"])
async def test_a_leader_that_is_cut_off_stops_and_another_leads(pair, fault):
    first, second = pair
    if fault == "silent":  # connections stay open, and nothing comes through any more
        first.proxy.default.mute = True
        first.proxy.pause()
    elif fault == "cut":
        first.proxy.default.refuse = True
        first.proxy.cut_all()
    else:
        first.proxy.refuse()
    await follows(second, 5)
    assert not first.leading.is_set()


async def test_slow_connections_and_cuts_now_and_then_do_not_end_it(pair):
    first, second = pair
    first.proxy.default.delay_s = 0.01  # of each piece; a new connection with TLS has about eight
    for _ in range(4):
        await asyncio.sleep(0.6)
        first.proxy.cut_all()
    assert first.leading.is_set()
    assert not second.leading.is_set()


async def test_hands_at_the_lease(pair):
    first, second = pair
    await first.delete()
    await asyncio.sleep(1)
    assert (await first.spec())["holderIdentity"] == "first"
    await first.change({"metadata": {"labels": {"a": "b"}}})
    await asyncio.sleep(0.5)
    await first.change({"spec": {"holderIdentity": None, "renewTime": None, "leaseDurationSeconds": None}})
    await asyncio.sleep(0.5)
    await first.change({"spec": None})
    await asyncio.sleep(0.5)
    assert first.leading.is_set()
    assert (await first.spec())["holderIdentity"] == "first"
    await first.change({"spec": {"holderIdentity": "somebody"}})
    await asyncio.sleep(0.6)
    assert not first.leading.is_set()
    assert not second.leading.is_set()
    leads = [asyncio.create_task(runner.leading.wait()) for runner in pair]
    done, others = await asyncio.wait(leads, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1
    for task in others:
        task.cancel()
