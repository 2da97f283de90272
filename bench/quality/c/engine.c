/* engine.c -- see engine.h. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *grown(void *old, uint32_t *room, uint32_t need, size_t each)
{
    if (need <= *room) return old;
    *room = need * 2 > 64 ? need * 2 : 64;
    void *bigger = realloc(old, *room * each);
    if (!bigger) {
        fprintf(stderr, "NoMemory: %u entries; run fewer simulations at once\n", *room);
        exit(1);
    }
    return bigger;
}

void engine_init(engine *e, uint32_t number, const profile *p, uint32_t block_tokens, const listener *to)
{
    *e = (engine){.p = p, .to = to, .number = number, .block_tokens = block_tokens, .spare = NONE, .oldest = NONE,
                  .newest = NONE, .step_end = -1};
    map_init(&e->cache);
}

void engine_forget(engine *e)
{
    map_clear(&e->cache);
    e->n_blocks = 0;
    e->spare = e->oldest = e->newest = NONE;
    e->pinned = e->resident = 0;
}

void engine_take(engine *e, request *r)
{
    e->waiting = grown(e->waiting, &e->room_waiting, e->n_waiting + 1, sizeof *e->waiting);
    e->waiting[e->n_waiting++] = r;
    r->target = r->prompt;
}

/* ---- the pool ------------------------------------------------------------------------------------------------- */

static void unlink_free(engine *e, block *b)
{
    if (b->before == NONE) e->oldest = b->after;
    else e->blocks[b->before].after = b->after;
    if (b->after == NONE) e->newest = b->before;
    else e->blocks[b->after].before = b->before;
}

static void pin(engine *e, uint32_t at)
{
    block *b = &e->blocks[at];
    if (!b->refs++) {
        unlink_free(e, b);
        e->pinned += e->block_tokens;
    }
}

static void unpin(engine *e, uint32_t at)
{
    block *b = &e->blocks[at];
    if (--b->refs) return;
    e->pinned -= e->block_tokens;
    b->before = e->newest;
    b->after = NONE;
    if (e->newest == NONE) e->oldest = at;
    else e->blocks[e->newest].after = at;
    e->newest = at;
}

static void evict_oldest(engine *e)
{
    uint32_t at = e->oldest;
    block *b = &e->blocks[at];
    unlink_free(e, b);
    map_remove(&e->cache, b->hash);
    e->to->removed(e->to->arg, e, b->hash);
    b->after = e->spare;
    e->spare = at;
    e->resident -= e->block_tokens;
}

/* Room for more private tokens, by eviction; false: everything is pinned. */
static bool take_room(engine *e, double tokens)
{
    if (e->pinned + tokens > e->p->kv_tokens) return false;
    while (e->resident + tokens > e->p->kv_tokens) evict_oldest(e);
    e->resident += tokens;
    e->pinned += tokens;
    return true;
}

static void give_room(engine *e, double tokens)
{
    e->resident -= tokens;
    e->pinned -= tokens;
}

static uint32_t new_block(engine *e, uint64_t hash)
{
    uint32_t at = e->spare;
    if (at != NONE) {
        e->spare = e->blocks[at].after;
    } else {
        e->blocks = grown(e->blocks, &e->room_blocks, e->n_blocks + 1, sizeof *e->blocks);
        at = e->n_blocks++;
    }
    e->blocks[at] = (block){.hash = hash, .refs = 1};
    return at;
}

/* Private tokens of a computed block become a prefix block; no room changes hands. */
static void publish(engine *e, request *r)
{
    uint32_t known = r->computed < r->prompt ? r->computed : r->prompt, full = known / e->block_tokens;
    for (; r->published < full && r->published < r->blocks; r->published++) {
        uint64_t hash = r->chain[r->published];
        entry *at = map_add(&e->cache, hash);
        if (at->index) continue; /* computed twice at the same time: this copy stays private */
        uint32_t b = new_block(e, hash);
        at->index = b + 1;
        r->own[r->published] = b;
        r->private_tokens -= e->block_tokens;
        e->to->stored(e->to->arg, e, hash);
    }
}

static void release(engine *e, request *r)
{
    for (uint32_t i = r->published; i-- > 0;)
        if (r->own[i] != NONE) unpin(e, r->own[i]);
    give_room(e, r->private_tokens);
    r->private_tokens = 0;
    r->published = 0;
}

/* ---- the scheduler -------------------------------------------------------------------------------------------- */

static double pages(double tokens)
{
    uint64_t n = ((uint64_t)tokens + PAGE - 1) / PAGE;
    return (double)(n * PAGE);
}

