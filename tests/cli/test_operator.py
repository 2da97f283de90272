"""`grove-dp operator` as a process: how it starts, what it says, how it ends."""

import asyncio
import signal
import sys
from contextlib import asynccontextmanager

import pytest
from grove_operator.crds import definitions

from grove_dp.kube.access import connect
from grove_dp.kube.errors import NotFound
from grove_dp.kube.objects import LEASES
from grove_dp.testing.frontend import eventually
from grove_dp.testing.kubeapi import Server
from grove_dp.testing.kubeapi.serve import serving

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
LEASE = LEASES.path("default", "grove-operator-leader-election")
QUICK = ("--leader.duration_s", "6", "--leader.deadline_s", "1", "--leader.retry_s", "0.2")


async def started(*words):
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "grove_dp", "operator", *words, stderr=asyncio.subprocess.PIPE
    )


async def ended(process):
    async with asyncio.timeout(20):
        told = (await process.stderr.read()).decode()
        return await process.wait(), told


@pytest.fixture
async def cluster(tmp_path):
    async with serving(Server(), tmp_path) as served, await connect(served.kubeconfig) as api:
        for each in definitions():
            await api.create(DEFINITIONS, each)
        yield served, api


@asynccontextmanager
async def running(served, *words):
    process = await started("--kubeconfig", str(served.kubeconfig), "--webhooks", "false", *words)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def holder(api):
    try:
        return (await api.get(LEASE)).get("spec", {}).get("holderIdentity")
    except NotFound:
        return None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_a_signal_gives_the_lead_back_and_ends_it(cluster, number, code):
    served, api = cluster
    async with running(served, "--health-port", "0", *QUICK) as process:
        await eventually(lambda: holder(api), bool, 20, "it leads")
        process.send_signal(number)
        assert (await ended(process))[0] == code
    assert not await holder(api)


async def test_without_a_cluster_it_says_where_it_looked(tmp_path):
    code, told = await ended(await started("--kubeconfig", str(tmp_path / "none")))
    assert code == 2
    assert f"{tmp_path}/none: no such kubeconfig" in told
    assert "Traceback" not in told


async def test_wrong_settings_are_all_told_at_once(tmp_path):
    file = tmp_path / "operator.yaml"
    file.write_text("gang: {tries: 0}\norder: {by: init}\nwork: {worker: 1}\n")
    code, told = await ended(await started("--config", str(file)))
    assert code == 2
    assert f"{file}:1: gang.tries" in told
    assert f"{file}:3: work.worker: no such setting; did you mean work.workers?" in told


async def test_a_port_that_is_taken_ends_it_with_the_remedy(cluster):
    served, _ = cluster
    taken = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    async with taken, running(served, "--health-port", str(port)) as process:
        code, told = await ended(process)
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in told
    assert "[CannotListen]" in told
    assert "Traceback" not in told
