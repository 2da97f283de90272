"""Predicted against realised: simulated workers, their events over real sockets, the intake, and an index.

    Conversations ──HTTP──► SimWorkers ──ZMQ──► KvEvents ──► Index.push
          └── tokens ──────────────────────────────────────► Index.cached  ==  usage.cached_tokens ?

Any index that speaks `Index` can stand at the end: `TokenIndex` is the plainest one that is right. In a round
every slot gets one request; before the next one the intake has caught up with what the workers had said.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import aiohttp
import msgspec
import numpy as np

from grove_dp.native import kv
from grove_dp.routing.kvevents import IntakeLimits, Kind, KvEvents
from grove_dp.routing.kvreplay import ReplayLimits
from grove_dp.routing.kvsources import read_sources
from grove_dp.sim.cache_events import BlockRemoved, BlockStored
from grove_dp.sim.publisher import EventPublisher
from grove_dp.sim.worker import SimWorkers

__all__ = ["CoreIndex", "Index", "Scope", "Tally", "TokenIndex", "Truth"]

LIMITS = IntakeLimits(
    replay=ReplayLimits(idle_s=5.0, total_s=20.0), full_pause_s=0.01, relink_pause_s=0.01, expire_s=30.0
)
ADAPTER = ("tiny-lora", "/models/tiny-lora")
WORDS = (
    "river stone lamp winter copper violin harbour meadow engine letter garden thunder paper silver".split()
)

Scope = tuple[str, str]  # adapter, salt


class Index(Protocol):
    """What the intake feeds and the router asks."""

    def push(self, slot: int, kind: int, payload: memoryview) -> bool: ...

    def asked(self, slot: int, reports: bool) -> None:
        """Stores of *slot* may, from now on, be reports of what it has: they add no copies."""

    def cached(self, slot: int, tokens: Sequence[int], scope: Scope) -> int:
        """Tokens of this prompt that *slot* holds, in whole blocks."""

    @property
    def removed(self) -> int:
        """Blocks that were taken back, on all slots."""


class TokenIndex:
    """Blocks by the tokens that they and all before them hold; copies counted by the engine's hashes.

    What hangs on a block that nobody announced, after a hole that no replay could fill, is not known either.
    """

    def __init__(self, block_size: int) -> None:
        self.removed = 0
        self._size = block_size
        self._names: dict[tuple[Any, tuple[int, ...]], int] = {}
        self._held: dict[int, dict[Any, list[int]]] = {}  # slot -> hash -> [name, copies]
        self._count: dict[int, Counter[int]] = {}  # slot -> name -> hashes that mean it
        self._reports: set[int] = set()

    def push(self, slot: int, kind: int, payload: memoryview) -> bool:
        held, count = self._held.setdefault(slot, {}), self._count.setdefault(slot, Counter())
        if kind != Kind.EVENTS:
            held.clear()
            count.clear()
            return True
        for name, fields in map(_named, msgspec.msgpack.decode(payload)[1]):
            if name == "BlockStored":
                self._store(held, count, fields, 0 if slot in self._reports else 1)
            elif name == "BlockRemoved":
                self._remove(held, count, fields)
            else:
                held.clear()
                count.clear()
        return True

    def asked(self, slot: int, reports: bool) -> None:
        (self._reports.add if reports else self._reports.discard)(slot)

    def cached(self, slot: int, tokens: Sequence[int], scope: Scope) -> int:
        count, name, size = self._count.get(slot, Counter()), scope, self._size
        for start in range(0, (len(tokens) - 1) // size * size, size):
            name = self._names.get((name, tuple(tokens[start : start + size])))
            if not count[name]:
                return start
        return (len(tokens) - 1) // size * size

    def _store(
        self, held: dict[Any, list[int]], count: Counter[int], event: dict[str, Any], copy: int
    ) -> None:
        hashes, tokens, parent = event["block_hashes"], event["token_ids"], event["parent_block_hash"]
        assert event["block_size"] == self._size
        if parent is not None and parent not in held:
            return
        name: Any = _scope_of(event) if parent is None else held[parent][0]
        for place, block in enumerate(hashes):
            link = name, tuple(tokens[place * self._size : (place + 1) * self._size])
            name = self._names.setdefault(link, len(self._names) + 1)
            entry = held.setdefault(block, [name, 0])
            assert entry[0] == name
            count[name] += entry[1] == 0
            entry[1] = entry[1] + copy or 1

    def _remove(self, held: dict[Any, list[int]], count: Counter[int], event: dict[str, Any]) -> None:
        for block in event["block_hashes"]:
            self.removed += 1
            if block not in held:
                continue
            name, copies = held[block]
            held[block][1] -= 1
            if copies == 1:
                del held[block]
                count[name] -= 1


class CoreIndex:
    """The core's decoder and feeds; where a block is held stands in a set."""

    def __init__(self, block_size: int) -> None:
        self._size = block_size
        self._key = kv.ChainKey(b"fleet")
        self._feeds: dict[int, kv.Feed] = {}
        self._reports: set[int] = set()

    @property
    def removed(self) -> int:
        return sum(feed.counts.removed for feed in self._feeds.values())

    def push(self, slot: int, kind: int, payload: memoryview) -> bool:
        feed = self._feeds.setdefault(slot, kv.Feed(self._key, "m"))
        if kind == Kind.EVENTS:
            feed.apply(bytes(payload), asked=slot in self._reports)
        else:
            feed.clear()
        return True

    def asked(self, slot: int, reports: bool) -> None:
        (self._reports.add if reports else self._reports.discard)(slot)

    def cached(self, slot: int, tokens: Sequence[int], scope: Scope) -> int:
        root = kv.root(self._key, "m", *scope, self._size)
        names = kv.chain(self._key, root, np.array(tokens[:-1], np.uint32), self._size).tolist()
        held = self._feeds[slot].index
        return (
            next((n for n, name in enumerate(names) if (kv.GPU, name) not in held), len(names)) * self._size
        )


