/* plane.h -- the data plane: sockets, threads, tables. What control (Python) may do with it.
 *
 *      control thread (Python)                      I/O thread 0..n-1 (C, no GIL)
 *      ----------------------                       ------------------------------
 *      gdp_table_new/..._worker/..._model           epoll_wait
 *      gdp_plane_publish  ---- atomic pointer --->  read table (quiescent inside epoll_wait)
 *      gdp_plane_ask      ---- flags + eventfd -->  stop accepting, cut, list what is in flight
 *      gdp_plane_counters <--- relaxed loads -----  counters, histograms: one writer each
 *      gdp_plane_records  <--- ring --------------  one record per settled request
 *
 * The same loop runs in its own thread (gdp_plane_start) or nested in somebody's event loop: register gdp_plane_fd()
 * there and call gdp_plane_step() when it is readable, or at least every gdp_plane_wait_ms().
 *
 * Budget of one small request on one core: 2 recv + 2 send + 1/k epoll_wait, no epoll_ctl on kept connections, one copy
 * of the body (kept for a retry), no allocation per streamed event. Per event: 1 recv + 1 send, no copy. */
#ifndef GDP_PLANE_H
#define GDP_PLANE_H

#include "gdp/indexer.h"
#include "gdp/load.h"
#include "gdp/account.h"

typedef struct gdp_plane gdp_plane;
typedef struct gdp_table gdp_table;

/* What is promised to requests of a class, in place of late.ttft_slo_s and late.itl_slo_s. */
#define GDP_SLO_CLASSES 8
typedef struct {
    uint64_t name; /* gdp_hash(name, len, 0) */
    double ttft_s, itl_s;
    uint8_t id;    /* what records call it by; 0 is the class of all others */
} gdp_slo;

/* Everything that may change while running comes with each table. Times in ns, 0 = none where it makes sense. */
typedef struct {
    uint64_t head_ns, body_ns, connect_ns, first_token_ns, answer_ns, between_tokens_ns, total_ns, idle_ns, hold_max_ns;
    uint64_t upstream_idle_ns;
    uint64_t queue_wait_ns, no_worker_ns;
    uint64_t body_bytes, buffered_bytes;
    uint32_t head_bytes, headers, connections, queue_length;
    uint32_t attempts;
    double budget_ratio, budget_burst, budget_per_s;
    gdp_circuit_rule circuit;
    uint64_t tokens_wait_ns, tokens_wait_64k_ns; /* deadline of the token step, and more for each 64 KiB of body */
    uint32_t tokens_jobs;                        /* more at the token thread than this go on without */
    uint64_t recall_bytes;                       /* of prompts whose tokens are remembered */
    uint8_t policy;
    bool half_close_allow, expose_headers, inject_usage;
    char session_header[64]; /* lower case */
    char policy_header[64];  /* lower case; a request may choose its policy by it; empty: it may not */
    gdp_late_rule late;      /* when a worker is full, and who goes first then */
    char class_header[64];   /* lower case; names the class of a request; empty: all are of the default one */
    uint32_t n_classes;
    gdp_slo classes[GDP_SLO_CLASSES];
    bool late_on;            /* false: only max_inflight makes a worker full */
    gdp_weights weights;
    uint32_t predict_s, predict_text_s; /* how long a placement lets us expect its blocks there; 0: not at all */
} gdp_settings;

/* A table is built by control, its workers before the models that they serve, then published and never changed. All return
 * 0 or GDP_NOMEM/GDP_BAD. */
gdp_table *gdp_table_new(const gdp_settings *s, uint32_t n_workers, uint32_t n_models);
int gdp_table_worker(gdp_table *t, uint32_t i, const gdp_worker *w);
int gdp_table_model(gdp_table *t, uint32_t i, const char *name, size_t len, const uint32_t *workers, uint32_t n,
                    const char *body, size_t body_len);     /* body: JSON of this model for GET /v1/models/NAME */
/* Somebody takes jobs for it: gdp_plane_take_job. Prompts that were answered are answered again without a job as long as
 * recall_seed stays: it stands for all that makes tokens of a body. 0: each is asked for. */
int gdp_table_model_exact(gdp_table *t, uint32_t i, uint64_t recall_seed);
/* Account numbers of a model's requests: [0] of the default class, [i + 1] of settings.classes[i]. */
int gdp_table_model_accounts(gdp_table *t, uint32_t i, const uint16_t *numbers, uint32_t n);
int gdp_table_list(gdp_table *t, const char *body, size_t len); /* merged JSON for GET /v1/models */
int gdp_table_version(gdp_table *t, const char *body, size_t len); /* JSON for GET /version */
void gdp_table_free(gdp_table *t);                              /* only if it was not published */

