"""A simulated vLLM worker, and many of them in one process.

    async with SimWorkers(count=4, speed=10) as workers:
        workers[0].url                     # http://127.0.0.1:...
        workers[0].fault("die_mid_stream", after_events=3, count=1)
        workers[0].state()["running"]

A worker owns a port, its faults and its ranks (rank.py: an engine that runs). With `kv_events` each rank
publishes what vLLM would, on ports of its own: worker n of a `SimWorkers` starts n x ranks after the first.
"""

import asyncio
import contextlib
import math
import random
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Self

import msgspec

from grove_dp.sim.asks import Ask, Reader
from grove_dp.sim.engine import Engine
from grove_dp.sim.exchange import Exchange
from grove_dp.sim.faults import Fault, FaultKind
from grove_dp.sim.http import HttpServer, Reply, Request
from grove_dp.sim.publisher import EventPublisher
from grove_dp.sim.rank import Rank
from grove_dp.sim.refusals import DEAD, DRAINING, OVERLOADED, UNEXPECTED, Refusal
from grove_dp.sim.replies import Face
from grove_dp.sim.routes import DIALECTS, ID_PREFIX, Routes
from grove_dp.sim.tokenizer import ModelTokenizer
from grove_dp.sim.worker_settings import WorkerSettings

__all__ = ["SimWorker", "SimWorkers", "WorkerSettings"]


