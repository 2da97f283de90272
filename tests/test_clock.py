"""Tests of grove_dp/clock.py."""

import asyncio

import pytest

from grove_dp.clock import SystemClock


async def test_sleepers_wake_in_order_of_their_time_and_see_it(clock):
    began, woke = clock.now(), []

    async def sleeper(name, *naps):
        for nap in naps:
            await clock.sleep(nap)
            woke.append((name, clock.now() - began))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sleeper("slow", 3))
        tasks.create_task(sleeper("twice", 1, 1))
        await clock.advance(2.5)
        assert woke == [("twice", 1), ("twice", 2)]
        await clock.advance(0.5)
    assert woke[-1] == ("slow", 3)


async def test_a_cancelled_sleeper_does_not_stop_the_clock(clock):
    task = asyncio.create_task(clock.sleep(1))
    await clock.advance(0)
    task.cancel()
    await clock.advance(2)
    assert task.cancelled()


async def test_time_cannot_go_back(clock):
    with pytest.raises(ValueError, match="cannot go back"):
        await clock.advance(-1)


async def test_wall_time_moves_with_the_clock(clock):
    before = clock.wall()
    await clock.advance(60)
    assert clock.wall() == before + 60


async def test_the_machines_clock_never_goes_back():
    clock = SystemClock()
    before = clock.now()
    await clock.sleep(0)
    assert clock.now() >= before
    assert clock.wall() > 1_700_000_000
