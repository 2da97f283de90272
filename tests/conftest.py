"""What every test may ask for, and what happens to a test whose program is not on this machine."""

import asyncio
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from grove_dp.clock import ManualClock

# Without this pytest-asyncio asks for "the current loop" before its first own one, which Python makes and
# nobody closes: a ResourceWarning in whatever test runs when the collector finds it.
asyncio.set_event_loop(None)

REMEDY = "install it (Debian, Fedora: a package of the same name) and run the test again"


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for tool in mark.args:
            if shutil.which(tool) is None:
                pytest.skip(f"needs {tool}: {REMEDY}")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting exported in the developer's shell must not change what a test sees."""
    for name in [name for name in os.environ if name.startswith("GROVE_DP_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still until the test advances it."""
    return ManualClock()


@pytest.fixture
def rng() -> random.Random:
    """Chance, the same in every run."""
    return random.Random(20_260_101)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """write(name, text) makes a file and tells where it is."""

    def written(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return written
