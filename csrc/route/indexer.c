/* indexer.c -- see gdp/indexer.h: the index thread. */
#include "gdp/indexer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "gdp/ring.h"

#define SLOTS GDP_INDEX_SLOTS
#define RING_BYTES (16u << 20)
#define TURN 256       /* messages between two looks at the table of owners */
#define STEP_BUDGET 256
#define IDLE_MS 1000

typedef struct {
    uint16_t generation;
    char *model; /* NULL: nobody */
    size_t len;
} owner;

struct gdp_indexer {
    gdp_chain_key key; /* aligned for vectors: first, in a block that is */
    void *block;
    gdp_index *index;
    gdp_ring *ring;
    int bell;
    pthread_t thread;
    bool running;
    _Atomic bool leave, tiers;
    _Atomic uint64_t asked, settled; /* gdp_indexer_settle */

    pthread_mutex_t lock; /* owners, and what was written down for control to read */
    _Atomic bool changed; /* owners differ from what the thread knows */
    owner owners[SLOTS];
    _Atomic uint16_t generation[SLOTS]; /* of owners, for who does not take the lock */
    gdp_indexer_slot seen[SLOTS];
    gdp_indexer_stats stats;

    /* the thread's own */
    gdp_kvfeed *feed[SLOTS];
    uint16_t known[SLOTS]; /* generation */
    gdp_kv_batch batch;
    gdp_indexer_stats count; /* told to control once a turn */
};

uint32_t gdp_indexer_now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint32_t)t.tv_sec;
}

/* ---- where a feed's blocks go ------------------------------------------------------------------------------------ */

static int sink_store(void *self, uint32_t slot, uint8_t medium, uint64_t parent, bool first, const uint64_t *chain,
                      uint32_t n, bool *held) {
    gdp_indexer *ix = self;
    if (medium != GDP_KV_GPU) atomic_store_explicit(&ix->tiers, true, memory_order_relaxed);
    int64_t stored = gdp_index_store(ix->index, slot, medium, parent, first, chain, n, held, gdp_indexer_now_s());
    return stored == GDP_NOMEM ? GDP_NOMEM : 0; /* less than all: forgotten at the cap, as any block may be */
}

static void sink_remove(void *self, uint32_t slot, uint8_t medium, uint64_t chain) {
    gdp_index_remove(((gdp_indexer *)self)->index, slot, medium, chain);
}

static void sink_ahead(void *self, const uint64_t *chain, uint32_t n, bool near) {
    gdp_index_ahead(((gdp_indexer *)self)->index, chain, n, near);
}

static void sink_clear(void *self, uint32_t slot) { gdp_index_clear(((gdp_indexer *)self)->index, slot); }

/* ---- owners -------------------------------------------------------------------------------------------------------- */

static void write_down(gdp_indexer *ix, uint32_t slot) {
    const gdp_kvfeed *feed = ix->feed[slot];
    gdp_indexer_slot *s = &ix->seen[slot];
    s->open = feed != NULL;
    ix->count.feed_bytes -= s->bytes;
    s->held = feed ? gdp_kvfeed_held(feed) : 0;
    s->bytes = feed ? gdp_kvfeed_bytes(feed) : 0;
    ix->count.feed_bytes += s->bytes;
    if (feed) s->feed = *gdp_kvfeed_counted(feed);
}

static void change_owner(gdp_indexer *ix, uint32_t slot) {
    const owner *o = &ix->owners[slot];
    ix->known[slot] = o->generation;
    gdp_kvfeed_free(ix->feed[slot]);
    ix->feed[slot] = NULL;
    gdp_index_clear(ix->index, slot);
    ix->count.feed_bytes -= ix->seen[slot].bytes;
    ix->seen[slot] = (gdp_indexer_slot){0};
    if (o->model) {
        gdp_kvfeed_options options = {
            .slot = slot, .key = &ix->key, .model = o->model, .model_len = o->len,
            .sink = {ix, sink_store, sink_remove, sink_clear, sink_ahead},
        };
        ix->feed[slot] = gdp_kvfeed_new_in(&options, gdp_index_arena(ix->index)); /* without: its messages count as unfit */
    }
    write_down(ix, slot);
}

static void take_owners(gdp_indexer *ix) {
    if (!atomic_exchange(&ix->changed, false)) return;
    pthread_mutex_lock(&ix->lock);
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        if (ix->owners[slot].generation != ix->known[slot]) change_owner(ix, slot);
    pthread_mutex_unlock(&ix->lock);
}

/* ---- messages ------------------------------------------------------------------------------------------------------ */

/* tag: kind 4 | slot 12 | generation 16 bits */
static uint32_t tag_of(gdp_feed_kind kind, uint32_t slot, uint16_t generation) {
    return (uint32_t)kind << 28 | slot << 16 | generation;
}

