"""The order of an end, on virtual time, before a plane whose requests end when the test says so."""

import asyncio
import signal

from grove_dp.frontend.shutdown import Stop, shut_down
from grove_dp.settings import Drain


class Requests:
    """What shut_down sees of the data plane; `story` is what it did and when."""

    def __init__(self, clock, in_flight=0):
        self.native = self
        self.story = []
        self.left = in_flight
        self.cuttable = True
        self._clock = clock
        self._start = clock.now()

    def in_flight(self):
        return self.left

    def _tell(self, what):
        self.story.append((what, round(self._clock.now() - self._start, 2)))

    def close_listeners(self):
        self._tell("close_listeners")

    def cut(self):
        self._tell("cut")
        if self.cuttable:
            self.left = 0


def ending(requests, clock, by=signal.SIGTERM, **drain):
    stop = Stop()
    stop.ask(by)
    return stop, asyncio.create_task(shut_down(requests, Drain(**drain), stop, clock))


async def test_sigint_skips_the_delay_and_an_idle_frontend_ends_within_half_a_second(clock):
    requests = Requests(clock)
    stop, task = ending(requests, clock, signal.SIGINT, delay_s=5, grace_s=60)
    await clock.advance(0.5)
    assert task.done()
    assert requests.story == [("close_listeners", 0)]
    assert stop.exit_code == 130


async def test_what_is_in_flight_may_end_and_is_not_cut(clock):
    requests = Requests(clock, in_flight=2)
    stop, task = ending(requests, clock, delay_s=0, grace_s=60)
    await clock.advance(59)
    assert not task.done()
    requests.left = 0
    await clock.advance(0.2)
    assert task.done()
    assert requests.story == [("close_listeners", 0)]
    assert stop.exit_code == 0


async def test_what_does_not_end_within_the_grace_is_cut(clock):
    requests = Requests(clock, in_flight=2)
    _, task = ending(requests, clock, delay_s=0, grace_s=10)
    await clock.advance(11)
    assert task.done()
    assert [what for what, _ in requests.story] == ["close_listeners", "cut"]
    assert 10 <= requests.story[1][1] <= 10.1


async def test_a_cut_that_is_not_heeded_is_waited_for_two_seconds(clock):
    requests = Requests(clock, in_flight=1)
    requests.cuttable = False
    _, task = ending(requests, clock, delay_s=0, grace_s=1)
    await clock.advance(2.5)
    assert not task.done()
    await clock.advance(1)
    assert task.done()


async def test_a_second_signal_cuts_at_once(clock):
    requests = Requests(clock, in_flight=1)
    stop, task = ending(requests, clock, delay_s=0, grace_s=60)
    await clock.advance(3)
    stop.ask(signal.SIGTERM)
    await clock.advance(0.2)
    assert task.done()
    assert requests.story[1][0] == "cut"
    assert requests.story[1][1] <= 3.1


async def test_a_second_signal_ends_the_delay_too(clock):
    requests = Requests(clock, in_flight=1)
    stop, task = ending(requests, clock, delay_s=30, grace_s=60)
    await clock.advance(0)
    assert requests.story == [], "until the delay is over, serving goes on"
    stop.ask(signal.SIGTERM)
    await clock.advance(1)
    assert task.done()
    assert [what for what, _ in requests.story] == ["close_listeners", "cut"]
