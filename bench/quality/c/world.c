/* world.c -- see world.h: what happens next, until nothing does. */
#include "world.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define LOOK_AGAIN_S 0.010 /* while somebody waits: a backlog drains by the clock, without an event */

/* ---- what the engines tell ------------------------------------------------------------------------------------ */

static void tell(world *w, const engine *e, uint64_t hash, bool stored)
{
    if (w->events_in - w->events_out == w->events_room) {
        uint64_t room = w->events_room ? w->events_room * 2 : 4096;
        kv_event *bigger = malloc(room * sizeof *bigger);
        if (!bigger) {
            fprintf(stderr, "NoMemory: %llu events under way\n", (unsigned long long)room);
            exit(1);
        }
        for (uint64_t i = w->events_out; i < w->events_in; i++) bigger[i % room] = w->events[i % w->events_room];
        free(w->events);
        w->events = bigger;
        w->events_room = room;
    }
    w->events[w->events_in++ % w->events_room] = (kv_event){w->now + w->event_delay_s, hash, e->number, stored};
}

static void on_stored(void *arg, engine *e, uint64_t hash) { tell(arg, e, hash, true); }
static void on_removed(void *arg, engine *e, uint64_t hash) { tell(arg, e, hash, false); }
static void on_gap(void *arg, double seconds) { gdp_hist_add(&((world *)arg)->gaps, (uint64_t)(seconds * 1e9)); }

static void on_first(void *arg, engine *e, request *r)
{
    world *w = arg;
    gdp_lot *lot = &w->lots[r - w->requests];
    w->prompt_tokens[e->number] -= lot->uncached;
    gdp_tally_first(w->tally, &w->rates, lot, w->now);
}

/* The peers count a running request's blocks once per worker. */
static void count_active(world *w, const request *r, uint32_t worker, int by)
{
    map *known = &w->known[worker];
    for (uint32_t i = 0; i < r->blocks; i++) {
        entry *e = map_add(known, r->chain[i]);
        if (by > 0 ? e->refs++ == 0 : --e->refs == 0) w->active_tokens[worker] += by * (double)w->block_tokens;
        if (!e->refs && !e->index && e->until < w->now) map_remove(known, r->chain[i]);
    }
    w->active_tokens[worker] += by * (double)(r->prompt - r->blocks * w->block_tokens);
}

static void on_end(void *arg, engine *e, request *r)
{
    world *w = arg;
    w->inflight[e->number]--;
    count_active(w, r, e->number, -1);
    gdp_tally_end(w->tally, &w->rates, &w->lots[r - w->requests], r->made, w->now);
}

static void hear(world *w)
{
    kv_event *e = &w->events[w->events_out++ % w->events_room];
    map *known = &w->known[e->worker];
    if (w->by == APPROX) return;
    if (e->stored) {
        map_add(known, e->hash)->index = 1;
        return;
    }
    entry *at = map_find(known, e->hash);
    if (!at) return;
    at->index = 0;
    at->until = 0;
    if (!at->refs) map_remove(known, e->hash);
}

/* ---- placing -------------------------------------------------------------------------------------------------- */

static uint32_t reach_of(const world *w, const request *r, uint32_t worker)
{
    uint32_t i = 0;
    for (; i < r->blocks; i++) {
        entry *e = map_find(&w->known[worker], r->chain[i]);
        if (!e || (!e->index && e->until < w->now)) break;
    }
    return i;
}

static gdp_ask ask_for(world *w, const request *r)
{
    for (uint32_t i = 0; i < w->n_workers; i++) w->reach[i] = w->ready[i] ? reach_of(w, r, i) : 0;
    double expected = w->rates.output_tokens;
    return (gdp_ask){
        .prompt_tokens = r->prompt, .block_tokens = w->block_tokens, .output_tokens = expected,
        .reach = {w->reach, NULL, NULL}, .chain = r->chain, .blocks = r->blocks, .salt = r->session,
    };
}

static void place(world *w, request *r, const gdp_ask *ask, uint32_t worker)
{
    gdp_terms terms;
    double believed = w->by == APPROX ? w->approx_s : w->belief_s;
    gdp_cost_terms(w->tally, &w->rates, &w->weights, ask, &worker, 1, w->now, &terms);
    gdp_tally_place(w->tally, &w->lots[r - w->requests], ask, &terms, w->now);
    if (believed > 0)
        for (uint32_t i = 0; i < r->blocks; i++) map_add(&w->known[worker], r->chain[i])->until = w->now + believed;
    w->inflight[worker]++;
    w->placed[worker]++;
    w->prompt_tokens[worker] += r->prompt - terms.cached_tokens;
    count_active(w, r, worker, 1);
    r->placed_s = w->now;
    r->worker = (int32_t)worker;
    r->matched = terms.cached_tokens;
    engine_take(&w->engines[worker], r);
    engine_begin(&w->engines[worker], w->now);
}

static double backlog(const world *w, uint32_t worker)
{
    return gdp_tally_backlog_s(w->tally, &w->weights, worker, w->now);
}

/* Whoever may be chosen, as late.h says; nobody while no worker is open. */
typedef struct {
    uint32_t n, ready, open;
    uint32_t among[WORKERS_MAX];
    double least_backlog;
} choices;

