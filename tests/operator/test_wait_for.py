"""The init container: as a process, on the embedded API server and on the real one."""

import asyncio
import sys
from contextlib import asynccontextmanager

import pytest
from grove_operator.naming import L
from grove_operator.plan.order import Parent
from grove_operator.waiting_for import read_parents

from grove_dp.errors import ConfigurationError
from grove_dp.kube.objects import PODS
from tests.kube.clusters import fake_cluster, real_cluster

READY = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
UNREADY = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.controlplane)])
async def cluster(request, tmp_path):
    if request.param == "fake":
        async with fake_cluster(tmp_path) as made:
            yield made
    else:
        plane, namespace = (request.getfixturevalue(name) for name in ("controlplane", "kube_namespace"))
        yield real_cluster(plane, namespace, tmp_path)


class Gang:
    """Pods of a gang."""

    def __init__(self, api, namespace):
        self.api, self.namespace = api, namespace

    async def add(self, name, clique, gang="set-0", patch=READY):
        metadata = {"name": name, "labels": {L.GANG: gang, L.CLIQUE: clique}}
        spec = {"containers": [{"name": "main", "image": "worker:1"}]}
        await self.api.create(
            PODS.path(self.namespace), {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        )
        await self.set(name, patch)

    async def set(self, name, patch):
        await self.api.merge(PODS.path(self.namespace, name, "status"), patch)


class Waiter:
    """`grove-dp wait-for`, and what it says."""

    def __init__(self, process):
        self.process = process
        self.lines = []

    async def said(self, words):
        """Return once a line with *words* has come."""
        async with asyncio.timeout(20):
            while line := (await self.process.stderr.readline()).decode():
                self.lines.append(line)
                if words in line:
                    return line
        raise AssertionError(f"it ended without {words!r}: {self.lines}")

    async def ended(self):
        async with asyncio.timeout(20):
            self.lines += (await self.process.stderr.read()).decode().splitlines()
            return await self.process.wait()


@asynccontextmanager
async def waiting(cluster, *words, folder=None):
    """The process, the pods, and the line between it and the API server."""
    async with cluster.line() as (_, proxy), cluster.line() as (own, _):
        kubeconfig = cluster._kubeconfig_for(proxy.port)
        told = ("--namespace", cluster.namespace, "--podgang", "set-0")
        said = told if folder is None else ("--info-dir", str(folder))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "grove_dp", "wait-for", *words, *said, "--kubeconfig", str(kubeconfig)),
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield Waiter(process), Gang(own, cluster.namespace), proxy
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_it_ends_when_each_parent_has_its_minimum(cluster):
    async with waiting(cluster, "--podcliques=set-0-a:2", "-p", "set-0-b:1") as (waiter, gang, _):
        assert "needed=2" in await waiter.said("clique=set-0-a ready=0")
        await gang.add("a1", "set-0-a")
        await waiter.said("clique=set-0-a ready=1")
        await gang.add("b1", "set-0-b")
        await waiter.said("started clique=set-0-b ready=1")
        await gang.add("a2", "set-0-a")
        assert await waiter.ended() == 0


async def test_who_is_there_already_is_not_waited_for(cluster):
    async with cluster.line() as (api, _):
        await Gang(api, cluster.namespace).add("a1", "set-0-a")
    async with waiting(cluster, "-p", "set-0-a:1") as (waiter, _, _):
        assert await waiter.ended() == 0


async def test_pods_count_for_the_clique_of_their_label_and_of_our_gang_alone(cluster):
    async with waiting(cluster, "-p", "x-worker:1") as (waiter, gang, _):
        await waiter.said("clique=x-worker ready=0")
        await gang.add("x-worker-b-1", "x-worker-b")  # a name that begins alike
        await gang.add("x-worker-1", "x-worker", gang="other-0")
        await gang.add("x-worker-2", "x-worker", patch=UNREADY)
        await gang.add("odd", "x-worker")  # a name that does not begin alike
        assert await waiter.ended() == 0
    assert [line for line in waiter.lines if "ready=2" in line or "ready=3" in line] == []


async def test_it_outlives_an_api_server_that_goes_and_comes(cluster):
    async with waiting(cluster, "-p", "set-0-a:1") as (waiter, gang, proxy):
        await waiter.said("clique=set-0-a ready=0")
        proxy.refuse()
        await waiter.said("again in")
        await gang.add("a1", "set-0-a")
        await proxy.listen()
        assert await waiter.ended() == 0


async def test_in_a_pod_it_knows_itself_who_it_is(cluster, tmp_path):
    info = tmp_path / "pod-info"
    info.mkdir()
    (info / "namespace").write_text(cluster.namespace)
    (info / "podgangname").write_text("mine-0\n")
    async with waiting(cluster, "-p", "mine-0-a:1", folder=info) as (waiter, gang, _):
        await waiter.said("ready=0")
        await gang.add("a1", "mine-0-a", gang="mine-0")
        assert await waiter.ended() == 0


async def test_sigterm_ends_it_at_once(cluster):
    async with waiting(cluster, "-p", "set-0-a:1") as (waiter, _, _):
        await waiter.said("ready=0")
        waiter.process.terminate()
        assert await waiter.ended() == 143


async def run(*words):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "grove_dp", "wait-for", *words, stderr=asyncio.subprocess.PIPE
    )
    _, told = await process.communicate()
    return process.returncode, told.decode()


async def test_who_waits_for_nobody_needs_no_cluster():
    assert (await run())[0] == 0


async def test_what_cannot_be_is_said_with_the_remedy(tmp_path):
    code, told = await run("-p", "a:1", "--info-dir", str(tmp_path))
    assert code == 2
    assert f"{tmp_path}/namespace cannot be read" in told
    assert "--namespace" in told
    (tmp_path / "namespace").write_text("")
    code, told = await run("-p", "a:1", "--info-dir", str(tmp_path))
    assert code == 2
    assert "is empty" in told
    named = ("--namespace", "x", "--podgang", "y", "--kubeconfig", str(tmp_path / "none"))
    code, told = await run("-p", "a:1", *named)
    assert code == 2
    assert "no such kubeconfig" in told


def test_parents_are_read_as_groves_init_container_reads_them():
    assert read_parents(["a-0-b:2", "c:1,d:3", "a-0-b:1"]) == (
        Parent("a-0-b", 2),
        Parent("c", 1),
        Parent("d", 3),
    )


@pytest.mark.parametrize("word", ["a", ":1", "a:", "a:x", "a:-1", "a:²"])
def test_a_parent_that_is_none_is_named(word):
    with pytest.raises(ConfigurationError, match="must be CLIQUE:MINIMUM"):
        read_parents([word])