gdp_plane *gdp_plane_new(uint32_t threads, uint64_t seed); /* NULL: out of memory or no epoll */
/* 0 or -errno. One SO_REUSEPORT listener per thread; port 0 picks one. *bound = the port. */
int gdp_plane_listen(gdp_plane *p, const char *ip, uint16_t port, uint16_t *bound);
void gdp_plane_publish(gdp_plane *p, gdp_table *t); /* takes the table; wakes parked requests */
int gdp_plane_start(gdp_plane *p);                  /* 0 or -errno */
int gdp_plane_fd(gdp_plane *p);                     /* nested: thread 0's epoll */
int gdp_plane_wait_ms(gdp_plane *p);                /* nested: call step within this time */
void gdp_plane_step(gdp_plane *p);                  /* nested: handle what is ready, do not block */
gdp_books *gdp_plane_books(gdp_plane *p);
/* The index to ask and to tell, before the first start or step; it outlives the plane. 0 or GDP_NOMEM. */
int gdp_plane_attach(gdp_plane *p, gdp_indexer *indexer);
const char *gdp_policy_name(uint8_t policy);

typedef enum {
    GDP_ASK_CLOSE_LISTENERS = 1, /* stop accepting; answers say Connection: close; idle connections close */
    GDP_ASK_CUT = 2,             /* end everything in flight with a well-formed error */
    GDP_ASK_EXIT = 4             /* threads return */
} gdp_plane_asks;
void gdp_plane_ask(gdp_plane *p, uint32_t asks);
void gdp_plane_free(gdp_plane *p); /* asks EXIT, joins, closes everything */

/* ---- the token step: who has a tokenizer takes jobs and gives them back (csrc/plane/tokens.c) --------------------- */

typedef struct gdp_job gdp_job;
typedef struct {
    const char *model, *body; /* model: cut to 40 bytes. Valid until the job is given back. */
    uint32_t body_len;
    uint8_t endpoint, model_len;
    bool gone; /* nobody waits for it any more: give it back without work */
} gdp_job_view;

/* The oldest job, NULL after timeout_ms or when jobs are closed. From any thread. */
gdp_job *gdp_plane_take_job(gdp_plane *p, int timeout_ms);
gdp_job_view gdp_job_look(const gdp_job *j);
/* Every job that was taken must be given back, once. chain: name of each whole block of the prompt (copied), NULL: the
 * prompt could not be turned into tokens. */
void gdp_plane_give_job(gdp_plane *p, gdp_job *j, const uint64_t *chain, uint32_t n, uint32_t prompt_tokens,
                        uint32_t block_tokens);
void gdp_plane_close_jobs(gdp_plane *p); /* wakes all that wait in take; before gdp_plane_free, join them */

/* ---- what can be read --------------------------------------------------------------------------------------- */

/* Ends of requests. Names (CamelCase) are the `reason` everywhere: gdp_reason_name(). */
typedef enum {
    GDP_R_OK, GDP_R_RELAYED_4XX, GDP_R_RELAYED_5XX, GDP_R_STREAM_ERROR, GDP_R_LOCAL,
    /* the client's fault */
    GDP_R_BAD_REQUEST, GDP_R_BAD_JSON, GDP_R_MODEL_REQUIRED, GDP_R_MODEL_NOT_FOUND, GDP_R_NOT_FOUND,
    GDP_R_METHOD_NOT_ALLOWED, GDP_R_HEAD_TOO_LARGE, GDP_R_BODY_TOO_LARGE, GDP_R_EXPECTATION_FAILED,
    GDP_R_HEAD_TIMEOUT, GDP_R_BODY_TIMEOUT, GDP_R_CLIENT_GONE, GDP_R_CLIENT_STALLED, GDP_R_NOT_IMPLEMENTED,
    GDP_R_VERSION_NOT_SUPPORTED,
    /* the worker's fault */
    GDP_R_WORKER_UNREACHABLE, GDP_R_WORKER_BROKE_OFF, GDP_R_WORKER_BAD_ANSWER, GDP_R_FIRST_TOKEN_TIMEOUT,
    GDP_R_ANSWER_TIMEOUT, GDP_R_TOKEN_GAP_TIMEOUT, GDP_R_TOTAL_TIMEOUT, GDP_R_CONNECT_TIMEOUT,
    /* ours */
    GDP_R_NO_READY_WORKER, GDP_R_QUEUE_FULL, GDP_R_QUEUE_TIMEOUT, GDP_R_BUFFERS_FULL, GDP_R_TOO_MANY_CONNECTIONS,
    GDP_R_SHUTTING_DOWN, GDP_R_OUT_OF_MEMORY,
    GDP_REASONS
} gdp_reason;
const char *gdp_reason_name(gdp_reason r);

typedef enum {
    GDP_E_CHAT, GDP_E_COMPLETIONS, GDP_E_RESPONSES, GDP_E_MESSAGES, GDP_E_EMBEDDINGS, GDP_E_TOKENIZE, GDP_E_OTHER,
    GDP_E_MODELS, GDP_E_STATUS, GDP_E_NONE, GDP_ENDPOINTS
} gdp_endpoint;
const char *gdp_endpoint_name(gdp_endpoint e);

