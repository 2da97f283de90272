"""The pytest plugin, run by a pytest of its own: what it leaves out it leaves out loudly."""

import os
import shutil
import subprocess
import sys

import pytest

from grove_dp.testing.controlplane import programs

pytestmark = pytest.mark.timeout(400)  # each is a run of pytest of its own, one with a control plane
TESTS = """
import pytest

def test_the_server_answers(controlplane):
    assert controlplane.api.get("/version")["minor"]

@pytest.mark.controlplane("kube-scheduler")
def test_pods_are_bound(controlplane):
    assert "kube-scheduler" in controlplane.pids

def test_something_else():
    pass
"""


def run(folder, *arguments, **environment):
    (folder / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "grove_dp.testing.plugin", "-p", "no:cacheprovider"]
    kept = {name: value for name, value in os.environ.items() if name != "KUBEBUILDER_ASSETS"}
    return subprocess.run(
        [*command, "-q", "--rootdir", str(folder), *arguments, str(folder)],
        cwd=folder,
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_any_programs_tests_are_left_out_loudly_in_parallel_runs_too(tmp_path):
    done = run(tmp_path, "-n", "2", PATH=str(tmp_path))
    assert done.returncode == 0, done.stdout
    assert "1 passed, 2 skipped" in done.stdout
    assert "REAL KUBERNETES CONTROL PLANE: TESTS LEFT OUT" in done.stdout
    assert "2 left out: neither Go nor KUBEBUILDER_ASSETS on this machine: install Go 1.26" in done.stdout


def test_nothing_is_looked_for_when_nobody_needs_it(tmp_path):
    done = run(tmp_path, "-k", "something_else", KUBEBUILDER_ASSETS="/nowhere")
    assert done.returncode == 0
    assert "LEFT OUT" not in done.stdout


@pytest.mark.controlplane
def test_what_envtest_brings_is_enough_but_for_the_scheduler(tmp_path):
    if "KUBEBUILDER_ASSETS" in os.environ:
        assets = os.environ["KUBEBUILDER_ASSETS"]
    else:
        assets = tmp_path / "assets"
        assets.mkdir()
        for name in ("etcd", "kube-apiserver", "kubectl"):  # the binary looks under which name it is started
            (assets / name).symlink_to(programs().file(name))
    done = run(tmp_path, KUBEBUILDER_ASSETS=str(assets), PATH=str(tmp_path))
    assert "2 passed, 1 skipped" in done.stdout, done.stdout
    assert "1 left out: no kube-scheduler in KUBEBUILDER_ASSETS: unset it and install Go" in done.stdout


def test_a_folder_without_programs_is_named(tmp_path):
    done = run(tmp_path, KUBEBUILDER_ASSETS=str(tmp_path))
    assert f"no etcd and no kube-apiserver in KUBEBUILDER_ASSETS={tmp_path}" in done.stdout


@pytest.mark.needs("go")
def test_a_build_that_fails_fails_the_tests(tmp_path):
    broken = tmp_path / "go"
    go = shutil.which("go")
    broken.write_text(f'#!/bin/sh\n[ "$1" = env ] && exec {go} "$@"\necho no such host >&2\nexit 1\n')
    broken.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = run(tmp_path, PATH=path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 1
    assert "1 passed, 2 errors" in done.stdout
    assert "no such host" in done.stdout
