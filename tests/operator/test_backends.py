"""What schedulers that know gangs are told: their PodGroups, and marks on pods. Pure."""

import pytest
from grove_operator.api import GANGS, KAI_GROUPS, NATIVE_GROUPS, POD_GROUPS, VOLCANO_GROUPS, kind_key
from grove_operator.plan.backends import Placing, first, placing, wanted_groups
from grove_operator.plan.backends.kai import Kai
from grove_operator.plan.backends.native import Native
from grove_operator.plan.backends.volcano import Volcano
from grove_operator.plan.diff import changes, diff
from grove_operator.plan.documents import Wanted
from grove_operator.plan.expand import Rules, expand
from grove_operator.plan.tree import Live

from tests.operator.plan_samples import a_set, clique, group

BETA, ALPHA = NATIVE_GROUPS
LEVELS = {"topo": {"zone": "z", "rack": "r", "host": "h"}}
SKIP = {"kai.scheduler/skip-podgrouper": "true"}


def a_workload(meta=None, **template):
    """A router, and a group of a leader and workers: 1 + (1 + 2) in the base gang, one scaled gang."""
    return a_set(
        [clique("router", 1), clique("lead", 1), clique("work", 3, 2)],
        [group("sg", "lead", "work", replicas=2, minimum=1, **template.pop("group", {}))],
        meta=meta,
        **template,
    )


def told(owner, backend):
    """PodGangs and PodGroups by name, as documents."""
    found = expand(owner, Live(), Rules(topologies=LEVELS, backend=backend))
    gangs = {one.name: one.document for one in found if one.resource is GANGS}
    groups = {one.name: one for one in found if one.resource in POD_GROUPS}
    assert gangs.keys() == groups.keys() == {"w-0", "w-0-sg-0"}
    return gangs, groups


def a_pod(backend):
    labels = {"grove.io/podclique": "w-0-router", "grove.io/podgang": "w-0"}
    meta = {"name": "w-0-router-abcde", "namespace": "ml", "labels": labels, "annotations": {"mine": "1"}}
    before = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": []}}
    wanted = Wanted(GANGS, before)
    return backend.pod(wanted).document, wanted.document


# ------------------------------------------------------------ KAI


def test_kai_is_told_the_sum_and_each_cliques_minimum():
    gangs, groups = told(a_workload(priorityClassName="high"), Kai())
    assert groups["w-0"].document["spec"] == {
        "minMember": 4,
        "queue": "default-queue",
        "priorityClassName": "high",
        "subGroups": [
            {"name": "w-0-router", "minMember": 1},
            {"name": "w-0-sg-0-lead", "minMember": 1},
            {"name": "w-0-sg-0-work", "minMember": 2},
        ],
    }
    assert groups["w-0-sg-0"].document["spec"]["minMember"] == 3
    assert groups["w-0"].document["apiVersion"] == "scheduling.run.ai/v2alpha2"
    assert all(SKIP.items() <= gang["metadata"]["annotations"].items() for gang in gangs.values())


def test_kai_is_told_topology_at_three_levels_by_its_own_name_of_it():
    owner = a_workload(
        topologyConstraint={"topologyName": "topo", "pack": {"required": "zone"}},
        group={"topologyConstraint": {"topologyName": "topo", "pack": {"required": "rack"}}},
    )
    spec = told(owner, Kai({"topo": "theirs"}))[1]["w-0"].document["spec"]
    assert spec["topologyConstraint"] == {"topology": "theirs", "requiredTopologyLevel": "z"}
    parent, *below = spec["subGroups"]
    assert parent["minSubGroup"] == 2
    assert parent["topologyConstraint"] == {"topology": "theirs", "requiredTopologyLevel": "r"}
    assert [one.get("parent") for one in below] == [None, parent["name"], parent["name"]]
    spec = told(owner, Kai())[1]["w-0"].document["spec"]
    assert spec["topologyConstraint"]["topology"] == "topo"


