"""The engine: scheduling, prefix cache, preemption, determinism, step time."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grove_dp.sim.blocks import BlockPool
from grove_dp.sim.digests import Scope
from grove_dp.sim.engine import Engine, EngineLimits
from grove_dp.sim.profiles import PROFILES, StepWork, profile_named
from grove_dp.sim.sequences import CacheUse, Output, Sequence

TINY = profile_named("tiny-cpu")


def engine_with(**limits: int) -> Engine:
    return Engine(
        TINY, EngineLimits(**{"block_size": 4, "num_gpu_blocks": 65, "max_num_batched_tokens": 64, **limits})
    )


def run_dry(engine: Engine) -> list[list[Output]]:
    """Outputs of every step until nothing is left."""
    steps = []
    while not engine.idle:
        steps.append(engine.step()[1])
    return steps


def answer_of(sequence: Sequence) -> list[int]:
    return sequence.tokens[sequence.prompt_len :]


def test_a_prompt_yields_its_first_token_in_the_step_that_computes_it() -> None:
    engine = engine_with()
    engine.submit(range(10), 3)
    steps = run_dry(engine)
    assert [[o.finish_reason for o in step] for step in steps] == [[None], [None], ["length"]]


def test_a_long_prompt_is_computed_in_pieces_of_the_token_budget() -> None:
    engine = engine_with(max_num_batched_tokens=16)
    engine.submit(range(40), 1)
    assert [len(step) for step in run_dry(engine)] == [0, 0, 1]


def test_running_sequences_go_before_waiting_prompts() -> None:
    engine = engine_with(max_num_batched_tokens=16)
    first = engine.submit(range(8), 10)
    engine.step()
    engine.submit(range(100, 140), 1)
    engine.step()
    assert first.generated == 2
    assert engine.last_work.decode_seqs == 1
    assert engine.last_work.prefill_tokens == 15


def test_an_equal_prefix_is_taken_from_the_cache_in_whole_blocks() -> None:
    engine = engine_with()
    engine.submit(range(14), 1)
    run_dry(engine)
    again = engine.submit([*range(10), 99, 98, 97], 1)
    run_dry(engine)
    assert again.cached_tokens == 8


def test_the_last_token_of_a_prompt_is_always_computed() -> None:
    engine = engine_with()
    for _ in range(2):
        sequence = engine.submit(range(8), 1)
        run_dry(engine)
    assert sequence.cached_tokens == 4


def test_generated_tokens_are_cached_too() -> None:
    engine = engine_with()
    first = engine.submit(range(6), 8)
    run_dry(engine)
    follow_up = engine.submit([*first.tokens, 7], 1)
    run_dry(engine)
    assert follow_up.cached_tokens == 12


def test_a_salt_keeps_prefixes_apart() -> None:
    engine = engine_with()
    engine.submit(range(14), 1, cache=CacheUse(Scope("a")))
    run_dry(engine)
    other, same = (
        engine.submit(range(14), 1, cache=CacheUse(Scope("b"))),
        engine.submit(range(14), 1, cache=CacheUse(Scope("a"))),
    )
    run_dry(engine)
    assert (other.cached_tokens, same.cached_tokens) == (0, 12)


def test_the_tail_of_the_oldest_unused_prefix_is_evicted_first() -> None:
    engine = engine_with(num_gpu_blocks=9)
    for start in (0, 100, 200):
        engine.submit(range(start, start + 12), 1)
        run_dry(engine)
    newest = engine.submit(range(200, 212), 1)
    run_dry(engine)
    oldest = engine.submit(range(12), 1)
    run_dry(engine)
    assert (newest.cached_tokens, oldest.cached_tokens) == (8, 4)


def test_a_prompt_waits_until_all_of_it_fits() -> None:
    engine = engine_with(num_gpu_blocks=9)
    engine.submit(range(24), 8)
    late = engine.submit(range(100, 112), 1)
    engine.step()
    assert (engine.running, engine.waiting) == (1, 1)
    run_dry(engine)
    assert late.finish_reason == "length"


def test_without_blocks_the_last_admitted_is_preempted_and_ends_with_the_same_answer() -> None:
    alone = engine_with()
    wanted = alone.submit(range(100, 108), 20)
    run_dry(alone)

    engine = engine_with(num_gpu_blocks=9)
    engine.submit(range(8), 20)
    second = engine.submit(range(100, 108), 20)
    run_dry(engine)
    assert engine.totals.preemptions > 0
    assert second.preemptions > 0
    assert answer_of(second) == answer_of(wanted)


def test_an_aborted_sequence_gives_its_blocks_back_at_once() -> None:
    engine = engine_with()
    running, waiting = engine.submit(range(20), 50), engine.submit(range(50, 60), 5)
    engine.step()
    for sequence in (running, waiting, running):
        engine.abort(sequence)
    assert engine.idle
    assert engine.pool.free == engine.pool.usable
    assert engine.totals.aborted == 2


def test_an_answer_ends_where_it_would_end_by_itself() -> None:
    engine = engine_with()
    free, scripted = engine.submit(range(5), 50, answer_len=3), engine.submit(range(9), 50, script=[8, 9])
    run_dry(engine)
    assert (free.generated, free.finish_reason) == (4, "stop")
    assert answer_of(scripted) == [8, 9, 2]


def test_a_sequence_that_can_never_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="exceed the cache"):
        engine_with(num_gpu_blocks=9).submit(range(30), 10)


def test_equal_seeds_give_equal_runs() -> None:
    def answers(seed: int) -> list[list[int]]:
        engine = Engine(TINY, EngineLimits(block_size=4), seed=seed)
        sequences = [engine.submit(range(n, n + 9), 12) for n in range(5)]
        run_dry(engine)
        return [answer_of(s) for s in sequences]

    assert answers(1) == answers(1) != answers(2)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), blocks=st.integers(12, 40), budget=st.integers(4, 40))
def test_whatever_happens_no_block_is_lost(seed: int, blocks: int, budget: int) -> None:
    rng = random.Random(seed)
    engine = engine_with(num_gpu_blocks=blocks, max_num_batched_tokens=budget, max_num_seqs=6)
    live: list[Sequence] = []
    for _ in range(120):
        if rng.random() < 0.4:
            start = rng.choice([0, 0, 100])
            live.append(engine.submit(range(start, start + rng.randint(1, 24)), rng.randint(1, 12)))
        if live and rng.random() < 0.1:
            engine.abort(rng.choice(live))
        engine.step()
        held = {block for sequence in engine.live() for block in sequence.blocks}
        assert len(held) + engine.pool.free == engine.pool.usable
    run_dry(engine)
    assert engine.pool.free == engine.pool.usable
    assert all(sequence.finish_reason for sequence in live)


def test_a_twin_block_keeps_a_hash_findable_when_the_other_is_evicted() -> None:
    pool = BlockPool(4)
    first, second, _ = pool.take(3)
    pool.store(first, 77)
    pool.store(second, 77)
    pool.release([first])
    pool.take(1)
    assert pool.match([77]) == [second]


def test_the_cache_can_be_forgotten_only_when_nobody_uses_it() -> None:
    engine = engine_with()
    engine.submit(range(9), 2)
    engine.step()
    assert not engine.reset_prefix_cache()
    run_dry(engine)
    assert engine.reset_prefix_cache()
    assert engine.pool.cached == 0


def test_step_times_are_near_the_measured_ones() -> None:
    one = StepWork(decode_seqs=1, decode_context=500)
    assert profile_named("llama-8b-h100").step_s(one) == pytest.approx(0.0065, rel=0.1)
    assert profile_named("llama-70b-tp8-h100").step_s(one) == pytest.approx(0.0115, rel=0.15)
    assert TINY.step_s(one) == pytest.approx(0.0019, rel=0.1)
    chunk = StepWork(prefill_tokens=8192, prefill_attention=8192 * 4096)
    assert 20_000 < 8192 / profile_named("llama-8b-h100").step_s(chunk) < 37_000


def test_a_step_never_gets_shorter_by_more_work() -> None:
    for profile in PROFILES.values():
        small = profile.step_s(StepWork(4, 4000, 100, 5e4))
        assert profile.step_s(StepWork(8, 8000, 100, 5e4)) >= small
        assert profile.step_s(StepWork(4, 4000, 5000, 5e7)) > small


def test_an_unknown_profile_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="llama-8b-h100"):
        profile_named("abacus")
