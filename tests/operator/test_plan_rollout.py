"""What an update may replace, and that it comes to an end whatever happens meanwhile."""

import msgspec
import pytest
from grove_operator.api import PodClique
from grove_operator.naming import L
from grove_operator.plan.rollout import rollout
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.operator.plan_samples import a_set, clique, group, workload
from tests.operator.update_world import World


def rolled(world):
    return not world.old() and world.ready() == len(world.pods())


# ------------------------------------------------------------ RollingRecreate


def test_a_new_template_reaches_every_pod():
    world = World(workload())
    world.image("2")
    world.settle_all()
    assert rolled(world)
    assert len(world.pods()) == 10


def test_nothing_is_left_to_do_where_nothing_differs():
    for picture in World(workload(2)).pictures().values():
        found = rollout(picture, turn=True)
        assert (found.held, found.replace, found.surge, found.done) == (frozenset(), (), {}, True)


def test_without_its_turn_a_replica_keeps_what_it_has():
    world = World(workload())
    world.image("2", "pc-a")
    (picture,) = world.pictures().values()
    found = rollout(picture, turn=False)
    assert found.held == {"w-0-pc-a"}
    assert (found.replace, found.left, found.done) == ((), True, False)


def test_pods_go_only_once_their_clique_describes_the_new_ones():
    world = World(workload())
    world.image("2", "pc-a")
    (picture,) = world.pictures().values()
    found = rollout(picture, turn=True)
    assert (found.held, found.replace) == (frozenset(), ())
    world.operate()
    (picture,) = world.pictures().values()
    assert len(rollout(picture, turn=True).replace) == 1


def test_ru7_one_pod_of_a_clique_after_the_other_the_oldest_first():
    world = World(a_set([clique("a", 4, 2)]))
    by_age = [one.name for one in sorted(world.pods(), key=lambda one: one.made)]
    world.image("2")
    world.boxes = dict(reversed(world.boxes.items()))
    world.settle_all()
    assert world.taken == [[name] for name in by_age]


def test_ru8_one_replica_of_a_group_after_the_other():
    world = World(workload(sg_minimum=2))
    first, second = (sorted(world.names(f"w-0-sg-x-{at}-")) for at in (0, 1))
    world.image("2", "pc-b", "pc-c")
    world.settle_all()
    assert [sorted(taken) for taken in world.taken] == [first, second]


def test_ru8_only_pods_of_cliques_that_changed_go():
    world = World(workload(sg_minimum=2))
    leaders = world.names("w-0-sg-x-0-pc-b") | world.names("w-0-sg-x-1-pc-b")
    world.image("2", "pc-c")
    world.settle_all()
    assert rolled(world)
    assert leaders <= world.names()


def test_ru9_cliques_and_groups_go_side_by_side():
    world = World(workload(sg_minimum=2))
    world.image("2")
    world.operate()
    world.operate()
    assert len(world.taken[0]) == 1 + 4


def test_ru10_without_room_one_pod_waits_and_all_others_stay():
    world = World(workload(sg_minimum=2))
    world.cordoned = True
    world.image("2", "pc-a")
    world.settle_all()
    assert len(world.old()) == 1
    assert [(one.node, one.ready) for one in world.new("w-0-pc-a")] == [(False, False)]
    world.cordoned = False
    world.settle_all()
    assert rolled(world)


def test_ru10_holds_for_groups_and_for_the_next_replica_of_the_set():
    world = World(workload(2))
    world.cordoned = True
    world.image("2")
    world.settle_all()
    assert not world.new("w-1-")
    assert world.ready("w-0-pc-a") == 1
    assert world.ready("w-0-sg-x") == 4


def test_ru11_a_set_replica_that_is_added_meanwhile_is_born_new_and_stays():
    world = World(workload())
    world.image("2")
    world.step(2)
    world.scale(2)
    world.step(2)
    born = world.names("w-1-")
    assert len(born) == 10
    assert not world.old("w-1-")
    world.settle_all()
    assert rolled(world)
    assert world.names("w-1-") == born