/* Sums over all threads. Monotonic but for the gauges at the end. */
typedef struct {
    uint64_t ended[GDP_ENDPOINTS][GDP_REASONS]; /* requests by endpoint and reason */
    uint64_t status[600];                       /* answers by status sent */
    uint64_t accepted, client_bytes_in, client_bytes_out, events, usage_missing;
    uint64_t prompt_tokens, cached_tokens, output_tokens;
    uint64_t retries, retries_denied, upstream_connects, upstream_reuses, upstream_stale, queued, records_lost;
    uint64_t tokens_exact, tokens_recalled, tokens_declined, tokens_late, tokens_skipped; /* how the token step ended */
    uint64_t placed_by[3]; /* gdp_basis: placements by what was known of the prompt */
    uint64_t demoted;      /* requests that could not meet their deadline any more, or made way for others */
    /* gauges */
    uint64_t connections, exchanges, waiting, buffered_bytes, upstreams;
} gdp_counters;
void gdp_plane_counters(gdp_plane *p, gdp_counters *out);

/* Where one thread counts requests. Once per number and thread, before a table names the number; the cells live as long
 * as the plane. 0, GDP_BAD (no such number or thread, or told before), GDP_NOMEM. */
#define GDP_ACCOUNTS 1024u
uint32_t gdp_plane_threads(const gdp_plane *p);
int gdp_plane_account(gdp_plane *p, uint32_t number, uint32_t thread, const gdp_account *cells);

/* What was promised to a request's class, and kept: streams only, whose first token came. */
enum { GDP_JUDGED = 1, GDP_KEPT_TTFT = 2, GDP_KEPT_ITL = 4 };

/* The measured life of a request. Times: CLOCK_MONOTONIC ns, 0 = did not happen.
 *
 *     arrival -- tokens -- placed -- sent -- first ---- last -- end
 *        tokenise    queue     place   prefill    decode             (tokens 0: it did not wait for them) */
typedef struct {
    uint64_t arrival_ns, tokens_ns, placed_ns, sent_ns, first_ns, last_ns, end_ns; /* placed, sent: of the last try */
    int64_t prompt_tokens, cached_tokens, output_tokens, predicted_tokens; /* -1 unknown; predicted: cached ones */
    double prefill_s;       /* of its worker for its prompt, as expected when it was placed */
    uint64_t request_bytes, answer_bytes;
    uint32_t slot;          /* last worker, UINT32_MAX none */
    uint32_t prefill_slot;  /* that computed its prompt, where that is another one; else UINT32_MAX */
    uint32_t events;
    uint16_t status;        /* sent to the client, 0 none */
    uint8_t reason, endpoint, retries, stream, class_id, kept; /* kept: GDP_JUDGED, ... */
    char id[40];            /* x-request-id, cut */
    char model[40];
} gdp_record;
/* Move up to max finished records to out, in the order in which each thread ended them. One reader, who comes at least
 * every GDP_RECORDS requests; what is not read by then is lost, and counted. Returns the count. */
#define GDP_RECORDS 16384u
size_t gdp_plane_records(gdp_plane *p, gdp_record *out, size_t max);

/* Expected seconds of all uncached prompts that were placed on a slot, whoever held it. */
double gdp_plane_work_s(gdp_plane *p, uint32_t slot);

/* A placement, with what decided it. */
typedef enum { GDP_BY_NOTHING, GDP_BY_TOKENS, GDP_BY_TEXT } gdp_basis;
typedef struct {
    uint64_t at_ns, waited_ns; /* CLOCK_MONOTONIC; since it arrived */
    uint32_t prompt_tokens, blocks, known; /* known: leading blocks that any worker holds */
    uint32_t n_candidates, tied, n_shown;
    uint8_t policy, basis, attempt;
    gdp_terms shown[GDP_SHOWN]; /* the chosen worker's, then those of the cheapest others */
    char id[40];
    char model[40];
} gdp_decision;
/* Up to max of the last placements, the newest first; one that is written at this moment is left out. */
size_t gdp_plane_decisions(gdp_plane *p, gdp_decision *out, size_t max);

/* What is in flight now. */
typedef struct {
    uint64_t age_ns, phase_age_ns;
    uint32_t slot, events;
    uint32_t buffered;
    uint8_t phase, endpoint, stream, retries, thread;
    char id[40];
    char model[40];
    char peer[48];
} gdp_sight;
const char *gdp_phase_name(uint8_t phase);
/* Ask each thread for its list; waits up to timeout_ms for the answers. Returns entries written (<= max), and how many
 * there were in *total. Threads that did not answer in time are left out; *missed counts them. */
size_t gdp_plane_look(gdp_plane *p, gdp_sight *out, size_t max, int timeout_ms, size_t *total, unsigned *missed);

#endif
