"""A scene: nodes, sets, operators, and words for what happens to them.

    @scenario
    async def test_a_gang_waits_for_room(scene):
        await scene.nodes(10)
        await scene.cordon(1)
        await scene.apply("workload1")
        await scene.stays(running=0, pending=10)
        await scene.uncordon(1)
        await scene.reaches(running=10)

`@scenario` plays it on the API server of this process in virtual time; `@scenario(real=True)` on the real
control plane as well. Whatever a scenario does, at its end the world must come to rest, keep the invariants,
and stay untouched by a second look (`invariants`).
"""

import asyncio
import functools
import inspect
from contextlib import asynccontextmanager, suppress
from copy import deepcopy
from pathlib import Path
from random import Random

import pytest
import yaml
from grove_operator.admission.defaults import defaulted
from grove_operator.admission.validate import validate
from grove_operator.api import BINDINGS, CLIQUES, GROUPS, NODES, PODS, SETS
from grove_operator.main import Operator
from grove_operator.naming import L
from grove_operator.settings import Cluster, Health, Leader, OperatorSettings, Webhooks

from grove_dp.kube.access import Access
from tests.operator.scenarios import invariants
from tests.operator.scenarios.clusters import Embedded, Real, room_for_one
from tests.operator.scenarios.world import labels, name

WORKLOADS = Path(__file__).parent / "workloads"
REST_S = 30.0  # of no write by the operator, and the world is at rest; on the real one a second and a half
REAL_REST_S = 1.5
LIMIT_S = 120.0
TICK_S = 1e-5  # virtual time goes in microseconds: waits for less would never end
IMAGE = "registry.test/worker:2"