@pytest.mark.parametrize("steps", range(12))
def test_ru12_ru13_scale_in_of_the_replica_whose_turn_it_is_passes_the_turn_on(steps):
    world = World(workload(3))
    for one in world.pods("w-2-"):
        one.ready = False  # it is the first, then
    world.image("2")
    world.step(steps)
    world.scale(2)
    world.settle_all()
    assert rolled(world)
    assert len(world.pods()) == 20


@pytest.mark.parametrize("steps", range(8))
@pytest.mark.parametrize("count", [1, 3, 4], ids="to-{}".format)
def test_ru14_to_ru17_a_group_is_scaled_at_any_moment(count, steps):
    world = World(workload(sg_replicas=2, sg_minimum=1))
    world.image("2")
    world.step(steps)
    world.group_counts["w-0-sg-x"] = count
    world.step(2)
    born = world.names("w-0-sg-x-2-") | world.names("w-0-sg-x-3-")
    world.settle_all()
    assert rolled(world)
    assert len(world.pods("w-0-sg-x")) == 4 * count
    assert world.names("w-0-sg-x-2-") | world.names("w-0-sg-x-3-") == born  # not updated twice


@pytest.mark.parametrize("steps", range(8))
@pytest.mark.parametrize("count", [1, 2, 6], ids="to-{}".format)
def test_ru18_to_ru21_a_clique_is_scaled_at_any_moment(count, steps):
    world = World(a_set([clique("a", 4, 1)]))
    world.image("2")
    world.step(steps)
    world.counts["w-0-a"] = count
    world.settle_all()
    assert rolled(world)
    assert len(world.pods()) == count
    taken = [name for names in world.taken for name in names]
    assert len(taken) == len(set(taken)) <= 4


@pytest.mark.parametrize("steps", range(10))
def test_from_four_to_two_in_mid_update_comes_to_an_end(steps):
    world = World(
        a_set([clique("a", 4, 2), clique("b", 1)], [group("g", "b", replicas=4, minimum=1)]),
    )
    world.image("2")
    world.step(steps)
    world.counts["w-0-a"] = 2
    world.group_counts["w-0-g"] = 2
    world.settle_all()
    assert rolled(world)
    assert (len(world.pods("w-0-a")), len(world.pods("w-0-g"))) == (2, 2)


@pytest.mark.parametrize("steps", range(8))
def test_a_third_template_in_mid_roll_starts_it_anew(steps):
    world = World(workload(2))
    world.image("2")
    world.step(steps)
    world.image("3")
    world.settle_all()
    assert rolled(world)


def test_a_rollback_in_mid_roll_touches_only_what_was_touched():
    world = World(workload(2))
    before = world.names()
    world.image("2")
    world.step(3)
    touched = before - world.names()
    assert 0 < len(touched) < 10
    world.image("1")
    world.settle_all()
    assert rolled(world)
    assert before - world.names() == touched


def test_a_template_that_never_runs_takes_one_unit_of_each_and_no_more():
    world = World(workload(2))
    world.broken.add("bad")
    world.image("bad")
    world.settle_all()
    assert world.ready("w-0-pc-a") == 1
    assert world.ready("w-0-sg-x") == 4
    assert world.ready("w-1-") == 10
    world.image("good")
    world.settle_all()
    assert rolled(world)


def test_old_pods_that_do_not_serve_go_together_even_beside_one_that_is_stuck():
    world = World(a_set([clique("a", 6, 2)]))
    world.broken.add("bad")
    world.image("bad")
    world.settle_all()
    assert len(world.new()) == 1
    for one in world.old()[:3]:
        one.ready = False
    world.operate()
    assert len(world.old()) == 2


def test_a_group_replica_for_which_there_never_was_room_does_not_stop_the_others():
    world = World(workload(sg_replicas=3), room=10)
    assert world.ready() == 10
    world.image("2")
    world.settle_all()
    assert not world.old()
    assert world.ready() == 10


