"""Wanted against observed: only what is ours and differs is written."""

import copy

import pytest
from grove_operator.naming import L
from grove_operator.plan.diff import changes, diff
from grove_operator.plan.expand import Rules, expand
from grove_operator.plan.tree import Live
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.operator.plan_samples import a_set, clique, group, owners, workload

UIDS = {"uid-w", "uid-w-0-sg-x", "uid-w-1-sg-x", "uid-w-0-g"}


def merged(document, patch):
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    held = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            held.pop(key, None)
        else:
            held[key] = merged(held.get(key), value)
    return held


def wanted_of(owner, live=None, **more):
    return expand(owner, owners(owner, live), Rules(), **more)


def stored(wanted):
    """As an API server would give it back."""
    return {
        one.key: copy.deepcopy(one.document)
        | {
            "metadata": copy.deepcopy(one.document["metadata"])
            | {"uid": f"uid-{one.resource.kind}-{one.name}"}
        }
        for one in wanted
    }


def applied(steps, observed):
    held = {
        key: one
        for key, one in observed.items()
        if key not in {(d.resource.kind, d.name) for d in steps.deletes}
    }
    held |= stored(steps.creates)
    return held | {step.wanted.key: merged(held[step.wanted.key], step.patch) for step in steps.patches}


def rich(**more):
    return a_set(
        [
            clique("a", 2, autoScalingConfig={"maxReplicas": 4}, labels={"t": "1"}, annotations={"n": "1"}),
            clique("b", 2, 1),
            clique("c"),
        ],
        [group("g", "b", "c", replicas=2, annotations={"q": "1"}, scaleConfig={"maxReplicas": 3})],
        cliqueStartupType="CliqueStartupTypeInOrder",
        **more,
    )


def one_patch(owner, kind, name, change, *, live=None, **more):
    """What is written after *change* was done to an object."""
    wanted = wanted_of(owner, live, **more)
    observed = stored(wanted)
    change(observed[kind, name])
    steps = diff(wanted, observed, UIDS)
    assert not steps.creates
    assert not steps.deletes
    return steps.patches[0].patch if steps.patches else {}


def test_nothing_observed_means_everything_is_made():
    wanted = wanted_of(rich())
    steps = diff(wanted, {}, UIDS)
    assert steps.creates == wanted
    assert not steps.patches
    assert not steps.deletes


def test_what_is_as_it_should_be_costs_nothing():
    wanted = wanted_of(rich())
    steps = diff(wanted, stored(wanted), UIDS)
    assert not steps
    assert not steps.foreign


def test_a_fewer_replica_takes_everything_of_it_away_services_too():
    observed = stored(wanted_of(workload(2)))
    steps = diff(wanted_of(workload(1)), observed, UIDS)
    assert sorted((one.resource.kind, one.name) for one in steps.deletes) == [
        ("PodClique", "w-1-pc-a"),
        *(("PodClique", f"w-1-sg-x-{index}-{name}") for index in (0, 1) for name in ("pc-b", "pc-c")),
        ("PodCliqueScalingGroup", "w-1-sg-x"),
        ("PodGang", "w-1"),
        ("PodGang", "w-1-sg-x-0"),
        ("Service", "w-1"),
    ]
    assert steps.deletes[0].uid == f"uid-{steps.deletes[0].resource.kind}-{steps.deletes[0].name}"
    assert not steps.creates
    assert not steps.patches


def test_a_smaller_group_loses_its_last_cliques_and_gang():
    observed = stored(wanted_of(workload()))
    steps = diff(wanted_of(workload(), Live(groups={"w-0-sg-x": 1})), observed, UIDS)
    assert sorted(one.name for one in steps.deletes) == ["w-0-sg-x-0", "w-0-sg-x-1-pc-b", "w-0-sg-x-1-pc-c"]


@pytest.mark.parametrize(("kind", "name"), [("PodClique", "w-0-a"), ("PodCliqueScalingGroup", "w-0-g")])
def test_a_scalers_count_is_never_written_over(kind, name):
    assert one_patch(rich(), kind, name, lambda held: held["spec"].update(replicas=7)) == {}


def test_marks_of_others_stay_and_ours_come_back():
    def change(held):
        held["metadata"]["labels"] |= {"theirs": "1", L.GANG: "elsewhere"}
        held["metadata"]["annotations"]["theirs"] = "2"
        del held["metadata"]["annotations"]["n"]

    assert one_patch(rich(), "PodClique", "w-0-a", change) == {
        "metadata": {"labels": {L.GANG: "w-0"}, "annotations": {"n": "1"}}
    }


