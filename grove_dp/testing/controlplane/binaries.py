"""The programs of a control plane: where they are, and the one build that makes them.

Two places, in this order. `KUBEBUILDER_ASSETS`, a folder as envtest's users have it (etcd, kube-apiserver and
kubectl, mostly neither scheduler nor controller-manager). Otherwise the Go module in tests/controlplane: one
binary that is all five programs, each under its own name in argv[0], made by whoever comes first and kept in
the user's cache folder under a key of everything that decides it. A cold build takes 15 minutes of CPU time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import msgspec

from grove_dp.errors import GroveError
from grove_dp.testing.controlplane.progress import Progress

__all__ = ["BuildFailed", "NoControlPlane", "Programs", "cache_folder", "programs"]

SOURCE = Path(__file__).resolve().parents[3] / "tests" / "controlplane"
NAMES = ("etcd", "kube-apiserver", "kube-scheduler", "kube-controller-manager", "kubectl")
NEEDED = NAMES[:2]
KEPT_DAYS = 30
REMEDY = (
    "install Go 1.26 or newer, or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kubectl"
)
# Static, the same bytes wherever the checkout lies, and without the debug information that the linker would
# drop anyway (11 % of the time of four large packages). Fewer programs would save little: what only kubectl
# and the controller manager need is 13 % of the source.
BUILD = ("-trimpath", "-gcflags=all=-dwarf=false", "-buildvcs=false", "-mod=readonly")
# GOGC is the compiler's own: 17 % less CPU time for two large packages, more memory.
ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off", "GOGC": "400"}


class NoControlPlane(GroveError):
    """This machine cannot have a control plane (or not that part of it); the message says what to install."""

    reason = "NoControlPlane"


class BuildFailed(GroveError):
    """The Go module did not build; the message ends with what the compiler said."""

    reason = "BuildFailed"


class Programs(msgspec.Struct, frozen=True):
    """Program name → file. Start it as `Popen([name, ...], executable=file)`: the name selects."""

    files: Mapping[str, Path]
    version: str  # of Kubernetes, as in v1.36.3

    @property
    def minor(self) -> int:
        return int(self.version.split(".")[1])

    def file(self, name: str) -> Path:
        """The file of a program that is there."""
        try:
            return self.files[name]
        except KeyError:
            where = os.environ.get("KUBEBUILDER_ASSETS")
            raise NoControlPlane(
                f"no {name} in KUBEBUILDER_ASSETS={where}: unset it and install Go"
            ) from None


def programs(progress: Progress | None = None) -> Programs:
    """What this machine has, built if need be; NoControlPlane where it can have nothing."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets:
        return _from_assets(Path(assets))
    binary = _built(progress or Progress())
    return Programs(dict.fromkeys(NAMES, binary), _module_version())


