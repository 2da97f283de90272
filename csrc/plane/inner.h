/* inner.h -- the objects of the data plane and who may call whom. Private to csrc/plane.
 *
 *   loop.c      epoll, timers, graveyard, mailbox, listeners        calls conn_*, upstream_*, queue_*
 *   conn.c      the client's side: bytes in, requests out of them, bytes back     calls exchange_*
 *   exchange.c  one request from head to settle: the steps of DESIGN 2.2          calls upstream_*, relay_*, queue_*, answer_*
 *   forward.c   the head for the worker
 *   upstream.c  connections to workers: pool, connect, send          calls relay_* on bytes, exchange_* on failure
 *   relay.c     the worker's answer on its way to the client         calls conn_write, exchange_*
 *   edit.c      what is changed in a stream of events on the way (usage, fingerprint, errors)
 *   answer.c    answers of our own: errors in OpenAI's shape, model list, health
 *   place.c     which worker, by what is known of the prompt          calls queue_*, upstream_open
 *   explain.c   the last placements, for people
 *   ledger.c    what requests add up to, and the records that they leave
 *   tokens.c    requests that wait for their token ids, and the way to the token thread and back
 *   queue.c     parked requests
 *   table.c     what control published
 *
 * An exchange and its phases; both parked phases are left by exchange_place():
 *
 *   BODY -> (TOKENS) -> QUEUED -> SENDING -> WAITING -> HOLDING -> RELAYING -> settled
 *                         ^          |          |          |
 *                         +----------+----------+----------+  another worker, while the client has not had a byte
 *
 * A request has up to two legs (prefill, then decode). Each leg runs QUEUED..RELAYING with a placement of its own; the
 * answer of a prefill leg goes to the next leg instead of the client. leg[at] is the one that runs.
 *
 * Ownership: a conn owns its exchange (at most one); an exchange owns the upstream it uses; an idle upstream belongs to
 * the pool of its slot. Objects are freed only at the end of a loop turn (graveyard), so that an event later in the
 * same epoll batch finds `fd == -1` instead of freed memory. */
#ifndef GDP_INNER_H
#define GDP_INNER_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "gdp/http1.h"
#include "gdp/indexer.h"
#include "gdp/openai.h"
#include "gdp/plane.h"
#include "gdp/recall.h"
#include "gdp/sse.h"

#define MS 1000000ull
#define SCRATCH (256u * 1024) /* one read; also the most that a client can be behind beyond OUT_HIGH */
#define OUT_HIGH (64u * 1024) /* a client that is this far behind stops us reading its worker */
#define HOLD_WHOLE_MAX (64u * 1024) /* answers up to this size are held until complete: they can still be retried */
#define TAIL_MAX (512u * 1024)      /* an unfinished event longer than this is passed on in pieces */
#define TAIL_FIRST_MAX (8u * 1024 * 1024) /* the first one may carry the whole prompt's tokens */
#define UPSTREAM_TAIL_ROOM 192      /* Content-Length and Host lines of an upstream head */
#define EVENTS 512
#define GDP_FINGERPRINT 72
#define GDP_NO_TICKET UINT32_MAX
#define DECISIONS 512

typedef struct gdp_loop gdp_loop;
typedef struct gdp_conn gdp_conn;
typedef struct gdp_exchange gdp_exchange;
typedef struct gdp_upstream gdp_upstream;
typedef struct gdp_lane gdp_lane;

/* ---- small things --------------------------------------------------------------------------------------------- */

/* Bytes with room to grow. Capacity counts against limits.buffered_bytes. */
typedef struct {
    char *data;
    uint32_t len, cap;
} buf;

int buf_reserve(gdp_loop *l, buf *b, size_t more); /* 0 or GDP_NOMEM */
int buf_add(gdp_loop *l, buf *b, const void *bytes, size_t n);
void buf_drop(gdp_loop *l, buf *b); /* frees */

/* A timer is lazy: moving it later only writes `due`; the wheel notices when the old time comes. */
typedef struct timer {
    struct timer *prev, *next; /* NULL when not armed */
    uint64_t due;              /* ns */
    uint64_t tick;             /* where it hangs in the wheel */
    uint8_t kind;              /* io_kind of its owner */
} timer;

typedef enum { IO_LISTENER, IO_WAKE, IO_CLIENT, IO_UPSTREAM } io_kind;

