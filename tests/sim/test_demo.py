"""The demo with real processes: they die when told, come back, never outlive it; kv finds more in caches."""

import asyncio
import io
import os
import signal
import socket
import sys
from pathlib import Path

import pytest
from rich.console import Console

from grove_dp.clock import SystemClock
from grove_dp.sim.client import Endpoint, LoadClient, Unreachable
from grove_dp.sim.conversations import Conversations
from grove_dp.sim.demo import Demo, DemoPlan
from grove_dp.sim.plot import plot_acts
from grove_dp.sim.processes import Child, ChildFailed, end_all, free_port
from grove_dp.sim.view import Rates, line, screen
from grove_dp.sim.world import Placements, World, WorldPlan

DIRECT = WorldPlan(workers=2, worker_speed=40.0, worker_port=0, direct=True)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_killed_worker_is_replaced_and_no_process_outlives_the_world():
    clock = SystemClock()
    async with World(DIRECT, clock=clock, announce=lambda _line: None) as world:
        first = world.workers[1].pid
        await world.kill_worker(1)
        assert gone(first)
        assert [state.state for state in await world.states()] == ["ready", "down"]
        await world.restart_worker(1)
        assert [state.state for state in await world.states()] == ["ready", "ready"]
        probe = LoadClient(Endpoint("127.0.0.1", world.worker_ports[1]), clock=clock)
        assert b"llama" in await probe.get("/v1/models")
        probe.close()
        pids = [child.pid for child in world.workers]
        assert first not in pids
    assert all(map(gone, pids))


async def test_the_story_ends_with_a_summary_and_a_line_to_paste():
    said = []
    plan = DemoPlan(2.0, compared=(), conversations=Conversations(rate=10.0))
    async with Demo(DIRECT, plan, clock=SystemClock(), announce=said.append) as demo:
        await demo.run()
        text = line(demo, Rates())
        screen(demo, Rates(), 120, 40)
        curl = demo.curl()
    sent = demo.act.report.sent
    assert sent > 10
    assert (demo.act.report.ok, demo.failed, demo.act.report.cut) == (sent, 0, 0)
    assert demo.summary()[0].endswith(f"{sent} answered, 0 failed")
    assert f"{sent} ok" in text
    assert "kill -9" in "".join(said)
    assert "answers again" in "".join(said)
    assert curl.startswith(f"curl -N {demo.world.url}/v1/chat/completions")


@pytest.mark.timeout(240)
async def test_kv_finds_more_in_caches_than_round_robin_and_the_frontend_hides_the_death_of_a_worker(
    tmp_path,
):
    worlds = WorldPlan(workers=3, worker_port=0, port=0, admin_port=0)
    plan = DemoPlan(6.0, conversations=Conversations(rate=12.0))
    said, pids = [], set()
    async with Demo(worlds, plan, clock=SystemClock(), announce=said.append) as demo:
        await demo.run()
        pids.update(child.pid for child in (*demo.world.workers, demo.world.frontend))
    assert all(map(gone, pids))

    round_robin, kv, death = demo.acts
    assert round_robin.report.sent == kv.report.sent > 50
    assert (round_robin.report.ok, kv.report.ok) == (kv.report.sent, kv.report.sent)
    assert kv.report.hit_rate > 1.3 * round_robin.report.hit_rate > 0, demo.summary()
    assert kv.placements.by_tokens + kv.placements.by_text == kv.report.sent
    assert kv.placements.judged > 0
    assert round_robin.placements == Placements()  # it looks at no prompt

    assert death.report.failed == 0, death.report.reasons
    assert death.report.ok + death.report.cut == death.report.sent > 50
    assert set(death.report.workers) == {demo.world.worker_id(place) for place in range(3)}

    told = demo.summary()
    assert [row.split()[0] for row in told[2:5]] == ["policy", "round_robin", "kv"]
    assert sum("starting 3 workers" in event for event in said) == 2
    for size in ((80, 24), (80, 12), (120, 40)):
        assert_fits(screen(demo, Rates(), *size), *size)
    plot_acts(demo.acts[:2], tmp_path / "demo.svg")
    assert (tmp_path / "demo.svg").read_text().endswith("</svg>\n")


def assert_fits(shown, width: int, height: int) -> None:
    console = Console(width=width, height=height, file=io.StringIO())
    console.print(shown)
    rows = console.file.getvalue().splitlines()
    assert len(rows) <= height
    assert " sent " in rows[2]
    assert ("events" in "".join(rows)) == (height >= 24)


async def test_a_world_that_cannot_start_says_why_and_leaves_nothing_behind():
    world = World(DIRECT, clock=SystemClock(), announce=lambda _line: None)
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", world.worker_ports[1]))
        squatter.listen()
        with pytest.raises(ChildFailed, match=r"worker 2 ended while starting(.|\n)*\| "):
            await world.__aenter__()
    assert not any(child.alive for child in world.workers)


async def test_a_deaf_child_is_killed_after_the_grace(tmp_path):
    os.mkfifo(tmp_path / "ready")
    code = (
        "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('I am deaf', flush=True); "
        "open(sys.argv[1], 'w').close(); signal.pause()"
    )
    child = Child("deaf", [sys.executable, "-c", code, str(tmp_path / "ready")], tmp_path / "log")
    await child.start()
    await asyncio.to_thread((tmp_path / "ready").read_text)  # returns once it has opened the other end
    await end_all([child], grace_s=0.05)
    assert await child.ended() == -signal.SIGKILL
    assert "deaf" in str(child.failure("died"))


def test_a_taken_port_is_replaced():
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        taken = squatter.getsockname()[1]
        assert free_port(taken) != taken


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_demo_and_all_its_processes(number):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "grove_dp", "demo", "--direct", "--workers", "2", "--no-live",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    while b"replaying" not in (said := await process.stdout.readline()):
        assert said
    children = children_of(process.pid)
    assert len(children) == 2
    process.send_signal(number)
    await process.communicate()
    assert process.returncode == 130
    assert all(map(gone, children))


async def test_children_die_with_a_parent_that_had_no_time_to_end_them():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "grove_dp", "demo", "--direct", "--workers", "1", "--no-live",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    while b"replaying" not in (said := await process.stdout.readline()):
        assert said
    (child,) = children_of(process.pid)
    probe = LoadClient(Endpoint("127.0.0.1", port_of(child)), clock=SystemClock())
    assert await probe.get("/health") == b""
    process.kill()
    await process.communicate()
    with pytest.raises(Unreachable):
        await ask_until_silent(probe)
    probe.close()


async def ask_until_silent(probe: LoadClient) -> None:
    while True:
        await probe.get("/health")
        await asyncio.sleep(0.01)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def port_of(pid: int) -> int:
    flags = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return int(flags[flags.index("--port") + 1])