def cache_folder() -> Path:
    """Where built binaries are kept: $XDG_CACHE_HOME/grove-dp/controlplane."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "grove-dp" / "controlplane"


# ------------------------------------------------------------ from KUBEBUILDER_ASSETS


def _from_assets(folder: Path) -> Programs:
    files = {name: folder / name for name in NAMES if os.access(folder / name, os.X_OK)}
    missing = [name for name in NEEDED if name not in files]
    if missing:
        raise NoControlPlane(f"no {' and no '.join(missing)} in KUBEBUILDER_ASSETS={folder}: {REMEDY}")
    told = subprocess.run(
        ["kube-apiserver", "--version"],
        executable=files["kube-apiserver"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    found = re.search(r"v\d+\.\d+\.\d+\S*", told)
    if found is None:
        raise NoControlPlane(f"{files['kube-apiserver']} --version does not tell a version, but {told!r}")
    return Programs(files, found[0])


# ------------------------------------------------------------ built from our module


def _built(progress: Progress) -> Path:
    """The binary of this source and this Go, built by one process while the others wait."""
    go = _go()
    folder = cache_folder() / _key(go)
    binary = folder / "controlplane"
    if not binary.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / "lock", progress):
            if not binary.exists():
                _build(go, binary, progress)
    os.utime(folder)  # used today
    return binary


def _go() -> str:
    if not (SOURCE / "go.mod").exists():
        raise NoControlPlane(f"no {SOURCE}: run from a checkout, or set KUBEBUILDER_ASSETS")
    go = shutil.which("go")
    if go is None:
        raise NoControlPlane(f"neither Go nor KUBEBUILDER_ASSETS on this machine: {REMEDY}")
    return go


def _key(go: str) -> str:
    """A hash of all that decides the binary: our files, the Go version, the platform, the build flags."""
    asked = subprocess.run(
        [go, "env", "GOVERSION"], cwd=SOURCE, env=_environment(), capture_output=True, text=True, check=False
    )
    if asked.returncode:
        raise NoControlPlane(f"{asked.stderr.strip()}: {REMEDY}")
    digest = hashlib.sha256(" ".join([asked.stdout, platform.machine(), *BUILD, _linker_flags()]).encode())
    for name in ("go.mod", "go.sum", "main.go"):
        digest.update((SOURCE / name).read_bytes())
    return digest.hexdigest()[:16]


def _environment() -> dict[str, str]:
    return {**os.environ, **ENVIRONMENT}


def _module_version() -> str:
    found = re.search(r"^\s*k8s\.io/kubernetes (v\S+)$", (SOURCE / "go.mod").read_text(), re.MULTILINE)
    assert found is not None, f"{SOURCE}/go.mod requires no k8s.io/kubernetes"
    return found[1]


def _linker_flags() -> str:
    """Without the version `kubectl version` exits with 1, and clients see v0.0.0-master."""
    version = _module_version()
    major, minor, _ = version.removeprefix("v").split(".", 2)
    facts = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    package = "k8s.io/component-base/version"
    return "-s -w " + " ".join(f"-X {package}.{name}={value}" for name, value in facts.items())


def _build(go: str, binary: Path, progress: Progress) -> None:
    listed = _run([go, "list", "-deps", "."], progress, "downloading modules", "go: downloading ")
    total = len(listed.split())
    fresh = binary.with_suffix(f".{os.getpid()}")
    command = [go, "build", *BUILD, "-ldflags", _linker_flags(), "-v", "-o", str(fresh), "."]
    try:
        _run(command, progress, "compiling what is not cached, linking", "", total)
        fresh.rename(binary)
    finally:
        fresh.unlink(missing_ok=True)
    _forget_old(binary.parent)


def _run(command: list[str], progress: Progress, what: str, counted: str, total: int = 0) -> str:
    """Run a go command; its lines on stderr that begin with *counted* are its progress."""
    lines: list[str] = []
    with (
        progress.task(f"control plane, built once: {what}", total) as task,
        tempfile.TemporaryFile("w+") as output,
        subprocess.Popen(
            command,
            cwd=SOURCE,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stderr is not None
        try:
            for line in process.stderr:
                lines.append(line)
                task.advance(line.startswith(counted))
        except BaseException:
            process.terminate()
            raise
        process.wait()
        output.seek(0)
        if process.returncode:
            raise BuildFailed(f"{' '.join(command)} failed in {SOURCE}:\n{''.join(lines[-20:])}")
        return output.read()


@contextlib.contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    """Held by one process at a time, however it ends."""
    with path.open("w") as lock:
        with progress.task("control plane: another process builds it"):
            while not _try_lock(lock):
                time.sleep(0.2)
        yield


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _forget_old(newest: Path) -> None:
    """Remove binaries that nobody has used for a month: 170 MB each."""
    limit = time.time() - KEPT_DAYS * 86_400
    for folder in newest.parent.iterdir():
        if folder != newest and folder.stat().st_mtime < limit:
            shutil.rmtree(folder, ignore_errors=True)
