"""What may change in a set that is there, and what may not."""

import pytest
from grove_operator.admission.defaults import defaulted
from grove_operator.admission.faults import Kind
from grove_operator.admission.subject import World
from grove_operator.admission.validate import validate

from tests.operator.admission_documents import changed, clique, good_set

T = "spec.template"
C = f"{T}.cliques"
G = f"{T}.podCliqueScalingGroups"
WORLD = World(schedulers=frozenset(["default-scheduler", "kai-scheduler"]))
SHARED = [{"name": "gpu", "scope": "AllReplicas"}]
IN_ORDER = "CliqueStartupTypeInOrder"


def told(new, old, world=WORLD):
    return {fault.path: fault for fault in validate(defaulted(new, old), old, world).faults}


@pytest.mark.parametrize(
    ("at", "value", "path", "kind", "words"),
    [
        (f"{T}.cliqueStartupType", IN_ORDER, f"{T}.cliqueStartupType", Kind.INVALID, "AnyOrder"),
        (f"{C}[0].name", "other", C, Kind.FORBIDDEN, "other cannot be added and router cannot be removed"),
        (f"{C}[0].spec.roleName", "other", f"{C}[0].spec.roleName", Kind.INVALID, "it is 'router'"),
        (f"{C}[0].spec.minAvailable", 1, f"{C}[0].spec.minAvailable", Kind.INVALID, "it is 2"),
        (f"{C}[0].spec.startsAfter", ["cache"], f"{C}[0].spec.startsAfter", Kind.INVALID, "immutable"),
        (f"{C}[0].resourceSharing", SHARED, f"{C}[0].resourceSharing", Kind.INVALID, "immutable"),
        (f"{G}[0].name", "other", G, Kind.FORBIDDEN, "a set keeps its scaling groups"),
        (f"{G}[0].cliqueNames", ["leader"], f"{G}[0].cliqueNames", Kind.INVALID, "'leader', 'worker'"),
        (f"{G}[0].minAvailable", 2, f"{G}[0].minAvailable", Kind.INVALID, "it is 1"),
        (f"{G}[0].resourceSharing", SHARED, f"{G}[0].resourceSharing", Kind.INVALID, "immutable"),
        (f"{T}.resourceSharing", SHARED, f"{T}.resourceSharing", Kind.INVALID, "immutable"),
        (
            f"{T}.resourceClaimTemplates",
            [{"name": "gpu", "templateSpec": {"spec": {"devices": {"requests": [{"name": "one"}]}}}}],
            f"{T}.resourceClaimTemplates",
            Kind.INVALID,
            "immutable",
        ),
        (
            f"{T}.topologyConstraint",
            {"topologyName": "nodes", "pack": {"required": "rack"}},
            f"{T}.topologyConstraint",
            Kind.FORBIDDEN,
            "a constraint of the set cannot be added later",
        ),
    ],
)
def test_what_gangs_are_made_of_stays(at, value, path, kind, words):
    fault = told(changed(good_set(), at, value), good_set())[path]
    assert fault.kind == kind
    assert words in str(fault)


def test_the_scheduler_stays_and_the_default_may_be_written_out():
    path = f"{C}[0].spec.podSpec.schedulerName"
    old = good_set(cliques=[clique("a")], podCliqueScalingGroups=[])
    assert told(changed(old, path, "default-scheduler"), old) == {}
    assert list(told(changed(old, path, "kai-scheduler"), old)) == [path]


@pytest.mark.parametrize(
    ("at", "value"),
    [
        ("spec.replicas", 7),
        ("spec.updateStrategy", {"type": "OnDelete"}),
        (f"{T}.terminationDelay", "90s"),
        (f"{T}.priorityClassName", "high"),
        (f"{C}[0].spec.replicas", 3),
        (f"{C}[0].labels", {"a": "b"}),
        (f"{C}[0].spec.podSpec.containers[0].image", "engine:2"),
        (f"{C}[0].spec.autoScalingConfig", {"minReplicas": 2, "maxReplicas": 9}),
        (f"{G}[0].replicas", 4),
        (f"{G}[0].scaleConfig", {"minReplicas": 2, "maxReplicas": 9}),
    ],
)
def test_everything_else_may_change(at, value):
    assert told(changed(good_set(), at, value), good_set()) == {}


