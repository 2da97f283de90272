/* load.c -- see gdp/load.h: the books, circuits, and how bookings begin and end. choose.c makes them. */
#include <math.h>
#include <string.h>

#include "books.h"

#define BYTES_PER_TOKEN 4.5 /* before any worker has told */
#define BYTES_STEP 0.05
#define TRUST_STEP 0.1 /* of the running mean of how far predictions from text come true */

gdp_books *gdp_books_new(uint64_t seed) {
    gdp_books *b = gdp_alloc(sizeof *b);
    if (!b) return NULL;
    b->tally = gdp_tally_new(GDP_SLOTS_MAX);
    if (!b->tally || pthread_mutex_init(&b->lock, NULL)) {
        gdp_tally_free(b->tally);
        gdp_free(b);
        return NULL;
    }
    b->random = seed ? seed : 0x2545f4914f6cdd1dull;
    gdp_weights_init(&b->usual);
    for (unsigned i = 0; i < GDP_CLASSES; i++) {
        gdp_rates_init(&b->rates[i]);
        b->bytes_per_token[i] = BYTES_PER_TOKEN;
    }
    for (unsigned i = 0; i < GDP_SLOTS_MAX; i++) b->trust[i] = 1;
    return b;
}

void gdp_books_free(gdp_books *b) {
    if (!b) return;
    pthread_mutex_destroy(&b->lock);
    gdp_tally_free(b->tally);
    gdp_free(b);
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

/* ---- a booking's life -------------------------------------------------------------------------------------------- */

void gdp_begin(gdp_books *b, gdp_booking *booking, uint64_t now_ns) {
    pthread_mutex_lock(&b->lock);
    gdp_tally_first(b->tally, b->rates, &booking->lot, seconds_of(now_ns));
    pthread_mutex_unlock(&b->lock);
}

/* `probe`: this failure is that of the half-open circuit's request. One that was placed before the circuit opened says
 * nothing new about a worker that is known to fail. */
static void fail(gdp_books *b, gdp_book *k, const gdp_circuit_rule *rule, uint64_t now_ns, bool at_once, bool probe) {
    k->failed++;
    k->failures++;
    if (k->circuit == GDP_CLOSED ? at_once || k->failures >= rule->failures_max : probe) circuit_open(b, k, rule, now_ns);
}

gdp_circuit gdp_settle(gdp_books *b, gdp_booking *booking, gdp_end end, int64_t tokens, const gdp_circuit_rule *rule,
                       uint64_t now_ns) {
    pthread_mutex_lock(&b->lock);
    gdp_book *k = &b->book[booking->slot];
    bool probe = booking->probe && k->circuit == GDP_HALF_OPEN && k->probing;
    double *inflight = &b->tally->inflight[booking->slot];
    if (*inflight > 0) *inflight -= 1;
    gdp_tally_end(b->tally, b->rates, &booking->lot, end == GDP_END_OK ? (double)tokens : -1, seconds_of(now_ns));
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

/* ---- predictions against what came true ----------------------------------------------------------------------------- */

static unsigned bin_of(int64_t predicted, int64_t realised) {
    if (realised >= predicted) return GDP_AUDIT_BINS - 1;
    if (realised <= 0) return 0;
    return 1 + (unsigned)(realised * 10 / predicted);
}

static void audit(gdp_books *b, uint32_t slot, const gdp_told *told) {
    gdp_audit *a = &b->book[slot].audit[told->text];
    if (told->cached < 0) {
        a->not_auditable++;
        return;
    }
    a->judged++;
    a->agreed += told->cached == told->predicted;
    a->predicted += (uint64_t)told->predicted;
    a->realised += (uint64_t)told->cached;
    a->bin[bin_of(told->predicted, told->cached)]++;
    if (told->text && told->predicted > 0) {
        double ratio = fmin(1, (double)told->cached / (double)told->predicted);
        b->trust[slot] += TRUST_STEP * (ratio - b->trust[slot]);
    }
}

static void learn_bytes(gdp_books *b, uint32_t slot, const gdp_told *told) {
    double *mean = &b->bytes_per_token[b->tally->class_of[slot]];
    double seen = (double)told->bytes / (double)told->prompt;
    if (seen > 0.5 && seen < 64) *mean += BYTES_STEP * (seen - *mean);
}

void gdp_tokens(gdp_books *b, uint32_t slot, const gdp_told *told) {
    pthread_mutex_lock(&b->lock);
    gdp_book *k = &b->book[slot];
    if (told->prompt > 0 && told->bytes) learn_bytes(b, slot, told);
    if (told->prompt > 0) k->prompt_tokens += (uint64_t)told->prompt;
    if (told->cached > 0) k->cached_tokens += (uint64_t)told->cached;
    if (told->output > 0) k->output_tokens += (uint64_t)told->output;
    if (told->predicted >= 0 && told->prompt >= 0) audit(b, slot, told);
    pthread_mutex_unlock(&b->lock);
}

/* ---- for control ---------------------------------------------------------------------------------------------- */

void gdp_book_copy(gdp_books *b, uint32_t slot, uint64_t now_ns, gdp_book *out) {
    const gdp_tally *t = b->tally;
    pthread_mutex_lock(&b->lock);
    *out = b->book[slot];
    out->inflight = (uint32_t)t->inflight[slot];
    out->trust = b->trust[slot];
    out->backlog_s = gdp_tally_backlog_s(t, &b->usual, slot, seconds_of(now_ns));
    out->running = t->running[slot];
    out->waiting = t->waiting[slot];
    out->kv_tokens = t->kv_tokens[slot];
    out->kv_capacity = isfinite(t->kv_capacity[slot]) ? t->kv_capacity[slot] : 0;
    pthread_mutex_unlock(&b->lock);
}

void gdp_book_reset(gdp_books *b, uint32_t slot) {
    pthread_mutex_lock(&b->lock);
    gdp_book *k = &b->book[slot];
    circuit_close(b, k);
    memset(k, 0, sizeof *k);
    b->trust[slot] = 1;
    gdp_tally_reset(b->tally, slot, 0, 0, 0);
    pthread_mutex_unlock(&b->lock);
}

void gdp_book_scraped(gdp_books *b, uint32_t slot, double kv_capacity, double kv_tokens) {
    pthread_mutex_lock(&b->lock);
    if (isfinite(kv_capacity) && kv_capacity >= 0) b->tally->kv_capacity[slot] = kv_capacity > 0 ? kv_capacity : INFINITY;
    gdp_tally_scraped(b->tally, slot, kv_tokens);
    pthread_mutex_unlock(&b->lock);
}

void gdp_books_rates(gdp_books *b, uint16_t class_of, gdp_rates *out) {
    pthread_mutex_lock(&b->lock);
    *out = b->rates[class_of < GDP_CLASSES ? class_of : 0];
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
