"""The whole operator beside schedulers that know gangs.

KAI's and Volcano's APIs are there by hand-made definitions; Kubernetes' own PodGroups on the real control
plane, where the real scheduler has to refuse a part of a gang.
"""

from contextlib import asynccontextmanager
from copy import deepcopy

import msgspec
import pytest
from grove_operator.admission.defaults import defaulted
from grove_operator.api import CLIQUES, GANGS, KAI_GROUPS, NATIVE_GROUPS, PODS, SETS, VOLCANO_GROUPS
from grove_operator.settings import Scheduler as Choice

from grove_dp.kube.errors import NotFound
from grove_dp.testing.kubeapi import Scheduler
from tests.operator.plan_samples import clique
from tests.operator.scenarios.clusters import CUSTOM, serve
from tests.operator.scenarios.harness import playing
from tests.operator.scenarios.world import condition, labels

KAI, VOLCANO = "kai-scheduler", "volcano"
GROUPS = {KAI: KAI_GROUPS, VOLCANO: VOLCANO_GROUPS}


def definition(kind):
    """PodGroups of *kind*'s API, without a word on what is in them."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced",
            "names": {"plural": kind.plural, "singular": "podgroup", "kind": kind.kind},
            "versions": [version],
        },
    }


def a_set(scheduler, replicas, **template):
    """One clique of so many pods, of which all are needed; 80 MiB each."""
    container = {"name": "main", "image": "registry.test/worker:1"}
    container["resources"] = {"requests": {"memory": "80Mi"}}
    pod_spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
    if scheduler:
        pod_spec["schedulerName"] = scheduler
    document = {
        "apiVersion": SETS.api_version,
        "kind": SETS.kind,
        "metadata": {"name": "w"},
        "spec": {
            "replicas": 1,
            "template": {"cliques": [clique("c", replicas, pod_spec=pod_spec)], **template},
        },
    }
    return defaulted(document, None)


@asynccontextmanager
async def beside(stage, scheduler, served=(), backend="auto", definitions=()):
    """A scene whose operator knows *scheduler*, and which serves these PodGroups."""
    async with playing(stage, operator=False) as scene:
        names = tuple(dict.fromkeys(("default-scheduler", scheduler)))
        choice = Choice(names=names, backend=backend)
        scene.settings = msgspec.structs.replace(scene.settings, scheduler=choice)
        for document in (*map(definition, served), *definitions):
            await scene.api.create(CUSTOM, document)
        if stage is not None:
            await scene.start_operator()
            yield scene
            return
        async with Scheduler(scene.cluster.server, name=scheduler):
            await scene.start_operator()
            yield scene


async def group(scene, kind, name="w-0"):
    try:
        return await scene.api.get(kind.path(scene.namespace, name))
    except NotFound:
        return None


async def appears(scene, kind):
    for _ in range(200):
        if held := await group(scene, kind):
            return held
        await scene.clock.sleep(1)
    raise AssertionError(f"no PodGroup of {kind.group}")


async def notes(scene, reason):
    events = await scene.api.get(f"/apis/events.k8s.io/v1/namespaces/{scene.namespace}/events")
    return [one["note"] for one in events["items"] if one["reason"] == reason]


# ------------------------------------------------------------ by definitions


@pytest.mark.looptime
@pytest.mark.parametrize("scheduler", [KAI, VOLCANO])
async def test_a_set_of_another_scheduler_has_its_podgroup_and_pods_without_gates(scheduler):
    kind = GROUPS[scheduler]
    async with beside(None, scheduler, [kind]) as scene:
        await scene.nodes(3)
        await scene.apply(a_set(scheduler, 3), admitted=False)
        world = await scene.reaches(running=3)
        held = await group(scene, kind)
        assert held["spec"]["minMember"] == 3
        for pod in world.pods:
            assert "schedulingGates" not in pod["spec"]
            assert pod["metadata"]["annotations"].get("pod-group-name", "w-0") == "w-0"
            assert ("kai.scheduler/subgroup-name" in labels(pod)) == (scheduler == KAI)
        await scene.until(lambda world: world.status(GANGS, "w-0").get("phase") == "Running")
        assert condition(world.named(GANGS, "w-0"), "Scheduled")[0] == "True"


@pytest.mark.looptime
async def test_what_kai_changes_of_its_group_stays_and_the_rest_is_healed():
    async with beside(None, KAI, [KAI_GROUPS]) as scene:
        await scene.nodes(2)
        await scene.apply(a_set(KAI, 2), admitted=False)
        await scene.reaches(running=2)
        path = KAI_GROUPS.path(scene.namespace, "w-0")
        theirs = {"markUnschedulable": True, "schedulingBackoff": 7, "queue": "moved"}
        await scene.api.merge(path, {"spec": theirs})
        await scene.rest()
        assert theirs.items() <= (await group(scene, KAI_GROUPS))["spec"].items()
        await scene.api.merge(path, {"spec": {"minMember": 1}})
        await scene.rest()
        assert (await group(scene, KAI_GROUPS))["spec"]["minMember"] == 2
        await scene.api.delete(path)
        assert (await appears(scene, KAI_GROUPS))["spec"]["minMember"] == 2


@pytest.mark.looptime
async def test_gangs_of_a_scheduler_that_is_not_there_are_kept_whole_on_the_default_scheduler():
    async with beside(None, KAI) as scene:
        await scene.nodes(1)
        await scene.apply(a_set(KAI, 2), admitted=False)
        await scene.until(lambda world: world.count() == (0, 2), 60, "room for one of two: none runs")
        await scene.nodes(1)
        world = await scene.reaches(running=2)
        assert {pod["spec"]["schedulerName"] for pod in world.pods} == {"default-scheduler"}
        held = world.named(CLIQUES, "w-0-c")
        assert held["spec"]["podSpec"]["schedulerName"] == KAI
        await scene.clock.sleep(10)
        (told,) = await notes(scene, "SchedulerNotServed")
        assert "scheduling.run.ai/v2alpha2, which are not served here" in told
        before = (await scene.world()).uids()
        await scene.api.create(CUSTOM, definition(KAI_GROUPS))
        assert (await appears(scene, KAI_GROUPS))["spec"]["minMember"] == 2
        await scene.rest()
        assert (await scene.world()).uids() == before
        await scene.kill_pod((await scene.world()).pods[0])
        world = await scene.reaches(running=2)
        assert {pod["spec"]["schedulerName"] for pod in world.pods} == {"default-scheduler", KAI}


@pytest.mark.looptime
async def test_pods_that_another_scheduler_lets_wait_are_left_waiting():
    async with beside(None, KAI, [KAI_GROUPS]) as scene:
        await scene.nodes(1)
        await scene.apply(a_set(KAI, 2), admitted=False)
        await scene.until(lambda world: world.count() == (1, 1), 120, "one of two runs")
        before = (await scene.world()).uids()
        await scene.clock.sleep(300)
        assert (await scene.world()).uids() == before
        await scene.nodes(1)
        await scene.reaches(running=2)
        scene.half_bound_limit_s = 1000  # theirs to keep: this one knows no gangs


@pytest.mark.looptime
async def test_a_start_order_that_nobody_keeps_is_told():
    async with beside(None, KAI, [KAI_GROUPS]) as scene:
        await scene.nodes(2)
        document = a_set(KAI, 1)
        template = document["spec"]["template"]
        template["cliqueStartupType"] = "CliqueStartupTypeInOrder"
        second = deepcopy(template["cliques"][0])
        second["name"] = second["spec"]["roleName"] = "d"
        template["cliques"].append(second)
        await scene.apply(document, admitted=False)
        await scene.reaches(running=2)
        await scene.clock.sleep(10)
        (told,) = await notes(scene, "StartOrderNotKept")
        assert "order.image" in told
        assert await notes(scene, "SchedulerNotServed") == []


@pytest.mark.looptime
async def test_an_older_volcano_has_the_sum_and_after_its_upgrade_each_cliques_minimum():
    made = definition(VOLCANO_GROUPS)
    version = made["spec"]["versions"][0]
    version["schema"]["openAPIV3Schema"] = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"minMember": {"type": "integer"}}}},
    }
    async with beside(None, VOLCANO, [], definitions=[made]) as scene:
        await scene.nodes(2)
        await scene.apply(a_set(VOLCANO, 2), admitted=False)
        await scene.reaches(running=2)
        assert (await appears(scene, VOLCANO_GROUPS))["spec"] == {"minMember": 2}
        path = f"{CUSTOM}/{made['metadata']['name']}"
        newer = definition(VOLCANO_GROUPS)["spec"]["versions"]
        await scene.api.merge(path, {"spec": {"versions": newer}})
        await scene.clock.sleep(120)
        spec = (await group(scene, VOLCANO_GROUPS))["spec"]
        assert [one["subGroupSize"] for one in spec["subGroupPolicy"]] == [2]


# ------------------------------------------------------------ a setting that changes under a set that runs


def counted(pod):
    """Whether a PodGroup counts it."""
    return "schedulingGroup" in pod["spec"] or "pod-group-name" in (pod["metadata"].get("annotations") or {})


@pytest.mark.looptime
@pytest.mark.parametrize("change", [{"default": KAI}, {"backend": "native"}], ids=str)
async def test_a_set_that_runs_keeps_its_pods_and_new_ones_follow_without_waiting_for_them(change):
    async with beside(None, KAI, [KAI_GROUPS, NATIVE_GROUPS[0]]) as scene:
        await scene.nodes(3)
        await scene.apply(a_set("", 3), admitted=False)
        before = await scene.reaches(running=3)
        await changed(scene, change)
        await scene.rest()
        assert (await scene.world()).uids() == before.uids()

        await scene.kill_pod(before.pods[0])
        after = await scene.reaches(running=3)
        (new,) = [pod for pod in after.pods if pod["metadata"]["uid"] not in before.uids()]
        assert new["spec"]["schedulerName"] == change.get("default", "default-scheduler")
        assert not counted(new), "its group would wait for pods that it does not count"

        await scene.scale_set("w", 0)
        await scene.until(lambda world: not world.pods)
        await scene.scale_set("w", 1)
        await scene.until(lambda world: world.count() == (3, 0) and all(map(counted, world.pods)))


@pytest.mark.looptime
async def test_pods_that_wait_behind_our_gate_are_let_go_when_another_is_to_place_them():
    async with beside(None, KAI, [KAI_GROUPS]) as scene:
        await scene.nodes(1)
        await scene.apply(a_set("", 3), admitted=False)
        await scene.stays(running=0, pending=3)
        await changed(scene, {"backend": "none"})
        await scene.nodes(2)
        await scene.reaches(running=3)


async def changed(scene, change):
    """The operator starts again with other settings."""
    await scene.stop_operator()
    choice = msgspec.structs.replace(scene.settings.scheduler, **change)
    scene.settings = msgspec.structs.replace(scene.settings, scheduler=choice)
    await scene.start_operator()


# ------------------------------------------------------------ Kubernetes' own, by the real scheduler


@pytest.mark.controlplane("kube-scheduler", "kube-controller-manager")
@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_native_gang_of_eight_is_not_begun_with_room_for_five(controlplane, kubelet, kube_namespace):
    serve(controlplane)
    served = {
        version["groupVersion"]
        for group in controlplane.api.get("/apis")["groups"]
        for version in group["versions"]
    }
    version = next(kind for kind in NATIVE_GROUPS if kind.api_version in served)
    async with beside(
        (controlplane, kubelet, kube_namespace), "default-scheduler", backend="native"
    ) as scene:
        await scene.nodes(5)
        await scene.apply(a_set("", 8), admitted=False)
        held = await scene.until(
            lambda world: condition(world.named(GANGS, "w-0") or {}, "Scheduled")[1] == "Unschedulable",
            30,
            "the gang says that it does not fit",
        )
        made = await group(scene, version)
        assert made["spec"]["schedulingPolicy"]["gang"]["minCount"] == 8
        assert len(held.pods) == 8
        for pod in held.of(PODS):
            assert pod["spec"]["schedulingGroup"] == {"podGroupName": "w-0"}
            assert "schedulingGates" not in pod["spec"]
        await scene.stays(running=0, pending=8)
        assert not (await scene.world()).bound()
        await scene.nodes(3)
        await scene.reaches(running=8, within_s=30)
        await scene.until(lambda world: world.status(GANGS, "w-0").get("phase") == "Running", 10)
