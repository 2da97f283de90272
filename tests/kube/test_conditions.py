"""Conditions: what changes, what stays, and when it is worth a write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grove_dp.kube.conditions import Stated, condition, holds, stated, without

THEN = 1_800_000_000.0
LATER = THEN + 90.5
READY = Stated("Ready", True, "AllReady", "4 of 4", 3)


def fresh(*wanted):
    return stated(None, wanted, now=THEN).conditions


def test_the_first_is_written_whole_even_where_the_list_is_null():
    outcome = stated(None, [READY], now=THEN)
    assert outcome.changed
    assert outcome.conditions == [
        {
            "type": "Ready",
            "status": "True",
            "reason": "AllReady",
            "message": "4 of 4",
            "lastTransitionTime": "2027-01-15T08:00:00Z",
            "observedGeneration": 3,
        }
    ]


def test_saying_the_same_again_is_no_change():
    held = fresh(READY)
    assert stated(held, [READY], now=LATER) == (held, False)


def test_the_time_of_transition_changes_with_the_status_only():
    held = fresh(READY)
    told = stated(held, [READY._replace(reason="Enough", message="5 of 5", generation=4)], now=LATER)
    assert told.changed
    assert told.conditions[0]["lastTransitionTime"] == held[0]["lastTransitionTime"]
    assert told.conditions[0]["observedGeneration"] == 4
    turned = stated(held, [Stated("Ready", False, "PodGone")], now=LATER)
    assert turned.conditions[0]["lastTransitionTime"] == "2027-01-15T08:01:30Z"
    unknown = stated(held, [Stated("Ready", None, "NoAnswer")], now=LATER)
    assert unknown.conditions[0]["status"] == "Unknown"


def test_a_generation_that_is_not_told_stays():
    held = fresh(READY)
    assert stated(held, [READY._replace(generation=None)], now=LATER) == (held, False)


def test_what_is_not_ours_stays_where_and_as_it_is():
    foreign = {"type": "Theirs", "status": "True", "severity": {"level": 3}}
    ours = {**fresh(READY)[0], "newField": [1, 2]}
    outcome = stated(
        [foreign, ours, {}], [Stated("Ready", False, "PodGone"), READY._replace(type="New")], now=LATER
    )
    assert [held.get("type") for held in outcome.conditions] == ["Theirs", "Ready", None, "New"]
    assert outcome.conditions[0] == foreign
    assert outcome.conditions[1]["newField"] == [1, 2]


def test_a_second_one_of_our_type_goes():
    held = fresh(READY)
    outcome = stated([*held, {"type": "Ready", "status": "False"}], [READY], now=LATER)
    assert outcome == (held, True)


def test_a_transition_time_that_is_missing_is_filled_in():
    held = fresh(READY)[0]
    outcome = stated([{**held, "lastTransitionTime": None}], [READY], now=LATER)
    assert outcome.changed
    assert outcome.conditions[0]["lastTransitionTime"] == "2027-01-15T08:01:30Z"


def test_reading_them():
    held = fresh(READY, Stated("Healthy", None, "NotAsked"), Stated("Spread", False, "TooFew"))
    assert condition(held, "Ready")["reason"] == "AllReady"
    assert condition(None, "Ready") is None
    assert [holds(held, name) for name in ("Ready", "Spread", "Healthy", "Absent")] == [
        True,
        False,
        None,
        None,
    ]
    assert holds(None, "Ready") is None


def test_taking_some_away():
    held = fresh(READY, Stated("Healthy", None, "NotAsked"))
    assert without(held, "Ready", "Absent") == (held[1:], True)
    assert without(held, "Absent") == (held, False)
    assert without(None, "Ready") == ([], False)


@pytest.mark.parametrize("reason", ["", "two words", "1st", "Ends:", "x" * 1025])
def test_a_reason_that_the_api_would_refuse_is_refused_here(reason):
    with pytest.raises(ValueError, match="condition Ready: a reason is one CamelCase word"):
        fresh(READY._replace(reason=reason))


def test_a_message_is_cut_to_what_the_api_takes():
    assert len(fresh(READY._replace(message="x" * 40_000))[0]["message"]) == 32768


TYPES = st.sampled_from(["Ready", "Healthy", "Theirs"])
STATED = st.builds(
    Stated, TYPES, st.none() | st.booleans(), st.sampled_from(["A", "B"]), st.sampled_from(["", "m"])
)
HELD = st.lists(
    st.fixed_dictionaries(
        {"type": TYPES, "status": st.sampled_from(["True", "False", "Unknown"])},
        optional={"more": st.integers()},
    ),
    max_size=4,
)


@given(held=st.none() | HELD, wanted=st.lists(STATED, max_size=3))
def test_stating_twice_changes_nothing_more_and_never_loses_a_foreign_one(held, wanted):
    first = stated(held, wanted, now=THEN)
    assert stated(first.conditions, wanted, now=LATER) == (first.conditions, False)
    types = {one.type for one in wanted}
    assert [c for c in first.conditions if c["type"] not in types] == [
        c for c in held or () if c["type"] not in types
    ]
    for one in {one.type: one for one in wanted}.values():
        assert holds(first.conditions, one.type) == one.holds
    assert first.changed == (first.conditions != list(held or ()))