static void gather(const world *w, choices *c, double prompt)
{
    *c = (choices){.least_backlog = INFINITY};
    for (uint32_t i = 0; i < w->n_workers; i++) {
        if (!w->ready[i]) continue;
        double b = backlog(w, i), step = gdp_step_s(&w->rates, w->inflight[i] + 1, w->tally->context[i] + prompt);
        bool open = gdp_late_open(&w->rule, b, w->inflight[i], 0, step);
        c->ready++;
        c->open += open;
        c->least_backlog = fmin(c->least_backlog, b);
        if (open || (w->bind_full && gdp_late_bears(&w->rule, w->inflight[i], 0, step))) c->among[c->n++] = i;
    }
    if (!c->open) c->n = 0;
}

/* Place whoever can be placed now. */
static void dispatch(world *w)
{
    choices c;
    while (gdp_late_waiting(w->queue)) {
        gather(w, &c, 0);
        if (!c.n) return;
        gdp_late_relieve(w->queue, &w->rule, c.ready, c.least_backlog);
        int next = gdp_late_next(w->queue, &w->rule, w->now);
        if (next < 0) return;
        request *r = &w->requests[next];
        gather(w, &c, r->prompt);
        if (!c.n) return;
        gdp_ask ask = ask_for(w, r);
        uint32_t worker = c.among[policy_choose(w, r, &ask, c.among, c.n)];
        double uncached = r->prompt - fmin((double)w->reach[worker] * w->block_tokens, r->prompt - 1);
        double first = w->now + backlog(w, worker) + gdp_prefill_s(&w->rates, uncached, r->prompt - uncached);
        if (!gdp_late_agree(w->queue, &w->rule, (uint32_t)next, w->now, first)) continue;
        gdp_late_take(w->queue, (uint32_t)next);
        place(w, r, &ask, worker);
    }
}

static void arrive(world *w, request *r)
{
    (void)ask_for(w, r); /* for the reach */
    double due = w->now + w->rule.ttft_slo_s + gdp_prefill_s(&w->rates, r->prompt, 0), work = INFINITY;
    for (uint32_t i = 0; i < w->n_workers; i++) {
        double cached = fmin((double)w->reach[i] * w->block_tokens, r->prompt - 1);
        if (w->ready[i]) work = fmin(work, gdp_prefill_s(&w->rates, r->prompt - cached, cached));
    }
    gdp_late_push(w->queue, (uint32_t)(r - w->requests), w->now, due, work);
}

/* ---- comings and goings --------------------------------------------------------------------------------------- */

static void come_or_go(world *w, const change *c)
{
    uint32_t i = c->worker;
    if (!c->up) {
        w->ready[i] = false; /* what runs there is finished */
        return;
    }
    if (!w->inflight[i]) {
        engine_forget(&w->engines[i]);
        map_clear(&w->known[i]);
        w->active_tokens[i] = w->prompt_tokens[i] = 0;
        gdp_tally_reset(w->tally, i, 0, (i + 1) * 0x9e3779b97f4a7c15ull, w->engine_profile.kv_tokens);
    }
    w->ready[i] = true;
}

static void set_up(world *w)
{
    w->ears = (listener){w, on_stored, on_removed, on_first, on_gap, on_end};
    w->tally = gdp_tally_new(w->n_workers);
    w->queue = gdp_late_new(w->n);
    w->lots = calloc(w->n, sizeof *w->lots);
    w->reach = calloc(w->n_workers, sizeof *w->reach);
    if (!w->tally || !w->queue || !w->lots || !w->reach) {
        fprintf(stderr, "NoMemory: %u requests\n", w->n);
        exit(1);
    }
    gdp_rates_init(&w->rates);
    for (uint32_t i = 0; i < w->n_workers; i++) {
        engine_init(&w->engines[i], i, &w->engine_profile, w->block_tokens, &w->ears);
        map_init(&w->known[i]);
        come_or_go(w, &(change){0, i, true});
    }
}

static int next_engine(const world *w)
{
    int next = -1;
    for (uint32_t i = 0; i < w->n_workers; i++)
        if (w->engines[i].step_end >= 0 && (next < 0 || w->engines[i].step_end < w->engines[next].step_end)) next = (int)i;
    return next;
}

void world_run(world *w)
{
    uint32_t arrived = 0, changed = 0;
    set_up(w);
    for (;;) {
        int e = next_engine(w);
        bool waits = gdp_late_waiting(w->queue) > 0;
        double arrival = arrived < w->n ? w->requests[arrived].arrival : INFINITY;
        double change_at = changed < w->n_changes ? w->changes[changed].at : INFINITY;
        double event = w->events_out < w->events_in ? w->events[w->events_out % w->events_room].at : INFINITY;
        double step = e >= 0 ? w->engines[e].step_end : INFINITY;
        double again = waits ? w->now + LOOK_AGAIN_S : INFINITY;
        double now = fmin(fmin(fmin(arrival, change_at), fmin(event, step)), again);
        if (arrived == w->n && e < 0 && !waits) return;
        w->now = now;
        if (event <= now) {
            hear(w);
            continue;
        }
        if (change_at <= now) come_or_go(w, &w->changes[changed++]);
        else if (step <= now) {
            engine_finish(&w->engines[e], now);
            engine_begin(&w->engines[e], now);
        } else if (arrival <= now) arrive(w, &w->requests[arrived++]);
        dispatch(w);
    }
}
