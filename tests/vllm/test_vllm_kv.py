"""Placed by what two real vLLM workers hold: what is predicted comes true, through evictions, restarts, gaps.

Run by `make test-vllm`. The workers' caches hold three long conversations each; a dozen go on at a time, so
blocks are evicted all the time. Truth is `usage.prompt_tokens_details.cached_tokens`, the prediction is the
header `x-grove-cached-tokens`, both to the token.
"""

import asyncio
import json
import random
import statistics
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import pytest_asyncio
import zmq

from bench import results
from grove_dp.native.kv import ChainKey
from grove_dp.testing.frontend import Frontend, eventually
from grove_dp.testing.http import RawClient, post
from grove_dp.testing.vllm import CHAT, COMPLETIONS, MESSAGES, RESPONSES
from grove_dp.tokens.load import load_model
from grove_dp.tokens.step import PromptReader
from tests.vllm.chatting import Asked, Chats, ask, heard, words
from tests.vllm.splice import Splice

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import VllmWorker

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]

TURNS = 300
CLIENTS, TURNS_EACH = 4, 30
BLOCK = 32
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "What it will be like, <there> & then: " + "sun rain wind " * 20,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Łódź"}'}}


@asynccontextmanager
async def routing(workers: "list[VllmWorker]") -> AsyncIterator[Frontend]:
    """A frontend with its defaults that knows what both workers hold and reads their tokens.

    But for deadlines: on a busy machine a request that waited too long for its tokens, or a probe that did,
    would say nothing about predictions.
    """
    urls = [worker.url for worker in workers]
    patient: dict[str, Any] = {"tokens": {"wait_s": 5.0}, "health": {"interval_s": 0.5, "timeout_s": 5.0}}
    patient["routing"] = {"policy_header": "x-policy"}
    async with Frontend(urls, **patient) as frontend:
        await live(frontend)
        await agreed(frontend, 2)
        yield frontend


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(kv_workers: "list[VllmWorker]") -> AsyncIterator[Frontend]:
    async with routing(kv_workers) as frontend:
        yield frontend


@pytest_asyncio.fixture(loop_scope="module")
async def frontend(shared: Frontend) -> AsyncIterator[Frontend]:
    yield shared
    await shared.settled()


async def live(frontend: Frontend, within_s: float = 60.0) -> None:
    """Both workers are ready, and all that they hold is known."""

    async def look() -> dict[str, Any]:
        rows = await frontend.workers()
        return {
            name: (row["state"], row["circuit"], row["kv"]["events"]["state"], row["kv"]["block_size"])
            for name, row in rows.items()
        }

    def good(seen: dict[str, Any]) -> bool:
        return all(told == ("ready", "closed", "live", BLOCK) for told in seen.values())

    await eventually(look, good, within_s, "both workers are ready and heard")


async def agreed(frontend: Frontend, times: int) -> None:
    """So many workers' tokens were found to be ours."""

    async def look() -> int:
        return frontend.log().count("tokens agree with the worker's")

    await eventually(look, lambda count: count >= times, 60.0, f"tokens agree {times} times")
    assert "tokens differ" not in frontend.log()


async def events(frontend: Frontend, worker: "VllmWorker") -> dict[str, Any]:
    told: dict[str, Any] = (await frontend.workers())[worker.id]["kv"]["events"]
    return told


async def placed_by(frontend: Frontend) -> Counter[str]:
    """Placements by what was known of the prompt."""
    page = (await frontend.admin("GET", "/metrics")).body.decode()
    counts: Counter[str] = Counter()
    for line in page.splitlines():
        if line.startswith("grove_dp_placements_total{"):
            name, _, value = line.rpartition(" ")
            counts[name.split('"')[1]] += int(float(value))
    return counts


def prompt(rng: random.Random, tokens: int) -> dict[str, Any]:
    """A completion of so many tokens, none of them special."""
    return {"prompt": [rng.randrange(300, 4000) for _ in range(tokens)], "max_tokens": 2}


def share(seen: list[Asked]) -> float:
    return sum(asked.right for asked in seen) / len(seen)


def hit_rate(seen: list[Asked]) -> float:
    return sum(asked.realised for asked in seen) / sum(asked.prompt for asked in seen)


def ttft_ms(seen: list[Asked]) -> float:
    return statistics.median(asked.ttft_s for asked in seen) * 1000


