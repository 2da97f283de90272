"""Places at the cost of lower priorities: the lowest, the fewest, and never in vain."""

from itertools import count

import msgspec
from grove_operator.gang.ask import Ask, AskGroup, AskPod, Packing, Placement
from grove_operator.gang.needs import Needs, Port
from grove_operator.gang.pack import place
from grove_operator.gang.preemption import placed_without_leaving, preemption
from grove_operator.gang.room import Room, RoomNode
from grove_operator.pods import Pod
from hypothesis import given, settings
from hypothesis import strategies as st

RACK = "rack"
GPU = "nvidia.com/gpu"


def node(name, gpus=8, rack="r-0", ready="True"):
    told = {
        "metadata": {"name": name, "labels": {RACK: rack}},
        "status": {
            "allocatable": {GPU: str(gpus), "pods": "110"},
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }
    return msgspec.convert(told, RoomNode)


def pod(name, on, gpus, priority=0, port=0, ends=None):
    container = {"resources": {"requests": {GPU: str(gpus)}}}
    if port:
        container["ports"] = [{"hostPort": port}]
    told = {
        "metadata": {"name": name, "namespace": "d", "deletionTimestamp": ends},
        "spec": {"nodeName": on, "priority": priority, "containers": [container]},
    }
    return msgspec.convert(told, Pod)


def room(nodes, *pods):
    made = Room()
    for one in nodes:
        made.put_node(one)
    for one in pods:
        made.put_pod(one)
    return made


def ask(pods, gpus, required=None, port=0):
    asked = Needs(((GPU, gpus), ("pods", 1)), (Port(port),) if port else ())
    wanted = tuple(AskPod(("d", f"new-{at}"), asked) for at in range(pods))
    return Ask((AskGroup("g", wanted),), Packing(required))


def victims(found):
    return [one.key[1] for one in found.victims]


def nodes(found):
    return sorted(found.placement.nodes.values())


def test_the_lowest_priority_that_will_do_goes():
    held = room(
        [node("a"), node("b"), node("c")], pod("a", "a", 8, 5), pod("b", "b", 8, -1), pod("c", "c", 8, 5)
    )
    assert victims(preemption(held, ask(1, 8), 10)) == ["b"]
    assert victims(preemption(held, ask(2, 8), 10)) == ["b", "a"]
    assert preemption(held, ask(4, 8), 10) is None


def test_equals_and_higher_ones_stay():
    held = room([node("a"), node("b")], pod("a", "a", 8, 10), pod("b", "b", 8, 11))
    assert preemption(held, ask(1, 1), 10) is None
    assert not held.occupants.any_below(10)
    assert victims(preemption(held, ask(1, 1), 11)) == ["a"]


def test_a_node_of_few_pods_goes_before_one_of_many_and_room_that_is_free_before_both():
    many = [pod(f"m-{at}", "many", 1) for at in range(8)]
    held = room([node("many"), node("few"), node("free", 4)], *many, pod("f", "few", 8))
    assert victims(preemption(held, ask(1, 8), 10)) == ["f"]
    found = preemption(held, ask(3, 4), 10)
    assert victims(found) == ["f"]
    assert nodes(found) == ["few", "few", "free"]


def test_on_a_node_the_higher_ones_stay_if_there_is_room_for_them():
    there = [pod("low-a", "a", 2, 0), pod("low-b", "a", 2, 0), pod("mid", "a", 4, 5)]
    held = room([node("a")], *there)
    assert victims(preemption(held, ask(1, 4), 10)) == ["low-a", "low-b"]
    assert victims(preemption(held, ask(1, 2), 10)) == ["low-b"]
    assert victims(preemption(held, ask(1, 5), 10)) == ["low-b", "mid"]  # as kube-scheduler does


def test_a_required_domain_is_kept():
    held = room(
        [node("a", rack="r-0"), node("b", rack="r-1"), node("c", rack="r-1")],
        pod("a", "a", 8),
        pod("b", "b", 8, 5),
        pod("c", "c", 8, 5),
    )
    assert nodes(preemption(held, ask(2, 8, RACK), 10)) == ["b", "c"]
    assert preemption(held, ask(2, 8, RACK), 5) is None


def test_who_has_the_host_port_goes():
    held = room([node("a")], pod("p", "a", 1, 0, port=80), pod("q", "a", 1, 0))
    assert victims(preemption(held, ask(1, 1, port=80), 10)) == ["p"]
    assert preemption(held, ask(1, 1, port=80), 0) is None


def test_pods_that_go_come_and_are_on_a_node_that_comes_later_are_counted():
    held = room([], pod("a", "a", 8))
    assert preemption(held, ask(1, 8), 10) is None
    held.put_node(node("a"))
    assert victims(preemption(held, ask(1, 8), 10)) == ["a"]
    held.drop_node("a")
    assert preemption(held, ask(1, 8), 10) is None
    held.put_node(node("b"))
    held.drop_pod("d", "a")
    assert not held.occupants.any_below(10)
    assert preemption(held, ask(1, 9), 10) is None


def test_room_that_is_left_soon_is_seen_but_not_that_of_a_node_that_does_not_answer():
    between = ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z")
    soon, late = "2026-01-01T00:00:30Z", "2026-01-01T01:00:00Z"
    for ends, ready, fits in ((soon, "True", True), (late, "True", False), (soon, "Unknown", False)):
        held = room([node("a", ready=ready)], pod("a", "a", 8, 20, ends=ends))
        assert placed_without_leaving(held, ask(1, 8), between, None) is fits
    assert not placed_without_leaving(room([node("a")], pod("a", "a", 8)), ask(1, 8), between, None)


def test_it_tells_who_goes():
    held = room([node("a")], *(pod(f"p-{at}", "a", 1) for at in range(8)))
    told = str(preemption(held, ask(1, 5), 10))
    assert told.endswith("which the scheduler ends: d/p-3, d/p-4, d/p-5 and 2 more.")


@settings(max_examples=80, deadline=None)
@given(
    there=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4), st.integers(0, 3)), max_size=20),
    wanted=st.integers(1, 6),
    gpus=st.integers(1, 8),
    priority=st.integers(0, 4),
)
def test_who_goes_is_lower_and_enough_and_nobody_goes_in_vain(there, wanted, gpus, priority):
    numbers = count()
    held = room([node(f"n-{at}") for at in range(5)])
    for at, size, level in there:
        if held.free[held.resources[GPU], at] >= size:
            held.put_pod(pod(f"p-{next(numbers)}", f"n-{at}", size, level))
    if isinstance(place(held, ask(wanted, gpus)), Placement):
        return
    found = preemption(held, ask(wanted, gpus), priority)
    lower = [one for name in held.nodes.slots for one in held.there(name) if one.priority < priority]
    if found is None:
        for one in lower:
            held.drop_pod(*one.key)
        assert not isinstance(place(held, ask(wanted, gpus)), Placement)
        return
    assert found.victims
    assert {one.key for one in found.victims} <= {one.key for one in lower}
    for one in found.victims:
        held.drop_pod(*one.key)
    for key, on in found.placement.nodes.items():
        held.put_pod(pod(key[1], on, gpus, priority))
    assert (held.free >= 0).all()
