/* choose.c -- see gdp/load.h: the one place that chooses a worker, and books it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "books.h"

/* Somebody chooses; all of this happens under the books' lock. */
typedef struct {
    gdp_books *b;
    const gdp_roster *roster;
    const gdp_wish *wish;
    const gdp_weights *weights;
    uint64_t now_ns;
    double now_s;
    gdp_ask ask;       /* the wish's, with what the books know */
    gdp_survey found;
} choice;

static uint64_t next_random(gdp_books *b) {
    uint64_t x = b->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return b->random = x;
}

static bool by_cost(const gdp_wish *wish) { return wish->policy == GDP_KV || wish->policy == GDP_APPROX; }

/* ---- who may ------------------------------------------------------------------------------------------------------ */

static bool was_tried(const gdp_wish *wish, uint32_t slot) {
    for (unsigned i = 0; i < wish->n_tried; i++)
        if (wish->tried[i] == slot) return true;
    return false;
}

/* The roster's, with 0 for who may not be used at all now. n: how many may. */
static const double *limits_of(const choice *c, uint32_t *n) {
    gdp_books *b = c->b;
    const gdp_roster *r = c->roster;
    *n = r->n;
    if (GDP_LIKELY(!c->wish->n_tried && !b->n_open)) return r->limit;
    memcpy(b->limits, r->limit, r->places * sizeof *b->limits);
    for (uint32_t run = 0; run < r->n_runs; run++)
        for (uint32_t i = r->run[run].begin; i < r->run[run].begin + r->run[run].n; i++) {
            if (!was_tried(c->wish, r->slot[i]) && circuit_lets_through(&b->book[r->slot[i]], c->now_ns)) continue;
            b->limits[i] = 0;
            (*n)--;
        }
    return b->limits;
}

/* The question with what the books know: tokens of a text, who is believed, how much is usually answered. */
static gdp_ask completed(const gdp_books *b, const gdp_wish *wish, uint16_t class_of) {
    gdp_ask ask = wish->ask;
    double per_token = b->bytes_per_token[class_of], usual = b->rates[class_of].output_tokens;
    if (wish->text || !ask.prompt_tokens) ask.prompt_tokens = (uint32_t)((double)wish->bytes / per_token);
    if (wish->text) ask.block_tokens = (uint32_t)(GDP_TEXT_BLOCK / per_token) + 1;
    if (!ask.block_tokens) ask.block_tokens = 1;
    if (!(ask.output_tokens >= 0 && ask.output_tokens <= usual)) ask.output_tokens = usual;
    return ask;
}

/* A worker that did not hold what it was predicted to, since nobody tells when it forgets, is believed less. */
static void doubt_text(gdp_books *b, const gdp_roster *roster, gdp_ask *ask) {
    const uint32_t *reach = ask->reach[0];
    if (!reach) return;
    for (uint32_t i = 0; i < roster->places; i++) {
        uint32_t slot = roster->slot[i];
        b->trusted[slot] = (uint32_t)(reach[slot] * b->trust[slot] + 0.5);
    }
    ask->reach[0] = b->trusted;
    ask->reach[1] = ask->reach[2] = NULL;
}

static uint16_t class_at(const gdp_roster *r, uint32_t place) {
    uint32_t run = 0;
    while (place >= r->run[run].end) run++;
    return r->run[run].class_of;
}

static uint32_t first_fit(const choice *c) {
    uint32_t place = 0;
    while (!(c->b->tally->cost[place] < INFINITY)) place++;
    return place;
}

/* By late.h, within the bounds that load.h gives.
 *
 * While any is open, the cost may choose a laden one, too: a prompt may be better off behind half a second of work than
 * computed anew (bench/quality: 98.5 % of promises kept instead of 98.0). Other policies do not know that price. */