def wrong(seen: list[Asked]) -> list[tuple[int, str, int | None, int, int]]:
    return [
        (number, asked.worker, asked.predicted, asked.realised, asked.prompt)
        for number, asked in enumerate(seen)
        if not asked.right
    ]


async def turns(frontend: Frontend, chats: Chats, count: int, *headers: str) -> list[Asked]:
    """One after the other, the workers' news heard between."""
    seen = []
    for _ in range(count):
        await heard(frontend)
        seen.append(await chats.turn(frontend.port, *headers))
    return seen


class Ears:
    """Hears by itself what the workers tell, to know what happened in their caches."""

    def __init__(self, endpoints: list[str]) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.set(zmq.RCVHWM, 0)
        self._socket.set(zmq.SUBSCRIBE, b"")
        for endpoint in endpoints:
            self._socket.connect(endpoint)

    def heard(self) -> Counter[str]:
        """Blocks stored and removed since the last time."""
        blocks: Counter[str] = Counter()
        while self._socket.poll(0):
            _, batch, _ = msgspec.msgpack.decode(self._socket.recv_multipart()[2])
            for event in batch:
                blocks[event["type"]] += len(event.get("block_hashes", ()))
        return blocks

    def close(self) -> None:
        self._socket.close(0)
        self._context.term()


async def published_at(workers: "list[VllmWorker]") -> list[str]:
    endpoints = []
    for worker in workers:
        async with await RawClient.open(worker.port) as client:
            await client.send(b"GET /kv_event_sources HTTP/1.1\r\nHost: x\r\n\r\n")
            endpoints.append(json.loads((await client.answer("GET")).body)["0"]["endpoint"])
    return endpoints


# ---------------------------------------------------------------- predictions


async def test_what_is_predicted_comes_true_to_the_token(
    frontend: Frontend, kv_workers: "list[VllmWorker]", rig: "Path", figures: list[results.Row]
) -> None:
    """Turn by turn; then the tokens of every prompt are compared with the worker's own."""
    chats = Chats(random.Random(1), 12)
    before = await placed_by(frontend)
    ears = Ears(await published_at(kv_workers))
    try:
        seen = await turns(frontend, chats, TURNS)
        await heard(frontend)
        blocks = ears.heard()
    finally:
        ears.close()
    figures += [
        results.row("requests", len(seen), "requests"),
        results.row("predictions_right", share(seen) * 100, "%", must="value >= 99"),
        results.row("hit_rate", hit_rate(seen) * 100, "%"),
        results.row("evicted", blocks["BlockRemoved"], "blocks"),
        results.row("ttft_p50", ttft_ms(seen), "ms"),
    ]
    assert share(seen) >= 0.99, wrong(seen)
    assert {asked.worker for asked in seen} == {worker.id for worker in kv_workers}
    assert blocks["BlockRemoved"] > 10 * BLOCK, "caches that evict"
    assert hit_rate(seen) > 0.4, "conversations go where they are known"
    assert await placed_by(frontend) - before == {"tokens": len(seen)}
    await _same_tokens(kv_workers[0], rig, chats)


async def _same_tokens(worker: "VllmWorker", rig: "Path", chats: Chats) -> None:
    model = load_model(rig / "model")
    reader = PromptReader(
        model.template, model.tokenizer, ChainKey(bytes(16)), model="tiny-llama", block_size=BLOCK
    )
    for messages in chats.seen:
        body = msgspec.json.encode({"model": "tiny-llama", "messages": messages})
        async with await RawClient.open(worker.port) as client:
            await client.send(post("/tokenize", body))
            told = json.loads((await client.answer()).body)["tokens"]
        assert reader.ids("tokenize", body).tolist() == told, messages
        assert reader.ids("chat", body).tolist() == told, messages


