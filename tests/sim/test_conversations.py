"""The conversations of the demo: what they share, when they come."""

from itertools import pairwise

from grove_dp.sim.conversations import BLOCK_TOKENS, Conversations


def test_each_turn_asks_with_all_that_came_before_and_each_conversation_with_a_prompt_of_few():
    requests = Conversations(applications=3, system_blocks=4).requests(60.0)
    last = {}
    for request in requests:
        conversation = request.hash_ids[4]
        before = last.get(conversation, request)
        assert request.hash_ids[: len(before.hash_ids)] == before.hash_ids
        assert request.messages[: len(before.messages)] == before.messages
        last[conversation] = request
    assert len(last) > 50
    assert len({request.hash_ids[:4] for request in requests}) == 3


def test_messages_cover_the_prompt_and_end_with_a_question():
    for request in Conversations().requests(20.0):
        assert sum(request.messages) == len(request.hash_ids) == request.input_tokens / BLOCK_TOKENS
        assert len(request.messages) % 2 == 0


def test_the_rate_is_even_from_the_first_second_and_the_same_every_time():
    requests = Conversations(rate=40.0).requests(60.0)
    assert requests == Conversations(rate=40.0).requests(60.0)
    assert requests != Conversations(rate=40.0, seed=1).requests(60.0)
    assert all(one.at_s <= other.at_s for one, other in pairwise(requests))
    counts = [sum(begin <= request.at_s < begin + 10 for request in requests) for begin in range(0, 60, 10)]
    assert requests[0].at_s >= 0
    assert requests[-1].at_s < 60
    assert all(250 < count < 550 for count in counts), counts
