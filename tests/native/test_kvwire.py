"""KV events of every release, decoded by the core and by its plain twin."""

import struct

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grove_dp.native import kv
from grove_dp.native.plain import kvwire as plain

from .mutation import mutated
from .recordings import VERSIONS, payloads_of, recorded_payloads, since

H1, H2 = 0x1122334455667788, 0xFFEEDDCCBBAA9988


def outcome(decode, payload):
    """What is compared: the batch with its time as bits, or that there is none."""
    try:
        batch = decode(payload)
    except ValueError:
        return None
    return (struct.pack("d", batch.ts), *batch[1:3], [tuple(event) for event in batch.events])


@pytest.mark.parametrize("version", VERSIONS)
def test_every_release_is_understood(version):
    first, second, third = (kv.decode(payload) for payload in payloads_of(version))
    [stored] = first.events
    assert (first.ts, first.rank, first.unknown) == (1700000000.5, 0, 0)
    assert (stored.kind, stored.hashes, stored.parent) == (kv.STORED, [H1, H2], None)
    assert (stored.tokens, stored.block_size, stored.medium) == (list(range(8)), 4, kv.GPU)
    behind, removed = second.events
    assert (behind.hashes, behind.parent, behind.tokens) == ([5], H2, [300, 70000, 1, 2])
    assert (removed.kind, removed.hashes, removed.medium) == (kv.REMOVED, [H1], kv.GPU)
    assert [event.kind for event in third.events] == [kv.CLEARED]

    assert behind.lora == (b"ad" if since(version, "0.14.1") else b"")
    names = [(name, block) for block, _, name, _ in [*stored.extras, *behind.extras]]
    assert names == ([(b"salt", 1), (b"ad", 0)] if since(version, "0.18.0") else [])
    assert behind.group == (1 if since(version, "0.20.2") else -1)
    kinded = since(version, "0.22.1")
    assert (stored.told, stored.full) == (kinded, True)
    assert (behind.told, behind.full) == (kinded, not kinded)
    for payload in payloads_of(version):
        assert outcome(kv.decode, payload) == outcome(plain.decode, payload)


def test_recorded_payloads_are_read_as_the_twin_reads_them():
    batches = [(kv.decode(payload), plain.decode(payload)) for payload in recorded_payloads()]
    assert len(batches) > 30
    for batch, twin in batches:
        assert tuple(batch) == tuple(twin)


SEEDS = [*recorded_payloads(), *(payload for version in VERSIONS for payload in payloads_of(version))]
WORTH = [
    *map(
        msgspec.msgpack.encode, [None, True, 1.5, -1, -(2**63), 2**64 - 1, b"digest", "GPU", [], {}, [1, "x"]]
    ),
    *(
        b"\xc1",
        b"\xd4\x01\x02",
        b"\xc7\x01\x05\xff",
        b"\xca\x7f\xc0\x00\x00",
        b"\xdd\xff\xff\xff\xff",
        b"\xc4\x00",
    ),
    *map(
        msgspec.msgpack.encode, [["mm", "id", 3], ["lora", "ad", "/p"], ["id", -1], ["cache_salt", b"s", 1]]
    ),
]


@st.composite
def spiced(draw, payloads):
    """A payload with whole items put in or in the place of bytes, and mutated."""
    data = draw(payloads)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.sampled_from(WORTH)) + data[at + draw(st.integers(0, 1)) :]
    return data


@pytest.mark.parametrize("token", [2**32, 2**63 - 1, 2**63, 2**64 - 1, -(2**31) - 1, -(2**63)])
def test_a_token_id_beyond_32_bits_is_refused_by_both(token):
    payload = msgspec.msgpack.encode([1.5, [["BlockStored", [7], None, [1, token, 3, 4], 4, None]]])
    assert outcome(kv.decode, payload) is None
    assert outcome(plain.decode, payload) is None


@given(spiced(mutated([payload for payload in SEEDS if len(payload) < 600], most=2)))
@settings(max_examples=1500, deadline=None)
def test_payloads_are_read_as_the_twin_reads_them(payload):
    assert outcome(kv.decode, payload) == outcome(plain.decode, payload)


KEYS = st.sampled_from([name.encode() for name in plain.FIELDS] + [b"type", b"locality"])
VALUES = st.sampled_from(
    [*WORTH, *(msgspec.msgpack.encode(word) for word in ("BlockStored", "full_attention", "cpu"))]
)


@given(
    st.lists(st.tuples(KEYS, VALUES), max_size=10), st.sampled_from(["BlockStored", "BlockRemoved", "New"])
)
@settings(max_examples=600, deadline=None)
def test_fields_with_any_value_are_read_as_the_twin_reads_them(fields, kind):
    encode = msgspec.msgpack.encode
    pairs = [(b"type", encode(kind)), (b"block_hashes", encode([1, -1, b"x" * 40])), *fields]
    event = bytes([0x80 | len(pairs)]) + b"".join(encode(key.decode()) + value for key, value in pairs)
    payload = b"\x93\x01\x91" + event + b"\x00"
    assert outcome(kv.decode, payload) == outcome(plain.decode, payload)


@given(
    st.recursive(
        st.sampled_from(WORTH[:11]),
        lambda item: st.lists(item, max_size=4).map(
            lambda items: bytes([0x90 | len(items)]) + b"".join(items)
        ),
        max_leaves=30,
    )
)
@settings(max_examples=300, deadline=None)
def test_whatever_stands_in_the_place_of_events_is_read_as_the_twin_reads_it(item):
    for payload in (item, b"\x92\x01" + item, b"\x92\x01\x91" + item, b"\x81\xa6events" + item):
        assert outcome(kv.decode, payload) == outcome(plain.decode, payload)


def test_what_is_wrong_is_said_in_a_word():
    with pytest.raises(kv.BadPayload, match="CutShort near byte") as caught:
        kv.decode(SEEDS[0][:-1])
    assert (caught.value.reason, caught.value.at < len(SEEDS[0])) == ("CutShort", True)
