"""Routing by KV cache: a real frontend before simulated workers that tell of their caches by real sockets."""

import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from grove_dp.sim.publisher import EventSettings
from grove_dp.sim.worker import SimWorkers
from grove_dp.testing.frontend import PATIENCE_S, Frontend, eventually
from grove_dp.testing.http import Answer

BLOCK = 16
WORDS = "river stone lamp winter copper violin harbour meadow engine letter garden thunder paper".split()
PATIENT = {"wait_s": 5.0}  # the machine of a test may be busy: nothing here is about being late


@asynccontextmanager
async def fleet(
    count: int = 2,
    *,
    events: bool = True,
    blocks: int = 400,
    sim: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[Frontend, SimWorkers]]:
    told = EventSettings(endpoint="tcp://127.0.0.1:0", replay_endpoint="tcp://127.0.0.1:0")
    workers = SimWorkers(
        count,
        profile="tiny-cpu",
        speed=1000.0,
        max_model_len=1024,
        block_size=BLOCK,
        num_gpu_blocks=blocks,
        enable_prompt_tokens_details=True,
        **({"kv_events": told if events else None} | (sim or {})),
    )
    async with workers:
        urls = [worker.url for worker in workers]
        async with Frontend(urls, **{"tokens": PATIENT, **settings}) as frontend:
            for url in urls:
                await frontend.worker_until(url.removeprefix("http://"), 10.0, state="ready")
            yield frontend, workers


async def _figures(frontend: Frontend) -> dict[str, float]:
    page = (await frontend.admin("GET", "/metrics")).body.decode()
    rows = (line.rpartition(" ") for line in page.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in rows}


async def _until(holds: Callable[[], Awaitable[bool]], within_s: float = PATIENCE_S) -> None:
    await eventually(holds, bool, within_s, getattr(holds, "__name__", "it holds"))


async def _exact(frontend: Frontend) -> None:
    """Until requests are placed by their tokens."""

    async def by_tokens() -> bool:
        await _chat(frontend, [{"role": "user", "content": "Are you there?"}])
        return (await _figures(frontend))['grove_dp_placements_total{basis="tokens"}'] > 0

    await _until(by_tokens)


async def _live(frontend: Frontend) -> None:
    async def live() -> bool:
        rows = (await frontend.workers()).values()
        return all(row["kv"]["events"]["state"] == "live" for row in rows)

    await _until(live)


async def _chat(
    frontend: Frontend, messages: list[dict[str, str]], header: str = "X-Nothing: 1", **more: Any
) -> tuple[Answer, dict[str, Any]]:
    body = json.dumps({"model": "tiny-llama", "messages": messages, "max_tokens": 8} | more).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Grove-Expose: 1\r\n{header}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    answer = await frontend.ask(head.encode() + body)
    assert answer.status == 200, answer.body
    return answer, json.loads(answer.body)


def _words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices(WORDS, k=count))


def _conversation(rng: random.Random, words: int = 120) -> list[dict[str, str]]:
    return [{"role": "user", "content": _words(rng, words)}]


async def test_a_conversation_goes_back_to_the_worker_that_holds_it() -> None:
    rng = random.Random(1)
    async with fleet(3) as (frontend, _):
        await _live(frontend)
        await _exact(frontend)
        places: list[set[str]] = []
        for _ in range(6):
            messages, workers = _conversation(rng), set()
            for _ in range(4):
                answer, said = await _chat(frontend, messages)
                workers.add(answer.header("x-grove-worker"))
                messages = [
                    *messages,
                    {"role": "assistant", "content": said["choices"][0]["message"]["content"]},
                    {"role": "user", "content": _words(rng, 30)},
                ]
            places.append(workers)
        assert all(len(workers) == 1 for workers in places), places
        assert len(set.union(*places)) > 1, "six conversations spread over workers"


async def _answered(frontend: Frontend) -> Counter[str]:
    """How the token step ended, so far."""
    mark = 'grove_dp_token_steps_total{outcome="'
    told = await _figures(frontend)
    return Counter({k.removeprefix(mark)[:-2]: int(v) for k, v in told.items() if k.startswith(mark)})


async def test_a_prompt_that_comes_again_is_placed_by_its_tokens_without_being_read_again() -> None:
    messages = _conversation(random.Random(3))
    async with fleet(2) as (frontend, _):
        await _live(frontend)
        await _exact(frontend)
        first, _ = await _chat(frontend, messages, seed=1)
        before = await _answered(frontend)
        for seed in range(2, 6):
            answer, said = await _chat(frontend, messages, seed=seed, temperature=0.5)
            assert answer.header("x-grove-worker") == first.header("x-grove-worker")
            found = said["usage"]["prompt_tokens_details"]["cached_tokens"]
            assert int(answer.header("x-grove-cached-tokens")) == found > 100
        await _chat(frontend, messages, cache_salt="other")
        await _chat(frontend, messages, chat_template_kwargs={"x": 1})
        assert await _answered(frontend) - before == {"recalled": 4, "exact": 2}