typedef struct io {
    int fd;          /* -1: dead, waits for the end of the turn */
    uint32_t events; /* what epoll watches */
    uint8_t kind;
    struct io *grave;
} io;

/* ---- the table ------------------------------------------------------------------------------------------------ */

typedef struct {
    char *name, *body;
    uint32_t name_len, body_len, n_workers, next; /* next: index + 1 in the hash chain, 0 = end */
    uint64_t hash;
    uint32_t *workers;
    gdp_roster *roster; /* the READY ones of them */
    bool exact; /* somebody turns its prompts into tokens: requests wait for that */
    uint64_t recall_seed; /* 0: not without asking */
    uint32_t n_accounts;
    uint16_t accounts[GDP_SLO_CLASSES + 1];
} model;

struct gdp_table {
    gdp_settings set;
    uint32_t n_workers, n_models, n_chains, n_slots; /* n_slots: the highest + 1 */
    gdp_worker *workers;
    model *models;
    uint32_t *chains; /* index + 1 of the first model with hash % n_chains */
    char *list, *version;
    uint32_t list_len, version_len;
    bool any_ready;
    bool ranked; /* workers are data-parallel ranks: placing chooses the rank, not the client */
    gdp_table *retired_next;
    uint64_t retired_at;
};

const model *table_model(const gdp_table *t, const char *name, size_t len);
const gdp_worker *table_slot(const gdp_table *t, uint32_t slot); /* NULL when it has left */

/* ---- exchange ------------------------------------------------------------------------------------------------- */

typedef enum { PH_BODY, PH_TOKENS, PH_QUEUED, PH_SENDING, PH_WAITING, PH_HOLDING, PH_RELAYING, PH_DONE } phase;

typedef enum { LEG_ANSWER, LEG_PREFILL } leg_role;

typedef struct {
    gdp_booking booking; /* its slot stays valid after the settling, for the record */
    uint8_t role;
    bool booked;
    gdp_upstream *up;
} leg;

/* How the body of the answer is delimited on the upstream side, and on the client's. */
typedef enum { FR_NONE, FR_LENGTH, FR_CHUNKED, FR_CLOSE } framing;

/* Until when the answer is kept back (DESIGN 2.2, step 7). */
typedef enum { HOLD_BYTES /* first byte of the body */, HOLD_EVENT /* first event */, HOLD_WHOLE /* complete */ } hold;

struct gdp_exchange {
    gdp_conn *client;
    uint8_t phase, endpoint, reason;
    uint8_t n_legs, at;
    leg leg[2];

    /* the request */
    bool stream, inject, many, chunked_in, expects_continue, has_session, multipart, bodiless;
    bool local, discard, body_read; /* answered here; its body is read and thrown away */
    uint8_t verdict;     /* gdp_reason to refuse with once the body is read, GDP_R_OK: none */
    uint8_t minor, method, methods; /* methods: what the route allows, for Allow */
    uint8_t hold, in_framing, out_framing;
    buf head;       /* upstream head without Content-Length and Host; ours follow at head_len */
    uint32_t head_len;
    buf body;
    uint64_t body_left; /* of a Content-Length body */
    gdp_chunked chunks; /* of the request's body, later of the answer's */
    gdp_splice splice;
    gdp_span content_type; /* in head */
    gdp_span model;        /* in body, or in `name` when it had escapes */
    buf name;
    uint64_t session, sticky_id; /* hash of a response id that this request continues */
    char model_name[40], id[64]; /* the model's name, cut, for lists and records */
    uint8_t id_len, model_len;
    uint64_t sent; /* bytes of head + body given to the current upstream */

    /* placing */
    uint8_t attempts, n_tried, n_blamed;
    uint32_t tried[GDP_TRIED_MAX], blamed[GDP_TRIED_MAX];
    gdp_exchange *q_prev, *q_next; /* in the queue */
    uint32_t lane, ticket;         /* where it waits for a worker with room; GDP_NO_TICKET: it does not */
    double deadline_s, work_s;     /* its first token is due; seconds of its uncached prompt */
    double ttft_s, itl_s;          /* promised to its class */
    bool queued, no_worker, reconnected;
    uint8_t last_failure; /* gdp_reason of the last attempt, GDP_R_OK: none */
    uint64_t park_until, parked_at, try_at, no_worker_since;

