"""The fake kubelet: pods with a node run, and end as real ones do as far as the API tells."""

import itertools
import math

import pytest

from grove_dp.testing.controlplane import ControlPlane, programs
from grove_dp.testing.kubelet import Course, FakeKubelet, Nothing

pytestmark = pytest.mark.controlplane
NUMBERS = itertools.count()


@pytest.fixture
def start(controlplane, kube_namespace):
    """start(...) makes a pod on a node of its own, without the scheduler, and waits until it runs."""

    def started(**metadata):
        return run(controlplane, kube_namespace, **metadata)

    return started


def run(plane, namespace, **metadata):
    (node,) = plane.add_nodes(1, f"kubelet-{next(NUMBERS)}")
    spec = {"nodeName": node, "containers": [{"name": "main", "image": "none"}]}
    pods = f"/api/v1/namespaces/{namespace}/pods"
    plane.api.create(pods, {"metadata": {"name": "pod", **metadata}, "spec": spec})
    return plane.api.until(f"{pods}/pod", lambda pod: pod["status"]["phase"] == "Running", 10, "it runs")


def conditions(pod):
    return {condition["type"]: condition["status"] for condition in pod["status"]["conditions"]}


def test_a_running_pod_has_all_that_a_controller_looks_at(start):
    status = start()["status"]
    assert {condition["status"] for condition in status["conditions"]} == {"True"}
    assert {condition["type"] for condition in status["conditions"]} >= {"Ready", "ContainersReady"}
    assert status["podIPs"] == [{"ip": status["podIP"]}]
    assert status["startTime"]
    (container,) = status["containerStatuses"]
    assert container["ready"]
    assert "running" in container["state"]


def test_two_pods_have_two_addresses(start, controlplane):
    first = start()["status"]["podIP"]
    second = run(controlplane, controlplane.namespace("kubelet-second"))["status"]["podIP"]
    assert first != second


def test_a_deleted_pod_goes_at_once_though_it_had_half_a_minute(start, controlplane, kube_namespace):
    start()
    path = f"/api/v1/namespaces/{kube_namespace}/pods"
    controlplane.api.delete(f"{path}/pod")
    controlplane.api.until(path, lambda pods: not pods["items"], 5, "it is gone")


def test_a_pod_with_a_finalizer_stays_until_it_is_taken_off(start, controlplane, kube_namespace):
    start(finalizers=["gdp.test/held"])
    path = f"/api/v1/namespaces/{kube_namespace}/pods"
    controlplane.api.delete(f"{path}/pod")
    controlplane.api.until(f"{path}/pod", lambda pod: "deletionTimestamp" in pod["metadata"], 5, "it ends")
    controlplane.api.patch(f"{path}/pod", {"metadata": {"finalizers": None}})
    controlplane.api.until(path, lambda pods: not pods["items"], 5, "it is gone")


def test_a_pod_loses_its_readiness_and_gets_it_back(start, kubelet, kube_namespace):
    before = start()
    unready = kubelet.set_ready(kube_namespace, "pod", False)
    assert conditions(unready)["Ready"] == conditions(unready)["ContainersReady"] == "False"
    assert unready["status"]["phase"] == "Running"
    assert unready["status"]["podIP"] == before["status"]["podIP"]
    assert conditions(kubelet.set_ready(kube_namespace, "pod", True))["Ready"] == "True"


def test_a_failed_pod_tells_its_exit_code_and_stays_failed(start, kubelet, controlplane, kube_namespace):
    start()
    failed = kubelet.fail(kube_namespace, "pod", code=137, reason="OOMKilled")
    assert failed["status"]["phase"] == "Failed"
    ended = failed["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")
    controlplane.api.patch(
        f"/api/v1/namespaces/{kube_namespace}/pods/pod", {"metadata": {"labels": {"seen": "yes"}}}
    )
    run(controlplane, controlplane.namespace("kubelet-after"))  # the kubelet has seen that change by now
    assert controlplane.api.get(f"/api/v1/namespaces/{kube_namespace}/pods/pod")["status"] == failed["status"]


def test_it_gives_the_addresses_it_is_told_and_outlives_a_restart_of_the_server():
    with (
        ControlPlane(found=programs()) as plane,
        FakeKubelet(plane.api, containers=Nothing(lambda pod: "127.0.0.7")),
    ):
        assert run(plane, "default")["status"]["podIP"] == "127.0.0.7"
        plane.restart("kube-apiserver")
        assert run(plane, plane.namespace("later"))["status"]["phase"] == "Running"


def test_pods_take_their_courses_on_the_real_server_too():
    courses = {
        "slow": Course(init_s=0.2, ready_s=0.5),
        "fails": Course(fails_s=0.2, code=7),
        "done": Course(fails_s=0.2, code=0),
        "hangs": Course(ends_s=math.inf),
    }
    pods = "/api/v1/namespaces/default/pods"
    with (
        ControlPlane(found=programs()) as plane,
        FakeKubelet(plane.api, course=lambda pod: courses[pod["metadata"]["name"]]),
    ):
        (node,) = plane.add_nodes(1)
        containers = [{"name": "main", "image": "none"}]
        spec = {
            "nodeName": node,
            "containers": containers,
            "initContainers": [{**containers[0], "name": "init"}],
        }
        for name in courses:
            plane.api.create(pods, {"metadata": {"name": name}, "spec": {**spec, "restartPolicy": "Never"}})

        def until(name, good, what):
            return plane.api.until(f"{pods}/{name}", lambda pod: good(pod["status"]), 10, what)

        until("slow", lambda status: "initContainerStatuses" in status, "its init container runs")
        until("slow", lambda status: status["phase"] == "Running", "it runs")
        until("slow", lambda status: conditions({"status": status})["Ready"] == "True", "it is ready")
        until("done", lambda status: status["phase"] == "Succeeded", "it has succeeded")
        failed = until("fails", lambda status: status["phase"] == "Failed", "it has failed")
        assert failed["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 7
        until("hangs", lambda status: status["phase"] == "Running", "it runs")
        plane.api.delete(f"{pods}/hangs", gracePeriodSeconds=1)
        plane.api.delete(f"{pods}/slow")
        plane.api.until(
            pods,
            lambda found: [pod["metadata"]["name"] for pod in found["items"]] == ["done", "fails", "hangs"],
            10,
            "the one is gone, and the other hangs",
        )


def test_pods_of_a_lost_node_are_stuck_until_it_is_found(start, kubelet, controlplane, kube_namespace):
    pod = start()
    node, path = pod["spec"]["nodeName"], f"/api/v1/namespaces/{kube_namespace}/pods"
    kubelet.lose(node)
    assert conditions(controlplane.api.get(f"/api/v1/nodes/{node}"))["Ready"] == "Unknown"
    assert conditions(controlplane.api.get(f"{path}/pod"))["Ready"] == "False"
    controlplane.api.delete(f"{path}/pod")
    run(controlplane, controlplane.namespace("kubelet-not-lost"))  # the kubelet has seen the deletion by now
    assert controlplane.api.get(f"{path}/pod")["metadata"]["deletionTimestamp"]
    kubelet.find(node)
    controlplane.api.until(path, lambda pods: not pods["items"], 5, "it is gone")
