/* load.c -- see gdp/load.h: the books, and the one place that chooses a worker. */
#include "gdp/load.h"

#include <pthread.h>
#include <string.h>

struct gdp_books {
    pthread_mutex_t lock;
    uint64_t random;  /* xorshift state */
    uint64_t turn;    /* round robin */
    uint32_t n_open;  /* circuits not closed: lets gdp_next_probe answer at once */
    gdp_book book[GDP_SLOTS_MAX];
};

gdp_books *gdp_books_new(uint64_t seed) {
    gdp_books *b = gdp_alloc(sizeof *b);
    if (!b) return NULL;
    if (pthread_mutex_init(&b->lock, NULL)) {
        gdp_free(b);
        return NULL;
    }
    b->random = seed ? seed : 0x2545f4914f6cdd1dull;
    return b;
}

void gdp_books_free(gdp_books *b) {
    if (!b) return;
    pthread_mutex_destroy(&b->lock);
    gdp_free(b);
}

static uint64_t next_random(gdp_books *b) {
    uint64_t x = b->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return b->random = x;
}

/* ---- circuit ------------------------------------------------------------------------------------------------- */

static void circuit_open(gdp_books *b, gdp_book *k, const gdp_circuit_rule *rule, uint64_t now_ns) {
    if (k->circuit == GDP_CLOSED) {
        k->ejected++;
        b->n_open++;
    }
    uint32_t doublings = k->opened < 16 ? k->opened : 16;
    uint64_t pause = rule->open_ns << doublings;
    if (pause > rule->max_open_ns) pause = rule->max_open_ns;
    k->circuit = GDP_OPEN;
    k->open_until_ns = now_ns + pause;
    k->opened++;
    k->probing = false;
}

static void circuit_close(gdp_books *b, gdp_book *k) {
    if (k->circuit != GDP_CLOSED) b->n_open--;
    k->circuit = GDP_CLOSED;
    k->failures = 0;
    k->opened = 0;
    k->probing = false;
}

/* May this worker get a request now? An open circuit whose time is up becomes half open here. */
static bool circuit_lets_through(gdp_book *k, uint64_t now_ns) {
    if (GDP_LIKELY(k->circuit == GDP_CLOSED)) return true;
    if (k->circuit == GDP_OPEN) {
        if (now_ns < k->open_until_ns) return false;
        k->circuit = GDP_HALF_OPEN;
    }
    return !k->probing;
}

/* ---- choose and book ------------------------------------------------------------------------------------------ */

static bool was_tried(const gdp_wish *wish, uint32_t slot) {
    for (unsigned i = 0; i < wish->n_tried; i++)
        if (wish->tried[i] == slot) return true;
    return false;
}

/* splitmix64's finisher: a session and a worker key, mixed. */
static uint64_t rendezvous(uint64_t session, uint64_t key) {
    uint64_t x = session ^ (key * 0x9e3779b97f4a7c15ull);
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

/* Candidates that may be used now and have room. Kept on the stack: GDP_SLOTS_MAX words. */
typedef struct {
    uint32_t n;
    bool any_usable; /* some were usable but full */
    uint32_t index[GDP_SLOTS_MAX];
} choices;

static void gather(gdp_books *b, const gdp_worker *workers, const uint32_t *candidates, uint32_t n, const gdp_wish *wish,
                   uint64_t now_ns, choices *c) {
    c->n = 0;
    c->any_usable = false;
    for (uint32_t i = 0; i < n; i++) {
        const gdp_worker *w = &workers[candidates[i]];
        gdp_book *k = &b->book[w->slot];
        if (w->state != GDP_READY || was_tried(wish, w->slot) || !circuit_lets_through(k, now_ns)) continue;
        c->any_usable = true;
        if (w->max_inflight && k->inflight >= w->max_inflight) continue;
        c->index[c->n++] = candidates[i];
    }
}

static uint32_t pick_least_load(gdp_books *b, const gdp_worker *workers, const choices *c) {
    uint32_t least = UINT32_MAX, ties = 0, pick[2] = {0, 0};
    for (uint32_t i = 0; i < c->n; i++) {
        uint32_t load = b->book[workers[c->index[i]].slot].inflight;
        if (load < least) {
            least = load;
            ties = 0;
        }
        if (load != least) continue;
        /* Reservoir of two among the ties, each equally likely. */
        ties++;
        if (ties <= 2) {
            pick[ties - 1] = c->index[i];
        } else {
            uint64_t r = next_random(b) % ties;
            if (r < 2) pick[r] = c->index[i];
        }
    }
    if (ties == 1) return pick[0];
    /* Of two equally loaded, the one with fewer placements so far; equal again: chance. */
    uint64_t a = b->book[workers[pick[0]].slot].placed, z = b->book[workers[pick[1]].slot].placed;
    if (a != z) return a < z ? pick[0] : pick[1];
    return pick[next_random(b) & 1];
}

static uint32_t pick_rendezvous(const gdp_worker *workers, const choices *c, uint64_t session) {
    uint32_t best = c->index[0];
    uint64_t high = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        uint64_t score = rendezvous(session, workers[c->index[i]].key);
        if (score >= high) {
            high = score;
            best = c->index[i];
        }
    }
    return best;
}

