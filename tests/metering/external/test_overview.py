"""Whom the adapter asks: names and their addresses, and what it publishes when one is missing."""

import pytest

from grove_dp.clock import ManualClock
from grove_dp.errors import ConfigurationError
from grove_dp.metering.external.overview import Names, Overview, frontend_url
from grove_dp.metering.external.targets import KnownTargets
from grove_dp.metering.merging import Frontends
from tests.metering.test_merging import Fake, Net


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ("http://10.0.0.7:9090", ("10.0.0.7", 9090)),
        ("grove-dp.ml:9090", ("grove-dp.ml", 9090)),
        ("http://[::1]:9090/", ("::1", 9090)),
    ],
)
def test_a_frontend_is_named_by_url_or_by_host_and_port(named, found):
    assert frontend_url(named) == found


@pytest.mark.parametrize("named", ["", "http://a", "a:0", "a:99999", "https://a:1", "http://a:1/x", ":9090"])
def test_what_is_no_frontend_is_refused_with_what_to_write(named):
    with pytest.raises(ConfigurationError, match="write http://HOST:PORT"):
        frontend_url(named)


async def test_each_address_of_a_name_is_a_frontend_and_who_leaves_is_not_missed():
    names = {"fe": ["10.0.0.1", "10.0.0.2"]}
    fakes = {"10.0.0.1": Fake(), "10.0.0.2": Fake()}
    clock, told = ManualClock(), []

    async def lookup(host, port):
        if host not in names:
            raise OSError("no such name")
        return names[host]

    net = Net()
    net.fakes = fakes
    where = Names([("fe", 9090), ("gone", 9090)], lookup)
    overview = Overview(where, Frontends(net.fetch, clock), KnownTargets(clock), told.append, clock)

    async def step(seconds=1.0):
        for fake in fakes.values():
            fake.serve(1, seconds, work_s=0.5)
        await clock.advance(seconds)
        await overview.step()
        return told[-1]

    await step()
    assert "gone:9090: NameNotResolved" in (await step()).missing
    names["gone"] = []
    assert (await step(6.0)).complete
    fakes["10.0.0.2"].trouble = OSError("down")
    assert (await step()).missing == ("http://10.0.0.2:9090: OSError",)
    names["fe"] = ["10.0.0.1"]
    picture = await step(6.0)
    assert picture.complete
    values = {each.metric: each.value for each in picture.samples}
    assert values["grove_dp_prefill_work_seconds_per_second"] > 0
    del names["fe"]  # DNS is down: the last addresses stay
    assert (await step(6.0)).complete
