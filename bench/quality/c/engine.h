/* engine.h -- one vLLM worker in virtual time: scheduler, block pool, prefix cache, and how long a step takes.
 *
 * A step is planned, takes its time, and is applied. Planned: running requests first, in order of admission (one token,
 * or the next piece of the prompt), then waiting ones, first come first served, while the token budget lasts; a prompt
 * is admitted only when all of it fits. A running request without a block left preempts the one admitted last, which
 * starts over (its cached blocks may still be there).
 *
 * The pool counts tokens. Prefix blocks (`block_tokens` wide, as the workload names them) are shared and counted by
 * reference; what a request has beyond them is private and grows in pages of 16. Unreferenced prefix blocks stay until
 * their room is needed, least recently used first; a finished request gives its own back tail first. */
#ifndef GDP_QUALITY_ENGINE_H
#define GDP_QUALITY_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "map.h"

#define PAGE 16

/* A model on a machine: grove_dp/sim/profiles.py, folded to seconds per unit. */
typedef struct {
    double weight_s, kv_s, multiply_s, attend_s, cpu_s, fixed_s;
    double kv_tokens; /* capacity of the pool */
    uint32_t seqs_max, budget;
} profile;

typedef struct {
    /* the workload's */
    double arrival;
    uint32_t prompt, output, blocks; /* blocks: full ones of the prompt */
    uint64_t session;
    const uint64_t *chain;
    /* the engine's */
    uint32_t *own;                   /* block of the pool per prefix block, NONE: private */
    uint32_t computed, target, made; /* tokens: computed, to compute before the next one, produced */
    uint32_t published, scheduled, matched;
    double private_tokens, room, last_s; /* room: private and shared */
    /* measured */
    double placed_s, first_s, end_s;
    uint32_t cached, preempted;
    int32_t worker;
} request;

typedef struct {
    uint64_t hash;
    uint32_t refs, before, after; /* the free list, while refs is 0 */
} block;

typedef struct engine engine;

/* What the world hears. All at the end of a step. */
typedef struct {
    void *arg;
    void (*stored)(void *arg, engine *e, uint64_t hash);
    void (*removed)(void *arg, engine *e, uint64_t hash);
    void (*first)(void *arg, engine *e, request *r);
    void (*token_gap)(void *arg, double seconds);
    void (*end)(void *arg, engine *e, request *r);
} listener;

struct engine {
    const profile *p;
    const listener *to;
    uint32_t number, block_tokens;
    map cache;
    block *blocks;
    uint32_t n_blocks, room_blocks, spare; /* spare: chain of unused block structs through `after` */
    uint32_t oldest, newest;               /* the free list */
    double pinned, resident;               /* tokens */
    request **running, **waiting;          /* waiting: oldest first */
    uint32_t n_running, n_waiting, room_running, room_waiting;
    double step_end;                       /* < 0: idle */
    double busy_s, prompt_tokens, cached_tokens;
};

#define NONE UINT32_MAX

void engine_init(engine *e, uint32_t number, const profile *p, uint32_t block_tokens, const listener *to);
void engine_forget(engine *e); /* restart: the cache is empty; only while idle */
void engine_take(engine *e, request *r);
/* Plan the next step, if there is anything to do. */
void engine_begin(engine *e, double now);
/* Apply the step that ends now. */
void engine_finish(engine *e, double now);

#endif
