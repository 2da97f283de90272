"""Two operators as processes on the real control plane: one is killed, the other goes on where it was."""

import subprocess
import sys
import time
from datetime import datetime

import pytest
from grove_operator.crds.__main__ import CRDS

from grove_dp.testing.controlplane.api import ApiRefused

pytestmark = [pytest.mark.controlplane("kube-scheduler", "kube-controller-manager"), pytest.mark.timeout(120)]

PODS_PER_REPLICA = 2
TIMES = ("--leader.duration_s", "6", "--leader.deadline_s", "4", "--leader.retry_s", "0.5")
LABEL = "grove-dp.test/takeover"


class Cluster:
    """A namespace of the control plane, its own nodes, and operators for it alone."""

    def __init__(self, plane, namespace):
        self.plane, self.api, self.namespace = plane, plane.api, namespace
        self.processes = []
        self.pods = f"/api/v1/namespaces/{namespace}/pods"
        self.sets = f"/apis/grove.io/v1alpha1/namespaces/{namespace}/podcliquesets"
        self.lease = (
            f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/grove-operator-leader-election"
        )

    def start(self):
        flags = ("--kubeconfig", str(self.api.access.kubeconfig), "--watch-namespace", self.namespace)
        flags += ("--leader.namespace", self.namespace, "--webhooks", "false", "--health-port", "0", *TIMES)
        process = subprocess.Popen([sys.executable, "-m", "grove_dp", "operator", *flags])
        self.processes.append(process)
        return process

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    def leads(self):
        """The Lease as it is written."""
        try:
            return self.api.get(self.lease).get("spec") or {}
        except ApiRefused:
            return {}

    def holder(self):
        return self.leads().get("holderIdentity") or ""

    def living(self):
        found = self.api.get(self.pods)["items"]
        return [one for one in found if not one["metadata"].get("deletionTimestamp")]

    def versions(self):
        """Of everything that an operator might write."""
        kinds = [("grove.io", kind) for kind in ("podcliquesets", "podcliques", "podcliquescalinggroups")]
        kinds.append(("scheduler.grove.io", "podgangs"))
        paths = [f"/apis/{group}/v1alpha1/namespaces/{self.namespace}/{kind}" for group, kind in kinds]
        paths.append(f"/api/v1/namespaces/{self.namespace}/services")
        held = [one["metadata"] for path in paths for one in self.api.get(path)["items"]]
        return {one["uid"]: one["resourceVersion"] for one in held}


@pytest.fixture
def cluster(controlplane, kube_namespace):
    controlplane.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    made = Cluster(controlplane, kube_namespace)
    controlplane.add_nodes(2, prefix=kube_namespace, labels={LABEL: kube_namespace})
    controlplane.api.until(made.sets, lambda _: True, 10, "sets are served")
    yield made
    made.close()


def until(good, within_s, what):
    end = time.monotonic() + within_s
    while not good():
        assert time.monotonic() < end, f"not within {within_s} s: {what}"
        time.sleep(0.05)


def ready(pod):
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def a_set(namespace, replicas):
    container = {"name": "worker", "image": "registry.test/worker:1"}
    pod = {"containers": [container], "nodeSelector": {LABEL: namespace}}
    spec = {"roleName": "worker", "replicas": PODS_PER_REPLICA, "podSpec": pod}
    template = {"cliques": [{"name": "worker", "spec": spec}]}
    return {"metadata": {"name": "web"}, "spec": {"replicas": replicas, "template": template}}


def test_another_operator_takes_over_within_20_s_and_nothing_is_made_twice(cluster):
    first, second = cluster.start(), None
    until(cluster.holder, 30, "the first leads")
    leader = cluster.holder()
    second = cluster.start()
    cluster.api.create(
        cluster.sets,
        {**a_set(cluster.namespace, 2), "apiVersion": "grove.io/v1alpha1", "kind": "PodCliqueSet"},
    )
    until(lambda: sum(map(ready, cluster.living())) == 4, 60, "four pods are ready")

    first.kill()
    first.wait()
    renewed = cluster.leads()["renewTime"]
    cluster.api.patch(f"{cluster.sets}/web/scale", {"spec": {"replicas": 4}})
    until(lambda: sum(map(ready, cluster.living())) == 8, 60, "eight pods are ready")
    assert cluster.holder() not in ("", leader)
    taken = cluster.leads()["acquireTime"]
    assert (datetime.fromisoformat(taken) - datetime.fromisoformat(renewed)).total_seconds() < 20
    assert second.poll() is None

    pods = cluster.living()
    places = [(pod["metadata"]["labels"]["grove.io/podclique"], pod["spec"]["hostname"]) for pod in pods]
    assert len(places) == len(set(places)) == 8


def test_an_operator_that_takes_over_from_one_at_rest_writes_nothing(cluster):
    first = cluster.start()
    until(cluster.holder, 30, "the first leads")
    cluster.api.create(
        cluster.sets,
        {**a_set(cluster.namespace, 2), "apiVersion": "grove.io/v1alpha1", "kind": "PodCliqueSet"},
    )
    path = f"{cluster.sets}/web"
    available = lambda: (cluster.api.get(path).get("status") or {}).get("availableReplicas") == 2  # noqa: E731
    until(available, 60, "two replicas are available")
    time.sleep(1.5)
    before = cluster.versions()
    first.terminate()
    assert first.wait(20) == 0
    leader = cluster.holder()
    cluster.start()
    until(lambda: cluster.holder() not in ("", leader), 30, "the second leads")
    time.sleep(2)
    assert cluster.versions() == before