class Scene:
    """One cluster, and whoever acts in it."""

    def __init__(self, cluster, rng=None):
        self.cluster = cluster
        self.api = cluster.api
        self.namespace = cluster.namespace
        self.clock = cluster.clock
        self.diary = cluster.diary
        self.writes = cluster.writes
        self.courses = cluster.courses
        self.settings = OperatorSettings(
            cluster=Cluster(namespace=cluster.namespace),
            leader=Leader(enabled=False),
            webhooks=Webhooks(enabled=False),
            health=Health(port=0),
        )
        self.half_bound_limit_s = 45.0
        self.operator = None
        self.shrunk = set()  # cliques that lost pods by choice: their indices may have holes
        self._rng = rng or Random(7)
        self.all_nodes = []
        self.cordoned = []
        self.lines = []

    # ------------------------------------------------------------ operators

    async def start_operator(self, identity="one"):
        """An operator of its own line, until it is stopped or killed."""
        line = await self.cluster.line()
        api = Access(line)
        operator = Operator(
            api, self.settings, identity=identity, clock=self.clock, rng=Random(self._rng.random())
        )
        self.operator = asyncio.create_task(operator.run(), name=f"operator-{identity}")
        self.lines.append((line, api, self.operator))
        return self.operator

    async def stop_operator(self):
        """As on SIGTERM."""
        _, api, task = self.lines.pop()
        await self._end(task)
        await api.close()
        self.operator = None

    async def kill_operator(self):
        """As by kill -9: nothing that it was about to do is done."""
        self.lines[-1][0].cut = True
        await self.stop_operator()

    async def restart_operator(self):
        await self.stop_operator()
        await self.start_operator()

    async def _end(self, task):
        if task.done():
            task.result()  # it must not have ended by itself
            raise AssertionError("the operator ended by itself")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    def check_operator(self):
        """It must not have ended by itself."""
        if self.operator is not None and self.operator.done():
            self.operator.result()
            raise AssertionError("the operator ended by itself")

    # ------------------------------------------------------------ nodes

    async def nodes(self, count, make=room_for_one, cordoned=0, **more):
        """Racks of 7, blocks of 14, zones of 28; room for one pod of 80 MiB each."""
        fresh = []
        for number in range(len(self.all_nodes), len(self.all_nodes) + count):
            places = {
                "kubernetes.io/zone": f"zone-{number // 28}",
                "kubernetes.io/block": f"block-{number // 14}",
                "kubernetes.io/rack": f"rack-{number // 7}",
            }
            prefix = f"{self.namespace}-" if self.cluster.real else ""
            fresh.append(make(f"{prefix}n{number:02}", places, **more))
        await self.cluster.add_nodes(fresh)
        self.all_nodes += [name(one) for one in fresh]
        if cordoned:
            await self.cordon(cordoned)

    async def cordon(self, *which):
        """The last so many that are not, or those named."""
        for node in self._which(which, self.open_nodes[::-1]):
            await self.api.merge(NODES.path(name=node), {"spec": {"unschedulable": True}})
            self.cordoned.append(node)

    async def uncordon(self, *which):
        """So many of those that are, or those named; all without a word."""
        for node in self._which(which or (len(self.cordoned),), list(self.cordoned)):
            await self.api.merge(NODES.path(name=node), {"spec": {"unschedulable": None}})
            self.cordoned.remove(node)

    async def cordon_all(self):
        await self.cordon(len(self.open_nodes))

    @property
    def open_nodes(self):
        return [node for node in self.all_nodes if node not in self.cordoned]

    @staticmethod
    def _which(which, candidates):
        if len(which) == 1 and isinstance(which[0], int):
            assert which[0] <= len(candidates), f"{which[0]} of {len(candidates)} nodes"
            return candidates[: which[0]]
        return list(which)

    async def lose_node(self, node):
        await self.cluster.kubelet.lose(node)

    async def find_node(self, node):
        await self.cluster.kubelet.find(node)

    async def topology(self, binding="topology", levels=("zone", "block", "rack", "host")):
        """A binding of the levels that nodes are labelled with."""
        keys = {"host": "kubernetes.io/hostname"}
        listed = [{"domain": one, "key": keys.get(one, f"kubernetes.io/{one}")} for one in levels]
        head = {"apiVersion": BINDINGS.api_version, "kind": BINDINGS.kind, "metadata": {"name": binding}}
        await self.api.create(BINDINGS.path(), {**head, "spec": {"levels": listed}})
        self.cluster.bindings.append(binding)

    # ------------------------------------------------------------ sets

    async def apply(self, workload, *changes, admitted=True):
        """A set, by the name of its file or as a document, as `kubectl apply` and our webhooks would."""
        document = load(workload) if isinstance(workload, str) else deepcopy(workload)
        for change in changes:
            change(document)
        if self.cluster.real:
            self.cluster.keep(document)
        document["metadata"]["namespace"] = self.namespace
        if admitted:
            document = admit(document)
        await self.api.create(SETS.path(self.namespace), document)
        return document["metadata"]["name"]

    async def edit(self, wanted, *changes):
        """A new version of a set, through our webhooks."""
        path = SETS.path(self.namespace, wanted)
        old = await self.api.get(path)
        new = deepcopy(old)
        for change in changes:
            change(new)
        new = admit(new, old)
        await self.api.update(path, new)

    async def remove(self, wanted, **options):
        await self.api.delete(SETS.path(self.namespace, wanted), **options)

    async def scale(self, kind, wanted, replicas):
        """Through the scale sub-resource, as autoscalers do."""
        if (
            kind is CLIQUES
            and replicas < (await self.api.get(kind.path(self.namespace, wanted)))["spec"]["replicas"]
        ):
            self.shrunk.add(wanted)
        path = kind.path(self.namespace, wanted, "scale")
        await self.api.merge(path, {"spec": {"replicas": replicas}})

    async def scale_set(self, wanted, replicas):
        await self.scale(SETS, wanted, replicas)

    async def scale_group(self, wanted, replicas):
        await self.scale(GROUPS, wanted, replicas)

    async def scale_clique(self, wanted, replicas):
        await self.scale(CLIQUES, wanted, replicas)

    # ------------------------------------------------------------ pods

    async def kill_pod(self, pod, **options):
        """Delete it, as anybody may."""
        await self.api.delete(PODS.path(self.namespace, _name(pod)), **options)

    async def fail_pod(self, pod):
        """Its containers end, and nothing starts them again."""
        await self.cluster.kubelet.fail(self.namespace, _name(pod))

    async def set_ready(self, pod, ready):
        await self.cluster.kubelet.set_ready(self.namespace, _name(pod), ready)

    async def foreign_pod(self, pod, memory="80Mi", **spec):
        """A pod that is nobody's of ours, and takes room."""
        requests = {"requests": {"memory": memory}}
        container = {"name": "main", "image": "registry.test/other:1", "resources": requests}
        document = {"metadata": {"name": pod}, "spec": {"containers": [container], **spec}}
        await self.api.create(PODS.path(self.namespace), document)

    # ------------------------------------------------------------ looking

    async def world(self):
        return await self.cluster.world()

    def hastened(self, seconds):
        """*seconds* of virtual time; less of them where they are real."""
        return min(seconds, REAL_REST_S) if self.cluster.real else seconds

    async def until(self, holds, within_s=LIMIT_S, what="it holds"):
        """Wait until the world is so."""
        end = self.clock.now() + within_s
        while True:
            self.cluster.changed.clear()
            world = await self.world()
            if holds(world):
                return world
            self.check_operator()
            left = end - self.clock.now()
            if left <= TICK_S:
                raise AssertionError(f"not within {within_s:g} s: {what}\n{await self.told(world)}")
            with suppress(TimeoutError):
                await asyncio.wait_for(self.cluster.changed.wait(), min(left, 1.0))
            await asyncio.sleep(self.cluster.moment_s if self.cluster.real else 0)

    async def always(self, holds, for_s=REST_S, what="it holds"):
        """It must be so, and stay so."""
        end = self.clock.now() + self.hastened(for_s)
        while (left := end - self.clock.now()) > TICK_S:
            self.cluster.changed.clear()
            world = await self.world()
            if not holds(world):
                raise AssertionError(f"no longer: {what}\n{await self.told(world)}")
            self.check_operator()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.cluster.changed.wait(), left)

    async def reaches(self, *parts, running, pending=0, within_s=LIMIT_S):
        """So many pods of these cliques run, so many wait, and that is all there is; and so it stays."""
        what = f"{running} running, {pending} pending of {', '.join(parts) or 'all'}"
        await self.until(lambda world: world.count(*parts) == (running, pending), within_s, what)
        await self.stays(*parts, running=running, pending=pending)
        return await self.world()

    async def stays(self, *parts, running, pending, for_s=REST_S):
        """As `reaches`, from when the operator has first come to rest."""
        what = f"{running} running, {pending} pending of {', '.join(parts) or 'all'}"
        await self.until(lambda world: world.count(*parts) == (running, pending), LIMIT_S, what)
        await self.always(lambda world: world.count(*parts) == (running, pending), for_s, what)

    async def rest(self, within_s=900.0):
        """Wait until the operator has nothing to write any more."""
        end = self.clock.now() + within_s
        calm_s = self.hastened(REST_S)
        while True:
            mark = len(self.writes)
            await self.clock.sleep(calm_s)
            self.check_operator()
            if len(self.writes) == mark:
                return
            if self.clock.now() > end:
                told = "\n".join(map(str, self.writes[-12:]))
                raise AssertionError(f"the operator does not come to rest in {within_s:g} s:\n{told}")

    async def told(self, world=None):
        """The world in a few lines, for whoever reads a failure."""
        world = world or await self.world()
        lines = []
        for pod in sorted(world.of(PODS), key=name):
            spec, status = pod["spec"], pod.get("status") or {}
            held = [one["type"] for one in status.get("conditions") or () if one["status"] == "True"]
            gates = [one["name"] for one in spec.get("schedulingGates") or ()]
            ending = " ending" if "deletionTimestamp" in pod["metadata"] else ""
            lines.append(
                f"  {name(pod)} #{labels(pod).get(L.POD_INDEX)} hash={labels(pod).get(L.TEMPLATE_HASH)} "
                f"{status.get('phase')} on={spec.get('nodeName')} "
                f"gates={gates} {held}{ending}"
            )
        for plural in ("podcliquesets", "podcliques", "podcliquescalinggroups", "podgangs"):
            for one in world.kinds[plural]:
                lines.append(f"  {plural} {name(one)}: {_brief(one.get('status'))}")
        lines.append(f"  {len(self.writes)} writes, the last:")
        lines += [f"    {write}" for write in self.writes[-6:]]
        return "\n".join(lines)