    /* what is known of the prompt, NULL: nothing */
    gdp_job *job; /* at the token thread */
    gdp_exchange *t_prev, *t_next;
    uint64_t *chain, *text; /* names of its blocks, of tokens and of text */
    uint32_t n_chain, n_text, prompt_tokens, block_tokens; /* block_tokens: of chain */
    gdp_span prompt, tools, salt; /* in body: messages or prompt, and what else makes a prompt differ */
    int64_t max_tokens;     /* -1: not said */
    int64_t predicted;      /* cached tokens expected at its last placement; -1: nothing is known */
    uint8_t policy;
    bool exposes;           /* the client is told where and why */
    bool heals;             /* this attempt asks the worker to tell of the blocks that it finds */
    uint32_t open_at;       /* of the body's '{' */

    /* the answer */
    uint16_t status;     /* of the worker */
    uint16_t sent_status; /* to the client, 0: nothing yet */
    bool sse, json, has_payload, at_boundary /* all chunks so far were relayed whole */, keep_upstream, started /* client has a byte */, in_event /* a piece of an event went out */, saw_error,
        saw_done, leaving /* it said that it is shutting down */;
    uint64_t in_left;    /* FR_LENGTH */
    uint64_t comment_at; /* first comment held back, 0 none */
    buf held;         /* our head for the client, then body bytes held back */
    uint32_t held_head;
    buf tail; /* SSE: the event that is not complete; JSON: the end of the answer, for usage */
    uint32_t tail_seen;
    buf finish; /* a finish event that waits for the fingerprint */

    /* the measure */
    const gdp_account *account; /* of its model and class; NULL: none */
    double prefill_s;      /* of its prompt, expected at its last placement */
    double waiting_tokens; /* what it counts for while it waits */
    uint8_t class_id;
    uint64_t arrival, tokens_at, phase_at, wait_at, placed_at, placed_last, first_at, last_at, queued_at, request_bytes, answer_bytes;
    uint64_t piece_at;
    gdp_usage usage;
    uint32_t events, pieces; /* of these, those that brought output; the last came at `piece_at` */
};

/* ---- client --------------------------------------------------------------------------------------------------- */

typedef enum { CL_READING, CL_BUSY, CL_FLUSHING, CL_LINGER } client_state;

struct gdp_conn {
    io io;
    uint8_t state;
    bool close_after, linger /* unread bytes may be on their way */, family6, paused_upstream, consuming;
    uint16_t peer_port;
    uint8_t peer[16];
    timer timer;
    uint64_t since; /* first byte of the head under way, last answer, or last bytes that a slow client took */
    uint32_t seen;  /* bytes of `in` already searched for the head's end */
    uint32_t out_off;
    uint32_t spilt; /* bytes thrown away since it lingers, or since it was last given longer */
    buf in, out;
    gdp_exchange *x;
    gdp_conn *prev, *next; /* all of this loop */
};

/* ---- upstream ------------------------------------------------------------------------------------------------- */

typedef enum { UP_CONNECTING, UP_BUSY, UP_IDLE } upstream_state;

struct gdp_upstream {
    io io;
    uint8_t state;
    bool reused, paused, headed /* the final head of the answer was read */;
    uint32_t slot, seen;
    uint64_t key; /* worker key: a slot may pass to another worker */
    timer timer;  /* idle only */
    uint64_t began;
    buf in; /* a head that is not complete */
    gdp_exchange *x;
    gdp_upstream *prev, *next; /* idle pool of the slot, newest first */
};

/* ---- loop ----------------------------------------------------------------------------------------------------- */

#define WHEEL 1024
#define TICK (16 * MS)
#define STICKY 4096

typedef struct {
    gdp_sight *out;
    size_t max, n, total;
} look_box;

struct gdp_loop {
    gdp_plane *plane;
    uint32_t index;
    int epfd;
    io wake, listener;
    uint64_t now; /* ns, once per turn */
    const gdp_table *table;
    const gdp_settings *set;
    _Atomic uint64_t epoch; /* UINT64_MAX: quiescent */
    uint64_t table_epoch;   /* when `table` was taken */
    _Atomic uint32_t asks;
    bool closing, cutting;
    uint64_t random;

