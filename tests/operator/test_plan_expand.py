"""The objects of a set: names, owners, labels, and what stands in them, as Grove's users know them."""

import msgspec
import pytest
from grove_operator import naming
from grove_operator.naming import L
from grove_operator.plan.expand import Rules, common, expand
from grove_operator.plan.pods import PodRules
from grove_operator.plan.topology import missing
from grove_operator.plan.tree import Live, NamesCollide, tree

from tests.operator.plan_samples import a_set, clique, expanded, group, names, workload

CPU_80 = [
    {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
    }
]
INIT = Rules(PodRules(init_image="registry.test/grove-dp:1"))

# One line for each kind: kind, name, controller, component.
OBJECTS = [
    ("Service", "w-0", "w", "pcs-headless-service"),
    ("PodClique", "w-0-pc-a", "w", "pcs-podclique"),
    ("PodCliqueScalingGroup", "w-0-sg-x", "w", "pcs-podcliquescalinggroup"),
    ("PodClique", "w-0-sg-x-0-pc-b", "w-0-sg-x", "pcsg-podclique"),
    ("PodClique", "w-0-sg-x-1-pc-c", "w-0-sg-x", "pcsg-podclique"),
    ("PodGang", "w-0", "w", "podgang"),
    ("PodGang", "w-0-sg-x-0", "w", "podgang"),
    ("Role", "grove.io:pcs:w", "w", "pod-role"),
    ("RoleBinding", "grove.io:pcs:w", "w", "pod-role-binding"),
    ("ServiceAccount", "w", "w", "pod-service-account"),
    ("Secret", "w-ic-sat", "w", "pod-sa-token-secret"),
    ("HorizontalPodAutoscaler", "w-0-pc-a", "w", "pcs-hpa"),
    ("HorizontalPodAutoscaler", "w-0-sg-x", "w", "pcs-hpa"),
]


def full():
    """The workload with everything that makes an object."""
    return a_set(
        [
            clique("pc-a", 2, autoScalingConfig={"minReplicas": 2, "maxReplicas": 5}),
            clique("pc-b"),
            clique("pc-c", 3),
        ],
        [group("sg-x", "pc-b", "pc-c", replicas=2, scaleConfig={"minReplicas": 1, "maxReplicas": 6})],
        cliqueStartupType="CliqueStartupTypeInOrder",
    )


@pytest.mark.parametrize(("kind", "name", "owner", "component"), OBJECTS)
def test_every_object_has_its_name_owner_and_component(kind, name, owner, component):
    meta = expanded(full(), rules=INIT)[kind, name]["metadata"]
    assert meta["namespace"] == "ml"
    assert meta["labels"][L.COMPONENT] == component
    assert naming.managed("w").items() <= meta["labels"].items()
    (reference,) = meta["ownerReferences"]
    assert (reference["name"], reference["uid"]) == (owner, f"uid-{owner}")
    assert reference["controller"]
    assert reference["blockOwnerDeletion"]
    assert reference["apiVersion"] == "grove.io/v1alpha1"


def test_there_is_nothing_else():
    kinds = [kind for kind, _ in expanded(full(), rules=INIT)]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "ServiceAccount": 1,
        "Role": 1,
        "RoleBinding": 1,
        "Secret": 1,
        "Service": 1,
        "PodCliqueScalingGroup": 1,
        "PodGang": 2,
        "PodClique": 5,
        "HorizontalPodAutoscaler": 2,
    }


def test_the_headless_service_finds_its_replicas_pods_before_they_are_ready():
    objects = expanded(workload(2))
    assert objects["Service", "w-1"]["spec"] == {
        "clusterIP": "None",
        "selector": naming.managed("w") | {L.SET_REPLICA: "1"},
        "publishNotReadyAddresses": True,
    }
    strict = expanded(workload(headlessServiceConfig={"publishNotReadyAddresses": False}))
    assert strict["Service", "w-0"]["spec"]["publishNotReadyAddresses"] is False


