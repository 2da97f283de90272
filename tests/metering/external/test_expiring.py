"""Answers that hold for a while."""

import asyncio

import pytest

from grove_dp.metering.external.expiring import Expiring


class Oracle:
    """Counts how often it was asked; answers when let."""

    def __init__(self):
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails = False

    async def __call__(self):
        self.asked += 1
        number = self.asked
        await self.gate.wait()
        if self.fails:
            raise LookupError(number)
        return number


async def test_an_answer_holds_until_its_time(clock):
    kept, ask = Expiring(clock, ttl_s=10, entries_max=4), Oracle()
    assert [await kept.get("a", ask), await kept.get("a", ask)] == [1, 1]
    await clock.advance(9.9)
    assert kept.known("a") == 1
    await clock.advance(0.1)
    assert await kept.get("a", ask) == 2


async def test_what_is_still_wanted_late_is_asked_again_before_it_ends(clock):
    kept, ask = Expiring(clock, ttl_s=10, entries_max=4), Oracle()
    await kept.get("a", ask)
    await clock.advance(4.9)
    assert await kept.get("a", ask) == 1
    await asyncio.sleep(0)
    assert ask.asked == 1  # it is not time yet
    await clock.advance(0.2)
    ask.gate.clear()
    assert [await kept.get("a", ask) for _ in range(5)] == [1] * 5  # nobody waits
    await asyncio.sleep(0)
    assert ask.asked == 2
    ask.gate.set()
    for _ in range(3):
        await asyncio.sleep(0)
    await clock.advance(9.9)
    assert kept.known("a") == 2  # and holds from then on


async def test_asking_ahead_that_fails_changes_nothing_until_the_end(clock):
    kept, ask = Expiring(clock, ttl_s=10, entries_max=4), Oracle()
    await kept.get("a", ask)
    ask.fails = True
    await clock.advance(6)
    assert await kept.get("a", ask) == 1
    await asyncio.sleep(0)
    assert await kept.get("a", ask) == 1
    await clock.advance(4)
    with pytest.raises(LookupError):
        await kept.get("a", ask)


async def test_who_comes_at_the_end_waits_for_what_was_asked_ahead(clock):
    kept, ask = Expiring(clock, ttl_s=10, entries_max=4), Oracle()
    await kept.get("a", ask)
    await clock.advance(6)
    ask.gate.clear()
    await kept.get("a", ask)
    await clock.advance(4)
    late = asyncio.create_task(kept.get("a", ask))
    await asyncio.sleep(0)
    ask.gate.set()
    assert (await late, ask.asked) == (2, 2)


async def test_closing_ends_what_is_asked_ahead(clock):
    kept, ask = Expiring(clock, ttl_s=10, entries_max=4), Oracle()
    await kept.get("a", ask)
    await clock.advance(6)
    ask.gate.clear()
    await kept.get("a", ask)
    await asyncio.sleep(0)
    await kept.close()
    assert (ask.asked, kept.known("a")) == (2, 1)


async def test_all_who_want_the_same_ask_once(clock):
    kept, ask = Expiring(clock, ttl_s=10, entries_max=4), Oracle()
    ask.gate.clear()
    waiting = [asyncio.create_task(kept.get("a", ask)) for _ in range(5)]
    await asyncio.sleep(0)
    ask.gate.set()
    assert await asyncio.gather(*waiting) == [1] * 5


async def test_a_failure_is_not_kept_and_reaches_all_who_waited(clock):
    kept, ask = Expiring(clock, ttl_s=10, entries_max=4), Oracle()
    ask.fails = True
    ask.gate.clear()
    waiting = [asyncio.create_task(kept.get("a", ask)) for _ in range(3)]
    await asyncio.sleep(0)
    ask.gate.set()
    assert [type(each) for each in await asyncio.gather(*waiting, return_exceptions=True)] == [
        LookupError
    ] * 3
    ask.fails = False
    assert await kept.get("a", ask) == 2


async def test_when_who_asked_is_cancelled_the_next_asks(clock):
    kept, ask = Expiring(clock, ttl_s=10, entries_max=4), Oracle()
    ask.gate.clear()
    first = asyncio.create_task(kept.get("a", ask))
    await asyncio.sleep(0)
    second = asyncio.create_task(kept.get("a", ask))
    await asyncio.sleep(0)
    first.cancel()
    ask.gate.set()
    assert await second == 2
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_who_waits_may_be_cancelled_alone(clock):
    kept, ask = Expiring(clock, ttl_s=10, entries_max=4), Oracle()
    ask.gate.clear()
    first = asyncio.create_task(kept.get("a", ask))
    await asyncio.sleep(0)
    second = asyncio.create_task(kept.get("a", ask))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    ask.gate.set()
    assert await first == 1


async def test_at_the_bound_what_was_not_wanted_longest_goes(clock):
    kept, ask = Expiring(clock, ttl_s=10, entries_max=2), Oracle()
    for key in ("a", "b", "a", "c"):
        await kept.get(key, ask)
    assert len(kept) == 2
    assert (kept.known("a"), kept.known("b"), kept.known("c")) == (1, None, 3)
