"""Which objects move: tables, and what holds for any wish, tree and budget."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grove_dp.scaling.levels import allot
from grove_dp.scaling.spec import ComponentSpec, Span
from tests.scaling.samples import component, spec, target, tree, wish


def to(allotted):
    return {move.target.name: move.to for move in allotted.moves}


def two(replicas, other, **more):
    first = target("chat-0-decode", replicas, **more)
    return component(first, target("chat-1-decode", other, index=1, **more))


@pytest.mark.parametrize(
    ("there", "grow_to", "shrink_to", "then"),
    [
        ((2, 2), 4, 4, {}),
        ((2, 2), 5, 5, {"chat-0-decode": 3}),
        ((2, 1), 5, 5, {"chat-0-decode": 3, "chat-1-decode": 2}),
        ((2, 2), 1, 3, {"chat-1-decode": 1}),
        ((3, 2), 1, None, {}),
        ((8, 8), 1, 2, {"chat-0-decode": 6, "chat-1-decode": 6}),  # a quarter at a time
        ((1, 1), 100, 100, {"chat-0-decode": 3, "chat-1-decode": 3}),  # and so many more at once
        ((0, 0), 1, 1, {"chat-0-decode": 1}),
    ],
)
def test_replicas_are_spread_over_the_set(there, grow_to, shrink_to, then):
    allotted = allot(spec(), tree(two(*there), replicas=2), {"decode": wish(grow_to, shrink_to)})
    assert to(allotted) == then


@pytest.mark.parametrize(
    ("given_", "then"),
    [
        (target(replicas=1, minimum=3), 3),
        (target(replicas=2, minimum=1, floor=4), 4),
        (target(replicas=9, ceiling=5), 5),
        (target(replicas=0, minimum=3), 3),  # from nothing to what must be there at once
        (target(replicas=4, minimum=3), 4),
    ],
)
def test_bounds_of_the_object_itself_are_kept(given_, then):
    allotted = allot(spec(), tree(component(given_)), {"decode": wish(1 if then != 4 else 4, None)})
    assert to(allotted).get("chat-0-decode", given_.replicas) == then


def test_only_with_leave_and_without_any_wish_all_of_it_goes():
    there = target(replicas=3, minimum=2)
    nothing = {"decode": wish(0, 0)}
    assert to(allot(spec(), tree(component(there)), nothing)) == {"chat-0-decode": 2}
    assert to(allot(spec(), tree(component(there, scale_to_zero=True)), nothing)) == {"chat-0-decode": 0}
    some = {"decode": wish(1, 1)}
    assert to(allot(spec(), tree(component(there, scale_to_zero=True)), some)) == {"chat-0-decode": 2}


def test_what_found_no_place_is_asked_for_elsewhere_and_goes_first():
    here = target("chat-0-decode", 4, scheduled=2)
    there = target("chat-1-decode", 2, index=1)
    pair = component(here, there)
    refused = {here.key}
    allotted = allot(spec(), tree(pair, replicas=2), {"decode": wish(6, 6)}, refused)
    assert to(allotted) == {"chat-1-decode": 4}
    allotted = allot(spec(), tree(pair, replicas=2), {"decode": wish(3, 4)}, refused)
    assert to(allotted) == {"chat-0-decode": 2}
    alone = allot(spec(), tree(component(here)), {"decode": wish(4, 4)}, refused)
    assert (to(alone), alone.limits) == ({}, {"decode": "CapacityRefused"})


def test_under_a_budget_the_poorest_share_is_as_large_as_can_be():
    prefill = component(target("chat-0-prefill", 1), name="prefill", gpus=4)
    decode = component(target("chat-0-decode", 1), gpus=1)
    wishes = {"prefill": wish(4), "decode": wish(8)}
    allotted = allot(spec(gpu_budget=12), tree(prefill, decode), wishes)
    assert to(allotted) == {"chat-0-prefill": 2, "chat-0-decode": 4}
    assert set(allotted.limits.values()) == {"BudgetExhausted"}


def test_over_budget_what_has_most_of_its_wish_gives_first():
    prefill = component(target("chat-0-prefill", 4), name="prefill", gpus=2)
    decode = component(target("chat-0-decode", 4), gpus=1)
    wishes = {"prefill": wish(2), "decode": wish(4)}
    allotted = allot(spec(gpu_budget=9), tree(prefill, decode), wishes)
    assert to(allotted) == {"chat-0-prefill": 2}
    (move,) = allotted.moves
    assert move.reason == "OverBudget"


def test_what_empties_still_has_its_gpus():
    prefill = component(target("chat-0-prefill", 4), name="prefill", gpus=1)
    decode = component(target("chat-0-decode", 4), gpus=1)
    wishes = {"prefill": wish(1, 1), "decode": wish(6)}
    allotted = allot(spec(gpu_budget=8), tree(prefill, decode), wishes)
    assert to(allotted) == {"chat-0-prefill": 3}
    assert allotted.limits == {"decode": "BudgetExhausted"}


FULL = component(target(replicas=3, ceiling=3, floor=1))


@pytest.mark.parametrize(
    ("span", "ready", "then"),
    [
        (Span(min=1, max=3), True, {"chat": 2}),
        (Span(min=1, max=3), False, {}),
        (Span(min=1, max=1), True, {}),
        (None, True, {}),
        (Span(min=2, max=3), False, {"chat": 2}),
    ],
)
def test_the_set_grows_where_its_components_have_no_room(span, ready, then):
    allotted = allot(spec(set_replicas=span), tree(FULL), {"decode": wish(5, 5)}, (), ready)
    assert to(allotted) == then


def test_the_set_shrinks_when_the_others_hold_all():
    settled = spec(set_replicas=Span(min=1, max=3))
    assert to(allot(settled, tree(two(3, 1), replicas=2), {"decode": wish(2, 3)})) == {"chat": 1}
    assert to(allot(settled, tree(two(2, 2), replicas=2), {"decode": wish(2, 3)})) == {"chat-1-decode": 1}
    assert to(allot(settled, tree(two(3, 1), replicas=2), {"decode": wish(2, None)})) == {}


def test_what_is_scaled_with_the_set_counts_in_its_replicas():
    whole = component(two(2, 2).targets[0], level="set", at_first=2)
    settled = spec(ComponentSpec(name="decode", level="set"), set_replicas=Span(min=1, max=5))
    assert to(allot(settled, tree(whole), {"decode": wish(5, 5)})) == {"chat": 2}
    assert to(allot(settled, tree(whole, replicas=3), {"decode": wish(3, 4)})) == {"chat": 2}
    assert to(allot(settled, tree(whole, replicas=3), {"decode": wish(5, 6)})) == {}


# ------------------------------------------------------------ whatever comes

counts = st.integers(0, 12)


@st.composite
def targets(draw, index):
    minimum = draw(st.integers(1, 3))
    floor = draw(st.integers(0, 4))
    ceiling = draw(st.none() | st.integers(max(minimum, floor), 14))
    replicas = draw(counts)
    scheduled = draw(st.integers(0, replicas))
    return target(
        f"chat-{index}-x", replicas, minimum, index, floor=floor, ceiling=ceiling, scheduled=scheduled
    )


@st.composite
def scenes(draw):
    components, wishes = [], {}
    for name in ("prefill", "decode"):
        made = tuple(
            msgspec.structs.replace(each, name=f"{each.name}-{name}")
            for each in (draw(targets(0)), draw(targets(1)))
        )
        zero = draw(st.booleans())
        components.append(component(*made, name=name, gpus=draw(st.integers(0, 4)), scale_to_zero=zero))
        grow_to = draw(st.integers(0 if zero else 1, 20))
        wishes[name] = wish(grow_to, draw(st.none() | st.integers(grow_to, 24)))
    every = [each for one in components for each in one.targets]
    refused = {each.key for each in every if each.pending and draw(st.booleans())}
    return components, wishes, refused, draw(st.none() | st.integers(1, 60))


@settings(max_examples=300)
@given(scenes())
def test_no_target_ends_between_nothing_and_its_minimum(scene):
    components, wishes, refused, budget = scene
    for move in allot(spec(gpu_budget=budget), tree(*components, replicas=2), wishes, refused).moves:
        assert move.to == 0 or move.to >= max(move.target.minimum, move.target.floor)
        if move.grows:
            assert move.target.ceiling is None or move.to <= max(move.target.ceiling, move.target.minimum)


@settings(max_examples=300)
@given(scenes())
def test_growth_never_breaks_the_budget_and_never_asks_where_it_was_refused(scene):
    components, wishes, refused, budget = scene
    moves = allot(spec(gpu_budget=budget), tree(*components, replicas=2), wishes, refused).moves
    then = {move.target.key: move for move in moves}
    grown = [move for move in moves if move.grows and move.reason == "TokenLoad"]
    assert all(move.target.key not in refused for move in grown)
    if budget is not None and grown:
        held = sum(
            one.gpus * max(each.replicas, then[each.key].to if each.key in then else 0)
            for one in components
            for each in one.targets
        )
        assert held <= budget


@settings(max_examples=300)
@given(scenes())
def test_nothing_goes_that_may_not_go(scene):
    components, wishes, refused, _ = scene
    for one in components:
        allotted = allot(spec(), tree(one, replicas=2), wishes, refused)
        sound = all(
            each.ceiling is None or each.replicas <= max(each.ceiling, each.minimum) for each in one.targets
        )
        if sound and wishes[one.spec.name].shrink_to is None:
            assert all(move.grows for move in allotted.moves)


@settings(max_examples=300)
@given(scenes())
def test_once_made_a_second_look_moves_nothing_the_other_way(scene):
    """A step out is never followed by a step in under the same wish, nor the other way about."""
    components, wishes, _, _ = scene
    first = {move.target.key: move for move in allot(spec(), tree(*components, replicas=2), wishes).moves}

    def after(each):
        count = first[each.key].to if each.key in first else each.replicas
        return msgspec.structs.replace(each, replicas=count, scheduled=count)

    made = [
        msgspec.structs.replace(one, targets=tuple(after(each) for each in one.targets)) for one in components
    ]
    for move in allot(spec(), tree(*made, replicas=2), wishes).moves:
        before = first.get(move.target.key)
        if before is not None and before.reason == "TokenLoad":
            assert before.grows == move.grows