async def test_a_salt_that_a_worker_does_not_tell_of_is_placed_by_text() -> None:
    messages = _conversation(random.Random(4))
    old = EventSettings(endpoint="tcp://127.0.0.1:0", replay_endpoint="tcp://127.0.0.1:0", format="0.16.0")
    async with fleet(1, sim={"kv_events": old}) as (frontend, _):
        await _exact(frontend)
        before = await _answered(frontend)
        await _chat(frontend, messages, cache_salt="mine")
        await _chat(frontend, messages)
        assert await _answered(frontend) - before == {"declined": 1, "exact": 1}


async def test_what_is_predicted_is_what_the_worker_finds_with_evictions_a_restart_and_a_gap() -> None:
    """The index, the tokens and the feed together, seen from outside: 99 of 100 to the token."""
    rng = random.Random(2)
    async with fleet(2, blocks=160) as (frontend, workers):
        await _live(frontend)
        await _exact(frontend)
        chats = [_conversation(rng, 90) for _ in range(10)]
        wrong: list[tuple[int, int, int]] = []
        cached = 0
        for number in range(150):
            if number == 60:
                workers[0].fault("restart")
                await _until(partial(_restarted, frontend))
                await _live(frontend)
            if number == 100:
                workers[1].fault("events_gap", count=2)
            place = rng.randrange(len(chats))
            if len(chats[place]) > 8:
                chats[place] = _conversation(rng, 90)
            answer, said = await _chat(frontend, chats[place])
            predicted = int(answer.header("x-grove-cached-tokens"))
            realised = said["usage"]["prompt_tokens_details"]["cached_tokens"]
            cached += realised
            if predicted != realised:
                wrong.append((number, predicted, realised))
            text = said["choices"][0]["message"]["content"]
            chats[place] += [
                {"role": "assistant", "content": text},
                {"role": "user", "content": _words(rng, 20)},
            ]
            await _told(frontend, workers)
        rows = (await frontend.workers()).values()
    assert cached > 5_000
    assert sum(row["kv"]["events"]["gaps"] for row in rows) == 1
    assert len(wrong) <= 1, wrong


async def _restarted(frontend: Frontend) -> bool:
    rows = (await frontend.workers()).values()
    return any(row["kv"]["events"]["restarts"] > 0 for row in rows) and all(
        row["state"] == "ready" and row["circuit"] == "closed" for row in rows
    )


async def _told(frontend: Frontend, workers: SimWorkers) -> None:
    """Until the frontend has heard all that the workers have said."""
    said = [sum(rank.publisher.newest + 1 for rank in worker.ranks if rank.publisher) for worker in workers]

    async def heard() -> bool:
        rows = await frontend.workers()
        ids = [worker.url.removeprefix("http://") for worker in workers]
        return all(
            rows[name]["kv"]["events"]["seq"] + 1 >= count for name, count in zip(ids, said, strict=True)
        )

    await _until(heard)


async def test_a_prompt_that_cannot_be_read_is_counted_and_served_by_its_text() -> None:
    async with fleet(1) as (frontend, _):
        await _live(frontend)
        await _exact(frontend)
        await _chat(frontend, _conversation(random.Random(8)), prompt_embeds=[])
        figures = await _figures(frontend)
        assert figures['grove_dp_tokens_refused_total{why="Field"}'] == 1
        assert figures['grove_dp_placements_total{basis="text"}'] == 1


async def test_workers_that_tell_nothing_are_placed_by_the_text() -> None:
    rng = random.Random(3)
    async with fleet(3, events=False, tokens={"mode": "off"}) as (frontend, _):
        for _ in range(5):
            messages, workers = _conversation(rng, 200), Counter[str]()
            for _ in range(3):
                answer, said = await _chat(frontend, messages)
                workers[answer.header("x-grove-worker")] += 1
                text = said["choices"][0]["message"]["content"]
                messages += [
                    {"role": "assistant", "content": text},
                    {"role": "user", "content": _words(rng, 60)},
                ]
            assert len(workers) == 1, workers
        figures = await _figures(frontend)
        assert figures['grove_dp_placements_total{basis="text"}'] == 15
        rows = (await frontend.workers()).values()
        assert {row["kv"]["events"]["state"] for row in rows} == {"silent"}


async def test_it_is_told_why_a_request_was_placed_where_it_was() -> None:
    async with fleet(2) as (frontend, _):
        await _live(frontend)
        await _exact(frontend)
        messages = _conversation(random.Random(4))
        await _chat(frontend, messages)
        answer, _ = await _chat(frontend, messages)
        name = answer.header("x-request-id")
        told = json.loads((await frontend.admin("GET", f"/explain?id={name}")).body)["decisions"]
        assert len(told) == 1
        assert told[0]["policy"] == "kv"
        assert told[0]["basis"] == "tokens"
        assert told[0]["candidates"] == 2
        assert told[0]["chosen"]["worker"] == answer.header("x-grove-worker")
        assert told[0]["chosen"]["cached_tokens"] == int(answer.header("x-grove-cached-tokens")) > 0
        assert told[0]["chosen"]["prefill_s"] < told[0]["others"][0]["prefill_s"]
        assert (await frontend.admin("GET", "/explain?last=0")).status == 400


