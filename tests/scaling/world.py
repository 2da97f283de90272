"""A set, an operator that does the least, frontends that count, and the real fleet, in virtual time.

Traffic ──► Frontend (signals as a real one encodes them) ──► Fleet ──► /scale, annotations
Operator: replicas of cliques and groups become pods, drained ones go first ◄── embedded API server
"""

import asyncio
import itertools
import random
from contextlib import asynccontextmanager
from datetime import datetime
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from grove_operator.crds import definitions as grove_definitions

from grove_dp.errors import GroveError
from grove_dp.kube.access import Access
from grove_dp.kube.candidate import LeaseTimes
from grove_dp.kube.errors import NotFound
from grove_dp.metering.records import DTYPE
from grove_dp.metering.signals import ModelSignal, Signals, WorkerSignal, encode
from grove_dp.native.plane import RECORD
from grove_dp.scaling.crds import definitions
from grove_dp.scaling.fleet import Fleet
from grove_dp.scaling.kinds import AUTOSCALERS, CLIQUES, GROUPS, HPAS, SETS
from grove_dp.scaling.settings import Settings
from grove_dp.testing.kubeapi import InProcess, Server
from tests.kube.election import Virtual

NAMESPACE = "default"
DRAIN = "grove-dp.io/drain-until"
MODEL = "tiny"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
QUICK = {"holdSeconds": 120, "startupSeconds": 30, "pendingSeconds": 60, "drainSeconds": 300}


def container(gpus=1):
    return {"name": "main", "image": "x", "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}


def clique_template(name, replicas=1, minimum=1, gpus=1):
    spec = {"roleName": name, "replicas": replicas, "minAvailable": minimum}
    return {"name": name, "spec": {**spec, "podSpec": {"containers": [container(gpus)]}}}


def autoscaler(*components, name="chat", **spec):
    return {
        "apiVersion": "grove-dp.io/v1alpha1",
        "kind": "TokenAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "podCliqueSet": "chat",
            "components": list(components) or [{"name": "decode"}],
            "models": [MODEL],
            **spec,
            "behavior": QUICK | spec.get("behavior", {}),
        },
    }


class Traffic:
    """What clients ask of each component, per second."""

    def __init__(self):
        self.work = {}  # component -> seconds of a worker
        self.arrivals = 0.0
        self.queued = 0
        self.queued_tokens = 0.0
        self.noise = 0.0
        self.rng = random.Random(7)

    def put(self, work, component="decode", arrivals=None):
        self.work[component] = work
        self.arrivals = work if arrivals is None else arrivals

    def now(self, component):
        return self.work.get(component, 0.0) * (1 + self.noise * self.rng.uniform(-1, 1))


class Frontend:
    """Counts what traffic brings, as a real frontend would, and may hang, die or forget."""

    def __init__(self, world, name, share):
        self.world, self.name, self.share = world, name, share
        self.boot = f"{name}-1"
        self.dead = False
        self.blind = False  # it knows no pods
        self.counted = {}  # pod uid -> [work_s, prompt tokens, placed]
        self.arrived = 0.0
        self.at = world.clock.now()

    def count(self):
        now = self.world.clock.now()
        seconds, self.at = now - self.at, now
        traffic = self.world.traffic
        self.arrived += traffic.arrivals * self.share * seconds
        for component in {pod["component"] for pod in self.world.serving()}:
            pods = [pod for pod in self.world.serving() if pod["component"] == component]
            work = traffic.now(component) * self.share * seconds / len(pods)
            for pod in pods:
                counts = self.counted.setdefault(pod["uid"], [0.0, 0.0, 0.0])
                counts[0] += work
                counts[1] += work * 1000
                counts[2] += traffic.arrivals * self.share * seconds / len(pods)

    def answer(self):
        if self.dead:
            raise OSError(f"{self.name} does not answer")
        self.count()
        workers = (
            [] if self.blind else [self.worker(slot, pod) for slot, pod in enumerate(self.world.known())]
        )
        return encode(
            Signals(
                boot_id=self.boot,
                now_ns=int(self.world.clock.now() * 1e9),
                wall_offset_ns=0,
                first_seq=0,
                next_seq=0,
                newest_seq=0,
                lost=0,
                itl_s=0.05,
                workers=workers,
                models=[
                    ModelSignal(
                        model=MODEL,
                        queued=round(self.world.traffic.queued * self.share),
                        queued_tokens=self.world.traffic.queued_tokens * self.share,
                        arrived=int(self.arrived),
                    )
                ],
                dtype=RECORD,
                records=np.zeros(0, DTYPE).tobytes(),
            )
        )

    def worker(self, slot, pod):
        work, tokens, placed = self.counted.get(pod["uid"], (0.0, 0.0, 0.0))
        drained = pod["drained"]
        return WorkerSignal(
            slot=slot,
            id=pod["name"],
            state="draining" if drained else "ready" if pod["ready"] else "unhealthy",
            namespace=NAMESPACE,
            pod=pod["name"],
            pod_uid=pod["uid"],
            pcs="chat",
            component=pod["component"],
            role="aggregated",
            base=MODEL,
            models=[MODEL],
            draining=drained,
            inflight=self.world.inflight.get(pod["name"], 0),
            placed=int(placed),
            prompt_tokens=int(tokens),
            work_s=work,
        )


