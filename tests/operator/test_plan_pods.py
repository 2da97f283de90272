"""Pods of a clique, as the pods of Grove's users look."""

import copy

import pytest
from grove_operator import naming
from grove_operator.naming import L
from grove_operator.plan.order import parents
from grove_operator.plan.pods import PodRules, free_indices, pod, pod_names
from grove_operator.plan.tree import Live, tree
from hypothesis import given
from hypothesis import strategies as st

from tests.operator.plan_samples import a_set, clique, expanded, group, live_clique, workload

MAIN = {"name": "main", "image": "registry.test/worker:1"}
INIT = PodRules(init_image="registry.test/grove-dp:1", init_command=("grove-dp", "wait-for"))


def pod_of(owner, name, index=0, rules=None, change=None):
    """Pod *index* of clique *name*; *change*: what others do to the clique first."""
    document = copy.deepcopy(expanded(owner)["PodClique", name])
    if change:
        change(document)
    unit, replica = next(
        (unit, replica) for replica in tree(owner, Live()) for unit in replica.units if unit.name == name
    )
    waits_for = parents(owner.spec.template, replica)[name]
    rules = rules or PodRules()
    return pod(owner, unit, live_clique(document), f"{name}-bbbbb", index, rules, waits_for).document


def environment(container):
    return {
        one["name"]: one.get("value") or one["valueFrom"]["fieldRef"]["fieldPath"] for one in container["env"]
    }


def test_a_standalone_pod_has_groves_labels_and_no_others():
    meta = pod_of(workload(), "w-0-pc-a", 1)["metadata"]
    hash_ = meta["labels"].pop(L.TEMPLATE_HASH)
    assert hash_ == expanded(workload())["PodClique", "w-0-pc-a"]["metadata"]["labels"][L.TEMPLATE_HASH]
    assert meta["labels"] == {
        "app.kubernetes.io/managed-by": "grove-operator",
        "app.kubernetes.io/part-of": "w",
        "app.kubernetes.io/name": "w-0-pc-a",
        "app.kubernetes.io/component": "pcs-podclique",
        "grove.io/podclique": "w-0-pc-a",
        "grove.io/podgang": "w-0",
        "grove.io/podcliqueset-replica-index": "0",
        "grove.io/podclique-pod-index": "1",
    }
    assert "annotations" not in meta
    assert "finalizers" not in meta


def test_a_pod_of_a_group_names_it_and_a_scaled_one_its_base():
    base = pod_of(workload(), "w-0-sg-x-0-pc-c")["metadata"]["labels"]
    assert (base["grove.io/podcliquescalinggroup"], base[L.COMPONENT]) == ("w-0-sg-x", "pcsg-podclique")
    assert base["grove.io/podcliquescalinggroup-replica-index"] == "0"
    assert "grove.io/base-podgang" not in base
    scaled = pod_of(workload(), "w-0-sg-x-1-pc-c")["metadata"]["labels"]
    assert (scaled["grove.io/podgang"], scaled["grove.io/base-podgang"]) == ("w-0-sg-x-0", "w-0")


def test_the_clique_owns_its_pods():
    (reference,) = pod_of(workload(), "w-0-pc-a")["metadata"]["ownerReferences"]
    assert reference == {
        "apiVersion": "grove.io/v1alpha1",
        "kind": "PodClique",
        "name": "w-0-pc-a",
        "uid": "uid-w-0-pc-a",
        "controller": True,
        "blockOwnerDeletion": True,
    }


def test_a_pod_is_found_by_its_index_under_its_replicas_service():
    spec = pod_of(workload(2), "w-1-sg-x-0-pc-c", 2)["spec"]
    assert (spec["hostname"], spec["subdomain"]) == ("w-1-sg-x-0-pc-c-2", "w-1")


def test_template_marks_reach_the_pods_and_those_of_others_do_not():
    owner = a_set([clique("a", labels={"tier": "x"}, annotations={"note": "y"})])

    def others(document):
        document["metadata"]["labels"]["theirs"] = "1"
        document["metadata"]["annotations"]["theirs"] = "2"

    meta = pod_of(owner, "w-0-a", change=others)["metadata"]
    assert meta["labels"]["tier"] == "x"
    assert meta["annotations"] == {"note": "y"}
    assert "theirs" not in meta["labels"]


