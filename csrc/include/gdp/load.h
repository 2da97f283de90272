/* load.h -- the books: what each worker is doing for us, and whether it may be used.
 *
 * One book per worker slot, shared by all I/O threads. Every request goes through the same calls: gdp_place() chooses a
 * worker AND books it inside one critical section, gdp_begin() notes its first token, gdp_settle() frees that booking,
 * once, whatever happened. No policy reads load anywhere else, so no path can forget to count (the commonest fault of
 * the peers). The ledger in seconds (cost.h) is kept whatever the policy is, so its rates are learnt when it is asked.
 *
 * A worker is full at max_inflight, and by the rules of late.h where they are set. Four things bound what those rules
 * may do, since rates that fit badly must not starve a worker:
 *   - they hold for a worker that tells the size of its cache: what computes prompts one after the other is an engine.
 *     Something else that takes a second for whatever it is asked, a hundred at a time, looks just like a slow engine by
 *     its first tokens, and was given two requests at a time (100 clients: 28 answers a second instead of 48);
 *   - they hold from the sixteenth observation on;
 *   - the ledger has no constant share per prompt: what an engine does once per step for all prompts together, or a
 *     network's delay, is no work that queues;
 *   - a promise between tokens that the worker does not keep even for one request alone binds nobody.
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

#include "gdp/cost.h"
#include "gdp/late.h"

#define GDP_SLOTS_MAX 4096
#define GDP_TEXT_BLOCK 256 /* bytes of a prompt's text that have a name */
#define GDP_SHOWN 4    /* candidates that a placement shows, the chosen one first */
#define GDP_ID_MAX 96
#define GDP_TRIED_MAX 8

/* KV: the least cost, with what is known of the prompt's tokens. APPROX: the same, with text only. */
typedef enum {
    GDP_ROUND_ROBIN, GDP_RANDOM, GDP_LEAST_LOAD, GDP_SESSION, GDP_KV, GDP_APPROX, GDP_POLICIES
} gdp_policy;

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
    uint16_t class_of;     /* < GDP_CLASSES */
    int16_t rank;          /* data-parallel rank to ask for, -1: none */
    bool heals;            /* its events have a hole: requests ask it to tell again of all that they find there */
    uint8_t ip[16];
    uint8_t id_len, authority_len;
    char id[GDP_ID_MAX];
    char authority[GDP_ID_MAX]; /* for the Host header */
} gdp_worker;

#define GDP_AUDIT_BINS 12

/* Cached tokens that were predicted against those that the worker reported. */
typedef struct {
    uint64_t judged, agreed;        /* requests with both numbers; ... that agree exactly */
    uint64_t not_auditable;         /* requests whose worker did not report */
    uint64_t predicted, realised;   /* tokens, of those judged */
    uint64_t bin[GDP_AUDIT_BINS];   /* realised / predicted: [0] 0, then tenths up to (0.9, 1), exactly 1 is [11]; both 0: 1; beyond: 1 */
} gdp_audit;

typedef struct {
    uint32_t inflight; /* in a copy */
    uint32_t failures; /* in a row */
    uint32_t opened;   /* times opened in a row, for the back-off */
    uint8_t circuit;
    bool probing;      /* the half-open request is under way */
    uint64_t open_until_ns;
    uint64_t placed, ok, failed, ejected; /* since the slot was taken */
    uint64_t prompt_tokens, cached_tokens, output_tokens;
    gdp_audit audit[2]; /* of exact predictions, and of those made from text */
    /* in a copy: */
    double trust; /* running mean of realised / predicted cached tokens of predictions from text */
    double backlog_s, running, waiting, kv_tokens, kv_capacity;
} gdp_book;

typedef struct {
    uint32_t failures_max;
    uint64_t open_ns, max_open_ns;
} gdp_circuit_rule;

typedef struct gdp_books gdp_books;

gdp_books *gdp_books_new(uint64_t seed); /* NULL when out of memory */
void gdp_books_free(gdp_books *b);

/* A request as the books see it. */
typedef struct {
    uint8_t policy;
    bool has_session;
    bool stream;                    /* its first token will be seen */
    uint8_t n_tried;                /* workers that already failed this request are not chosen again */
    uint32_t tried[GDP_TRIED_MAX];  /* slots */
    uint64_t session;               /* hash of the session header */
    uint64_t sticky;                /* slot + 1 that must be used if it can be, 0: none */
    gdp_ask ask;                    /* ask.output_tokens: at most this; the class's mean is taken if that is less */
    bool text;                      /* ask.reach counts blocks of GDP_TEXT_BLOCK bytes of the prompt's text */
    uint64_t bytes;                 /* of that text: what ask.prompt_tokens and .block_tokens are made of when text, or 0 */
    const gdp_late_rule *late;      /* NULL: only max_inflight makes a worker full */
    const gdp_weights *weights;     /* NULL: the defaults */
    double deadline_s;              /* first token wanted by then, 0: whenever (on the clock of now_ns) */
} gdp_wish;

