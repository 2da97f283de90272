"""What a pod asks of its node."""

from itertools import pairwise

import msgspec
import pytest
from grove_operator.gang.needs import Needs, Port, Requirement, Toleration, Where, amount, needs, unmodelled
from grove_operator.pods import Pod


def pod(**spec):
    return msgspec.convert({"metadata": {"name": "p", "namespace": "d"}, "spec": spec}, Pod)


def box(requests=None, limits=None, **more):
    return {"name": "c", "resources": {"requests": requests or {}, "limits": limits or {}}, **more}


def requests(**spec):
    found = dict(needs(pod(**spec)).requests)
    assert found.pop("pods") == 1
    return found


@pytest.mark.parametrize(
    ("resource", "text", "whole"),
    [
        ("cpu", "1", 1000),
        ("cpu", "0.1", 100),
        ("cpu", "250m", 250),
        ("cpu", "1500u", 2),  # rounded up
        ("cpu", "1n", 1),
        ("cpu", 2, 2000),
        ("cpu", 0.5, 500),
        ("memory", "1Ki", 1024),
        ("memory", "1.5Gi", 3 << 29),
        ("memory", "1Ei", 1 << 53),  # more than any node has
        ("memory", "128974848", 128974848),
        ("memory", "129e6", 129_000_000),
        ("memory", "12E2", 1200),
        ("memory", "1k", 1000),
        ("memory", "1500m", 2),
        ("nvidia.com/gpu", "8", 8),
        ("nvidia.com/gpu", 8, 8),
        ("nvidia.com/gpu", "-1", 0),
        ("nvidia.com/gpu", "many", 0),
    ],
)
def test_quantities_are_whole_units_rounded_up(resource, text, whole):
    assert amount(resource, text) == whole


def test_what_a_node_has_is_rounded_down():
    assert amount("memory", "1500m", up=False) == 1
    assert amount("cpu", "1999u", up=False) == 1


def test_containers_add_up():
    assert requests(containers=[box({"cpu": "1", "memory": "1Gi"}), box({"cpu": "500m"})]) == {
        "cpu": 1500,
        "memory": 1 << 30,
    }


def test_a_limit_counts_where_there_is_no_request():
    assert requests(containers=[box({"cpu": "1"}, {"cpu": "4", "nvidia.com/gpu": "8"})]) == {
        "cpu": 1000,
        "nvidia.com/gpu": 8,
    }


def test_a_request_of_nothing_is_none_even_beside_a_limit():
    assert requests(containers=[box({"cpu": "0"}, {"cpu": "4"})]) == {}


SIDECAR = {"restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("init", "cpu"),
    [
        ([box({"cpu": "1"})], 2000),  # less than the containers
        ([box({"cpu": "3"})], 3000),
        ([box({"cpu": "3"}), box({"cpu": "5"}), box({"cpu": "4"})], 5000),  # one after the other
        ([box({"cpu": "1"}, **SIDECAR)], 3000),  # beside the containers
        ([box({"cpu": "1"}, **SIDECAR), box({"cpu": "3"})], 4000),  # beside a later init container
        ([box({"cpu": "3"}), box({"cpu": "1"}, **SIDECAR)], 3000),  # not beside an earlier one
        ([box({"cpu": "2"}, **SIDECAR), box({"cpu": "1"}, **SIDECAR), box({"cpu": "3"})], 6000),
    ],
)
def test_init_containers_count_as_they_run(init, cpu):
    assert requests(containers=[box({"cpu": "2"})], initContainers=init) == {"cpu": cpu}


def test_the_figures_of_a_pod_as_a_whole_replace_the_sum_and_overhead_comes_on_top():
    spec = {
        "containers": [box({"cpu": "2", "memory": "1Gi", "nvidia.com/gpu": "1"})],
        "resources": {
            "requests": {"cpu": "3", "nvidia.com/gpu": "9"},
            "limits": {"memory": "4Gi", "hugepages-2Mi": "2Mi"},
        },
        "overhead": {"cpu": "100m"},
    }
    assert requests(**spec) == {
        "cpu": 3100,
        "memory": 1 << 30,  # a limit replaces nothing
        "hugepages-2Mi": 2 << 20,
        "nvidia.com/gpu": 1,  # not of a pod as a whole
    }


