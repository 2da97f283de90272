"""What plane.pyx uses of the core: csrc/include/gdp/plane.h, load.h, cost.h, late.h, meter.h."""

from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from grove_dp.native.indexer cimport gdp_indexer

cdef extern from "gdp/cost.h" nogil:
    ctypedef struct gdp_fit:
        double theta[3]
        double error
        uint64_t n, refused
    ctypedef struct gdp_rates:
        gdp_fit prefill, step
        double output_tokens
        uint64_t n_output
    ctypedef struct gdp_weights:
        double queue, prefill, stall, decode, floor, tie_ratio, tie_s
        double reload_s[3]
    void gdp_weights_init(gdp_weights *w)
    ctypedef struct gdp_terms:
        uint32_t slot, cached_tokens
        double queue_s, prefill_s, stall_s, decode_s, memory_s, total

cdef extern from "gdp/late.h" nogil:
    ctypedef struct gdp_late_rule:
        double full_s, ttft_slo_s, itl_slo_s, hold, demote_s, guard_s, guard_every_s
        bint fifo

cdef extern from "gdp/meter.h" nogil:
    enum: GDP_HIST_BUCKETS
    ctypedef struct gdp_hist:
        uint64_t count
        uint64_t sum_ns
        uint64_t bucket[513]
    double gdp_hist_bound(unsigned i)

cdef extern from "gdp/load.h" nogil:
    enum: GDP_SLOTS_MAX, GDP_ID_MAX, GDP_CLASSES, GDP_SHOWN, GDP_AUDIT_BINS
    ctypedef struct gdp_worker:
        uint32_t slot
        uint32_t max_inflight
        uint64_t key
        uint8_t state
        uint8_t family
        uint16_t port, class_of
        int16_t rank
        bint heals
        uint8_t ip[16]
        uint8_t id_len
        uint8_t authority_len
        char id[96]
        char authority[96]
    ctypedef struct gdp_audit:
        uint64_t judged, agreed, not_auditable, predicted, realised
        uint64_t bin[12]
    ctypedef struct gdp_book:
        uint32_t inflight
        uint32_t failures
        uint8_t circuit
        bint probing
        uint64_t open_until_ns
        uint64_t placed
        uint64_t ok
        uint64_t failed
        uint64_t ejected
        uint64_t prompt_tokens
        uint64_t cached_tokens
        uint64_t output_tokens
        gdp_audit audit[2]
        double trust, backlog_s, running, waiting, kv_tokens, kv_capacity
    ctypedef struct gdp_circuit_rule:
        uint32_t failures_max
        uint64_t open_ns
        uint64_t max_open_ns
    ctypedef struct gdp_books:
        pass
    void gdp_book_copy(gdp_books *b, uint32_t slot, uint64_t now_ns, gdp_book *out)
    void gdp_book_scraped(gdp_books *b, uint32_t slot, double kv_capacity, double kv_tokens)
    void gdp_books_rates(gdp_books *b, uint16_t class_of, gdp_rates *out)
    void gdp_book_reset(gdp_books *b, uint32_t slot)
    void gdp_book_close_circuit(gdp_books *b, uint32_t slot)
    uint64_t gdp_hash(const void *data, size_t n, uint64_t seed)

