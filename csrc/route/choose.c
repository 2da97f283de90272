/* choose.c -- see gdp/load.h: the one place that chooses a worker, and books it. */
#include <string.h>

#include "books.h"

#define LEARNT 16 /* observations before a rate may make a worker full */

static uint64_t next_random(gdp_books *b) {
    uint64_t x = b->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return b->random = x;
}

/* ---- who may ------------------------------------------------------------------------------------------------------ */

static bool was_tried(const gdp_wish *wish, uint32_t slot) {
    for (unsigned i = 0; i < wish->n_tried; i++)
        if (wish->tried[i] == slot) return true;
    return false;
}

/* CLOSED: not one more. LADEN: it would bear one more, after more than full_s of work. */
typedef enum { CLOSED, LADEN, OPEN } door;

/* By late.h, within the bounds that load.h gives. */
static door door_of(const gdp_books *b, const gdp_worker *w, const gdp_wish *wish, double now_s) {
    const gdp_late_rule *rule = wish->late;
    const gdp_book *k = &b->book[w->slot];
    if (w->max_inflight && k->inflight >= w->max_inflight) return CLOSED;
    const gdp_tally *t = b->tally;
    if (!rule || !k->inflight || !(t->kv_capacity[w->slot] > 0)) return OPEN;
    const gdp_rates *r = &b->rates[w->class_of];
    double backlog = 0, step = 0, prompt = wish->ask.prompt_tokens;
    if (r->prefill.n >= LEARNT) backlog = gdp_tally_backlog_s(t, &b->usual, w->slot, now_s);
    if (r->step.n >= LEARNT && gdp_step_s(r, 1, prompt) <= rule->hold * rule->itl_slo_s)
        step = gdp_step_s(r, t->running[w->slot] + t->waiting[w->slot] + 1, t->context[w->slot] + prompt);
    if (gdp_late_open(rule, backlog, k->inflight, w->max_inflight, step)) return OPEN;
    return gdp_late_bears(rule, k->inflight, w->max_inflight, step) ? LADEN : CLOSED;
}

/* Candidates that may be used now and have room. Kept on the stack: GDP_SLOTS_MAX words.
 *
 * While any is open, the cost may choose a laden one, too: a prompt may be better off behind half a second of work than
 * computed anew (bench/quality: 98.5 % of promises kept instead of 98.0). Other policies do not know that price. */
typedef struct {
    uint32_t n, n_open;
    bool any_usable; /* some were usable but full */
    uint32_t index[GDP_SLOTS_MAX];
} choices;

static void gather(gdp_books *b, const gdp_worker *workers, const uint32_t *candidates, uint32_t n, const gdp_wish *wish,
                   uint64_t now_ns, choices *c) {
    double now_s = seconds_of(now_ns);
    bool by_cost = wish->policy == GDP_KV || wish->policy == GDP_APPROX;
    c->n = c->n_open = 0;
    c->any_usable = false;
    for (uint32_t i = 0; i < n; i++) {
        const gdp_worker *w = &workers[candidates[i]];
        if (w->state != GDP_READY || was_tried(wish, w->slot)) continue;
        if (!circuit_lets_through(&b->book[w->slot], now_ns)) continue;
        c->any_usable = true;
        b->tally->class_of[w->slot] = w->class_of;
        b->tally->key[w->slot] = w->key;
        door d = door_of(b, w, wish, now_s);
        if (d == CLOSED || (d == LADEN && !by_cost)) continue;
        c->n_open += d == OPEN;
        b->scratch[c->n] = w->slot;
        c->index[c->n++] = candidates[i];
    }
    if (!c->n_open) c->n = 0;
}

/* ---- which one ---------------------------------------------------------------------------------------------------- */

/* All of these return a place in c->index. */

static uint32_t pick_least_load(gdp_books *b, const choices *c) {
    uint32_t least = UINT32_MAX, ties = 0, pick[2] = {0, 0};
    for (uint32_t i = 0; i < c->n; i++) {
        uint32_t load = b->book[b->scratch[i]].inflight;
        if (load < least) {
            least = load;
            ties = 0;
        }
        if (load != least) continue;
        /* Reservoir of two among the ties, each equally likely. */
        ties++;
        if (ties <= 2) {
            pick[ties - 1] = i;
        } else {
            uint64_t r = next_random(b) % ties;
            if (r < 2) pick[r] = i;
        }
    }
    if (ties == 1) return pick[0];
    /* Of two equally loaded, the one with fewer placements so far; equal again: chance. */
    uint64_t a = b->book[b->scratch[pick[0]]].placed, z = b->book[b->scratch[pick[1]]].placed;
    if (a != z) return a < z ? pick[0] : pick[1];
    return pick[next_random(b) & 1];
}