def test_every_container_knows_who_it_is():
    owner = a_set([clique("a", pod_spec={"containers": [MAIN, MAIN], "initContainers": [MAIN]})])
    spec = pod_of(owner, "w-0-a")["spec"]
    for container in (*spec["containers"], *spec["initContainers"]):
        assert environment(container) == {
            "GROVE_PCS_NAME": "w",
            "GROVE_PCS_INDEX": "0",
            "GROVE_PCLQ_NAME": "w-0-a",
            "GROVE_HEADLESS_SERVICE": "w-0.ml.svc.cluster.local",
            "GROVE_PCLQ_POD_INDEX": "metadata.labels['grove.io/podclique-pod-index']",
        }


def test_members_of_a_group_know_the_group_too():
    container = pod_of(workload(), "w-0-sg-x-1-pc-b")["spec"]["containers"][0]
    found = environment(container)
    assert found["GROVE_PCSG_NAME"] == "metadata.labels['grove.io/podcliquescalinggroup']"
    assert found["GROVE_PCSG_INDEX"] == "metadata.labels['grove.io/podcliquescalinggroup-replica-index']"
    assert found["GROVE_PCSG_TEMPLATE_NUM_PODS"] == "4"
    assert found["GROVE_PCSG_POD_INDEX"] == "metadata.labels['grove.io/podcliquescalinggroup-pod-index']"


def test_a_rank_counts_through_the_cliques_of_a_group_by_the_template():
    key = "grove.io/podcliquescalinggroup-pod-index"
    ranks = [pod_of(workload(), f"w-0-sg-x-1-{name}")["metadata"]["labels"][key] for name in ("pc-b", "pc-c")]
    assert ranks == ["0", "1"]
    assert key not in pod_of(workload(), "w-0-pc-a")["metadata"]["labels"]


def test_the_users_variables_follow_ours_and_never_hide_them():
    env = [{"name": "GROVE_PCS_NAME", "value": "mine"}, {"name": "LEADER", "value": "$(GROVE_PCS_NAME)"}]
    owner = a_set([clique("a", pod_spec={"containers": [MAIN | {"env": env}]})])
    found = pod_of(owner, "w-0-a")["spec"]["containers"][0]["env"]
    assert [one["name"] for one in found].count("GROVE_PCS_NAME") == 1
    assert found[0] == {"name": "GROVE_PCS_NAME", "value": "w"}
    assert found[-1]["name"] == "LEADER"


@pytest.mark.parametrize(
    ("users", "gated", "gates"),
    [
        ([], True, [naming.GATE]),
        (["quota"], True, ["quota", naming.GATE]),
        (["quota", naming.GATE], True, ["quota", naming.GATE]),
        (["quota"], False, ["quota"]),
    ],
)
def test_the_users_gates_survive_beside_ours(users, gated, gates):
    spec = {"containers": [MAIN], "schedulingGates": [{"name": name} for name in users]}
    found = pod_of(a_set([clique("a", pod_spec=spec)]), "w-0-a", rules=PodRules(gated=gated))["spec"]
    assert [gate["name"] for gate in found["schedulingGates"]] == gates


@pytest.mark.parametrize(
    ("named", "rules", "scheduler"),
    [
        ("", PodRules(), None),
        ("", PodRules(scheduler="volcano"), "volcano"),
        ("kai", PodRules("volcano"), "kai"),
    ],
)
def test_the_templates_scheduler_comes_before_the_default_one(named, rules, scheduler):
    spec = {"containers": [MAIN]} | ({"schedulerName": named} if named else {})
    found = pod_of(a_set([clique("a", pod_spec=spec)]), "w-0-a", rules=rules)["spec"]
    assert found.get("schedulerName") == scheduler


