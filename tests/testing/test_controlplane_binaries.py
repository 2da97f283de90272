"""The build of the control plane's programs, tried on a module that compiles in a second."""

import io
import os
import shutil
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

from grove_dp.testing.controlplane import BuildFailed, NoControlPlane, binaries
from grove_dp.testing.controlplane.progress import Progress

pytestmark = pytest.mark.timeout(300)  # the first of them may have to compile Go's own runtime
GO_MOD = """module small

go 1.22

exclude (
	k8s.io/kubernetes v1.36.3
)
"""
MAIN = 'package main\n\nfunc main() { println("%s") }\n'


@pytest.fixture(scope="module")
def go_cache():
    """Go's own cache, which would move with XDG_CACHE_HOME: its runtime takes nine seconds to compile."""
    asked = subprocess.run(["go", "env", "GOCACHE"], capture_output=True, text=True, check=True)
    return asked.stdout.strip()


@pytest.fixture
def compiler(go_cache, monkeypatch):
    monkeypatch.setenv("GOCACHE", go_cache)


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A module of our shape (the version stands in its go.mod), an empty cache, no KUBEBUILDER_ASSETS."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "go.mod").write_text(GO_MOD)
    (folder / "go.sum").write_text("")
    (folder / "main.go").write_text(MAIN % "one")
    monkeypatch.setattr(binaries, "SOURCE", folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return folder


@pytest.fixture
def builds(tmp_path, compiler, monkeypatch):
    """Counts calls of `go build`."""
    log = tmp_path / "calls"
    log.touch()
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text(f'#!/bin/sh\necho "$1" >> {log}\nexec {shutil.which("go")} "$@"\n')
    go.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{go.parent}{os.pathsep}{os.environ['PATH']}")
    return lambda: log.read_text().split().count("build")


def quiet() -> Progress:
    return Progress(io.StringIO())


@pytest.mark.needs("go")
def test_several_at_once_build_once(source, builds):
    found = []
    threads = [threading.Thread(target=lambda: found.append(binaries.programs(quiet()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert builds() == 1
    assert len({programs.file("etcd") for programs in found}) == 1
    assert found[0].version == "v1.36.3"
    assert found[0].minor == 36


@pytest.mark.needs("go")
def test_a_changed_source_is_another_binary_and_only_what_is_unused_for_a_month_goes(source, builds):
    first = binaries.programs(quiet()).file("etcd")
    unused = binaries.cache_folder() / "unused"
    unused.mkdir()
    month_ago = time.time() - 31 * 86_400
    os.utime(unused, (month_ago, month_ago))
    (source / "main.go").write_text(MAIN % "two")
    second = binaries.programs(quiet()).file("etcd")
    assert binaries.programs(quiet()).file("etcd") == second
    assert builds() == 2
    assert first.exists()
    assert first != second
    assert not unused.exists()


@pytest.mark.needs("go")
def test_what_the_compiler_says_is_in_the_error(source, compiler):
    (source / "main.go").write_text("package main\n\nfunc main() { nonsense() }\n")
    with pytest.raises(BuildFailed, match="undefined: nonsense"):
        binaries.programs(quiet())


def test_without_go_the_remedy_is_named(source, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NoControlPlane, match=r"install Go 1\.26 or newer, or set KUBEBUILDER_ASSETS"):
        binaries.programs(quiet())


def test_outside_of_a_checkout_the_missing_module_is_named(source, monkeypatch):
    monkeypatch.setattr(binaries, "SOURCE", source / "elsewhere")
    with pytest.raises(NoControlPlane, match="run from a checkout"):
        binaries.programs(quiet())


def test_our_module_pins_kubernetes_and_its_staging_modules_alike():
    lines = (Path(binaries.SOURCE) / "go.mod").read_text().splitlines()
    replaced = {line.split()[-1] for line in lines if "=> k8s.io/" in line}
    assert replaced == {"v0.36.3"}
    assert "\tk8s.io/kubernetes v1.36.3" in lines


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()], ids=["terminal", "pipe"])
def test_progress_tells_how_much_is_done_and_ends_with_all_of_it(stream, monkeypatch):
    monkeypatch.setattr("grove_dp.testing.controlplane.progress.SILENT_S", 0.0)
    with Progress(stream).task("compiling", 1234) as task:
        while "compiling: 0 of 1,234, 0 s" not in stream.getvalue():
            time.sleep(0.001)
        task.advance(1234)
    assert stream.getvalue().splitlines()[-1].removeprefix("\x1b[K") == "compiling: 1,234 of 1,234, 0 s"


def test_what_is_over_at_once_says_nothing():
    stream = io.StringIO()
    with Progress(stream).task("compiling"):
        pass
    assert stream.getvalue() == ""