/* splitmix64's finisher: a session and a worker key, mixed. */
static uint64_t rendezvous(uint64_t session, uint64_t key) {
    uint64_t x = session ^ (key * 0x9e3779b97f4a7c15ull);
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static uint32_t pick_rendezvous(const gdp_books *b, const choices *c, uint64_t session) {
    uint32_t best = 0;
    uint64_t high = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        uint64_t score = rendezvous(session, b->tally->key[b->scratch[i]]);
        if (score >= high) {
            high = score;
            best = i;
        }
    }
    return best;
}

/* The question with what the books know: tokens of a text, who is believed, how much is usually answered. */
static gdp_ask completed(gdp_books *b, const gdp_wish *wish, const gdp_worker *first) {
    gdp_ask ask = wish->ask;
    double per_token = b->bytes_per_token[first->class_of], usual = b->rates[first->class_of].output_tokens;
    if (wish->text || !ask.prompt_tokens) ask.prompt_tokens = (uint32_t)((double)wish->bytes / per_token);
    if (wish->text) ask.block_tokens = (uint32_t)(GDP_TEXT_BLOCK / per_token) + 1;
    if (!ask.block_tokens) ask.block_tokens = 1;
    if (!(ask.output_tokens >= 0 && ask.output_tokens <= usual)) ask.output_tokens = usual;
    return ask;
}

/* A worker that did not hold what it was predicted to, since nobody tells when it forgets, is believed less. */
static void doubt_text(gdp_books *b, const choices *c, gdp_ask *ask) {
    if (!ask->reach[0]) return;
    for (uint32_t i = 0; i < c->n; i++) {
        uint32_t slot = b->scratch[i];
        b->trusted[slot] = (uint32_t)(ask->reach[0][slot] * b->book[slot].trust + 0.5);
    }
    ask->reach[0] = b->trusted;
    ask->reach[1] = ask->reach[2] = NULL;
}

static void show_others(gdp_books *b, const choices *c, const gdp_ask *ask, const gdp_weights *weights, double now_s,
                        uint32_t chosen, gdp_placement *out) {
    const double *cost = b->tally->scratch; /* of the choices, as gdp_cost_choose left them */
    uint32_t best[GDP_SHOWN], n = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        if (i == chosen || (n == GDP_SHOWN - 1 && cost[i] >= cost[best[n - 1]])) continue;
        uint32_t at = n < GDP_SHOWN - 1 ? n++ : n - 1;
        for (; at > 0 && cost[best[at - 1]] > cost[i]; at--) best[at] = best[at - 1];
        best[at] = i;
    }
    for (uint32_t i = 0; i < n; i++)
        gdp_cost_terms(b->tally, b->rates, weights, ask, b->scratch[best[i]], now_s, &out->shown[out->n_shown++]);
}

static uint32_t pick(gdp_books *b, const gdp_worker *workers, const choices *c, const gdp_wish *wish, const gdp_ask *ask,
                     const gdp_weights *weights, double now_s, gdp_placement *out) {
    out->tied = 0; /* not by cost */
    if (wish->sticky)
        for (uint32_t i = 0; i < c->n; i++)
            if (workers[c->index[i]].slot + 1 == wish->sticky) return i;
    switch (wish->policy) {
    case GDP_ROUND_ROBIN: return (uint32_t)(b->turn++ % c->n);
    case GDP_RANDOM: return (uint32_t)(next_random(b) % c->n);
    case GDP_SESSION:
        if (wish->has_session) return pick_rendezvous(b, c, wish->session);
        return pick_least_load(b, c);
    case GDP_KV:
    case GDP_APPROX: {
        int best = gdp_cost_choose(b->tally, b->rates, weights, ask, b->scratch, c->n, now_s, &out->shown[0], &out->tied);
        if (best >= 0) return (uint32_t)best;
    } /* fall through */
    default: return pick_least_load(b, c);
    }
}