static void look(choice *c, const double *limits, uint16_t class_of) {
    const gdp_wish *wish = c->wish;
    const gdp_doors doors = {.limits = limits, .rule = wish->late, .usual = &c->b->usual,
                             .prompt = wish->ask.prompt_tokens};
    c->ask = completed(c->b, wish, class_of);
    if (wish->text) doubt_text(c->b, c->roster, &c->ask);
    c->found = gdp_cost_survey(c->b->tally, c->b->rates, c->weights, by_cost(wish) ? &c->ask : NULL, c->roster, &doors, c->now_s);
}

/* Is anybody there, and open? The question is completed for the class of the first who may be chosen: nearly always that
 * of the roster's first. */
static gdp_placing survey(choice *c) {
    uint32_t usable;
    const double *limits = limits_of(c, &usable);
    if (!usable) return GDP_NONE_READY;
    uint16_t class_of = c->roster->run[0].class_of;
    look(c, limits, class_of);
    if (!c->found.open) return GDP_ALL_BUSY;
    if (c->roster->n_runs > 1 && class_at(c->roster, first_fit(c)) != class_of)
        look(c, limits, class_at(c->roster, first_fit(c)));
    return GDP_PLACED;
}

/* ---- which one ---------------------------------------------------------------------------------------------------- */

/* All of these return a place of the roster. */

/* PERF: without a branch, 256 places are looked at in 60 ns. */
static uint32_t list_fit(gdp_books *b, const gdp_roster *roster) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < roster->places; i++) {
        b->fit[n] = i;
        n += b->tally->cost[i] < INFINITY;
    }
    return n;
}

static uint32_t pick_least_load(gdp_books *b, const gdp_roster *roster, uint32_t n) {
    uint32_t ties = 0, pick[2] = {0, 0};
    double least = INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        double load = b->tally->inflight[roster->slot[b->fit[i]]];
        if (load < least) {
            least = load;
            ties = 0;
        }
        if (load > least) continue;
        /* Reservoir of two among the ties, each equally likely. */
        ties++;
        if (ties <= 2) {
            pick[ties - 1] = b->fit[i];
        } else {
            uint64_t r = next_random(b) % ties;
            if (r < 2) pick[r] = b->fit[i];
        }
    }
    if (ties == 1) return pick[0];
    /* Of two equally loaded, the one with fewer placements so far; equal again: chance. */
    uint64_t a = b->book[roster->slot[pick[0]]].placed, z = b->book[roster->slot[pick[1]]].placed;
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

static uint32_t pick_rendezvous(const gdp_books *b, const gdp_roster *roster, uint32_t n, uint64_t session) {
    uint32_t best = 0;
    uint64_t high = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t score = rendezvous(session, roster->key[b->fit[i]]);
        if (score >= high) {
            high = score;
            best = b->fit[i];
        }
    }
    return best;
}

static bool pick_sticky(const choice *c, uint32_t *place) {
    for (uint32_t i = 0; i < c->roster->places; i++)
        if (c->roster->slot[i] + 1 == c->wish->sticky && c->b->tally->cost[i] < INFINITY) {
            *place = i;
            return true;
        }
    return false;
}

/* tied: how many cost the same, 0: it was not chosen by cost. */
static uint32_t pick(choice *c, uint32_t *tied) {
    gdp_books *b = c->b;
    const gdp_wish *wish = c->wish;
    uint32_t place;
    *tied = 0;
    if (wish->sticky && pick_sticky(c, &place)) return place;
    if (by_cost(wish)) return gdp_cost_cheapest(b->tally, c->weights, &c->ask, c->roster, c->found.least, tied);
    uint32_t n = list_fit(b, c->roster);
    switch (wish->policy) {
    case GDP_ROUND_ROBIN: return b->fit[b->turn++ % n];
    case GDP_RANDOM: return b->fit[next_random(b) % n];
    case GDP_SESSION:
        if (wish->has_session) return pick_rendezvous(b, c->roster, n, wish->session);
    } /* fall through */
    return pick_least_load(b, c->roster, n);
}

/* ---- what is told --------------------------------------------------------------------------------------------------- */

/* Behind the chosen one at best[0] the cheapest others; how many in all. PERF: most rows hold nobody cheaper than those
 * found so far. */
