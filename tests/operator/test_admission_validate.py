"""Every rule: a document that breaks it, where that is told, and in which words."""

import pytest
from grove_operator.admission.faults import Kind
from grove_operator.admission.subject import World
from grove_operator.admission.validate import RULES, validate

from tests.operator.admission_documents import changed, clique, good_set

T = "spec.template"
C = f"{T}.cliques"
G = f"{T}.podCliqueScalingGroups"
EXPLICIT = "CliqueStartupTypeExplicit"
DNS = "must be lower-case letters, digits and '-'"

# rule, path that is changed, its value, path of the fault, kind, words
ROWS = [
    ("set_has_a_name", "metadata.name", None, "metadata.name", Kind.REQUIRED, "generateName"),
    ("set_has_a_name", "metadata.name", "a.b", "metadata.name", Kind.INVALID, DNS),
    ("cliques_have_names", f"{C}[0].name", "", f"{C}[0].name", Kind.REQUIRED, "every clique needs a name"),
    ("cliques_have_names", f"{C}[0].name", "Router", f"{C}[0].name", Kind.INVALID, DNS),
    ("groups_have_names", f"{G}[0].name", "", f"{G}[0].name", Kind.REQUIRED, "every scaling group"),
    ("groups_have_names", f"{G}[0].name", "de_code", f"{G}[0].name", Kind.INVALID, DNS),
    ("clique_names_are_unique", f"{C}[1].name", "router", f"{C}[1].name", Kind.DUPLICATE, "used once"),
    (
        "names_fit_together",
        "metadata.name",
        "s" * 40,
        f"{C}[0].name",
        Kind.TOO_LONG,
        "46 characters together",
    ),
    ("names_fit_together", "metadata.name", "s" * 34, f"{G}[0].cliqueNames[0]", Kind.TOO_LONG, "by 1"),
    ("names_fit_together", "metadata.name", "s" * 34, f"{G}[0].cliqueNames[1]", Kind.TOO_LONG, "'decode'"),
    ("set_replicas_are_not_negative", "spec.replicas", -1, "spec.replicas", Kind.INVALID, "0 or more"),
    (
        "set_replicas_are_bounded",
        "spec.replicas",
        100_001,
        "spec.replicas",
        Kind.INVALID,
        "at most 100000",
    ),
    (
        "pods_of_a_replica_are_bounded",
        f"{C}[1].spec.replicas",
        2_000_000_000,
        f"{C}[1].spec.replicas",
        Kind.INVALID,
        "would have 2000000010 pods, at most are 10000",
    ),
    (
        "pods_of_a_replica_are_bounded",
        f"{G}[0].replicas",
        2_500,
        f"{C}[2].spec.replicas",
        Kind.INVALID,
        "would have 10004 pods",
    ),
    (
        "update_strategy_is_known",
        "spec.updateStrategy",
        {"type": "Recreate"},
        "spec.updateStrategy.type",
        Kind.NOT_SUPPORTED,
        '"RollingRecreate", "OnDelete"',
    ),
    (
        "startup_type_is_known",
        f"{T}.cliqueStartupType",
        "InOrder",
        f"{T}.cliqueStartupType",
        Kind.NOT_SUPPORTED,
        '"CliqueStartupTypeInOrder"',
    ),
    (
        "termination_delay_is_positive",
        f"{T}.terminationDelay",
        "0s",
        f"{T}.terminationDelay",
        Kind.INVALID,
        "greater than 0",
    ),
    (
        "termination_delay_is_positive",
        f"{T}.terminationDelay",
        "soon",
        f"{T}.terminationDelay",
        Kind.INVALID,
        "a duration such as 4h",
    ),
    (
        "termination_delay_is_positive",
        f"{T}.terminationDelay",
        "",
        f"{T}.terminationDelay",
        Kind.REQUIRED,
        "4h",
    ),
    ("there_are_cliques", C, [], C, Kind.REQUIRED, "at least one clique must be defined"),
    (
        "roles_are_unique",
        f"{C}[1].spec.roleName",
        "router",
        f"{C}[1].spec.roleName",
        Kind.DUPLICATE,
        "one clique",
    ),
    (
        "roles_are_unique",
        C,
        [{**clique(name), "spec": {**clique(name)["spec"], "roleName": ""}} for name in ("leader", "worker")],
        f"{C}[1].spec.roleName",
        Kind.REQUIRED,
        "prefill",
    ),
    ("labels_are_labels", f"{C}[0].labels", {"a b": "c"}, f"{C}[0].labels", Kind.INVALID, "letters, digits"),
    ("labels_are_labels", f"{C}[0].labels", {"A.B/c": "d"}, f"{C}[0].labels", Kind.INVALID, "before '/'"),
    ("labels_are_labels", f"{C}[0].labels", {"a": "b c"}, f"{C}[0].labels", Kind.INVALID, "of a: must be"),
    (
        "annotations_are_annotations",
        f"{C}[0].annotations",
        {"": "x"},
        f"{C}[0].annotations",
        Kind.INVALID,
        "1 to 63",
    ),
    (
        "annotations_are_annotations",
        f"{C}[0].annotations",
        {"a": "x" * 262144},
        f"{C}[0].annotations",
        Kind.INVALID,
        "at most 262144 bytes",
    ),
    (
        "clique_replicas_are_positive",
        f"{C}[0].spec.replicas",
        -3,
        f"{C}[0].spec.replicas",
        Kind.INVALID,
        "than 0",
    ),
    (
        "clique_min_available_fits",
        f"{C}[0].spec.minAvailable",
        0,
        f"{C}[0].spec.minAvailable",
        Kind.INVALID,
        "than 0",
    ),
    (
        "clique_min_available_fits",
        f"{C}[0].spec.minAvailable",
        3,
        f"{C}[0].spec.minAvailable",
        Kind.INVALID,
        "must not be greater than replicas, which are 2",
    ),
    (
        "clique_autoscaling_fits",
        f"{C}[0].spec.autoScalingConfig",
        {"minReplicas": 1, "maxReplicas": 4},
        f"{C}[0].spec.autoScalingConfig.minReplicas",
        Kind.INVALID,
        "at least minAvailable, which is 2",
    ),
    (
        "clique_autoscaling_fits",
        f"{C}[0].spec.autoScalingConfig",
        {"minReplicas": 5, "maxReplicas": 4},
        f"{C}[0].spec.autoScalingConfig.maxReplicas",
        Kind.INVALID,
        "at least minReplicas, which are 5",
    ),
    (
        "clique_autoscaling_fits",
        f"{C}[0].spec",
        clique(
            "x", "router", replicas=5, minAvailable=1, autoScalingConfig={"minReplicas": 2, "maxReplicas": 4}
        )["spec"],
        f"{C}[0].spec.autoScalingConfig.maxReplicas",
        Kind.INVALID,
        "at least replicas, which are 5",
    ),
    (
        "clique_autoscaling_fits",
        f"{C}[0].spec.autoScalingConfig",
        {"minReplicas": 2},
        f"{C}[0].spec.autoScalingConfig.maxReplicas",
        Kind.REQUIRED,
        "how many pods",
    ),
    (
        "members_are_scaled_by_their_group",
        f"{C}[2].spec.autoScalingConfig",
        {"minReplicas": 2, "maxReplicas": 4},
        f"{C}[2].spec.autoScalingConfig",
        Kind.FORBIDDEN,
        "move it to the group's scaleConfig",
    ),
    (
        "pods_have_containers",
        f"{C}[0].spec.podSpec.containers",
        [],
        f"{C}[0].spec.podSpec.containers",
        Kind.REQUIRED,
        "at least one container",
    ),
    (
        "containers_can_be_created",
        f"{C}[0].spec.podSpec.containers[0].image",
        None,
        f"{C}[0].spec.podSpec.containers[0].image",
        Kind.REQUIRED,
        "name the image",
    ),
    (
        "containers_can_be_created",
        f"{C}[0].spec.podSpec.initContainers",
        [{"name": "early", "image": "engine:1", "env": [{"name": "OK.1"}, {"name": "A=B"}]}],
        f"{C}[0].spec.podSpec.initContainers[0].env[1].name",
        Kind.INVALID,
        "other than '='",
    ),
    (
        "pods_are_not_bound_to_a_node",
        f"{C}[0].spec.podSpec.nodeName",
        "n1",
        f"{C}[0].spec.podSpec.nodeName",
        Kind.INVALID,
        "must not be set",
    ),
    (
        "pods_are_not_spread",
        f"{C}[0].spec.podSpec.topologySpreadConstraints",
        [{"maxSkew": 1}],
        f"{C}[0].spec.podSpec.topologySpreadConstraints",
        Kind.INVALID,
        "must not be set",
    ),
    (
        "groups_have_members",
        f"{G}[0].cliqueNames",
        [],
        f"{G}[0].cliqueNames",
        Kind.REQUIRED,
        "scaled together",
    ),
    (
        "members_are_cliques",
        f"{G}[0].cliqueNames",
        ["leader", "lost"],
        f"{G}[0].cliqueNames[1]",
        Kind.NOT_FOUND,
        "name a clique of this set",
    ),
    (
        "members_belong_to_one_group",
        f"{G}[0].cliqueNames",
        ["leader", "leader"],
        f"{G}[0].cliqueNames[1]",
        Kind.DUPLICATE,
        "it is in group 'decode'",
    ),
    (
        "group_replicas_are_positive",
        f"{G}[0].replicas",
        0,
        f"{G}[0].replicas",
        Kind.INVALID,
        "greater than 0",
    ),
    ("group_min_available_fits", f"{G}[0].minAvailable", 0, f"{G}[0].minAvailable", Kind.INVALID, "than 0"),
    (
        "group_min_available_fits",
        f"{G}[0].minAvailable",
        3,
        f"{G}[0].minAvailable",
        Kind.INVALID,
        "which are 2",
    ),
    (
        "group_autoscaling_fits",
        f"{G}[0]",
        {
            "name": "decode",
            "cliqueNames": ["leader", "worker"],
            "replicas": 3,
            "minAvailable": 2,
            "scaleConfig": {"minReplicas": 1, "maxReplicas": 4},
        },
        f"{G}[0].scaleConfig.minReplicas",
        Kind.INVALID,
        "at least minAvailable, which is 2",
    ),
    (
        "group_autoscaling_fits",
        f"{G}[0].scaleConfig",
        {"minReplicas": 3, "maxReplicas": 2},
        f"{G}[0].scaleConfig.maxReplicas",
        Kind.INVALID,
        "at least minReplicas, which are 3",
    ),
    (
        "group_autoscaling_fits",
        f"{G}[0].scaleConfig",
        {"minReplicas": 3},
        f"{G}[0].scaleConfig.maxReplicas",
        Kind.REQUIRED,
        "how many replicas",
    ),
    (
        "group_annotations_are_annotations",
        f"{G}[0].annotations",
        {"-a": "b"},
        f"{G}[0].annotations",
        Kind.INVALID,
        "letters",
    ),
    (
        "updates_can_go_on",
        f"{G}[0].rollingUpdate",
        {"maxUnavailable": 0},
        f"{G}[0].rollingUpdate.maxUnavailable",
        Kind.INVALID,
        "raise this, or maxSurge, to 1",
    ),
    (
        "updates_can_go_on",
        f"{C}[0].rollingUpdate",
        {"maxUnavailable": -1},
        f"{C}[0].rollingUpdate.maxUnavailable",
        Kind.INVALID,
        "0 or more",
    ),
    (
        "updates_can_go_on",
        f"{C}[0].rollingUpdate",
        {"maxSurge": -1},
        f"{C}[0].rollingUpdate.maxSurge",
        Kind.INVALID,
        "0 or more",
    ),
    (
        "members_are_updated_with_their_group",
        f"{C}[3].rollingUpdate",
        {"maxSurge": 1},
        f"{C}[3].rollingUpdate",
        Kind.FORBIDDEN,
        "move it to the group",
    ),
    (
        "claim_templates_are_complete",
        f"{T}.resourceClaimTemplates",
        [{"templateSpec": {"spec": {"devices": {"requests": [{"name": "gpu"}]}}}}],
        f"{T}.resourceClaimTemplates[0].name",
        Kind.REQUIRED,
        "needs a name",
    ),
    (
        "claim_templates_are_complete",
        f"{T}.resourceClaimTemplates",
        [{"name": "gpu"}],
        f"{T}.resourceClaimTemplates[0].templateSpec.spec.devices.requests",
        Kind.REQUIRED,
        "at least one device",
    ),
    (
        "claim_templates_are_complete",
        f"{T}.resourceClaimTemplates",
        [{"name": "gpu"}, {"name": "gpu"}],
        f"{T}.resourceClaimTemplates[1].name",
        Kind.DUPLICATE,
        "used once",
    ),
    (
        "sharing_refers_to_templates",
        f"{T}.resourceSharing",
        [{"scope": "AllReplicas"}],
        f"{T}.resourceSharing[0].name",
        Kind.REQUIRED,
        "name a template",
    ),
    (
        "sharing_refers_to_templates",
        f"{C}[1].resourceSharing",
        [{"name": "gpu", "scope": "PerReplica"}, {"name": "gpu", "scope": "AllReplicas"}],
        f"{C}[1].resourceSharing[1].name",
        Kind.DUPLICATE,
        "once at a level",
    ),
    (
        "sharing_refers_to_templates",
        f"{G}[0].resourceSharing",
        [{"name": "gpu", "scope": "All"}],
        f"{G}[0].resourceSharing[0].scope",
        Kind.NOT_SUPPORTED,
        '"AllReplicas", "PerReplica"',
    ),
    (
        "filters_name_what_is_there",
        f"{T}.resourceSharing",
        [{"name": "gpu", "scope": "AllReplicas", "filter": {}}],
        f"{T}.resourceSharing[0].filter",
        Kind.REQUIRED,
        "childCliqueNames or childScalingGroupNames",
    ),
    (
        "filters_name_what_is_there",
        f"{T}.resourceSharing",
        [{"name": "gpu", "scope": "AllReplicas", "filter": {"childScalingGroupNames": ["encode"]}}],
        f"{T}.resourceSharing[0].filter.childScalingGroupNames[0]",
        Kind.NOT_FOUND,
        "known here: decode",
    ),
    (
        "filters_name_what_is_there",
        f"{G}[0].resourceSharing",
        [{"name": "gpu", "scope": "AllReplicas", "filter": {"childCliqueNames": ["router"]}}],
        f"{G}[0].resourceSharing[0].filter.childCliqueNames[0]",
        Kind.NOT_FOUND,
        "known here: leader, worker",
    ),
    (
        "there_is_one_scheduler",
        f"{C}[1].spec.podSpec.schedulerName",
        "kai-scheduler",
        f"{C}[1].spec.podSpec.schedulerName",
        Kind.INVALID,
        "others are placed by 'default-scheduler'",
    ),
    (
        "scheduler_is_enabled",
        f"{C}[1].spec.podSpec.schedulerName",
        "mine",
        f"{C}[1].spec.podSpec.schedulerName",
        Kind.INVALID,
        "enabled are default-scheduler, kai-scheduler, lpx-scheduler, volcano",
    ),
]

