"""What an engine tells about its cached blocks: the behaviours of vLLM 0.32 that a router must survive."""

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from grove_dp.sim.cache_events import AllBlocksCleared, BlockRemoved, BlockStored, CacheEvent, Key
from grove_dp.sim.digests import Adapter, Digests, Scope
from grove_dp.sim.engine import Engine, EngineLimits
from grove_dp.sim.profiles import profile_named
from grove_dp.sim.sequences import CacheUse, Sequence

TINY = profile_named("tiny-cpu")
NAMES = Digests("sha256_cbor")


def engine_with(**limits: int) -> Engine:
    values = {"block_size": 4, "num_gpu_blocks": 65, "max_num_batched_tokens": 64, **limits}
    return Engine(TINY, EngineLimits(**values), digests=NAMES)


def run_dry(engine: Engine) -> list[list[CacheEvent]]:
    """Events of every step until nothing is left, without the steps that had none."""
    batches = []
    while not engine.idle:
        batches.append(engine.step().events)
    return [batch for batch in batches if batch]


def chain_of(tokens: range | list[int], blocks: int, scope: Scope = Scope()) -> list[Key]:  # noqa: B008
    found: list[Key] = [NAMES.root(scope)]
    for block in range(blocks):
        found.append(NAMES.name(found[-1], tokens[block * 4 : block * 4 + 4], scope, block))
    return found[1:]


class Index:
    """What a subscriber knows: copies of each hash."""

    def __init__(self) -> None:
        self.copies: Counter[Key] = Counter()

    def apply(self, events: list[CacheEvent]) -> None:
        for event in events:
            if isinstance(event, BlockStored):
                self.copies.update(event.block_hashes)
            elif isinstance(event, BlockRemoved):
                self.copies.subtract(event.block_hashes)
            else:
                self.copies.clear()

    def depth(self, chain: list[Key]) -> int:
        return next((n for n, key in enumerate(chain) if self.copies[key] < 1), len(chain))


def test_a_prompt_is_announced_once_with_parent_tokens_and_size() -> None:
    engine = engine_with()
    engine.submit(range(10), 1)
    ((event,),) = run_dry(engine)
    assert event == BlockStored(
        block_hashes=chain_of(range(10), 2),
        parent_block_hash=None,
        token_ids=list(range(8)),
        block_size=4,
        extra_keys=[None, None],
    )


def test_a_long_prompt_is_announced_piece_by_piece_each_behind_the_last() -> None:
    engine = engine_with(max_num_batched_tokens=8)
    engine.submit(range(18), 1)
    first, second = (batch[0] for batch in run_dry(engine))
    assert isinstance(first, BlockStored)
    assert isinstance(second, BlockStored)
    assert second.parent_block_hash == first.block_hashes[-1]
    assert [*first.token_ids, *second.token_ids] == list(range(16))


def test_a_generated_block_is_announced_when_its_last_token_is_computed_not_when_it_is_sampled() -> None:
    engine = engine_with()
    sequence = engine.submit(range(3), 3)
    assert engine.step().events == []  # three tokens computed, the fourth sampled
    (event,) = engine.step().events
    assert isinstance(event, BlockStored)
    assert event.token_ids == sequence.tokens[:4]
    ends_on_the_edge = engine_with()
    ends_on_the_edge.submit(range(3), 1)
    assert run_dry(ends_on_the_edge) == []


def test_a_hit_is_silent_unless_a_full_report_is_asked_for() -> None:
    engine = engine_with()
    engine.submit(range(9), 1)
    run_dry(engine)
    engine.submit(range(9), 1)
    assert run_dry(engine) == []
    engine.submit(range(10), 1, cache=CacheUse(report_hits=True))
    ((event,),) = run_dry(engine)
    assert isinstance(event, BlockStored)
    assert (event.block_hashes, event.parent_block_hash) == (chain_of(range(9), 2), None)
    assert engine.pool.cached == 2


def test_a_prompt_of_whole_blocks_is_stored_twice_and_removed_twice() -> None:
    engine = engine_with(num_gpu_blocks=7)
    for _ in range(2):
        engine.submit(range(8), 1)
        batches = run_dry(engine)
    ((again,),) = batches
    assert isinstance(again, BlockStored)
    twin = chain_of(range(8), 2)[1]
    assert (again.block_hashes, again.parent_block_hash) == ([twin], chain_of(range(8), 2)[0])
    assert engine.pool.cached == 3
    engine.submit(range(100, 122), 1)
    ((*removed, stored),) = run_dry(engine)
    assert [event.block_hashes for event in removed if isinstance(event, BlockRemoved)][:2] == [[twin]] * 2
    assert isinstance(stored, BlockStored)


def test_equal_prompts_computed_side_by_side_are_stored_twice() -> None:
    engine = engine_with(long_prefill_tokens=8)
    index = Index()
    for _ in range(2):
        engine.submit(range(21), 1)
    for batch in run_dry(engine):
        index.apply(batch)
    assert [index.copies[key] for key in chain_of(range(21), 5)] == [1, 1, 2, 2, 2]
    assert engine.pool.cached == 8