    gdp_conn *conns;
    io *graves;
    gdp_exchange *dead; /* chained by q_next, freed with the graves: until then phase == PH_DONE can be read */
    gdp_upstream *pool[GDP_SLOTS_MAX];
    gdp_exchange *q_head, *q_tail;
    uint32_t q_len;
    gdp_exchange *q_cursor; /* next to look at, while pumping */
    bool q_all;             /* look at those without a worker too, though their time has not come */
    _Atomic uint32_t pump;   /* a booking was freed: look at the queue */
    uint64_t probe_at;       /* when to look at the queue though nothing was freed */
    uint64_t fell_back_at;   /* when a request was last placed without the tokens that it wanted, 0 never */
    gdp_late_rule rule;      /* of the request that is being placed */
    gdp_lane *lanes;
    uint32_t n_lanes;
    gdp_index_reader *reader;       /* NULL: nobody tells what the workers hold */
    uint32_t *reach[GDP_INDEX_MEDIA]; /* of the last match */
    gdp_decision *decisions;        /* ring of DECISIONS */
    _Atomic uint64_t n_decisions;   /* ever */
    gdp_exchange *t_head, *t_tail; /* in PH_TOKENS */
    uint64_t t_due;                /* the earliest of their deadlines, 0 none */
    _Atomic(gdp_job *) answered;
    uint64_t listener_paused_until;

    timer wheel[WHEEL];
    uint64_t wheel_bits[WHEEL / 64];
    uint64_t tick;

    char *scratch; /* SCRATCH + HEAD room: bytes read this time */
    buf emit;      /* bytes of a stream that had to be changed */
    gdp_request request;
    gdp_response response;

    gdp_counters count;
    gdp_record *records; /* ring, made when first wanted */
    double work_s[GDP_SLOTS_MAX]; /* gdp_plane_work_s */
    _Atomic(gdp_account *) accounts[GDP_ACCOUNTS];
    _Atomic uint64_t rec_head, rec_tail;
    pthread_t thread;
    bool running;
    look_box look;
    _Atomic uint32_t look_state; /* 0 idle, 1 asked, 3 being answered, 2 answered */
};

typedef struct {
    _Atomic uint64_t id; /* hash of a response id */
    _Atomic uint64_t slot; /* + 1 */
} sticky;

struct gdp_plane {
    uint32_t n_loops;
    gdp_loop *loops;
    gdp_books *books;
    gdp_indexer *indexer; /* NULL: none; set before the threads start */
    _Atomic(gdp_table *) table;
    _Atomic uint64_t epoch;
    gdp_table *retired;
    uint64_t seed;
    _Atomic int64_t buffered, connections, waiting;
    _Atomic int64_t oldest_wait[64]; /* per loop: arrival in its queue, 0 none; loops beyond share the last */
    pthread_mutex_t budget_lock;
    double budget;
    bool budget_open;
    uint64_t budget_at;
    sticky sticky[STICKY];
    _Atomic(gdp_job *) jobs;
    gdp_job *jobs_taken; /* in order, guarded by jobs_lock */
    pthread_mutex_t jobs_lock;
    _Atomic uint32_t jobs_bell, jobs_sleepers; /* a futex */
    _Atomic bool jobs_closed;
    _Atomic uint32_t jobs_out;
    gdp_recall *recall; /* prompts whose tokens are known */
    _Atomic uint64_t recall_bytes;
    char fingerprints[GDP_SLOTS_MAX][GDP_FINGERPRINT]; /* "system_fingerprint":"..." of each worker, guarded by budget_lock */
    bool threads_started, nested;
};

/* loop.c */
void loop_watch(gdp_loop *l, io *i, uint32_t events); /* add, change, or remove (0 keeps only errors) */
void loop_mute(gdp_loop *l, io *i); /* out of epoll altogether; loop_watch brings it back */
void loop_bury(gdp_loop *l, io *i);                   /* close the fd, free the object at the end of the turn */
void timer_set(gdp_loop *l, timer *t, uint64_t due);
void timer_stop(gdp_loop *l, timer *t);
void loop_wake(gdp_loop *l);
uint64_t clock_ns(void);
#define COUNT(l, field, n) __atomic_store_n(&(l)->count.field, (l)->count.field + (uint64_t)(int64_t)(n), __ATOMIC_RELAXED)

/* conn.c */
void conn_accept(gdp_loop *l, int fd, const struct sockaddr_storage *peer);
void conn_event(gdp_loop *l, gdp_conn *c, uint32_t events);
void conn_timeout(gdp_loop *l, gdp_conn *c);
int conn_write(gdp_loop *l, gdp_conn *c, struct iovec *iov, int n); /* 0, or -1: the client is gone (conn not freed) */
void conn_throttle(gdp_loop *l, gdp_conn *c); /* after a write: stop reading the worker of a client that is behind */
void conn_answered(gdp_loop *l, gdp_conn *c); /* the exchange is over and freed; go on with the next request */
void conn_close(gdp_loop *l, gdp_conn *c);    /* no exchange may be left */
void conn_abort(gdp_loop *l, gdp_conn *c);    /* close by reset: the answer is cut and must not look complete */