class SimWorker:
    """One worker: engine, port, faults, lifecycle."""

    def __init__(
        self,
        settings: WorkerSettings,
        tokenizer: ModelTokenizer,
        *,
        rng: random.Random,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.tokenizer = tokenizer
        self.rng = rng
        self.wall = wall
        self.started_at = wall()
        ranks = f"dp{settings.data_parallel_size}-" if settings.data_parallel_size > 1 else ""
        self.fingerprint = f"vllm-{settings.release}-{ranks}{rng.getrandbits(32):08x}"
        self.reader = Reader(
            tokenizer,
            settings.models,
            settings.model_len,
            auto_tools=settings.enable_auto_tool_choice,
            adapters=settings.adapters,
            ranks=settings.data_parallel_size,
        )
        self.requests_started = self.requests_finished = self.requests_aborted = 0
        self.ranks = [
            Rank(number, settings, tokenizer, rng=rng, wall=wall)
            for number in range(settings.data_parallel_size)
        ]
        self.draining = self.dead = False
        self._fault = Fault()
        self._exchanges: set[Exchange] = set()
        self._empty = asyncio.Event()
        self._http = HttpServer(
            Routes(self).answer, keep_alive_s=settings.keep_alive_s, request_id=self._request_id, wall=wall
        )

    @property
    def port(self) -> int:
        return self._http.port

    @property
    def url(self) -> str:
        return f"http://{self._http.host}:{self.port}"

    @property
    def current_fault(self) -> Fault:
        return self._fault

    async def start(self, host: str, port: int) -> None:
        """Listen and run the engines."""
        await self._http.listen(host, port)
        for rank in self.ranks:
            rank.start()

    async def stop(self) -> None:
        """Gone at once, as after SIGKILL: connections end in the middle of whatever they carry."""
        self._http.stop_listening()
        self._http.abort_all()
        for exchange in list(self._exchanges):
            exchange.abandon()
        for rank in self.ranks:
            await rank.stop()
        await asyncio.sleep(0)  # lets the transports say goodbye

    async def restart(self) -> None:
        """Back on the same ports with an empty cache, event sequences at 0."""
        await self.stop()
        self.draining, self.dead, self._fault = False, False, Fault()
        for rank in self.ranks:
            rank.renew()
        self._http.closing = False
        await self.start(self._http.host, self.port)

    async def shutdown(self) -> None:
        """SIGTERM: with a shutdown timeout running answers finish while new requests get 500; what still runs
        after it (at once, by default) ends with an error."""
        self.draining = True
        if self.settings.shutdown_timeout_s > 0 and self._exchanges:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), self.settings.shutdown_timeout_s)
        self._http.closing = True
        self._http.stop_listening()
        self._fail_all()
        self._http.close_idle()
        await asyncio.sleep(0)
        await self.stop()

    def fault(
        self, kind: FaultKind | Fault, *, after_events: int = 0, count: int | None = None, delay_s: float = 0
    ) -> None:
        """Switch a fault on, or everything off with "none"."""
        fault = kind if isinstance(kind, Fault) else Fault(kind, after_events, count, delay_s)
        if fault.kind in ("events_gap", "restart", "none"):
            self._disturb_events(fault)
            if fault.kind != "none":
                return
        before, self._fault = self._fault, fault
        self.draining, self.dead = fault.kind == "drain", fault.kind == "crash"
        if fault.kind == "refuse":
            self._http.stop_listening()
            self._http.close_idle()
        elif before.kind == "refuse" and not self._http.listening:
            self._http.listen_again()
        if self.dead:
            self._fail_all()

    def reset_prefix_cache(self) -> bool:
        """Forget cached blocks, on every rank that is at rest; False when one was not."""
        done = [rank.engine.reset_prefix_cache() for rank in self.ranks]
        return all(done)

    @property
    def engine(self) -> Engine:
        """The engine of rank 0."""
        return self.ranks[0].engine

    def state(self) -> dict[str, Any]:
        """Counters, as `/sim/state` shows them."""
        engines = [rank.engine for rank in self.ranks]
        pools = [engine.pool for engine in engines]
        totals = [msgspec.structs.asdict(engine.totals) for engine in engines]
        return {
            "url": self.url,
            "listening": self._http.listening,
            "draining": self.draining,
            "fault": msgspec.to_builtins(self._fault),
            "requests_started": self.requests_started,
            "requests_finished": self.requests_finished,
            "requests_aborted": self.requests_aborted,
            "requests_rejected": sum(rank.metrics.rejected for rank in self.ranks),
            "requests_open": len(self._exchanges),
            "running": sum(engine.running for engine in engines),
            "waiting": sum(engine.waiting for engine in engines),
            "connections_open": self._http.open,
            "connections_accepted": self._http.accepted,
            "events_sent": self._http.events_sent,
            "blocks_used": sum(pool.usable - pool.free for pool in pools),
            "blocks_usable": sum(pool.usable for pool in pools),
            "blocks_cached": sum(pool.cached for pool in pools),
            "kv_events": [_state_of(rank.publisher) for rank in self.ranks if rank.publisher is not None],
            "engine": {name: sum(each[name] for each in totals) for name in totals[0]},
        }

    def spend_fault(self) -> Fault:
        """The fault that the next generating request meets; counts it."""
        fault = self._fault
        if fault.count is None:
            return fault
        if fault.count <= 0:
            return Fault()
        left = fault.count - 1
        self._fault = msgspec.structs.replace(fault, count=left) if left else Fault()
        return fault

    def serve(self, ask: Ask, reply: Reply, request: Request) -> None:
        """Take a request that has been understood."""
        fault = self.spend_fault()
        rank = min(self.ranks, key=lambda each: each.load) if ask.rank is None else self.ranks[ask.rank]
        refusal = self._objection(fault, rank)
        if fault.kind == "hang" and not (ask.stream and fault.after_events):
            return
        exchange = self._exchange(ask, reply, request, fault, rank)
        self.requests_started += 1
        self._exchanges.add(exchange)
        if refusal is not None:
            if ask.stream and refusal is OVERLOADED:
                reply.open()
            exchange.fail(refusal)
            return
        script = ask.answer_ids
        if script is None and ask.script is not None:
            script = self.tokenizer.encode(ask.script, special=False)
        exchange.start(rank.engine, script, self._answer_len(ask), self.settings.sse_keep_alive_s)
        rank.wake()

    def _objection(self, fault: Fault, rank: Rank) -> Refusal | None:
        """Why a request is refused before it reaches the engine."""
        if self.dead:
            return DEAD
        if self.draining:
            return DRAINING
        if fault.kind == "error500":
            return UNEXPECTED
        if fault.kind == "error_in_200" and fault.after_events == 0:
            return OVERLOADED
        limit = self.settings.max_num_queued_reqs
        if limit is not None and rank.engine.waiting >= limit:
            rank.metrics.rejected += 1
            return OVERLOADED
        return None

    def _exchange(self, ask: Ask, reply: Reply, request: Request, fault: Fault, rank: Rank) -> Exchange:
        hex_id = f"{self.rng.getrandbits(64) | 1 << 63:016x}"
        face = Face(
            ident=ID_PREFIX[ask.kind] + (ask.request_id or hex_id),
            hex_id=hex_id,
            created=int(self.wall()),
            fingerprint=self.fingerprint,
            tokenizer=self.tokenizer,
            details=self.settings.enable_prompt_tokens_details,
            metrics=self.settings.enable_per_request_metrics,
            block_size=self.settings.block_size,
        )
        wanted = request.headers.get("endpoint-load-metrics-format", "").upper()
        return Exchange(
            ask,
            face,
            DIALECTS[ask.kind](ask, face),
            reply,
            fault,
            metrics=rank.metrics,
            extra=lambda: _load_header(wanted, rank.engine),
            ended=self._ended,
        )

    def _ended(self, exchange: Exchange) -> None:
        self._exchanges.discard(exchange)
        if all(choice.finish_reason for choice in exchange.choices):
            self.requests_finished += 1
        else:
            self.requests_aborted += 1
        if not self._exchanges:
            self._empty.set()

    def _fail_all(self) -> None:
        for exchange in list(self._exchanges):
            exchange.fail(DEAD)

    def _answer_len(self, ask: Ask) -> int:
        mean = self.settings.answer_tokens
        spread = random.Random(hash((self.settings.seed, *ask.prompts[0])))
        return mean // 2 + spread.randrange(mean + 1) if mean > 1 else mean

    def _request_id(self, request: Request) -> str | None:
        if not self.settings.enable_request_id_headers:
            return None
        return request.headers.get("x-request-id") or uuid.UUID(int=self.rng.getrandbits(128)).hex

    def _disturb_events(self, fault: Fault) -> None:
        """A gap in what subscribers get, a restart that they notice, or (`none`) no more of it."""
        if fault.kind == "restart":
            for exchange in list(self._exchanges):
                exchange.cut()
            for rank in self.ranks:
                rank.renew()
                rank.rebind()
            return
        lost = 0 if fault.kind == "none" else math.inf if fault.count is None else fault.count
        for rank in self.ranks:
            if rank.publisher is not None:
                rank.publisher.lose_next(lost)


