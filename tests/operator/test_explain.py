"""Why a gang waits, on the embedded API server and on the real one."""

import asyncio
import json
import sys

import msgspec
import pytest
from grove_operator.api import GANGS
from grove_operator.crds import definitions
from grove_operator.crds.__main__ import CRDS
from grove_operator.explain import NoSuchGang, explain, lines
from grove_operator.naming import GATE, TOPOLOGY_NAME, L

from grove_dp.clock import SystemClock
from grove_dp.kube.errors import NotFound
from grove_dp.kube.events import Recorder, Reference
from grove_dp.kube.objects import PODS, Meta
from grove_dp.testing.frontend import eventually
from tests.kube.clusters import fake_cluster, real_cluster

SINCE = "2026-11-22T10:00:00Z"
WALL_S = 1_795_341_600.0 + 90  # a minute and a half after
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.controlplane)])
async def cluster(request, tmp_path):
    if request.param == "fake":
        async with fake_cluster(tmp_path) as made:
            async with made.line() as (api, _):
                for each in definitions():
                    await api.create(DEFINITIONS, each)
            yield made
    else:
        plane, namespace = (request.getfixturevalue(name) for name in ("controlplane", "kube_namespace"))
        await asyncio.to_thread(plane.kubectl, "apply", "--server-side", "-f", str(CRDS))
        yield real_cluster(plane, namespace, tmp_path)


@pytest.fixture
async def api(cluster):
    async with cluster.line() as (made, _):
        yield made


def condition(type_, holds, reason, message):
    return {
        "type": type_,
        "status": str(holds),
        "reason": reason,
        "message": message,
        "lastTransitionTime": SINCE,
    }


async def create_when_served(api, path, document):
    async def created():
        try:
            return await api.create(path, document)
        except NotFound:
            return None

    return await eventually(created, bool, 10, "the kind is served")


async def a_gang(api, namespace, *conditions, phase="Pending"):
    metadata = {
        "name": "serve-0",
        "labels": {L.SCHEDULER: "default-scheduler"},
        "annotations": {TOPOLOGY_NAME: "gpus"},
    }
    groups = [{"name": f"serve-0-{name}", "minReplicas": 2, "podReferences": []} for name in ("a", "b")]
    document = {
        "apiVersion": "scheduler.grove.io/v1alpha1",
        "kind": "PodGang",
        "metadata": metadata,
        "spec": {"podgroups": groups},
    }
    made = await create_when_served(api, GANGS.path(namespace), document)
    status = {"status": {"phase": phase, "conditions": list(conditions)}}
    await api.merge(GANGS.path(namespace, "serve-0", "status"), status)
    return made


async def a_pod(api, namespace, name, clique, *gates, node="", ready=False):
    spec = {"containers": [{"name": "main", "image": "engine:1"}]}
    spec |= {"schedulingGates": [{"name": gate} for gate in gates]} if gates else {}
    spec |= {"nodeName": node} if node else {}
    metadata = {"name": name, "labels": {L.GANG: "serve-0", L.CLIQUE: clique}}
    await api.create(
        PODS.path(namespace), {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    )
    if ready:
        patch = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        await api.merge(PODS.path(namespace, name, "status"), patch)


async def an_event(api, namespace, gang, reason, note):
    about = Reference.to(GANGS, msgspec.convert(gang["metadata"], Meta))
    async with Recorder(api, "grove-dp.io/operator", "test", clock=SystemClock()) as recorder:
        recorder.record(about, reason, note, action="Schedule", kind="Warning")


@pytest.fixture
async def waiting(api, cluster):
    """A gang that has no room: one pod held by us, one by somebody else, two that run."""
    gang = await a_gang(
        api,
        cluster.namespace,
        condition("Initialized", True, "PodGangPodsCreated", "all pods were created"),
        condition("Scheduled", False, "NoRoom", "4 nodes: 3 too full, 1 cordoned"),
        condition("Ready", False, "InsufficientReadyPods", "serve-0-a has 0 of 2"),
    )
    await a_pod(api, cluster.namespace, "a1", "serve-0-a", GATE, "users.io/quota")
    await a_pod(api, cluster.namespace, "a2", "serve-0-a", "users.io/quota")
    await a_pod(api, cluster.namespace, "b1", "serve-0-b", node="n1")
    await a_pod(api, cluster.namespace, "b2", "serve-0-b", node="n1", ready=True)
    await an_event(api, cluster.namespace, gang, "NoRoom", "no room for 2 pods")
    return cluster


async def test_what_a_gang_waits_for_is_its_first_condition_that_does_not_hold(waiting, api):
    told = await explain(api, waiting.namespace, "serve-0")
    assert (told.waits.condition, told.waits.reason) == ("Scheduled=False", "NoRoom")
    assert (told.phase, told.scheduler, told.topology) == ("Pending", "default-scheduler", "gpus")
    assert told.gates == {"users.io/quota": 2}


async def test_each_pod_is_counted_by_how_far_it_has_come(waiting, api):
    told = await explain(api, waiting.namespace, "serve-0")
    first, second = told.groups
    assert (first.name, first.needs, first.pods, first.gated, first.released) == ("serve-0-a", 2, 2, 1, 1)
    assert second.bound + second.ready == 2  # a kubelet may have made the other one ready, too
    assert second.ready >= 1


async def test_people_get_a_table(waiting, api):
    shown = list(lines(await explain(api, waiting.namespace, "serve-0"), WALL_S))
    assert shown[0] == f"{waiting.namespace}/serve-0  Pending, default-scheduler, topology gpus"
    assert shown[1] == "  waits   NoRoom, 90 s ago: 4 nodes: 3 too full, 1 cordoned"
    assert shown[2] == "  gate    users.io/quota of somebody else holds 2 of its pods"
    assert shown[3].split() == "clique needs pods gated released bound ready going".split()
    assert shown[4].split() == "serve-0-a 2 2 1 1 0 0 0".split()
    assert "Scheduled=False" in shown[7]
    assert shown[-1].endswith("NoRoom: no room for 2 pods")


async def test_a_gang_that_runs_waits_for_nothing(api, cluster):
    good = condition("Scheduled", True, "SufficientScheduledPods", "")
    await a_gang(api, cluster.namespace, good, phase="Running")
    shown = list(lines(await explain(api, cluster.namespace, "serve-0"), WALL_S))
    assert shown[1] == "  waits for nothing"


async def test_a_gang_that_there_is_not_is_said_with_the_remedy(api, cluster):
    with pytest.raises(NoSuchGang, match="kubectl get podgangs -A"):
        await explain(api, cluster.namespace, "none")


async def run(*words):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "grove_dp", "explain", "gang", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_the_command_tells_it_to_people_and_to_machines(waiting):
    async with waiting.line() as (_, proxy):
        place = ("-n", waiting.namespace, "--kubeconfig", str(waiting._kubeconfig_for(proxy.port)))
        code, out, _ = await run("serve-0", *place)
        assert code == 0
        assert "NoRoom" in out
        code, out, _ = await run("serve-0", *place, "--json")
        assert json.loads(out)["waits"]["reason"] == "NoRoom"
        code, _, err = await run("none", *place)
        assert code == 1
        assert "NoSuchGang" in err


async def test_the_command_wants_a_name():
    code, _, err = await run()
    assert code == 2
    assert "grove-dp explain gang NAME" in err