def _scope_of(event: dict[str, Any]) -> Scope:
    """Of a first block: its keys are the adapter, which the event names, and the salt."""
    adapter, keys = event.get("lora_name") or "", (event.get("extra_keys") or [None])[0] or ()
    return adapter, next((key for key in keys if key != adapter), "")


def _named(event: Any) -> tuple[str, dict[str, Any]]:
    """An event of either form as its type and its fields."""
    if isinstance(event, dict):
        return event["type"], event
    forms = {"BlockStored": BlockStored, "BlockRemoved": BlockRemoved}
    names = forms[event[0]].__struct_fields__ if event[0] in forms else ()
    return event[0], dict(zip(names, event[1:], strict=False))


class Pair(NamedTuple):
    """One request."""

    round: int
    slot: int
    predicted: int
    realised: int


@dataclass
class Tally:
    """What became of the predictions."""

    exact: int = 0
    wrong: list[Pair] = field(default_factory=list)
    cold: list[Pair] = field(default_factory=list)  # to a slot that the intake did not vouch for
    tokens: int = 0
    cached: int = 0

    @property
    def agreement(self) -> float:
        """Share of all requests whose prediction was exact and vouched for."""
        return self.exact / (self.exact + len(self.wrong) + len(self.cold))


class Conversations:
    """Chats that share system prompts, go on with what was answered, and end."""

    def __init__(
        self, rng: random.Random, *, scopes: bool, systems: int = 3, alive: int = 12, turns: int = 6
    ) -> None:
        """*scopes*: some have salts, some adapters."""
        self._rng = rng
        self._scopes = scopes
        self._systems = [self._words(90) for _ in range(systems)]
        self._turns = turns
        self._alive = [self._new() for _ in range(alive)]

    def next(self) -> dict[str, Any]:
        """A request; its answer goes to `answered`."""
        place = self._rng.randrange(len(self._alive))
        if len(self._alive[place]["messages"]) >= 2 * self._turns:
            self._alive[place] = self._new()
        chat = self._alive[place]
        if chat["messages"][-1]["role"] != "user":
            chat["messages"].append({"role": "user", "content": self._words(25)})
        return chat

    def answered(self, chat: dict[str, Any], text: str) -> None:
        chat["messages"].append({"role": "assistant", "content": text})

    def _new(self) -> dict[str, Any]:
        chat: dict[str, Any] = {
            "messages": [
                {"role": "system", "content": self._rng.choice(self._systems)},
                {"role": "user", "content": self._words(25)},
            ]
        }
        draw = self._rng.random() if self._scopes else 0.5
        if draw < 0.15:
            chat["cache_salt"] = self._rng.choice(("tenant-a", "tenant-b"))
        if draw < 0.05 or draw > 0.9:
            chat["model"] = ADAPTER[0]
        return chat

    def _words(self, count: int) -> str:
        return " ".join(self._rng.choices(WORDS, k=count))