def test_pods_may_watch_pods():
    objects = expanded(workload())
    assert objects["Role", "grove.io:pcs:w"]["rules"] == [
        {"apiGroups": [""], "resources": ["pods", "pods/status"], "verbs": ["get", "list", "watch"]}
    ]
    binding = objects["RoleBinding", "grove.io:pcs:w"]
    assert binding["roleRef"]["name"] == "grove.io:pcs:w"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "w", "namespace": "ml"}]
    assert objects["ServiceAccount", "w"]["automountServiceAccountToken"] is True


@pytest.mark.parametrize(
    ("order", "image", "made"),
    [("InOrder", "i:1", True), ("InOrder", "", False), ("AnyOrder", "i:1", False)],
)
def test_the_token_is_made_only_for_an_init_container(order, image, made):
    owner = workload(cliqueStartupType=f"CliqueStartupType{order}")
    found = {wanted.key: wanted.document for wanted in common(owner, Rules(PodRules(init_image=image)))}
    assert (("Secret", "w-ic-sat") in found) is made
    if made:
        secret = found["Secret", "w-ic-sat"]
        assert secret["type"] == "kubernetes.io/service-account-token"
        assert secret["metadata"]["annotations"] == {"kubernetes.io/service-account.name": "w"}


def test_autoscalers_aim_at_cliques_and_groups_and_fall_back_to_cpu():
    objects = expanded(full())
    alone = objects["HorizontalPodAutoscaler", "w-0-pc-a"]["spec"]
    assert alone == {
        "scaleTargetRef": {"apiVersion": "grove.io/v1alpha1", "kind": "PodClique", "name": "w-0-pc-a"},
        "minReplicas": 2,
        "maxReplicas": 5,
        "metrics": CPU_80,
    }
    whole = objects["HorizontalPodAutoscaler", "w-0-sg-x"]["spec"]
    assert whole["scaleTargetRef"]["kind"] == "PodCliqueScalingGroup"
    assert (whole["minReplicas"], whole["maxReplicas"]) == (1, 6)


def test_there_is_an_autoscaler_for_each_replica_of_the_set():
    owner = a_set([clique("a", 2, autoScalingConfig={"maxReplicas": 3})], replicas=2)
    objects = expanded(owner)
    assert names(objects, "HorizontalPodAutoscaler") == ["w-0-a", "w-1-a"]
    assert objects["HorizontalPodAutoscaler", "w-1-a"]["spec"]["minReplicas"] == 2


def test_a_set_that_is_scaled_directly_gets_no_autoscaler():
    owner = full()
    annotated = msgspec.structs.replace(owner.metadata, annotations={"grove-dp.io/autoscale": "direct"})
    objects = expanded(msgspec.structs.replace(owner, metadata=annotated))
    assert names(objects, "HorizontalPodAutoscaler") == []


def test_a_clique_says_where_it_stands():
    objects = expanded(workload())
    alone = objects["PodClique", "w-0-pc-a"]["metadata"]
    assert alone["finalizers"] == ["grove.io/podclique.grove.io"]
    hash_ = alone["labels"][L.TEMPLATE_HASH]
    assert alone["labels"] == naming.managed("w") | {
        L.COMPONENT: "pcs-podclique",
        L.NAME: "w-0-pc-a",
        L.GANG: "w-0",
        L.SET_REPLICA: "0",
        L.TEMPLATE_HASH: hash_,
    }
    base = objects["PodClique", "w-0-sg-x-0-pc-c"]["metadata"]["labels"]
    assert (base[L.GROUP], base[L.GROUP_REPLICA], base[L.GANG]) == ("w-0-sg-x", "0", "w-0")
    assert L.BASE_GANG not in base
    scaled = objects["PodClique", "w-0-sg-x-1-pc-c"]["metadata"]["labels"]
    assert (scaled[L.GROUP_REPLICA], scaled[L.GANG], scaled[L.BASE_GANG]) == ("1", "w-0-sg-x-0", "w-0")


