"""Letting pods go: the patch, who is in a gang, when a pod is late, and who is taken back."""

import msgspec
import pytest
from grove_operator.api import PodClique, PodGang
from grove_operator.gang.demand import demand
from grove_operator.gang.members import members
from grove_operator.gang.pins import GangTimes, Pins, late_at, taken_back
from grove_operator.gang.release import release_patch
from grove_operator.naming import GATE
from grove_operator.pods import Pod

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PIN = {"key": "metadata.name", "operator": "In", "values": ["n1"]}
TIMES = GangTimes(confirm_s=10.0, tries=3, backoff_s=5.0)


def pod(name, clique="a", *, gates=(GATE,), node="", index=0, conditions=(), affinity=None, **status):
    return msgspec.convert(
        {
            "metadata": {
                "name": name,
                "namespace": "web",
                "uid": f"uid-{name}",
                "labels": {"grove.io/podclique": clique, "grove.io/podclique-pod-index": str(index)},
            },
            "spec": {
                "schedulingGates": [{"name": gate} for gate in gates],
                "nodeName": node,
                "affinity": affinity,
            },
            "status": {"conditions": [dict(one) for one in conditions], **status},
        },
        Pod,
    )


def gang(**minimum):
    groups = [{"name": name, "minReplicas": least, "podReferences": []} for name, least in minimum.items()]
    return msgspec.convert({"metadata": {"name": "g"}, "spec": {"podgroups": groups}}, PodGang)


def after(**parents):
    """Finds cliques, each of which starts after others."""
    held = {
        name: msgspec.convert({"spec": {"startsAfter": list(names)}}, PodClique)
        for name, names in parents.items()
    }
    return held.get


def ready():
    return [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}]


# ------------------------------------------------------------ the patch


def test_a_pod_without_affinity_is_pinned_and_released_in_one_patch():
    assert release_patch(pod("p"), "n1") == {
        "metadata": {"uid": "uid-p"},
        "spec": {
            "schedulingGates": None,
            "affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchFields": [PIN]}]}}},
        },
    }