def test_pods_for_which_there_never_was_room_do_not_stop_the_others():
    world = World(a_set([clique("a", 6, 2)]), room=4)
    world.image("2")
    world.settle_all()
    assert not world.old()
    assert (world.ready(), len(world.pods())) == (4, 6)
    assert [len(taken) for taken in world.taken] == [1] * 4


def test_a_pod_that_had_a_node_and_finds_none_stops_them():
    world = World(a_set([clique("a", 6, 2)]), room=4)
    world.cordoned = True
    world.image("2")
    world.settle_all()
    assert world.ready() == 3


def test_a_set_replica_for_which_there_never_was_room_does_not_stop_the_others():
    world = World(workload(3), room=20)
    assert world.ready() == 20
    world.image("2")
    world.settle_all()
    assert not world.old()
    assert world.ready() == 20


def test_pods_that_are_too_many_go_before_any_goes_for_the_update():
    world = World(a_set([clique("a", 4, 1)]))
    world.image("2")
    world.operate()
    world.counts["w-0-a"] = 2
    (picture,) = world.pictures().values()
    assert rollout(picture, turn=True).replace == ()
    world.operate()
    (picture,) = world.pictures().values()
    assert len(rollout(picture, turn=True).replace) == 1


def test_a_group_replica_that_has_the_template_goes_before_one_that_has_not():
    world = World(a_set([clique("b", 1)], [group("g", "b", replicas=3, minimum=1)]))
    kept = dict(world.cliques)
    world.image("2")
    world.strategy("OnDelete")
    world.operate()
    world.cliques |= {name: kept[name] for name in ("w-0-g-0-b", "w-0-g-2-b")}
    world.strategy("RollingRecreate")
    (picture,) = world.pictures().values()
    found = rollout(picture, turn=True)
    assert [pod.clique for pod in found.replace] == ["w-0-g-1-b"]
    assert found.held == {"w-0-g-0-b", "w-0-g-2-b"}


# ------------------------------------------------------------ how many at once


def bounded(count, minimum, **bounds):
    return World(a_set([clique("a", count, minimum, rollingUpdate=bounds)]))


def fewest_ready(world):
    """While it is updated; and how many pods there were at most."""
    world.image("2")
    fewest = most = len(world.pods())
    for _ in range(50):
        world.operate()
        fewest = min(fewest, world.ready())
        world.settle()
        most = max(most, len(world.pods()))
    assert rolled(world)
    return fewest, most


@pytest.mark.parametrize(
    ("bounds", "fewest", "most"),
    [
        ({}, 3, 4),
        ({"maxUnavailable": 2}, 2, 4),
        ({"maxUnavailable": 9}, 1, 4),  # minAvailable 2: the last goes while there are two
        ({"maxUnavailable": 0, "maxSurge": 1}, 4, 5),
        ({"maxUnavailable": 0, "maxSurge": 9}, 4, 8),
        ({"maxUnavailable": 1, "maxSurge": 1}, 3, 5),
        ({"maxUnavailable": 0}, 3, 4),  # refused by validation; were it stored, it would have to go on
    ],
    ids=str,
)
def test_as_many_are_missing_or_too_many_as_the_set_allows(bounds, fewest, most):
    world = bounded(4, 2, **bounds)
    assert fewest_ready(world) == (fewest, most)
    assert len(world.pods()) == 4


def test_a_surge_pod_that_does_not_come_up_costs_no_old_one():
    world = bounded(3, 1, maxUnavailable=0, maxSurge=1)
    world.broken.add("bad")
    world.image("bad")
    world.settle_all()
    assert (len(world.old()), world.ready(), len(world.new())) == (3, 3, 1)


def test_replicas_of_a_group_may_go_two_at_a_time():
    world = World(
        a_set([clique("b", 1)], [group("g", "b", replicas=4, minimum=1, rollingUpdate={"maxUnavailable": 2})])
    )
    world.image("2")
    world.settle_all()
    assert [len(taken) for taken in world.taken] == [2, 2]