/* ---- choose and book ------------------------------------------------------------------------------------------------ */

static void book(gdp_books *b, uint32_t slot, const gdp_wish *wish, const gdp_ask *ask, double now_s, gdp_placement *out) {
    gdp_book *k = &b->book[slot];
    k->inflight++;
    k->placed++;
    bool probe = k->circuit == GDP_HALF_OPEN;
    if (GDP_UNLIKELY(probe)) k->probing = true;
    out->booking = (gdp_booking){.slot = slot, .probe = probe, .text = wish->text};
    gdp_tally_place(b->tally, &out->booking.lot, ask, &out->shown[0], now_s);
    if (!wish->stream) gdp_tally_unseen(b->tally, &out->booking.lot, now_s);
}

/* All are full: what the queue must know. */
static void say_busy(gdp_books *b, const gdp_worker *workers, const uint32_t *candidates, uint32_t n,
                     const gdp_wish *wish, double now_s, gdp_placement *out) {
    uint32_t deepest = 0, last = candidates[0];
    out->n_usable = 0;
    for (uint32_t i = 0; i < n; i++) {
        const gdp_worker *w = &workers[candidates[i]];
        if (w->state != GDP_READY || b->book[w->slot].circuit != GDP_CLOSED) continue;
        double backlog = gdp_tally_backlog_s(b->tally, &b->usual, w->slot, now_s);
        if (!out->n_usable || backlog < out->least_backlog_s) out->least_backlog_s = backlog;
        if (wish->ask.reach[0] && wish->ask.reach[0][w->slot] > deepest) deepest = wish->ask.reach[0][w->slot];
        out->n_usable++;
        last = candidates[i];
    }
    gdp_ask ask = completed(b, wish, &workers[last]);
    double prompt = ask.prompt_tokens, cached = (double)deepest * ask.block_tokens;
    if (cached > prompt) cached = prompt;
    out->work_s = gdp_prefill_s(&b->rates[workers[last].class_of], prompt - cached, cached);
}

gdp_placing gdp_place(gdp_books *b, const gdp_worker *workers, const uint32_t *candidates, uint32_t n,
                      const gdp_wish *wish, uint64_t now_ns, gdp_placement *out) {
    choices c;
    double now_s = seconds_of(now_ns);
    const gdp_weights *weights = wish->weights ? wish->weights : &b->usual;
    out->n_shown = out->n_usable = 0;
    out->work_s = out->least_backlog_s = 0;
    pthread_mutex_lock(&b->lock);
    gather(b, workers, candidates, n, wish, now_ns, &c);
    if (!c.n) {
        if (c.any_usable) say_busy(b, workers, candidates, n, wish, now_s, out);
        pthread_mutex_unlock(&b->lock);
        return c.any_usable ? GDP_ALL_BUSY : GDP_NONE_READY;
    }
    gdp_ask ask = completed(b, wish, &workers[c.index[0]]);
    if (wish->text) doubt_text(b, &c, &ask);
    uint32_t best = pick(b, workers, &c, wish, &ask, weights, now_s, out), slot = b->scratch[best];
    gdp_cost_terms(b->tally, b->rates, weights, &ask, slot, now_s, &out->shown[0]);
    if (wish->deadline_s > 0 && now_s + out->shown[0].queue_s + out->shown[0].prefill_s > wish->deadline_s) {
        pthread_mutex_unlock(&b->lock);
        return GDP_TOO_LATE;
    }
    out->chosen = c.index[best];
    out->n_candidates = c.n;
    out->n_shown = 1;
    if (out->tied) show_others(b, &c, &ask, weights, now_s, best, out);
    book(b, slot, wish, &ask, now_s, out);
    pthread_mutex_unlock(&b->lock);
    return GDP_PLACED;
}

gdp_terms gdp_books_terms(gdp_books *b, const gdp_worker *worker, const gdp_wish *wish, uint64_t now_ns) {
    gdp_terms terms;
    pthread_mutex_lock(&b->lock);
    b->tally->class_of[worker->slot] = worker->class_of;
    gdp_ask ask = completed(b, wish, worker);
    gdp_cost_terms(b->tally, b->rates, wish->weights ? wish->weights : &b->usual, &ask, worker->slot, seconds_of(now_ns), &terms);
    pthread_mutex_unlock(&b->lock);
    return terms;
}
