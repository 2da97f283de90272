"""`grove-dp autoscale` as processes before a real API server, with the rights of the shipped Role alone."""

import json
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import yaml
from grove_operator.crds import definitions as grove_definitions

from grove_dp.metering.records import DTYPE
from grove_dp.metering.signals import ModelSignal, Signals, WorkerSignal, encode
from grove_dp.native.plane import RECORD
from grove_dp.scaling.crds import definition
from grove_dp.scaling.manifests import Install, documents, rules, to_yaml
from grove_dp.testing.controlplane.api import ApiRefused
from grove_dp.testing.frontend import free_port
from tests.kube.election import GIVEN_BACK
from tests.scaling.world import DRAIN, autoscaler, clique_template, container

pytestmark = [pytest.mark.controlplane, pytest.mark.timeout(180)]

CUSTOM = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NAME = "grove-dp-autoscale"
QUICK = {"holdSeconds": 3, "startupSeconds": 1, "drainSeconds": 30}


@pytest.fixture(scope="module")
def served(controlplane, tmp_path_factory):
    """The control plane, once it serves Grove's kinds and ours."""
    file = tmp_path_factory.mktemp("crds") / "all.yaml"
    every = [*grove_definitions(), definition()]
    file.write_text(yaml.safe_dump_all(every))
    controlplane.kubectl("apply", "--server-side", "-f", str(file))
    for document in every:
        controlplane.api.until(f"{CUSTOM}/{document['metadata']['name']}", established, 10, "it is served")
    for plural in ("grove.io/v1alpha1/podcliques", "grove-dp.io/v1alpha1/tokenautoscalers"):
        controlplane.api.until(f"/apis/{plural}", lambda _: True, 10, "it answers")
    return controlplane


def established(one):
    conditions = one.get("status", {}).get("conditions") or []
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


class Load:
    """GET /signals over HTTP: counters of one frontend that grow as *per_s* says."""

    def __init__(self):
        self.per_s = 0.0
        self.work = {}  # by the uid of a pod
        self.arrived = 0.0
        self.at = time.monotonic()
        self.pods = []
        self.inflight = {}
        self.lock = threading.Lock()
        load = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = load.answer()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def answer(self):
        with self.lock:
            now = time.monotonic()
            for pod in self.pods:
                uid, work = pod["metadata"]["uid"], self.per_s * (now - self.at) / len(self.pods)
                self.work[uid] = self.work.get(uid, 0.0) + work
            self.arrived += 10 * self.per_s * (now - self.at)
            self.at = now
            workers = [self.worker(slot, pod) for slot, pod in enumerate(self.pods)]
        return encode(
            Signals(
                boot_id="1",
                now_ns=int(now * 1e9),
                wall_offset_ns=0,
                first_seq=0,
                next_seq=0,
                newest_seq=0,
                lost=0,
                itl_s=0.05,
                workers=workers,
                models=[ModelSignal(model="tiny", arrived=int(self.arrived))],
                dtype=RECORD,
                records=np.zeros(0, DTYPE).tobytes(),
            )
        )

    def worker(self, slot, pod):
        meta = pod["metadata"]
        drained = DRAIN in meta.get("annotations", {})
        return WorkerSignal(
            slot=slot,
            id=meta["name"],
            state="draining" if drained else "ready",
            namespace=meta["namespace"],
            pod=meta["name"],
            pod_uid=meta["uid"],
            pcs="chat",
            component="decode",
            base="tiny",
            models=["tiny"],
            draining=drained,
            inflight=self.inflight.get(meta["name"], 0),
            work_s=self.work.get(meta["uid"], 0.0),
            placed=int(10 * self.work.get(meta["uid"], 0.0)),
        )