def test_the_pin_goes_into_every_term_and_takes_nothing_away():
    zone = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
    named = {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["n2"]}]}
    held = pod("p", affinity={"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [zone, named]}}})
    terms = release_patch(held, "n1")["spec"]["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]
    assert terms == [{**zone, "matchFields": [PIN]}, {"matchFields": [*named["matchFields"], PIN]}]


def test_a_pod_that_the_scheduler_is_to_place_is_kept_within_its_domain():
    rack = {"key": "rack", "operator": "In", "values": ["r-1"]}
    zone = {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}
    held = pod("p", affinity={"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [zone]}}})
    patch = release_patch(held, within=[("rack", "r-1")])
    terms = patch["spec"]["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]
    assert terms == [{"matchExpressions": [*zone["matchExpressions"], rack]}]
    assert "affinity" not in release_patch(held)["spec"]


def test_gates_of_others_stay():
    assert release_patch(pod("p", gates=("theirs", GATE)))["spec"] == {
        "schedulingGates": [{"name": "theirs"}]
    }


def test_a_released_pod_says_where_it_is_pinned():
    held = pod(
        "p", gates=(), affinity={"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchFields": [PIN]}]}}}
    )
    assert held.pinned == "n1"
    assert pod("p").pinned == ""


# ------------------------------------------------------------ who is in a gang


def test_pods_are_sorted_by_who_holds_them():
    held = [
        pod("p2", index=2),
        pod("p0", gates=(), node="n1"),
        pod("p1", index=1),
        pod("p3", gates=("theirs", GATE), index=3),
    ]
    (group,) = members(gang(a=2), held, after()).groups
    assert [one.metadata.name for one in group.released] == ["p0"]
    assert [one.metadata.name for one in group.needed] == ["p1"]
    assert [one.metadata.name for one in group.extra] == ["p2"]
    assert [one.metadata.name for one in group.barred] == ["p3"]
    assert group.short == 0


def test_what_is_missing_is_short_and_what_has_ended_does_not_count():
    held = [pod("p0"), pod("p1", index=1, phase="Failed")]
    (group,) = members(gang(a=3), held, after()).groups
    assert group.short == 2


def test_a_clique_opens_when_its_parents_have_their_minimum_ready():
    waiting = [pod("p0", gates=(), node="n1"), pod("q0", "b")]
    started = [pod("p0", gates=(), node="n1", conditions=ready()), pod("q0", "b")]
    crowd = members(gang(a=1, b=1), waiting, after(b=["a"]))
    assert [group.opened for group in crowd.groups] == [True, False]
    crowd = members(gang(a=1, b=1), started, after(b=["a"]))
    assert [group.opened for group in crowd.groups] == [True, True]


def test_a_parent_in_another_gang_is_not_waited_for():
    crowd = members(gang(b=1), [pod("q0", "b")], after(b=["a"]))
    assert crowd.groups[0].opened


def test_a_demand_names_the_wanted_and_where_the_others_are():
    held = [pod("p0", gates=(), node="n1"), pod("p1", index=1), pod("p2", index=2)]
    crowd = members(gang(a=2), held, after())
    (group,) = demand(gang(a=2), crowd, [held[1]], "rack", ["n7"]).groups
    assert [one.key for one in group.pods] == [("web", "p1")]
    assert group.fixed == ("n1",)


# ------------------------------------------------------------ late, and taken back


@pytest.mark.parametrize(
    ("conditions", "bound_at", "late"),
    [
        ((), 0.0, 110.0),  # nobody has looked, and nothing is bound
        ((), 150.0, 160.0),  # the scheduler is busy with others
        ((), 900.0, 220.0),  # but not for ever
        (({"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"},), 150.0, 160.0),
        (({"type": "PodScheduled", "status": "False", "reason": "Unschedulable"},), 150.0, 101.0),
    ],
)
def test_a_pod_is_late_by_what_the_scheduler_has_said(conditions, bound_at, late):
    assert late_at(pod("p", gates=(), conditions=conditions), 100.0, bound_at, TIMES) == late


def test_a_pod_that_is_to_preempt_others_has_its_whole_time():
    refused = ({"type": "PodScheduled", "status": "False", "reason": "Unschedulable"},)
    assert late_at(pod("p", gates=(), conditions=refused, nominatedNodeName="n1"), 100.0, 0.0, TIMES) == 110.0


def test_a_pod_that_is_to_preempt_others_waits_for_their_grace_to_be_over():
    refused = ({"type": "PodScheduled", "status": "False", "reason": "Unschedulable"},)
    held = pod("p", gates=(), conditions=refused, nominatedNodeName="n1")
    assert late_at(held, 100.0, 0.0, TIMES, cleared=130.0) == 140.0
    assert late_at(held, 100.0, 0.0, TIMES, cleared=90.0) == 110.0


def test_what_a_gang_may_displace_is_below_all_of_its_pods():
    def of(priority, policy=""):
        held = pod(f"p{priority}", gates=(GATE,))
        spec = msgspec.structs.replace(held.spec, priority=priority, preemption_policy=policy)
        return msgspec.structs.replace(held, spec=spec)

    assert members(gang(a=2), [of(10), of(5)], after()).preempts == 5
    assert members(gang(a=2), [of(10), of(5, "Never")], after()).preempts is None
    assert members(gang(a=2), [], after()).preempts is None


def test_only_the_late_are_made_anew_and_in_the_end_the_whole_gang():
    held = [pod("p0", gates=(), node="n1"), pod("p1", gates=(), index=1)]
    crowd = members(gang(a=2), held, after())
    assert taken_back(crowd, [held[1]], whole=False) == [held[1]]
    assert taken_back(crowd, [held[1]], whole=True) == held


def test_stages_that_have_started_stay_when_a_later_one_is_taken_back():
    held = [pod("p0", gates=(), node="n1", conditions=ready()), pod("q0", "b", gates=())]
    crowd = members(gang(a=1, b=1), held, after(b=["a"]))
    assert taken_back(crowd, [held[1]], whole=True) == [held[1]]


def test_who_has_arrived_is_forgotten_and_pauses_grow():
    pins = Pins(0.0)
    crowd = members(gang(a=1), [pod("p0", gates=())], after())
    assert [one.metadata.name for one in pins.seen(crowd, 5.0)] == ["p0"]
    assert pins.released == {"uid-p0": 5.0}
    list(pins.seen(members(gang(a=1), [pod("p0", gates=(), node="n1")], after()), 6.0))
    assert pins.released == {}
    pauses = []
    for _ in range(5):
        pins.set_back(TIMES, 0.0)
        pauses.append(pins.not_before)
    assert pauses == [0.0, 0.0, 5.0, 10.0, 20.0]
    pins.arrived()
    assert (pins.setbacks, pins.not_before) == (0, 0.0)