static uint32_t pick(gdp_books *b, const gdp_worker *workers, const choices *c, const gdp_wish *wish) {
    if (wish->sticky)
        for (uint32_t i = 0; i < c->n; i++)
            if (workers[c->index[i]].slot + 1 == wish->sticky) return c->index[i];
    switch (wish->policy) {
    case GDP_ROUND_ROBIN: return c->index[b->turn++ % c->n];
    case GDP_RANDOM: return c->index[next_random(b) % c->n];
    case GDP_SESSION:
        if (wish->has_session) return pick_rendezvous(workers, c, wish->session);
        return pick_least_load(b, workers, c);
    default: return pick_least_load(b, workers, c);
    }
}

gdp_placing gdp_place(gdp_books *b, const gdp_worker *workers, const uint32_t *candidates, uint32_t n,
                      const gdp_wish *wish, uint64_t now_ns, uint32_t *chosen, gdp_booking *booking) {
    choices c;
    pthread_mutex_lock(&b->lock);
    gather(b, workers, candidates, n, wish, now_ns, &c);
    if (!c.n) {
        pthread_mutex_unlock(&b->lock);
        return c.any_usable ? GDP_ALL_BUSY : GDP_NONE_READY;
    }
    *chosen = pick(b, workers, &c, wish);
    uint32_t slot = workers[*chosen].slot;
    gdp_book *k = &b->book[slot];
    k->inflight++;
    k->placed++;
    bool probe = k->circuit == GDP_HALF_OPEN;
    if (GDP_UNLIKELY(probe)) k->probing = true;
    *booking = (gdp_booking){slot, probe};
    pthread_mutex_unlock(&b->lock);
    return GDP_PLACED;
}

/* `probe`: this failure is that of the half-open circuit's request. One that was placed before the circuit opened says
 * nothing new about a worker that is known to fail. */
static void fail(gdp_books *b, gdp_book *k, const gdp_circuit_rule *rule, uint64_t now_ns, bool at_once, bool probe) {
    k->failed++;
    k->failures++;
    if (k->circuit == GDP_CLOSED ? at_once || k->failures >= rule->failures_max : probe) circuit_open(b, k, rule, now_ns);
}

gdp_circuit gdp_settle(gdp_books *b, gdp_booking booking, gdp_end end, const gdp_circuit_rule *rule, uint64_t now_ns) {
    pthread_mutex_lock(&b->lock);
    gdp_book *k = &b->book[booking.slot];
    bool probe = booking.probe && k->circuit == GDP_HALF_OPEN && k->probing;
    if (k->inflight) k->inflight--;
    switch (end) {
    case GDP_END_OK:
        k->ok++;
        if (k->circuit == GDP_CLOSED) k->failures = 0;
        if (probe) circuit_close(b, k);
        break;
    case GDP_END_NEUTRAL:
        if (probe) k->probing = false;
        break;
    case GDP_END_FAILED: fail(b, k, rule, now_ns, false, probe); break;
    case GDP_END_LEAVING: fail(b, k, rule, now_ns, true, probe); break;
    }
    gdp_circuit after = (gdp_circuit)k->circuit;
    pthread_mutex_unlock(&b->lock);
    return after;
}

void gdp_blame(gdp_books *b, uint32_t slot, const gdp_circuit_rule *rule, uint64_t now_ns) {
    pthread_mutex_lock(&b->lock);
    fail(b, &b->book[slot], rule, now_ns, false, false);
    pthread_mutex_unlock(&b->lock);
}

void gdp_tokens(gdp_books *b, uint32_t slot, int64_t prompt, int64_t cached, int64_t output) {
    pthread_mutex_lock(&b->lock);
    gdp_book *k = &b->book[slot];
    if (prompt > 0) k->prompt_tokens += (uint64_t)prompt;
    if (cached > 0) k->cached_tokens += (uint64_t)cached;
    if (output > 0) k->output_tokens += (uint64_t)output;
    pthread_mutex_unlock(&b->lock);
}

/* ---- for control ---------------------------------------------------------------------------------------------- */

void gdp_book_copy(gdp_books *b, uint32_t slot, gdp_book *out) {
    pthread_mutex_lock(&b->lock);
    *out = b->book[slot];
    pthread_mutex_unlock(&b->lock);
}

void gdp_book_reset(gdp_books *b, uint32_t slot) {
    pthread_mutex_lock(&b->lock);
    gdp_book *k = &b->book[slot];
    circuit_close(b, k);
    uint32_t inflight = k->inflight;
    memset(k, 0, sizeof *k);
    k->inflight = inflight;
    pthread_mutex_unlock(&b->lock);
}

void gdp_book_close_circuit(gdp_books *b, uint32_t slot) {
    pthread_mutex_lock(&b->lock);
    circuit_close(b, &b->book[slot]);
    pthread_mutex_unlock(&b->lock);
}

uint64_t gdp_next_probe(gdp_books *b, uint64_t now_ns) {
    uint64_t soonest = 0;
    pthread_mutex_lock(&b->lock);
    if (b->n_open)
        for (uint32_t i = 0; i < GDP_SLOTS_MAX; i++) {
            gdp_book *k = &b->book[i];
            /* One whose time has come is left alone: whoever may be placed there is placed by now. */
            if (k->circuit != GDP_OPEN || k->open_until_ns <= now_ns) continue;
            if (!soonest || k->open_until_ns < soonest) soonest = k->open_until_ns;
        }
    pthread_mutex_unlock(&b->lock);
    return soonest;
}