static void events(gdp_indexer *ix, uint32_t slot, const gdp_ring_message *m, uint32_t flags) {
    gdp_kvfeed *feed = ix->feed[slot];
    int64_t n = feed ? gdp_kv_decode(&ix->batch, m->data, m->len) : GDP_NOMEM;
    int applied = n >= 0 ? gdp_kvfeed_apply(feed, &ix->batch, m->data, flags) : 0;
    pthread_mutex_lock(&ix->lock);
    gdp_indexer_slot *s = &ix->seen[slot];
    s->batches++;
    s->malformed += n == GDP_BAD;
    s->unfit += n == GDP_NOMEM || applied == GDP_NOMEM;
    write_down(ix, slot);
    pthread_mutex_unlock(&ix->lock);
}

static void clear(gdp_indexer *ix, uint32_t slot) {
    if (ix->feed[slot]) gdp_kvfeed_clear(ix->feed[slot]);
    else gdp_index_clear(ix->index, slot);
    pthread_mutex_lock(&ix->lock);
    write_down(ix, slot);
    pthread_mutex_unlock(&ix->lock);
}

/* words: expiry, then the chain, its first being the parent of the others when `after`. */
static void predict(gdp_indexer *ix, uint32_t slot, const gdp_ring_message *m, bool after) {
    const uint64_t *words = m->data;
    size_t n = m->len / sizeof *words - 1;
    uint32_t now_s = gdp_indexer_now_s(), expires_s = (uint32_t)words[0];
    ix->count.predictions++;
    if (after) gdp_index_predict_after(ix->index, slot, words[1], words + 2, n - 1, now_s, expires_s);
    else gdp_index_predict(ix->index, slot, words + 1, n, now_s, expires_s);
}

static void handle(gdp_indexer *ix, const gdp_ring_message *m) {
    uint32_t slot = m->tag >> 16 & (SLOTS - 1);
    uint16_t generation = (uint16_t)m->tag;
    if (generation != ix->known[slot]) {
        take_owners(ix);
        if (generation != ix->known[slot]) {
            ix->count.stale++;
            return;
        }
    }
    switch ((gdp_feed_kind)(m->tag >> 28)) {
    case GDP_FEED_EVENTS: events(ix, slot, m, 0); break;
    case GDP_FEED_ASKED: events(ix, slot, m, GDP_KV_ASKED); break;
    case GDP_FEED_CLEAR:
    case GDP_FEED_RESTART: clear(ix, slot); break;
    case GDP_FEED_PREDICT: predict(ix, slot, m, false); break;
    case GDP_FEED_PREDICT_AFTER: predict(ix, slot, m, true); break;
    }
}

/* ---- the thread ---------------------------------------------------------------------------------------------------- */

static void tell(gdp_indexer *ix) {
    gdp_index_count(ix->index, &ix->count.index);
    pthread_mutex_lock(&ix->lock);
    ix->stats = ix->count;
    pthread_mutex_unlock(&ix->lock);
}

static void sleep_until_rung(gdp_indexer *ix, int ms) {
    if (gdp_ring_sleep(ix->ring)) {
        struct pollfd p = {.fd = ix->bell, .events = POLLIN};
        uint64_t n;
        if (poll(&p, 1, ms) > 0 && read(ix->bell, &n, sizeof n) < 0 && errno != EAGAIN) {
            /* nothing to do: the bell is only a bell */
        }
    }
    gdp_ring_awake(ix->ring);
}

