"""The core's hot calls in a shared library of their own, always optimised, loaded with ctypes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["POLICIES", "BytesCase", "Cases", "Metered", "PlacingCase", "build", "load"]

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "build" / "bench" / "libgdp-cases.so"
POLICIES = ("round_robin", "random", "least_load", "session", "kv", "approx")  # gdp_policy of gdp/load.h
PARTS = ("bench/*.c", "base/*.c", "wire/*.c", "route/*.c", "meter/*.c")
FLAGS = ["-std=c11", "-O3", "-DNDEBUG", "-fno-strict-overflow", "-fPIC", "-shared", "-pthread"]


class BytesCase:
    """One case: `case(rounds)` runs the call that often on the same bytes."""

    def __init__(self, function: ctypes._NamedFuncPointer, sample: bytes) -> None:
        self._function, self._sample = function, ctypes.create_string_buffer(sample, len(sample))
        self._length = len(sample)

    def __call__(self, rounds: int) -> None:
        if not self._function(self._sample, self._length, rounds):
            raise AssertionError(f"{self._function.__name__}: the call did not do what it should")


class PlacingCase:
    """Requests placed and settled on one fleet; its books live as long as it."""

    def __init__(self, function: ctypes._NamedFuncPointer, fleet: int) -> None:
        function.argtypes, function.restype = (ctypes.c_void_p, ctypes.c_uint32), ctypes.c_uint64
        self._function, self._fleet = function, fleet

    def __call__(self, rounds: int) -> None:
        if not self._function(self._fleet, rounds):
            raise AssertionError("place_settle: no worker was placed")


class Metered:
    """One series of the meter under load, and what is done with it."""

    def __init__(self, library: ctypes.CDLL, fixture: int) -> None:
        self._library, self._fixture = library, fixture

    def observe(self, rounds: int) -> None:
        self._done("observe", rounds)

    def add(self, rounds: int) -> None:
        self._done("add", rounds)

    def quantile(self, window_s: int) -> Callable[[int], None]:
        return lambda rounds: self._done("quantile", window_s, rounds)

    def rate(self, window_s: int) -> Callable[[int], None]:
        return lambda rounds: self._done("rate", window_s, rounds)

    def _done(self, name: str, *numbers: int) -> None:
        function = self._library[f"gdp_case_meter_{name}"]
        function.argtypes = (ctypes.c_void_p, *(ctypes.c_uint32 for _ in numbers))
        function.restype = ctypes.c_uint64
        if not function(self._fixture, *numbers):
            raise AssertionError(f"meter_{name}: nothing was measured")


class Cases:
    """The library's cases by name."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def on(self, name: str, sample: bytes) -> BytesCase:
        function = self._library[f"gdp_case_{name}"]
        function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32)
        function.restype = ctypes.c_uint64
        return BytesCase(function, sample)

    @contextlib.contextmanager
    def placing(self, policy: str, workers: int) -> Iterator[PlacingCase]:
        """Choose, book and settle among so many workers."""
        make, free = self._library.gdp_fleet_new, self._library.gdp_fleet_free
        make.argtypes, make.restype = (ctypes.c_uint32, ctypes.c_uint32), ctypes.c_void_p
        free.argtypes, free.restype = (ctypes.c_void_p,), None
        fleet = make(POLICIES.index(policy), workers)
        if not fleet:
            raise MemoryError(f"no fleet of {workers} workers")
        try:
            yield PlacingCase(self._library.gdp_case_place_settle, fleet)
        finally:
            free(fleet)

    @contextlib.contextmanager
    def metered(self, *, window: bool, per_second: int = 1000) -> Iterator[Metered]:
        """A series that got so many values a second for 1,000 s."""
        make, free = self._library.gdp_metered_new, self._library.gdp_metered_free
        make.argtypes, make.restype = (ctypes.c_bool, ctypes.c_uint32), ctypes.c_void_p
        free.argtypes, free.restype = (ctypes.c_void_p,), None
        fixture = make(window, per_second)
        if not fixture:
            raise MemoryError("no series to measure")
        try:
            yield Metered(self._library, fixture)
        finally:
            free(fixture)


def build() -> Path:
    """Compiles the library when a source or header is newer."""
    sources = [path for part in PARTS for path in sorted((ROOT / "csrc").glob(part))]
    inputs = [*sources, *(ROOT / "csrc").glob("**/*.h")]
    if LIBRARY.exists() and LIBRARY.stat().st_mtime_ns > max(path.stat().st_mtime_ns for path in inputs):
        return LIBRARY
    LIBRARY.parent.mkdir(parents=True, exist_ok=True)
    fresh = LIBRARY.with_suffix(f".{os.getpid()}")
    compiler = shlex.split(os.environ.get("CC", "cc"))
    include = f"-I{ROOT / 'csrc' / 'include'}"
    subprocess.run(
        [
            *compiler,
            *FLAGS,
            "-D_GNU_SOURCE=",
            include,
            *map(str, sources),
            "-lm",
            "-Wl,--no-undefined",
            "-o",
            fresh,
        ],
        check=True,
    )
    fresh.replace(LIBRARY)  # a bench beside this one keeps the library that it has loaded
    return LIBRARY


def load() -> Cases:
    return Cases(ctypes.CDLL(str(build())))
