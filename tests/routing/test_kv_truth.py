"""What the intake and an index predict is what the workers find in their caches, whatever happens between."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from grove_dp.sim.publisher import EventSettings
from grove_dp.sim.worker import SimWorkers
from tests.routing.kv_truth import ADAPTER, CoreIndex, Index, TokenIndex, Truth

BLOCK = 16


EveryIndex = pytest.mark.parametrize("kind", [TokenIndex, CoreIndex])
Kind = Callable[[int], Index]


@asynccontextmanager
async def fleet(
    kind: Kind = TokenIndex,
    *,
    count: int = 3,
    blocks: int = 160,
    scopes: bool = True,
    heal: bool = False,
    events: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[Truth, Index]]:
    """Caches that hold a third of the conversations, unless there are more *blocks*."""
    endpoints = {"endpoint": "tcp://127.0.0.1:0", "replay_endpoint": "tcp://127.0.0.1:0", "topic": "kv@fleet"}
    workers = SimWorkers(
        count,
        profile="tiny-cpu",
        speed=1000.0,
        max_model_len=1024,
        block_size=BLOCK,
        num_gpu_blocks=blocks,
        enable_prompt_tokens_details=True,
        lora_modules=(ADAPTER,),
        kv_events=EventSettings(**endpoints, **(events or {})),
        **settings,
    )
    index = kind(BLOCK)
    async with workers, aiohttp.ClientSession() as http:
        truth = Truth(index, workers, http, seed=1, scopes=scopes, heal=heal)
        async with truth.events:
            await truth.follow()
            yield truth, index


@EveryIndex
async def test_predictions_hold_through_evictions_a_restart_and_a_gap(kind: Kind) -> None:
    async with fleet(kind) as (truth, index):
        disturbances = {
            80: lambda: truth.workers[1].fault("restart"),
            140: lambda: truth.workers[2].fault("events_gap", count=3),
        }
        tally = await truth.run(200, disturbances)
        states = list(truth.events.states())
    assert index.removed > 5000
    assert tally.cached > tally.tokens / 3
    assert states[1].restarts == 1
    assert (states[2].gaps, states[2].lost) == (1, 0)
    assert [state.state for state in states] == ["live"] * 3
    assert tally.agreement >= 0.99, (tally.wrong, tally.cold)


@EveryIndex
@pytest.mark.parametrize(
    ("settings", "events", "scopes"),
    [
        ({"prefix_caching_hash_algo": "xxhash_cbor"}, {"format": "array", "int_hashes": False}, True),
        ({"prefix_caching_hash_algo": "sha256_cbor", "data_parallel_size": 2}, {"format": "0.33.0"}, True),
        ({"prefix_caching_hash_algo": "xxhash"}, {"format": "0.9.2"}, False),  # it does not tell of salts
    ],
)
async def test_predictions_are_exact_in_every_form(
    kind: Kind, settings: dict[str, Any], events: dict[str, Any], scopes: bool
) -> None:
    async with fleet(kind, count=2, scopes=scopes, events=events, **settings) as (truth, index):
        tally = await truth.run(60)
    assert index.removed > 500
    assert tally.cached > tally.tokens / 5
    assert (tally.wrong, tally.cold) == ([], [])


GAP = 40, 12  # before which round, how many batches


@EveryIndex
async def test_what_is_known_after_a_hole_for_good_promises_too_little_and_never_too_much(
    kind: Kind,
) -> None:
    async with fleet(kind, count=1, blocks=350, events={"buffer_steps": 3}) as (truth, _):
        tally = await truth.run(160, {GAP[0]: lambda: truth.workers[0].fault("events_gap", count=GAP[1])})
        (state,) = truth.events.states()
    assert (state.state, state.reason) == ("cold", "ReplayTruncated")
    assert state.lost >= GAP[1] - 3
    assert [pair for pair in tally.cold if pair.predicted > pair.realised] == []
    assert (
        sum(pair.predicted < pair.realised for pair in tally.cold) > 50
    )  # of 114: nobody announces it again


@EveryIndex
async def test_reports_that_we_ask_for_heal_what_no_replay_can(kind: Kind) -> None:
    async with fleet(kind, count=1, blocks=350, heal=True, events={"buffer_steps": 3}) as (truth, _):
        tally = await truth.run(160, {GAP[0]: lambda: truth.workers[0].fault("events_gap", count=GAP[1])})
        (state,) = truth.events.states()
        assert (state.state, state.reason) == ("cold", "ReplayTruncated")
        assert [pair for pair in tally.cold if pair.predicted > pair.realised] == []
        assert sum(pair.predicted < pair.realised for pair in tally.cold) < 20
        assert all(pair.predicted == pair.realised for pair in tally.cold[-60:])
        truth.events.warmed(0)
        before = len(tally.wrong)
        await truth.run(60)
    assert len(tally.wrong) == before
