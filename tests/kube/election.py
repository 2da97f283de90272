"""An election to watch: candidates, each with a line of its own to one API server, and what they do when."""

import asyncio
import itertools
from random import Random

from grove_dp.clock import ManualClock
from grove_dp.kube.access import Access
from grove_dp.kube.candidate import Candidate, LeaseTimes
from grove_dp.kube.lease import WorkStuck, lead_as
from grove_dp.kube.objects import LEASES
from grove_dp.testing.kubeapi import InProcess, Server

TIMES = LeaseTimes()
GIVEN_BACK = {
    "metadata": {"name": "operator"},
    "spec": {"holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": 3},
}
LEASE = LEASES.path("default", "operator")


class Virtual(ManualClock):
    """Time goes on only when nothing can run any more, however long a chain of tasks is."""

    async def _settle(self):
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)
        while loop._ready:  # noqa: ASYNC110 - until nothing is left, not until something comes
            await asyncio.sleep(0)


class Skewed:
    """A machine's own clocks: *rate* times as fast, the wall wherever it was set."""

    def __init__(self, clock, rate=1.0):
        self._clock = clock
        self._rate = rate
        self.wall_offset = 0.0

    def now(self):
        return self._clock.now() * self._rate

    def wall(self):
        return self._clock.wall() + self.wall_offset

    async def sleep(self, seconds):
        await self._clock.sleep(seconds / self._rate)


class Line:
    """A Transport with a way there and a way back. What is on the way arrives, though nobody waits for it."""

    host = "line"
    namespace = "default"

    def __init__(self, transport, clock, rng):
        self._transport = transport
        self._clock = clock
        self._rng = rng
        self._calls = set()
        self.there_s = self.back_s = (0.0, 0.0)
        self.lost_there = self.lost_back = 0.0  # shares of calls
        self.refused = False
        self.cut = False  # nothing comes through, and nobody says so
        self.every_lost = 0  # the answer to each so many-th call never comes
        self.count = 0

    async def exchange(self, method, target, headers, body):
        self.count += 1
        if self.refused:
            raise ConnectionRefusedError("nobody listens")
        unlucky = self.every_lost and self.count % self.every_lost == 0
        call = asyncio.ensure_future(self._carry(method, target, headers, body, unlucky))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return await asyncio.shield(call)

    async def _carry(self, method, target, headers, body, unlucky):
        chance = self._rng.random
        await self._clock.sleep(self._rng.uniform(*self.there_s))
        if self.cut or chance() < self.lost_there:
            await self._clock.sleep(1e9)
        answer = await self._transport.exchange(method, target, headers, body)
        await self._clock.sleep(self._rng.uniform(*self.back_s))
        if self.cut or unlucky or chance() < self.lost_back:
            await self._clock.sleep(1e9)
        return answer

    def stream(self, target, headers):
        return self._transport.stream(target, headers)

    async def close(self):
        calls = set(self._calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


class Machine:
    """One process that would lead, and when it did."""

    def __init__(self, place, name, transport, clock, seed, times):
        self.place = place
        self.name = name
        self.times = times
        self.rng = Random(seed)
        self.line = Line(transport, place.clock, Random(seed + 1))
        self.clock = clock
        self.wind_down_s = 0.0
        self.killed = False
        self.stuck = []
        self.spans = []  # [from, to] of the work; to is None while it works
        self.task = None
        self.candidate = None

    def start(self, identity=None):
        self.killed = False
        self.candidate = Candidate(
            Access(self.line), "default", "operator", identity or self.name,
            times=self.times, clock=self.clock, rng=self.rng,
        )  # fmt: skip
        stuck = self.stuck
        self.task = asyncio.create_task(
            lead_as(self.candidate, self.work, stuck=lambda: stuck.append(self.place.now()))
        )

    async def work(self):
        span = [self.place.now(), None]
        self.spans.append(span)
        try:
            await self.clock.sleep(1e9)
        finally:
            if not self.killed and self.wind_down_s:
                await self.clock.sleep(self.wind_down_s)
            span[1] = self.place.now()

    def mend(self):
        """Its line is as good as new."""
        self.line.cut = self.line.refused = False
        self.line.there_s = self.line.back_s = (0.0, 0.0)
        self.line.lost_there = self.line.lost_back = 0.0

    @property
    def working(self):
        return bool(self.spans) and self.spans[-1][1] is None

    def kill(self):
        """kill -9: from here on it does nothing, and sends nothing."""
        self.killed = True
        self.line.refused = True
        if self.task is not None:
            self.task.cancel()
        if self.working:
            self.spans[-1][1] = self.place.now()

    async def stop(self):
        """As by SIGTERM."""
        self.task.cancel()
        try:
            await self.task
        except (asyncio.CancelledError, WorkStuck):
            return


class Place:
    """The API server, its Lease, and the machines."""

    def __init__(self, start=1_000.0):
        self.clock = Virtual(start)
        self._start = start
        self.server = Server(self.clock)
        self.api = Access(InProcess(self.server))
        self.machines = []
        self._seeds = itertools.count(1)

    def now(self):
        return self.clock.now() - self._start

    def machine(self, name, rate=1.0, times=TIMES, seed=None):
        seed = next(self._seeds) * 100 if seed is None else seed
        made = Machine(self, name, InProcess(self.server), Skewed(self.clock, rate), seed, times)
        self.machines.append(made)
        return made

    async def pass_(self, seconds):
        await self.clock.advance(seconds)

    async def lease(self):
        return (await self.api.get(LEASE))["spec"]

    async def make_lease(self, document=GIVEN_BACK):
        await self.api.create(LEASES.path("default"), document)

    async def end(self):
        for machine in self.machines:
            machine.kill()
        tasks = [machine.task for machine in self.machines if machine.task is not None]
        ended = asyncio.gather(*tasks, return_exceptions=True)
        while not ended.done():
            await self.pass_(1)
        for machine in self.machines:
            await machine.line.close()

    def leaders(self):
        return [machine.name for machine in self.machines if machine.working]

    def spans(self):
        """All times of work in their order: (from, to, who)."""
        return sorted(
            (begun, self.now() if ended is None else ended, machine.name)
            for machine in self.machines
            for begun, ended in machine.spans
        )

    def assert_never_two(self):
        spans = self.spans()
        for before, after in itertools.pairwise(spans):
            assert before[1] <= after[0] + 1e-9, f"two lead: {before} and {after}"
