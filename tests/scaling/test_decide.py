"""Replicas wished for, by tables and by what must hold of any load."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grove_dp.scaling.decide import decide
from grove_dp.scaling.spec import ComponentSpec
from tests.scaling.samples import BEHAVIOR, demand

DECODE = ComponentSpec(name="decode")


@pytest.mark.parametrize(
    ("load", "grow_to", "shrink_to"),
    [(0.79, 1, 2), (0.8, 1, 2), (0.81, 2, 2), (1.6, 2, 3), (1.43, 2, 3), (1.42, 2, 2), (8.0, 10, 12)],
)
def test_a_quarter_of_head_room_to_grow_and_more_to_shrink(load, grow_to, shrink_to):
    wish = decide(DECODE, demand(load), BEHAVIOR)
    assert (wish.grow_to, wish.shrink_to, wish.reason) == (grow_to, shrink_to, "TokenLoad")


@pytest.mark.parametrize(
    ("spec", "told", "grow_to", "shrink_to", "reason"),
    [
        ({}, {"prefill": 0.0, "arriving": 0.0}, 1, 1, "NoTraffic"),
        ({"scale_to_zero": True}, {"prefill": 0.0, "arriving": 0.0}, 0, 0, "NoTraffic"),
        ({"scale_to_zero": True}, {"prefill": 0.0, "arriving": 0.1}, 1, 1, "TokenLoad"),
        ({"min_replicas": 3}, {"prefill": 1.0}, 3, 3, "TokenLoad"),
        ({"max_replicas": 3}, {"prefill": 8.0}, 3, 3, "TooManyReplicas"),
        ({"workers_per_replica": 4}, {"prefill": 8.0}, 3, 3, "TokenLoad"),
        ({}, {"prefill": 1.0, "queued_s": 40.0, "queued": 9.0}, 3, 3, "QueueDrain"),
        ({}, {"prefill": 1.0, "decode": 2.0}, 4, 5, "TokenLoad"),
        ({}, {"decode": None}, 1, None, "CapacityUnknown"),
        ({}, {"workers": 0, "prefill": 0.0}, 1, None, "NoReadyWorker"),
        ({"scale_to_zero": True}, {"workers": 0, "prefill": 0.0, "queued": 1.0}, 1, None, "NoReadyWorker"),
    ],
)
def test_what_else_decides(spec, told, grow_to, shrink_to, reason):
    component = msgspec.structs.replace(DECODE, **spec)
    wish = decide(component, demand(**({"load": 1.0} | told)), BEHAVIOR)
    assert (wish.grow_to, wish.shrink_to, wish.reason) == (grow_to, shrink_to, reason)


def test_a_message_says_why():
    assert decide(DECODE, demand(2.0), BEHAVIOR).message == "2.00 workers of work and 25% head-room"
    wish = decide(msgspec.structs.replace(DECODE, max_replicas=2), demand(20.0), BEHAVIOR)
    assert wish.message == "20.0 workers of work and 25% head-room would be 25 replicas; maxReplicas is 2"
    assert wish.limited


loads = st.floats(0, 1e4)


@given(loads, loads, st.floats(0, 1e5))
def test_more_load_never_wishes_for_fewer(load, more, queued_s):
    less = decide(DECODE, demand(load, queued_s=queued_s), BEHAVIOR)
    both = decide(DECODE, demand(load + more, queued_s=queued_s), BEHAVIOR)
    assert both.grow_to >= less.grow_to
    assert both.shrink_to >= less.shrink_to


@given(loads, st.floats(-0.049, 0.049))
def test_what_is_wished_for_is_rest_for_loads_nearby(load, noise):
    """What a load asked for is kept while it wavers by less than half of the margin."""
    there = decide(DECODE, demand(load), BEHAVIOR).grow_to
    nearby = decide(DECODE, demand(load * (1 + noise)), BEHAVIOR)
    assert nearby.shrink_to >= there or load == 0


@given(loads, st.integers(1, 50), st.integers(0, 50))
def test_bounds_hold_whatever_comes(load, least, more):
    component = msgspec.structs.replace(DECODE, min_replicas=least, max_replicas=least + more)
    wish = decide(component, demand(load, queued_s=load), BEHAVIOR)
    assert least <= wish.grow_to <= wish.shrink_to <= least + more
