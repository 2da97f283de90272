"""What a pod is to the frontend, and how the registry follows pods that come, change and go."""

from random import Random

import msgspec
import pytest

from grove_dp.clock import ManualClock
from grove_dp.frontend.pods import PodWorkers, place_of, workers_of
from grove_dp.kube.informer import Change
from grove_dp.kube.objects import Pod
from grove_dp.routing.specs import InvalidWorker, Place
from grove_dp.routing.workers import Registry
from grove_dp.settings import Settings, Workers

GROVE = {
    "app.kubernetes.io/part-of": "llama",
    "grove.io/podcliqueset-replica-index": "2",
    "grove.io/podclique": "llama-2-decode",
}


def pod(
    name="a", uid="u1", ip="10.0.0.7", ready=True, annotations=None, labels=None, deleting=False, ports=()
):
    metadata = {"name": name, "namespace": "ml", "uid": uid, "annotations": annotations, "labels": labels}
    if deleting:
        metadata["deletionTimestamp"] = "2026-11-21T10:00:00Z"
    return msgspec.convert(
        {
            "metadata": metadata,
            "spec": {"containers": [{"name": "sidecar"}, {"name": "vllm", "ports": list(ports)}]},
            "status": {
                "phase": "Running",
                "podIP": ip,
                "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            },
        },
        Pod,
    )


# ---------------------------------------------------------------- one pod


@pytest.mark.parametrize(
    ("annotations", "ports", "port"),
    [
        ({}, [], 8000),
        ({}, [{"name": "metrics", "containerPort": 9000}], 8000),
        ({}, [{"name": "http", "containerPort": 8080}], 8080),
        ({"grove-dp.io/port": "8123"}, [{"name": "http", "containerPort": 8080}], 8123),
    ],
)
def test_the_port_is_the_annotations_then_the_one_named_http_then_8000(annotations, ports, port):
    (spec,) = workers_of(pod(annotations=annotations, ports=ports))
    assert (spec.id, spec.host, spec.port, spec.source) == ("a", "10.0.0.7", port, "kubernetes")


def test_a_pod_with_ranks_is_a_worker_for_each():
    specs = workers_of(pod(annotations={"grove-dp.io/ranks": "3", "grove-dp.io/max-inflight": "5"}))
    assert [(spec.id, spec.rank, spec.max_inflight) for spec in specs] == [
        ("a", 0, 5),
        ("a~1", 1, 5),
        ("a~2", 2, 5),
    ]


def test_an_address_of_version_6_is_written_as_urls_want_it():
    (spec,) = workers_of(pod(ip="fd00::7"))
    assert spec.url == "http://[fd00::7]:8000"


def test_with_pods_of_all_namespaces_an_id_carries_its_own():
    assert [spec.id for spec in workers_of(pod(), qualified=True)] == ["a.ml"]


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        ("port", "http"),
        ("port", "0"),
        ("port", "65536"),
        ("ranks", "-1"),
        ("ranks", "²"),
        ("max-inflight", ""),
    ],
)
def test_a_number_that_is_none_is_told_with_its_annotation(annotation, value):
    with pytest.raises(InvalidWorker, match=f"annotation grove-dp.io/{annotation}: {value!r} is no number"):
        workers_of(pod(annotations={f"grove-dp.io/{annotation}": value}))


def test_a_role_that_is_none_is_told():
    with pytest.raises(InvalidWorker, match=r"label grove-dp.io/role: 'encode' is none of aggregated"):
        workers_of(pod(labels={"grove-dp.io/role": "encode"}))


def test_groves_labels_say_where_a_pod_belongs():
    alone = place_of(pod(labels=GROVE | {"grove-dp.io/role": "decode"}).metadata)
    assert alone == Place(
        namespace="ml",
        pod="a",
        pod_uid="u1",
        pcs="llama",
        pclq="llama-2-decode",
        component="decode",
        role="decode",
    )
    grouped = GROVE | {
        "grove.io/podclique": "llama-2-wide-0-leader",
        "grove.io/podcliquescalinggroup": "llama-2-wide",
    }
    place = place_of(pod(labels=grouped).metadata)
    assert (place.pcsg, place.pclq, place.component) == ("llama-2-wide", "llama-2-wide-0-leader", "wide")


def test_a_pod_of_something_else_belongs_nowhere():
    place = place_of(pod(labels={"app.kubernetes.io/part-of": "shop"}).metadata)
    assert (place.namespace, place.pcs, place.component) == ("ml", "", "")


# ---------------------------------------------------------------- pods that come and go