class Place:
    """A namespace with a set, an operator of a few lines, and autoscalers as processes."""

    def __init__(self, plane, namespace, tmp_path):
        self.plane, self.api, self.namespace = plane, plane.api, namespace
        self.folder = tmp_path
        self.load = Load()
        self.processes = []
        self.ended = threading.Event()
        self.install()
        self.account = plane.service_account(namespace, NAME)
        self.make()
        self.operator = threading.Thread(target=self.operate)
        self.operator.start()

    def path(self, plural, name="", sub="", group="grove.io/v1alpha1"):
        parts = ["/apis", group, "namespaces", self.namespace, plural, name, sub]
        return "/".join(part for part in parts if part)

    @property
    def pods(self):
        return f"/api/v1/namespaces/{self.namespace}/pods"

    @property
    def clique(self):
        return self.path("podcliques", "chat-0-decode")

    @property
    def tka(self):
        return self.path("tokenautoscalers", "chat", group="grove-dp.io/v1alpha1")

    def install(self):
        """As `kubectl apply` of what `grove-dp manifests autoscale` prints."""
        file = self.folder / "install.yaml"
        wanted = [one for one in documents(Install(namespace=self.namespace)) if one["kind"] != "Deployment"]
        file.write_text(to_yaml(wanted))
        self.plane.kubectl("apply", "-f", str(file))

    def make(self):
        head = {"apiVersion": "grove.io/v1alpha1"}
        template = clique_template("decode", replicas=2)
        spec = {"replicas": 1, "template": {"cliques": [template]}}
        self.api.create(
            self.path("podcliquesets"),
            {**head, "kind": "PodCliqueSet", "metadata": {"name": "chat"}, "spec": spec},
        )
        labels = {"app.kubernetes.io/part-of": "chat", "grove.io/podcliqueset-replica-index": "0"}
        metadata = {"name": "chat-0-decode", "labels": labels}
        document = {**head, "kind": "PodClique", "metadata": metadata, "spec": template["spec"]}
        self.api.create(self.path("podcliques"), document)

        # Nobody has led here before: without it the first start waits for a whole duration.
        given_back = {"metadata": {"name": "grove-dp-autoscale-chat"}, "spec": GIVEN_BACK["spec"]}
        self.api.create(self.path("leases", group="coordination.k8s.io/v1"), given_back)

    def autoscale(self, **spec):
        behavior = QUICK | spec.pop("behavior", {})
        document = autoscaler(behavior=behavior, **spec)
        self.api.create(self.path("tokenautoscalers", group="grove-dp.io/v1alpha1"), document)

    # ------------------------------------------------------------ the operator

    def operate(self):
        while not self.ended.wait(0.1):
            self.step()

    def step(self):
        clique, count = self.api.get(self.clique), 0
        pods = [pod for pod in self.api.get(self.pods)["items"] if "deletionTimestamp" not in pod["metadata"]]
        pods.sort(key=lambda pod: DRAIN not in pod["metadata"].get("annotations", {}))
        count = clique["spec"]["replicas"]
        for pod in pods[: max(0, len(pods) - count)]:
            self.api.delete(f"{self.pods}/{pod['metadata']['name']}", gracePeriodSeconds=0)
        pods = pods[max(0, len(pods) - count) :]
        labels = {
            **clique["metadata"]["labels"],
            "app.kubernetes.io/managed-by": "grove-operator",
            "grove.io/podclique": "chat-0-decode",
        }
        for _ in range(count - len(pods)):
            metadata = {"generateName": "chat-0-decode-", "labels": labels}
            made = self.api.create(
                self.pods, {"metadata": metadata, "spec": {"containers": [container()], "nodeName": "none"}}
            )
            ready = {"type": "Ready", "status": "True"}
            status = {"status": {"phase": "Running", "conditions": [ready]}}
            pods.append(self.api.patch(f"{self.pods}/{made['metadata']['name']}/status", status))
        self.load.pods = pods
        counts = {"replicas": count, "readyReplicas": count, "scheduledReplicas": count}
        observed = {"observedGeneration": clique["metadata"]["generation"]}
        self.api.patch(f"{self.clique}/status", {"status": {**counts, **observed}})
        top = self.path("podcliquesets", "chat")
        generation = self.api.get(top)["metadata"]["generation"]
        self.api.patch(f"{top}/status", {"status": {"observedGeneration": generation}})

    # ------------------------------------------------------------ the processes

    def start(self, *more, name="one"):
        port = free_port()
        words = ["--kubeconfig", str(self.account.kubeconfig), "--namespace", self.namespace]
        config = self.folder / "autoscale.yaml"
        config.write_text(f"frontends: [{self.load.url}]\ntickSeconds: 0.5\nwindowSeconds: 5\n")
        words += ["--config", str(config), "--identity", name, "--port", str(port)]
        log = (self.folder / f"{name}.log").open("w")
        process = subprocess.Popen(
            [sys.executable, "-m", "grove_dp", "autoscale", *words, *more], stdout=log, stderr=log
        )
        log.close()
        self.processes.append(process)
        return process, port

    def log(self, name="one"):
        return (self.folder / f"{name}.log").read_text()

    def close(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(20)
        self.ended.set()
        self.operator.join()
        self.load.close()

    def until_replicas(self, count, within_s):
        self.api.until(
            self.clique, lambda one: one["spec"]["replicas"] == count, within_s, f"{count} replicas"
        )


@pytest.fixture
def place(served, kube_namespace, tmp_path):
    made = Place(served, kube_namespace, tmp_path)
    yield made
    made.close()


def test_load_comes_and_goes_under_the_shipped_role_and_our_field_manager(place):
    place.autoscale()
    place.load.per_s = 1.0
    process, port = place.start()
    place.api.until(place.tka, lambda one: said(one) == "Steady", 40, "it decides")
    place.load.per_s = 4.0
    place.until_replicas(5, 40)
    shown = place.plane.kubectl("-n", place.namespace, "get", "tka", "chat").stdout.split()
    assert shown[-5:-1][:3] == ["chat", "direct", "True"]
    explained = subprocess.run(
        [sys.executable, "-m", "grove_dp", "explain", "scale", "chat", "--admin", f"http://127.0.0.1:{port}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout
    assert "set chat, direct, leads" in explained
    assert re.search(r"PodClique/chat-0-decode \d -> 5: [34]\.\d\d workers of work", explained)
    managers = {one["manager"] for one in place.api.get(place.clique)["metadata"]["managedFields"]}
    assert NAME in managers

    place.load.inflight = {pod["metadata"]["name"]: 2 for pod in place.load.pods}
    place.load.per_s = 0.5
    marked = lambda pods: any(DRAIN in pod["metadata"].get("annotations", {}) for pod in pods["items"])  # noqa: E731
    place.api.until(place.pods, marked, 60, "a pod is drained")
    assert place.api.get(place.clique)["spec"]["replicas"] == 5
    place.load.inflight = {}
    place.until_replicas(1, 60)
    place.api.until(place.tka, lambda one: "lastScale" in one["status"], 5, "it tells")
    events = f"/apis/events.k8s.io/v1/namespaces/{place.namespace}/events"
    place.api.until(
        events, lambda found: "TokenLoad" in [one["reason"] for one in found["items"]], 10, "events"
    )
    process.terminate()
    assert process.wait(20) == 0
    assert "Forbidden" not in place.log()


def said(one):
    return one.get("status", {}).get("lastDecision", {}).get("reason")


def test_a_leader_that_is_killed_is_replaced(place):
    place.autoscale()
    place.load.per_s = 1.0
    first, _ = place.start(name="first")
    place.api.until(place.tka, lambda one: said(one) == "Steady", 40, "it decides")
    place.start(name="second")
    first.kill()
    first.wait()
    place.load.per_s = 4.0
    place.until_replicas(5, 60)
    lease = place.path("leases", "grove-dp-autoscale-chat", group="coordination.k8s.io/v1")
    assert place.api.get(lease)["spec"]["holderIdentity"] == "second/chat"


def test_a_dry_run_needs_only_to_read_and_writes_nothing(place):
    place.autoscale()
    reads = [{**rule, "verbs": [verb for verb in rule["verbs"] if verb != "patch"]} for rule in rules()]
    role = place.path("roles", NAME, group="rbac.authorization.k8s.io/v1")
    place.api.patch(role, {"rules": [rule for rule in reads if rule["verbs"]]})
    place.load.per_s = 4.0
    place.start("--dry-run")
    deadline = time.monotonic() + 40
    while "-> 5: " not in place.log() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert "PodClique/chat-0-decode 2 -> 5: " in place.log()
    assert place.api.get(place.clique)["spec"]["replicas"] == 2
    assert "status" not in place.api.get(place.tka)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("mode",), "sometimes", 'supported values: "advisory", "direct", "off"'),
        (("components",), [], "should have at least 1 items"),
        (("components",), [{"name": "a"}, {"name": "a"}], "Duplicate value"),
        (("components",), [{"name": "a", "minReplicas": 3, "maxReplicas": 2}], "greater than maxReplicas"),
        (("components",), [{"name": "a", "minReplicas": 0}], "needs scaleToZero"),
        (("setReplicas",), {"min": 3, "max": 2}, "min must not be greater than max"),
        (("behavior",), {"headroom": -1}, "greater than or equal to 0"),
        (("podCliqueSet",), "Chat", "should match"),
        (("frontends",), ["grove-dp-admin"], "spec.frontends[0] in body should match"),
        (("headroom",), 1, 'unknown field "spec.headroom"'),
    ],
)
def test_what_makes_no_sense_is_refused_by_the_api_server(served, kube_namespace, path, value, says):
    document = autoscaler()
    part = document["spec"]
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    file = f"/apis/grove-dp.io/v1alpha1/namespaces/{kube_namespace}/tokenautoscalers"
    with pytest.raises(ApiRefused) as refused:
        served.api.create(file, document)
    assert says in refused.value.message


def test_defaults_are_the_servers_too(served, kube_namespace):
    document = autoscaler()
    del document["spec"]["behavior"]
    made = served.api.create(
        f"/apis/grove-dp.io/v1alpha1/namespaces/{kube_namespace}/tokenautoscalers", document
    )
    assert made["spec"]["mode"] == "direct"
    assert made["spec"]["behavior"] | {"headroom": 0.25, "holdSeconds": 300} == made["spec"]["behavior"]
    assert made["spec"]["components"][0]["role"] == "aggregated"
    assert json.dumps(made["spec"]["slo"]) == '{"attainment": 0.95}'