async def test_conversations_keep_their_caches_better_than_in_turns(
    frontend: Frontend, figures: list[results.Row]
) -> None:
    """The same kind of conversations by cost and by round robin: how much is found, and what it saves.

    In small groups by turns, because the machine's speed drifts; so each policy's evict the other's, too.
    """
    by_cost: list[Asked] = []
    in_turns: list[Asked] = []
    ours, theirs = Chats(random.Random(2), 8), Chats(random.Random(3), 8)
    for _ in range(4):
        by_cost += await turns(frontend, ours, 25)
        in_turns += await turns(frontend, theirs, 25, "x-policy: round_robin")
    kv, rr = hit_rate(by_cost) * 100, hit_rate(in_turns) * 100
    figures += [
        results.row(
            "hit_rate_by_policy", kv, "%", anchor="round_robin", anchor_value=rr, must="ratio >= 1.1"
        ),
        results.row(
            "ttft_p50_by_policy",
            ttft_ms(by_cost),
            "ms",
            anchor="round_robin",
            anchor_value=ttft_ms(in_turns),
            aim="ratio <= 1",
        ),
    ]
    assert kv > 1.1 * rr


async def test_predictions_of_requests_that_come_together(
    frontend: Frontend, figures: list[results.Row]
) -> None:
    """Between choice and computation others may store and evict what it was about, so not all can be right.

    A client waits for its own conversation, and nobody shares its system prompts, so of what was stored since
    only the block that its last answer filled can be missing. What can have gone are blocks of whoever was
    not asked for longest, and eight conversations are somewhat less than both caches hold. Both are rare:
    one in ten at the most.
    """

    async def client(number: int) -> list[Asked]:
        chats = Chats(random.Random(40 + number), 2)
        return [await chats.turn(frontend.port) for _ in range(TURNS_EACH)]

    seen = [one for many in await asyncio.gather(*map(client, range(CLIENTS))) for one in many]
    predicted, realised = sum(asked.predicted or 0 for asked in seen), sum(asked.realised for asked in seen)
    figures += [
        results.row("together_requests", len(seen), "requests"),
        results.row("together_predictions_right", share(seen) * 100, "%", must="value >= 90"),
        results.row("together_tokens", predicted, "tokens", anchor="realised", anchor_value=realised),
    ]
    assert share(seen) >= 0.9, wrong(seen)
    assert 0.9 < predicted / realised < 1.1


# ---------------------------------------------------------------- whose blocks are whose

TEXT = "The river runs by the old mill, and nobody knows (or says) how long: 漢字, naïve, 3.14. " * 6
USER = {"role": "user", "content": TEXT}
TURNS_BEFORE = [{"role": "system", "content": TEXT}, {"role": "user", "content": "Why?"}]
PARTS = {"role": "user", "content": [{"type": "text", "text": TEXT[:200]}, {"type": "text", "text": TEXT}]}
# name -> target, two bodies: the second finds what the first left
ALIKE: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": (CHAT, {"messages": [USER]}),
    "salt": (CHAT, {"messages": [USER], "cache_salt": "tenant-a"}),
    "another salt": (CHAT, {"messages": [USER], "cache_salt": "tenant-b"}),
    "adapter": (CHAT, {"messages": [USER], "model": "tiny-lora"}),
    "adapter and salt": (CHAT, {"messages": [USER], "model": "tiny-lora", "cache_salt": "tenant-a"}),
    "tools": (CHAT, {"messages": [USER], "tools": [TOOL], "tool_choice": "auto"}),
    "no tool wanted": (CHAT, {"messages": [PARTS], "tools": [TOOL], "tool_choice": "none"}),
    "tools called": (
        CHAT,
        {
            "messages": [
                {"role": "user", "content": "Weather? " + TEXT},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "call_1", "content": "12 °C " + TEXT},
            ],
            "tools": [TOOL],
        },
    ),
    "content in parts": (CHAT, {"messages": [PARTS]}),
    "continued": (
        CHAT,
        {
            "messages": [*TURNS_BEFORE, {"role": "assistant", "content": "Because"}],
            "add_generation_prompt": False,
            "continue_final_message": True,
        },
    ),
    "several choices": (CHAT, {"messages": [*TURNS_BEFORE, USER], "n": 2, "temperature": 1}),
    "text to complete": (COMPLETIONS, {"prompt": TEXT + "for n in range(10):"}),
    "tokens to complete": (COMPLETIONS, {"prompt": list(range(300, 460))}),
    "adapter completes": (COMPLETIONS, {"prompt": TEXT + "while True:", "model": "tiny-lora"}),
}


