"""Many autoscalers, one look at their frontends."""

import asyncio

from grove_dp.metering.external.overview import Found
from grove_dp.metering.merging import Frontends
from grove_dp.scaling.lookout import Lookout
from tests.kube.election import Virtual

A = "http://a:9090"


class Asked:
    """Frontends of which none answers; that takes as long as *takes_s*."""

    def __init__(self, clock, takes_s=0.0):
        self.clock, self.takes_s, self.times = clock, takes_s, []

    async def __call__(self, url):
        self.times.append(self.clock.now())
        await self.clock.sleep(self.takes_s)
        raise OSError(url)


def lookout(clock, asked):
    async def where():
        return Found([A], ("b:9090: NameNotResolved",))

    return Lookout(where, Frontends(asked, clock, timeout_s=60.0), clock, fresh_s=1.0)


async def test_all_that_look_at_once_share_a_view_and_a_later_one_is_new():
    clock = Virtual()
    asked = Asked(clock)
    place = lookout(clock, asked)
    first, second = await asyncio.gather(place.look(), place.look())
    assert first is second
    assert first.missing == ("b:9090: NameNotResolved",)
    await clock.advance(0.5)
    assert await place.look() is first
    await clock.advance(0.5)
    assert await place.look() is not first
    assert len(asked.times) == 2


async def test_frontends_that_hang_are_not_asked_once_for_everybody_who_waits():
    clock = Virtual()
    asked = Asked(clock, takes_s=2.0)
    place = lookout(clock, asked)
    looks = []
    for _ in range(20):  # one every tenth of a second
        looks.append(asyncio.create_task(place.look()))
        await clock.advance(0.1)
    await clock.advance(5)
    assert all(look.done() for look in looks)
    assert len(asked.times) == 2  # for those within a second of the first, and for all after them


async def test_one_that_stops_looking_leaves_the_others_theirs():
    clock = Virtual()
    place = lookout(clock, Asked(clock, takes_s=2.0))
    first, second = (asyncio.create_task(place.look()) for _ in range(2))
    await clock.advance(0.5)
    first.cancel()
    await clock.advance(5)
    assert second.done()
    assert (await second).merged.missing == (f"{A}: OSError",)
