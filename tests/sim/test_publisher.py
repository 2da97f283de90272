"""The sockets of KV events: what subscribers get, what a replay returns, gaps and restarts."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from grove_dp.sim.cache_events import BlockRemoved
from grove_dp.sim.publisher import EventPublisher, EventSettings
from tests.sim.kv_feed import END, events_of, replay_frames, replayed, sequences_of, subscribed

FREE = EventSettings(endpoint="tcp://127.0.0.1:0", replay_endpoint="tcp://127.0.0.1:0", topic="kv@here")
Opened = Callable[..., EventPublisher]


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    publishers = []

    def make(rank: int = 0, **changes: Any) -> EventPublisher:
        settings = EventSettings(**{**{f: getattr(FREE, f) for f in FREE.__struct_fields__}, **changes})
        publishers.append(EventPublisher(settings, rank, wall=lambda: 12.5))
        publishers[-1].open()
        return publishers[-1]

    yield make
    for publisher in publishers:
        publisher.close()


def publish(publisher: EventPublisher, *keys: int) -> None:
    for key in keys:
        publisher.publish([BlockRemoved(block_hashes=[key])])


def keys_of(batches: list[list[bytes]]) -> list[int]:
    return [event["block_hashes"][0] for frames in batches for event in events_of(frames)]


async def test_a_subscriber_gets_topic_sequence_and_payload(opened: Opened) -> None:
    publisher = opened(rank=3)
    async with subscribed(publisher) as feed:
        publish(publisher, 5, 6)
        first, second = await feed.next(), await feed.next()
    assert first[:2] == [b"kv@here", bytes(8)]
    assert first[2].startswith(b"\x93\xcb@)\x00\x00\x00\x00\x00\x00\x91")
    assert first[2].endswith(b"\x03")
    assert sequences_of([first, second]) == [0, 1]
    assert keys_of([first, second]) == [5, 6]


async def test_a_step_without_events_sends_nothing_and_takes_no_number(opened: Opened) -> None:
    publisher = opened()
    publisher.publish([])
    publish(publisher, 1)
    assert sequences_of(await replayed(publisher.facts["replay_endpoint"])) == [0]


async def test_what_was_sent_before_somebody_listened_can_be_replayed(opened: Opened) -> None:
    publisher = opened()
    publish(publisher, 1, 2)
    async with subscribed(publisher) as feed:
        publish(publisher, 3)
        live = await feed.next()
        missed = await replayed(publisher.facts["replay_endpoint"])
    assert keys_of([live]) == [3]
    assert missed[-1] == live
    assert keys_of(missed) == [1, 2, 3]


@pytest.mark.parametrize(
    ("release", "head"),
    [("0.25.1", [b""]), ("array", [b""]), ("0.26.0", [b"", b"kv@here"]), ("map", [b"", b"kv@here"])],
)
async def test_replies_have_the_frames_of_their_release(
    opened: Opened, release: str, head: list[bytes]
) -> None:
    publisher = opened(format=release)
    publish(publisher, 7, 8, 9)
    *batches, end = await replay_frames(publisher.facts["replay_endpoint"], b"", (1).to_bytes(8, "big"))
    assert [frames[:-2] for frames in batches] == [head, head]
    assert sequences_of(batches) == [1, 2]
    assert end == [b"" for _ in head] + [END, b""]


async def test_a_replay_from_the_future_is_only_an_end(opened: Opened) -> None:
    publisher = opened()
    publish(publisher, 1)
    assert await replayed(publisher.facts["replay_endpoint"], 10**9) == []


async def test_a_request_without_the_empty_frame_is_ignored_and_the_next_one_served(opened: Opened) -> None:
    publisher = opened()
    publish(publisher, 1)
    endpoint = publisher.facts["replay_endpoint"]
    with pytest.raises(TimeoutError):
        await replay_frames(endpoint, bytes(8), patience_s=0.1)
    assert keys_of(await replayed(endpoint)) == [1]


async def test_a_replay_reaches_back_as_far_as_the_buffer(opened: Opened) -> None:
    publisher = opened(buffer_steps=3)
    publish(publisher, *range(10))
    assert sequences_of(await replayed(publisher.facts["replay_endpoint"])) == [7, 8, 9]


async def test_a_replay_of_the_whole_buffer_is_complete_since_0_33(opened: Opened) -> None:
    publisher = opened(format="0.33.0", buffer_steps=3000)
    publish(publisher, *range(3050))
    got = await replayed(publisher.facts["replay_endpoint"])
    assert sequences_of(got) == list(range(50, 3050))


async def test_a_gap_is_for_subscribers_only(opened: Opened) -> None:
    publisher = opened()
    async with subscribed(publisher) as feed:
        publisher.lose_next(2)
        publish(publisher, 1, 2, 3)
        live = await feed.next()
    assert sequences_of([live]) == [2]
    assert (publisher.sequence, publisher.lost) == (3, 2)
    assert sequences_of(await replayed(publisher.facts["replay_endpoint"])) == [0, 1, 2]


async def test_opened_again_the_ports_are_the_same_and_the_sequence_starts_at_0(opened: Opened) -> None:
    publisher = opened()
    facts = publisher.facts
    async with subscribed(publisher) as feed:
        publish(publisher, 1, 2)
        assert sequences_of([await feed.next(), await feed.next()]) == [0, 1]
        publisher.close()
        publisher.open()
        assert publisher.facts == facts
        await feed.heard()
        publish(publisher, 3)
        again = await feed.next()
    assert (sequences_of([again]), keys_of([again])) == ([0], [3])
    assert keys_of(await replayed(facts["replay_endpoint"])) == [3]


async def test_ranks_stand_on_consecutive_ports() -> None:
    moved = EventSettings(endpoint="tcp://*:5557", replay_endpoint="tcp://*:6557").moved(2)
    assert (moved.endpoint, moved.replay_endpoint) == ("tcp://*:5559", "tcp://*:6559")
    assert FREE.moved(3) == FREE


async def test_a_taken_port_is_named(opened: Opened) -> None:
    taken = opened().facts["endpoint"]
    with pytest.raises(OSError, match=taken):
        opened(endpoint=taken)
