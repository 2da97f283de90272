/* load.h -- the books: what each worker is doing for us, and whether it may be used.
 *
 * One book per worker slot, shared by all I/O threads. Every request goes through the same pair of calls: gdp_place()
 * chooses a worker AND books it inside one critical section, gdp_settle() frees that booking, once, whatever happened.
 * No policy reads load anywhere else, so no path can forget to count (the commonest fault of the peers).
 *
 * The circuit of a worker:
 *
 *            failures >= limit, or it says that it is shutting down
 *     closed ---------------------------------------------> open  (no requests until open_until)
 *       ^                                                    |  time is up
 *       | success                                            v
 *       +------------------------------------------------ half open  (one request at a time)
 *                                                            | failure: open again, twice as long, up to max
 *
 * A lock, not atomics: choose-and-book touches all candidates, and an uncontended mutex costs 20 ns of the 12,500 that
 * the kernel takes for a request. Readers outside (admin) take the same lock and copy. */
#ifndef GDP_LOAD_H
#define GDP_LOAD_H

#include "gdp/base.h"

#define GDP_SLOTS_MAX 1024
#define GDP_ID_MAX 96
#define GDP_TRIED_MAX 8

typedef enum { GDP_ROUND_ROBIN, GDP_RANDOM, GDP_LEAST_LOAD, GDP_SESSION, GDP_POLICIES } gdp_policy;

/* What control knows of a worker. Only READY ones get new requests. REFUSING: nobody listens there any more, so what
 * waits for its first byte there is asked for elsewhere (a vLLM that is stopped may leave requests unanswered). */
typedef enum { GDP_STARTING, GDP_READY, GDP_UNHEALTHY, GDP_DRAINING, GDP_REFUSING } gdp_worker_state;

typedef enum { GDP_CLOSED, GDP_OPEN, GDP_HALF_OPEN } gdp_circuit;

/* How a booking ended, as far as the worker's health is concerned. */
typedef enum {
    GDP_END_OK,      /* it answered (also a 4xx): failures = 0, circuit closes */
    GDP_END_NEUTRAL, /* says nothing about the worker: client gone, our own deadline, 503 of a full worker */
    GDP_END_FAILED,  /* refused, reset, timed out, broken answer */
    GDP_END_LEAVING  /* it said that it is shutting down: open at once */
} gdp_end;

typedef struct {
    uint32_t slot;         /* index into the books */
    uint32_t max_inflight; /* 0: no cap */
    uint64_t key;          /* hash of the id, for rendezvous */
    uint8_t state;         /* gdp_worker_state */
    uint8_t family;        /* AF_INET or AF_INET6 */
    uint16_t port;         /* host order */
    uint8_t ip[16];
    uint8_t id_len, authority_len;
    char id[GDP_ID_MAX];
    char authority[GDP_ID_MAX]; /* for the Host header */
} gdp_worker;

typedef struct {
    uint32_t inflight;
    uint32_t failures; /* in a row */
    uint32_t opened;   /* times opened in a row, for the back-off */
    uint8_t circuit;
    bool probing;      /* the half-open request is under way */
    uint64_t open_until_ns;
    uint64_t placed, ok, failed, ejected; /* since the slot was taken */
    uint64_t prompt_tokens, cached_tokens, output_tokens;
} gdp_book;

typedef struct {
    uint32_t failures_max;
    uint64_t open_ns, max_open_ns;
} gdp_circuit_rule;

typedef struct gdp_books gdp_books;

gdp_books *gdp_books_new(uint64_t seed); /* NULL when out of memory */
void gdp_books_free(gdp_books *b);

typedef struct {
    uint8_t policy;
    bool has_session;
    uint8_t n_tried;                /* workers that already failed this request are not chosen again */
    uint32_t tried[GDP_TRIED_MAX];  /* slots */
    uint64_t session;               /* hash of the session header */
    uint64_t sticky;                /* slot + 1 that must be used if it can be, 0: none */
} gdp_wish;

typedef enum { GDP_PLACED = 0, GDP_ALL_BUSY = 1, GDP_NONE_READY = 2 } gdp_placing;

/* What gdp_settle must be given back. */
typedef struct {
    uint32_t slot;
    bool probe; /* placed as the one request of a half-open circuit: only its end moves that circuit */
} gdp_booking;

/* Choose among candidates[0..n) (indices into workers) and book. *chosen is an index into workers.
 * GDP_ALL_BUSY: usable ones exist, all at max_inflight. GDP_NONE_READY: none usable (or all tried). */
gdp_placing gdp_place(gdp_books *b, const gdp_worker *workers, const uint32_t *candidates, uint32_t n,
                      const gdp_wish *wish, uint64_t now_ns, uint32_t *chosen, gdp_booking *booking);

/* End of a booking. Returns the circuit after it. */
gdp_circuit gdp_settle(gdp_books *b, gdp_booking booking, gdp_end end, const gdp_circuit_rule *rule, uint64_t now_ns);

/* Blame a worker for a failure without ending a booking (decided later that it was its fault). */
void gdp_blame(gdp_books *b, uint32_t slot, const gdp_circuit_rule *rule, uint64_t now_ns);

void gdp_tokens(gdp_books *b, uint32_t slot, int64_t prompt, int64_t cached, int64_t output); /* < 0: unknown */
void gdp_book_copy(gdp_books *b, uint32_t slot, gdp_book *out);
/* Take a slot for a new worker (all counts to zero), or close its circuit after a restart was seen. */
void gdp_book_reset(gdp_books *b, uint32_t slot);
void gdp_book_close_circuit(gdp_books *b, uint32_t slot);
/* When the next open circuit turns half open, 0 when none: parked requests try again then. */
uint64_t gdp_next_probe(gdp_books *b, uint64_t now_ns);

/* 64-bit hash for rendezvous and model names (multiply-fold). */
uint64_t gdp_hash(const void *bytes, size_t len, uint64_t seed);

#endif
