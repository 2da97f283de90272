"""A cluster autoscaler sees pods that are unschedulable, and none that are gated."""

import asyncio
from contextlib import asynccontextmanager, suppress

import msgspec
from grove_operator.settings import Gang

from tests.operator.scenarios.harness import scenario
from tests.operator.scenarios.preempting import priority
from tests.operator.scenarios.test_gang_preemption import full_of_plain_pods, gang, plain
from tests.operator.scenarios.world import condition

LIMIT_S = 60


async def starts(scene):
    scene.settings = msgspec.structs.replace(scene.settings, gang=Gang(provision=True, provision_s=LIMIT_S))
    scene.half_bound_limit_s = LIMIT_S + 5
    await scene.start_operator()


@asynccontextmanager
async def autoscaled(scene, most):
    """Nodes come one by one, 5 s each, while a pod is unschedulable."""

    async def add():
        while len(scene.all_nodes) < most:
            await scene.clock.sleep(5)
            held = [condition(pod, "PodScheduled") for pod in (await scene.world()).pods]
            if ("False", "Unschedulable") in held:
                await scene.nodes(1)

    task = asyncio.create_task(add())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@scenario(operator=False)
async def test_nodes_come_for_a_gang_that_has_no_room(scene):
    await starts(scene)
    await scene.nodes(1)
    async with autoscaled(scene, 8):
        await scene.apply("workload1", gang("one", 4))
        await scene.until(lambda world: len(world.running("one")) == 4)
        assert len(scene.all_nodes) == 4
        await scene.apply("workload1", gang("two", 3))
        await scene.reaches("two", running=3)
        assert len(scene.all_nodes) == 7


@scenario(operator=False)
async def test_where_no_nodes_come_what_was_bound_is_taken_back(scene):
    await starts(scene)
    await scene.nodes(2)
    await scene.apply("workload1", gang("one", 4))
    await scene.until(lambda world: len(world.bound("one")) == 2, what="it is let go")
    await scene.until(lambda world: not world.bound("one"), LIMIT_S + 10, "it is taken back")
    await scene.always(lambda world: not world.bound("one"), LIMIT_S, "others have their turn")
    await scene.apply("workload1", gang("two", 2))
    await scene.reaches("two", running=2)
    await scene.nodes(4)
    await scene.until(lambda world: len(world.running("one")) == 4, 400)


@scenario(operator=False)
async def test_nobody_is_displaced_for_a_part_of_a_gang(scene):
    await starts(scene)
    await full_of_plain_pods(scene, 2)
    await scene.apply("workload1", gang("one", 4), priority(1000))
    await scene.stays("one", running=0, pending=4)
    assert len(plain(await scene.world())) == 2
    assert not scene.diary.times("released", "one")
