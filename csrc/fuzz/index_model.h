/* index_model.h -- the prefix index beside a model that tells the truth: a forest of blocks, and for each block a bit per
 * slot and medium. Operations are drawn from a source (a random sequence, or the fuzzer's bytes), done to both, and what
 * the index answers is compared.
 *
 * Who holds what is compared exactly, always. What is *known* (held, or before something held) may be more in the index
 * until the work that it put off is done; then that must be equal, too. At the cap (`bounded`) the index may have
 * forgotten: what it says must be a part of the truth. */
#ifndef GDP_INDEX_MODEL_H
#define GDP_INDEX_MODEL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gdp/index.h"

#define WORLD_SLOTS 12u
#define WORLD_RUN 64u    /* blocks in one store, at most */
#define WORLD_DEPTH 512u /* blocks from the root, at most */

#define WORLD_CHECK(what)                                                            \
    do {                                                                             \
        if (!(what)) {                                                               \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #what);     \
            abort();                                                                 \
        }                                                                            \
    } while (0)

/* Where chance comes from. */
typedef struct {
    uint64_t state;
    const uint8_t *bytes; /* NULL: a random sequence */
    size_t left;
} gdp_source;

typedef struct {
    uint64_t name;
    int32_t parent; /* -1: a root's first block */
    uint32_t depth;
    uint32_t on[GDP_INDEX_MEDIA]; /* a bit per slot */
    uint32_t ends[WORLD_SLOTS];   /* of its predictions */
    uint32_t props;               /* known children, and one if anybody holds it */
} gdp_model_block;

typedef struct {
    gdp_index *index;
    gdp_index_reader *reader;
    gdp_source from;
    gdp_model_block *blocks;
    uint32_t n, known;
    uint32_t slot[WORLD_SLOTS], slots; /* their numbers in the index; the greatest + 1 */
    uint32_t now_s;
    bool settled, bounded;
    uint32_t *reach[GDP_INDEX_MEDIA];
    uint64_t hits; /* matched blocks that were compared, to see that something was tested */
} gdp_world;

static inline uint32_t gdp_draw(gdp_source *s, uint32_t below)
{
    if (s->bytes) {
        uint32_t v = 0;
        for (unsigned i = 0; i < (below > 256 ? 2u : 1u); i++)
            if (s->left) v = v << 8 | *s->bytes++, s->left--;
        return v % below;
    }
    s->state ^= s->state << 13, s->state ^= s->state >> 7, s->state ^= s->state << 17;
    return (uint32_t)(s->state >> 32) % below;
}

