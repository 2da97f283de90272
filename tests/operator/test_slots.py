"""Who writes next."""

import asyncio

import pytest
from grove_operator.api import CLIQUES, GANGS
from grove_operator.slots import Slots, rank

from grove_dp.kube.objects import PODS

RELEASE, POD, CLIQUE, GANG = (
    rank(PODS, "patch"),
    rank(PODS, "create"),
    rank(CLIQUES, "create"),
    rank(GANGS, "create"),
)


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


async def asked(slots, ranks):
    """Tasks that want slots in this order, and whom they were given to so far."""
    served = []

    async def one(name, rank):
        async with slots.taken(rank):
            served.append(name)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(one(name, rank)) for name, rank in enumerate(ranks)]
    await settle()
    return tasks, served


def test_what_is_nearest_to_a_running_pod_has_the_smaller_rank():
    assert RELEASE < POD < CLIQUE < GANG
    assert rank(PODS, "delete") == POD
    assert rank(GANGS, "patch-status") == rank(CLIQUES, "patch-status") == CLIQUE


async def test_the_nearest_to_a_pod_is_next_and_within_a_rank_who_came_first():
    slots = Slots(1)
    await slots.take(GANG)
    tasks, served = await asked(slots, [GANG, CLIQUE, POD, RELEASE, GANG, POD])
    assert served == []
    slots.give()
    await asyncio.gather(*tasks)
    assert served == [3, 2, 5, 1, 0, 4]


async def test_no_more_than_the_slots_are_taken_and_all_come_back():
    slots = Slots(3)
    most = now = 0

    async def one(rank):
        nonlocal most, now
        async with slots.taken(rank):
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1

    await asyncio.gather(*(one(number % 4) for number in range(50)))
    assert most == 3
    for _ in range(3):
        await asyncio.wait_for(slots.take(0), 1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(slots.take(0), 0.01)


@pytest.mark.parametrize("given", [False, True])
async def test_a_slot_is_not_lost_with_who_waited_for_it(given):
    slots = Slots(1)
    await slots.take(0)
    (task,), served = await asked(slots, [0])
    if given:
        slots.give()  # it is the task's, which has not run since
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    if not given:
        slots.give()
    assert served == []
    await asyncio.wait_for(slots.take(0), 1)


async def test_an_error_gives_the_slot_back():
    slots = Slots(1)
    with pytest.raises(ValueError, match="refused"):
        async with slots.taken(0):
            raise ValueError("refused")
    await asyncio.wait_for(slots.take(0), 1)