WORLD = World(
    schedulers=frozenset(["default-scheduler", "kai-scheduler", "volcano", "lpx-scheduler"]),
    topologies={"nodes": ("zone", "block", "rack", "host")},
    volcano_queues={"default": "Open", "night": "Closed"},
)


def faults_of(document, old=None, world=WORLD):
    return validate(document, old, world).faults


def assert_told(faults, path, kind, words):
    told = [fault for fault in faults if (fault.path, fault.kind) == (path, kind)]
    assert told, [str(fault) for fault in faults]
    assert any(words in str(fault) for fault in told), [str(fault) for fault in told]


def test_a_good_set_has_no_faults_and_no_warnings():
    assert validate(good_set(), None, WORLD) == validate(good_set())
    assert not validate(
        changed(good_set(), "metadata.annotations", {"grove.io/mnnvl-group": "none"})
    ).warnings
    assert faults_of(good_set()) == ()
    assert validate(good_set()).warnings == ()


@pytest.mark.parametrize(("rule", "at", "value", "path", "kind", "words"), ROWS)
def test_a_broken_rule_is_told_at_its_field(rule, at, value, path, kind, words):
    assert_told(faults_of(changed(good_set(), at, value)), path, kind, words)
    assert rule in {each.__name__ for each in RULES}


