"""The three servers that cases are put to: the fake in this process, the fake over HTTP, the real one."""

import asyncio
import itertools
from contextlib import asynccontextmanager
from random import Random

import pytest
import pytest_asyncio

from grove_dp.kube.cluster import open_cluster
from grove_dp.testing.kubeapi import InProcess, Server
from grove_dp.testing.kubeapi.serve import serving

pytest.register_assert_rewrite("tests.conformance.cases")

from tests.conformance.calls import Calls  # noqa: E402 - only now, so that its asserts are told in full

NUMBERS = itertools.count(1)


@asynccontextmanager
async def prepared(transport):
    """A namespace in which pods can be made."""
    calls = Calls(transport, f"conform-{next(NUMBERS)}")
    await calls.made("/api/v1/namespaces", {"metadata": {"name": calls.namespace}})
    await calls.post(calls.path("serviceaccounts"), {"metadata": {"name": "default"}})
    calls.transcript.clear()
    yield calls


@asynccontextmanager
async def over_http(folder):
    async with serving(Server(rng=Random(1)), folder) as served:
        transport = await open_cluster(served.kubeconfig, None)
        try:
            async with prepared(transport) as calls:
                yield calls
        finally:
            await transport.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def real_transport(controlplane, kubelet):
    """Its kubelet leaves the nodes alone that cases bind pods to."""
    for node in ("lost-a", "lost-b"):
        await asyncio.to_thread(kubelet.lose, node)
    transport = await open_cluster(controlplane.admin.kubeconfig, None)
    yield transport
    await transport.close()
    await asyncio.sleep(0.1)  # a connection under TLS is closed some turns of the loop later


@pytest.fixture
def real(real_transport):
    return lambda: prepared(real_transport)


@pytest.fixture
def fake():
    return lambda: prepared(InProcess(Server(rng=Random(1))))


@pytest.fixture
def http(tmp_path):
    return lambda: over_http(tmp_path)


@pytest.fixture(params=["fake", "http"])
def server(request):
    """Opens one of the two of ours, for one case."""
    return request.getfixturevalue(request.param)