static uint32_t list_cheapest(const choice *c, uint32_t best[GDP_SHOWN]) {
    const double *cost = c->b->tally->cost, *low = c->b->tally->low;
    uint32_t n = 1;
    double bar = INFINITY;
    for (uint32_t row = 0; row < c->roster->places; row += GDP_ROW) {
        if (!(low[row / GDP_ROW] < bar)) continue;
        for (uint32_t i = row; i < row + GDP_ROW; i++) {
            if (!(cost[i] < bar) || i == best[0]) continue;
            uint32_t at = n < GDP_SHOWN ? n++ : n - 1;
            for (; at > 1 && cost[best[at - 1]] > cost[i]; at--) best[at] = best[at - 1];
            best[at] = i;
            if (n == GDP_SHOWN) bar = cost[best[n - 1]];
        }
    }
    return n;
}

static void tell_terms(const choice *c, const uint32_t *places, uint32_t n, gdp_placement *out) {
    gdp_tally *t = c->b->tally;
    uint32_t slots[GDP_SHOWN];
    for (uint32_t i = 0; i < n; i++) {
        slots[i] = c->roster->slot[places[i]];
        t->class_of[slots[i]] = class_at(c->roster, places[i]);
    }
    gdp_cost_terms(t, c->b->rates, c->weights, &c->ask, slots, n, c->now_s, out->shown);
    out->n_shown = n;
}

/* All are full: what the queue must know. */
static void say_busy(const choice *c, gdp_placement *out) {
    const gdp_books *b = c->b;
    const gdp_roster *r = c->roster;
    const gdp_wish *wish = c->wish;
    uint32_t deepest = 0, last = 0;
    for (uint32_t i = 0; i < r->places; i++) {
        uint32_t slot = r->slot[i];
        if (!(r->limit[i] > 0) || b->book[slot].circuit != GDP_CLOSED) continue;
        double backlog = gdp_tally_backlog_s(b->tally, &b->usual, slot, c->now_s);
        if (!out->n_usable || backlog < out->least_backlog_s) out->least_backlog_s = backlog;
        if (wish->ask.reach[0] && wish->ask.reach[0][slot] > deepest) deepest = wish->ask.reach[0][slot];
        out->n_usable++;
        last = i;
    }
    uint16_t class_of = class_at(r, last);
    gdp_ask ask = completed(b, wish, class_of);
    double prompt = ask.prompt_tokens, cached = (double)deepest * ask.block_tokens;
    if (cached > prompt) cached = prompt;
    out->work_s = gdp_prefill_s(&b->rates[class_of], prompt - cached, cached);
}

/* ---- choose and book ------------------------------------------------------------------------------------------------ */

static void book(const choice *c, uint32_t slot, gdp_placement *out) {
    gdp_books *b = c->b;
    gdp_book *k = &b->book[slot];
    b->tally->inflight[slot] += 1;
    k->placed++;
    bool probe = k->circuit == GDP_HALF_OPEN;
    if (GDP_UNLIKELY(probe)) k->probing = true;
    out->booking.slot = slot;
    out->booking.probe = probe;
    out->booking.text = c->wish->text;
    gdp_tally_place(b->tally, &out->booking.lot, &c->ask, &out->shown[0], c->now_s);
    if (!c->wish->stream) gdp_tally_unseen(b->tally, &out->booking.lot, c->now_s);
}

static gdp_placing choose_and_book(choice *c, gdp_placement *out) {
    const gdp_wish *wish = c->wish;
    out->n_shown = out->n_usable = 0;
    out->work_s = out->least_backlog_s = 0;
    gdp_placing verdict = survey(c);
    if (verdict == GDP_ALL_BUSY) say_busy(c, out);
    if (verdict != GDP_PLACED) return verdict;
    uint32_t best[GDP_SHOWN] = {pick(c, &out->tied)};
    tell_terms(c, best, out->tied ? list_cheapest(c, best) : 1, out);
    if (wish->deadline_s > 0 && c->now_s + out->shown[0].queue_s + out->shown[0].prefill_s > wish->deadline_s)
        return GDP_TOO_LATE;
    out->chosen = c->roster->index[best[0]];
    out->n_candidates = c->found.fit;
    book(c, c->roster->slot[best[0]], out);
    return GDP_PLACED;
}

