"""What cliques, groups, gangs and sets have come to, and what is written of it."""

import copy

import msgspec
import pytest
from grove_operator.plan.health import failing, tally
from grove_operator.plan.picture import CliqueSeen, Waiting
from grove_operator.plan.status import ReplicaSummary, gang_status, set_status, status_patch, summary
from grove_operator.pods import Pod
from hypothesis import given, settings
from hypothesis import strategies as st

from grove_dp.kube.stamps import second_time
from tests.operator.picture_samples import T0, WORDS, Scene, a_pod
from tests.operator.plan_samples import a_set, clique, workload

BREACHED = "MinAvailableBreached"
SCHEDULED = "PodCliqueScheduled"


def one(replicas=2, minimum=None, **template):
    """A scene of one clique `a`."""
    return Scene(a_set([clique("a", replicas, minimum)], **template))


# ------------------------------------------------------------ pods


@pytest.mark.parametrize("word", [*WORDS])
def test_a_pod_fails_when_it_ended_in_error_or_runs_and_is_not_ready(word):
    assert failing(a_pod(word)) == (word in ("running", "crashing", "crashed"))


def test_counts_of_a_clique():
    scene = one(9, 1).put(a="gated pending bound running ready recovered leaving failed succeeded")
    scene.write()
    status = scene.status("a")
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"]) == (6, 2, 6)
    assert (status["scheduleGatedReplicas"], status["scheduledReplicas"]) == (1, 4)
    assert status["observedGeneration"] == 3


def test_a_users_own_gate_holds_a_pod_back_as_well():
    pod = msgspec.to_builtins(a_pod("gated"))
    pod["spec"]["schedulingGates"] = [{"name": "user/gate"}]
    seen = CliqueSeen(one(1).replica.units[0], pods=(msgspec.convert(pod, Pod),))
    assert tally(seen).gated == 1


@pytest.mark.parametrize(
    ("minimum", "pods", "breached", "scheduled"),
    [
        (2, "", ("True", "ScheduledReplicasBelowMinAvailable"), "False"),
        (2, "gated gated", ("True", "ScheduledReplicasBelowMinAvailable"), "False"),
        (2, "ready pending", ("True", "ScheduledReplicasBelowMinAvailable"), "False"),
        (2, "ready leaving", ("True", "ScheduledReplicasBelowMinAvailable"), "False"),
        (2, "ready failed", ("True", "ScheduledReplicasBelowMinAvailable"), "False"),
        (2, "bound probing", ("False", "SufficientReadyPods"), "True"),  # starting is no fault
        (2, "ready ready", ("False", "SufficientReadyPods"), "True"),
        (2, "ready recovered", ("False", "SufficientReadyPods"), "True"),  # it crashed once, and is ready
        (2, "ready restarted", ("False", "SufficientReadyPods"), "True"),
        (2, "ready running", ("True", "InsufficientReadyPods"), "True"),
        (2, "ready crashing", ("True", "InsufficientReadyPods"), "True"),
        (2, "ready crashed", ("True", "InsufficientReadyPods"), "True"),
        (1, "ready crashing", ("False", "SufficientReadyPods"), "True"),
        (1, "pending ready", ("False", "SufficientReadyPods"), "True"),
        (1, "crashing running", ("True", "InsufficientReadyPods"), "True"),
    ],
)
def test_a_clique_is_breached_when_too_few_hold(minimum, pods, breached, scheduled):
    scene = one(2, minimum).put(a=pods)
    scene.write()
    assert scene.condition("a", BREACHED) == breached
    assert scene.condition("a", SCHEDULED)[0] == scheduled


def test_a_clique_scaled_to_0_is_not_breached_and_can_be_found_by_a_scaler():
    scene = one(2)
    scene.counts["w-0-a"] = 0
    scene.write()
    assert scene.condition("a", BREACHED)[0] == "False"
    assert scene.condition("a", SCHEDULED)[0] == "True"
    assert scene.status("a")["hpaPodSelector"] == (
        "app.kubernetes.io/managed-by=grove-operator,app.kubernetes.io/part-of=w,grove.io/podclique=w-0-a"
    )


def test_a_condition_says_that_fewer_are_asked_for_than_are_kept_and_goes_again():
    scene = one(3)
    scene.counts["w-0-a"] = 1
    scene.write()
    assert scene.condition("a", "EffectiveReplicasRaised") == ("True", "BelowMinAvailable")
    scene.counts["w-0-a"] = 3
    scene.write()
    assert scene.condition("a", "EffectiveReplicasRaised") is None
    scene.counts["w-0-a"] = 0
    scene.write()
    assert scene.condition("a", "EffectiveReplicasRaised") is None


