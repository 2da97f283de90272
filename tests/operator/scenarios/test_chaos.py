"""Everything at once, at random: when it ends, the world is whole.

    GROVE_DP_CHAOS=200x10       so many seeds, so many virtual minutes each; 5x2 without
    GROVE_DP_CHAOS_REAL_S=200   so long on the real control plane; 15 without

A failure names its seed; the same seed plays the same scene: `-k 'chaos and 17'`.
"""

import os
from contextlib import suppress
from random import Random

import pytest
from grove_operator.api import CLIQUES, GANGS, GROUPS, SERVICES

from grove_dp.errors import GroveError
from grove_dp.testing.kubelet import Course
from tests.operator.scenarios.harness import image, scenario
from tests.operator.scenarios.world import name, ours

SEEDS, MINUTES = (int(part) for part in os.environ.get("GROVE_DP_CHAOS", "5x2").split("x"))
SETTLE_S = 900.0
REAL_S = float(os.environ.get("GROVE_DP_CHAOS_REAL_S", "15"))


class Chaos:
    """What may happen, and what of it must be undone."""

    def __init__(self, scene, chance):
        self.scene, self.chance = scene, chance
        self.lost = []
        self.version = 1

    def happenings(self):
        """What may happen, and how often; calls and watches of the real API server fail on the line."""
        common = (
            (self.edit, 4),
            (self.scale_set, 2),
            (self.scale_group, 4),
            (self.scale_clique, 3),
            (self.kill_pod, 8),
            (self.fail_pod, 4),
            (self.unready, 3),
            (self.cordon, 4),
            (self.uncordon, 4),
            (self.lose_node, 1),
            (self.find_node, 2),
            (self.kill_operator, 2),
            (self.by_hand, 2),
        )
        return common if self.scene.cluster.real else (*common, (self.calls_fail, 4), (self.watches_end, 2))

    async def one(self):
        """Something."""
        happenings = self.happenings()
        happening = self.chance.choices([one for one, _ in happenings], [weight for _, weight in happenings])
        with suppress(GroveError):  # what was to be hit has gone
            await happening[0]()

    async def sets(self):
        return [name(one) for one in (await self.scene.world()).kinds["podcliquesets"]]

    async def pod(self):
        pods = (await self.scene.world()).running()
        return self.chance.choice(sorted(pods, key=name)) if pods else None

    async def edit(self):
        self.version += 1
        cliques = self.chance.sample(("pc-a", "pc-b", "pc-c"), self.chance.randint(1, 3))
        change = image(f"registry.test/worker:{self.version}", *cliques)
        await self.scene.edit(self.chance.choice(await self.sets()), change)

    async def scale_set(self):
        await self.scene.scale_set(self.chance.choice(await self.sets()), self.chance.choice((1, 1, 2)))

    async def scale_group(self):
        await self.some_scale(GROUPS, (0, 1, 2, 3))

    async def scale_clique(self):
        await self.some_scale(CLIQUES, (0, 1, 2, 3))

    async def some_scale(self, kind, counts):
        there = (await self.scene.world()).names(kind)
        if there:
            await self.scene.scale(kind, self.chance.choice(there), self.chance.choice(counts))

    async def kill_pod(self):
        if pod := await self.pod():
            await self.scene.kill_pod(pod)

    async def fail_pod(self):
        if pod := await self.pod():
            await self.scene.fail_pod(pod)

    async def unready(self):
        if pod := await self.pod():
            await self.scene.set_ready(pod, False)

    async def cordon(self):
        if free := [one for one in self.scene.open_nodes if one not in self.lost]:
            await self.scene.cordon(self.chance.choice(free))

    async def uncordon(self):
        if self.scene.cordoned:
            await self.scene.uncordon(self.chance.choice(self.scene.cordoned))

    async def lose_node(self):
        node = self.chance.choice(self.scene.all_nodes)
        if node not in self.lost:
            self.lost.append(node)
            await self.scene.lose_node(node)

    async def find_node(self):
        if self.lost:
            await self.scene.find_node(self.lost.pop())

    async def kill_operator(self):
        await self.scene.kill_operator()
        await self.scene.clock.sleep(self.chance.expovariate(1 / 3))
        await self.scene.start_operator()
        self.disturb()

    def disturb(self):
        """From now on some calls of the operator are lost, and some answers."""
        if self.scene.cluster.real:
            self.scene.lines[-1][0].trouble = self.chance

    async def calls_fail(self):
        faults = self.scene.cluster.faults
        path = self.chance.choice(
            ("*/pods", "*/pods/*", "*/podcliques*", "*/podgangs*", "*/services*", "*/status")
        )
        times = self.chance.randint(1, 6)
        match self.chance.randrange(4):
            case 0:
                faults.refuse("*", path, times=times, code=self.chance.choice((409, 500, 503)))
            case 1:
                faults.lose_answer("*", path, times=times)
            case 2:
                faults.lose_call("*", path, times=times)
            case 3:
                faults.delay("*", path, self.chance.uniform(0.1, 3), times=times)

    async def watches_end(self):
        faults = self.scene.cluster.faults
        match self.chance.randrange(3):
            case 0:
                faults.cut_watches()
            case 1:
                faults.end_watches()
            case 2:
                faults.forget()
                faults.cut_watches()

    async def by_hand(self):
        kind = self.chance.choice((SERVICES, GANGS, CLIQUES))
        there = [one for one in (await self.scene.world()).of(kind) if ours(one)]
        if there:
            await self.scene.api.delete(kind.path(self.scene.namespace, name(self.chance.choice(there))))

    async def over(self):
        """No more trouble; what was lost comes back, and there is room for all."""
        if self.scene.cluster.real:
            self.scene.lines[-1][0].trouble = None
        else:
            self.scene.cluster.faults.clear()
        await self.scene.nodes(50)
        while self.lost:
            await self.scene.find_node(self.lost.pop())
        await self.scene.uncordon()
        for pod in (await self.scene.world()).bound():
            with suppress(GroveError):
                await self.scene.set_ready(pod, True)


@scenario
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_chaos(scene, seed):
    chance = Random(seed)
    scene.courses[""] = Course(ready_s=0.5, ends_s=0.2)
    await scene.nodes(40)
    for workload in chance.sample(("workload1-gt", "workload2-gt", "workload4"), 2):
        await scene.apply(workload)
    chaos = Chaos(scene, chance)
    end = scene.clock.now() + 60 * MINUTES
    while scene.clock.now() < end:
        await scene.clock.sleep(chance.expovariate(1.0))
        await chaos.one()
    await chaos.over()
    await scene.until(lambda world: not world.pending() and whole(world), SETTLE_S, "all pods run again")


@scenario(real="only")
@pytest.mark.timeout(900)
async def test_chaos_in_real_time(scene):
    chance = Random(4)
    await scene.nodes(24)
    for workload in ("workload1-gt", "workload4"):
        await scene.apply(workload)
    chaos = Chaos(scene, chance)
    chaos.disturb()
    end = scene.clock.now() + REAL_S
    while scene.clock.now() < end:
        await scene.clock.sleep(chance.expovariate(2.0))
        await chaos.one()
    await chaos.over()
    await scene.until(lambda world: not world.pending() and whole(world), 180.0, "all pods run again")


def whole(world):
    """All that is there runs."""
    return len(world.running()) == len(world.crew()) and bool(world.of(CLIQUES))