# ------------------------------------------------------------ names


def two_groups(first, first_member, second, second_member):
    return good_set(
        cliques=[clique(first_member), clique(second_member)],
        podCliqueScalingGroups=[
            {"name": first, "cliqueNames": [first_member]},
            {"name": second, "cliqueNames": [second_member]},
        ],
    )


def test_one_clique_may_go_without_a_role():
    assert not validate(changed(good_set(), f"{C}[1].spec.roleName", "")).faults


def test_group_names_are_used_once():
    faults = faults_of(two_groups("a", "x", "a", "y"))
    assert_told(faults, f"{G}[1].name", Kind.DUPLICATE, "used once")


def test_a_clique_cannot_have_the_name_of_a_groups_replica():
    document = good_set(
        cliques=[clique("a-0-b"), clique("b")], podCliqueScalingGroups=[{"name": "a", "cliqueNames": ["b"]}]
    )
    assert_told(faults_of(document), f"{C}[0].name", Kind.INVALID, "clique 'b' in group 'a'")


@pytest.mark.parametrize(
    ("names", "meet"),
    [
        (("a", "0-b", "a-1", "b"), True),  # a-1-0-b
        (("a", "x-0-b", "a-1-x", "b"), True),  # a-1-x-0-b
        (("a", "b", "a-1", "c"), False),
        (("a", "0-b", "a-x", "b"), False),
        (("a", "b", "b", "a"), False),
    ],
)
def test_two_groups_cannot_make_podcliques_of_one_name(names, meet):
    told = [fault for fault in faults_of(two_groups(*names)) if "same names" in fault.detail]
    assert bool(told) == meet