def test_cliques_change_their_order_only_where_order_means_nothing():
    old = good_set()
    new = changed(old, C, old["spec"]["template"]["cliques"][::-1])
    assert told(new, old) == {}
    for startup in (IN_ORDER, "CliqueStartupTypeExplicit"):
        ordered, reordered = (changed(each, f"{T}.cliqueStartupType", startup) for each in (old, new))
        assert "the order of cliques cannot change" in str(told(reordered, ordered)[f"{C}[0].name"])


def test_replacing_a_set_by_its_file_with_more_replicas_keeps_min_available():
    old = defaulted(good_set())
    new = changed(good_set(), f"{C}[0].spec.replicas", 4)
    assert defaulted(new, old)["spec"]["template"]["cliques"][0]["spec"]["minAvailable"] == 2
    assert told(new, old) == {}


def test_fewer_replicas_than_min_available_was_are_refused_with_the_reason():
    new = changed(good_set(), f"{C}[0].spec.replicas", 1)
    assert "must not be greater than replicas, which are 1" in str(
        told(new, good_set())[f"{C}[0].spec.minAvailable"]
    )


# ------------------------------------------------------------ sets of earlier days


def test_a_set_from_before_there_were_defaults_takes_them():
    stored = good_set()
    assert told(stored, stored) == {}


def test_what_was_wrong_before_can_stay_and_is_a_warning():
    old = changed(good_set(), f"{C}[0].spec.podSpec.nodeName", "n1")
    verdict = validate(changed(old, "spec.replicas", 2), old)
    assert verdict.faults == ()
    assert any("nodeName" in warning and "so it was before" in warning for warning in verdict.warnings)
    assert told(changed(old, f"{C}[0].spec.podSpec.nodeName", "n2"), old)
    assert told(changed(old, f"{C}[1].spec.podSpec.nodeName", "n1"), old)


def test_a_wrong_type_from_before_can_stay_and_new_ones_cannot_come():
    old = changed(good_set(), f"{C}[0].spec.podSpec.nodeName", 7)
    assert told(changed(old, "spec.replicas", 2), old) == {}
    assert list(told(changed(old, "spec.replicas", "2"), old)) == ["spec.replicas"]


def test_nothing_stands_in_the_way_of_a_set_that_goes():
    old = changed(good_set(), "metadata.deletionTimestamp", "2026-01-01T00:00:00Z")
    assert told(changed(old, f"{C}[0].name", "Other"), old) == {}


def test_whoever_writes_a_deletion_timestamp_themselves_is_still_looked_at():
    new = changed(good_set(), "metadata.deletionTimestamp", "2026-01-01T00:00:00Z")
    assert validate(changed(new, C, [])).faults


def test_pack_domain_may_become_pack_required_of_the_same_domain():
    old = changed(good_set(), f"{T}.topologyConstraint", {"topologyName": "nodes", "packDomain": "rack"})
    new = changed(old, f"{T}.topologyConstraint", {"topologyName": "nodes", "pack": {"required": "rack"}})
    assert told(old, old) == {}
    assert told(new, old) == {}
    other = changed(old, f"{T}.topologyConstraint", {"topologyName": "nodes", "pack": {"required": "host"}})
    assert "it is 'rack'" in str(told(other, old)[f"{T}.topologyConstraint.pack.required"])


def test_a_constraint_without_a_topology_may_name_one_once():
    nameless = changed(good_set(), f"{T}.topologyConstraint", {"packDomain": "rack"})
    named = changed(nameless, f"{T}.topologyConstraint.topologyName", "nodes")
    assert told(named, nameless) == {}
    renamed = changed(named, f"{T}.topologyConstraint.topologyName", "others")
    assert list(told(renamed, named)) == [f"{T}.topologyConstraint.topologyName"]


def test_a_constraint_cannot_go():
    old = changed(
        good_set(), f"{G}[0].topologyConstraint", {"topologyName": "t", "pack": {"required": "rack"}}
    )
    assert "cannot be removed" in str(told(good_set(), old)[f"{G}[0].topologyConstraint"])


def test_a_set_can_change_after_its_topology_is_gone_or_disabled():
    old = changed(good_set(), f"{T}.topologyConstraint", {"topologyName": "t", "pack": {"required": "rack"}})
    for world in (World(topologies={}), World(topology=False)):
        assert validate(old, None, world).faults
        assert told(changed(old, "spec.replicas", 2), old, world) == {}