def _name(pod):
    return pod if isinstance(pod, str) else name(pod)


def _brief(status):
    status = dict(status or {})
    held = status.pop("conditions", None) or ()
    status["conditions"] = {
        one["type"]: f"{one['status']} {one.get('reason', '')}: {one.get('message', '')}" for one in held
    }
    return status


# ------------------------------------------------------------ sets


def load(workload):
    return yaml.safe_load((WORKLOADS / f"{workload}.yaml").read_text())


def admit(document, old=None):
    """As our webhooks do."""
    document = defaulted(document, old)
    verdict = validate(document, old)
    assert not verdict.faults, verdict.faults
    return document


def clique_of(document, clique):
    return next(one for one in document["spec"]["template"]["cliques"] if one["name"] == clique)


def group_of(document, group):
    groups = document["spec"]["template"]["podCliqueScalingGroups"]
    return next(one for one in groups if one["name"] == group)


def image(value=IMAGE, *cliques):
    """A change: another image for these cliques, or for all."""

    def changed(document):
        for one in document["spec"]["template"]["cliques"]:
            if not cliques or one["name"] in cliques:
                one["spec"]["podSpec"]["containers"][0]["image"] = value

    return changed


def replicas(count):
    """A change: so many replicas of the set."""

    def changed(document):
        document["spec"]["replicas"] = count

    return changed


