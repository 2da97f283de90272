"""The router on its own: what it chooses, what it learns, what it refuses."""

import numpy as np
import pytest

import grove_dp
from grove_dp.routing.router import Router
from grove_dp.tokens.blocks import Scope

SCOPE = Scope("llama", block_size=16)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def router(clock: Clock) -> Router:
    made = Router(secret=b"s", slots=8, predict_s=0, clock=clock)
    for slot in range(4):
        made.add_worker(slot, f"gpu-{slot}")
    return made


def prompt(seed: int, tokens: int = 4000) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 32_000, tokens, dtype=np.uint32)


def test_it_is_there_under_the_packages_own_name():
    assert grove_dp.Router is Router
    assert grove_dp.PrefixIndex(secret=b"s").names(prompt(1), SCOPE).shape == (250,)
    with pytest.raises(AttributeError, match="Ruter"):
        grove_dp.Ruter  # noqa: B018


@pytest.mark.parametrize("slot", range(4))
def test_the_worker_that_holds_the_prompt_is_chosen(router, slot):
    tokens = prompt(2)
    router.index.store(slot, router.index.names(tokens, SCOPE))
    placed = router.place(tokens, SCOPE)
    assert placed.slot == slot
    assert placed.cached_tokens == 3984  # all whole blocks but the one with the last token
    scores = router.scores(tokens.tobytes(), SCOPE)
    assert scores.shape == (8,)
    assert np.isinf(scores[4:]).all()


def test_prompts_of_another_scope_share_nothing(router):
    tokens = prompt(3)
    router.index.store(2, router.index.names(tokens, SCOPE))
    other = router.place(tokens, Scope("llama", lora="sql", block_size=16))
    assert other.cached_tokens == 0


def test_equal_new_prompts_go_to_the_same_worker_from_every_router(clock):
    chosen = set()
    for _ in range(3):
        router = Router(secret=b"s", slots=8, predict_s=0, clock=clock)
        for slot in range(4):
            router.add_worker(slot, f"gpu-{slot}")
        chosen.add(router.place(prompt(4), SCOPE).slot)
    assert len(chosen) == 1


def test_load_spreads_over_workers(router):
    placed = [router.place(prompt(10 + seed), SCOPE) for seed in range(40)]
    counts = np.bincount([one.slot for one in placed], minlength=4)
    assert counts.min() >= 6
    for one in placed:
        one.end(10)


def test_a_prompt_that_was_just_placed_is_expected_there(clock):
    router = Router(secret=b"s", slots=4, predict_s=5, clock=clock)
    router.add_worker(0, "a")
    router.add_worker(1, "b")
    first = router.place(prompt(5), SCOPE)
    again = router.place(prompt(5), SCOPE)
    assert (again.slot, again.cached_tokens) == (first.slot, 3984)
    clock.now += 20
    assert router.place(prompt(5), SCOPE).cached_tokens == 0


def test_rates_are_learnt_from_first_tokens(router, clock):
    """A worker ten times as fast as was thought: predictions follow."""
    before = router.scores(prompt(6), SCOPE)[0]
    for seed in range(200):
        placed = router.place(prompt(100 + seed), SCOPE)
        clock.now += 0.02
        placed.first_token()
        clock.now += 0.05
        placed.end(output_tokens=10)
    assert router.scores(prompt(6), SCOPE)[0] < before / 3


def test_no_worker_and_full_workers_are_no_place(clock):
    router = Router(slots=4, clock=clock)
    assert router.place(prompt(7), SCOPE) is None
    router.add_worker(0, "a", max_inflight=1)
    placed = router.place(prompt(7), SCOPE)
    assert router.place(prompt(8), SCOPE) is None
    placed.end(1)
    assert router.place(prompt(8), SCOPE).slot == 0


def test_a_placement_ends_once_and_a_forgotten_one_ends_by_itself(clock):
    router = Router(slots=4, clock=clock)
    router.add_worker(0, "a", max_inflight=1)
    placed = router.place(prompt(9), SCOPE)
    placed.end(1)
    with pytest.raises(ValueError, match="ended already"):
        placed.end(1)
    router.place(prompt(9), SCOPE)  # forgotten at once
    assert router.place(prompt(9), SCOPE) is not None


def test_what_is_wrong_is_named(router):
    with pytest.raises(ValueError, match=r"slot must be 0\.\.7, got 8"):
        router.add_worker(8, "far")


def test_a_worker_that_left_holds_nothing_and_gets_nothing(router):
    tokens = prompt(11)
    router.index.store(3, router.index.names(tokens, SCOPE))
    router.remove_worker(3)
    placed = router.place(tokens, SCOPE)
    assert placed.slot != 3
    assert placed.cached_tokens == 0