def test_a_transition_is_dated_once_and_others_conditions_stay():
    scene = one(1).put(a="ready")
    foreign = {
        "type": "Foreign",
        "status": "True",
        "reason": "X",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    scene.statuses["w-0-a"] = {"conditions": [foreign]}
    scene.write()
    first = scene.status("a")["conditions"]
    assert first[0] == foreign
    scene.later(60)
    assert scene.write() == set()
    scene.turn_into(a="crashing").write()
    changed = {held["type"]: held["lastTransitionTime"] for held in scene.status("a")["conditions"]}
    assert changed[BREACHED] == second_time(T0 + 60)
    assert changed[SCHEDULED] == second_time(T0)


# ------------------------------------------------------------ templates


def test_a_new_template_is_reached_when_nothing_old_is_left_and_enough_are_ready():
    scene = one(2, 1).put(a="ready ready")
    scene.write()
    first, former = scene.status("a")["currentPodTemplateHash"], scene.picture().hash
    assert scene.status("a")["currentPodCliqueSetGenerationHash"] == former
    scene.image("2")
    scene.write()  # an update has yet to reach it
    assert scene.condition("a", BREACHED)[0] == "False"
    assert scene.status("a")["updatedReplicas"] == 2
    assert scene.status("a")["currentPodCliqueSetGenerationHash"] == former
    assert scene.status("set")["updatedReplicas"] == 0
    scene.reach("a").write()
    assert scene.condition("a", BREACHED) == ("Unknown", "UpdateInProgress")
    assert scene.status("a")["updatedReplicas"] == 0
    assert scene.status("a")["updateProgress"]["updateStartedAt"] == second_time(T0)
    scene.put(a="bound bound").later(5).write()  # all are new, none is ready
    assert scene.condition("a", BREACHED) == ("Unknown", "UpdateInProgress")
    assert scene.status("a")["currentPodTemplateHash"] == first
    assert scene.status("a")["updatedReplicas"] == 2
    scene.turn_into(a="ready bound").write()
    assert scene.condition("a", BREACHED)[0] == "False"
    assert scene.status("a")["currentPodTemplateHash"] == scene.replica.units[0].hash != first
    assert scene.status("a")["currentPodCliqueSetGenerationHash"] == scene.picture().hash != former
    assert scene.status("a")["updateProgress"]["updateEndedAt"] == second_time(T0 + 5)
    assert scene.status("set")["updatedReplicas"] == 1


def test_under_on_delete_nothing_is_updating_and_old_pods_are_told():
    scene = one(2, 1).put(a="ready ready")
    scene.owner = msgspec.convert(
        merged_spec(scene.owner, {"updateStrategy": {"type": "OnDelete"}}), type(scene.owner)
    )
    scene.write()
    scene.image("2").reach("a").write()
    assert scene.condition("a", BREACHED)[0] == "False"
    assert scene.status("a")["updatedReplicas"] == 0
    assert scene.status("set")["updatedReplicas"] == 0
    assert scene.status("set")["availableReplicas"] == 1


def merged_spec(owner, change):
    document = msgspec.to_builtins(owner)
    document["spec"] |= change
    return document


# ------------------------------------------------------------ groups


def test_a_group_counts_replicas_by_all_of_their_cliques():
    scene = Scene(workload(sg_replicas=3)).all("ready")
    scene.turn_into(sg_x_1_pc_c="ready ready bound", sg_x_2_pc_b="pending")
    scene.write()
    status = scene.status("sg_x")
    assert (status["replicas"], status["scheduledReplicas"]) == (3, 2)
    assert (status["availableReplicas"], status["updatedReplicas"]) == (1, 1)
    assert scene.condition("sg_x", BREACHED) == (
        "False",
        "SufficientAvailablePodCliqueScalingGroupReplicas",
    )


def test_a_group_is_breached_when_too_few_replicas_lack_nothing():
    scene = Scene(workload(sg_replicas=2, sg_minimum=2)).all("ready")
    scene.write()
    scene.turn_into(sg_x_1_pc_b="crashing").write()
    assert scene.condition("sg_x", BREACHED) == (
        "True",
        "InsufficientAvailablePodCliqueScalingGroupReplicas",
    )
    assert scene.status("set")["availableReplicas"] == 0
    assert "hpaPodSelector" not in scene.status("sg_x_1_pc_b")


def test_a_replica_whose_clique_is_not_there_is_not_available():
    scene = Scene(workload(sg_replicas=2)).all("ready")
    scene.missing.add("w-0-sg-x-1-pc-b")
    scene.write()
    assert scene.status("sg_x")["availableReplicas"] == 1
    assert scene.status("sg_x")["scheduledReplicas"] == 1


@pytest.mark.parametrize(("asked", "count", "raised"), [(0, 0, False), (1, 2, True), (3, 3, False)])
def test_a_group_keeps_its_minimum_and_honours_0(asked, count, raised):
    scene = Scene(workload(sg_replicas=2, sg_minimum=2))
    scene.group_counts["w-0-sg-x"] = asked
    scene.all("ready").write()
    assert scene.status("sg_x")["replicas"] == scene.status("sg_x")["availableReplicas"] == count
    assert (scene.condition("sg_x", "EffectiveReplicasRaised") is not None) == raised
    assert scene.condition("sg_x", BREACHED)[0] == "False"
    assert scene.status("sg_x")["selector"] == (
        "app.kubernetes.io/managed-by=grove-operator,app.kubernetes.io/part-of=w,"
        "grove.io/podcliquescalinggroup=w-0-sg-x"
    )


def test_a_group_is_updating_while_any_of_its_cliques_is():
    scene = Scene(workload(sg_replicas=2)).all("ready")
    scene.write()
    former = scene.status("sg_x")["currentPodCliqueSetGenerationHash"]
    scene.image("2").write()
    assert scene.condition("sg_x", BREACHED)[0] == "False"
    scene.reach("sg_x_0_pc_b", "sg_x_0_pc_c").write()
    assert scene.condition("sg_x", BREACHED) == ("Unknown", "UpdateInProgress")
    assert scene.status("sg_x")["currentPodCliqueSetGenerationHash"] == former
    assert scene.status("sg_x")["updateProgress"]["totalPodCliquesCount"] == 4
    assert scene.status("sg_x")["updatedReplicas"] == 0
    scene.reach("pc_a", "sg_x_1_pc_b", "sg_x_1_pc_c").all("ready").later(3).write()
    assert scene.status("sg_x")["updatedReplicas"] == 2
    assert scene.status("sg_x")["currentPodCliqueSetGenerationHash"] == scene.picture().hash
    assert scene.status("sg_x")["updateProgress"]["updateEndedAt"] == second_time(T0 + 3)


# ------------------------------------------------------------ gangs


@pytest.mark.parametrize(
    ("a", "b", "phase", "scheduled", "ready"),
    [
        ("", "", "Pending", ("False", "InsufficientScheduledPods"), "False"),
        ("gated gated", "gated", "Pending", ("False", "InsufficientScheduledPods"), "False"),
        ("pending pending", "refused", "Pending", ("False", "Unschedulable"), "False"),
        ("bound bound", "pending", "Pending", ("False", "InsufficientScheduledPods"), "False"),
        ("bound bound", "gated", "Starting", ("False", "StartOrder"), "False"),
        ("bound probing", "running", "Starting", ("True", "SufficientScheduledPods"), "False"),
        ("ready ready", "bound", "Starting", ("True", "SufficientScheduledPods"), "False"),
        ("ready ready", "ready", "Running", ("True", "SufficientScheduledPods"), "True"),
    ],
)
def test_a_gang_is_pending_starting_or_running(a, b, phase, scheduled, ready):
    scene = Scene(a_set([clique("a", 2), clique("b", 1)])).put(a=a, b=b)
    scene.write()
    assert scene.status("gang w-0")["phase"] == phase
    assert scene.condition("gang w-0", "Scheduled") == scheduled
    assert scene.condition("gang w-0", "Ready")[0] == ready
    assert scene.condition("gang w-0", "Unhealthy")[0] == "False"
    assert scene.status("set")["podGangStatuses"] == [{"name": "w-0", "phase": phase}]


def test_a_gang_runs_with_its_minimum():
    scene = one(3, 1).put(a="ready pending gated")
    scene.write()
    assert scene.status("gang w-0")["phase"] == "Running"


def test_a_gang_says_why_its_backend_holds_it_back():
    scene = one(2).put(a="gated gated")
    scene.waiting["w-0"] = Waiting("NoRoom", "2 of 2 pods find no node: nvidia.com/gpu")
    scene.write()
    held = {each["type"]: each for each in scene.status("gang w-0")["conditions"]}["Scheduled"]
    assert (held["reason"], held["message"]) == ("NoRoom", "2 of 2 pods find no node: nvidia.com/gpu")


@pytest.mark.parametrize(("reason", "phase"), [("StartOrder", "Starting"), ("NoRoom", "Pending")])
def test_a_gang_whose_later_cliques_wait_for_their_turn_has_begun(reason, phase):
    scene = Scene(a_set([clique("a", 2), clique("b", 1)])).put(a="bound bound", b="gated")
    scene.waiting["w-0"] = Waiting(reason, "b waits")
    scene.write()
    assert scene.status("gang w-0")["phase"] == phase
    assert scene.condition("gang w-0", "Scheduled") == ("False", reason)


def test_what_a_scheduler_says_of_a_pod_is_told():
    scene = one(1).put(a="refused")
    scene.write()
    held = {each["type"]: each for each in scene.status("gang w-0")["conditions"]}["Scheduled"]
    assert held["message"].endswith("0/5 nodes are available")


def test_a_gang_is_initialized_once_for_good():
    scene = one(2).put(a="gated")
    scene.write()
    assert scene.condition("gang w-0", "Initialized") == ("False", "PodGangPodsCreationPending")
    scene.put(a="gated gated").write()
    assert scene.condition("gang w-0", "Initialized") == ("True", "PodGangPodsCreated")
    scene.put(a="gated").write()
    assert scene.condition("gang w-0", "Initialized")[0] == "True"


def test_only_a_gang_that_ran_is_unhealthy():
    scene = one(2).put(a="ready running")
    scene.write()
    assert scene.condition("gang w-0", "Unhealthy")[0] == "False"
    scene.turn_into(a="ready ready").write()
    scene.turn_into(a="ready crashing").write()
    assert scene.condition("gang w-0", "Unhealthy") == ("True", "MinAvailableBreached")


def test_a_pod_that_is_to_be_evicted_makes_its_gang_a_target_while_it_is_there():
    scene = one(1).put(a="ready")
    pod = msgspec.to_builtins(scene.picture().cliques["w-0-a"].pods[0])
    evicted = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": "m",
    }
    pod["status"]["conditions"] = [*pod["status"]["conditions"], evicted]
    picture = scene.picture()
    seen = picture.cliques["w-0-a"]
    seen = msgspec.structs.replace(seen, pods=(msgspec.convert(pod, Pod),))
    picture = msgspec.structs.replace(picture, cliques={"w-0-a": seen})
    (gang,) = picture.replica.gangs
    held = gang_status(gang, picture, T0)["conditions"][-1]
    assert (held["type"], held["reason"]) == ("DisruptionTarget", "PreemptionByScheduler")
    scene.write()
    assert scene.condition("gang w-0", "DisruptionTarget") is None