static void *index_main(void *arg) {
    gdp_indexer *ix = arg;
    gdp_ring_message m;
    uint32_t stepped_s = 0;
    size_t left = 0;
    while (!atomic_load(&ix->leave)) {
        uint64_t asked = atomic_load(&ix->asked);
        uint32_t n = 0;
        take_owners(ix);
        for (; n < TURN && gdp_ring_peek(ix->ring, &m); n++) {
            handle(ix, &m);
            gdp_ring_drop(ix->ring);
        }
        ix->count.messages += n;
        uint32_t now_s = gdp_indexer_now_s();
        if (n < TURN || now_s != stepped_s) {
            left = gdp_index_step(ix->index, now_s, STEP_BUDGET);
            stepped_s = now_s;
        }
        if (n == TURN) continue;
        tell(ix);
        atomic_store(&ix->settled, asked); /* what was pushed before it was asked has been handled */
        if (!n) sleep_until_rung(ix, left ? 1 : IDLE_MS);
    }
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------------------------------ */

gdp_indexer *gdp_indexer_new(const gdp_indexer_options *options) {
    const size_t align = _Alignof(gdp_indexer);
    void *block = gdp_alloc(sizeof(gdp_indexer) + align);
    if (!block) return NULL;
    gdp_indexer *ix = (gdp_indexer *)(((uintptr_t)block + align - 1) / align * align);
    ix->block = block;
    pthread_mutex_init(&ix->lock, NULL);
    ix->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    gdp_chain_key_init(&ix->key, options->secret, options->secret_len);
    ix->index = gdp_index_new(&(gdp_index_options){options->index_bytes, options->predicted_pct});
    ix->ring = gdp_ring_new(options->ring_bytes ? options->ring_bytes : RING_BYTES, ix->bell);
    if (ix->bell < 0 || !ix->index || !ix->ring) {
        gdp_indexer_free(ix);
        return NULL;
    }
    return ix;
}

int gdp_indexer_start(gdp_indexer *ix) {
    int error = pthread_create(&ix->thread, NULL, index_main, ix);
    ix->running = !error;
    return -error;
}

static void ring_bell(gdp_indexer *ix) {
    uint64_t one = 1;
    ssize_t ignored = write(ix->bell, &one, sizeof one);
    (void)ignored;
}

void gdp_indexer_free(gdp_indexer *ix) {
    if (!ix) return;
    atomic_store(&ix->leave, true);
    if (ix->running) {
        ring_bell(ix);
        pthread_join(ix->thread, NULL);
    }
    for (uint32_t i = 0; i < SLOTS; i++) {
        gdp_kvfeed_free(ix->feed[i]);
        gdp_free(ix->owners[i].model);
    }
    gdp_kv_batch_free(&ix->batch);
    gdp_ring_free(ix->ring);
    gdp_index_free(ix->index);
    if (ix->bell >= 0) close(ix->bell);
    pthread_mutex_destroy(&ix->lock);
    gdp_free(ix->block);
}

/* ---- control ---------------------------------------------------------------------------------------------------------- */

static void set_owner(gdp_indexer *ix, uint32_t slot, char *model, size_t len) {
    pthread_mutex_lock(&ix->lock);
    owner *o = &ix->owners[slot];
    gdp_free(o->model);
    *o = (owner){(uint16_t)(o->generation + 1), model, len};
    atomic_store(&ix->generation[slot], o->generation);
    pthread_mutex_unlock(&ix->lock);
    atomic_store(&ix->changed, true);
    ring_bell(ix);
}

int gdp_indexer_open(gdp_indexer *ix, uint32_t slot, const char *model, size_t len) {
    if (slot >= SLOTS) return GDP_BAD;
    char *copy = gdp_alloc(len + 1);
    if (copy && len) memcpy(copy, model, len);
    set_owner(ix, slot, copy, len);
    return copy ? 0 : GDP_NOMEM;
}

void gdp_indexer_close(gdp_indexer *ix, uint32_t slot) {
    if (slot < SLOTS) set_owner(ix, slot, NULL, 0);
}

int gdp_indexer_push(gdp_indexer *ix, uint32_t slot, gdp_feed_kind kind, const void *payload, size_t len) {
    if (slot >= SLOTS) return GDP_BAD;
    return gdp_ring_push(ix->ring, tag_of(kind, slot, atomic_load(&ix->generation[slot])), payload, len);
}

void gdp_indexer_look(gdp_indexer *ix, gdp_indexer_stats *out) {
    pthread_mutex_lock(&ix->lock);
    *out = ix->stats;
    pthread_mutex_unlock(&ix->lock);
    gdp_ring_state ring = gdp_ring_look(ix->ring);
    out->ring_lost = ring.lost;
    out->ring_used = ring.used;
    out->ring_size = ring.size;
}

void gdp_indexer_look_slot(gdp_indexer *ix, uint32_t slot, gdp_indexer_slot *out) {
    pthread_mutex_lock(&ix->lock);
    *out = slot < SLOTS ? ix->seen[slot] : (gdp_indexer_slot){0};
    pthread_mutex_unlock(&ix->lock);
}

bool gdp_indexer_settle(gdp_indexer *ix, int timeout_ms) {
    uint64_t mine = atomic_fetch_add(&ix->asked, 1) + 1;
    ring_bell(ix);
    for (int waited = 0; atomic_load(&ix->settled) < mine; waited++) {
        if (waited >= timeout_ms) return false;
        poll(NULL, 0, 1);
    }
    return true;
}

/* ---- any thread -------------------------------------------------------------------------------------------------------- */

void gdp_indexer_predict(gdp_indexer *ix, uint32_t slot, const uint64_t *chain, uint32_t n, uint32_t held,
                         uint32_t expires_s) {
    if (slot >= SLOTS || held >= n) return;
    gdp_feed_kind kind = held ? GDP_FEED_PREDICT_AFTER : GDP_FEED_PREDICT;
    uint32_t from = held ? held - 1 : 0; /* the parent goes first */
    uint32_t tag = tag_of(kind, slot, atomic_load_explicit(&ix->generation[slot], memory_order_relaxed));
    size_t len = (size_t)(n - from + 1) * sizeof *chain;
    uint64_t *words = gdp_ring_claim(ix->ring, tag, len);
    if (!words) return; /* counted by the ring */
    words[0] = expires_s;
    memcpy(words + 1, chain + from, (n - from) * sizeof *chain);
    gdp_ring_publish(ix->ring, words, len);
}

gdp_index *gdp_indexer_index(gdp_indexer *ix) { return ix->index; }
const gdp_chain_key *gdp_indexer_key(const gdp_indexer *ix) { return &ix->key; }
bool gdp_indexer_tiers(const gdp_indexer *ix) { return atomic_load_explicit(&ix->tiers, memory_order_relaxed); }