class Cluster:
    """Pods as the watch tells them, and the registry that follows."""

    def __init__(self):
        self.registry = Registry(16)
        self.changes = 0
        settings = Settings(workers=Workers(kubernetes="app=vllm"))
        self.pods = PodWorkers(self.registry, lambda: settings, self._changed, ManualClock(), Random(1))

    def _changed(self):
        self.changes += 1

    def shows(self, old, new):
        self.pods.take(Change(old, new))

    def states(self):
        return {worker.id: (worker.state, worker.why) for worker in self.registry}


@pytest.fixture
def cluster():
    return Cluster()


def test_a_pod_is_registered_when_it_is_ready_for_the_first_time(cluster):
    young, ready = pod(ready=False), pod()
    cluster.shows(None, young)
    assert (cluster.states(), cluster.changes) == ({}, 0)
    cluster.shows(young, ready)
    assert cluster.states() == {"a": ("starting", "NotProbed")}
    assert cluster.changes == 1


@pytest.mark.parametrize(
    ("held", "why"),
    [
        (pod(ready=False), "PodNotReady"),
        (pod(deleting=True), "PodTerminating"),
        (pod(annotations={"grove-dp.io/drain-until": "2026-11-21T10:00:00Z"}), "PodDrained"),
    ],
)
def test_a_pod_that_is_not_ready_deleted_or_annotated_gets_nothing_new(cluster, held, why):
    cluster.shows(None, pod())
    (worker,) = cluster.registry
    cluster.registry.probe_ok(worker)
    cluster.shows(pod(), held)
    assert cluster.states() == {"a": ("draining", why)}
    cluster.shows(held, pod())
    assert cluster.states() == {"a": ("ready", "")}


def test_a_drained_pod_is_shown_even_if_it_was_never_seen_undrained(cluster):
    cluster.shows(None, pod(annotations={"grove-dp.io/drain-until": "soon"}))
    assert cluster.states() == {"a": ("draining", "PodDrained")}


def test_what_an_operator_drained_by_hand_stays_drained_when_its_pod_blinks(cluster):
    cluster.shows(None, pod())
    cluster.registry.drain("a", True)
    cluster.shows(pod(), pod(ready=False))
    cluster.shows(pod(ready=False), pod())
    assert cluster.states() == {"a": ("draining", "Drained")}


def test_a_pod_that_is_gone_leaves_when_nothing_is_in_flight(cluster):
    cluster.shows(None, pod())
    cluster.shows(pod(), None)
    assert cluster.states() == {"a": ("draining", "Removed")}
    assert cluster.registry.reap(lambda _: 0) == ["a"]


@pytest.mark.parametrize("seen", ["at once", "one after the other", "in the wrong order"])
def test_a_successor_of_the_same_name_is_another_worker(cluster, seen):
    first, second = pod(uid="u1"), pod(uid="u2")
    cluster.shows(None, first)
    (worker,) = cluster.registry
    if seen == "at once":
        cluster.shows(first, second)
    elif seen == "one after the other":
        cluster.shows(first, None)
        cluster.shows(None, second)
    else:
        cluster.shows(None, second)
        cluster.shows(first, None)
    cluster.registry.reap(lambda _: 0)
    (successor,) = cluster.registry
    assert successor is not worker
    assert (successor.spec.place.pod_uid, successor.state) == ("u2", "starting")


def test_a_pod_with_fewer_ranks_than_before_loses_the_others(cluster):
    two, one = pod(annotations={"grove-dp.io/ranks": "2"}), pod()
    cluster.shows(None, two)
    cluster.shows(two, one)
    assert {name: why for name, (_, why) in cluster.states().items()} == {"a": "NotProbed", "a~1": "Removed"}


def test_what_a_pod_says_wrongly_is_logged_once_and_mended_when_it_is_mended(cluster, caplog):
    wrong = pod(annotations={"grove-dp.io/port": "x"})
    cluster.shows(None, wrong)
    cluster.shows(wrong, wrong)
    assert caplog.text.count("pod ml/a is no worker: annotation grove-dp.io/port: 'x'") == 1
    assert cluster.states() == {}
    cluster.shows(wrong, pod())
    assert "a" in cluster.states()


def test_a_worker_of_the_settings_keeps_its_id(cluster, caplog):
    from grove_dp.routing.specs import worker_spec

    cluster.registry.add(worker_spec("http://10.1.1.1:8000", "config", id="a"))
    cluster.shows(None, pod())
    cluster.shows(pod(), None)
    assert "worker a is registered (by config)" in caplog.text
    assert cluster.states() == {"a": ("starting", "NotProbed")}


def test_the_setting_model_is_assumed_for_pods_too():
    registry = Registry(16)
    settings = Settings(workers=Workers(kubernetes="app=vllm", model="llama"))
    PodWorkers(registry, lambda: settings, lambda: None, ManualClock(), Random(1)).take(Change(None, pod()))
    (worker,) = registry
    assert worker.spec.models == ("llama",)
