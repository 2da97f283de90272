"""Events on the wire: every recorded payload of every release comes out again byte for byte."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from grove_dp.sim.cache_events import (
    AllBlocksCleared,
    BlockRemoved,
    BlockStored,
    CacheEvent,
    encode_batch,
    wire_of,
)

RECORDED = Path(__file__).parent.parent / "fixtures" / "kv_scenarios"
KINDS = {kind.__name__: kind for kind in (BlockStored, BlockRemoved, AllBlocksCleared)}


def lines_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECORDED / name).read_text().splitlines()]


def event_of(fields: Any) -> CacheEvent:
    """A decoded event of either form; what a release does not send is null."""
    if isinstance(fields, dict):
        kind = KINDS[fields["type"]]
        given = {name: value for name, value in fields.items() if name != "type"}
    else:
        kind = KINDS[fields[0]]
        given = dict(zip(kind.__struct_fields__, fields[1:], strict=False))
    return kind(**{**dict.fromkeys(kind.__struct_fields__), **given})


def encoded_again(release: str, payload: bytes) -> bytes:
    at, events, rank = msgspec.msgpack.decode(payload)
    return encode_batch(wire_of(release), [event_of(event) for event in events], at=at, rank=rank)


SYNTHETIC = [line for line in lines_of("wire_by_version_synthetic.jsonl") if "frames_hex" in line]


@pytest.mark.parametrize("release", sorted({line["version"] for line in SYNTHETIC}))
def test_a_release_is_spelled_as_its_publisher_spelled_it(release: str) -> None:
    payloads = [bytes.fromhex(line["frames_hex"][2]) for line in SYNTHETIC if line["version"] == release]
    assert len(payloads) == 3
    assert [encoded_again(release, payload) for payload in payloads] == payloads


@pytest.mark.parametrize("name", sorted(path.name for path in RECORDED.glob("events_*.jsonl")))
def test_recorded_payloads_come_out_again(name: str) -> None:
    for line in lines_of(name):
        payload = bytes.fromhex(line["frames_hex"][2])
        at, events, rank = msgspec.msgpack.decode(payload)
        wire = wire_of("map")
        again = encode_batch(wire, [event_of(e) for e in events], at=at, rank=rank, int_hashes=False)
        assert again == payload


def test_replies_to_a_replay_had_the_frames_we_believe() -> None:
    for line in lines_of("wire_by_version_synthetic.jsonl"):
        if "replay_reply_frames_hex" in line:
            frames = 4 if wire_of(line["version"]).replay_topic else 3
            assert {len(reply) for reply in line["replay_reply_frames_hex"]} == {frames}


def test_digests_are_published_as_their_low_64_bits_unless_asked_otherwise() -> None:
    def hashes_of(event: CacheEvent, *, int_hashes: bool) -> Any:
        payload = encode_batch(wire_of("0.32.0"), [event], at=0.0, rank=0, int_hashes=int_hashes)
        return msgspec.msgpack.decode(payload)[1][0]["block_hashes"]

    digest = bytes(24) + b"\xff" * 7 + b"\xfe"
    event = BlockRemoved(block_hashes=[digest])
    assert hashes_of(event, int_hashes=True) == [2**64 - 2]
    assert hashes_of(event, int_hashes=False) == [digest]
    assert hashes_of(BlockRemoved(block_hashes=[-1]), int_hashes=True) == [2**64 - 1]


@pytest.mark.parametrize("name", ["", "0.8.5", "maps", "0.x"])
def test_an_unknown_format_names_what_there_is(name: str) -> None:
    with pytest.raises(ValueError, match=r"give map, array, or a vLLM release from 0\.9 on"):
        wire_of(name)