def test_surge_of_a_group_is_ignored_and_does_not_stop_it():
    bounds = {"maxUnavailable": 0, "maxSurge": 2}
    world = World(a_set([clique("b", 1)], [group("g", "b", replicas=2, minimum=1, rollingUpdate=bounds)]))
    world.image("2")
    world.settle_all()
    assert rolled(world)
    assert [len(taken) for taken in world.taken] == [1, 1]


# ------------------------------------------------------------ OnDelete


def on_delete(owner, tag="2", *cliques):
    world = World(owner)
    world.strategy("OnDelete")
    world.image(tag, *cliques)
    world.settle_all()
    return world


def test_od1_no_pod_is_deleted():
    world = on_delete(workload(2))
    assert (len(world.old()), world.ready()) == (20, 20)
    assert world.taken == []


@pytest.mark.parametrize("which", ["w-0-pc-a", "w-0-sg-x-0-pc-c"], ids=["od2", "od5"])
def test_od2_od5_a_pod_that_somebody_deletes_comes_back_new(which):
    world = on_delete(workload())
    world.kill(which)
    world.settle_all()
    assert len(world.new(which)) == 1
    assert len(world.old()) == 9


def test_od3_scale_in_prefers_the_outdated():
    world = on_delete(a_set([clique("a", 4, 1)]))
    world.kill("w-0-a")
    world.settle_all()
    (fresh,) = world.new()
    world.counts["w-0-a"] = 1
    world.settle_all()
    assert world.names() == {fresh.name}


def test_od4_scale_out_is_born_new():
    world = on_delete(workload())
    world.counts["w-0-pc-a"] = 3
    world.group_counts["w-0-sg-x"] = 3
    world.settle_all()
    assert (len(world.old()), len(world.new())) == (10, 5)


def test_od6_od7_it_is_so_in_every_replica_and_for_a_part_of_the_cliques():
    world = on_delete(workload(2), "2", "pc-c")
    assert len(world.old()) == 12
    for index in (0, 1):
        world.kill(f"w-{index}-sg-x-1-pc-c")
    world.settle_all()
    assert (len(world.old()), len(world.new("w-0-sg-x-1-pc-c")), world.ready()) == (10, 1, 20)


def test_od8_pods_lost_with_their_node_come_back_new():
    world = on_delete(workload())
    for one in world.pods("w-0-sg-x-1-"):
        one.leaving = True
    world.settle_all()
    assert (len(world.new()), world.ready()) == (4, 10)


@pytest.mark.parametrize("steps", range(6))
def test_od9_the_strategy_is_switched_in_mid_roll_and_back(steps):
    world = World(workload(2))
    world.image("2")
    world.step(steps)
    world.strategy("OnDelete")
    world.settle_all()
    left = len(world.old())
    assert left >= 20 - 5 * steps
    world.settle_all()
    assert len(world.old()) == left
    world.strategy("RollingRecreate")
    world.settle_all()
    assert rolled(world)


# ------------------------------------------------------------ what another operator has made


def relabelled(world, clique_label, pod_label):
    for name, held in world.cliques.items():
        document = msgspec.to_builtins(held)
        document["metadata"]["labels"] = {L.TEMPLATE_HASH: clique_label} if clique_label else {}
        world.cliques[name] = msgspec.convert(document, PodClique)
    for one in world.boxes.values():
        one.hash = pod_label


@pytest.mark.parametrize("strategy", ["RollingRecreate", "OnDelete"])
@pytest.mark.parametrize(
    ("of_clique", "of_pods"), [("5cd4f9b7dc4b58d9f6", "5cd4f9b7dc4b58d9f6"), ("", ""), ("", "someones")]
)
def test_nothing_rolls_because_another_operator_labelled_it(of_clique, of_pods, strategy):
    world = World(workload())
    world.strategy(strategy)
    relabelled(world, of_clique, of_pods)
    before = world.names()
    for turn in (True, False):
        found = rollout(world.pictures()[0], turn)
        assert (found.replace, found.done, found.left) == ((), True, False)
        assert found.held == set(world.cliques)
    world.kill("w-0-pc-a")
    world.settle_all()
    assert len(before & world.names()) == 9