async def test_data_parallel_ranks_are_workers_of_their_own(tmp_path: Any) -> None:
    rng = random.Random(5)
    told = EventSettings(endpoint="tcp://127.0.0.1:0", replay_endpoint="tcp://127.0.0.1:0")
    workers = SimWorkers(
        1,
        profile="tiny-cpu",
        speed=1000.0,
        max_model_len=1024,
        block_size=BLOCK,
        num_gpu_blocks=400,
        data_parallel_size=2,
        enable_prompt_tokens_details=True,
        kv_events=told,
    )
    async with workers:
        file = tmp_path / "workers.yaml"
        file.write_text(f"- {{url: '{workers[0].url}', ranks: 2}}\n")
        async with Frontend([], workers={"file": str(file)}, tokens=PATIENT) as frontend:
            name = workers[0].url.removeprefix("http://")
            await frontend.worker_until(name, 10.0, state="ready")
            await frontend.worker_until(f"{name}~1", 10.0, state="ready")
            await _live(frontend)
            await _exact(frontend)
            seen: set[str | None] = set()
            for turn in range(40):  # chance decides between two ranks at rest
                if turn >= 6 and len(seen) == 2:
                    break
                messages = _conversation(rng)
                first, _ = await _chat(frontend, messages)
                again, said = await _chat(frontend, messages)
                assert again.header("x-grove-worker") == first.header("x-grove-worker")
                assert said["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
                seen.add(again.header("x-grove-worker"))
                for rank in (0, 1, 7):  # which rank it is was chosen by the cache, whatever a client says
                    header = f"X-Data-Parallel-Rank: {rank}"
                    other, said = await _chat(frontend, messages, header=header)
                    assert other.header("x-grove-worker") == first.header("x-grove-worker")
                    assert said["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
            assert seen == {name, f"{name}~1"}


@pytest.mark.parametrize("policy", ["approx", "least_load", "round_robin", "random", "session"])
async def test_every_policy_serves(policy: str) -> None:
    async with fleet(2, events=False, routing={"policy": policy}) as (frontend, _):
        for _ in range(4):
            await _chat(frontend, [{"role": "user", "content": "Hello"}])
        rows = (await frontend.workers()).values()
        assert sum(row["ok"] for row in rows) == 4


async def test_predictions_that_fail_raise_an_alarm() -> None:
    """Whoever empties a cache behind our back, and no event says so, is found out within a minute."""
    rng = random.Random(6)
    async with fleet(1) as (frontend, workers):
        await _live(frontend)
        await _exact(frontend)
        messages = _conversation(rng, 200)
        await _chat(frontend, messages)
        await _told(frontend, workers)
        [rank] = workers[0].ranks
        assert rank.publisher is not None
        rank.publisher.publish = lambda *batch: None  # type: ignore[method-assign]
        for _ in range(30):
            assert workers[0].reset_prefix_cache()
            await _chat(frontend, messages)

        async def alarmed() -> bool:
            return any(row["kv"]["predictions"]["alarm"] for row in (await frontend.workers()).values())

        await _until(alarmed, 15.0)
        assert "PredictionsFail" in frontend.log()


async def test_a_hole_that_no_replay_fills_is_healed_by_asking_for_reports() -> None:
    """Cold it is told of too little; each request makes the worker tell again what it found."""
    rng = random.Random(7)
    sim = {
        "kv_events": EventSettings(
            endpoint="tcp://127.0.0.1:0", replay_endpoint="tcp://127.0.0.1:0", buffer_steps=2
        )
    }
    async with fleet(1, blocks=800, sim=sim, kv_events={"heal": True}) as (frontend, workers):
        await _live(frontend)
        await _exact(frontend)
        chats = [_conversation(rng, 90) for _ in range(4)]
        for messages in chats:
            await _chat(frontend, messages)
        workers[0].fault("events_gap", count=9)
        for _ in range(12):
            await _chat(frontend, _conversation(rng, 40))

        async def state() -> bool:
            return all(row["kv"]["events"]["state"] == "cold" for row in (await frontend.workers()).values())

        await _until(state)
        for messages in chats:  # the first request asks, and the worker tells
            await _chat(frontend, messages)
        await _told(frontend, workers)
        for messages in chats:
            answer, said = await _chat(frontend, messages)
            found = said["usage"]["prompt_tokens_details"]["cached_tokens"]
            assert int(answer.header("x-grove-cached-tokens") or -1) == found > 0

        async def warm() -> bool:
            for messages in chats:
                await _chat(frontend, messages)
            rows = (await frontend.workers()).values()
            return all(row["kv"]["events"]["state"] == "live" for row in rows)

        await _until(warm, 40.0)