def test_suffixes_and_prefixes_of_each_other_are_different_names():
    names = ["worker", "prefill-worker", "worker-b", "a", "a-0"]
    assert faults_of(good_set(cliques=[clique(name) for name in names], podCliqueScalingGroups=[])) == ()


def test_an_autoscaled_clique_and_an_autoscaled_group_need_different_names():
    scale = {"minReplicas": 2, "maxReplicas": 3}
    document = good_set(
        cliques=[clique("a", autoScalingConfig=scale), clique("b")],
        podCliqueScalingGroups=[{"name": "a", "cliqueNames": ["b"], "replicas": 2, "scaleConfig": scale}],
    )
    assert_told(faults_of(document), f"{G}[0].name", Kind.INVALID, "HorizontalPodAutoscalers")


def longest(replicas, group_replicas, pods):
    """45 characters: 15 + 15 + 15."""
    group = {"name": "g" * 15, "cliqueNames": ["c" * 15], "replicas": group_replicas, "minAvailable": 1}
    document = good_set(cliques=[clique("c" * 15, replicas=pods)], podCliqueScalingGroups=[group])
    return changed(changed(document, "metadata.name", "s" * 15), "spec.replicas", replicas)


@pytest.mark.parametrize(
    ("replicas", "group_replicas", "pods", "fits"),
    [
        (1, 1, 1, True),
        (10_000, 10_000, 100_000, True),  # 49 + 8 digits + 6
        (10_001, 10_000, 1, False),
        (10_000, 10_001, 1, False),
        (10_000, 10_000, 100_001, False),  # six digits instead of a pod's five characters
    ],
)
def test_host_names_are_counted_with_the_digits_of_their_indices(replicas, group_replicas, pods, fits):
    faults = faults_of(longest(replicas, group_replicas, pods))
    if fits:
        assert not [each for each in faults if each.kind is Kind.TOO_LONG]
    else:
        assert_told(faults, f"{G}[0].cliqueNames[0]", Kind.TOO_LONG, "use fewer replicas")


