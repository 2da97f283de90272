"""Prompts: as long as the trace says, and alike exactly as far as the trace says."""

from itertools import islice
from os.path import commonpath

import msgspec
import pytest

from grove_dp.sim.prompts import TEMPLATE_TOKENS, Prompts
from grove_dp.sim.tokenizer import ModelTokenizer
from grove_dp.sim.trace import TraceRequest, open_trace
from tests.sim.test_trace import SHIPPED


def test_equal_leading_ids_are_equal_leading_words_and_no_more():
    prompts = Prompts()
    one = prompts.prompt(TraceRequest(0.0, 1536, 1, (0, 1, 2)), 0).split()
    two = prompts.prompt(TraceRequest(0.0, 2048, 1, (0, 1, 3, 4)), 1).split()
    assert (len(one), len(two)) == (1536, 2048)
    assert one[:1024] == two[:1024]
    assert one[1024:1040] != two[1024:1040]


def test_a_partial_last_block_is_the_head_of_the_whole_one():
    prompts = Prompts()
    short = prompts.prompt(TraceRequest(0.0, 600, 1, (8, 9)), 0)
    assert prompts.prompt(TraceRequest(0.0, 1024, 1, (8, 9)), 1).startswith(short)


def test_prompts_without_ids_have_nothing_in_common():
    prompts = Prompts()
    texts = [prompts.prompt(TraceRequest(0.0, 900, 1), serial) for serial in range(3)]
    assert len(commonpath(texts).split()) < 4


def test_the_seed_changes_every_word_and_the_limit_cuts():
    request = TraceRequest(0.0, 5000, 1, tuple(range(10)))
    assert Prompts(seed=1).prompt(request, 0)[:100] != Prompts(seed=2).prompt(request, 0)[:100]
    assert len(Prompts(max_tokens=700).prompt(request, 0).split()) == 700
    assert len(Prompts(template_tokens=7).prompt(TraceRequest(0.0, 3, 1), 0).split()) == 1


def test_ids_follow_the_blocks_too():
    prompts = Prompts(form="ids")
    one, two = (
        msgspec.json.decode(prompts.prompt(TraceRequest(0.0, 1100, 1, ids), 0))
        for ids in ((5, 6, 7), (5, 6, 8))
    )
    assert len(one) == len(two) == 1100
    assert one[:1024] == two[:1024]
    assert one[1024:] != two[1024:]
    assert all(256 <= value < 2304 for value in one)


@pytest.mark.parametrize("chat", [True, False])
def test_lengths_are_right_in_the_simulators_tokenizer(chat):
    tokenizer = ModelTokenizer()
    prompts = Prompts(template_tokens=TEMPLATE_TOKENS if chat else 0)
    for serial, request in enumerate(islice(open_trace(SHIPPED), 0, 200, 20)):
        text = prompts.prompt(request, serial)
        tokens = tokenizer.chat([{"role": "user", "content": text}]) if chat else tokenizer.encode(text)
        assert len(tokens) == request.input_tokens


def test_messages_are_the_blocks_that_they_say_and_those_of_a_longer_conversation_begin_alike():
    prompts = Prompts(block_tokens=8)
    first = prompts.messages(TraceRequest(0.0, 24, 1, (1, 2, 3), (1, 2)))
    second = prompts.messages(TraceRequest(0.0, 40, 1, (1, 2, 3, 4, 5), (1, 2, 1, 1)))
    assert [len(text.split()) for text in second] == [8, 16, 8, 8]
    assert second[:2] == first