@pytest.mark.parametrize("name", ALIKE)
async def test_only_the_same_kind_of_request_finds_it(frontend: Frontend, name: str) -> None:
    """A salt, an adapter or tools make other blocks of the same words; each kind finds its own again."""
    target, body = ALIKE[name]
    await heard(frontend)
    before = await placed_by(frontend)
    first = await ask(frontend.port, target, **body)
    await heard(frontend)
    again = await ask(frontend.port, target, **body)
    assert (first.predicted, again.predicted) == (first.realised, again.realised), (first, again)
    assert again.worker == first.worker
    assert again.realised == (again.prompt - 1) // BLOCK * BLOCK > first.realised
    assert await placed_by(frontend) - before == {"tokens": 2}


async def test_nobody_finds_what_is_anothers(frontend: Frontend) -> None:
    """The same tokens under no salt, one, another, and an adapter: each time nothing is known."""
    same = prompt(random.Random(5), 5 * BLOCK)
    for scope in ({}, {"cache_salt": "a"}, {"cache_salt": "b"}, {"model": "tiny-lora"}):
        await heard(frontend)
        asked = await ask(frontend.port, COMPLETIONS, **{**same, **scope})
        assert (asked.predicted, asked.realised) == (0, 0), scope


@pytest.mark.parametrize("name", ["responses", "messages"])
async def test_other_dialects_of_the_same_conversation_share_its_blocks(
    frontend: Frontend, name: str
) -> None:
    """What a chat left is found, and predicted, for other endpoints."""
    text = words(random.Random(name), 120)
    await ask(frontend.port, CHAT, messages=[{"role": "user", "content": text}])
    await heard(frontend)
    common = {"model": "tiny-llama", "temperature": 0}
    target, body = {
        "responses": (RESPONSES, common | {"input": text, "max_output_tokens": 8}),
        "messages": (MESSAGES, common | {"messages": [{"role": "user", "content": text}], "max_tokens": 8}),
    }[name]
    answer = await frontend.ask(post(target, msgspec.json.encode(body), "X-Grove-Expose: 1"))
    assert answer.status == 200, answer.body
    usage = json.loads(answer.body)["usage"]
    cached = {
        "responses": lambda: usage["input_tokens_details"]["cached_tokens"],
        "messages": lambda: usage["cache_read_input_tokens"],
    }[name]()
    assert int(answer.header("x-grove-cached-tokens") or -1) == cached > 0


@pytest.mark.parametrize("kept", [BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 4 * BLOCK + 20])
async def test_a_prompt_is_known_as_far_as_its_blocks_go_on_from_each_other(
    frontend: Frontend, kept: int
) -> None:
    """Whole blocks up to the first other token; equal ones behind it do not count."""
    first = prompt(random.Random(kept), 6 * BLOCK)
    await ask(frontend.port, COMPLETIONS, **first)
    await heard(frontend)
    other = [*first["prompt"]]
    other[kept] = 299
    asked = await ask(frontend.port, COMPLETIONS, prompt=other, max_tokens=2)
    assert asked.predicted == asked.realised == kept // BLOCK * BLOCK


async def test_of_whole_blocks_the_last_is_computed_again(frontend: Frontend) -> None:
    """At least one token has to be computed, so the last block is stored a second time."""
    whole = prompt(random.Random(6), 4 * BLOCK)
    for _ in range(3):
        asked = await ask(frontend.port, COMPLETIONS, **whole)
        await heard(frontend)
    assert asked.predicted == asked.realised == 3 * BLOCK


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("number", [0, 1])
async def test_a_worker_that_is_killed_and_comes_back_is_known_to_be_empty(
    frontend: Frontend, kv_workers: "list[VllmWorker]", figures: list[results.Row], number: int
) -> None:
    """The first publishes elsewhere in its next life, the second where it did."""
    victim, rng = kv_workers[number], random.Random(10 + number)
    before = await published_at([victim])
    known = prompt(rng, 8 * BLOCK)
    await ask(victim.port, COMPLETIONS, **known)
    await heard(frontend)
    asked = await ask(frontend.port, COMPLETIONS, **known)
    assert (asked.worker, asked.predicted) == (victim.id, 7 * BLOCK)

    verdicts = frontend.log().count("tokens agree with the worker's")
    await victim.end()  # SIGKILL for all its processes
    await frontend.worker_until(victim.id, 30.0, state="unhealthy")
    elsewhere = await ask(frontend.port, COMPLETIONS, **known)
    assert (elsewhere.worker != victim.id, elsewhere.predicted, elsewhere.realised) == (True, 0, 0)
    victim.start(*victim.flags)
    await victim.ready()
    ready = asyncio.get_running_loop().time()
    await live(frontend)
    figures.append(
        results.row(
            f"heard_again_{number}", asyncio.get_running_loop().time() - ready, "s", must="value <= 10"
        )
    )
    assert (await published_at([victim]) == before) is (number == 1)

    told = await events(frontend, victim)
    assert told["seq"] < 5, "the numbers of its new life"
    assert await _held_by(frontend, victim, known) == 0
    fresh = [prompt(rng, 9 * BLOCK) for _ in range(6)]
    for one in fresh:
        await ask(victim.port, COMPLETIONS, **one)
    await heard(frontend)
    again = [await ask(frontend.port, COMPLETIONS, **one) for one in fresh]
    assert [(one.worker, one.predicted, one.realised) for one in again] == [
        (victim.id, 8 * BLOCK, 8 * BLOCK)
    ] * len(fresh)
    seen = await turns(frontend, Chats(rng, 6), 40)
    figures.append(results.row(f"after_restart_right_{number}", share(seen) * 100, "%", must="value >= 99"))
    assert share(seen) >= 0.99, wrong(seen)
    assert frontend.log().count("tokens agree with the worker's") == verdicts


