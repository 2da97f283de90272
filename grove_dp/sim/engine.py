"""vLLM's scheduler over a block pool: pure, deterministic, without clock or asyncio.

`step()` does what one pass of the engine loop does and says how long it would take; whoever drives the
engine sleeps (a worker), adds the seconds up (a simulation) or ignores them (a test). One pass:

    1. running sequences first: one decode token each, or the next piece of a prompt
    2. no free block -> the last admitted sequence loses its blocks and waits again, first in line
    3. then waiting ones in order, while the token budget, the seats and the blocks of the WHOLE prompt allow
    4. a sequence whose tokens are all computed gets its next token; full blocks become findable

Blocks become findable when they are scheduled, not when the step ends (as in vLLM 0.32), so two equal
prompts admitted in one step share already. At most `prompt - 1` tokens can hit: the last one must be
computed to yield a token.

An engine with `digests` tells, with each step, what became of its cached blocks: removals before the store
that needed their place, generated blocks when they are full, a reset with the next step. One without names
its blocks by a quicker hash and tells nothing.

Tokens come from a fixed random number per sequence and position, not from a stream: a preempted sequence
continues with the same text, and a request gives the same answer on every worker.
"""

from collections import deque
from collections.abc import Sequence as Tokens
from itertools import chain, islice
from typing import Any, NamedTuple

import msgspec

from grove_dp.sim.blocks import BlockPool
from grove_dp.sim.cache_events import BlockStored, CacheEvent
from grove_dp.sim.digests import BlockNames, Chain
from grove_dp.sim.profiles import Profile, StepWork
from grove_dp.sim.sequences import CacheUse, FinishReason, Output, Sequence

__all__ = ["Engine", "EngineLimits", "EngineTotals", "Step"]

_MASK = (1 << 64) - 1