# ------------------------------------------------------------ order


def chain(**parents):
    return good_set(
        cliqueStartupType=EXPLICIT,
        cliques=[clique(name, startsAfter=after) for name, after in parents.items()],
        podCliqueScalingGroups=[],
    )


@pytest.mark.parametrize(
    ("after", "kind", "words"),
    [
        ([""], Kind.REQUIRED, "name a clique"),
        (["b"], Kind.INVALID, "cannot start after itself"),
        (["a", "a"], Kind.DUPLICATE, "named once"),
        (["z"], Kind.NOT_FOUND, "name a clique of this set"),
    ],
)
def test_parents_are_other_cliques_once_each(after, kind, words):
    path = f"{C}[1].spec.startsAfter[{len(after) - 1}]"
    assert_told(faults_of(chain(a=[], b=after)), path, kind, words)


def test_a_circle_is_named_in_full():
    faults = faults_of(chain(a=["b"], d=[], b=["c", "d"], c=["a"]))
    assert_told(faults, f"{C}[0].spec.startsAfter", Kind.INVALID, "a -> b -> c -> a")


def test_a_diamond_is_no_circle():
    assert faults_of(chain(a=[], b=["a"], c=["a"], d=["b", "c"])) == ()


def test_without_explicit_parents_have_no_effect_and_a_warning_says_so():
    document = changed(chain(a=["a"], b=["z"]), f"{T}.cliqueStartupType", "CliqueStartupTypeInOrder")
    verdict = validate(document, None, WORLD)
    assert verdict.faults == ()
    assert len([each for each in verdict.warnings if "has no effect" in each]) == 2