def test_marks_that_the_template_has_dropped_go():
    before = a_set([clique("a", labels={"old": "1", "kept": "1"}, annotations={"gone": "1"})])
    after = a_set([clique("a", labels={"kept": "1"})])
    observed = stored(wanted_of(before))
    observed["PodClique", "w-0-a"]["metadata"]["labels"]["theirs"] = "1"
    (step,) = diff(wanted_of(after), observed, UIDS).patches
    meta = step.patch["metadata"]
    assert meta["labels"]["old"] is None
    assert "kept" not in meta["labels"]
    assert "theirs" not in meta["labels"]
    assert meta["annotations"] == {"gone": None, "grove-dp.io/from-template": "labels=kept"}
    assert not diff(wanted_of(after), applied(diff(wanted_of(after), observed, UIDS), observed), UIDS)


def test_the_last_dropped_mark_takes_the_note_of_it_along():
    observed = stored(wanted_of(a_set([clique("a", labels={"old": "1"})])))
    wanted = wanted_of(a_set([clique("a")]))
    held = applied(diff(wanted, observed, UIDS), observed)
    assert held["PodClique", "w-0-a"]["metadata"].get("annotations", {}) == {}
    assert not diff(wanted, held, UIDS)


def test_defaults_of_the_api_server_are_no_difference():
    def change(held):
        held["spec"]["podSpec"] |= {
            "restartPolicy": "Always",
            "dnsPolicy": "ClusterFirst",
            "securityContext": {},
        }
        held["spec"]["podSpec"]["containers"][0]["imagePullPolicy"] = "IfNotPresent"

    assert one_patch(rich(), "PodClique", "w-0-a", change) == {}


def test_a_pod_spec_is_ours_to_the_last_field():
    def change(held):
        held["spec"]["podSpec"]["nodeSelector"] = {"by": "hand"}

    assert one_patch(rich(), "PodClique", "w-0-a", change) == {"spec": {"podSpec": {"nodeSelector": None}}}


def test_an_autoscalers_metrics_come_back_and_its_behaviour_stays():
    def tune(held):
        held["spec"]["behavior"] = {"scaleDown": {"stabilizationWindowSeconds": 60}}

    def meddle(held):
        held["spec"]["metrics"] = []
        held["spec"]["maxReplicas"] = 99

    assert one_patch(rich(), "HorizontalPodAutoscaler", "w-0-a", tune) == {}
    patch = one_patch(rich(), "HorizontalPodAutoscaler", "w-0-a", meddle)
    assert patch["spec"]["maxReplicas"] == 4
    assert patch["spec"]["metrics"][0]["resource"]["name"] == "cpu"


def test_a_quantity_that_the_api_server_rewrote_is_no_difference():
    def metric(value):
        target = {"type": "AverageValue", "averageValue": value}
        return {"type": "Pods", "pods": {"metric": {"name": "q"}, "target": target}}

    owner = a_set([clique("a", autoScalingConfig={"maxReplicas": 4, "metrics": [metric("0.5")]})])

    def rewritten(held):
        held["spec"]["metrics"] = [metric("500m")]

    assert one_patch(owner, "HorizontalPodAutoscaler", "w-0-a", rewritten) == {}


def test_a_service_that_lost_its_selector_or_gained_one_is_mended():
    def change(held):
        held["spec"]["selector"] = {"app": "other"}
        held["spec"]["ports"] = [{"port": 80}]

    patch = one_patch(rich(), "Service", "w-0", change)
    assert patch["spec"]["selector"]["app"] is None
    assert patch["spec"]["selector"][L.SET_REPLICA] == "0"
    assert "ports" not in patch["spec"]


def test_a_right_that_was_added_by_hand_goes():
    def change(held):
        held["rules"].append({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]})

    assert len(one_patch(rich(), "Role", "grove.io:pcs:w", change)["rules"]) == 1


def test_new_pods_are_referred_to_and_the_rest_of_a_gang_stays():
    owner = workload()
    observed = stored(wanted_of(owner))
    (step,) = diff(wanted_of(owner, pods={"w-0-pc-a": ["x"]}), observed, UIDS).patches
    assert step.wanted.key == ("PodGang", "w-0")
    assert list(step.patch) == ["spec"]
    assert list(step.patch["spec"]) == ["podgroups"]


def test_a_finalizer_comes_back_beside_those_of_others():
    def change(held):
        held["metadata"]["finalizers"] = ["theirs.io/x"]

    assert one_patch(rich(), "PodClique", "w-0-a", change) == {
        "metadata": {"finalizers": ["theirs.io/x", "grove.io/podclique.grove.io"]}
    }


def test_cliques_that_an_update_has_yet_to_reach_keep_their_template():
    observed = stored(wanted_of(rich()))
    newer = copy.deepcopy(rich().spec.template.cliques[0].spec.pod_spec)
    newer["containers"][0]["image"] = "registry.test/worker:2"
    after = a_set([clique("a", 2, labels={"t": "2"}, pod_spec=newer, startsAfter=["x"])])
    observed = {key: held for key, held in observed.items() if key == ("PodClique", "w-0-a")}
    wish = [one for one in wanted_of(after, held=["w-0-a"]) if one.resource.kind == "PodClique"]
    patch = diff(wish, observed, UIDS).patches[0].patch
    assert patch == {"spec": {"autoScalingConfig": None}}
    reached = [one for one in wanted_of(after) if one.resource.kind == "PodClique"]
    patch = diff(reached, observed, UIDS).patches[0].patch
    assert patch["spec"]["podSpec"]["containers"][0]["image"].endswith(":2")
    assert patch["metadata"]["labels"]["t"] == "2"