def _mixed(x: int) -> int:
    """splitmix64: spreads a counter over 64 bits."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


class EngineLimits(msgspec.Struct, frozen=True):
    """What bounds a step and the cache."""

    block_size: int = 16
    num_gpu_blocks: int = 4096
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    long_prefill_tokens: int = 0  # 0: no cap on one prompt's piece
    prefix_caching: bool = True

    @classmethod
    def of(cls, profile: Profile, **changes: Any) -> "EngineLimits":
        """The profile's limits, with changes; a change that is None keeps the profile's value."""
        values: dict[str, Any] = {
            "num_gpu_blocks": profile.num_gpu_blocks,
            "max_num_seqs": profile.max_num_seqs,
            "max_num_batched_tokens": profile.max_num_batched_tokens,
        }
        values.update({key: value for key, value in changes.items() if value is not None})
        return cls(**values)


class EngineTotals(msgspec.Struct):
    """Counters since the start."""

    steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    query_tokens: int = 0
    generated_tokens: int = 0
    preemptions: int = 0
    finished: int = 0
    aborted: int = 0


class Step(NamedTuple):
    """What one pass of the engine loop did."""

    duration_s: float
    outputs: list[Output]
    events: list[CacheEvent]


class Engine:
    """Waiting and running sequences of one worker."""

    def __init__(
        self,
        profile: Profile,
        limits: EngineLimits | None = None,
        *,
        vocabulary: Tokens[int] = range(3, 4096),
        eos: int = 2,
        seed: int = 0,
        digests: BlockNames | None = None,
    ) -> None:
        self.profile = profile
        self.limits = limits or EngineLimits.of(profile)
        self.totals = EngineTotals()
        self.last_work = StepWork()
        self._events: list[CacheEvent] = []
        self._names: BlockNames = digests or Chain()
        self._tells = digests is not None and self.limits.prefix_caching
        self.pool = BlockPool(self.limits.num_gpu_blocks, self._events if self._tells else None)
        self._vocabulary = vocabulary
        self._eos = eos
        self._seed = _mixed(seed)
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []

    @property
    def idle(self) -> bool:
        return not self._waiting and not self._running

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def max_prompt(self) -> int:
        """Longest sequence (prompt and answer) that the cache can hold at all."""
        return self.pool.usable * self.limits.block_size

    def submit(
        self,
        prompt: Tokens[int],
        max_tokens: int,
        *,
        cache: CacheUse = CacheUse(),  # noqa: B008 - it is frozen
        seed: int | None = None,
        script: Tokens[int] | None = None,
        answer_len: int = 0,
        owner: Any = None,
    ) -> Sequence:
        """Queue a prompt. The answer ends after `max_tokens`, or earlier with the end token: after `script`
        (the exact answer) where given, else after `answer_len` tokens (0: never)."""
        if not prompt or max_tokens < 1:
            raise ValueError("a sequence needs a prompt and at least one token to generate")
        if len(prompt) + max_tokens > self.max_prompt + 1:
            raise ValueError(f"{len(prompt)} + {max_tokens} tokens exceed the cache of {self.max_prompt}")
        spice = self._seed if seed is None else seed
        found = Sequence(
            prompt,
            max_tokens,
            seed=_mixed(hash((spice, *prompt)) & _MASK),
            root=self._names.root(cache.scope),
            cache=cache,
            script=script,
            answer_len=answer_len,
            owner=owner,
        )
        self._waiting.append(found)
        return found

    def abort(self, sequence: Sequence) -> None:
        """Forget a sequence at once; does nothing when it has ended."""
        if sequence.finish_reason is not None:
            return
        sequence.finish_reason = "abort"
        self.totals.aborted += 1
        if sequence in self._running:
            self._running.remove(sequence)
        else:
            self._waiting.remove(sequence)
        self._release(sequence)

    def reset_prefix_cache(self) -> bool:
        """Forget cached blocks; False while sequences run."""
        return self.pool.forget()

    def step(self) -> Step:
        """One pass: how long it takes, the tokens that exist when it ends, what became of cached blocks."""
        if self.idle:
            return Step(0.0, [], [])
        work = self.last_work = StepWork()
        scheduled: list[Sequence] = []
        budget = self._schedule_running(work, scheduled)
        if budget is not None:
            self._admit_waiting(budget, work, scheduled)
        self.totals.steps += 1
        outputs = self._sample(scheduled)
        events = self._events.copy()
        self._events.clear()
        return Step(self.profile.step_s(work), outputs, events)

    # 1, 2: running sequences; None when one was preempted, then nobody new is admitted
    def _schedule_running(self, work: StepWork, scheduled: list[Sequence]) -> int | None:
        budget = self.limits.max_num_batched_tokens
        preempted = False
        place = 0
        while place < len(self._running) and budget > 0:
            sequence = self._running[place]
            count = self._piece(len(sequence.tokens) - sequence.computed, budget)
            while not self._extend(sequence, sequence.computed + count):
                preempted = True
                victim = self._running.pop()
                self._preempt(victim)
                if victim is sequence:
                    return None
            self._advance(sequence, count, work)
            scheduled.append(sequence)
            budget -= count
            place += 1
        return None if preempted else budget

    # 3: waiting sequences, strictly in order
    def _admit_waiting(self, budget: int, work: StepWork, scheduled: list[Sequence]) -> None:
        while self._waiting and budget > 0 and len(self._running) < self.limits.max_num_seqs:
            sequence = self._waiting[0]
            hits = self._prefix_hits(sequence)
            wanted = self._blocks_for(len(sequence.tokens)) - len(hits) + self.pool.idle_among(hits)
            if wanted > self.pool.free:
                return
            self._waiting.popleft()
            self._start(sequence, hits)
            count = self._piece(len(sequence.tokens) - sequence.computed, budget)
            self._extend(sequence, sequence.computed + count)
            self._advance(sequence, count, work)
            self._running.append(sequence)
            scheduled.append(sequence)
            budget -= count

    # 4: tokens
    def _sample(self, scheduled: list[Sequence]) -> list[Output]:
        outputs: list[Output] = []
        ended = False
        for sequence in scheduled:
            if sequence.computed < len(sequence.tokens):
                continue
            if sequence.generated == 0:
                self.totals.prompt_tokens += sequence.prompt_len
            token = self._next_token(sequence)
            sequence.tokens.append(token)
            reason = self._ending(sequence, token)
            outputs.append(Output(sequence, token, reason))
            if reason is not None:
                sequence.finish_reason = reason
                self._release(sequence)
                self.totals.finished += 1
                ended = True
        self.totals.generated_tokens += len(outputs)
        if ended:
            self._running = [s for s in self._running if s.finish_reason is None]
        return outputs

    def _next_token(self, sequence: Sequence) -> int:
        place = sequence.generated
        if sequence.script is not None:
            return sequence.script[place] if place < len(sequence.script) else self._eos
        if sequence.answer_len and place >= sequence.answer_len:
            return self._eos
        return self._vocabulary[_mixed(sequence.seed + place) % len(self._vocabulary)]

    def _ending(self, sequence: Sequence, token: int) -> FinishReason | None:
        if token == self._eos:
            return "stop"
        return "length" if sequence.generated >= sequence.max_tokens else None

    def _piece(self, missing: int, budget: int) -> int:
        cap = self.limits.long_prefill_tokens
        return min(missing, budget, cap) if cap else min(missing, budget)

    def _blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.limits.block_size)

    def _prefix_hits(self, sequence: Sequence) -> list[int]:
        if not (self.limits.prefix_caching and sequence.cache.read):
            return []
        full = (len(sequence.tokens) - 1) // self.limits.block_size
        self._hash_up_to(sequence, full)
        hits = self.pool.match(islice(sequence.hashes, 1, full + 1))
        if hits and sequence.cache.report_hits:
            self._announce(sequence, 0, len(hits))
        return hits

    def _start(self, sequence: Sequence, hits: list[int]) -> None:
        self.pool.share(hits)
        sequence.blocks = hits
        sequence.stored = len(hits)
        sequence.computed = len(hits) * self.limits.block_size
        if sequence.cached_tokens < 0:
            sequence.cached_tokens = sequence.computed
            self.totals.cached_tokens += sequence.computed
            self.totals.query_tokens += len(sequence.tokens)

    def _extend(self, sequence: Sequence, tokens: int) -> bool:
        """Make room for that many tokens in all; False when the pool is dry."""
        missing = self._blocks_for(tokens) - len(sequence.blocks)
        if missing > self.pool.free:
            return False
        if missing > 0:
            sequence.blocks += self.pool.take(missing)
        return True

    def _advance(self, sequence: Sequence, count: int, work: StepWork) -> None:
        if count == 1 and sequence.generated:
            work.add_decode(sequence.computed)
        else:
            work.add_prefill(count, sequence.computed)
        sequence.computed += count
        full = sequence.computed // self.limits.block_size
        if full > sequence.stored and self.limits.prefix_caching:
            self._hash_up_to(sequence, full)
            for block, key in zip(
                sequence.blocks[sequence.stored : full],
                islice(sequence.hashes, sequence.stored + 1, full + 1),
                strict=True,
            ):
                self.pool.store(block, key)
            self._announce(sequence, sequence.stored, full)
            sequence.stored = full

    def _announce(self, sequence: Sequence, first: int, end: int) -> None:
        """Tell that blocks `first` to `end` of a sequence can be found."""
        if not self._tells:
            return
        size, use = self.limits.block_size, sequence.cache
        adapter = use.scope.adapter
        self._events.append(
            BlockStored(
                block_hashes=sequence.hashes[first + 1 : end + 1],
                parent_block_hash=sequence.hashes[first] if first else None,
                token_ids=sequence.tokens[first * size : end * size],
                block_size=size,
                lora_id=adapter.number if adapter else None,
                lora_name=adapter.name if adapter else None,
                extra_keys=[use.scope.extra_keys(block) for block in range(first, end)],
                session_id=use.session_id,
            )
        )

    def _hash_up_to(self, sequence: Sequence, full: int) -> None:
        size, hashes, scope = self.limits.block_size, sequence.hashes, sequence.cache.scope
        for block in range(len(hashes) - 1, full):
            tokens = sequence.tokens[block * size : (block + 1) * size]
            hashes.append(self._names.name(hashes[-1], tokens, scope, block))

    def _preempt(self, sequence: Sequence) -> None:
        self._release(sequence)
        sequence.preemptions += 1
        self.totals.preemptions += 1
        self._waiting.appendleft(sequence)

    def _release(self, sequence: Sequence) -> None:
        self.pool.release(sequence.blocks)
        sequence.blocks = []
        sequence.computed = sequence.stored = 0

    def live(self) -> list[Sequence]:
        """Every sequence that has not ended."""
        return list(chain(self._running, self._waiting))