def test_scaled_gangs_have_statuses_of_their_own():
    scene = Scene(workload(sg_replicas=2)).all("ready")
    scene.turn_into(sg_x_1_pc_b="gated", sg_x_1_pc_c="gated gated gated").write()
    assert scene.status("gang w-0")["phase"] == "Running"
    assert scene.status("gang w-0-sg-x-0")["phase"] == "Pending"
    assert scene.status("set")["availableReplicas"] == 1


# ------------------------------------------------------------ the set


def test_a_set_adds_up_what_its_replicas_are():
    owner = workload(replicas=3)
    found = {
        0: ReplicaSummary(available=True, updated=True, gangs={"w-0": "Running"}),
        1: ReplicaSummary(available=True, gangs={"w-1": "Running"}),
        2: ReplicaSummary(gangs={"w-2": "Pending"}),
        3: ReplicaSummary(available=True, updated=True),  # too many, and on its way out
    }
    status = set_status(owner, found, "h", T0, progress={"updateStartedAt": "x"})
    assert (status["replicas"], status["availableReplicas"], status["updatedReplicas"]) == (3, 2, 1)
    assert (
        status["hpaPodSelector"] == "app.kubernetes.io/managed-by=grove-operator,app.kubernetes.io/part-of=w"
    )
    assert [one["phase"] for one in status["podGangStatuses"]] == ["Running", "Running", "Pending"]
    assert (status["currentGenerationHash"], status["updateProgress"]) == ("h", {"updateStartedAt": "x"})
    assert "updateProgress" not in set_status(owner, found, "h", T0)