def test_a_clique_carries_its_template_and_ours_wins():
    owner = a_set([clique("a", labels={"tier": "x", L.GANG: "mine"}, annotations={"note": "y"})])
    document = expanded(owner)["PodClique", "w-0-a"]
    assert document["metadata"]["labels"]["tier"] == "x"
    assert document["metadata"]["labels"][L.GANG] == "w-0"
    assert document["metadata"]["annotations"] == {
        "note": "y",
        "grove-dp.io/from-template": "labels=tier annotations=note",
    }
    assert document["spec"]["roleName"] == "role-a"
    assert document["spec"]["podSpec"] == owner.spec.template.cliques[0].spec.pod_spec


def test_members_of_a_group_know_it_by_their_environment():
    container = expanded(workload())["PodClique", "w-0-sg-x-0-pc-b"]["spec"]["podSpec"]["containers"][0]
    field = "metadata.labels['grove.io/podcliquescalinggroup{}']".format
    assert container["env"] == [
        {"name": "GROVE_PCSG_NAME", "valueFrom": {"fieldRef": {"fieldPath": field("")}}},
        {"name": "GROVE_PCSG_TEMPLATE_NUM_PODS", "value": "4"},
        {"name": "GROVE_PCSG_INDEX", "valueFrom": {"fieldRef": {"fieldPath": field("-replica-index")}}},
        {"name": "GROVE_PCSG_POD_INDEX", "valueFrom": {"fieldRef": {"fieldPath": field("-pod-index")}}},
    ]


def test_members_wait_for_their_group_to_have_a_uid():
    found = [wanted.key for wanted in expand(workload(), Live(), Rules())]
    assert ("PodClique", "w-0-pc-a") in found
    assert ("PodGang", "w-0") in found
    assert not [name for kind, name in found if kind == "PodClique" and "sg-x" in name]


def test_a_group_is_born_with_the_templates_replicas_and_its_annotations():
    owner = a_set([clique("a")], [group("g", "a", replicas=3, minimum=2, annotations={"queue": "q"})])
    document = expanded(owner)["PodCliqueScalingGroup", "w-0-g"]
    assert document["spec"] == {"replicas": 3, "minAvailable": 2, "cliqueNames": ["a"]}
    assert document["metadata"]["annotations"]["queue"] == "q"
    assert document["metadata"]["finalizers"] == ["grove.io/podcliquescalinggroup.grove.io"]


# ------------------------------------------------------------ gangs


def test_the_base_gang_has_standalone_cliques_and_groups_up_to_min_available():
    pods = {"w-0-pc-a": ["w-0-pc-a-zzzzz", "w-0-pc-a-bbbbb"]}
    gang = expanded(workload(sg_replicas=3, sg_minimum=2), pods=pods)["PodGang", "w-0"]
    assert [(one["name"], one["minReplicas"]) for one in gang["spec"]["podgroups"]] == [
        ("w-0-pc-a", 2),
        ("w-0-sg-x-0-pc-b", 1),
        ("w-0-sg-x-0-pc-c", 3),
        ("w-0-sg-x-1-pc-b", 1),
        ("w-0-sg-x-1-pc-c", 3),
    ]
    assert gang["spec"]["podgroups"][0]["podReferences"] == [
        {"namespace": "ml", "name": "w-0-pc-a-bbbbb"},
        {"namespace": "ml", "name": "w-0-pc-a-zzzzz"},
    ]


def test_each_replica_beyond_has_a_gang_of_its_own():
    objects = expanded(workload(sg_replicas=4, sg_minimum=2))
    assert names(objects, "PodGang") == ["w-0", "w-0-sg-x-0", "w-0-sg-x-1"]
    scaled = objects["PodGang", "w-0-sg-x-1"]
    assert [one["name"] for one in scaled["spec"]["podgroups"]] == ["w-0-sg-x-3-pc-b", "w-0-sg-x-3-pc-c"]
    assert scaled["metadata"]["labels"][L.BASE_GANG] == "w-0"