async def _held_by(frontend: Frontend, worker: "VllmWorker", body: dict[str, Any]) -> int:
    """How much of a prompt's tokens a worker is believed to hold, as the frontend explains its choice."""
    await ask(frontend.port, COMPLETIONS, **body)
    [told] = json.loads((await frontend.admin("GET", "/explain?last=1")).body)["decisions"]
    rows = [told["chosen"], *told["others"]]
    return int(next(row["cached_tokens"] for row in rows if row["worker"] == worker.id))


@pytest.mark.parametrize("how", ["cut", "swallowed"])
async def test_what_was_missed_is_made_good_by_replay(
    kv_workers: "list[VllmWorker]", figures: list[results.Row], how: str
) -> None:
    """While nothing is heard of it the worker changes its whole cache: then that is known, to the block."""
    worker, rng = kv_workers[1], random.Random(how)
    async with Splice(worker.folder / "events") as splice, routing(kv_workers) as frontend:
        chats = Chats(rng, 6)
        seen = await turns(frontend, chats, 20)
        await heard(frontend)
        before = await events(frontend, worker)
        if how == "cut":
            splice.cut()
            await _events_until(frontend, worker, state="disconnected")
        else:
            splice.swallowing = True
        missed = [prompt(rng, 9 * BLOCK) for _ in range(16)]
        for one in missed:
            await ask(worker.port, COMPLETIONS, **one)
        assert (await events(frontend, worker))["seq"] == before["seq"], "nothing was heard"
        if how == "cut":
            await splice.listen()
        else:
            await _still(splice)
            splice.swallowing = False
            await ask(worker.port, COMPLETIONS, **prompt(rng, 2 * BLOCK))  # by which it is noticed
            await _events_until(frontend, worker, gaps=before["gaps"] + 1)
        await live(frontend)
        await heard(frontend)
        after = await events(frontend, worker)
        assert after["replays"] > before["replays"]
        assert (after["lost"], after["restarts"]) == (0, 0)
        assert after["seq"] >= before["seq"] + len(missed)
        for one in missed[-4:]:
            asked = await ask(frontend.port, COMPLETIONS, **one)
            assert (asked.worker, asked.predicted, asked.realised) == (worker.id, 8 * BLOCK, 8 * BLOCK)
        healed = await turns(frontend, chats, 40)
    figures.append(results.row(f"after_{how}_right", share(healed) * 100, "%", must="value >= 99"))
    assert share(seen) == 1, wrong(seen)
    assert share(healed) >= 0.99, wrong(healed)


async def _still(splice: Splice) -> None:
    """Until what is swallowed are whole messages: nothing has come for a while."""
    last = -1
    while last != splice.swallowed:
        last = splice.swallowed
        await asyncio.sleep(0.3)
    assert last > 0


async def _events_until(frontend: Frontend, worker: "VllmWorker", **wanted: object) -> None:
    async def look() -> dict[str, Any]:
        return await events(frontend, worker)

    def good(told: dict[str, Any]) -> bool:
        return all(told[key] == value for key, value in wanted.items())

    await eventually(look, good, 20.0, f"kv events of {worker.id} become {wanted}")