# ------------------------------------------------------------ schedulers


def placed_by(scheduler, **metadata):
    document = good_set(podCliqueScalingGroups=[])
    for each in document["spec"]["template"]["cliques"]:
        each["spec"]["podSpec"]["schedulerName"] = scheduler
    document["metadata"] |= metadata
    return document


def test_kai_takes_one_queue():
    queue = "kai.scheduler/queue"
    document = placed_by("kai-scheduler", labels={queue: "day"})
    assert faults_of(document) == ()
    faults = faults_of(changed(document, f"{C}[1].annotations", {queue: "night"}))
    assert_told(faults, f"{C}[1]", Kind.INVALID, "metadata says 'day'")


@pytest.mark.parametrize(
    ("queue", "kind", "words"),
    [
        ("night", Kind.INVALID, "the Volcano queue is Closed"),
        ("lost", Kind.NOT_FOUND, "create the Volcano queue"),
        ("No_Queue", Kind.INVALID, DNS),
    ],
)
def test_volcano_takes_an_open_queue(queue, kind, words):
    key = "scheduling.grove.io/volcano-queue"
    assert faults_of(placed_by("volcano")) == ()
    faults = faults_of(placed_by("volcano", annotations={key: queue}))
    assert_told(faults, f"metadata.annotations[{key}]", kind, words)
    faults = faults_of(changed(placed_by("volcano"), f"{C}[1].annotations", {key: queue}))
    assert_told(faults, f"{C}[1].annotations[{key}]", Kind.INVALID, "need the same queue, here 'default'")


def test_a_scheduler_that_is_not_enabled_is_one_fault_with_its_remedy():
    """Wherever it is named: nobody else is told to follow it."""
    document = changed(good_set(), f"{C}[0].spec.podSpec.schedulerName", "mine")
    (fault,) = faults_of(document)
    assert fault.path == f"{C}[0].spec.podSpec.schedulerName"
    assert "leave it out, or enable it in the operator's setting scheduler.names" in fault.detail


@pytest.mark.parametrize("scheduler", ["volcano", "lpx-scheduler"])
def test_some_schedulers_know_no_topology(scheduler):
    document = changed(placed_by(scheduler), f"{T}.topologyConstraint", packed("rack"))
    assert_told(faults_of(document), f"{T}.topologyConstraint", Kind.FORBIDDEN, scheduler)


def test_a_sharing_with_a_namespace_cannot_mean_a_template_of_the_set():
    document = good_set(
        resourceClaimTemplates=[
            {"name": "gpu", "templateSpec": {"spec": {"devices": {"requests": [{"name": "one"}]}}}}
        ],
        resourceSharing=[{"name": "gpu", "namespace": "other", "scope": "AllReplicas"}],
    )
    assert_told(faults_of(document), f"{T}.resourceSharing[0].namespace", Kind.INVALID, "must be empty")


# ------------------------------------------------------------ topology


def packed(required=None, name="nodes", preferred=None, **more):
    pack = {key: each for key, each in (("required", required), ("preferred", preferred)) if each}
    return {**({"topologyName": name} if name else {}), **({"pack": pack} if pack else {}), **more}


def constrained(of_set=None, of_group=None, of_clique=None):
    document = good_set()
    template = document["spec"]["template"]
    for owner, given in (
        (template, of_set),
        (template["podCliqueScalingGroups"][0], of_group),
        (template["cliques"][2], of_clique),
    ):
        if given is not None:
            owner["topologyConstraint"] = given
    return document


S = f"{T}.topologyConstraint"
GC = f"{G}[0].topologyConstraint"
CC = f"{C}[2].topologyConstraint"


def test_three_levels_within_each_other_are_good():
    document = constrained(packed("zone"), packed("rack", None), packed("host", None))
    assert validate(document, None, WORLD).faults == ()