# ------------------------------------------------------------ scenarios


@asynccontextmanager
async def playing(stage=None, seed=1, operator=True, scheduler_after_s=0.0):
    """A scene, its operator running; at the end the invariants are looked at."""
    cluster = Embedded(seed, scheduler_after_s) if stage is None else Real(*stage)
    async with cluster:
        scene = Scene(cluster, Random(seed))
        if operator:
            await scene.start_operator()
        try:
            yield scene
            await invariants.hold(scene)
        finally:
            for line, api, task in scene.lines:
                line.cut = line.cut or not cluster.real
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await api.close()


def scenario(test=None, *, real=False, **options):
    """Play the test: its first argument is the scene. *real*: True, or "only"."""
    if test is None:
        return functools.partial(scenario, real=real, **options)
    signature = inspect.signature(test)
    fixtures = list(signature.parameters.values())[1:]
    stage = inspect.Parameter("stage", inspect.Parameter.KEYWORD_ONLY)

    @functools.wraps(test)
    async def played(*, stage, **given):
        async with playing(stage, **options) as scene:
            await test(scene, **given)

    given = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in fixtures]
    played.__signature__ = inspect.Signature([*given, stage])
    del played.__wrapped__
    stages = [] if real == "only" else [pytest.param("embedded", marks=pytest.mark.looptime)]
    if real:
        programs = ("kube-scheduler", "kube-controller-manager")
        marks = (pytest.mark.controlplane(*programs), pytest.mark.slow, pytest.mark.timeout(180))
        stages.append(pytest.param("real", marks=marks))
    return pytest.mark.parametrize("stage", stages, indirect=True)(played)
