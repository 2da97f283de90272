"""Who empties before going, and when they have."""

import msgspec
import pytest

from grove_dp.scaling.drains import drain, needless, until
from grove_dp.scaling.tree import Unit
from tests.scaling.samples import pod, seen, target, top, tree, with_units

EARLY, LATE = "2027-01-15T08:00:00Z", "2027-01-15T10:00:00Z"
NOW = until(pod("x", until="2027-01-15T09:00:00Z"))


def names(pods):
    return [one.metadata.name for one in pods]


def looked(to, *pods, **inflight):
    return drain(with_units(target(replicas=len(pods)), *pods), to, seen(**inflight), NOW)


def test_the_least_busy_goes_and_what_has_no_place_before_it():
    made = looked(2, pod("a"), pod("b"), pod("c"), pod("d", placed=False), a=-3, b=-1, c=-2)
    assert names(made.going) == ["d", "b"]
    assert names(made.mark) == ["d", "b"]
    assert names(made.waiting) == ["b"]
    assert not made.done


def test_what_is_marked_stays_the_one_that_goes():
    made = looked(1, pod("a", until=LATE), pod("b"), a=9, b=-1)
    assert (names(made.going), names(made.mark), names(made.waiting)) == (["a"], [], ["a"])


@pytest.mark.parametrize(
    ("inflight", "done"),
    [({"a": 0}, True), ({"a": -0.5}, False), ({"a": 1}, False), ({}, True)],
)
def test_empty_means_that_all_have_heard_and_nothing_is_in_flight(inflight, done):
    assert looked(0, pod("a", until=LATE), **inflight).done == done


def test_when_its_time_is_up_it_goes_with_what_it_has():
    made = looked(0, pod("a", until=EARLY), pod("b", until=LATE), a=4, b=0)
    assert (names(made.overdue), made.done) == (["a"], True)


def test_a_mark_that_is_no_time_is_over_at_once():
    assert looked(0, pod("a", until="soon"), a=4).done


def test_of_a_group_the_highest_replica_goes():
    group = msgspec.structs.replace(
        target(replicas=3), units=tuple(Unit(at, (pod(f"{at}a"), pod(f"{at}b"))) for at in range(3))
    )
    made = drain(group, 1, seen(**{"1a": -1, "1b": 0, "2a": 0, "2b": 0}), NOW)
    assert names(made.going) == ["1a", "1b", "2a", "2b"]
    assert names(made.waiting) == ["1a"]


def test_what_leaves_already_is_not_called_back_and_a_surge_is_not_marked():
    left = with_units(target(replicas=1), pod("a"), pod("b", until=LATE))
    assert names(drain(left, 1, seen(), NOW).going) == ["b"]
    surge = with_units(target(replicas=1), pod("a"), pod("b"))
    made = drain(surge, 1, seen(), NOW)
    assert (made.going, made.mark) == ((), ())


def test_only_our_own_marks_are_taken_away():
    pods = (pod("a", until=LATE, by="us"), pod("b", until=LATE, by="them"), pod("c", until=LATE))
    whole = msgspec.structs.replace(tree(), top=msgspec.structs.replace(top(), units=(Unit(0, pods),)))
    assert names(needless(whole, set(), "us")) == ["a"]
    assert needless(whole, {"uid-a"}, "us") == ()
