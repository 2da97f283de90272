"""Tests of bench.proxy as a whole: a plain proxy measured for a second, and nothing left behind."""

import os
import shutil
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from bench import results
from bench.proxy import procs
from bench.proxy.__main__ import main
from bench.proxy.bodies import BODIES, COUNTER, chat_bodies

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.xdist_group("cpus"),  # two of these at once would fight for the same two CPUs
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs"),
    pytest.mark.skipif(
        shutil.which("taskset") is None, reason="needs taskset (Debian: apt install util-linux)"
    ),
]
CPUS = [str(cpu) for cpu in sorted(os.sched_getaffinity(0))[:2]]
WHERE = ["--beside", "--cpu", CPUS[0], "--generator-cpu", CPUS[-1]]


MARK = "GDP_BENCH_TEST"


@pytest.fixture
def mark(monkeypatch):
    """A word in the environment of every process that the test starts, and of nobody else's."""
    word = uuid.uuid4().hex
    monkeypatch.setenv(MARK, word)
    return f"{MARK}={word}".encode()


def left_running(mark):
    """Command lines of the processes that carry the mark."""
    lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark in (entry / "environ").read_bytes():
                    lines.append((entry / "cmdline").read_bytes())
            except OSError:
                continue
    return lines


@pytest.mark.parametrize("name", ["small", "8k", "128k"])
def test_bodies_have_their_size_and_can_be_told_apart(name):
    bodies = chat_bodies(BODIES[name])
    assert len(set(bodies)) == 64
    assert all(COUNTER.encode() in body for body in bodies)
    assert sum(map(len, bodies)) / 64 == pytest.approx(BODIES[name].size, rel=0.15)


def test_a_quick_run_writes_rows_and_leaves_no_process(tmp_path: Path, capfd, mark):
    words = ["--quick", "--only", "aiohttp", "--work", "ns_small,sse_25k,lat_2000", "--out", str(tmp_path)]
    assert main([*words, *WHERE, "--gate"]) == 0, capfd.readouterr().err
    result = results.load(tmp_path / "proxy_part.json")
    made = {row.name: row for row in result.rows}
    assert set(made) == {
        "ns_small_aiohttp",
        "sse_25k_aiohttp",
        "latency_added_p50_aiohttp",
        "latency_added_p99_aiohttp",
    }
    assert 20 < made["ns_small_aiohttp"].value < 5000
    assert 5 < made["sse_25k_aiohttp"].value < 500
    assert not left_running(mark)


def test_an_interrupted_run_leaves_no_process(tmp_path: Path, mark):
    words = [sys.executable, "-m", "bench.proxy", "--only", "aiohttp", "--work", "ns_small,sse_25k,lat_2000"]
    with subprocess.Popen([*words, "--out", tmp_path, *WHERE], stderr=subprocess.PIPE, text=True) as bench:
        assert bench.stderr is not None
        assert "ns_small" in bench.stderr.readline()  # the first window is over: everything runs
        assert left_running(mark)
        bench.send_signal(signal.SIGINT)
        assert bench.wait(20) == 130
    assert not left_running(mark)


def test_an_unknown_load_is_named_with_the_known_ones(capsys):
    assert main(["--work", "ns_tiny"]) == 2
    assert "UnknownWork: ns_tiny; there are ns_small, " in capsys.readouterr().err


def test_a_proxy_that_ends_is_told_with_its_last_words(tmp_path: Path, capsys):
    words = ["--only", "", "--custom", f"{sys.executable} -c 'raise SystemExit(\"no port for me\")'"]
    assert main([*words, "--work", "ns_small", "--out", str(tmp_path), *WHERE]) == 2
    told = capsys.readouterr().err
    assert "custom: ProxyEnded" in told
    assert "no port for me" in told


def test_free_ports_are_neighbours_below_the_ephemeral_ones():
    first = procs.free_port(4)
    assert first >= procs.FIRST_PORT
    assert first + 4 < 32768
