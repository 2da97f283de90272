"""One data-parallel rank of a worker: an engine, its clock, its counters, its events.

The task asks the engine for a step, sleeps until the step would end, publishes what became of its blocks and
hands its tokens to the exchanges that wait for them: time is the engine's, scaled by `speed`. When the task
falls behind (a busy machine) it drops the debt beyond 50 ms instead of running hot.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from grove_dp.sim.cache_events import wire_of
from grove_dp.sim.digests import DEFAULT_SEED, Digests
from grove_dp.sim.engine import Engine, EngineLimits
from grove_dp.sim.metrics import WorkerMetrics
from grove_dp.sim.publisher import EventPublisher
from grove_dp.sim.sequences import Output
from grove_dp.sim.tokenizer import ModelTokenizer
from grove_dp.sim.worker_settings import WorkerSettings

if TYPE_CHECKING:
    from grove_dp.sim.exchange import Exchange

__all__ = ["Rank"]

DEBT_S = 0.05


class Rank:
    """An engine that runs."""

    def __init__(
        self,
        number: int,
        settings: WorkerSettings,
        tokenizer: ModelTokenizer,
        *,
        rng: random.Random,
        wall: Callable[[], float],
    ) -> None:
        self.number = number
        self._settings, self._tokenizer, self._rng = settings, tokenizer, rng
        self._started_at = wall()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        events = settings.kv_events
        self.publisher = None if events is None else EventPublisher(events, number, wall=wall)
        self.renew()

    @property
    def load(self) -> int:
        """What vLLM's own balancer compares."""
        return 4 * self.engine.waiting + self.engine.running

    def start(self) -> None:
        if self.publisher is not None:
            self.publisher.open()
        self._task = asyncio.create_task(self._run(), name=f"engine {self.number}")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self.publisher is not None:
            self.publisher.close()

    def renew(self) -> None:
        """A new engine process: empty cache, counters at 0. Its events begin with `start` or `rebind`."""
        self.engine = self._new_engine()
        self.metrics = self._new_metrics()

    def rebind(self) -> None:
        """As subscribers see a restart: connections cut, the sequence at 0."""
        if self.publisher is not None:
            self.publisher.close()
            self.publisher.open()

    def wake(self) -> None:
        """There is work."""
        self._wake.set()

    def _new_engine(self) -> Engine:
        s, profile = self._settings, self._settings.of_profile
        limits = EngineLimits.of(
            profile,
            block_size=s.block_size,
            num_gpu_blocks=s.num_gpu_blocks,
            max_num_seqs=s.max_num_seqs,
            max_num_batched_tokens=s.max_num_batched_tokens,
            long_prefill_tokens=s.long_prefill_token_threshold,
            prefix_caching=s.prefix_caching,
        )
        if s.model_len > (limits.num_gpu_blocks - 1) * s.block_size:
            usable = (limits.num_gpu_blocks - 1) * s.block_size
            raise ValueError(
                f"max-model-len {s.model_len} does not fit the KV cache of {usable} tokens: "
                "lower --max-model-len or raise --num-gpu-blocks"
            )
        return Engine(
            profile,
            limits,
            vocabulary=self._tokenizer.vocabulary,
            eos=self._tokenizer.eos,
            seed=s.seed,
            digests=self._digests(),
        )

    def _digests(self) -> Digests | None:
        """Names as vLLM gives them, where somebody will read them."""
        s = self._settings
        if s.kv_events is None:
            return None
        wire, seed = wire_of(s.kv_events.format), s.hash_seed
        if seed is None:
            fixed = wire.fixed_seed and s.prefix_caching_hash_algo.startswith("sha256")
            seed = DEFAULT_SEED if fixed else f"{self._rng.getrandbits(256):064x}"
        return Digests(s.prefix_caching_hash_algo, seed, tagged=wire.tagged_keys)

    def _new_metrics(self) -> WorkerMetrics:
        limits, length = self.engine.limits, self._settings.model_len
        tokens = limits.num_gpu_blocks * limits.block_size
        usage = "gpu_cache_usage_perc" if self._settings.release.startswith("0.9") else "kv_cache_usage_perc"
        facts = {
            "model": self._settings.models[0],
            "block_size": str(limits.block_size),
            "num_gpu_blocks": str(limits.num_gpu_blocks * self._settings.data_parallel_size),  # as vLLM sums
            "kv_cache_tokens": str(tokens),
            "kv_cache_concurrency": str(tokens / length),
            "prefix_caching": str(limits.prefix_caching),
            "hash_algo": self._settings.prefix_caching_hash_algo,
            "usage": usage,
        }
        return WorkerMetrics(facts, length, self._started_at)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            engine = self.engine
            if engine.idle:
                self._wake.clear()
                await self._wake.wait()
                due = loop.time()
                continue
            duration, outputs, events = engine.step()
            due = max(due + duration / self._settings.speed, loop.time() - DEBT_S)
            await asyncio.sleep(max(0.0, due - loop.time()))
            if engine is not self.engine:
                continue  # that process is no more
            self.metrics.stepped(engine)
            if self.publisher is not None:
                self.publisher.publish(events)
            _deliver(outputs)


def _deliver(outputs: list[Output]) -> None:
    """Hand a step's tokens out; each exchange writes once."""
    touched: dict[Exchange, None] = {}
    for output in outputs:
        exchange, choice = output.sequence.owner
        exchange.push(output, choice)
        touched[exchange] = None
    for exchange in touched:
        exchange.flush()
