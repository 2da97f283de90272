"""Which pods go first."""

from itertools import permutations

import msgspec
import pytest
from grove_operator.plan.victims import COST, DRAIN, victims

from grove_dp.kube.objects import Pod


def pod(name, *, bound=True, phase="Running", ready=True, hash_="new", age=5, **meta):
    return msgspec.convert(
        {
            "metadata": {
                "name": name,
                "labels": {"grove.io/pod-template-hash": hash_},
                "creationTimestamp": f"2026-01-01T00:0{9 - age}:00Z",
                **meta,
            },
            "spec": {"nodeName": "n" if bound else ""},
            "status": {
                "phase": phase,
                "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            },
        },
        Pod,
    )


# Each goes before the next, for the reason that stands beside it.
LADDER = [
    (pod("a", annotations={DRAIN: "2026-01-01T01:00:00Z"}), "is drained"),
    (pod("b", annotations={COST: "-5"}), "costs less"),
    (pod("c", bound=False, phase="Pending", ready=False), "is not bound"),
    (pod("d", phase="Pending", ready=False), "is pending"),
    (pod("e", phase="Unknown", ready=False), "is unknown"),
    (pod("f", ready=False), "is not ready"),
    (pod("g", hash_="old"), "is of a former template"),
    (pod("h", age=1), "is younger"),
    (pod("i", age=2), "is neither"),
    (pod("j", age=9, annotations={COST: "7"}), "costs more"),
]


@pytest.mark.parametrize("rung", range(len(LADDER) - 1), ids=[reason for _, reason in LADDER[:-1]])
def test_of_two_pods_the_lower_rung_goes(rung):
    pair = [pod for pod, _ in LADDER[rung : rung + 2]]
    for order in permutations(pair):
        assert victims(order, 1, "new") == (pair[0],)


def test_the_ladder_holds_as_a_whole_and_in_any_order():
    pods = [pod for pod, _ in LADDER]
    assert victims(reversed(pods), 4, "new") == tuple(pods[:4])
    assert victims(pods, 99, "new") == tuple(pods)
    assert victims(pods, 0, "new") == ()
    assert victims(pods, -1, "new") == ()


def test_a_drained_pod_goes_even_if_it_costs_more():
    chosen = pod("a", annotations={DRAIN: "2026-01-01T01:00:00Z", COST: "100"})
    assert victims([pod("b"), chosen], 1, "new") == (chosen,)


def test_pods_on_their_way_out_are_not_chosen_again():
    leaving = pod("a", bound=False, deletionTimestamp="2026-01-01T00:00:00Z")
    staying = pod("b")
    assert victims([leaving, staying], 1, "new") == (staying,)


def test_a_cost_that_is_no_number_is_none():
    odd, dear = pod("a", annotations={COST: "much"}), pod("b", annotations={COST: "1"})
    assert victims([dear, odd], 1, "new") == (odd,)


def test_twins_go_by_name():
    assert [one.metadata.name for one in victims([pod("z"), pod("y")], 2, "new")] == ["y", "z"]