class World:
    """Everything together."""

    def __init__(self, clock, server, api):
        self.clock, self.server, self.api = clock, server, api
        self.traffic = Traffic()
        self.inflight = {}  # by the name of a pod, at each frontend
        self.room = 1000  # pods that find a place
        self.startup_s = 10.0
        self.unready = set()
        self.observes = True
        self.made = False
        self.written, self.knobs = [], ()
        self.born = {}
        self.numbers = itertools.count()
        self.frontends = {"a": Frontend(self, "a", 0.5), "b": Frontend(self, "b", 0.5)}
        self.pods = []
        self.replicas_seen = []  # (time, object, replicas) at every change
        self.deleted_busy = []

    # ------------------------------------------------------------ objects

    async def make(self, *cliques, groups=(), replicas=1):
        """Set chat, and what the operator would expand it to."""
        spec = {"replicas": replicas, "template": {"cliques": list(cliques)}}
        if groups:
            spec["template"]["podCliqueScalingGroups"] = list(groups)
        top = {"apiVersion": "grove.io/v1alpha1", "kind": "PodCliqueSet", "metadata": {"name": "chat"}}
        await self.api.create(SETS.path(NAMESPACE), {**top, "spec": spec})
        await self.operate()
        self.made = True

    async def autoscale(self, document):
        return await self.api.create(AUTOSCALERS.path(NAMESPACE), document)

    async def replicas(self, name, kind=CLIQUES):
        return (await self.api.get(kind.path(NAMESPACE, name)))["spec"]["replicas"]

    async def scale(self, name, replicas, kind=CLIQUES):
        """By hand."""
        await self.api.merge(kind.path(NAMESPACE, name, "scale"), {"spec": {"replicas": replicas}})

    async def status(self, name="chat"):
        return (await self.api.get(AUTOSCALERS.path(NAMESPACE, name))).get("status", {})

    async def condition(self, type_, name="chat"):
        conditions = (await self.status(name)).get("conditions", [])
        return next(((one["status"], one["reason"]) for one in conditions if one["type"] == type_), None)

    async def reason(self, name="chat"):
        return (await self.status(name))["lastDecision"]["reason"]

    async def hpa(self, kind, name):
        target = {"apiVersion": "grove.io/v1alpha1", "kind": kind, "name": name}
        spec = {"scaleTargetRef": target, "maxReplicas": 3}
        head = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}
        document = {**head, "metadata": {"name": f"hpa-{name}"}, "spec": spec}
        await self.api.create(HPAS.path(NAMESPACE), document)

    # ------------------------------------------------------------ pods, as frontends see them

    def known(self):
        return [pod for pod in self.pods if pod["place"]]

    def serving(self):
        return [pod for pod in self.known() if pod["ready"] and not pod["drained"]]

    def drained(self):
        return [pod["name"] for pod in self.pods if pod["drained"]]

    # ------------------------------------------------------------ the operator

    async def operate(self):
        """One pass: objects of the set, pods of the objects, statuses."""
        top = await self.api.get(SETS.path(NAMESPACE, "chat"))
        for index in range(top["spec"]["replicas"]):
            await self.expand(top, index)
        pods = (await self.api.get(PODS))["items"]
        for kind in (CLIQUES, GROUPS):
            for one in (await self.api.get(kind.path(NAMESPACE)))["items"]:
                if (
                    int(one["metadata"]["labels"]["grove.io/podcliqueset-replica-index"])
                    >= top["spec"]["replicas"]
                ):
                    await self.api.delete(kind.path(NAMESPACE, one["metadata"]["name"]))
                    pods = await self.crew(kind, one, 0, pods, leaves=True)
                    continue
                count = one["spec"]["replicas"]
                self.note(one["metadata"]["name"], count)
                pods = await self.crew(kind, one, count, pods)
        self.note("chat", top["spec"]["replicas"])
        await self.states(pods)
        await self.publish(SETS, top, top["spec"]["replicas"])

    def note(self, name, count):
        last = next((seen for seen in reversed(self.replicas_seen) if seen[1] == name), None)
        if last is None or last[2] != count:
            self.replicas_seen.append((self.clock.now(), name, count))

    async def expand(self, top, index):
        template = top["spec"]["template"]
        groups = template.get("podCliqueScalingGroups", [])
        members = {name for group in groups for name in group["cliqueNames"]}
        for clique in template["cliques"]:
            if clique["name"] not in members:
                spec = {key: value for key, value in clique["spec"].items() if key != "startsAfter"}
                await self.ensure(CLIQUES, f"chat-{index}-{clique['name']}", index, spec)
        for group in groups:
            spec = {key: group[key] for key in ("replicas", "minAvailable", "cliqueNames") if key in group}
            await self.ensure(GROUPS, f"chat-{index}-{group['name']}", index, spec)

    async def ensure(self, kind, name, index, spec):
        try:
            await self.api.get(kind.path(NAMESPACE, name))
        except NotFound:
            labels = {"app.kubernetes.io/part-of": "chat", "grove.io/podcliqueset-replica-index": str(index)}
            head = {"apiVersion": kind.api_version, "kind": kind.kind}
            document = {**head, "metadata": {"name": name, "labels": labels}, "spec": spec}
            await self.api.create(kind.path(NAMESPACE), document)

    async def crew(self, kind, one, count, pods, leaves=False):
        """Pods of a clique, or one for each replica of a group."""
        name = one["metadata"]["name"]
        label = "grove.io/podclique" if kind is CLIQUES else "grove.io/podcliquescalinggroup"
        mine = [pod for pod in pods if pod["metadata"]["labels"].get(label) == name]
        index_of = "grove.io/podcliquescalinggroup-replica-index"
        if kind is CLIQUES:
            mine.sort(key=lambda pod: DRAIN not in pod["metadata"].get("annotations", {}))
            surplus = mine[: max(0, len(mine) - count)]
            missing = [None] * (count - len(mine))
        else:
            there = {int(pod["metadata"]["labels"][index_of]) for pod in mine}
            surplus = [pod for pod in mine if int(pod["metadata"]["labels"][index_of]) >= count]
            missing = [index for index in range(count) if index not in there]
        for pod in surplus:
            if self.inflight.get(pod["metadata"]["name"]):
                self.deleted_busy.append(pod["metadata"]["name"])
            await self.api.delete(f"{PODS}/{pod['metadata']['name']}", grace_s=0)
        gone = [pod["metadata"]["name"] for pod in surplus]
        pods = [pod for pod in pods if pod["metadata"]["name"] not in gone]
        for index in missing:
            labels = {
                **one["metadata"]["labels"],
                "app.kubernetes.io/managed-by": "grove-operator",
                label: name,
                **({} if index is None else {index_of: str(index)}),
            }
            metadata = {"name": f"{name}-{next(self.numbers)}", "labels": labels}
            made = await self.api.create(PODS, {"metadata": metadata, "spec": {"containers": [container()]}})
            pods.append(made)
        mine = [pod for pod in pods if pod["metadata"]["labels"].get(label) == name]
        if not leaves:
            await self.states(pods)
            await self.publish(kind, one, count, mine)
        return pods

    async def states(self, pods):
        """Which have a place, which are ready."""
        now, self.pods, placed = self.clock.now(), [], 0
        for pod in pods:
            name, labels = pod["metadata"]["name"], pod["metadata"]["labels"]
            owner = labels.get("grove.io/podcliquescalinggroup") or labels["grove.io/podclique"]
            index = labels["grove.io/podcliqueset-replica-index"]
            place = placed < self.room
            placed += place
            if place and name not in self.born:
                self.born[name] = now
                target = {"apiVersion": "v1", "kind": "Node", "name": "n1"}
                await self.api.create(
                    f"{PODS}/{name}/binding", {"metadata": {"name": name}, "target": target}
                )
            ready = place and now - self.born[name] >= self.startup_s and name not in self.unready
            if ready != is_ready(pod):
                conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
                patch = {"status": {"phase": "Running", "conditions": conditions}}
                pod["status"] = (await self.api.merge(f"{PODS}/{name}/status", patch))["status"]
            self.pods.append(
                {
                    "name": name,
                    "uid": pod["metadata"]["uid"],
                    "owner": owner,
                    "component": owner.removeprefix(f"chat-{index}-"),
                    "place": place,
                    "ready": ready,
                    "drained": DRAIN in (pod["metadata"].get("annotations") or {}),
                }
            )

    async def publish(self, kind, one, count, mine=()):
        name = one["metadata"]["name"]
        states = [pod for pod in self.pods if pod["owner"] == name]
        ready, placed = sum(pod["ready"] for pod in states), sum(pod["place"] for pod in states)
        status = {"replicas": len(states) if kind is not SETS else count, "updatedReplicas": len(states)}
        if kind is CLIQUES:
            gated = {"scheduleGatedReplicas": len(states) - placed, "scheduledReplicas": placed}
            status |= {"readyReplicas": ready, **gated}
        elif kind is GROUPS:
            status |= {"availableReplicas": ready, "scheduledReplicas": placed}
        if self.observes:
            status["observedGeneration"] = one["metadata"]["generation"]
        if {**one.get("status", {}), **status} != one.get("status"):
            await self.api.merge(kind.path(NAMESPACE, name, "status"), {"status": status})

    async def operating(self):
        while True:
            await self.clock.sleep(1.0)
            if self.made and self.moved():
                await self.operate()

    def moved(self):
        """Anything but Leases was written, a pod may become ready, or the test turned a knob.

        PERF: an hour in which nothing happens is most of an hour that a test looks at.
        """
        new = [self.server.writes.popleft() for _ in range(len(self.server.writes))]
        self.written += new
        knobs = (self.room, tuple(self.unready), self.observes)
        starting = any(pod["place"] and not pod["ready"] for pod in self.pods)
        wrote = any("/leases/" not in write.path for write in new)
        changed, self.knobs = knobs != self.knobs, knobs
        return wrote or starting or changed

    # ------------------------------------------------------------ time

    async def pass_(self, seconds):
        await self.clock.advance(seconds)

    async def fetch(self, url):
        parts = urlsplit(url)
        assert parts.path == "/signals"
        assert dict(parse_qsl(parts.query))["since"] == "0"
        return self.frontends[parts.hostname].answer()

    def fleet(self, identity="one", settings=None, dry_run=False):
        settings = settings or Settings(frontends=tuple(f"http://{name}:9090" for name in self.frontends))
        return Fleet(
            self.api,
            settings,
            self.fetch,
            self.clock,
            random.Random(identity),
            identity=identity,
            dry_run=dry_run,
            where=self.where,
            times=LeaseTimes(fresh=True),
            stuck=lambda: None,
        )

    def where(self, named):
        from grove_dp.metering.external.overview import Found

        async def found():
            return Found([url for url in named if urlsplit(url).hostname in self.frontends])

        return found

    @asynccontextmanager
    async def running(self, *fleets):
        """Fleets at work; without any, one."""
        tasks = [asyncio.create_task(fleet.run()) for fleet in fleets or (self.fleet(),)]
        try:
            yield tasks
        finally:
            for task in tasks:
                task.cancel()
            ended = asyncio.gather(*tasks, return_exceptions=True)
            for _ in range(20):
                if ended.done():
                    break
                await self.pass_(1)
            for result in await ended:
                if isinstance(result, Exception) and not isinstance(result, GroveError):
                    raise result


def is_ready(pod):
    conditions = pod.get("status", {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def seconds(text):
    return datetime.fromisoformat(text).timestamp()


@asynccontextmanager
async def world():
    clock = Virtual()
    server = Server(clock, random.Random(1))
    async with Access(InProcess(server)) as api:
        for document in (*grove_definitions(), *definitions()):
            await api.create(CRDS, document)
        made = World(clock, server, api)
        operator = None
        await api.create("/api/v1/nodes", {"metadata": {"name": "n1"}})
        try:
            operator = asyncio.create_task(made.operating())
            yield made
        finally:
            if operator is not None:
                operator.cancel()
                await asyncio.gather(operator, return_exceptions=True)