@pytest.mark.parametrize("where", ["labels", "annotations"])
def test_kais_queue_is_the_sets(where):
    owner = a_workload(meta={where: {"kai.scheduler/queue": "team"}})
    made = told(owner, Kai())[1]["w-0"].document
    assert made["spec"]["queue"] == made["metadata"]["labels"]["kai.scheduler/queue"] == "team"


def test_what_kai_writes_into_its_group_stays():
    wanted = told(a_workload(), Kai())[1]["w-0"]
    held = {**wanted.document, "spec": dict(wanted.document["spec"])}
    held["metadata"] = held["metadata"] | {"labels": dict(held["metadata"]["labels"])}
    held["metadata"]["labels"] |= {"kai.scheduler/node-pool": "a", "kai.scheduler/queue": "moved"}
    held["spec"] |= {"markUnschedulable": True, "schedulingBackoff": 1, "queue": "moved"}
    held["spec"]["topologyConstraint"] = {}
    assert changes(wanted, held) == {}
    held["spec"]["minMember"] = 9
    assert changes(wanted, held) == {"spec": {"minMember": 4}}


def test_kais_pods_name_their_group_and_sub_group():
    made, before = a_pod(Kai())
    assert made["spec"]["schedulerName"] == "kai-scheduler"
    assert made["metadata"]["labels"]["kai.scheduler/subgroup-name"] == "w-0-router"
    assert made["metadata"]["annotations"] == {"mine": "1", "pod-group-name": "w-0", **SKIP}
    assert before["spec"] == {"containers": []}, "what was planned is not changed"


# ------------------------------------------------------------ Volcano


def test_volcano_is_told_a_policy_for_each_clique():
    spec = told(a_workload(), Volcano())[1]["w-0-sg-0"].document["spec"]
    assert (spec["minMember"], spec["queue"]) == (3, "default")
    assert spec["subGroupPolicy"] == [
        {
            "name": name,
            "labelSelector": {"matchLabels": {"grove.io/podclique": name}},
            "matchLabelKeys": ["grove.io/podclique"],
            "subGroupSize": size,
            "minSubGroups": 1,
        }
        for name, size in (("w-0-sg-1-lead", 1), ("w-0-sg-1-work", 2))
    ]


def test_an_older_volcano_is_told_the_sum_alone():
    spec = told(a_workload(), Volcano(policies=False))[1]["w-0-sg-0"].document["spec"]
    assert spec == {"minMember": 3, "queue": "default"}
    assert placing("auto", "volcano", ALL, older={VOLCANO_GROUPS}) == Placing(False, Volcano(policies=False))


def test_volcanos_queue_and_pods():
    owner = a_workload(meta={"annotations": {"scheduling.grove.io/volcano-queue": "team"}})
    assert told(owner, Volcano())[1]["w-0"].document["spec"]["queue"] == "team"
    made, _ = a_pod(Volcano())
    assert made["spec"]["schedulerName"] == "volcano"
    for prefix in ("scheduling.k8s.io", "scheduling.volcano.sh"):
        assert made["metadata"]["annotations"][f"{prefix}/group-name"] == "w-0"


# ------------------------------------------------------------ native


@pytest.mark.parametrize("version", NATIVE_GROUPS)
def test_a_native_group_needs_the_sum(version):
    groups = told(a_workload(), Native(version))[1]
    assert groups["w-0"].document["spec"] == {"schedulingPolicy": {"gang": {"minCount": 4}}}
    assert groups["w-0"].document["apiVersion"] == f"scheduling.k8s.io/{version.version}"
    made, _ = a_pod(Native(version))
    assert made["spec"] == {"containers": [], "schedulingGroup": {"podGroupName": "w-0"}}


def test_only_the_beta_can_change_its_minimum():
    for version, patch in ((ALPHA, {}), (BETA, {"spec": {"schedulingPolicy": {"gang": {"minCount": 4}}}})):
        wanted = told(a_workload(), Native(version))[1]["w-0"]
        held = {**wanted.document, "spec": {"schedulingPolicy": {"gang": {"minCount": 9}}}}
        assert changes(wanted, held) == patch