static choice choice_of(gdp_books *b, const gdp_roster *roster, const gdp_wish *wish, uint64_t now_ns) {
    return (choice){.b = b, .roster = roster, .wish = wish, .weights = wish->weights ? wish->weights : &b->usual,
                    .now_ns = now_ns, .now_s = seconds_of(now_ns)};
}

gdp_placing gdp_place_among(gdp_books *b, const gdp_roster *roster, const gdp_wish *wish, uint64_t now_ns,
                            gdp_placement *out) {
    choice c = choice_of(b, roster, wish, now_ns);
    pthread_mutex_lock(&b->lock);
    gdp_placing verdict = choose_and_book(&c, out);
    pthread_mutex_unlock(&b->lock);
    return verdict;
}

/* The READY ones, class by class, each in the order given. */
static void enrol(gdp_roster *roster, const gdp_worker *workers, const uint32_t *which, uint32_t n) {
    uint64_t classes = 0;
    for (uint32_t i = 0; i < n; i++)
        if (workers[which[i]].state == GDP_READY) classes |= UINT64_C(1) << workers[which[i]].class_of;
    gdp_roster_clear(roster);
    for (; classes; classes &= classes - 1) {
        uint16_t class_of = (uint16_t)__builtin_ctzll(classes);
        gdp_roster_begin(roster, class_of);
        for (uint32_t i = 0; i < n; i++) {
            const gdp_worker *w = &workers[which[i]];
            if (w->state == GDP_READY && w->class_of == class_of)
                gdp_roster_add(roster, w->slot, which[i], w->key, w->max_inflight);
        }
        gdp_roster_end(roster);
    }
}

gdp_placing gdp_place(gdp_books *b, const gdp_worker *workers, const uint32_t *candidates, uint32_t n,
                      const gdp_wish *wish, uint64_t now_ns, gdp_placement *out) {
    choice c = choice_of(b, b->tally->roster, wish, now_ns);
    pthread_mutex_lock(&b->lock);
    enrol(b->tally->roster, workers, candidates, n);
    gdp_placing verdict = choose_and_book(&c, out);
    pthread_mutex_unlock(&b->lock);
    return verdict;
}

gdp_terms gdp_books_terms(gdp_books *b, const gdp_worker *worker, const gdp_wish *wish, uint64_t now_ns) {
    gdp_terms terms;
    pthread_mutex_lock(&b->lock);
    b->tally->class_of[worker->slot] = worker->class_of;
    gdp_ask ask = completed(b, wish, worker->class_of);
    gdp_cost_terms(b->tally, b->rates, wish->weights ? wish->weights : &b->usual, &ask, &worker->slot, 1,
                   seconds_of(now_ns), &terms);
    pthread_mutex_unlock(&b->lock);
    return terms;
}

/* ---- rosters ---------------------------------------------------------------------------------------------------------- */

static int by_slot(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

gdp_roster *gdp_roster_new(const gdp_worker *workers, const uint32_t *which, uint32_t n) {
    gdp_roster *roster = gdp_roster_empty(n);
    uint64_t *sorted = gdp_alloc((n + 1) * sizeof *sorted);
    if (!roster || !sorted) {
        gdp_roster_free(roster);
        gdp_free(sorted);
        return NULL;
    }
    uint32_t *order = (uint32_t *)(void *)sorted; /* in place: half as wide, from the front */
    for (uint32_t i = 0; i < n; i++) sorted[i] = (uint64_t)workers[which[i]].slot << 32 | which[i];
    qsort(sorted, n, sizeof *sorted, by_slot);
    for (uint32_t i = 0; i < n; i++) order[i] = (uint32_t)sorted[i];
    enrol(roster, workers, order, n);
    gdp_free(sorted);
    return roster;
}
