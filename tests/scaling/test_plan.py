"""A tick's thinking, tick after tick: the hold, what is pending, what grew, what is marked."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from grove_dp.scaling.actuator import Failure, Outcome
from grove_dp.scaling.kinds import Autoscaler
from grove_dp.scaling.plan import Memory, plan
from grove_dp.scaling.spec import Behavior, ComponentSpec, Span
from tests.scaling.samples import component, demand, pod, seen, spec, target, top, tree, units

QUICK = Behavior(hold_seconds=100, startup_seconds=30, pending_seconds=60)


class Mind:
    """Ticks of one autoscaler, ten seconds apart."""

    def __init__(self, **more):
        components = more.pop("components", ())
        asked = spec(*components, behavior=QUICK, **more)
        self.one = Autoscaler(namespace="ml", name="chat", spec=asked)
        self.memory, self.now = Memory(), 0.0

    def tick(self, load, there, missing=(), known=2):
        self.now += 10
        told = {"decode": demand(load, known=known, workers=known)}
        look = seen(self.now, missing, told)
        look = msgspec.structs.replace(look, pods={})
        decision, self.memory = plan(self.one, there, look, self.memory, 1000 + self.now)
        return decision

    def ticks(self, number, load, there, **more):
        return [self.tick(load, there, **more) for _ in range(number)][-1]


def of(replicas, **more):
    pods = tuple(pod(f"p{at}") for at in range(replicas))
    one = target(replicas=replicas, units=units(*pods), **more)
    whole = tree(component(one))
    return msgspec.structs.replace(whole, top=msgspec.structs.replace(top(), units=one.units))


def to(decision):
    return [(step.move.to, step.objection.reason if step.objection else None) for step in decision.steps]


def test_growth_does_not_wait_and_shrinking_waits_for_a_whole_hold():
    mind = Mind()
    assert to(mind.tick(4.0, of(2))) == [(5, None)]
    assert to(mind.ticks(9, 1.0, of(5))) == []
    assert to(mind.tick(1.0, of(5))) == [(4, "GrownRecently")]  # the wish is a hold old, the growth is not
    assert to(mind.tick(1.0, of(5))) == [(4, None)]


def test_a_moment_of_load_within_the_hold_keeps_everything():
    mind = Mind()
    mind.ticks(20, 1.0, of(4))
    mind.tick(2.8, of(4))
    assert to(mind.ticks(9, 1.0, of(4))) == []
    assert to(mind.ticks(2, 1.0, of(4))) == [(3, None)]


def test_a_gap_in_the_picture_begins_the_hold_anew_but_one_tick_does_not():
    mind = Mind()
    mind.ticks(20, 1.0, of(4))
    assert to(mind.tick(1.0, of(4), missing=("a: OSError",))) == []
    assert to(mind.tick(1.0, of(4))) == [(3, None)]
    mind.ticks(8, 1.0, of(4), missing=("a: OSError",))
    assert to(mind.ticks(10, 1.0, of(4))) == []
    assert to(mind.tick(1.0, of(4))) == [(3, None)]


def test_what_grew_by_whose_hand_ever_is_left_to_settle():
    mind = Mind()
    mind.ticks(20, 1.0, of(2))
    assert to(mind.tick(1.0, of(5))) == [(4, "GrownRecently")]
    assert to(mind.ticks(9, 1.0, of(5))) == [(4, "GrownRecently")]
    assert to(mind.tick(1.0, of(5))) == [(4, None)]


def test_pending_counts_until_its_time_is_up():
    mind = Mind()
    waiting = of(4, scheduled=2)
    assert to(mind.ticks(6, 3.0, waiting)) == []
    decision = mind.tick(5.0, waiting)
    assert (to(decision), decision.reason) == ([], "CapacityRefused")
    assert to(mind.tick(5.0, of(4))) == [(7, None)]


def test_unknown_components_are_named():
    decision = Mind().tick(1.0, msgspec.structs.replace(tree(), components=(), unknown=("nobody",)))
    assert decision.reason == "UnknownComponent"


def test_the_set_grows_only_after_components_have_lacked_room_for_a_while():
    mind = Mind(set_replicas=Span(min=1, max=2))
    full = of(2, ceiling=2)
    assert to(mind.ticks(6, 4.0, full)) == []
    assert to(mind.ticks(2, 4.0, full)) == [(2, None)]


# ------------------------------------------------------------ whatever comes

ticks = st.lists(
    st.tuples(
        st.floats(0, 12),  # load
        st.sampled_from([None] * 6 + ["gap", "room", "crowd", "update", "hpa"]),
        st.none() | st.integers(0, 9),  # a hand that scales
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(ticks, st.integers(1, 3), st.booleans())
def test_through_any_course_of_events_its_promises_hold(course, minimum, to_zero):
    mind = Mind(components=(ComponentSpec(name="decode", scale_to_zero=to_zero, max_replicas=12),))
    count, room, grown_at, wished = max(2, minimum), 99, -1e9, []
    for load, event, hand in course:
        room = {"room": 99, "crowd": count - 1}.get(event, room)
        if hand is not None:
            grown_at = mind.now if hand > count else grown_at
            count = hand
        there = of(count, minimum=minimum, scheduled=min(count, room), hpa="x" if event == "hpa" else "")
        if event == "update":
            there = msgspec.structs.replace(there, top=msgspec.structs.replace(there.top, updating=True))
        zero = component(there.components[0].targets[0], scale_to_zero=to_zero, max_replicas=12)
        there = msgspec.structs.replace(there, components=(zero,))
        decision = mind.tick(load, there, missing=("a: OSError",) if event == "gap" else (), known=count)
        wished.append((mind.now, decision.wishes["decode"].grow_to))
        made = [step.move for step in decision.steps if step.now]
        if event in ("gap", "hpa"):
            assert made == []
        for move in made:
            assert move.to == 0 or minimum <= move.to <= max(12, minimum)
            assert move.to > 0 or to_zero
            if move.grows:
                grown_at = mind.now
            elif count <= 12:
                assert event != "update"
                assert mind.now - grown_at >= 90
                recent = [wish for at, wish in wished if at > mind.now - 100]
                assert move.to >= min(max(recent), 12) or count > room
            count = move.to


def decided():
    """A decision with one of everything, and what came of it."""
    mind = Mind()
    mind.ticks(20, 1.0, of(4))
    decision = mind.tick(1.0, of(4))
    move = decision.steps[0].move
    outcome = Outcome(scaled=(move,), marked=1, failures=(Failure("pod x", "Forbidden", "may not"),))
    return decision, outcome


def test_a_decision_says_what_it_did_and_why():
    decision, _ = decided()
    assert decision.reason == "TokenLoad"
    assert decision.message == "PodClique/chat-0-decode 4 -> 3: 1.00 workers of work and 25% head-room"
    assert ComponentSpec(name="decode") == decision.tree.components[0].spec