# ------------------------------------------------------------ all


@pytest.mark.parametrize("backend", [Kai(), Volcano(), Native(BETA), Native(ALPHA)])
def test_groups_are_the_sets_and_stand_where_their_gang_stands(backend):
    gangs, groups = told(a_workload(), backend)
    for name, wanted in groups.items():
        meta, gang = wanted.document["metadata"], gangs[name]["metadata"]
        assert meta["ownerReferences"] == gang["ownerReferences"]
        for label in ("app.kubernetes.io/part-of", "grove.io/podcliqueset-replica-index"):
            assert meta["labels"][label] == gang["labels"][label]
        assert wanted.key == (kind_key(backend.groups), name)
    assert len({kind_key(kind) for kind in POD_GROUPS}) == len(POD_GROUPS)


def test_a_group_whose_gang_goes_is_deleted_where_it_is_and_minimums_sink_first():
    owner, backend = a_workload(), Kai()
    wanted = expand(owner, Live(), Rules(backend=backend))
    held = {}
    for one in wanted:
        held[one.key] = {
            **one.document,
            "metadata": {**one.document["metadata"], "uid": f"uid-{one.key}"},
        }
    less = expand(owner, Live(cliques={"w-0-router": 0}, groups={"w-0-sg": 1}), Rules(backend=backend))
    steps = diff(less, held, {"uid-w"})
    assert KAI_GROUPS.path("ml", "w-0-sg-0") in [one.path for one in steps.deletes]
    urgent, rest = first(steps)
    assert [(one.path, one.patch["spec"]["minMember"]) for one in urgent] == [
        (KAI_GROUPS.path("ml", "w-0"), 3)
    ]
    assert all(one.wanted.resource not in POD_GROUPS for one in rest.patches)
    assert rest.deletes == steps.deletes


ALL = frozenset(POD_GROUPS)


@pytest.mark.parametrize(
    ("setting", "scheduler", "served", "expected"),
    [
        ("auto", "default-scheduler", ALL, Placing(True)),
        ("auto", "mine", ALL, Placing(False)),
        ("auto", "kai-scheduler", ALL, Placing(False, Kai())),
        ("auto", "kai-scheduler", (), Placing(True, absent=KAI_GROUPS, instead="default-scheduler")),
        ("auto", "volcano", ALL, Placing(False, Volcano())),
        ("auto", "volcano", {KAI_GROUPS}, Placing(True, absent=VOLCANO_GROUPS, instead="default-scheduler")),
        ("native", "default-scheduler", ALL, Placing(False, Native(BETA))),
        ("native", "default-scheduler", {ALPHA}, Placing(False, Native(ALPHA))),
        ("native", "mine", {ALPHA}, Placing(False, Native(ALPHA))),
        ("native", "default-scheduler", (), Placing(True)),
        ("native", "kai-scheduler", ALL, Placing(False, Kai())),
        ("own", "kai-scheduler", ALL, Placing(True)),
        ("none", "default-scheduler", ALL, Placing(False)),
    ],
)
def test_who_places_a_set(setting, scheduler, served, expected):
    assert placing(setting, scheduler, served) == expected


def test_a_scheduler_that_is_too_old_has_its_pods_one_by_one():
    assert placing("auto", "kai-scheduler", (), there={KAI_GROUPS}) == Placing(False, absent=KAI_GROUPS)


def test_only_what_may_be_written_is_looked_for():
    names = ("default-scheduler", "kai-scheduler", "volcano")
    assert wanted_groups("auto", ("default-scheduler",)) == ()
    assert wanted_groups("auto", names) == (KAI_GROUPS, VOLCANO_GROUPS)
    assert wanted_groups("native", ("default-scheduler",)) == NATIVE_GROUPS
    assert wanted_groups("own", names) == wanted_groups("none", names) == ()
