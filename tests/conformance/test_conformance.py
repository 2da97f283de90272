"""The fake API server and the real one, asked the same.

Each case asserts what clients stand on, on all three servers. Besides, its whole transcript must be the same
on the fake and the real one: a field, a word or a code that differs fails it though no case names it.
"""

import importlib
import inspect
import pkgutil

import pytest

from tests.conformance import cases

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one connection to the real server for all cases
SUBJECTS = [
    importlib.import_module(f"{cases.__name__}.{module.name}")
    for module in pkgutil.iter_modules(cases.__path__)
]
CASES = [
    pytest.param(case, id=f"{subject.__name__.rpartition('.')[2]}-{name}")
    for subject in SUBJECTS
    for name, case in inspect.getmembers(subject, inspect.iscoroutinefunction)
    if case.__module__ == subject.__name__ and not name.startswith("_")
]


@pytest.mark.parametrize("case", CASES)
async def test_it_holds(case, server):
    async with server() as calls:
        await case(calls)


@pytest.mark.controlplane("kube-controller-manager")
@pytest.mark.parametrize("case", CASES)
async def test_it_holds_on_the_real_one_in_the_same_words(case, fake, real):
    async with real() as theirs:
        await case(theirs)
    async with fake() as ours:
        await case(ours)
    if found := list(differences(ours.transcript, theirs.transcript)):
        pytest.fail("the fake says, and the real one:\n" + "\n".join(found), pytrace=False)


def differences(told, wanted, path=""):
    """Where the fake's transcript is not the real one's."""
    if isinstance(told, dict) and isinstance(wanted, dict):
        for name in sorted({*told, *wanted}):
            yield from differences(
                told.get(name, "(nothing)"), wanted.get(name, "(nothing)"), f"{path}.{name}"
            )
    elif isinstance(told, list | tuple) and isinstance(wanted, list | tuple) and len(told) == len(wanted):
        for index, (ours, theirs) in enumerate(zip(told, wanted, strict=True)):
            yield from differences(ours, theirs, f"{path}[{index}]")
    elif told != wanted:
        yield f"{path}: {told!r:.500}, and really {wanted!r:.500}"