def test_a_gang_mirrors_the_sets_metadata_but_groves():
    meta = {
        "labels": {"team": "a", "grove.io/x": "1", naming.MANAGED_BY: "helm"},
        "annotations": {
            "note": "b",
            "grove.io/y": "2",
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
        },
    }
    owner = a_set([clique("a")], meta=meta, priorityClassName="high")
    gang = expanded(owner)["PodGang", "w-0"]
    labels = gang["metadata"]["labels"]
    assert (labels["team"], labels[naming.MANAGED_BY]) == ("a", naming.OPERATOR)
    assert labels[L.SCHEDULER] == "default-scheduler"
    assert "grove.io/x" not in labels
    assert gang["metadata"]["annotations"] == {
        "note": "b",
        "grove-dp.io/from-template": "labels=team annotations=note",
    }
    assert gang["spec"]["priorityClassName"] == "high"


def test_a_gang_names_the_scheduler_of_its_templates():
    spec = {"schedulerName": "kai-scheduler", "containers": []}
    gang = expanded(a_set([clique("a", pod_spec=spec)]))["PodGang", "w-0"]
    assert gang["metadata"]["labels"][L.SCHEDULER] == "kai-scheduler"


LEVELS = {"t": {"zone": "topology/zone", "rack": "topology/rack", "host": "kubernetes.io/hostname"}}


def packed(domain):
    return {"topologyName": "t", "pack": {"required": domain}}


def constrained(**template):
    return a_set(
        [clique("a", topologyConstraint=packed("host")), clique("b")],
        [group("g", "b", replicas=2, topologyConstraint=packed("rack"))],
        topologyConstraint=packed("zone"),
        **template,
    )


def key(label):
    return {"packConstraint": {"required": label}}


def test_topology_is_told_in_node_labels_at_three_levels():
    objects = expanded(constrained(), rules=Rules(topologies=LEVELS))
    base = objects["PodGang", "w-0"]
    assert base["spec"]["topologyConstraint"] == key("topology/zone")
    assert base["spec"]["podgroups"][0]["topologyConstraint"] == key("kubernetes.io/hostname")
    assert base["spec"]["topologyConstraintGroupConfigs"] == [
        {"name": "w-0-g-0", "podGroupNames": ["w-0-g-0-b"], "topologyConstraint": key("topology/rack")}
    ]
    assert base["metadata"]["annotations"]["grove.io/topology-name"] == "t"
    scaled = objects["PodGang", "w-0-g-0"]
    assert scaled["spec"]["topologyConstraint"] == key("topology/rack")
    assert "topologyConstraintGroupConfigs" not in scaled["spec"]


def test_a_scaled_gang_of_a_group_without_a_constraint_has_the_sets():
    owner = a_set([clique("b")], [group("g", "b", replicas=2)], topologyConstraint=packed("zone"))
    scaled = expanded(owner, rules=Rules(topologies=LEVELS))["PodGang", "w-0-g-0"]
    assert scaled["spec"]["topologyConstraint"] == key("topology/zone")


def test_a_domain_that_is_not_there_is_left_out_and_named():
    owner = a_set([clique("a")], topologyConstraint={"topologyName": "t", "packDomain": "block"})
    gang = expanded(owner, rules=Rules(topologies=LEVELS))["PodGang", "w-0"]
    assert "topologyConstraint" not in gang["spec"]
    assert "annotations" not in gang["metadata"]
    assert missing(owner.spec.template, LEVELS) == ("block",)
    assert missing(constrained().spec.template, LEVELS) == ()