@pytest.mark.parametrize("label", ["5cd4f9b7dc4b58d9f6", ""])
def test_a_new_template_rolls_what_another_operator_has_made(label):
    world = World(workload())
    relabelled(world, label, label)
    world.image("2")
    world.settle_all()
    assert rolled(world)


def test_a_roll_that_another_operator_began_goes_on():
    world = World(a_set([clique("a", 3, 1)]))
    relabelled(world, "5cd4f9b7dc4b58d9f6", "5cd4f9b7dc4b58d9f6")
    behind = min(world.pods(), key=lambda one: one.name)
    behind.hash = "9gfd8c5b6xyz5h6f8d"
    world.settle_all()
    assert world.taken == [[behind.name]]


def test_a_label_that_somebody_broke_is_put_right_and_nothing_goes():
    world = World(workload())
    before = world.names()
    relabelled(world, "oops", "")
    for one in world.boxes.values():
        one.hash = next(
            unit.hash for replica in world.tree() for unit in replica.units if unit.name == one.clique
        )
    world.settle_all()
    assert world.names() == before
    assert all(held.metadata.label(L.TEMPLATE_HASH) != "oops" for held in world.cliques.values())


# ------------------------------------------------------------ whatever happens


@st.composite
def sets(draw):
    def some(most=4):
        count = draw(st.integers(1, most))
        return count, draw(st.integers(1, count))

    def bounds():
        away, surge = draw(st.sampled_from([(None, None), (1, 0), (2, 0), (9, 0), (0, 1), (1, 2), (0, 3)]))
        found = {"maxUnavailable": away, "maxSurge": surge}
        return {"rollingUpdate": {key: value for key, value in found.items() if value is not None}}

    alone = [clique(f"a{at}", *some(), **bounds()) for at in range(draw(st.integers(0, 2)))]
    members = [clique(f"m{at}", *some(3)) for at in range(draw(st.integers(0 if alone else 1, 2)))]
    groups = []
    if members:
        count, least = some()
        names = [one["name"] for one in members]
        groups = [group("g", *names, replicas=count, minimum=least, **bounds())]
    return a_set(alone + members, groups, draw(st.integers(1, 3)))


DEEDS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "image",
                "part",
                "clique",
                "group",
                "set",
                "fail",
                "kill",
                "strategy",
                "step",
                "half",
                "cordon",
                "break",
            ]
        ),
        st.integers(0, 30),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(owner=sets(), deeds=DEEDS)
def test_it_ends_updated_whatever_happens_meanwhile(owner, deeds):
    world = World(owner)
    world.image("new")
    for deed, number in deeds:
        act(world, deed, number)
    world.strategy("RollingRecreate")
    world.image("last")
    world.cordoned = False
    world.settle_all()
    assert rolled(world)
    for replica in world.tree():
        for unit in replica.units:
            assert len(world.pods(unit.name)) >= unit.count


def act(world, deed, number):
    units = [unit for replica in world.tree() for unit in replica.units]
    groups = [one for replica in world.tree() for one in replica.groups]
    pods = sorted(world.pods(), key=lambda one: one.name)
    match deed:
        case "image":
            world.image(str(number))
        case "part":
            world.image(str(number), world.owner.spec.template.cliques[0].name)
        case "clique" if units:
            world.counts[units[number % len(units)].name] = number % 6
        case "group" if groups:
            world.group_counts[groups[number % len(groups)].name] = number % 5
        case "set":
            world.scale(number % 4)
        case "fail" if pods:
            pods[number % len(pods)].ready = False
        case "kill" if pods:
            pods[number % len(pods)].leaving = True
        case "strategy":
            world.strategy(("RollingRecreate", "OnDelete")[number % 2])
        case "cordon":
            world.cordoned = number % 2 == 1
        case "break":
            world.broken.add("bad")
            world.image("bad")
        case "half":
            world.operate()
        case _:
            world.operate()
            world.settle()
