"""Who waits for whom, in the base gang and in scaled ones."""

import pytest
from grove_operator.plan.order import cycle, parents
from grove_operator.plan.tree import Live, tree

from tests.operator.plan_samples import a_set, clique, expanded, group

CLIQUES = ("pc-a", "pc-b", "pc-c")


def ordered(how, live=None, **after):
    """Grove's workload with a group of two replicas, of which one is scaled."""
    owner = a_set(
        [
            clique(name, count, minimum, **({"startsAfter": after[name[-1]]} if name[-1] in after else {}))
            for name, count, minimum in zip(CLIQUES, (2, 1, 3), (1, 1, 2), strict=True)
        ],
        [group("sg-x", "pc-b", "pc-c", replicas=3, minimum=2)],
        cliqueStartupType=f"CliqueStartupType{how}",
    )
    (replica,) = tree(owner, live or Live())
    found = parents(owner.spec.template, replica)
    return {name: [(one.name, one.minimum) for one in held] for name, held in found.items()}


def test_in_any_order_nobody_waits():
    assert not any(ordered("AnyOrder").values())


def test_in_order_each_waits_for_the_one_before():
    found = ordered("InOrder")
    assert found["w-0-pc-a"] == []
    assert found["w-0-sg-x-0-pc-b"] == [("w-0-pc-a", 1)]
    assert found["w-0-sg-x-0-pc-c"] == [("w-0-sg-x-0-pc-b", 1), ("w-0-sg-x-1-pc-b", 1)]


def test_a_scaled_gang_looks_at_its_own_replica_only():
    found = ordered("InOrder")
    assert found["w-0-sg-x-2-pc-b"] == []
    assert found["w-0-sg-x-2-pc-c"] == [("w-0-sg-x-2-pc-b", 1)]


def test_explicit_waits_for_all_that_is_named():
    found = ordered("Explicit", a=["pc-c"], b=["pc-a", "pc-c"])
    assert found["w-0-pc-a"] == [("w-0-sg-x-0-pc-c", 2), ("w-0-sg-x-1-pc-c", 2)]
    assert found["w-0-sg-x-1-pc-b"] == [("w-0-pc-a", 1), ("w-0-sg-x-0-pc-c", 2), ("w-0-sg-x-1-pc-c", 2)]
    assert found["w-0-sg-x-2-pc-b"] == [("w-0-sg-x-2-pc-c", 2)]


def test_names_count_only_where_start_is_explicit():
    assert not any(ordered("AnyOrder", b=["pc-a"]).values())


def test_nobody_waits_for_what_is_scaled_to_zero():
    found = ordered("InOrder", Live(cliques={"w-0-pc-a": 0}))
    assert found["w-0-sg-x-0-pc-b"] == []


def test_a_clique_names_its_parents_in_full():
    owner = a_set([clique("a"), clique("b")], cliqueStartupType="CliqueStartupTypeInOrder")
    objects = expanded(owner)
    assert objects["PodClique", "w-0-b"]["spec"]["startsAfter"] == ["w-0-a"]
    assert "startsAfter" not in objects["PodClique", "w-0-a"]["spec"]


@pytest.mark.parametrize(
    ("after", "found"),
    [
        ({"a": ["b"], "b": ["c"]}, ()),
        ({"a": ["b", "c"], "b": ["c"]}, ()),
        ({"a": ["a"]}, ("a", "a")),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, ("b", "c", "b")),
        ({"c": ["nobody"]}, ()),
    ],
)
def test_a_cycle_is_named(after, found):
    cliques = [clique(name, startsAfter=after.get(name, [])) for name in "abc"]
    owner = a_set(cliques, cliqueStartupType="CliqueStartupTypeExplicit")
    assert cycle(owner.spec.template) == found


def test_a_list_has_no_cycle():
    owner = a_set([clique("a"), clique("b")], cliqueStartupType="CliqueStartupTypeInOrder")
    assert cycle(owner.spec.template) == ()