@pytest.mark.parametrize(
    ("document", "path", "kind", "words"),
    [
        (constrained(packed()), f"{S}.pack", Kind.REQUIRED, "pack.required or pack.preferred"),
        (constrained(packed(packDomain="rack")), f"{S}.packDomain", Kind.FORBIDDEN, "use pack.required"),
        (
            constrained(packed("rack", packDomain="rack")),
            f"{S}.packDomain",
            Kind.FORBIDDEN,
            "remove packDomain",
        ),
        (
            constrained(packed("rack", None)),
            f"{S}.topologyName",
            Kind.REQUIRED,
            "name the ClusterTopologyBinding",
        ),
        (
            constrained(packed("zone"), packed("rack", "other")),
            f"{GC}.topologyName",
            Kind.INVALID,
            "the set names 'nodes'",
        ),
        (constrained(packed("rack", "lost")), f"{S}.topologyName", Kind.NOT_FOUND, "one that exists: nodes"),
        (
            constrained(packed("numa")),
            f"{S}.pack.required",
            Kind.INVALID,
            "'nodes' has zone, block, rack, host",
        ),
        (constrained(packed(preferred="numa")), f"{S}.pack.preferred", Kind.INVALID, "has zone, block"),
        (constrained(packed("rack"), packed("block", None)), GC, Kind.INVALID, "within one 'rack'"),
        (constrained(packed("rack"), None, packed("zone", None)), CC, Kind.INVALID, "the set must be within"),
        (constrained(None, packed("host"), packed("rack", None)), CC, Kind.INVALID, "group 'decode' must be"),
    ],
)
def test_constraints_are_complete_and_nested(document, path, kind, words):
    assert_told(faults_of(document), path, kind, words)


def test_constraints_are_refused_where_topology_is_disabled():
    faults = faults_of(constrained(packed("rack")), world=World(topology=False))
    assert_told(faults, S, Kind.FORBIDDEN, "topology-aware scheduling is disabled")


def test_what_the_cluster_has_is_not_checked_where_nobody_knows():
    assert faults_of(constrained(packed("rack", "lost")), world=World()) == ()
    assert_told(
        faults_of(constrained(packed("host"), packed("zone")), world=World()), GC, Kind.INVALID, "within"
    )


# ------------------------------------------------------------ warnings


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (changed(good_set(), f"{C}[0].spec.podSpec.restartPolicy", "Never"), "it will be set to Always"),
        (
            changed(
                good_set(),
                f"{C}[0].spec.podSpec.containers[0].env",
                [{"name": "GROVE_PCS_NAME", "value": "x"}],
            ),
            "GROVE_PCS_NAME",
        ),
        (changed(good_set(), "metadata.name", "7b"), "begins with a digit"),
        (
            changed(
                changed(good_set(), "spec.updateStrategy", {"type": "OnDelete"}),
                f"{C}[0].rollingUpdate",
                {"maxUnavailable": 0, "maxSurge": 1},
            ),
            "no effect under OnDelete",
        ),
        (constrained(packed("rack", preferred="zone")), "has no effect"),
        (
            changed(good_set(), f"{C}[0].resourceSharing", [{"name": "gpus", "scope": "PerReplica"}]),
            f"{C}[0].resourceSharing: this operator makes no ResourceClaims",
        ),
        (
            changed(good_set(), "metadata.annotations", {"grove.io/mnnvl-group": "fabric"}),
            "this operator makes no ComputeDomains",
        ),
    ],
)
def test_what_is_allowed_but_surprises_is_a_warning(document, words):
    verdict = validate(document, None, WORLD)
    assert verdict.faults == ()
    assert len(verdict.warnings) == 1
    assert words in verdict.warnings[0]


# ------------------------------------------------------------ the table is whole

TOLD_ABOVE = {
    "autoscaler_names_differ",
    "constraints_may_be_used",
    "constraints_say_something",
    "domains_exist",
    "generated_names_differ",
    "group_names_are_unique",
    "host_names_fit",
    "kai_queue_is_one",
    "nobody_waits_in_a_circle",
    "pack_domain_is_of_the_past",
    "parents_are_other_cliques",
    "parents_contain_children",
    "scheduler_knows_topology",
    "topology_exists",
    "topology_is_named",
    "topology_is_one",
    "volcano_queue_is_open",
}


def test_no_rule_goes_untried():
    assert {rule.__name__ for rule in RULES} == {row[0] for row in ROWS} | TOLD_ABOVE