/* exchange.c */
gdp_exchange *exchange_new(gdp_loop *l, gdp_conn *c);
void exchange_head(gdp_loop *l, gdp_exchange *x, const char *bytes, const gdp_request *r); /* head is complete */
const model *exchange_model(const gdp_loop *l, const gdp_exchange *x); /* NULL: not in the table */
gdp_reason exchange_check_model(gdp_loop *l, gdp_exchange *x, const char **detail, char room[80]);
void exchange_ready(gdp_loop *l, gdp_exchange *x);    /* body is complete */
void exchange_timeout(gdp_loop *l, gdp_exchange *x);
void exchange_phase(gdp_loop *l, gdp_exchange *x, phase p);
void exchange_deadline(gdp_loop *l, gdp_exchange *x); /* set the conn's timer by the phase */
/* The attempt failed; goes to another worker if it may, else ends the exchange with `why`. */
void exchange_failed(gdp_loop *l, gdp_exchange *x, gdp_end end, gdp_reason why);
bool exchange_may_retry(gdp_loop *l, gdp_exchange *x); /* takes a token of the budget when it says yes */
void exchange_retry(gdp_loop *l, gdp_exchange *x, gdp_end end);
void exchange_gone(gdp_loop *l, gdp_exchange *x, gdp_reason why); /* client gone: settle, free; conn stays */
void exchange_finish(gdp_loop *l, gdp_exchange *x); /* the answer is complete and written */
void budget_deposit(gdp_loop *l);
bool exchange_has_other(gdp_loop *l, const gdp_exchange *x); /* a ready worker that has not been tried */
void exchange_end(gdp_loop *l, gdp_exchange *x, gdp_reason why); /* end with an error by state: HTTP error, stream error or cut */
void exchange_settle(gdp_loop *l, gdp_exchange *x, gdp_reason why); /* the one place where an exchange ends; frees it */
void exchange_sweep(gdp_loop *l); /* what waits for a worker that is gone goes to another one */
void exchange_release(gdp_loop *l, gdp_exchange *x, gdp_end end, bool keep_connection); /* free the leg's booking and upstream */

/* place.c */
gdp_placing exchange_place(gdp_loop *l, gdp_exchange *x); /* x may be over after it */
/* From the queue: not if its first token would come after the deadline; 0: whenever. */
gdp_placing place_by(gdp_loop *l, gdp_exchange *x, double deadline_s);
void place_begun(gdp_loop *l, gdp_exchange *x);   /* the first token of a stream is here */
uint64_t place_sticky(const gdp_loop *l, uint64_t id); /* slot + 1 of the worker that made a response, 0: not known (any more) */
void sticky_from(gdp_loop *l, const gdp_exchange *x, const char *json, size_t n); /* later requests that name this response go to its worker */
void decision_note(gdp_loop *l, const gdp_exchange *x, const gdp_wish *wish, const gdp_placement *at, uint32_t known); /* explain.c */

/* forward.c */
#define GDP_ID_TEXT 40
size_t mint_id(gdp_loop *l, char out[GDP_ID_TEXT]); /* 32 hex digits */
const gdp_header *header_of(const gdp_request *r, uint8_t id); /* the first of that kind, or NULL */
int forward_head(gdp_loop *l, gdp_exchange *x, const char *bytes, const gdp_request *r); /* into x->head; 0 or GDP_NOMEM */

/* answer.c */
void answer_error(gdp_loop *l, gdp_exchange *x, gdp_reason why, const char *detail); /* writes, settles, frees x */
void answer_http_error(gdp_loop *l, gdp_exchange *x, int status, gdp_reason why, const char *detail);
void answer_local(gdp_loop *l, gdp_exchange *x); /* GET /v1/models, /health, ... */
void answer_refuse(gdp_loop *l, gdp_conn *c, int status, gdp_reason why, const char *detail); /* no exchange: bad head */
void answer_json(gdp_loop *l, gdp_exchange *x, int status, const char *body, size_t len); /* a worker's error as an answer */
size_t answer_stream_error(const gdp_exchange *x, gdp_reason why, char *out, size_t size); /* bytes of events, dialect of the endpoint */
int reason_status(gdp_reason r);
const char *reason_text(gdp_reason r);

