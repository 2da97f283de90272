"""KV events as engines sent them: recordings of vLLM 0.32, and the same events published by every release."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parents[1] / "fixtures" / "kv_scenarios"
CHATS, ADAPTERS = "0.32.0_int_hash_sha256_cbor", "0.32.0_bytes_hash_sha256_lora_salt_reset"


def lines_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECORDED / name).read_text().splitlines()]


SYNTHETIC = [line for line in lines_of("wire_by_version_synthetic.jsonl") if "frames_hex" in line]
VERSIONS = list(dict.fromkeys(line["version"] for line in SYNTHETIC))


def payloads_of(version: str) -> list[bytes]:
    """A store of two blocks; a store behind it and a removal; a clearing."""
    return [bytes.fromhex(line["frames_hex"][-1]) for line in SYNTHETIC if line["version"] == version]


def since(version: str, first: str) -> bool:
    """True when *version* is not older than *first*."""
    return [int(part) for part in version.split(".")] >= [int(part) for part in first.split(".")]


def recorded(name: str) -> tuple[list[tuple[float, bytes]], list[dict[str, Any]]]:
    """(time, payload) of each batch, and the requests that caused them."""
    batches = [
        (line["recv_ts"], bytes.fromhex(line["frames_hex"][2])) for line in lines_of(f"events_{name}.jsonl")
    ]
    return batches, json.loads((RECORDED / f"scenario_{name}.json").read_text())


def recorded_payloads() -> Iterator[bytes]:
    for path in sorted(RECORDED.glob("events_*.jsonl")):
        for line in lines_of(path.name):
            yield bytes.fromhex(line["frames_hex"][2])