def test_evictions_come_one_by_one_and_before_the_store_that_needed_the_place() -> None:
    engine = engine_with(num_gpu_blocks=7)
    engine.submit(range(16), 1)
    run_dry(engine)
    engine.submit(range(100, 116), 1)
    ((*removed, stored),) = run_dry(engine)
    assert [event.block_hashes for event in removed if isinstance(event, BlockRemoved)] == [
        [key] for key in reversed(chain_of(range(16), 4)[2:])
    ]
    assert isinstance(stored, BlockStored)


def test_a_preempted_sequence_keeps_its_blocks_announced_until_they_are_reused() -> None:
    engine = engine_with(num_gpu_blocks=9)
    index = Index()
    engine.submit(range(8), 20)
    engine.submit(range(100, 108), 20)
    while not engine.totals.preemptions:
        index.apply(engine.step().events)
    assert index.depth(chain_of(range(100, 108), 2)) >= 1
    while not engine.idle:
        index.apply(engine.step().events)
        assert sum(index.copies.values()) == engine.pool.cached


def test_a_reset_is_told_with_the_next_step_once_for_each_reset() -> None:
    engine = engine_with()
    engine.submit(range(9), 1)
    run_dry(engine)
    assert engine.reset_prefix_cache()
    assert engine.reset_prefix_cache()
    assert engine.step().events == []  # nothing to do: no step, no events
    engine.submit(range(2), 1)
    assert run_dry(engine) == [[AllBlocksCleared(), AllBlocksCleared()]]


def test_salt_and_adapter_are_in_the_hash_and_in_the_extra_keys() -> None:
    adapter = Adapter(3, "tone", "/adapters/tone")
    scope = Scope("tenant", adapter)
    engine = engine_with()
    engine.submit(range(9), 1)
    engine.submit(range(9), 1, cache=CacheUse(scope, session_id="s-1"))
    ((plain, scoped),) = run_dry(engine)
    assert isinstance(plain, BlockStored)
    assert isinstance(scoped, BlockStored)
    assert scoped.block_hashes == chain_of(range(9), 2, scope)
    assert not set(plain.block_hashes) & set(scoped.block_hashes)
    assert scoped.extra_keys == [("tone", "tenant"), ("tone",)]
    assert (scoped.lora_id, scoped.lora_name, scoped.session_id) == (3, "tone", "s-1")


def test_who_wants_prompt_logprobs_finds_nothing_but_leaves_blocks() -> None:
    engine = engine_with()
    engine.submit(range(9), 1)
    run_dry(engine)
    again = engine.submit(range(9), 1, cache=CacheUse(read=False))
    ((event,),) = run_dry(engine)
    assert again.cached_tokens == 0
    assert isinstance(event, BlockStored)
    assert event.block_hashes == chain_of(range(9), 2)


def test_without_listeners_blocks_have_quick_names_and_nothing_is_told() -> None:
    engine = Engine(TINY, EngineLimits(block_size=4, num_gpu_blocks=9))
    for start in (0, 100, 200):
        sequence = engine.submit(range(start, start + 12), 1)
        assert run_dry(engine) == []
    assert all(isinstance(key, int) for key in sequence.hashes)
    cold = Engine(TINY, EngineLimits(block_size=4, prefix_caching=False), digests=NAMES)
    cold.submit(range(12), 1)
    assert run_dry(cold) == []


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 100_000), blocks=st.integers(12, 40), budget=st.integers(4, 40))
def test_whoever_follows_the_events_knows_every_copy_and_predicts_every_hit(
    seed: int, blocks: int, budget: int
) -> None:
    rng = random.Random(seed)
    engine = engine_with(num_gpu_blocks=blocks, max_num_batched_tokens=budget, max_num_seqs=6)
    index, live = Index(), list[Sequence]()
    for _ in range(120):
        if rng.random() < 0.4:
            start, scope = rng.choice([0, 0, 100]), Scope(rng.choice(["", "", "b"]))
            prompt = range(start, start + rng.randint(1, 24))
            if engine.idle:
                index.apply(engine.step().events)
                predicted = 4 * index.depth(chain_of(prompt, (len(prompt) - 1) // 4, scope))
                told = engine.submit(prompt, rng.randint(1, 12), cache=CacheUse(scope))
                index.apply(engine.step().events)
                assert told.cached_tokens == predicted
            else:
                live.append(engine.submit(prompt, rng.randint(1, 12), cache=CacheUse(scope)))
        if live and rng.random() < 0.1:
            engine.abort(rng.choice(live))
        index.apply(engine.step().events)
        assert sum(index.copies.values()) == engine.pool.cached
        assert min(index.copies.values(), default=0) >= 0
        assert all(engine.pool.match([key]) for key, copies in index.copies.items() if copies)
