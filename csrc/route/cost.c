/* cost.c -- see gdp/cost.h: the terms of a placement, and the cheapest of many. */
#include "gdp/cost.h"

#include <math.h>

void gdp_weights_init(gdp_weights *w)
{
    *w = (gdp_weights){
        .queue = 1, .prefill = 2, .stall = 0.01, .decode = 0.05, .floor = 0.25, .tie_ratio = 0.005, .tie_s = 0.001,
        .reload_s = {0, 5e-6, 40e-6}, /* 128 KiB per token over 25 and 3 GB/s */
    };
}

/* ---- the terms ------------------------------------------------------------------------------------------------ */

/* What is the same for every candidate of one class. */
typedef struct {
    double f0, f1, f2, s0, s1, s2;
    double prompt, output;
    double queue, prefill, stall, decode;
} common;

static common common_of(const gdp_rates *r, const gdp_weights *w, const gdp_ask *ask)
{
    const double *f = r->prefill.theta, *s = r->step.theta;
    return (common){
        f[0], f[1] / 1e3, f[2] / 1e6, s[0], s[1] / 10, s[2] / 1e5,
        ask->prompt_tokens, ask->output_tokens, w->queue, w->prefill, w->stall, w->decode,
    };
}

/* One candidate as it was gathered. */
typedef struct {
    double backlog, cached, reload, busy, context, kv, capacity;
} seen;

/* The one place where a cost is made: inlined into the vector loop and into the explanation. */
static inline double cost_of(const common *c, seen w, gdp_terms *out)
{
    double uncached = c->prompt - w.cached;
    double work = c->f1 * uncached + c->f2 * uncached * (w.cached + 0.5 * uncached) + w.reload;
    double prefill = c->f0 + work;
    double decode = c->output * (c->s0 + c->s1 * (w.busy + 1) + c->s2 * (w.context + c->prompt));
    double stall = w.busy * work * work / (work + decode + 1e-9); /* nothing at all to do: not 0 / 0 */
    double over = w.kv + uncached + c->output - w.capacity;
    over = over > 0 ? over : 0;
    double memory = over * decode / (w.kv + 1);
    double total = c->queue * w.backlog + c->prefill * prefill + c->stall * stall + c->decode * decode + memory;
    if (out) {
        out->queue_s = w.backlog;
        out->prefill_s = prefill;
        out->work_s = work;
        out->stall_s = stall;
        out->decode_s = decode;
        out->memory_s = memory;
        out->total = total;
    }
    return total;
}

static inline double backlog_of(double free_at, double booked, double floor, double now_s)
{
    double by_clock = free_at - now_s, least = booked * floor;
    return by_clock > least ? by_clock : least;
}

/* Where the prefix is held. */
typedef struct {
    const uint32_t *reach[GDP_MEDIA]; /* each as the medium before where the asker gave none */
    double block_tokens, most;        /* most: all but the last of the prompt, the engine always computes one */
    bool media;                       /* more than the GPU's */
} holding;

static holding holding_of(const gdp_ask *ask)
{
    holding h = {
        .reach = {ask->reach[0], ask->reach[1], ask->reach[2]}, .block_tokens = ask->block_tokens,
        .most = ask->prompt_tokens ? (double)((ask->prompt_tokens - 1) / ask->block_tokens) * ask->block_tokens : 0,
        .media = ask->reach[1] || ask->reach[2],
    };
    for (unsigned m = 1; m < GDP_MEDIA; m++)
        if (!h.reach[m]) h.reach[m] = h.reach[m - 1];
    return h;
}

/* Tokens held in media 0..m. */
static inline double held(const holding *h, unsigned m, uint32_t slot)
{
    double tokens = h->reach[m] ? (double)h->reach[m][slot] * h->block_tokens : 0;
    return tokens < h->most ? tokens : h->most;
}

static inline seen look(const gdp_tally *t, const gdp_weights *w, const holding *h, uint32_t slot, double now_s)
{
    double gpu = held(h, 0, slot), cached = gpu, reload = 0;
    if (h->media) {
        double cpu = held(h, 1, slot);
        cached = held(h, 2, slot);
        reload = (cpu - gpu) * w->reload_s[1] + (cached - cpu) * w->reload_s[2];
    }
    return (seen){
        backlog_of(t->free_at_s[slot], t->booked_s[slot], w->floor, now_s), cached, reload,
        t->running[slot] + t->waiting[slot], t->context[slot], t->kv_tokens[slot],
        t->kv_capacity[slot] > 0 ? t->kv_capacity[slot] : INFINITY,
    };
}

void gdp_cost_terms(const gdp_tally *t, const gdp_rates *rates, const gdp_weights *w, const gdp_ask *ask, uint32_t slot,
                    double now_s, gdp_terms *out)
{
    common c = common_of(&rates[t->class_of[slot]], w, ask);
    holding h = holding_of(ask);
    seen s = look(t, w, &h, slot, now_s);
    out->slot = slot;
    out->cached_tokens = (uint32_t)s.cached;
    cost_of(&c, s, out);
}

/* ---- the cheapest --------------------------------------------------------------------------------------------- */

