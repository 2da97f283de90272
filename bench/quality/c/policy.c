/* policy.c -- who of the open workers gets it: ours, the plain ones, and the peers' from their published formulas.
 *
 * The peers get the better of what they have at home: exact and fresh knowledge of prefixes, queues and memory. */
#include <math.h>

#include "world.h"

const char *const POLICY_NAMES[POLICIES] = {"kv",      "approx", "least_load",     "round_robin", "random",
                                            "session", "dynamo", "dynamo_agentic", "llmd"};

#define DYNAMO_BLOCK 16.0

uint64_t policy_random(world *w)
{
    uint64_t x = w->seed;
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return w->seed = x;
}

/* The least of n numbers; of equals one by chance, each as likely. */
static uint32_t least_of(world *w, const double *cost, uint32_t n)
{
    uint32_t best = 0, equal = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (i && cost[i] > cost[best]) continue;
        equal = i && cost[i] == cost[best] ? equal + 1 : 1;
        if (equal == 1 || policy_random(w) % equal == 0) best = i;
    }
    return best;
}

/* Fewest requests; of equals the one with fewer placements so far. */
static uint32_t least_load(world *w, const uint32_t *open, uint32_t n)
{
    double load[WORKERS_MAX];
    for (uint32_t i = 0; i < n; i++)
        load[i] = w->inflight[open[i]] + (double)w->placed[open[i]] * 1e-9;
    return least_of(w, load, n);
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t x = a ^ (b + 1) * 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static uint32_t session(const request *r, const uint32_t *open, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (mix(r->session, open[i]) > mix(r->session, open[best])) best = i;
    return best;
}

/* Tokens of the prompt's leading blocks that running requests hold there: counted once. */
static double shared_active(const world *w, const request *r, uint32_t worker)
{
    uint32_t i = 0;
    for (; i < r->blocks; i++) {
        entry *e = map_find(&w->known[worker], r->chain[i]);
        if (!e || !e->refs) break;
    }
    return (double)i * w->block_tokens;
}

/* prefill_load_scale max(0, raw_prefill - credit overlap) + potential decode blocks + weight active requests, in blocks. */
static uint32_t dynamo(world *w, const request *r, const uint32_t *open, uint32_t n, double credit, double scale,
                       double weight)
{
    double cost[WORKERS_MAX];
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = open[i];
        double raw = (w->prompt_tokens[at] + r->prompt) / DYNAMO_BLOCK;
        double overlap = (double)w->reach[at] * w->block_tokens / DYNAMO_BLOCK;
        double decode = (w->active_tokens[at] + r->prompt - shared_active(w, r, at)) / DYNAMO_BLOCK;
        cost[i] = scale * fmax(0, raw - credit * overlap) + decode + weight * w->inflight[at];
    }
    return least_of(w, cost, n);
}

/* queue-scorer 2, kv-cache-utilization 2, prefix-cache-scorer 3, max-score-picker. */
static uint32_t llmd(world *w, const request *r, const uint32_t *open, uint32_t n)
{
    double cost[WORKERS_MAX], most = 0, least = INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        double queued = w->engines[open[i]].n_waiting;
        most = fmax(most, queued);
        least = fmin(least, queued);
    }
    for (uint32_t i = 0; i < n; i++) {
        const engine *e = &w->engines[open[i]];
        double queue = most > least ? (most - e->n_waiting) / (most - least) : 1;
        double memory = 1 - e->pinned / e->p->kv_tokens;
        double prefix = r->blocks ? (double)w->reach[open[i]] / r->blocks : 0;
        cost[i] = -(2 * queue + 2 * memory + 3 * prefix);
    }
    return least_of(w, cost, n);
}

uint32_t policy_choose(world *w, const request *r, const gdp_ask *ask, const uint32_t *open, uint32_t n)
{
    switch (w->by) {
    case ROUND_ROBIN: return (uint32_t)(w->turn++ % n);
    case RANDOM: return (uint32_t)(policy_random(w) % n);
    case SESSION: return session(r, open, n);
    case LEAST_LOAD: return least_load(w, open, n);
    case DYNAMO: return dynamo(w, r, open, n, 1, 1, 0);
    case DYNAMO_AGENTIC: return dynamo(w, r, open, n, 2, 4, 64);
    case LLMD: return llmd(w, r, open, n);
    default: return (uint32_t)gdp_cost_choose(w->tally, &w->rates, &w->weights, ask, open, n, w->now, NULL, NULL);
    }
}