# ------------------------------------------------------------ whose it is


def test_what_is_being_deleted_is_waited_for():
    wanted = wanted_of(rich())
    observed = stored(wanted)
    observed["PodGang", "w-0"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    observed["PodGang", "w-0"]["spec"] = {}
    steps = diff(wanted, observed, UIDS)
    assert not steps
    assert [one.key for one in steps.leaving] == [("PodGang", "w-0")]


def test_a_surplus_object_is_deleted_once():
    observed = stored(wanted_of(workload(2)))
    for held in observed.values():
        held["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not diff(wanted_of(workload(1)), observed, UIDS).deletes


@pytest.mark.parametrize(
    "references",
    [
        [{"kind": "PodCliqueSet", "name": "w", "uid": "uid-of-a-former-w", "controller": True}],
        [{"kind": "Deployment", "name": "x", "uid": "1", "controller": True}],
        [{"kind": "Deployment", "name": "x", "uid": "1"}],
    ],
)
def test_what_another_controls_is_not_touched(references):
    wanted = wanted_of(rich())
    observed = stored(wanted)
    observed["Service", "w-0"]["metadata"]["ownerReferences"] = references
    observed["Service", "w-0"]["spec"]["selector"] = {}
    steps = diff(wanted, observed, UIDS)
    assert not steps
    assert [one.key for one in steps.foreign] == [("Service", "w-0")]


def test_an_orphan_of_ours_is_taken_back_and_a_strangers_is_not():
    wanted = wanted_of(rich())
    observed = stored(wanted)
    for name in ("w-0", "w-0-g-0"):
        del observed["PodGang", name]["metadata"]["ownerReferences"]
    observed["PodGang", "w-0-g-0"]["metadata"]["labels"] = {}
    steps = diff(wanted, observed, UIDS)
    (step,) = steps.patches
    assert step.patch["metadata"]["ownerReferences"][0]["uid"] == "uid-w"
    assert [one.key for one in steps.foreign] == [("PodGang", "w-0-g-0")]


# ------------------------------------------------------------ properties

counts = st.integers(0, 3)
sets = st.builds(
    lambda replicas, order, labels, image: a_set(
        [
            clique("a", 2, autoScalingConfig={"maxReplicas": 4}, labels=labels),
            clique("b", 2, 1, pod_spec={"containers": [{"name": "m", "image": image}]}),
            clique("c", annotations=labels),
        ],
        [group("g", "b", "c", replicas=2, annotations=labels)],
        replicas,
        cliqueStartupType=f"CliqueStartupType{order}",
        priorityClassName=image,
    ),
    st.integers(0, 2),
    st.sampled_from(["AnyOrder", "InOrder"]),
    st.dictionaries(st.sampled_from("xyz"), st.sampled_from("12"), max_size=2),
    st.sampled_from(["i:1", "i:2", ""]),
)
lives = st.builds(
    lambda cliques, groups: Live(cliques, groups),
    st.dictionaries(st.sampled_from(["w-0-a", "w-1-a", "w-0-g-0-b"]), counts),
    st.dictionaries(st.sampled_from(["w-0-g", "w-1-g"]), counts),
)
ALL = UIDS | {"uid-w-1-g"}


def meddled(value, draw):
    """Some fields taken away, some given another value, at any depth but the identity."""
    if not isinstance(value, dict):
        return draw(st.sampled_from([value, value, "other"])) if isinstance(value, str) else value
    kept = {}
    for key, held in value.items():
        if key in ("apiVersion", "kind", "name", "namespace", "uid", "ownerReferences", "containers"):
            kept[key] = held
        elif key == "metadata" or draw(st.integers(0, 7)):
            kept[key] = meddled(held, draw)
    return kept


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None
)
@given(before=sets, after=sets, live=lives, data=st.data())
def test_a_second_plan_over_the_result_of_the_first_is_empty(before, after, live, data):
    observed = stored(wanted_of(before))
    for key in list(observed):
        if not data.draw(st.integers(0, 9)):
            observed[key] = meddled(observed[key], data.draw)
    wanted = wanted_of(after, live)
    steps = diff(wanted, observed, ALL)
    held = applied(steps, observed)
    again = diff(wanted, held, ALL)
    assert not again, again
    assert set(held) == {one.key for one in wanted}


@given(owner=sets, live=lives)
def test_a_plan_agrees_with_itself(owner, live):
    wanted = wanted_of(owner, live)
    assert not diff(wanted, stored(wanted), ALL)
    assert [one.document for one in wanted] == [one.document for one in wanted_of(owner, live)]


def test_changes_name_nothing_where_nothing_differs():
    for one in wanted_of(rich()):
        assert changes(one, one.document) == {}
