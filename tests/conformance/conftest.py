"""The three servers that cases are put to: the fake in this process, the fake over HTTP, the real one."""

import asyncio
import itertools
from contextlib import asynccontextmanager
from random import Random

import pytest

from grove_dp.kube.cluster import open_cluster
from grove_dp.testing.kubeapi import InProcess, Server, serving

pytest.register_assert_rewrite("tests.conformance.cases")

from tests.conformance.calls import Calls  # noqa: E402 - only now, so that its asserts are told in full

NUMBERS = itertools.count(1)


@asynccontextmanager
async def in_process():
    async with prepared(InProcess(Server(rng=Random(1)))) as calls:
        yield calls


@asynccontextmanager
async def over_http(folder):
    async with serving(Server(rng=Random(1)), folder) as served, of_kubeconfig(served.kubeconfig) as calls:
        yield calls


@asynccontextmanager
async def of_kubeconfig(kubeconfig):
    transport = await open_cluster(kubeconfig, None)
    try:
        async with prepared(transport) as calls:
            yield calls
    finally:
        await transport.close()
        await asyncio.sleep(0.01)  # a connection under TLS is closed some turns of the loop later


@asynccontextmanager
async def prepared(transport):
    """A namespace in which pods can be made."""
    calls = Calls(transport, f"conform-{next(NUMBERS)}")
    await calls.made("/api/v1/namespaces", {"metadata": {"name": calls.namespace}})
    await calls.post(calls.path("serviceaccounts"), {"metadata": {"name": "default"}})
    calls.transcript.clear()
    yield calls


@pytest.fixture
def real(controlplane, kubelet):
    """Its kubelet leaves the nodes alone that cases bind pods to."""
    for node in ("lost-a", "lost-b"):
        kubelet.lose(node)
    return lambda: of_kubeconfig(controlplane.admin.kubeconfig)


@pytest.fixture
def fake():
    return in_process


@pytest.fixture
def http(tmp_path):
    return lambda: over_http(tmp_path)


@pytest.fixture(params=["fake", "http"])
def server(request):
    """Opens one of the two of ours, for one case."""
    return request.getfixturevalue(request.param)