/* PERF: select over 256 workers in csrc/test/test_cost.c. What was seen stands in columns, so that gcc makes vectors of
 * the arithmetic; the indices are size_t, because a uint32_t may wrap and cost it the addressing. */
static void cost_columns(const common *c, const double *restrict col, double *restrict cost, size_t n, size_t pitch)
{
    for (size_t i = 0; i < n; i++) {
        seen s = {col[i], col[pitch + i], col[2 * pitch + i], col[3 * pitch + i], col[4 * pitch + i],
                  col[5 * pitch + i], col[6 * pitch + i]};
        cost[i] = cost_of(c, s, NULL);
    }
}

static void gather(const gdp_tally *of, const gdp_weights *weights, const holding *held_by, const uint32_t *restrict slots,
                   size_t n, double now_s, double *restrict col, size_t pitch)
{
    const gdp_tally t = *of; /* copies: nothing that is written below can change them */
    const gdp_weights w = *weights;
    const holding h = *held_by;
    for (size_t i = 0; i < n; i++) {
        seen s = look(&t, &w, &h, slots[i], now_s);
        col[i] = s.backlog;
        col[pitch + i] = s.cached;
        col[2 * pitch + i] = s.reload;
        col[3 * pitch + i] = s.busy;
        col[4 * pitch + i] = s.context;
        col[5 * pitch + i] = s.kv;
        col[6 * pitch + i] = s.capacity;
    }
}

/* All candidates' costs into the scratch's first column. */
static double *costs(gdp_tally *t, const gdp_rates *rates, const gdp_weights *w, const gdp_ask *ask,
                     const uint32_t *slots, uint32_t n, double now_s)
{
    double *cost = t->scratch, *col = t->scratch + t->pitch;
    const holding h = holding_of(ask);
    uint16_t class_of = t->class_of[slots[0]];
    bool mixed = false;
    for (uint32_t i = 0; i < n; i++) mixed |= t->class_of[slots[i]] != class_of;
    gather(t, w, &h, slots, n, now_s, col, t->pitch);
    common c = common_of(&rates[class_of], w, ask);
    if (GDP_LIKELY(!mixed)) {
        cost_columns(&c, col, cost, n, t->pitch);
        return cost;
    }
    for (uint32_t i = 0; i < n; i++) {
        c = common_of(&rates[t->class_of[slots[i]]], w, ask);
        cost_columns(&c, col + i, cost + i, 1, t->pitch);
    }
    return cost;
}

/* splitmix64's finisher: a block and a worker's key, mixed. */
static uint64_t mix(uint64_t block, uint64_t key)
{
    uint64_t x = block ^ (key * 0x9e3779b97f4a7c15ull);
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static uint64_t first_new_block(const gdp_ask *ask, const uint32_t *slots, uint32_t n)
{
    if (!ask->chain || !ask->blocks) return ask->salt;
    unsigned m = GDP_MEDIA - 1;
    while (m > 0 && !ask->reach[m]) m--;
    uint32_t deepest = 0;
    if (ask->reach[m])
        for (uint32_t i = 0; i < n; i++)
            if (ask->reach[m][slots[i]] > deepest) deepest = ask->reach[m][slots[i]];
    return deepest < ask->blocks ? ask->chain[deepest] : ask->chain[ask->blocks - 1] ^ ask->salt;
}

/* Of equals those that hold most of the prompt, of these by rendezvous. */
static uint32_t best_of_equals(const gdp_tally *t, const gdp_ask *ask, const uint32_t *slots, uint32_t n,
                               const double *cost, double limit)
{
    const double *cached = t->scratch + 2 * (size_t)t->pitch; /* second of the gathered columns */
    uint64_t block = first_new_block(ask, slots, n), high = 0;
    uint32_t best = 0;
    double most = -1;
    for (uint32_t i = 0; i < n; i++) {
        if (!(cost[i] <= limit) || cached[i] < most) continue;
        uint64_t score = mix(block, t->key[slots[i]]);
        if (cached[i] > most || score >= high) high = score, best = i;
        most = cached[i];
    }
    return best;
}

int gdp_cost_choose(gdp_tally *t, const gdp_rates *rates, const gdp_weights *w, const gdp_ask *ask,
                    const uint32_t *slots, uint32_t n, double now_s, gdp_terms *chosen, uint32_t *tied)
{
    if (!n || n > t->slots || !ask->block_tokens) return GDP_BAD;
    const double *cost = costs(t, rates, w, ask, slots, n, now_s);
    double least = cost[0];
    for (uint32_t i = 1; i < n; i++) least = cost[i] < least ? cost[i] : least;
    double limit = least + fmax(w->tie_ratio * least, w->tie_s);
    uint32_t equal = 0, best = 0;
    for (uint32_t i = 0; i < n; i++)
        if (cost[i] <= limit) {
            best = i;
            equal++;
        }
    if (equal > 1) best = best_of_equals(t, ask, slots, n, cost, limit);
    if (tied) *tied = equal;
    if (chosen) gdp_cost_terms(t, rates, w, ask, slots[best], now_s, chosen);
    return (int)best;
}
