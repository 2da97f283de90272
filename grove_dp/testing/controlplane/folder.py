"""The folder of one control plane, and the sweep of folders whose owners died.

Each folder holds a file `owner` that its process keeps locked for as long as it lives. The kernel lets go of
the lock however the process ends, so a folder whose lock can be had belongs to nobody: the next start removes
it. (A process id instead would need its start time too, and still be wrong in another PID namespace.)
Making a folder and sweeping are done under one more lock; otherwise a sweep could take a folder that was made
a moment ago and is not locked yet.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["OwnedFolder", "base_folder"]


def base_folder() -> Path:
    """Where the folders of this user's control planes are."""
    return Path(tempfile.gettempdir()) / f"grove-dp-controlplane-{os.getuid()}"


class OwnedFolder:
    """A fresh folder, ours until `remove` or until we die. Made only after those of the dead are gone."""

    def __init__(self) -> None:
        base = base_folder()
        base.mkdir(mode=0o700, exist_ok=True)
        with _sweeping(base):
            _sweep(base)
            self.path = Path(tempfile.mkdtemp(dir=base))
            self._lock = (self.path / "owner").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._lock.write(f"{os.getpid()}\n")
        self._lock.flush()

    def remove(self) -> None:
        """Remove it with all it holds; again is allowed."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


@contextmanager
def _sweeping(base: Path) -> Iterator[None]:
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sweep(base: Path) -> None:
    for folder in base.iterdir():
        if folder.is_dir() and _ownerless(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _ownerless(folder: Path) -> bool:
    try:
        with (folder / "owner").open() as lock:
            return _free(lock)
    except FileNotFoundError:  # its owner died while making or removing it
        return True


def _free(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