def test_a_summary_travels_as_json():
    found = summary(Scene(workload()).all("ready").picture())
    phases = {"w-0": "Running", "w-0-sg-x-0": "Running"}
    assert found == ReplicaSummary(True, True, 5, 5, 1, 1, phases)
    assert msgspec.json.decode(msgspec.json.encode(found), type=ReplicaSummary) == found


@pytest.mark.parametrize(
    ("given", "status", "reason"),
    [
        ({}, "False", "AllClusterTopologyLevelsAvailable"),
        ({"missing": ("rack",)}, "True", "ClusterTopologyLevelsUnavailable"),
        ({"bound": False, "missing": ("rack",)}, "Unknown", "ClusterTopologyNotFound"),
        ({"topology": None}, "Unknown", "TopologyNameMissing"),
        ({"enabled": False}, "Unknown", "TopologyAwareSchedulingDisabled"),
    ],
)
def test_a_set_says_which_levels_of_its_topology_are_missing(given, status, reason):
    constraint = {"topologyName": "t", "pack": {"required": "rack"}}
    owner = a_set([clique("a", 1)], topologyConstraint=constraint)
    (held,) = set_status(owner, {}, "h", T0, **{"topology": "t", **given})["conditions"]
    assert (held["status"], held["reason"]) == (status, reason)


