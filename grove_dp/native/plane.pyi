"""The C data plane as control sees it: publish tables, read counters. See csrc/include/gdp/plane.h."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from grove_dp.native.indexer import Indexer

POLICIES: tuple[str, ...]  # index = number in C: round_robin, random, least_load, session, kv, approx
BASES: tuple[str, ...]  # what a placement knew of the prompt: nothing, tokens, text
STATES: tuple[str, ...]  # starting, ready, unhealthy, draining, refusing (unhealthy, and nobody listens)
CIRCUITS: tuple[str, ...]  # closed, open, half_open
SLOTS_MAX: int
CLASSES: int  # of workers, each with rates of its own

class WorkerRow(NamedTuple):
    slot: int
    id: str  # at most 95 bytes
    authority: str  # Host header, at most 95 bytes
    ip: str  # numeric, v4 or v6
    port: int
    state: str  # one of STATES
    max_inflight: int  # 0: no cap
    class_of: int = 0  # < CLASSES
    rank: int = -1  # data-parallel rank to ask for; -1: none
    heals: bool = False  # requests ask it to tell again of the blocks that they find (kv_cache_report_mode)

class ModelRow(NamedTuple):
    name: str
    workers: Sequence[int]  # indices into the rows of this table
    body: bytes  # its JSON object, for GET /v1/models/NAME
    exact: bool = False  # somebody takes jobs for it; its requests wait for their token ids
    recall_seed: int = 0  # stands for all that makes tokens of a body; 0: no prompt is remembered

class Book(NamedTuple):
    """One worker's book. Counts since the slot was taken."""

    inflight: int
    failures: int
    circuit: str
    probing: bool
    open_for_s: float  # 0.0 unless open
    placed: int
    ok: int
    failed: int
    ejected: int
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    by_tokens: Audit  # predictions from token ids against what the worker reported
    by_text: Audit
    trust: float  # running mean of realised / predicted cached tokens by text
    backlog_s: float  # predicted seconds of prompts that are placed there and not computed
    running: float  # requests past their first token
    waiting: float  # requests before it
    kv_tokens: float  # tokens pinned by requests
    kv_capacity: float  # 0: not known

class Audit(NamedTuple):
    """Cached tokens as predicted against as realised."""

    judged: int  # requests with both numbers
    agreed: int  # ... that agree exactly
    not_auditable: int  # requests whose worker did not report
    predicted: int  # tokens
    realised: int
    bins: Sequence[int]  # requests by realised / predicted: 0, tenths up to (0.9, 1), and 1 or more

class Rates(NamedTuple):
    """What a class of workers does, as learnt: coefficients of cost.h, relative errors, observations."""

    prefill: tuple[float, float, float]
    prefill_error: float
    prefill_n: int
    step: tuple[float, float, float]
    step_error: float
    step_n: int
    output_tokens: float

class Histogram(NamedTuple):
    total: int
    sum_s: float
    bounds_s: Sequence[float]  # upper bounds of the buckets that hold something
    counts: Sequence[int]  # not cumulative

class Job:
    """A request that waits for its token ids: from Plane.take_job(), given back once.

    A job that is forgotten is declined. The calls may come from any thread.
    """

    endpoint: str  # as in the records: chat, completions
    model: str  # the name asked for, cut to 40 bytes
    body: bytes  # as the client sent it
    @property
    def gone(self) -> bool:
        """Nobody waits for it any more (client gone, deadline over): decline it without work."""
    def answer(self, chain: Any, prompt_tokens: int, block_tokens: int) -> None:
        """chain: contiguous uint64, name of each whole block (of block_tokens) of the prompt."""
    def decline(self) -> None:
        """The prompt cannot be turned into tokens: the request goes on without."""

class Plane:
    """Sockets and threads of the data plane. Not thread safe itself: one control thread owns it.

    threads = 0 is nested mode: register ``fileno()`` in an event loop, call ``step()`` when readable and at
    least every ``wait_s()``.
    """

    def __init__(self, threads: int, seed: int = 0) -> None: ...
    def attach(self, indexer: Indexer) -> None:
        """Ask and tell this index about prefixes; before start() or the first step()."""
    def listen(self, ip: str, port: int) -> int:
        """Bind and listen; returns the port. OSError with the reason."""
    def publish(
        self,
        settings: Mapping[str, Any],
        workers: Sequence[WorkerRow],
        models: Sequence[ModelRow],
        models_body: bytes,
        version_body: bytes,
    ) -> None:
        """Swap the table. `settings` has every key of SETTINGS_KEYS (times in seconds, sizes in bytes)."""
    def start(self) -> None: ...
    def fileno(self) -> int: ...
    def wait_s(self) -> float: ...
    def step(self) -> None: ...
    def close_listeners(self) -> None:
        """Stop accepting; answers say Connection: close; idle connections close."""
    def cut(self) -> None:
        """End everything in flight with a well-formed error (reason ShuttingDown)."""
    def take_job(self, timeout_s: float) -> Job | None:
        """The oldest job; None after the time-out or once jobs are closed. From any thread, no GIL held."""
    def close_jobs(self) -> None:
        """Wake everybody in take_job(): no job comes any more. Join them before close()."""
    def close(self) -> None:
        """Stop and join the threads (GIL released), close every socket. Idempotent."""
    def book(self, slot: int) -> Book: ...
    def reset_book(self, slot: int) -> None:
        """Take the slot for a new worker: all counts to zero."""
    def scraped(self, slot: int, kv_capacity: float, kv_tokens: float) -> None:
        """What the worker's metrics say: tokens its cache can hold, tokens pinned; < 0: not said."""
    def rates(self, class_of: int) -> Rates: ...
    def decisions(self, most: int) -> list[dict[str, Any]]:
        """The last placements, the newest first: fields of gdp_decision; shown[0] is the chosen worker."""
    def close_circuit(self, slot: int) -> None:
        """The worker was seen to have restarted: give it requests again at once."""
    def counters(self) -> dict[str, Any]:
        """Counters and gauges by name; "ended": {(endpoint, reason): n} and "status": {code: n}, if not 0."""
    def histogram(self, name: str) -> Histogram:
        """name: ttft, gap, duration, queue, connect."""
    def records(self, most: int = 1024) -> list[dict[str, Any]]:
        """Requests finished since the last call: the fields of gdp_record; needs settings["records"]."""
    def look(self, timeout_s: float = 0.5) -> dict[str, Any]:
        """What is in flight: {"exchanges": [...], "total": n, "missed": threads that were too late}.

        An exchange has id, model, endpoint, phase, age_s, phase_age_s, slot, events, buffered, stream,
        retries, thread, peer. Releases the GIL. In nested mode call it from another thread than the loop's.
        """

# Keys of `settings` for publish():
#   seconds: head_s body_s connect_s first_token_s answer_s between_tokens_s total_s idle_s hold_max_s
#            upstream_idle_s queue_wait_s no_worker_s tokens_wait_s tokens_wait_64k_s open_s max_open_s
#   ints:    body_bytes buffered_bytes head_bytes headers connections queue_length attempts failures
#            tokens_jobs predict_s predict_text_s
#   floats:  budget_ratio budget_burst budget_per_s
#   str:     policy (one of POLICIES) session_header policy_header class_header
#   bools:   half_close_allow expose_headers inject_usage records late_on
#   list:    classes: (name, ttft_s, itl_s) of at most 8 classes of requests
#   dict:    late: a value for each of LATE_KEYS, the fields of gdp_late_rule
SETTINGS_KEYS: frozenset[str]
LATE_KEYS: frozenset[str]