static inline uint64_t gdp_world_name(uint64_t x)
{
    x = (x + 0x9E3779B97F4A7C15u) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

/* ---------------------------------------------------- the truth ------------------------------------------------- */

static inline bool gdp_model_held(const gdp_model_block *b)
{
    return b->on[0] | b->on[1] | b->on[2] | b->on[3];
}

/* A block that gets its first holder, or loses its last, makes its parent known or lets it go. */
static inline void gdp_model_prop(gdp_world *w, int32_t id, bool more)
{
    for (; id >= 0; id = w->blocks[id].parent) {
        gdp_model_block *b = &w->blocks[id];
        if (more ? b->props++ > 0 : --b->props > 0) return;
        w->known += more ? 1u : -1u;
    }
}

static inline void gdp_model_set(gdp_world *w, uint32_t id, unsigned medium, uint32_t slot, bool on)
{
    gdp_model_block *b = &w->blocks[id];
    const bool before = gdp_model_held(b);
    if (on)
        b->on[medium] |= 1u << slot;
    else
        b->on[medium] &= ~(1u << slot);
    if (before != gdp_model_held(b)) gdp_model_prop(w, (int32_t)id, !before);
}

static inline void gdp_model_expire(gdp_world *w)
{
    for (uint32_t id = 0; id < w->n; id++)
        for (uint32_t left = w->blocks[id].on[GDP_PREDICTED]; left; left &= left - 1) {
            const uint32_t slot = (uint32_t)__builtin_ctz(left);
            if (w->blocks[id].ends[slot] > w->now_s) continue;
            gdp_model_set(w, id, GDP_PREDICTED, slot, false);
            w->settled = false;
        }
}

/* ---------------------------------------------------- the world ------------------------------------------------- */

static inline bool gdp_world_init(gdp_world *w, gdp_source from, uint32_t n, const uint32_t *slots, bool bounded)
{
    *w = (gdp_world){.from = from, .n = n, .now_s = 100, .settled = true, .bounded = bounded};
    w->index = gdp_index_new(&(gdp_index_options){.bytes_max = bounded ? 1u << 20 : 8u << 20,
                                                 .predicted_pct = bounded ? 10 : 100});
    w->blocks = calloc(n, sizeof *w->blocks);
    if (!w->index || !w->blocks) return false;
    w->reader = gdp_index_reader_new(w->index);
    for (unsigned i = 0; i < WORLD_SLOTS; i++) {
        w->slot[i] = slots[i];
        if (slots[i] >= w->slots) w->slots = slots[i] + 1;
    }
    for (unsigned m = 0; m < GDP_INDEX_MEDIA; m++) w->reach[m] = malloc(sizeof(uint32_t) * w->slots);
    uint64_t shape = 7; /* the forest is always the same: mostly rows, here and there a branch, five roots */
    for (uint32_t id = 0; id < n; id++) {
        gdp_model_block *b = &w->blocks[id];
        shape = gdp_world_name(shape);
        const uint32_t back = shape % 16 ? 1 : 1 + (uint32_t)(shape >> 8) % 200;
        b->name = gdp_world_name(shape ^ id);
        b->parent = id % (n / 5 + 1) == 0 || back > id ? -1 : (int32_t)(id - back);
        if (b->parent >= 0 && w->blocks[b->parent].depth + 1 == WORLD_DEPTH) b->parent = -1;
        b->depth = b->parent < 0 ? 0 : w->blocks[b->parent].depth + 1;
    }
    return true;
}

static inline void gdp_world_free(gdp_world *w)
{
    if (w->reader) gdp_index_reader_free(w->reader);
    gdp_index_free(w->index);
    for (unsigned m = 0; m < GDP_INDEX_MEDIA; m++) free(w->reach[m]);
    free(w->blocks);
}

/* The last `n` blocks of the way to `id`, or as many as there are. Returns the first one's parent. */
static inline int32_t gdp_world_way(const gdp_world *w, uint32_t id, uint32_t *n, uint32_t *ids, uint64_t *names)
{
    if (*n > w->blocks[id].depth + 1) *n = w->blocks[id].depth + 1;
    int32_t at = (int32_t)id;
    for (uint32_t i = *n; i-- > 0; at = w->blocks[at].parent) {
        ids[i] = (uint32_t)at;
        names[i] = w->blocks[at].name;
    }
    return at;
}

/* Does the index know it? It must if it is so; and if it is not, only in what it put off. */
static inline bool gdp_world_knows(gdp_world *w, uint32_t id)
{
    const int64_t depth = gdp_index_depth(w->index, w->blocks[id].name);
    const bool known = w->blocks[id].props > 0;
    WORLD_CHECK(depth < 0 || depth == w->blocks[id].depth);
    if (!w->bounded) WORLD_CHECK(!known || depth >= 0);
    if (w->settled) WORLD_CHECK(known || depth < 0);
    return depth >= 0;
}

/* ---------------------------------------------------- operations ------------------------------------------------ */

static inline void gdp_world_store(gdp_world *w)
{
    uint32_t n = 1 + gdp_draw(&w->from, gdp_draw(&w->from, 4) ? 8 : WORLD_RUN), ids[WORLD_RUN];
    uint64_t names[WORLD_RUN];
    bool held[WORLD_RUN];
    const uint32_t slot = gdp_draw(&w->from, WORLD_SLOTS), id = gdp_draw(&w->from, w->n);
    const unsigned medium = gdp_draw(&w->from, 8) ? GDP_ON_GPU : 1 + gdp_draw(&w->from, 2);
    const int32_t parent = gdp_world_way(w, id, &n, ids, names);
    const bool known = parent < 0 || gdp_world_knows(w, (uint32_t)parent);
    const int64_t stored = gdp_index_store(w->index, w->slot[slot], medium, parent < 0 ? 0 : w->blocks[parent].name,
                                           parent < 0, names, n, held, w->now_s);
    if (w->bounded ? stored == GDP_ORPHAN : !known) {
        WORLD_CHECK(stored == GDP_ORPHAN && (parent >= 0));
        return;
    }
    WORLD_CHECK(w->bounded ? stored >= 0 && stored <= n : stored == n);
    for (uint32_t i = 0; i < (uint32_t)stored; i++) {
        const bool did = w->blocks[ids[i]].on[medium] >> slot & 1;
        WORLD_CHECK(w->bounded ? did || !held[i] : held[i] == did);
        gdp_model_set(w, ids[i], medium, slot, true);
        WORLD_CHECK(gdp_index_holds(w->index, w->slot[slot], medium, names[i]));
    }
}

static inline void gdp_world_predict(gdp_world *w)
{
    uint32_t n = WORLD_DEPTH, ids[WORLD_DEPTH];
    uint64_t names[WORLD_DEPTH];
    const uint32_t slot = gdp_draw(&w->from, WORLD_SLOTS), ends = w->now_s + 1 + gdp_draw(&w->from, 30);
    gdp_world_way(w, gdp_draw(&w->from, w->n), &n, ids, names);
    const int64_t stored = gdp_index_predict(w->index, w->slot[slot], names, n, w->now_s, ends);
    WORLD_CHECK(w->bounded ? stored >= 0 && stored <= n : stored == n);
    for (uint32_t i = 0; i < (uint32_t)stored; i++) {
        gdp_model_block *b = &w->blocks[ids[i]];
        if (!(b->on[GDP_PREDICTED] >> slot & 1) || b->ends[slot] < ends) b->ends[slot] = ends;
        gdp_model_set(w, ids[i], GDP_PREDICTED, slot, true);
    }
}

/* Engines take the newest first; others anything. */
static inline void gdp_world_remove(gdp_world *w)
{
    const uint32_t slot = gdp_draw(&w->from, WORLD_SLOTS), runs = 1 + gdp_draw(&w->from, 12);
    const unsigned medium = gdp_draw(&w->from, 8) ? GDP_ON_GPU : 1 + gdp_draw(&w->from, 2);
    int32_t id = (int32_t)gdp_draw(&w->from, w->n);
    for (uint32_t i = 0; i < runs && id >= 0; i++, id = w->blocks[id].parent) {
        const int did = gdp_index_remove(w->index, w->slot[slot], medium, w->blocks[id].name);
        const bool held = w->blocks[id].on[medium] >> slot & 1;
        WORLD_CHECK(w->bounded ? did <= held : did == held);
        if (held) gdp_model_set(w, (uint32_t)id, medium, slot, false);
        if (medium == GDP_ON_GPU && w->blocks[id].on[GDP_PREDICTED] >> slot & 1)
            gdp_model_set(w, (uint32_t)id, GDP_PREDICTED, slot, false);
        if (i == 0 && runs > 8) break;
    }
}

static inline void gdp_world_clear(gdp_world *w)
{
    const uint32_t slot = gdp_draw(&w->from, WORLD_SLOTS);
    gdp_index_clear(w->index, w->slot[slot]);
    for (uint32_t id = 0; id < w->n; id++)
        for (unsigned m = 0; m < GDP_INDEX_MEDIA; m++)
            if (w->blocks[id].on[m] >> slot & 1) gdp_model_set(w, id, m, slot, false);
    w->settled = false;
}

/* A block that is known, stored where it does not belong: refused, and what came before it is stored. */
static inline void gdp_world_misfit(gdp_world *w)
{
    const uint32_t slot = gdp_draw(&w->from, WORLD_SLOTS);
    const uint32_t id = gdp_draw(&w->from, w->n), other = gdp_draw(&w->from, w->n);
    const int32_t parent = w->blocks[id].parent;
    const uint64_t chain[2] = {w->blocks[id].name, w->blocks[other].name};
    if (w->bounded || w->blocks[other].parent == (int32_t)id || !gdp_world_knows(w, other)) return;
    if (parent >= 0 && !gdp_world_knows(w, (uint32_t)parent)) return;
    WORLD_CHECK(gdp_index_store(w->index, w->slot[slot], GDP_ON_GPU, parent < 0 ? 0 : w->blocks[parent].name, parent < 0,
                                chain, 2, NULL, w->now_s) == GDP_BAD);
    gdp_model_set(w, id, GDP_ON_GPU, slot, true);
}

static inline void gdp_world_step(gdp_world *w)
{
    w->now_s += gdp_draw(&w->from, 3);
    gdp_model_expire(w);
    gdp_index_step(w->index, w->now_s, gdp_draw(&w->from, 256));
}

/* All that was put off is done: the index knows what is held or before something held, and nothing else. */
static inline void gdp_world_settle(gdp_world *w)
{
    gdp_index_stats count;
    while (gdp_index_step(w->index, w->now_s, 1000)) {}
    w->now_s += 3;
    gdp_model_expire(w);
    while (gdp_index_step(w->index, w->now_s, 1000)) {}
    w->settled = true;
    gdp_index_count(w->index, &count);
    WORLD_CHECK(w->bounded ? count.blocks <= w->known : count.blocks == w->known);
    for (uint32_t i = 0; i < 16; i++) gdp_world_knows(w, gdp_draw(&w->from, w->n));
}

static inline void gdp_world_compare(gdp_world *w, const uint32_t *ids, uint32_t n, unsigned column)
{
    static const unsigned media[GDP_INDEX_MEDIA] = {1, 3, 7, 9};
    uint32_t still = (1u << WORLD_SLOTS) - 1, truth[WORLD_SLOTS], sum = 0, told = 0;
    for (uint32_t s = 0; s < WORLD_SLOTS; s++) truth[s] = n;
    for (uint32_t i = 0; i < n && still; i++) {
        uint32_t on = 0;
        for (unsigned m = 0; m < GDP_INDEX_MEDIA; m++)
            if (media[column] >> m & 1) on |= w->blocks[ids[i]].on[m];
        for (uint32_t left = still & ~on; left; left &= left - 1) truth[__builtin_ctz(left)] = i;
        still &= on;
    }
    for (uint32_t s = 0; s < WORLD_SLOTS; s++) {
        const uint32_t r = w->reach[column][w->slot[s]];
        WORLD_CHECK(w->bounded ? r <= truth[s] : r == truth[s]);
        told += r;
    }
    for (uint32_t s = 0; s < w->slots; s++) sum += w->reach[column][s];
    WORLD_CHECK(sum == told); /* nobody else has anything */
    w->hits += told;
}

static inline void gdp_world_match(gdp_world *w)
{
    uint32_t n = WORLD_DEPTH, ids[WORLD_DEPTH], known = 0, *reach[GDP_INDEX_MEDIA];
    uint64_t names[WORLD_DEPTH + 40];
    gdp_world_way(w, gdp_draw(&w->from, w->n), &n, ids, names);
    const uint32_t strange = gdp_draw(&w->from, 40), columns = gdp_draw(&w->from, 16);
    for (uint32_t i = 0; i < strange; i++) names[n + i] = gdp_world_name(w->now_s * 40u + i);
    for (unsigned m = 0; m < GDP_INDEX_MEDIA; m++) {
        reach[m] = columns >> m & 1 ? w->reach[m] : NULL;
        memset(w->reach[m], 0xee, sizeof(uint32_t) * w->slots);
    }
    const size_t told = gdp_index_match(w->reader, names, n + strange, w->now_s, w->slots, reach);
    while (known < n && w->blocks[ids[known]].props) known++;
    WORLD_CHECK(told <= n);
    if (!w->bounded) WORLD_CHECK(told >= known);
    if (w->settled) WORLD_CHECK(told <= known);
    for (unsigned m = 0; m < GDP_INDEX_MEDIA; m++)
        if (reach[m]) gdp_world_compare(w, ids, n, m);
}

static inline void gdp_world_do(gdp_world *w)
{
    const uint32_t what = gdp_draw(&w->from, 200);
    if (what < 80)
        gdp_world_store(w);
    else if (what < 120)
        gdp_world_remove(w);
    else if (what < 121)
        gdp_world_clear(w);
    else if (what < 130)
        gdp_world_predict(w);
    else if (what < 135)
        gdp_world_misfit(w);
    else if (what < 140)
        gdp_world_step(w);
    else if (what < 142)
        gdp_world_settle(w);
    else
        gdp_world_match(w);
    if (w->bounded) {
        gdp_index_stats count;
        gdp_index_count(w->index, &count);
        WORLD_CHECK(count.bytes <= count.bytes_max);
    }
}

#endif