def _state_of(publisher: EventPublisher) -> dict[str, Any]:
    return {
        "endpoint": publisher.facts["endpoint"],
        "replay_endpoint": publisher.facts["replay_endpoint"],
        "sequence": publisher.sequence,
        "lost": publisher.lost,
        "subscribers": publisher.subscribers,
    }


def _load_header(wanted: str, engine: Engine) -> dict[str, str]:
    waiting, usage = float(engine.waiting), engine.pool.usage
    if wanted == "JSON":
        named = f'{{"num_requests_waiting": {waiting}, "kv_cache_usage_perc": {usage}}}'
        return {"endpoint-load-metrics": f'JSON {{"named_metrics": {named}}}'}
    if wanted == "TEXT":
        named = f"named_metrics.num_requests_waiting={waiting}, named_metrics.kv_cache_usage_perc={usage}"
        return {"endpoint-load-metrics": f"TEXT {named}"}
    return {}


class SimWorkers:
    """`count` workers on consecutive ports (or free ones, with port 0)."""

    def __init__(
        self,
        count: int = 1,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        admin_port: int | None = None,
        settings: WorkerSettings | None = None,
        **changes: Any,
    ) -> None:
        base = settings or WorkerSettings()
        self.settings = msgspec.structs.replace(base, **changes)
        self._host, self._port, self._admin_port = host, port, admin_port
        tokenizer = ModelTokenizer(self.settings.tokenizer)
        self._workers = [
            SimWorker(self._settings_of(n), tokenizer, rng=random.Random(f"{self.settings.seed}/{port}/{n}"))
            for n in range(count)
        ]
        self._admin: HttpServer | None = None

    def _settings_of(self, n: int) -> WorkerSettings:
        events = self.settings.kv_events
        if events is None:
            return self.settings
        moved = events.moved(n * self.settings.data_parallel_size)
        return msgspec.structs.replace(self.settings, kv_events=moved)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, all or none of them."""
        try:
            for n, worker in enumerate(self._workers):
                await worker.start(self._host, self._port + n if self._port else 0)
            if self._admin_port is not None:
                self._admin = HttpServer(Routes.admin_of(self._workers))
                await self._admin.listen(self._host, self._admin_port)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Gone at once; nothing to do for those that are gone."""
        if self._admin is not None:
            self._admin.stop_listening()
            self._admin.abort_all()
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    async def shutdown(self) -> None:
        """SIGTERM to all of them."""
        await asyncio.gather(*(worker.shutdown() for worker in self._workers))

    @property
    def urls(self) -> list[str]:
        return [worker.url for worker in self._workers]

    @property
    def admin_url(self) -> str | None:
        return None if self._admin is None else f"http://{self._host}:{self._admin.port}"

    def __getitem__(self, index: int) -> SimWorker:
        return self._workers[index]

    def __iter__(self) -> Iterator[SimWorker]:
        return iter(self._workers)

    def __len__(self) -> int:
        return len(self._workers)
