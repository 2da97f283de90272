"""The index as one uses it from Python: tokens in, matched blocks per worker out."""

import numpy as np
import pytest

from grove_dp.routing.index import CPU, GPU, PREDICTED, PrefixIndex, Scope, UnknownParent

LLAMA = Scope("llama", block_size=4)


def tokens(n, seed=1):
    return np.random.default_rng(seed).integers(0, 32000, n, np.uint32)


def test_a_prompt_is_matched_up_to_its_last_whole_block():
    index, prompt = PrefixIndex(secret=b"s"), tokens(23)
    index.store(2, index.names(prompt, LLAMA))
    assert index.match_tokens(prompt, LLAMA).tolist() == [0, 0, 5]
    assert index.match_tokens(prompt[:13], LLAMA).tolist() == [0, 0, 3]
    assert index.match_tokens(np.concatenate([prompt[:8], tokens(9, 2)]), LLAMA).tolist() == [0, 0, 2]


def test_scopes_share_nothing():
    index, prompt = PrefixIndex(), tokens(16)
    index.store(0, index.names(prompt, LLAMA))
    for other in (
        Scope("qwen", block_size=4),
        Scope("llama", "adapter", "", 4),
        Scope("llama", "", "salt", 4),
    ):
        assert index.match_tokens(prompt, other).tolist() == [0]


def test_a_turn_goes_on_from_the_last_block_of_the_one_before():
    index, prompt = PrefixIndex(), tokens(32)
    first = index.names(prompt[:16], LLAMA)
    second = index.names(prompt[16:], LLAMA, parent=int(first[-1]))
    assert np.array_equal(np.concatenate([first, second]), index.names(prompt, LLAMA))
    with pytest.raises(UnknownParent):
        index.store(0, second, parent=int(first[-1]))
    index.store(0, first)
    index.store(0, second, parent=int(first[-1]))
    assert index.match_tokens(prompt, LLAMA).tolist() == [8]


def test_media_add_up():
    index, prompt = PrefixIndex(), tokens(16)
    blocks = index.names(prompt, LLAMA)
    index.store(0, blocks[:2])
    index.store(0, blocks[2:], parent=int(blocks[1]), medium=CPU)
    assert index.match(blocks, medium=GPU).tolist() == [2]
    assert index.match(blocks, medium=CPU).tolist() == [4]
    assert index.lookup(blocks).known == 4


def test_a_prediction_ends():
    index, prompt = PrefixIndex(), tokens(16)
    index.step(100)
    index.predict(1, index.names(prompt, LLAMA), ttl_s=30)
    index.step(129)
    assert index.match_tokens(prompt, LLAMA, medium=PREDICTED).tolist() == [0, 4]
    assert index.match_tokens(prompt, LLAMA).tolist() == [0, 0]
    index.step(130)
    assert index.match_tokens(prompt, LLAMA, medium=PREDICTED).tolist() == [0, 0]


def test_a_worker_that_restarted_holds_nothing():
    index, prompt = PrefixIndex(), tokens(16)
    for slot in (0, 1):
        index.store(slot, index.names(prompt, LLAMA))
    index.clear(0)
    assert index.match_tokens(prompt, LLAMA).tolist() == [0, 4]
    index.store(0, index.names(prompt, LLAMA))
    while index.step(10):
        pass
    assert index.match_tokens(prompt, LLAMA).tolist() == [4, 4]
