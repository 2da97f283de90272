"""KV events on their way into the index, lookups there, and the names of a prompt's blocks.

The intake is that of a worker whose cache is full: a row of 128 blocks is taken back and told again, of
65,536 blocks that it holds, so names and pages come from the second and third level of the cache.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from bench.micro.cases import build

if TYPE_CHECKING:
    from bench.micro.conftest import Gauge

Case = Callable[[int], None]
Fixture = Callable[[str, str], contextlib.AbstractContextManager[Case]]


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    return ctypes.CDLL(str(build()))


@pytest.fixture
def prepared(library: ctypes.CDLL) -> Fixture:
    """prepared(thing, name): the case *name* on a thing of its own."""

    @contextlib.contextmanager
    def prepare(thing: str, name: str) -> Iterator[Case]:
        make, free = library[f"gdp_{thing}_new"], library[f"gdp_{thing}_free"]
        case = library[f"gdp_case_{name}"]
        make.argtypes, make.restype = (), ctypes.c_void_p
        free.argtypes, free.restype = (ctypes.c_void_p,), None
        case.argtypes, case.restype = (ctypes.c_void_p, ctypes.c_uint32), ctypes.c_uint64
        made = make()
        if not made:
            raise MemoryError(f"no {thing}")

        def run(rounds: int) -> None:
            if not case(made, rounds):
                raise AssertionError(f"{name}: the call did not do what it should")

        try:
            yield run
        finally:
            free(made)

    return prepare


def test_taking_in_a_row_of_blocks_for_another(gauge: Gauge, prepared: Fixture) -> None:
    with prepared("told_worker", "kv_intake") as case:
        gauge("kv_intake_128", case)


def test_looking_up_a_prompt_among_64_workers(gauge: Gauge, prepared: Fixture) -> None:
    with prepared("known_prompts", "kv_lookup") as case:
        gauge("kv_lookup_64x2048", case)


def test_naming_the_blocks_of_a_long_prompt(gauge: Gauge, prepared: Fixture) -> None:
    with prepared("known_prompts", "kv_names") as case:
        gauge("kv_names_128k", case)
