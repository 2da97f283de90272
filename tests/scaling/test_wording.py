"""The sentences that people read: what there is too little of, and why."""

import msgspec

from grove_dp.scaling.kinds import Autoscaler
from grove_dp.scaling.plan import Memory, plan
from grove_dp.scaling.spec import Behavior
from tests.scaling.samples import component, demand, pod, seen, spec, target, top, tree, units


def said(there, load, ticks=1, **more):
    """What it comes to after so many ticks, a minute apart."""
    one = Autoscaler(namespace="ml", name="chat", spec=spec(behavior=Behavior(hold_seconds=0), **more))
    memory = Memory()
    for tick in range(ticks):
        look = seen(60.0 * tick, (), {"decode": demand(load)})
        decision, memory = plan(one, there, look, memory, 1000.0)
    return decision.reason, decision.message


def test_what_finds_no_place_is_counted_and_named():
    assert said(tree(component(target(replicas=8, scheduled=5))), 8.0, ticks=4) == (
        "CapacityRefused",
        "decode: 5 more are wished for; 3 of 8 replicas of PodClique/chat-0-decode find no place",
    )


def test_a_budget_is_named():
    assert said(tree(component(target(replicas=4))), 8.0, gpu_budget=4) == (
        "BudgetExhausted",
        "decode: 6 more are wished for; the budget of 4 GPUs has no room for one",
    )


def test_objects_at_their_own_bounds_are_named():
    assert said(tree(component(target(replicas=4, ceiling=4))), 8.0) == (
        "TooManyReplicas",
        "decode: 6 more are wished for; its objects are as large as they may be",
    )


def test_a_drain_says_what_it_waits_for_and_why_without_naming_a_hundred_pods():
    pods = tuple(pod(f"p{at:02}", until="2999-01-01T00:00:00Z") for at in range(20))
    one = target(replicas=20, units=units(*pods))
    there = msgspec.structs.replace(tree(component(one)), top=msgspec.structs.replace(top(), units=one.units))
    asked = Autoscaler(namespace="ml", name="chat", spec=spec(behavior=Behavior(hold_seconds=0)))
    busy = {f"p{at:02}": 1 for at in range(20)}
    decision, _ = plan(asked, there, seen(0.0, (), {"decode": demand(1.0)}, **busy), Memory(), 1000.0)
    assert decision.reason == "Draining"
    assert decision.message == (
        "PodClique/chat-0-decode 20 -> 15 as soon as p00, p01, p02, 2 more are empty:"
        " 1.00 workers of work and 25% head-room"
    )