def test_preferred_stands_beside_required():
    both = {"topologyName": "t", "pack": {"required": "zone", "preferred": "rack"}}
    gang = expanded(a_set([clique("a")], topologyConstraint=both), rules=Rules(topologies=LEVELS))[
        "PodGang", "w-0"
    ]
    assert gang["spec"]["topologyConstraint"]["packConstraint"] == {
        "required": "topology/zone",
        "preferred": "topology/rack",
    }


# ------------------------------------------------------------ live counts


def test_the_live_count_of_a_group_wins_over_its_template():
    objects = expanded(workload(), Live(groups={"w-0-sg-x": 3}))
    assert names(objects, "PodGang") == ["w-0", "w-0-sg-x-0", "w-0-sg-x-1"]
    assert len(names(objects, "PodClique")) == 1 + 3 * 2


@pytest.mark.parametrize(("asked", "counts"), [(5, 5), (2, 2), (1, 2), (0, 0)])
def test_a_count_below_min_available_counts_as_that_and_zero_is_zero(asked, counts):
    owner = workload(sg_replicas=3, sg_minimum=2)
    (replica,) = tree(owner, Live(groups={"w-0-sg-x": asked}))
    (held,) = replica.groups
    assert (held.asked, held.count) == (asked, counts)
    assert len([unit for unit in replica.units if unit.group]) == 2 * counts


def test_what_is_scaled_to_zero_is_in_no_gang():
    objects = expanded(workload(), Live(cliques={"w-0-pc-a": 0}, groups={"w-0-sg-x": 0}))
    assert names(objects, "PodGang") == []
    assert names(objects, "PodClique") == ["w-0-pc-a"]
    assert objects["PodClique", "w-0-pc-a"]["spec"]["replicas"] == 0
    assert objects["PodCliqueScalingGroup", "w-0-sg-x"]["spec"]["replicas"] == 0


def test_a_clique_that_no_webhook_has_defaulted_has_one_pod_and_needs_it():
    objects = expanded(a_set([clique("a", 0)]))
    spec = objects["PodClique", "w-0-a"]["spec"]
    assert (spec["replicas"], spec["minAvailable"]) == (1, 1)
    assert objects["PodGang", "w-0"]["spec"]["podgroups"][0]["minReplicas"] == 1


@pytest.mark.parametrize("later", [1, 5])
def test_a_minimum_that_a_template_leaves_open_stays_as_it_was_when_its_replicas_change(later):
    open_ = clique("a", later)
    del open_["spec"]["minAvailable"]
    live = Live(cliques={"w-0-a": 3}, minimums={"w-0-a": 3})
    spec = expanded(a_set([open_]), live)["PodClique", "w-0-a"]["spec"]
    assert (spec["replicas"], spec["minAvailable"]) == (3, 3)


def test_a_set_of_no_replicas_has_only_what_replicas_share():
    assert {kind for kind, _ in expanded(workload(0))} == {"ServiceAccount", "Role", "RoleBinding"}


# ------------------------------------------------------------ identity


def test_cliques_whose_names_end_alike_keep_their_own_templates():
    cliques = [
        clique(name, count) for count, name in enumerate(("worker", "prefill-worker", "a", "a-0", "a-0-b"), 1)
    ]
    objects = expanded(a_set(cliques))
    for count, name in enumerate(("worker", "prefill-worker", "a", "a-0", "a-0-b"), 1):
        spec = objects["PodClique", f"w-0-{name}"]["spec"]
        assert (spec["roleName"], spec["replicas"]) == (f"role-{name}", count)


def test_places_that_come_to_one_name_are_refused():
    owner = a_set([clique("g-0-b"), clique("b")], [group("g", "b")])
    with pytest.raises(NamesCollide, match="two of PodClique would be called w-0-g-0-b"):
        expanded(owner)


def test_planning_leaves_the_set_as_it_was():
    owner = full()
    before = msgspec.json.encode(owner)
    objects = expanded(owner, rules=INIT)
    for document in objects.values():
        document["metadata"]["labels"]["x"] = "y"
    assert msgspec.json.encode(owner) == before
