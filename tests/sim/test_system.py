"""The demo's whole system, played small: it grows, shrinks and rolls under load, and no request is lost."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from grove_dp.clock import SystemClock
from grove_dp.sim.cluster import ClusterPlan
from grove_dp.sim.conversations import Conversations
from grove_dp.sim.system import System, SystemPlan
from grove_dp.sim.system_plot import plot_system
from grove_dp.sim.system_view import line, screen
from grove_dp.sim.tide import Tide

SMALL = Tide(
    calm_s=2.0,
    busy_s=9.0,
    after_s=12.0,
    ramp_s=1.0,
    calm=Conversations(rate=1.0, answer_tokens=16),
    rush=Conversations(rate=8.0, answer_tokens=24, seed=1),
)
ANY_PORTS = ClusterPlan(nodes=1, port=0, admin_port=0, worker_port=0, tick_s=0.5)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.timeout(150)
async def test_replicas_follow_the_load_and_neither_scaling_nor_an_update_loses_a_request(tmp_path):
    said, pids = [], set()
    plan = SystemPlan(tide=SMALL, most=3, update_at_s=7.0, static=False)
    async with System(ANY_PORTS, plan, clock=SystemClock(), announce=said.append) as system:
        await system.run()
        pids.update(system.cluster.pids)
        assert f"{system.now.report.ok} ok" in line(system)
        screen(system)
        updated = await system.cluster.images()
    assert all(map(gone, pids))

    (run,) = system.runs
    assert (run.report.ok, run.failed) == (run.report.sent, 0), run.report.reasons
    assert run.report.sent > 40
    assert run.peak >= 2, said
    assert run.samples[-1].ready < run.peak, said
    assert run.update_s is not None
    assert updated == {"grove-dp:2"}
    assert any("1 -> " in event and "autoscaler" in event for event in said)
    assert 0 < run.gpu_s < 1.5 * run.peak * run.took_s

    assert "autoscaled" in system.summary()[3]
    plot_system(system, tmp_path / "system.svg")
    assert (tmp_path / "system.svg").read_text().endswith("</svg>\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_system_and_all_its_processes(number):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "grove_dp", "demo", "--part", "system", "--no-live",
        "--port", "0", "--admin-port", "0",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    while b"requests on http" not in (said := await process.stdout.readline()):
        assert said
    children = children_of(process.pid)
    assert len(children) == 2  # a frontend, a worker
    process.send_signal(number)
    await process.communicate()
    assert process.returncode == 130
    assert all(map(gone, children))


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_tide_rises_and_falls_and_what_rushes_in_is_of_other_people():
    asked = Tide().requests()
    assert asked == Tide().requests()
    assert [one.at_s for one in asked] == sorted(one.at_s for one in asked)
    phases = {"calm": 0, "rush": 0}
    for one in asked:
        phases[Tide().phase(one.at_s)] += 1
    assert phases["rush"] / Tide().busy_s > 5 * phases["calm"] / (Tide().calm_s + Tide().after_s)
    systems = set(range(Tide().rush.applications * Tide().rush.system_blocks))
    calm = {block for one in Tide().calm.requests(Tide().for_s) for block in one.hash_ids}
    rush = {block for one in asked for block in one.hash_ids} - calm - systems
    assert min(rush) >= 1 << 40