def test_host_ports_of_containers_and_sidecars_count():
    ports = [{"containerPort": 80}, {"containerPort": 81, "hostPort": 8081, "hostIP": "10.0.0.1"}]
    side = [{"containerPort": 9, "hostPort": 9, "protocol": "UDP", "hostIP": "0.0.0.0"}]
    spec = {"containers": [box(ports=ports)], "initContainers": [box(ports=side, **SIDECAR), box(ports=side)]}
    assert needs(pod(**spec)).ports == (Port(8081, "TCP", "10.0.0.1"), Port(9, "UDP"))
    assert needs(pod(**spec, hostNetwork=True)).ports[0] == Port(80)


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        (Port(80), Port(80), True),
        (Port(80), Port(81), False),
        (Port(80), Port(80, "UDP"), False),
        (Port(80, address="10.0.0.1"), Port(80), True),
        (Port(80, address="10.0.0.1"), Port(80, address="10.0.0.1"), True),
        (Port(80, address="10.0.0.1"), Port(80, address="10.0.0.2"), False),
    ],
)
def test_ports_clash_by_number_protocol_and_address(one, other, clash):
    assert one.clashes(other) is other.clashes(one) is clash


def test_where_a_pod_may_be_is_read_of_selector_affinity_and_tolerations():
    required = {
        "nodeSelectorTerms": [
            {"matchExpressions": [{"key": "gpu", "operator": "In", "values": ["h100", "h200"]}]},
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n-1"]}]},
        ]
    }
    found = needs(
        pod(
            nodeSelector={"pool": "b", "arch": "arm64"},
            affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}},
            tolerations=[{"key": "dedicated", "operator": "Exists", "tolerationSeconds": 30}],
        )
    ).where
    assert found == Where(
        (("arch", "arm64"), ("pool", "b")),
        (
            (Requirement("gpu", "In", ("h100", "h200")),),
            (Requirement("metadata.name", "In", ("n-1",), field=True),),
        ),
        (Toleration("dedicated", "Exists"),),
    )


def test_equal_needs_are_one_object_and_are_read_once():
    one, other = pod(containers=[box({"cpu": "1"})]), pod(containers=[box({"cpu": "1000m"})])
    assert needs(one) is needs(one) is needs(other)
    assert needs(pod()) == Needs()


WITHIN = {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({"resourceClaims": [{"name": "gpu"}]}, "resourceClaims"),
        ({"volumes": [{"name": "model", "persistentVolumeClaim": {"claimName": "x"}}]}, "model"),
        ({"volumes": [{"name": "scratch", "ephemeral": {}}]}, "scratch"),
        ({"affinity": {"podAffinity": WITHIN}}, "podAffinity"),
        ({"affinity": {"podAntiAffinity": WITHIN}}, "podAntiAffinity"),
        (
            {"topologySpreadConstraints": [{"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]},
            "zone",
        ),
    ],
)
def test_what_we_cannot_judge_is_named(spec, word):
    assert word in unmodelled(pod(**spec))


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"volumes": [{"name": "shm", "emptyDir": {}}, {"name": "conf", "configMap": {"name": "x"}}]},
        {"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{}]}}},
        {"topologySpreadConstraints": [{"topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]},
    ],
)
def test_what_depends_on_nodes_and_room_alone_can_be_judged(spec):
    assert unmodelled(pod(**spec)) is None


def test_more_of_a_quantity_is_never_less_of_an_amount():
    ladder = ["1n", "1u", "1m", "1", "1k", "1Ki", "1M", "1Mi", "1G", "1Gi", "1T", "1Ti", "1P", "1Pi"]
    assert all(amount("memory", less) <= amount("memory", more) for less, more in pairwise(ladder))
