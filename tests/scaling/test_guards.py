"""Objections, each alone and in their order."""

import msgspec
import pytest

from grove_dp.scaling.guards import GUARDS, View, first_objection
from grove_dp.scaling.levels import Move
from tests.scaling.samples import component, target, top, tree

HERE = target(replicas=4, minimum=2)
OUT = Move(HERE, 6, "TokenLoad", "because", "decode")
IN = Move(HERE, 3, "TokenLoad", "because", "decode")
SET = Move(top(replicas=2), 3, "NoRoomInSet", "because")


def said(move, **more):
    view = View(**({"move": move, "tree": tree(component(move.target)), "mode": "direct"} | more))
    found = first_objection(view, GUARDS)
    return found.reason if found else None


def of(move, **more):
    return msgspec.structs.replace(move, target=msgspec.structs.replace(move.target, **more))


@pytest.mark.parametrize("move", [OUT, IN, SET])
def test_nothing_stands_against_a_move_in_peace(move):
    assert said(move) is None


@pytest.mark.parametrize(
    ("more", "out", "in_"),
    [
        ({"mode": "off"}, "SwitchedOff", "SwitchedOff"),
        ({"mode": "advisory"}, "Advisory", "Advisory"),
        ({"missing": ("a: OSError",)}, "PictureIncomplete", "PictureIncomplete"),
        ({"unknown": {"decode"}}, "WorkersUnknown", "WorkersUnknown"),
        ({"unknown": {"prefill"}}, None, None),
        ({"refused": {HERE.key}}, "CapacityRefused", None),
        ({"tree": tree(component(HERE), updating=True)}, None, "UpdateGoingOn"),
        ({"tree": tree(component(HERE), hpa="x")}, "OwnedByHpa", "OwnedByHpa"),
        ({"grown_s_ago": 9.0, "settle_s": 10.0}, None, "GrownRecently"),
        ({"grown_s_ago": 10.0, "settle_s": 10.0}, None, None),
    ],
)
def test_what_stands_against_growing_and_shrinking(more, out, in_):
    assert (said(OUT, **more), said(IN, **more)) == (out, in_)


@pytest.mark.parametrize(
    ("state", "out", "in_"),
    [
        ({"observed": False}, "NotObservedYet", "NotObservedYet"),
        ({"updating": True}, None, "UpdateGoingOn"),
        ({"hpa": "x"}, "OwnedByHpa", "OwnedByHpa"),
        ({"minimum": 4}, None, "BetweenZeroAndMinimum"),
        ({"minimum": 7}, "BetweenZeroAndMinimum", "BetweenZeroAndMinimum"),
    ],
)
def test_states_of_the_object_itself(state, out, in_):
    moves = [of(move, **state) for move in (OUT, IN)]
    assert tuple(map(said, moves)) == (out, in_)


def test_zero_is_no_number_between_zero_and_the_minimum():
    assert said(Move(HERE, 0, "NoTraffic", "", "decode")) is None


def test_an_hpa_on_one_replica_of_the_set_keeps_us_from_its_siblings():
    sibling = target("chat-1-decode", index=1, hpa="x")
    assert said(OUT, tree=tree(component(HERE, sibling))) == "OwnedByHpa"
    assert said(OUT, tree=tree(component(HERE), component(sibling, name="prefill"))) is None
    assert said(SET, tree=tree(component(sibling))) == "OwnedByHpa"


def test_who_says_why_names_the_remedy():
    view = View(move=of(OUT, hpa="x"), tree=tree(), mode="direct")
    message = first_objection(view, GUARDS).message
    assert message.startswith("HorizontalPodAutoscaler x scales PodClique/chat-0-decode; delete it")