def test_the_sets_priority_reaches_pods_that_name_none():
    def priority(spec, **rules):
        owner = a_set([clique("a", pod_spec={"containers": [MAIN]} | spec)], priorityClassName="high")
        return pod_of(owner, "w-0-a", rules=PodRules(**rules))["spec"].get("priorityClassName")

    assert priority({}) == "high"
    assert priority({"priorityClassName": "own"}) == "own"
    assert priority({}, priority=False) is None


# ------------------------------------------------------------ init container


def waiting(**more):
    spec = {"containers": [MAIN], "initContainers": [MAIN | {"name": "fetch"}], "volumes": [{"name": "v"}]}
    return a_set(
        [clique("a", 3, 2), clique("b", pod_spec=spec), clique("c", 4)],
        [group("g", "a", replicas=3, minimum=2)],
        cliqueStartupType="CliqueStartupTypeInOrder",
        **more,
    )


def test_the_init_container_waits_for_each_parent_and_comes_last():
    spec = pod_of(waiting(), "w-0-b", rules=INIT)["spec"]
    assert [one["name"] for one in spec["initContainers"]] == ["fetch", "grove-initc"]
    assert spec["initContainers"][-1] == {
        "name": "grove-initc",
        "image": "registry.test/grove-dp:1",
        "command": ["grove-dp", "wait-for"],
        "args": ["--podcliques=w-0-g-0-a:2", "--podcliques=w-0-g-1-a:2"],
        "volumeMounts": [
            {"name": "pod-info-vol", "readOnly": True, "mountPath": "/var/grove/pod-info"},
            {
                "name": "sa-token-secret-vol",
                "readOnly": True,
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
            },
        ],
    }


def test_its_volumes_hold_the_token_and_what_the_pod_is():
    users, token, info = pod_of(waiting(), "w-0-b", rules=INIT)["spec"]["volumes"]
    assert users == {"name": "v"}
    assert token == {
        "name": "sa-token-secret-vol",
        "secret": {"secretName": "w-ic-sat", "defaultMode": 420},
    }
    assert info["name"] == "pod-info-vol"
    assert {item["path"]: item["fieldRef"]["fieldPath"] for item in info["downwardAPI"]["items"]} == {
        "namespace": "metadata.namespace",
        "podgangname": "metadata.labels['grove.io/podgang']",
    }


def test_who_waits_for_nobody_or_waits_by_gates_has_none():
    assert "initContainers" not in pod_of(waiting(), "w-0-g-0-a", rules=INIT)["spec"]
    assert [one["name"] for one in pod_of(waiting(), "w-0-b")["spec"]["initContainers"]] == ["fetch"]


# ------------------------------------------------------------ names, indices, revisions


def test_a_pod_is_made_of_the_clique_as_it_stands():
    """While an update goes elsewhere, a pod that dies comes back as it was."""

    def older(document):
        document["metadata"]["labels"][L.TEMPLATE_HASH] = "former"
        document["spec"]["podSpec"]["containers"][0]["image"] = "registry.test/worker:0"

    found = pod_of(workload(), "w-0-pc-a", change=older)
    assert found["metadata"]["labels"][L.TEMPLATE_HASH] == "former"
    assert found["spec"]["containers"][0]["image"] == "registry.test/worker:0"


@given(number=st.integers(0, 40), seed=st.binary(max_size=8))
def test_names_are_fresh_and_the_same_from_the_same_seed(number, seed):
    names = pod_names("w-0-a", number, seed)
    assert len(set(names)) == number
    assert all(name.startswith("w-0-a-") and len(name) == len("w-0-a-") + 5 for name in names)
    assert names == pod_names("w-0-a", number, seed)
    assert not set(names) & set(pod_names("w-0-a", number, seed, names))
    assert pod_names("w-0-a", number, seed, names[:1]) != names or number == 0


@pytest.mark.parametrize(
    ("used", "number", "free"),
    [([], 2, (0, 1)), ([0, 2], 2, (1, 3)), ([5], 1, (0,)), ([0, 1], 0, ()), ([1, 1], 2, (0, 2))],
)
def test_the_lowest_free_indices_come_first(used, number, free):
    assert free_indices(used, number) == free
