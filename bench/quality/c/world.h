/* world.h -- a frontend and its workers in virtual time: arrivals, the queue, placements, KV events, comings and goings.
 *
 * The queue (csrc/route/late.c), the ledger and the cost (csrc/route/cost.c, tally.c, fit.c) are the product's own; every
 * policy stands behind the same queue and sees the same ledger. A policy only answers: which of these open workers? */
#ifndef GDP_QUALITY_WORLD_H
#define GDP_QUALITY_WORLD_H

#include "engine.h"
#include "gdp/cost.h"
#include "gdp/late.h"
#include "gdp/meter.h"

#define WORKERS_MAX 256

typedef enum { KV, APPROX, LEAST_LOAD, ROUND_ROBIN, RANDOM, SESSION, DYNAMO, DYNAMO_AGENTIC, LLMD, POLICIES } policy;

extern const char *const POLICY_NAMES[POLICIES];

typedef struct {
    double at;
    uint32_t worker;
    bool up;
} change; /* of membership */

typedef struct {
    double at;
    uint64_t hash;
    uint32_t worker;
    bool stored;
} kv_event;

typedef struct {
    /* given */
    profile engine_profile;
    uint32_t n_workers, n, block_tokens;
    request *requests;
    policy by;
    gdp_late_rule rule;
    gdp_weights weights;
    bool bind_full; /* while one worker is open a full one may be chosen */
    double event_delay_s, belief_s, approx_s;
    change *changes;
    uint32_t n_changes;
    uint64_t seed;
    /* the world */
    double now;
    engine engines[WORKERS_MAX];
    bool ready[WORKERS_MAX], leaving[WORKERS_MAX];
    kv_event *events; /* a ring: the delay is the same for all, so they come in order */
    uint64_t events_room, events_in, events_out;
    uint32_t inflight[WORKERS_MAX];
    uint64_t placed[WORKERS_MAX], turn;
    /* what the frontend knows */
    map known[WORKERS_MAX];
    double prompt_tokens[WORKERS_MAX], active_tokens[WORKERS_MAX]; /* for the formulas of the peers */
    uint32_t *reach;
    gdp_tally *tally;
    gdp_rates rates;
    gdp_late *queue;
    gdp_lot *lots;
    listener ears;
    gdp_hist gaps;
} world;

void world_run(world *w);

/* policy.c: an index into open[0..n). reach[worker]: leading blocks known to be there. */
uint32_t policy_choose(world *w, const request *r, const gdp_ask *ask, const uint32_t *open, uint32_t n);
uint64_t policy_random(world *w);

#endif
