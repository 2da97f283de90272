"""Names of blocks: vLLM's digests recomputed from recorded events, and the quick names of quiet workers."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from grove_dp.sim.digests import ALGORITHMS, Adapter, Chain, Digests, Scope

RECORDED = Path(__file__).parent.parent / "fixtures" / "kv_scenarios"
ADAPTER = Adapter(1, "tiny-lora", "/tmp/vllmcpu/lora")  # the path is hashed: where the recording had it


def stored_in(name: str) -> list[dict[str, Any]]:
    payloads = (
        bytes.fromhex(json.loads(line)["frames_hex"][2])
        for line in (RECORDED / name).read_text().splitlines()
    )
    events = [event for payload in payloads for event in msgspec.msgpack.decode(payload)[1]]
    return [event for event in events if event["type"] == "BlockStored"]


def scope_of(event: dict[str, Any]) -> Scope:
    adapter = ADAPTER if event["lora_name"] else None
    keys = event["extra_keys"][0] or []
    salts = [key for key in keys if key != event["lora_name"]]
    return Scope(*salts, adapter=adapter)


@pytest.mark.parametrize(
    ("name", "algorithm", "blocks"),
    [
        ("events_0.32.0_int_hash_sha256_cbor.jsonl", "sha256_cbor", 66),
        ("events_0.32.0_bytes_hash_sha256_tools.jsonl", "sha256", 17),
        ("events_0.32.0_bytes_hash_sha256_lora_salt_reset.jsonl", "sha256", 15),
        ("events_0.32.0_dp1.jsonl", "sha256", 5),
    ],
)
def test_every_recorded_hash_is_recomputed(name: str, algorithm: str, blocks: int) -> None:
    names = Digests(algorithm)
    known: dict[Any, Any] = {None: names.root(Scope())}
    checked = 0
    for event in stored_in(name):
        size, parent = event["block_size"], known[event["parent_block_hash"]]
        depth = 0 if event["parent_block_hash"] is None else 1
        for place, recorded in enumerate(event["block_hashes"]):
            tokens = event["token_ids"][place * size : (place + 1) * size]
            parent = names.name(parent, tokens, scope_of(event), depth + place)
            assert (parent if isinstance(recorded, bytes) else int.from_bytes(parent[-8:], "big")) == recorded
            known[recorded] = parent
            checked += 1
    assert checked == blocks


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_digest_depends_on_everything_it_covers(algorithm: str) -> None:
    names, plain = Digests(algorithm), Scope()
    root, tokens = names.root(plain), [1, 23, 24, 255, 256, 65_535, 65_536, 2**33]
    scopes = (plain, Scope("a"), Scope("b"), Scope(adapter=ADAPTER), Scope("a", ADAPTER))
    found = {names.name(root, tokens, scope, 0) for scope in scopes}
    found |= {names.name(bytes(len(root)), tokens, plain, 0), names.name(root, tokens[:-1], plain, 0)}
    found |= {Digests(algorithm, "other seed").root(plain), root}
    assert len(found) == 9
    assert {len(digest) for digest in found} == {32 if algorithm.startswith("sha256") else 16}


VLLM_0_32 = {  # a root and three blocks below it: vLLM's own hash_block_tokens, PYTHONHASHSEED=7
    "sha256": "57cfd20ce97292a6 9b2cd167b7be913d 33615a5aece60e03 d9127e014bd927c7",
    "sha256_cbor": "20377cec9f51f6bf 7898e12625470010 16f58b8ca2b11939 704aa54c1e44a9d1",
    "xxhash": "dc45d051a0062f6d 0b6b3c85e6b2eca0 2a2d792131590328 c7b4ac12765f882f",
    "xxhash_cbor": "590402640c852697 1c868ed7a9664c0d 3707a57064df5503 5014ea50ecaf9f88",
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_digests_of_every_algorithm_are_vllms_own(algorithm: str) -> None:
    names, scope = Digests(algorithm, "7"), Scope("tenant", Adapter(1, "tiny-lora", "/srv/lora"))
    chain = [names.root(scope)]
    for block, tokens in enumerate(([5, 6, 300, 70_000], [1, 2, 3, 4])):
        chain.append(names.name(chain[-1], tokens, scope, block))
    chain.append(names.name(chain[-1], [1, 2, 3, 4], Scope(), 2))
    assert " ".join(digest[:8].hex() for digest in chain if isinstance(digest, bytes)) == VLLM_0_32[algorithm]


def test_a_salt_is_hashed_into_the_first_block_only_and_an_adapter_into_all() -> None:
    scope = Scope("tenant", ADAPTER)
    assert scope.extra_keys(0) == ("tiny-lora", "tenant")
    assert scope.extra_keys(1) == ("tiny-lora",)
    assert Scope("tenant").extra_keys(1) is None
    assert scope.tagged_keys(0) == (("lora", "tiny-lora", ADAPTER.path), ("cache_salt", "tenant"))


def test_quick_names_keep_scopes_apart_too() -> None:
    chain = Chain()
    scopes = (Scope(), Scope("a"), Scope("ab"), Scope(adapter=ADAPTER), Scope("a", ADAPTER))
    assert len({chain.name(chain.root(scope), [1, 2], scope, 0) for scope in scopes}) == 5


def test_an_unknown_algorithm_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="sha256, sha256_cbor, xxhash, xxhash_cbor"):
        Digests("md5")