class Truth:
    """A fleet, its intake, and the comparison."""

    def __init__(
        self,
        index: Index,
        workers: SimWorkers,
        http: aiohttp.ClientSession,
        *,
        seed: int,
        scopes: bool = True,
        heal: bool = False,
    ) -> None:
        self.index = index
        self.workers = workers
        self.tally = Tally()
        self.events = KvEvents(self, LIMITS, lambda _: self._news.set(), heal=heal)
        self._http = http
        self._news = asyncio.Event()
        self._rng = random.Random(seed)
        self._chats = [Conversations(self._rng, scopes=scopes) for _ in self.slots()]
        self._round = 0

    def slots(self) -> Iterator[tuple[int, int]]:
        """Worker and rank of each slot."""
        for number, worker in enumerate(self.workers):
            for rank in worker.ranks:
                yield number, rank.number

    def push(self, slot: int, kind: int, payload: memoryview) -> bool:
        self._news.set()
        self.index.asked(slot, self.events.heals(slot))
        return self.index.push(slot, kind, payload)

    async def follow(self) -> None:
        """Subscribe to whatever the workers say that they publish."""
        slot = 0
        for worker in self.workers:
            async with self._http.get(f"{worker.url}/kv_event_sources") as answer:
                for source in read_sources(await answer.read(), "127.0.0.1"):
                    self.events.follow(slot, worker.url, source)
                    slot += 1
        for slot, _ in enumerate(self.slots()):
            assert await self.events.settled(slot, 20)

    async def run(self, rounds: int, before: dict[int, Callable[[], None]] | None = None) -> Tally:
        """Replay; *before* a round something may happen to the fleet."""
        for self._round in range(rounds):
            if before and self._round in before:
                before[self._round]()
            places = list(enumerate(self.slots()))
            await asyncio.gather(*(self._ask(slot, *place) for slot, place in places))
            async with asyncio.timeout(20):
                while not self.caught_up():
                    self._news.clear()
                    await self._news.wait()
        return self.tally

    def caught_up(self) -> bool:
        """Every slot is known up to the newest batch that was sent."""
        publishers = [self._publisher(*place) for place in self.slots()]
        seen = {state.slot: state for state in self.events.states()}
        return all(
            seen[slot].state in ("live", "cold") and seen[slot].seq >= publisher.newest
            for slot, publisher in enumerate(publishers)
        )

    def _publisher(self, worker: int, rank: int) -> EventPublisher:
        publisher = self.workers[worker].ranks[rank].publisher
        assert publisher is not None
        return publisher

    async def _ask(self, slot: int, worker: int, rank: int) -> None:
        chats = self._chats[slot]
        chat = chats.next()
        tokens = self.workers[worker].tokenizer.chat(chat["messages"])
        scope = str(chat.get("model", "")), str(chat.get("cache_salt", ""))
        predicted, warm = self.index.cached(slot, tokens, scope), not self.events.cold(slot)
        xargs = {"kv_cache_report_mode": "full"} if self.events.heals(slot) else {}
        body = json.dumps({**chat, "max_tokens": self._rng.randint(1, 40), "vllm_xargs": xargs})
        headers = {"X-data-parallel-rank": str(rank), "content-type": "application/json"}
        url = f"{self.workers[worker].url}/v1/chat/completions"
        async with self._http.post(url, data=body, headers=headers) as answer:
            said = await answer.json()
            assert answer.status == 200, said
        usage = said["usage"]
        assert usage["prompt_tokens"] == len(tokens)
        realised = (usage["prompt_tokens_details"] or {}).get("cached_tokens", 0)
        chats.answered(chat, said["choices"][0]["message"]["content"])
        self._count(Pair(self._round, slot, predicted, realised), warm, len(tokens))

    def _count(self, pair: Pair, warm: bool, tokens: int) -> None:
        tally = self.tally
        tally.tokens += tokens
        tally.cached += pair.realised
        if not warm:
            tally.cold.append(pair)
        elif pair.predicted == pair.realised:
            tally.exact += 1
        else:
            tally.wrong.append(pair)