#define M_GET 1
#define M_POST 2
typedef struct {
    uint8_t endpoint;
    uint8_t methods; /* M_*; 0: no such route */
    bool local;      /* the frontend answers itself */
    bool bodiless;   /* may come without a body */
    gdp_span id;     /* a response id in the path */
} route;
route route_of(const char *path, size_t len);

/* upstream.c */
void upstream_open(gdp_loop *l, gdp_exchange *x, const gdp_worker *w); /* pooled or new; sends or ends in exchange_failed */
void upstream_event(gdp_loop *l, gdp_upstream *u, uint32_t events);
void upstream_timeout(gdp_loop *l, gdp_upstream *u);
void upstream_release(gdp_loop *l, gdp_upstream *u, bool keep); /* back to the pool, or closed */
void upstream_pause(gdp_loop *l, gdp_upstream *u, bool pause);
bool upstream_all_sent(const gdp_exchange *x);
void upstream_sweep(gdp_loop *l); /* closes idle ones of workers that left */

/* relay.c: bytes of the answer. Each may end (free) the exchange; `false` says so. */
bool relay_head(gdp_loop *l, gdp_exchange *x, const char *bytes, const gdp_response *r);
bool relay_bytes(gdp_loop *l, gdp_exchange *x, const char *bytes, size_t n);
bool relay_eof(gdp_loop *l, gdp_exchange *x, bool reset); /* reset: what it said may not be all */
bool events_over(gdp_loop *l, gdp_exchange *x, const char *raw, size_t raw_len);
void relay_forget(gdp_loop *l, gdp_exchange *x); /* the answer so far was not for the client: start anew */
bool relay_release_head(gdp_loop *l, gdp_exchange *x); /* hold.max is over */

/* ledger.c */
void ledger_arrive(gdp_loop *l, gdp_exchange *x);
void ledger_wait(gdp_exchange *x, bool begins); /* for a worker */
void ledger_place(gdp_loop *l, gdp_exchange *x);
void ledger_end(gdp_loop *l, const gdp_exchange *x);
void ledger_free(gdp_loop *l);

/* edit.c: events of a stream */
typedef enum {
    EV_PASS,
    EV_KEEP,   /* kept in x->finish until the usage event tells the fingerprint */
    EV_USAGE,  /* the usage event that we asked for: noted, dropped, the kept ones go out before it */
    EV_SPLICE, /* a finish event, with the fingerprint that the worker is known by */
    EV_FLUSH   /* the kept ones go out as they are, then this one */
} event_act;
event_act edit_judge(gdp_loop *l, gdp_exchange *x, const char *bytes, size_t n, const gdp_event *ev); /* notes it; once per event */
int edit_apply(gdp_loop *l, gdp_exchange *x, const char *bytes, size_t n, event_act act); /* to l->emit; 0 or GDP_NOMEM */
bool edit_is_leaving(const char *bytes, size_t n); /* a worker's error says that it shuts down or lost its engine */

/* tokens.c */
bool tokens_park(gdp_loop *l, gdp_exchange *x);  /* false: go on without */
void tokens_leave(gdp_loop *l, gdp_exchange *x); /* it waits no more, if it did */
void tokens_late(gdp_loop *l, gdp_exchange *x);  /* its deadline has come: go on without */
void tokens_tend(gdp_loop *l);                   /* once a turn: answers and deadlines */
void tokens_free(gdp_plane *p);                  /* all jobs; no token thread may be left */

/* queue.c */
void queue_park(gdp_loop *l, gdp_exchange *x, bool no_worker);
void queue_leave(gdp_loop *l, gdp_exchange *x);
bool queue_goes_first(const gdp_loop *l, const gdp_exchange *x); /* others wait for its model's workers: line up */
void queue_busy(gdp_loop *l, gdp_exchange *x, const gdp_placement *found); /* its model is full: what was found out */
void queue_pump(gdp_loop *l);             /* place what can be placed */
void queue_free(gdp_loop *l);
uint64_t queue_next_try(const gdp_loop *l, uint64_t probe);
void queue_freed(gdp_loop *l);            /* a booking was freed: wake the loop whose head is oldest */
void queue_pass_on(gdp_loop *l, int64_t since); /* it was woken: now the next oldest, whose head may want another model */

#endif
