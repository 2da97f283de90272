"""Recorded sessions with a real vLLM 0.32, asked again: the same events in the same batches, byte for byte.

Only times are masked. What the recorded model answered is given to the simulated one, token by token
(`vllm_xargs.sim_answer_ids`), because generated blocks are announced like any others.
"""

import json
from typing import Any

import aiohttp
import pytest

from grove_dp.sim.publisher import EventSettings
from grove_dp.sim.worker import SimWorkers
from tests.sim.kv_feed import RECORDED, masked, recorded_frames, replayed

COMMON = {
    "profile": "tiny-cpu",
    "speed": 1000.0,
    "served_model_name": ("tiny-llama",),
    "max_model_len": 512,
    "block_size": 32,
    "server_dev_mode": True,
    "lora_modules": (("tiny-lora", "/tmp/vllmcpu/lora"),),  # where the recording had its adapter
}


def request_of(step: dict[str, Any]) -> dict[str, Any] | None:
    """The recorded request, with the recorded answer to give."""
    if step["request"] is None:
        return None
    (choice,) = step["response"]["choices"]
    said = choice["token_ids"] or [7] * step["request"]["max_tokens"]
    given = {**(step["request"].get("vllm_xargs") or {}), "sim_answer_ids": said}
    return {**step["request"], "vllm_xargs": given}


@pytest.mark.parametrize(
    ("name", "blocks", "algorithm", "int_hashes", "resets_before"),
    [
        ("int_hash_sha256_cbor", 32, "sha256_cbor", True, 0),
        ("bytes_hash_sha256_lora_salt_reset", 64, "sha256", False, 2),
    ],
)
async def test_a_recorded_session_yields_the_recorded_events(
    name: str, blocks: int, algorithm: str, int_hashes: bool, resets_before: int
) -> None:
    wanted = recorded_frames(f"events_0.32.0_{name}.jsonl")
    steps = json.loads((RECORDED / f"scenario_0.32.0_{name}.json").read_text())
    events = EventSettings(
        endpoint="tcp://127.0.0.1:0",
        replay_endpoint="tcp://127.0.0.1:0",
        topic=wanted[0][0].decode(),
        int_hashes=int_hashes,
    )
    settings = {"num_gpu_blocks": blocks, "prefix_caching_hash_algo": algorithm, "kv_events": events}
    async with SimWorkers(1, **COMMON, **settings) as workers, aiohttp.ClientSession(workers[0].url) as http:
        for _ in range(resets_before):
            await http.post("/reset_prefix_cache")
        for step in steps:
            async with http.post(step["path"], json=request_of(step)) as answer:
                assert answer.status == 200
                spoken = await answer.json()
                if "choices" in spoken:
                    recorded = step["response"]["usage"]
                    assert spoken["usage"]["total_tokens"] == recorded["total_tokens"]
        got = await replayed(workers[0].ranks[0].publisher.facts["replay_endpoint"])
    first = int.from_bytes(wanted[0][1], "big")
    topic_sequence_payload = [(topic, first + n, payload) for topic, n, payload in map(masked, got)]
    assert topic_sequence_payload == [masked(frames) for frames in wanted]
