"""The small pure rules of the control side."""

import json

import numpy as np
import pytest

from grove_dp.errors import ConfigurationError
from grove_dp.frontend.accesslog import line
from grove_dp.frontend.app import live_settings
from grove_dp.frontend.guard import Forbidden, Unauthorized, check_change, read_token
from grove_dp.frontend.lag import Burn, burn, parse_burn, watch_lag
from grove_dp.frontend.plane import table_settings
from grove_dp.frontend.readiness import State, conditions
from grove_dp.metering.records import DTYPE
from grove_dp.native.plane import ENDPOINTS, REASONS, SETTINGS_KEYS
from grove_dp.routing.workers import Table
from grove_dp.settings import Admin, Http, Limits, Retry, Settings


def test_the_table_carries_every_setting_that_the_plane_wants():
    assert set(table_settings(Settings())) == SETTINGS_KEYS


def test_a_reload_keeps_what_needs_a_restart():
    before = Settings(http=Http(port=8000), limits=Limits(headers=100, body_bytes=2048))
    read = Settings(http=Http(port=9000), limits=Limits(headers=99, body_bytes=4096), retry=Retry(attempts=2))
    after = live_settings(before, read)
    assert after.http.port == 8000
    assert (after.limits.headers, after.limits.body_bytes) == (100, 4096)
    assert after.retry.attempts == 2


# ---------------------------------------------------------------- readiness

READY = State(listening=True, draining=False, config_error="", table=Table([], [], b"", ready=1))


@pytest.mark.parametrize(
    ("changed", "failing"),
    [
        ({}, []),
        ({"listening": False}, ["listening"]),
        ({"draining": True}, ["draining"]),
        ({"table": None}, ["workers"]),
        ({"table": Table([], [], b"", ready=0)}, ["workers"]),
        ({"table": Table([], [], b"", ready=0, awaited=1)}, []),  # its requests wait for a worker
        ({"config_error": "grove.yaml:3: http: no such section"}, []),
    ],
)
def test_ready_means_send_clients_here(changed, failing):
    found = conditions(READY._replace(**changed))
    assert [condition.name for condition in found] == ["config", "listening", "workers", "draining"]
    assert [condition.name for condition in found if not condition.ok] == failing


# ---------------------------------------------------------------- changing calls


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_loopback_no_token_is_needed(host):
    check_change(Admin(host=host), {})


def test_beyond_loopback_nothing_changes_without_a_token_file():
    with pytest.raises(Forbidden, match=r"set admin\.token_file"):
        check_change(Admin(host="0.0.0.0"), {})


def test_where_a_token_is_set_it_is_needed_and_may_be_rotated(write):
    path = write("token", "open-sesame\n")
    admin = Admin(host="127.0.0.1", token_file=str(path))
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "open-sesame"}):
        with pytest.raises(Unauthorized):
            check_change(admin, headers)
    check_change(admin, {"Authorization": "Bearer open-sesame"})
    path.write_text("other")
    check_change(admin, {"Authorization": "Bearer other"})


def test_a_page_of_another_site_may_change_nothing():
    with pytest.raises(Forbidden, match=r"http://evil\.example"):
        check_change(Admin(), {"Origin": "http://evil.example", "Host": "127.0.0.1:9090"})
    check_change(Admin(), {"Origin": "http://127.0.0.1:9090", "Host": "127.0.0.1:9090"})


def test_an_empty_or_missing_token_file_is_told(write, tmp_path):
    with pytest.raises(ConfigurationError, match="is empty"):
        read_token(write("token", " \n"))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_token(tmp_path / "none")


# ---------------------------------------------------------------- the access log


def record(**changed):
    told = np.zeros(1, DTYPE)[0]
    facts = {
        "id": b"r1",
        "endpoint": ENDPOINTS.index("chat"),
        "model": b"llama",
        "status": 200,
        "reason": REASONS.index("OK"),
        "slot": 3,
        "stream": True,
        "events": 7,
        "arrival_ns": 1_000_000_000,
        "first_ns": 1_012_340_000,
        "end_ns": 1_100_000_000,
        "prompt_tokens": 5,
        "cached_tokens": -1,
        "output_tokens": 7,
    }
    for name, value in (facts | changed).items():
        told[name] = value
    return told


def test_a_line_tells_what_happened_and_leaves_out_what_did_not():
    told = line(record(), {3: "gpu:8000"})
    assert (told["worker"], told["endpoint"], told["reason"]) == ("gpu:8000", "chat", "OK")
    json.dumps(told)
    assert (told["first_ms"], told["total_ms"]) == (12.3, 100.0)
    assert (told["prompt_tokens"], told["output_tokens"]) == (5, 7)
    assert "cached_tokens" not in told
    refused = line(record(first_ns=0, slot=2**32 - 1, model=b""), {3: "gpu:8000"})
    assert not {"worker", "first_ms", "model"} & refused.keys()


# ---------------------------------------------------------------- the control loop


def test_a_burn_is_busy_and_period_in_ms():
    assert parse_burn("") is None
    assert parse_burn("20/100") == Burn(0.02, 0.1)
    for wrong in ("20", "100/20", "0/100", "a/b"):
        with pytest.raises(ConfigurationError, match="GROVE_DP_BURN"):
            parse_burn(wrong)


class Enough(Exception):
    """Ends a loop that would run for ever."""


class LateClock:
    """Every sleep ends *late* seconds after its time; reading it takes a millisecond."""

    def __init__(self, late, sleeps):
        self.time, self.late, self.sleeps = 0.0, late, sleeps

    def now(self):
        self.time += 0.001
        return self.time

    def wall(self):
        return self.time

    async def sleep(self, seconds):
        if not self.sleeps:
            raise Enough
        self.sleeps -= 1
        self.time += seconds + self.late


async def test_lag_is_how_much_later_than_asked_a_sleep_ended():
    seen = []
    with pytest.raises(Enough):
        await watch_lag(seen.append, LateClock(late=0.2, sleeps=2))
    assert seen == pytest.approx([0.201, 0.201])


async def test_a_burn_holds_the_loop_for_its_share():
    clock = LateClock(late=0.0, sleeps=10)
    with pytest.raises(Enough):
        await burn(Burn(0.02, 0.1), clock)
    assert clock.time == pytest.approx(1.0, abs=0.05)