def test_a_set_without_constraints_says_nothing_of_topology():
    assert set_status(a_set([clique("a", 1)]), {}, "h", T0)["conditions"] == []


def test_a_replica_has_settled_when_all_are_there_and_ready():
    scene = Scene(workload()).all("ready")
    assert scene.settled()
    scene.put(pc_a="ready ready leaving")
    assert not scene.settled()
    scene.put(pc_a="ready bound")
    assert not scene.settled()
    scene.put(pc_a="ready")
    assert not scene.settled()
    scene.put(pc_a="ready ready").image("2")
    assert not scene.settled()
    scene.missing.add("w-0-pc-a")
    assert not scene.settled()


# ------------------------------------------------------------ patches


@pytest.mark.parametrize(
    ("held", "wanted", "patch"),
    [
        (None, {"a": 0}, {"a": 0}),
        (None, {"a": None, "b": [], "c": {}, "d": ""}, None),
        ({"a": None, "b": None}, {"a": [], "b": {}}, None),
        ({"a": 1, "foreign": 2}, {"a": 1}, None),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": True}, {"a": False}, {"a": False}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"x": 1}}, {"a": {"y": None}}),
        ({"a": {"x": 1}}, {"a": None}, {"a": None}),
        ({"a": {"x": 1}}, {"a": {}}, {"a": None}),
        ({"a": [{"x": 1, "y": None}]}, {"a": ({"x": 1},)}, None),
        ({"a": [1]}, {"a": [1, 2]}, {"a": [1, 2]}),
        ({"a": [1]}, {"a": []}, {"a": None}),
    ],
)
def test_a_patch_says_what_differs_and_no_more(held, wanted, patch):
    assert status_patch(held, wanted) == patch


# ------------------------------------------------------------ whatever happens

PODS = st.lists(st.sampled_from([*WORDS]), max_size=4).map(" ".join)
ACTS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(["pc_a", "sg_x_0_pc_b", "sg_x_0_pc_c"]), PODS),
    st.tuples(st.just("scale"), st.sampled_from(["w-0-pc-a", "w-0-sg-x"]), st.integers(0, 3)),
    st.tuples(st.just("image"), st.sampled_from("234"), st.none()),
    st.tuples(st.just("reach"), st.sampled_from(["pc_a", "sg_x_0_pc_b"]), st.none()),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 4e3, 9e4]), st.none()),
    st.tuples(st.just("recover"), st.none(), st.none()),
    st.tuples(st.just("all"), st.sampled_from(["ready", "bound"]), st.none()),
)


def act(scene, what, whom, how):
    if what == "put" and any(unit.name == scene.name(whom) for unit in scene.replica.units):
        scene.put(**{whom: how})
    elif what == "scale":
        (scene.counts if whom == "w-0-pc-a" else scene.group_counts)[whom] = how
    elif what == "image":
        scene.image(whom)
    elif what == "reach":
        scene.reach(whom)
    elif what == "wait":
        scene.later(whom)
    elif what == "recover":
        scene.recover()
    elif what == "all":
        scene.all(whom)


@settings(max_examples=40, deadline=None)
@given(st.lists(ACTS, max_size=8))
def test_what_was_written_is_not_written_again_and_nothing_given_is_changed(acts):
    scene = Scene(workload(sg_replicas=2, terminationDelay="1h"))
    scene.all("ready").write()
    for one_act in acts:
        act(scene, *one_act)
        before = copy.deepcopy((scene.picture(), scene.statuses))
        scene.wanted()
        assert (scene.picture(), scene.statuses) == before
        scene.write()
        assert scene.write() == set()
        scene.later(1)
        assert scene.write() == set()  # time alone writes nothing
        counts = {name: status for name, status in scene.statuses.items() if "readyReplicas" in status}
        assert all(
            each["readyReplicas"] <= each["scheduledReplicas"] <= each["replicas"] for each in counts.values()
        )