static bool admit(engine *e, request *r)
{
    uint32_t most = (r->target - 1) / e->block_tokens, hit = 0;
    double idle = 0;
    if (most > r->blocks) most = r->blocks;
    for (; hit < most; hit++) {
        entry *at = map_find(&e->cache, r->chain[hit]);
        if (!at) break;
        r->own[hit] = at->index - 1;
        if (!e->blocks[r->own[hit]].refs) idle += e->block_tokens;
    }
    double private_tokens = pages(r->target - (double)hit * e->block_tokens);
    if (e->pinned + idle + private_tokens > e->p->kv_tokens) return false;
    for (uint32_t i = 0; i < hit; i++) pin(e, r->own[i]);
    for (uint32_t i = hit; i < r->blocks; i++) r->own[i] = NONE;
    take_room(e, private_tokens);
    r->private_tokens = private_tokens;
    r->room = private_tokens + (double)hit * e->block_tokens;
    r->published = hit;
    r->computed = hit * e->block_tokens;
    if (!r->made) {
        r->cached = r->computed;
        e->cached_tokens += r->cached;
        e->prompt_tokens += r->prompt;
    }
    return true;
}

static void preempt_last(engine *e)
{
    request *r = e->running[--e->n_running];
    release(e, r);
    r->computed = r->scheduled = 0;
    r->target = r->prompt + r->made;
    r->preempted++;
    e->waiting = grown(e->waiting, &e->room_waiting, e->n_waiting + 1, sizeof *e->waiting);
    memmove(e->waiting + 1, e->waiting, e->n_waiting * sizeof *e->waiting);
    e->waiting[0] = r;
    e->n_waiting++;
}

typedef struct {
    double decode_seqs, decode_context, prompt_tokens, attention;
} work;

static void plan(work *w, request *r, uint32_t tokens)
{
    r->scheduled = tokens;
    if (r->target - r->computed == 1 && r->made) {
        w->decode_seqs++;
        w->decode_context += r->computed;
    } else {
        w->prompt_tokens += tokens;
        w->attention += (double)tokens * (r->computed + tokens / 2.0);
    }
}

static double step_s(const profile *p, const work *w)
{
    double memory = p->weight_s + w->decode_context * p->kv_s;
    double compute = (w->prompt_tokens + w->decode_seqs) * p->multiply_s + w->attention * p->attend_s;
    double slower = memory > compute ? memory : compute;
    return (slower > p->cpu_s ? slower : p->cpu_s) + p->fixed_s;
}

/* A token of the answer needs its place in the pool. */
static bool grow(engine *e, request *r)
{
    double need = pages((double)r->computed + 1) - r->room;
    if (need <= 0) return true;
    if (!take_room(e, need)) return false;
    r->room += need;
    r->private_tokens += need;
    return true;
}

static bool plan_running(engine *e, work *w, uint32_t *budget)
{
    bool preempted = false;
    for (uint32_t i = 0; i < e->n_running && *budget; i++) {
        request *r = e->running[i];
        uint32_t left = r->target - r->computed, tokens = left < *budget ? left : *budget;
        bool fits = grow(e, r);
        while (!fits && e->n_running > i + 1) {
            preempt_last(e);
            preempted = true;
            fits = grow(e, r);
        }
        if (!fits) {
            preempt_last(e);
            return true;
        }
        plan(w, r, tokens);
        *budget -= tokens;
    }
    return preempted;
}

void engine_begin(engine *e, double now)
{
    work w = {0};
    uint32_t budget = e->p->budget, taken = 0;
    if (e->step_end >= 0) return;
    for (uint32_t i = 0; i < e->n_running; i++) e->running[i]->scheduled = 0;
    bool preempted = plan_running(e, &w, &budget);
    while (!preempted && taken < e->n_waiting && budget && e->n_running < e->p->seqs_max) {
        request *r = e->waiting[taken];
        if (!admit(e, r)) break;
        taken++;
        e->running = grown(e->running, &e->room_running, e->n_running + 1, sizeof *e->running);
        e->running[e->n_running++] = r;
        uint32_t left = r->target - r->computed, tokens = left < budget ? left : budget;
        plan(&w, r, tokens);
        budget -= tokens;
    }
    memmove(e->waiting, e->waiting + taken, (e->n_waiting - taken) * sizeof *e->waiting);
    e->n_waiting -= taken;
    if (!e->n_running) return;
    double took = step_s(e->p, &w);
    e->busy_s += took;
    e->step_end = now + took;
}

void engine_finish(engine *e, double now)
{
    uint32_t kept = 0;
    e->step_end = -1;
    for (uint32_t i = 0; i < e->n_running; i++) {
        request *r = e->running[i];
        e->running[kept++] = r;
        if (!r->scheduled) continue;
        r->computed += r->scheduled;
        publish(e, r);
        if (r->computed < r->target) continue;
        r->made++;
        r->target = r->computed + 1;
        if (r->made == 1) {
            r->first_s = now;
            e->to->first(e->to->arg, e, r);
        } else {
            e->to->token_gap(e->to->arg, now - r->last_s);
        }
        r->last_s = now;
        if (r->made < r->output) continue;
        kept--;
        release(e, r);
        r->end_s = now;
        e->to->end(e->to->arg, e, r);
    }
    e->n_running = kept;
}
