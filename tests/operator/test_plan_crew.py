"""Who stays, who is missing, who is too many, who is lost."""

import msgspec
import pytest
from grove_operator.plan.crew import crew
from grove_operator.plan.tree import Live, tree
from grove_operator.plan.victims import DRAIN
from grove_operator.pods import Pod
from hypothesis import given
from hypothesis import strategies as st

from tests.operator.plan_samples import a_set, clique

SEED = b"chance"


def unit(count):
    (replica,) = tree(a_set([clique("a", count)]), Live())
    return replica.units[0]


def pod(name, index, *, phase="Running", age=5, **meta):
    return msgspec.convert(
        {
            "metadata": {
                "name": name,
                "labels": {"grove.io/podclique-pod-index": str(index), "grove.io/pod-template-hash": "now"},
                "creationTimestamp": f"2026-01-01T00:0{9 - age}:00Z",
                **meta,
            },
            "spec": {"nodeName": "n"},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": "True"}]},
        },
        Pod,
    )


def names(pods):
    return [one.metadata.name for one in pods]


def indices(found):
    return [one.index for one in found.missing]


def test_a_new_clique_lacks_all_and_its_gang_can_name_them():
    found = crew(unit(3), [], "now", SEED)
    assert indices(found) == [0, 1, 2]
    assert found.names == tuple(sorted(one.name for one in found.missing))
    assert len(set(found.names)) == 3
    assert crew(unit(3), [], "now", SEED) == found


def test_a_full_clique_is_left_alone():
    found = crew(unit(2), [pod("x", 0), pod("y", 1)], "now", SEED)
    assert (found.names, found.missing, found.surplus, found.lost) == (("x", "y"), (), (), ())


def test_a_pod_on_its_way_out_is_replaced_under_its_index_at_once():
    leaving = pod("x", 0, deletionTimestamp="2026-01-01T00:00:00Z")
    found = crew(unit(2), [leaving, pod("y", 1)], "now", SEED)
    assert indices(found) == [0]
    assert "x" not in found.names
    assert not found.lost


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_a_pod_that_is_over_is_lost_and_replaced(phase):
    found = crew(unit(2), [pod("x", 0, phase=phase), pod("y", 1)], "now", SEED)
    assert (names(found.lost), indices(found)) == (["x"], [0])


def test_of_two_pods_with_one_index_the_elder_stays():
    found = crew(unit(2), [pod("young", 0, age=1), pod("old", 0, age=9)], "now", SEED)
    assert (names(found.kept), names(found.lost), indices(found)) == (["old"], ["young"], [1])


def test_a_pod_that_lost_its_label_is_not_killed_for_it():
    bare = msgspec.structs.replace(
        pod("x", 0), metadata=msgspec.structs.replace(pod("x", 0).metadata, labels={})
    )
    found = crew(unit(1), [bare], "now", SEED)
    assert (names(found.kept), found.lost, found.missing) == (["x"], (), ())


def test_too_many_give_up_the_drained_one_and_the_rest_keep_their_indices():
    drained = pod("b", 1, annotations={DRAIN: "2026-01-01T01:00:00Z"})
    found = crew(unit(2), [pod("a", 0), drained, pod("c", 2)], "now", SEED)
    assert (names(found.surplus), found.names, found.missing) == (["b"], ("a", "c"), ())
    again = crew(unit(3), [pod("a", 0), pod("c", 2)], "now", SEED)
    assert indices(again) == [1]


def test_a_clique_scaled_to_zero_gives_up_all():
    zero = msgspec.structs.replace(unit(2), count=0)
    found = crew(zero, [pod("a", 0), pod("b", 1)], "now", SEED)
    assert (sorted(names(found.surplus)), found.names) == (["a", "b"], ())


def test_a_fresh_name_is_never_that_of_a_pod_still_there():
    first = crew(unit(1), [], "now", SEED).missing[0].name
    leaving = pod(first, 0, deletionTimestamp="2026-01-01T00:00:00Z")
    assert crew(unit(1), [leaving], "now", SEED).missing[0].name != first


crews = st.lists(
    st.tuples(
        st.integers(0, 5), st.sampled_from(["Running", "Pending", "Failed"]), st.booleans(), st.integers(0, 9)
    ),
    max_size=8,
)


@given(count=st.integers(0, 5), held=crews)
def test_what_is_kept_and_what_is_missing_make_up_the_clique(count, held):
    pods = [
        pod(f"p{at}", index, phase=phase, age=age, **({"deletionTimestamp": "t"} if leaving else {}))
        for at, (index, phase, leaving, age) in enumerate(held)
    ]
    wanted = msgspec.structs.replace(unit(2), count=count)
    found = crew(wanted, pods, "now", SEED)
    assert len(found.names) == len(set(found.names)) == count
    used = [int(one.metadata.label("grove.io/podclique-pod-index")) for one in found.kept] + indices(found)
    assert len(used) == len(set(used))
    assert not (found.surplus and found.missing)
    here = sum(1 for _, _, leaving, _ in held if not leaving)
    assert len(found.kept) + len(found.surplus) + len(found.lost) == here
    after = [one for one in pods if one in found.kept] + [pod(one.name, one.index) for one in found.missing]
    settled = crew(wanted, after, "now", SEED)
    assert (settled.missing, settled.surplus, settled.lost) == ((), (), ())
    assert settled.names == found.names