cdef extern from "gdp/plane.h" nogil:
    enum: GDP_ENDPOINTS, GDP_REASONS, GDP_ASK_CLOSE_LISTENERS, GDP_ASK_CUT
    ctypedef struct gdp_plane:
        pass
    ctypedef struct gdp_table:
        pass
    enum: GDP_SLO_CLASSES
    ctypedef struct gdp_slo:
        uint64_t name
        double ttft_s, itl_s
    ctypedef struct gdp_settings:
        uint64_t head_ns, body_ns, connect_ns, first_token_ns, answer_ns, between_tokens_ns, total_ns
        uint64_t idle_ns, hold_max_ns, upstream_idle_ns, queue_wait_ns, no_worker_ns
        uint64_t tokens_wait_ns, tokens_wait_64k_ns
        uint64_t body_bytes, buffered_bytes
        uint32_t head_bytes, headers, connections, queue_length, attempts, tokens_jobs
        uint64_t recall_bytes
        double budget_ratio, budget_burst, budget_per_s
        gdp_circuit_rule circuit
        uint8_t policy
        bint half_close_allow, expose_headers, inject_usage, records
        char session_header[64]
        char policy_header[64]
        gdp_late_rule late
        char class_header[64]
        uint32_t n_classes
        gdp_slo classes[8]
        bint late_on
        gdp_weights weights
        uint32_t predict_s, predict_text_s
    ctypedef struct gdp_counters:
        uint64_t ended[10][64]
        uint64_t status[600]
        uint64_t accepted, client_bytes_in, client_bytes_out, events, usage_missing
        uint64_t prompt_tokens, cached_tokens, output_tokens
        uint64_t retries, retries_denied, upstream_connects, upstream_reuses, upstream_stale, queued
        uint64_t records_lost, tokens_exact, tokens_recalled, tokens_declined, tokens_late, tokens_skipped
        uint64_t placed_by[3]
        uint64_t demoted
        uint64_t connections, exchanges, waiting, buffered_bytes, upstreams
    ctypedef struct gdp_record:
        uint64_t arrival_ns, placed_ns, first_ns, last_ns, end_ns
        int64_t prompt_tokens, cached_tokens, output_tokens, predicted_tokens
        uint64_t request_bytes, answer_bytes
        uint32_t slot, events
        uint16_t status
        uint8_t reason, endpoint, retries, stream
        char id[40]
        char model[40]
    ctypedef struct gdp_sight:
        uint64_t age_ns, phase_age_ns
        uint32_t slot, events, buffered
        uint8_t phase, endpoint, stream, retries, thread
        char id[40]
        char model[40]
        char peer[48]
    ctypedef struct gdp_decision:
        uint64_t at_ns, waited_ns
        uint32_t prompt_tokens, blocks, known, n_candidates, tied, n_shown
        uint8_t policy, basis, attempt
        gdp_terms shown[4]
        char id[40]
        char model[40]
    size_t gdp_plane_decisions(gdp_plane *p, gdp_decision *out, size_t most)
    int gdp_plane_attach(gdp_plane *p, gdp_indexer *indexer)
    ctypedef enum gdp_hist_id:
        GDP_HIST_TTFT
    gdp_table *gdp_table_new(const gdp_settings *s, uint32_t n_workers, uint32_t n_models)
    int gdp_table_worker(gdp_table *t, uint32_t i, const gdp_worker *w)
    int gdp_table_model(gdp_table *t, uint32_t i, const char *name, size_t n, const uint32_t *workers,
                        uint32_t count, const char *body, size_t body_len)
    int gdp_table_model_exact(gdp_table *t, uint32_t i, uint64_t recall_seed)
    int gdp_table_list(gdp_table *t, const char *body, size_t n)
    int gdp_table_version(gdp_table *t, const char *body, size_t n)
    void gdp_table_free(gdp_table *t)
    gdp_plane *gdp_plane_new(uint32_t threads, uint64_t seed)
    int gdp_plane_listen(gdp_plane *p, const char *ip, uint16_t port, uint16_t *bound)
    void gdp_plane_publish(gdp_plane *p, gdp_table *t)
    int gdp_plane_start(gdp_plane *p)
    int gdp_plane_fd(gdp_plane *p)
    int gdp_plane_wait_ms(gdp_plane *p)
    void gdp_plane_step(gdp_plane *p)
    gdp_books *gdp_plane_books(gdp_plane *p)
    void gdp_plane_ask(gdp_plane *p, uint32_t asks)
    void gdp_plane_free(gdp_plane *p)
    ctypedef struct gdp_job:
        pass
    ctypedef struct gdp_job_view:
        const char *model
        const char *body
        uint32_t body_len
        uint8_t endpoint, model_len
        bint gone
    gdp_job *gdp_plane_take_job(gdp_plane *p, int timeout_ms)
    gdp_job_view gdp_job_look(const gdp_job *j)
    void gdp_plane_give_job(gdp_plane *p, gdp_job *j, const uint64_t *chain, uint32_t n,
                            uint32_t prompt_tokens, uint32_t block_tokens)
    void gdp_plane_close_jobs(gdp_plane *p)
    const char *gdp_reason_name(int r)
    const char *gdp_endpoint_name(int e)
    const char *gdp_phase_name(uint8_t phase)
    void gdp_plane_counters(gdp_plane *p, gdp_counters *out)
    void gdp_plane_histogram(gdp_plane *p, gdp_hist_id id, gdp_hist *out)
    size_t gdp_plane_records(gdp_plane *p, gdp_record *out, size_t most)
    size_t gdp_plane_look(gdp_plane *p, gdp_sight *out, size_t most, int timeout_ms, size_t *total,
                          unsigned *missed)

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *t)
    enum: CLOCK_MONOTONIC
