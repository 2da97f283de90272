"""The demo's whole system, played small: it grows, shrinks and rolls under load, and no request is lost."""

import asyncio
import io
import os
import shutil
import signal
import sys
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from grove_dp.clock import SystemClock
from grove_dp.sim.cluster import ClusterPlan
from grove_dp.sim.conversations import Conversations
from grove_dp.sim.report import Slot
from grove_dp.sim.runs import Run, Sample, as_many
from grove_dp.sim.system import System, SystemPlan
from grove_dp.sim.system_plot import plot_system
from grove_dp.sim.system_view import course, line, screen
from grove_dp.sim.tide import Tide
from grove_dp.testing.frontend import eventually

SMALL = Tide(
    calm_s=2.0,
    busy_s=9.0,
    after_s=10.0,
    rise_s=1.0,
    fall_s=1.0,
    calm=Conversations(rate=1.0, answer_tokens=16),
    rush=Conversations(rate=8.0, answer_tokens=24, seed=1),
)
ANY_PORTS = ClusterPlan(nodes=1, port=0, admin_port=0, scaling_port=0, worker_port=0, tick_s=0.5)
ON_KUBERNETES = msgspec.structs.replace(ANY_PORTS, real=True, ready_s=120.0)
REAL = pytest.mark.controlplane("kube-scheduler", "kube-controller-manager")


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("cluster", "static"), [(ANY_PORTS, False), pytest.param(ON_KUBERNETES, True, marks=REAL)]
)
async def test_replicas_follow_the_load_and_neither_scaling_nor_an_update_loses_a_request(
    cluster, static, tmp_path
):
    said, pids = [], set()
    plan = SystemPlan(tide=SMALL, most=3, update_at_s=7.0, static=static)
    async with System(cluster, plan, clock=SystemClock(), announce=said.append) as system:
        await system.run()
        pids.update(system.cluster.pids)
        assert f"{system.now.report.ok} ok" in line(system)
        updated = await system.cluster.workers.images()
        if not static:
            await every_hint_tells(system)
    assert all(map(gone, pids))

    run = system.runs[0]
    assert (run.report.ok, run.failed) == (run.report.sent, 0), run.report.reasons
    assert run.report.sent > 40
    assert run.peak >= 2, said
    assert run.samples[-1].ready < run.peak, said
    assert run.update_s is not None
    assert updated == {
        "grove-dp:1" if static else "grove-dp:2"
    }  # the static run has the first template again
    assert any("1 -> " in event and "autoscaler" in event for event in said)
    assert 0 < run.gpu_s < 1.5 * run.peak * run.took_s

    table = system.summary()
    assert table[3].startswith("  autoscaled ")
    if static:
        fixed = system.runs[1]
        assert table[4].startswith(f"  static, {fixed.replicas} workers ")
        assert (fixed.report.ok, fixed.report.sent) == (run.report.sent, run.report.sent), (
            fixed.report.reasons
        )
        assert {sample.ready for sample in fixed.samples} == {fixed.replicas}
        assert fixed.gpu_s >= 0.9 * run.gpu_s
    plot_system(system, tmp_path / "system.svg")
    assert (tmp_path / "system.svg").read_text().endswith("</svg>\n")


async def every_hint_tells(system: System) -> None:
    """What a stay offers for pasting, pasted."""
    curl, route, scale, gang = system.hints(f"{sys.executable} -m grove_dp")
    if shutil.which("curl"):
        assert (await asked(curl)).rstrip().endswith(b"[DONE]")
    assert b"llama-8b" in await asked(route)
    assert b"default/chat  set chat, direct, leads" in await asked(scale)
    assert b"default/chat-0  Running" in await asked(gang)


async def asked(hint: str) -> bytes:
    process = await asyncio.create_subprocess_shell(hint, stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0]


def told(run: Run) -> None:
    """As if half a minute had been played."""
    for second in range(30):
        run.samples.append(Sample(float(second), 6, 5, 6, second, 40, 100 * second))
    slot = Slot()
    slot.sent, slot.output_tokens = 9, 300
    run.report.slots = [slot] * 30


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 12), (120, 40), (200, 60)])
def test_a_screen_fits_its_terminal_and_what_matters_most_is_on_every_one(width, height):
    system = System(ANY_PORTS, SystemPlan(), clock=SystemClock(), announce=lambda _: None)
    told(system.now)
    system.events.extend((float(at), f"event {at}, " + "long enough for two rows " * 4) for at in range(40))
    console = Console(width=width, height=height, file=io.StringIO())
    console.print(screen(system, width, height))
    rows = console.file.getvalue().splitlines()
    assert len(rows) <= height
    assert [row[2:14].rstrip() for row in rows[1:6]] == [
        "workers",
        "tokens/s",
        "ttft p50/p99",
        "queue",
        "requests/s",
    ]
    assert rows[6].startswith("│ why")
    assert ("event 39" in "".join(rows)) == (height >= 24)  # the newest, where there is room for any


def test_a_course_has_the_whole_time_on_its_columns():
    assert course([1, 2, 4, 8], 4, 4) == "▁▂▄█"
    assert course([1, 2, 4, 8], 2, 4) == "▂█"
    assert course([1, 2], 8, 4, highest=4) == "▂▂▄▄"
    assert course([0, 1], 2, 2) == " █"
    assert course([], 5, 5) == ""


@pytest.mark.parametrize(
    ("number", "moment", "flags"),
    [
        (signal.SIGINT, b"requests on http", ()),
        (signal.SIGTERM, b"starting the operator", ()),
        pytest.param(signal.SIGINT, b"starting etcd", ["--real-control-plane"], marks=REAL),
    ],
)
async def test_a_signal_at_any_moment_ends_the_system_and_all_its_processes(number, moment, flags):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "grove_dp", "demo", "--part", "system", "--no-live",
        "--port", "0", "--admin-port", "0", *flags,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    while moment not in (said := await process.stdout.readline()):
        assert said
    children = descendants_of(process.pid)
    process.send_signal(number)
    rest, _ = await process.communicate()
    assert process.returncode == 130
    assert rest.endswith(b"interrupted; all that was started has ended\n")

    async def left() -> list[int]:
        return [child for child in children if not ended(child)]

    # One that was being started dies with its parent, by the kernel's hand: a moment later.
    await eventually(left, lambda pids: not pids, 20.0, "no process is left")


def ended(pid: int) -> bool:
    """Gone, or waiting for its parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def descendants_of(pid: int) -> set[int]:
    found = children_of(pid)
    return set(found).union(*map(descendants_of, found))


def children_of(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def test_a_fixed_number_costs_no_less_than_what_it_is_set_beside():
    run = Run("autoscaled", 1)
    run.took_s = 10.0
    counts = []
    for run.gpu_s in (4.0, 10.0, 30.4, 30.6, 33.0):
        counts.append(as_many(run))
    assert counts == [1, 1, 3, 4, 4]


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
