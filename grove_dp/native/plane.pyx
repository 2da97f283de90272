"""The C data plane as control sees it: tables in, counters out, jobs to whoever has a tokenizer.

The contract is plane.pyi, what C offers is plane.pxd.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

cimport cython

from grove_dp.native.indexer cimport Indexer
from grove_dp.native.meter cimport (
    Series,
    gdp_series_counter,
    gdp_series_gauge,
    gdp_series_histogram,
)

import functools
import ipaddress
import os
import socket
from collections import namedtuple

POLICIES = ("round_robin", "random", "least_load", "session", "kv", "approx")
BASES = ("nothing", "tokens", "text")
STATES = ("starting", "ready", "unhealthy", "draining", "refusing")
CIRCUITS = ("closed", "open", "half_open")
SLOTS_MAX = GDP_SLOTS_MAX
CLASSES = GDP_CLASSES

WorkerRow = namedtuple(
    "WorkerRow", "slot id authority ip port state max_inflight class_of rank heals", defaults=(0, -1, False)
)
ModelRow = namedtuple("ModelRow", "name workers body exact recall_seed accounts", defaults=(False, 0, ()))
Book = namedtuple(
    "Book",
    "inflight failures circuit probing open_for_s placed ok failed ejected "
    "prompt_tokens cached_tokens output_tokens "
    "by_tokens by_text trust backlog_s running waiting kv_tokens kv_capacity",
)
Audit = namedtuple("Audit", "judged agreed not_auditable predicted realised bins")
Rates = namedtuple("Rates", "prefill prefill_error prefill_n step step_error step_n output_tokens")
ACCOUNTS = GDP_ACCOUNTS
# Cells of an account, in the order of gdp/account.h.
COUNTS = (
    "arrived", "ended", "prompt", "cached", "uncached", "output", "work", "judged", "kept_ttft", "kept_itl",
    "kept", "tokenise", "queue", "place", "prefill", "decode",
)
TIMES = ("ttft", "gap", "wait", "duration", "connect")
LEVELS = ("waiting", "waiting_tokens")

REASONS = tuple(gdp_reason_name(i).decode() for i in range(GDP_REASONS))
ENDPOINTS = tuple(gdp_endpoint_name(i).decode() for i in range(GDP_ENDPOINTS))


cdef _record_layout():
    cdef gdp_record r
    cdef char *begin = <char *> &r
    fields = [
        ("arrival_ns", "<u8", <char *> &r.arrival_ns - begin),
        ("tokens_ns", "<u8", <char *> &r.tokens_ns - begin),
        ("placed_ns", "<u8", <char *> &r.placed_ns - begin),
        ("sent_ns", "<u8", <char *> &r.sent_ns - begin),
        ("first_ns", "<u8", <char *> &r.first_ns - begin),
        ("last_ns", "<u8", <char *> &r.last_ns - begin),
        ("end_ns", "<u8", <char *> &r.end_ns - begin),
        ("prompt_tokens", "<i8", <char *> &r.prompt_tokens - begin),
        ("cached_tokens", "<i8", <char *> &r.cached_tokens - begin),
        ("output_tokens", "<i8", <char *> &r.output_tokens - begin),
        ("predicted_tokens", "<i8", <char *> &r.predicted_tokens - begin),
        ("prefill_s", "<f8", <char *> &r.prefill_s - begin),
        ("request_bytes", "<u8", <char *> &r.request_bytes - begin),
        ("answer_bytes", "<u8", <char *> &r.answer_bytes - begin),
        ("slot", "<u4", <char *> &r.slot - begin), ("prefill_slot", "<u4", <char *> &r.prefill_slot - begin),
        ("events", "<u4", <char *> &r.events - begin), ("status", "<u2", <char *> &r.status - begin),
        ("reason", "u1", <char *> &r.reason - begin), ("endpoint", "u1", <char *> &r.endpoint - begin),
        ("retries", "u1", <char *> &r.retries - begin), ("stream", "?", <char *> &r.stream - begin),
        ("class_id", "u1", <char *> &r.class_id - begin), ("kept", "u1", <char *> &r.kept - begin),
        ("id", "S40", <char *> &r.id - begin), ("model", "S40", <char *> &r.model - begin),
    ]
    return {
        "names": [name for name, _, _ in fields],
        "formats": [form for _, form, _ in fields],
        "offsets": [offset for _, _, offset in fields],
        "itemsize": sizeof(gdp_record),
    }


RECORD = _record_layout()

_TIMES = frozenset(
    "head_s body_s connect_s first_token_s answer_s between_tokens_s total_s idle_s hold_max_s "
    "upstream_idle_s queue_wait_s no_worker_s tokens_wait_s tokens_wait_64k_s open_s max_open_s".split()
)
_LATE = ("full_s", "ttft_slo_s", "itl_slo_s", "hold", "demote_s", "guard_s", "guard_every_s", "fifo")
_OTHERS = frozenset(
    "body_bytes buffered_bytes head_bytes headers connections queue_length attempts failures budget_ratio "
    "budget_burst budget_per_s policy session_header half_close_allow expose_headers inject_usage"
    " tokens_jobs recall_bytes policy_header late late_on predict_s predict_text_s"
    " class_header classes".split()
)
SETTINGS_KEYS = _TIMES | _OTHERS
LATE_KEYS = frozenset(_LATE)
ACCOUNT_KEYS = frozenset(COUNTS + TIMES + LEVELS)

cdef uint64_t _now_ns() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <uint64_t> t.tv_sec * 1000000000ULL + <uint64_t> t.tv_nsec


cdef uint64_t _ns(settings, str key) except? 0:
    return <uint64_t> (float(settings[key]) * 1e9)


cdef int _read_settings(settings, gdp_settings *s) except -1:
    cdef set given = set(settings)
    if given != SETTINGS_KEYS:
        raise ValueError(f"settings differ from SETTINGS_KEYS by {sorted(given ^ SETTINGS_KEYS)}")
    memset(s, 0, sizeof(gdp_settings))
    s.head_ns, s.body_ns = _ns(settings, "head_s"), _ns(settings, "body_s")
    s.connect_ns = _ns(settings, "connect_s")
    s.first_token_ns, s.answer_ns = _ns(settings, "first_token_s"), _ns(settings, "answer_s")
    s.between_tokens_ns, s.total_ns = _ns(settings, "between_tokens_s"), _ns(settings, "total_s")
    s.idle_ns, s.hold_max_ns = _ns(settings, "idle_s"), _ns(settings, "hold_max_s")
    s.upstream_idle_ns = _ns(settings, "upstream_idle_s")
    s.queue_wait_ns, s.no_worker_ns = _ns(settings, "queue_wait_s"), _ns(settings, "no_worker_s")
    s.tokens_wait_ns = _ns(settings, "tokens_wait_s")
    s.tokens_wait_64k_ns = _ns(settings, "tokens_wait_64k_s")
    s.tokens_jobs, s.recall_bytes = settings["tokens_jobs"], settings["recall_bytes"]
    s.circuit.open_ns, s.circuit.max_open_ns = _ns(settings, "open_s"), _ns(settings, "max_open_s")
    s.circuit.failures_max = settings["failures"]
    s.body_bytes, s.buffered_bytes = settings["body_bytes"], settings["buffered_bytes"]
    s.head_bytes, s.headers = settings["head_bytes"], settings["headers"]
    s.connections, s.queue_length = settings["connections"], settings["queue_length"]
    s.attempts = settings["attempts"]
    s.budget_ratio, s.budget_burst = settings["budget_ratio"], settings["budget_burst"]
    s.budget_per_s = settings["budget_per_s"]
    s.policy = POLICIES.index(settings["policy"])
    s.half_close_allow, s.expose_headers = settings["half_close_allow"], settings["expose_headers"]
    s.inject_usage = settings["inject_usage"]
    _read_header(settings, "session_header", s.session_header)
    _read_header(settings, "policy_header", s.policy_header)
    s.predict_s, s.predict_text_s = settings["predict_s"], settings["predict_text_s"]
    gdp_weights_init(&s.weights)
    s.late_on = settings["late_on"]
    _read_late(settings["late"], &s.late)
    _read_header(settings, "class_header", s.class_header)
    _read_classes(settings["classes"], s)
    return 0


cdef int _read_header(settings, str key, char *out) except -1:
    cdef bytes header = settings[key].lower().encode()
    if len(header) > 63:
        raise ValueError(f"{key} is longer than 63 bytes: {header!r}")
    memcpy(out, <const char *> header, len(header))
    return 0


cdef int _read_classes(classes, gdp_settings *s) except -1:
    cdef bytes name
    if len(classes) > GDP_SLO_CLASSES:
        raise ValueError(f"there may be {GDP_SLO_CLASSES} classes, got {len(classes)}")
    for word, ttft_s, itl_s, number in classes:
        name = word.encode()
        s.classes[s.n_classes].id = number
        s.classes[s.n_classes].name = gdp_hash(<const char *> name, len(name), 0)
        s.classes[s.n_classes].ttft_s, s.classes[s.n_classes].itl_s = ttft_s, itl_s
        s.n_classes += 1
    return 0


cdef int _read_late(rule, gdp_late_rule *r) except -1:
    if set(rule) != LATE_KEYS:
        raise ValueError(f"settings['late'] differs from LATE_KEYS by {sorted(set(rule) ^ LATE_KEYS)}")
    r.full_s, r.ttft_slo_s, r.itl_slo_s = rule["full_s"], rule["ttft_slo_s"], rule["itl_slo_s"]
    r.hold, r.demote_s, r.guard_s = rule["hold"], rule["demote_s"], rule["guard_s"]
    r.guard_every_s, r.fifo = rule["guard_every_s"], rule["fifo"]
    return 0


_ip_address = functools.lru_cache(maxsize=8192)(ipaddress.ip_address)  # PERF: 1,000 of them for every table


cdef int _read_worker(row, gdp_worker *w) except -1:
    cdef bytes name = row.id.encode(), authority = row.authority.encode()
    address = _ip_address(row.ip)
    cdef bytes packed = address.packed
    if len(name) >= GDP_ID_MAX or len(authority) >= GDP_ID_MAX:
        raise ValueError(f"worker id or authority is longer than {GDP_ID_MAX - 1} bytes: {row.id}")
    if not 0 <= row.slot < GDP_SLOTS_MAX:
        raise ValueError(f"slot of {row.id} must be 0..{GDP_SLOTS_MAX - 1}, got {row.slot}")
    memset(w, 0, sizeof(gdp_worker))
    w.slot, w.port, w.max_inflight = row.slot, row.port, row.max_inflight
    if not 0 <= row.class_of < GDP_CLASSES:
        raise ValueError(f"class_of of {row.id} must be 0..{GDP_CLASSES - 1}, got {row.class_of}")
    w.class_of, w.rank, w.heals = row.class_of, row.rank, row.heals
    w.state = STATES.index(row.state)
    w.family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    memcpy(w.ip, <const char *> packed, len(packed))
    w.id_len, w.authority_len = len(name), len(authority)
    memcpy(w.id, <const char *> name, len(name))
    memcpy(w.authority, <const char *> authority, len(authority))
    w.key = gdp_hash(<const char *> name, len(name), 0)
    return 0


cdef int _add_model(gdp_table *t, uint32_t i, row) except -1:
    cdef bytes name = row.name.encode(), body = bytes(row.body)
    cdef list indices = list(row.workers)
    cdef uint32_t n = len(indices), k
    cdef uint32_t *array = <uint32_t *> calloc(n + 1, sizeof(uint32_t))
    if array is NULL:
        raise MemoryError
    cdef int result
    try:
        for k in range(n):
            array[k] = indices[k]
        result = gdp_table_model(t, i, <const char *> name, len(name), array, n,
                                 <const char *> body, len(body))
    finally:
        free(array)
    if result == -3:
        raise MemoryError
    if result < 0:
        raise ValueError(f"model {row.name}: a worker index is outside the table")
    if row.exact:
        gdp_table_model_exact(t, i, row.recall_seed)
    cdef uint16_t numbers[16]
    if len(row.accounts) > 16:
        raise ValueError(f"model {row.name}: more accounts than classes")
    for k, number in enumerate(row.accounts):
        numbers[k] = number
    if gdp_table_model_accounts(t, i, numbers, len(row.accounts)) < 0:
        raise ValueError(f"model {row.name}: no such accounts: {row.accounts}")
    return 0


@cython.no_gc_clear  # __dealloc__ needs the plane
cdef class Job:
    """A request that waits for its token ids. Given back once, at the latest when it is forgotten."""

    cdef Plane _plane
    cdef gdp_job *_j
    cdef readonly str endpoint
    cdef readonly str model
    cdef readonly bytes body

    @property
    def gone(self):
        return self._j is NULL or gdp_job_look(self._j).gone

    def answer(self, const uint64_t[::1] chain not None, uint32_t prompt_tokens, uint32_t block_tokens):
        cdef uint64_t none = 0
        self._give(&chain[0] if chain.shape[0] else &none, <uint32_t> chain.shape[0], prompt_tokens,
                   block_tokens)

    def decline(self):
        self._give(NULL, 0, 0, 0)

    cdef _give(self, const uint64_t *chain, uint32_t n, uint32_t prompt_tokens, uint32_t block_tokens):
        cdef gdp_job *j = self._j
        if j is NULL:
            raise ValueError("this job was given back already")
        self._j = NULL
        self._plane._jobs_out -= 1
        gdp_plane_give_job(self._plane._p, j, chain, n, prompt_tokens, block_tokens)

    def __dealloc__(self):
        if self._j is not NULL:
            self._plane._jobs_out -= 1
            gdp_plane_give_job(self._plane._p, self._j, NULL, 0, 0, 0)


@cython.no_gc_clear  # __dealloc__ needs the indexer
cdef class Plane:
    """Sockets and threads of the data plane; one control thread owns it."""

    cdef gdp_plane *_p
    cdef Indexer _indexer
    cdef list _accounts
    cdef bint _nested
    cdef int _jobs_out, _takers  # guarded by the GIL

    def __cinit__(self, unsigned int threads, uint64_t seed=0):
        if threads > 64:
            raise ValueError(f"threads must be 0..64, got {threads}")
        self._nested = threads == 0
        self._accounts = []
        self._p = gdp_plane_new(threads, seed or int.from_bytes(os.urandom(7), "little"))
        if self._p is NULL:
            raise MemoryError("no memory or no epoll for the data plane")

    def __dealloc__(self):
        if self._p is not NULL:
            gdp_plane_free(self._p)
            if self._indexer is not None:
                self._indexer._planes -= 1

    def attach(self, Indexer indexer not None):
        if self._indexer is not None:
            raise ValueError("an indexer is attached already")
        if gdp_plane_attach(self._open(), indexer.open_()):
            raise MemoryError("no memory for reading the index")
        indexer._planes += 1
        self._indexer = indexer

    cdef gdp_plane *_open(self) except NULL:
        if self._p is NULL:
            raise ValueError("the plane is closed")
        return self._p

    def listen(self, str ip, int port):
        cdef uint16_t bound = 0
        cdef bytes address = ip.encode()
        if not 0 <= port <= 65535:
            raise ValueError(f"port must be 0..65535, got {port}")
        cdef int result = gdp_plane_listen(self._open(), <const char *> address, port, &bound)
        if result < 0:
            raise OSError(-result, os.strerror(-result), f"{ip}:{port}")
        return bound

    def publish(self, settings, workers, models, bytes models_body, bytes version_body):
        cdef gdp_plane *p = self._open()
        cdef gdp_settings s
        cdef gdp_worker w
        cdef uint32_t i
        _read_settings(settings, &s)
        cdef gdp_table *t = gdp_table_new(&s, len(workers), len(models))
        if t is NULL:
            raise MemoryError
        try:
            for i in range(len(workers)):
                _read_worker(workers[i], &w)
                gdp_table_worker(t, i, &w)
            for i in range(len(models)):
                _add_model(t, i, models[i])
            if gdp_table_list(t, <const char *> models_body, len(models_body)) < 0:
                raise MemoryError
            if gdp_table_version(t, <const char *> version_body, len(version_body)) < 0:
                raise MemoryError
        except BaseException:
            gdp_table_free(t)
            raise
        gdp_plane_publish(p, t)

    def start(self):
        cdef int result = gdp_plane_start(self._open())
        if result < 0:
            raise OSError(-result, os.strerror(-result))

    def fileno(self):
        return gdp_plane_fd(self._open())

    def wait_s(self):
        return gdp_plane_wait_ms(self._open()) / 1000.0

    def step(self):
        cdef gdp_plane *p = self._open()
        with nogil:
            gdp_plane_step(p)

    def close_listeners(self):
        gdp_plane_ask(self._open(), GDP_ASK_CLOSE_LISTENERS)

    def cut(self):
        gdp_plane_ask(self._open(), GDP_ASK_CUT)

    def take_job(self, double timeout_s):
        cdef gdp_plane *p = self._open()
        cdef int timeout_ms = <int> (timeout_s * 1000)
        cdef gdp_job *j
        self._takers += 1
        with nogil:
            j = gdp_plane_take_job(p, timeout_ms)
        self._takers -= 1
        if j is NULL:
            return None
        self._jobs_out += 1
        cdef gdp_job_view v = gdp_job_look(j)
        cdef Job job = Job.__new__(Job)
        job._plane, job._j = self, j
        job.endpoint = gdp_endpoint_name(v.endpoint).decode()
        job.model = v.model[:v.model_len].decode("utf-8", "replace")
        job.body = v.body[:v.body_len]
        return job

    def close_jobs(self):
        gdp_plane_close_jobs(self._open())

    def close(self):
        cdef gdp_plane *p = self._p
        if self._jobs_out or self._takers:
            raise RuntimeError(
                f"{self._jobs_out} jobs are out and {self._takers} threads wait for one: "
                "call close_jobs() and join the token threads before close()"
            )
        self._p = NULL
        if p is not NULL:
            with nogil:
                gdp_plane_free(p)
            if self._indexer is not None:
                self._indexer._planes -= 1
                self._indexer = None

    def book(self, unsigned int slot):
        cdef gdp_book b
        if slot >= GDP_SLOTS_MAX:
            raise ValueError(f"slot must be 0..{GDP_SLOTS_MAX - 1}, got {slot}")
        cdef uint64_t now = _now_ns()
        gdp_book_copy(gdp_plane_books(self._open()), slot, now, &b)
        left = (b.open_until_ns - now) / 1e9 if b.circuit == 1 and b.open_until_ns > now else 0.0
        return Book(b.inflight, b.failures, CIRCUITS[b.circuit], bool(b.probing), left, b.placed, b.ok,
                    b.failed, b.ejected, b.prompt_tokens, b.cached_tokens, b.output_tokens,
                    _audit(&b.audit[0]), _audit(&b.audit[1]), b.trust, b.backlog_s, b.running, b.waiting,
                    b.kv_tokens, b.kv_capacity)

    def reset_book(self, unsigned int slot):
        if slot >= GDP_SLOTS_MAX:
            raise ValueError(f"slot must be 0..{GDP_SLOTS_MAX - 1}, got {slot}")
        gdp_book_reset(gdp_plane_books(self._open()), slot)

    def scraped(self, unsigned int slot, double kv_capacity, double kv_tokens):
        if slot >= GDP_SLOTS_MAX:
            raise ValueError(f"slot must be 0..{GDP_SLOTS_MAX - 1}, got {slot}")
        gdp_book_scraped(gdp_plane_books(self._open()), slot, kv_capacity, kv_tokens)

    def rates(self, unsigned int class_of):
        cdef gdp_rates r
        if class_of >= GDP_CLASSES:
            raise ValueError(f"class_of must be 0..{GDP_CLASSES - 1}, got {class_of}")
        gdp_books_rates(gdp_plane_books(self._open()), <uint16_t> class_of, &r)
        return Rates(tuple(r.prefill.theta), r.prefill.error, r.prefill.n, tuple(r.step.theta), r.step.error,
                     r.step.n, r.output_tokens)

    def decisions(self, int most):
        cdef gdp_plane *p = self._open()
        cdef gdp_decision *array
        cdef size_t n, i
        most = max(1, min(most, 4096))
        array = <gdp_decision *> calloc(most, sizeof(gdp_decision))
        if array is NULL:
            raise MemoryError
        try:
            n = gdp_plane_decisions(p, array, most)
            now = _now_ns()
            return [_decision(&array[i], now) for i in range(n)]
        finally:
            free(array)

    def close_circuit(self, unsigned int slot):
        if slot >= GDP_SLOTS_MAX:
            raise ValueError(f"slot must be 0..{GDP_SLOTS_MAX - 1}, got {slot}")
        gdp_book_close_circuit(gdp_plane_books(self._open()), slot)

    def counters(self):
        cdef gdp_plane *p = self._open()
        cdef gdp_counters *c = <gdp_counters *> calloc(1, sizeof(gdp_counters))
        if c is NULL:
            raise MemoryError
        try:
            gdp_plane_counters(p, c)
            return _counters(c)
        finally:
            free(c)

    def account(self, unsigned int number, series):
        cdef gdp_plane *p = self._open()
        cdef gdp_account cells
        cdef uint32_t thread
        cdef int i, result
        if set(series) != ACCOUNT_KEYS:
            raise ValueError(f"series differ from ACCOUNT_KEYS by {sorted(set(series) ^ ACCOUNT_KEYS)}")
        self._accounts.append(series)  # the threads write there until the plane is gone
        for thread in range(gdp_plane_threads(p)):
            memset(&cells, 0, sizeof(cells))
            for i in range(GDP_A_COUNTS):
                cells.count[i] = gdp_series_counter((<Series?> series[COUNTS[i]])._s)
            for i in range(GDP_A_TIMES):
                cells.time[i] = gdp_series_histogram((<Series?> series[TIMES[i]])._s)
            for i in range(GDP_A_LEVELS):
                cells.level[i] = gdp_series_gauge((<Series?> series[LEVELS[i]])._s)
            result = gdp_plane_account(p, number, thread, &cells)
            if result == -3:
                raise MemoryError
            if result < 0:
                raise ValueError(f"account {number} is there already, or not below {ACCOUNTS}")

    def work_s(self, unsigned int slot):
        return gdp_plane_work_s(self._open(), slot)

    def drain_records(self, unsigned char[::1] room not None):
        cdef size_t most = <size_t> room.shape[0] // sizeof(gdp_record)
        return gdp_plane_records(self._open(), <gdp_record *> &room[0], most) if most else 0

    def look(self, double timeout_s=0.5):
        cdef gdp_plane *p = self._open()
        cdef size_t most = 4096, total = 0, n, i
        cdef unsigned missed = 0
        cdef int timeout_ms = <int> (timeout_s * 1000)
        cdef gdp_sight *array = <gdp_sight *> calloc(most, sizeof(gdp_sight))
        if array is NULL:
            raise MemoryError
        try:
            with nogil:
                n = gdp_plane_look(p, array, most, timeout_ms, &total, &missed)
            return {"exchanges": [_sight(&array[i]) for i in range(n)], "total": total, "missed": missed}
        finally:
            free(array)


cdef dict _counters(gdp_counters *c):
    cdef int e, r
    ended = {}
    for e in range(GDP_ENDPOINTS):
        for r in range(GDP_REASONS):
            if c.ended[e][r]:
                ended[gdp_endpoint_name(e).decode(), gdp_reason_name(r).decode()] = c.ended[e][r]
    return {
        "ended": ended,
        "status": {code: c.status[code] for code in range(600) if c.status[code]},
        "accepted": c.accepted,
        "client_bytes_in": c.client_bytes_in,
        "client_bytes_out": c.client_bytes_out,
        "events": c.events,
        "usage_missing": c.usage_missing,
        "prompt_tokens": c.prompt_tokens,
        "cached_tokens": c.cached_tokens,
        "output_tokens": c.output_tokens,
        "retries": c.retries,
        "retries_denied": c.retries_denied,
        "upstream_connects": c.upstream_connects,
        "upstream_reuses": c.upstream_reuses,
        "upstream_stale": c.upstream_stale,
        "queued": c.queued,
        "records_lost": c.records_lost,
        "tokens_exact": c.tokens_exact,
        "tokens_recalled": c.tokens_recalled,
        "tokens_declined": c.tokens_declined,
        "tokens_late": c.tokens_late,
        "tokens_skipped": c.tokens_skipped,
        "placed_by": {BASES[i]: c.placed_by[i] for i in range(3)},
        "demoted": c.demoted,
        "connections": c.connections,
        "exchanges": c.exchanges,
        "waiting": c.waiting,
        "buffered_bytes": c.buffered_bytes,
        "upstreams": c.upstreams,
    }


cdef _audit(gdp_audit *a):
    cdef int i
    return Audit(a.judged, a.agreed, a.not_auditable, a.predicted, a.realised,
                 [a.bin[i] for i in range(GDP_AUDIT_BINS)])


cdef dict _terms(gdp_terms *t):
    return {
        "slot": t.slot, "cached_tokens": t.cached_tokens, "queue_s": t.queue_s, "prefill_s": t.prefill_s,
        "stall_s": t.stall_s, "decode_s": t.decode_s, "memory_s": t.memory_s, "total": t.total,
    }


cdef dict _decision(gdp_decision *d, uint64_t now_ns):
    cdef unsigned i
    shown = [_terms(&d.shown[i]) for i in range(d.n_shown)]
    return {
        "id": d.id.decode("utf-8", "replace"), "model": d.model.decode("utf-8", "replace"),
        "age_s": (now_ns - d.at_ns) / 1e9, "waited_s": d.waited_ns / 1e9, "policy": POLICIES[d.policy],
        "basis": BASES[d.basis], "attempt": d.attempt, "prompt_tokens": d.prompt_tokens,
        "blocks": d.blocks, "known_blocks": d.known, "candidates": d.n_candidates, "tied": d.tied,
        "shown": shown,
    }


cdef dict _sight(gdp_sight *s):
    return {
        "id": s.id.decode("utf-8", "replace"), "model": s.model.decode("utf-8", "replace"),
        "endpoint": gdp_endpoint_name(s.endpoint).decode(), "phase": gdp_phase_name(s.phase).decode(),
        "age_s": s.age_ns / 1e9, "phase_age_s": s.phase_age_ns / 1e9,
        "slot": None if s.slot == 0xFFFFFFFF else s.slot, "events": s.events, "buffered": s.buffered,
        "stream": bool(s.stream), "retries": s.retries, "thread": s.thread,
        "peer": s.peer.decode("ascii", "replace"),
    }
