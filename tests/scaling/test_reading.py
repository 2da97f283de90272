"""A set as what can be scaled: which objects, which bounds, which pods, whose."""

import time

import msgspec
import pytest

from grove_dp.kube.objects import Meta, Pod, PodSpec, PodStatus
from grove_dp.scaling.kinds import CLIQUES, GROUPS, SETS, Clique, CliqueSet, Group, Hpa
from grove_dp.scaling.reading import tree
from grove_dp.scaling.tree import Objects
from tests.scaling.samples import spec
from tests.scaling.world import clique_template

PREFILL = {"name": "prefill"}
DECODE = {"name": "decode", "minReplicas": 2}


def asked(*components, **more):
    told = {"podCliqueSet": "chat", "components": list(components), **more}
    return msgspec.convert(told, type(spec()))


def the_set(replicas=2, **status):
    group = {"name": "decode", "cliqueNames": ["leader", "follower"], "replicas": 2}
    group["scaleConfig"] = {"minReplicas": 2, "maxReplicas": 6}
    cliques = [clique_template("prefill", replicas=2, gpus=2), clique_template("leader", gpus=4)]
    cliques.append(clique_template("follower", replicas=3, gpus=8))
    template = {"cliques": cliques, "podCliqueScalingGroups": [group]}
    document = {"metadata": {"name": "chat", "namespace": "ml"}, "status": status}
    return msgspec.convert({**document, "spec": {"replicas": replicas, "template": template}}, CliqueSet)


def live(kind, name, index, replicas=3, generation=1, **status):
    labels = {"grove.io/podcliqueset-replica-index": str(index)}
    metadata = {"name": name, "namespace": "ml", "labels": labels, "generation": generation}
    counted = {"observedGeneration": 1, "scheduledReplicas": replicas, "readyReplicas": replicas}
    counted |= {"availableReplicas": replicas} | status
    return msgspec.convert(
        {"metadata": metadata, "spec": {"replicas": replicas, "minAvailable": 1}, "status": counted}, kind
    )


def pod(name, phase="Running", deleted=None, **labels):
    told = {key.replace("__", "/").replace("_", "-"): value for key, value in labels.items()}
    meta = Meta(name=name, namespace="ml", uid=f"uid-{name}", labels=told, deletion_timestamp=deleted)
    return Pod(metadata=meta, spec=PodSpec(node_name="n"), status=PodStatus(phase=phase))


def seen(**more):
    every = {
        "top": the_set(),
        "cliques": (live(Clique, "chat-0-prefill", 0), live(Clique, "chat-1-prefill", 1)),
        "groups": (live(Group, "chat-0-decode", 0), live(Group, "chat-1-decode", 1)),
    }
    return Objects(**(every | more))


def test_components_are_found_as_cliques_or_groups_with_their_gpus():
    found = tree(asked(PREFILL, DECODE), seen())
    prefill, decode = found.components
    assert [(one.key, one.index) for one in prefill.targets] == [
        ("PodClique/chat-0-prefill", 0),
        ("PodClique/chat-1-prefill", 1),
    ]
    assert {one.resource for one in decode.targets} == {GROUPS}
    assert (prefill.gpus, decode.gpus) == (2, 28)
    assert (prefill.at_first, decode.at_first) == (2, 2)
    assert (prefill.replicas, decode.ready) == (6, 6)
    assert {(one.floor, one.ceiling) for one in decode.targets} == {(2, 6)}


@pytest.mark.parametrize("name", ["leader", "nobody"])
def test_what_cannot_be_scaled_alone_is_unknown(name):
    assert tree(asked({"name": name}), seen()).unknown == (name,)


def test_what_has_gone_or_goes_is_no_target():
    beyond = live(Clique, "chat-2-prefill", 2)
    other = live(Clique, "chat-0-prefill-x", 0)
    dying = live(Clique, "chat-1-prefill", 1)
    dying = msgspec.structs.replace(
        dying, metadata=msgspec.structs.replace(dying.metadata, deletion_timestamp="now")
    )
    cliques = (live(Clique, "chat-0-prefill", 0), dying, beyond, other)
    (found,) = tree(asked(PREFILL), seen(cliques=cliques)).components
    assert [one.name for one in found.targets] == ["chat-0-prefill"]


def test_a_status_of_an_earlier_spec_is_not_observed_and_pending_is_counted():
    late = live(Clique, "chat-0-prefill", 0, generation=2, scheduledReplicas=1)
    (found,) = tree(asked(PREFILL), seen(cliques=(late,))).components
    assert (found.targets[0].observed, found.targets[0].pending) == (False, 2)


def test_updates_are_seen_at_every_level():
    begun = {"updateStartedAt": "t"}
    assert tree(asked(PREFILL), seen(top=the_set(updateProgress=begun))).updating
    assert not tree(asked(PREFILL), seen(top=the_set(updateProgress=begun | {"updateEndedAt": "u"}))).updating
    cliques = (live(Clique, "chat-0-prefill", 0, updateProgress=begun),)
    assert tree(asked(PREFILL), seen(cliques=cliques)).components[0].targets[0].updating


def test_hpas_are_owners_of_what_they_name():
    ref = {"scaleTargetRef": {"kind": "PodClique", "name": "chat-1-prefill"}}
    hpa = msgspec.convert({"metadata": {"name": "x"}, "spec": ref}, Hpa)
    (found,) = tree(asked(PREFILL), seen(hpas=(hpa,))).components
    assert [one.hpa for one in found.targets] == ["", "x"]


def test_units_are_living_pods_by_what_goes_together():
    of_clique = {"grove.io__podclique": "chat-0-prefill", "grove.io__podcliqueset_replica_index": "0"}
    of_group = {
        "grove.io__podcliquescalinggroup": "chat-0-decode",
        "grove.io__podcliqueset_replica_index": "0",
    }
    index = "grove.io__podcliquescalinggroup_replica_index"
    pods = (
        pod("a", **of_clique),
        pod("b", **of_clique),
        pod("c", phase="Failed", **of_clique),
        pod("d", deleted="now", **of_clique),
        pod("e", **of_group, **{index: "0"}),
        pod("f", **of_group, **{index: "1"}),
        pod("g", **of_group, **{index: "1"}),
    )
    prefill, decode = tree(asked(PREFILL, DECODE), seen(pods=pods)).components
    shown = lambda units: [(unit.index, [one.metadata.name for one in unit.pods]) for unit in units]  # noqa: E731
    assert shown(prefill.targets[0].units) == [(None, ["a"]), (None, ["b"])]
    assert shown(decode.targets[0].units) == [(0, ["e"]), (1, ["f", "g"])]
    assert shown(tree(asked(PREFILL), seen(pods=pods)).top.units) == [(0, ["a", "b", "e", "f", "g"])]


def test_a_set_of_five_thousand_pods_is_read_in_a_moment():
    cliques = tuple(live(Clique, f"chat-{at}-prefill", at, replicas=10) for at in range(500))
    pods = tuple(
        pod(
            f"{at}-{number}",
            **{
                "grove.io__podclique": f"chat-{at}-prefill",
                "grove.io__podcliqueset_replica_index": str(at),
            },
        )
        for at in range(500)
        for number in range(10)
    )
    objects = seen(top=the_set(500), cliques=cliques, pods=pods)
    began = time.process_time()
    (found,) = tree(asked(PREFILL), objects).components
    assert time.process_time() - began < 0.5
    assert sum(len(one.units) for one in found.targets) == 5000
    assert {CLIQUES, SETS} == {one.resource for one in tree(asked(PREFILL), objects).targets}