typedef enum {
    GDP_PLACED = 0,
    GDP_ALL_BUSY = 1,  /* usable ones exist, all are full */
    GDP_NONE_READY = 2, /* none usable, or all tried */
    GDP_TOO_LATE = 3,  /* there is room, but no first token by the deadline: nothing was booked */
} gdp_placing;

/* What gdp_settle must be given back. */
typedef struct {
    uint32_t slot;
    bool probe; /* placed as the one request of a half-open circuit: only its end moves that circuit */
    bool text;
    gdp_lot lot;
} gdp_booking;

typedef struct {
    uint32_t chosen; /* index into workers */
    gdp_booking booking;
    uint32_t n_candidates, tied;
    uint32_t n_shown;
    gdp_terms shown[GDP_SHOWN]; /* [0] is the chosen one's; then, by KV and APPROX, the cheapest others */
    /* of GDP_ALL_BUSY: */
    uint32_t n_usable;
    double work_s;          /* its prompt on the worker that holds most of it */
    double least_backlog_s; /* of the usable */
} gdp_placement;

/* The READY ones of which[0..n) (indices into workers, each once), by slot, for as long as that table is in force. NULL
 * when out of memory. */
gdp_roster *gdp_roster_new(const gdp_worker *workers, const uint32_t *which, uint32_t n);

/* Choose among them and book. `chosen` is an index into the workers that the roster was made of. */
gdp_placing gdp_place_among(gdp_books *b, const gdp_roster *roster, const gdp_wish *wish, uint64_t now_ns,
                            gdp_placement *out);

/* The same for those who have no roster: makes one each time. candidates[0..n) are indices into workers, each once. */
gdp_placing gdp_place(gdp_books *b, const gdp_worker *workers, const uint32_t *candidates, uint32_t n,
                      const gdp_wish *wish, uint64_t now_ns, gdp_placement *out);

/* What it would cost now on one worker, whoever would be chosen; nothing is booked. */
gdp_terms gdp_books_terms(gdp_books *b, const gdp_worker *worker, const gdp_wish *wish, uint64_t now_ns);

/* Its first token came (a stream's). */
void gdp_begin(gdp_books *b, gdp_booking *booking, uint64_t now_ns);

/* End of a booking. tokens: produced, < 0 not known. Returns the circuit after it. */
gdp_circuit gdp_settle(gdp_books *b, gdp_booking *booking, gdp_end end, int64_t tokens, const gdp_circuit_rule *rule,
                       uint64_t now_ns);

/* Blame a worker for a failure without ending a booking (decided later that it was its fault). */
void gdp_blame(gdp_books *b, uint32_t slot, const gdp_circuit_rule *rule, uint64_t now_ns);

/* Tokens that a worker reported; < 0: it did not. predicted: cached ones as they were expected when it was placed, < 0:
 * nothing was expected. text: that came from the prompt's text. bytes: of the text, 0: not known. */
typedef struct {
    int64_t prompt, cached, output, predicted;
    bool text;
    uint64_t bytes;
} gdp_told;
void gdp_tokens(gdp_books *b, uint32_t slot, const gdp_told *told);

void gdp_book_copy(gdp_books *b, uint32_t slot, uint64_t now_ns, gdp_book *out);
/* Take a slot for a new worker (all counts to zero), or close its circuit after a restart was seen. */
void gdp_book_reset(gdp_books *b, uint32_t slot);
void gdp_book_close_circuit(gdp_books *b, uint32_t slot);
/* What a scrape of the worker says: tokens its cache has room for and tokens pinned by requests; < 0: it did not say. */
void gdp_book_scraped(gdp_books *b, uint32_t slot, double kv_capacity, double kv_tokens);
/* The rates of a class as they are learnt now. */
void gdp_books_rates(gdp_books *b, uint16_t class_of, gdp_rates *out);
/* When the next open circuit turns half open, 0 when none: parked requests try again then. */
uint64_t gdp_next_probe(gdp_books *b, uint64_t now_ns);

/* 64-bit hash for rendezvous and model names (multiply-fold). */
uint64_t gdp_hash(const void *bytes, size_t len, uint64_t seed);

#endif
