/* index_store.c -- what a worker's events do: it holds a row of blocks, it holds one no more.
 *
 * A store walks its chain along what is known, run by run, one run per segment, and says there that the slot holds it.
 * Where the chain leaves what is known the segment is split, and the rest becomes a new one, or lengthens the one before
 * if nobody else holds that.
 *
 *     known     [ A  B  C  D ]        store A B X Y       [ A  B ]--[ C  D ]
 *                                                               \--[ X  Y ] */
#include "index_inner.h"

/* A store on its way: `at` holds the block before chain[i], whose depth will be `depth`. */
typedef struct {
    uint32_t slot;
    unsigned medium;
    uint32_t now_s, expires_s;
    const uint64_t *chain;
    size_t n, i;
    bool *held;
    uint32_t at, depth;
} gdp_storing;

static inline uint64_t gdp_spelt(uint64_t name) { return name ? name : 1; } /* 0 is an empty place */

static bool gdp_segment_alive(gdp_index *x, uint64_t name, uint32_t *segment, uint32_t *depth)
{
    return gdp_name_alive(x, gdp_spelt(name), segment, depth);
}

/* ---------------------------------------------------- known blocks ---------------------------------------------- */

/* Does the block at `depth` of segment s stand right behind the cursor? */
static bool gdp_store_follows(const gdp_index *x, const gdp_storing *t, uint32_t s, uint32_t depth)
{
    if (depth != t->depth) return false;
    const uint64_t up = GDP_OWN(gdp_at(x, s)->up);
    return gdp_start(up) < depth ? s == t->at : gdp_parent(up) == t->at;
}

static uint32_t gdp_depth_held(const gdp_index *x, uint32_t s, uint32_t slot, unsigned medium, uint32_t *expires)
{
    const gdp_segment *seg = gdp_at(x, s);
    const uint32_t c = gdp_cover_cutoff(GDP_OWN(seg->cover), slot, medium, expires);
    const uint32_t start = gdp_start(GDP_OWN(seg->up)), end = GDP_OWN(seg->end);
    return c > end ? end : c < start ? start : c;
}

/* A prediction of [start, to) meets one of [start, c) that ends at another time: where they differ, the segment splits. */
static bool gdp_hold_predicted(gdp_index *x, const gdp_storing *t, uint32_t s, uint32_t c, uint32_t old, uint32_t to)
{
    const uint32_t start = gdp_start(GDP_OWN(gdp_at(x, s)->up)), later = old > t->expires_s ? old : t->expires_s;
    if (c <= start) return gdp_segment_hold(x, s, t->slot, t->medium, to, t->expires_s);
    if (to <= c && t->expires_s <= old) return true;
    if (to == c || (to > c && t->expires_s >= old)) return gdp_segment_hold(x, s, t->slot, t->medium, to, later);
    const uint32_t upper = gdp_segment_split(x, s, to < c ? to : c);
    if (!upper) return false;
    if (to < c) return gdp_segment_hold(x, upper, t->slot, t->medium, to, later);
    return gdp_segment_hold(x, s, t->slot, t->medium, to, t->expires_s);
}

/* The slot holds [from, to) of segment s from now on. False: no memory. */
static bool gdp_store_hold(gdp_index *x, const gdp_storing *t, uint32_t s, uint32_t from, uint32_t to)
{
    uint32_t old = 0;
    const uint32_t c = gdp_depth_held(x, s, t->slot, t->medium, &old);
    if (t->medium == GDP_PREDICTED) return gdp_hold_predicted(x, t, s, c, old, to);
    if (to <= c) return true;
    if (from > c && !gdp_segment_split(x, s, from)) return false; /* a hole before it */
    return gdp_segment_hold(x, s, t->slot, t->medium, to == GDP_OWN(gdp_at(x, s)->end) ? GDP_FULL : to, 0);
}

/* The known blocks of one segment, of which chain[i] is the first. */
static int gdp_store_run(gdp_index *x, gdp_storing *t, uint32_t s)
{
    gdp_segment *seg = gdp_at(x, s);
    const uint32_t from = t->depth, end = GDP_OWN(seg->end);
    uint32_t to = from + 1, other, depth;
    size_t j = t->i + 1;
    x->storing = s;
    gdp_segment_scrub(x, s);
    for (; j < t->n && to < end; j++, to++) {
        if (j + 8 < t->n) gdp_name_fetch(x, gdp_spelt(t->chain[j + 8]));
        if (!gdp_segment_alive(x, t->chain[j], &other, &depth) || other != s || depth != to) break;
    }
    const uint32_t c = gdp_depth_held(x, s, t->slot, t->medium, NULL);
    if (t->held)
        for (uint32_t d = from; d < to && d < c; d++) t->held[t->i + (d - from)] = true;
    atomic_store_explicit(&seg->touched, t->now_s, memory_order_relaxed);
    if (!gdp_store_hold(x, t, s, from, to)) {
        if (c > from) t->i += c - from;
        return GDP_NOMEM;
    }
    if (t->medium < GDP_DENSE) x->count.stored += to - (c > from ? c < to ? c : to : from);
    const uint64_t up = GDP_OWN(seg->up); /* a prediction may have split it at `to` */
    t->i = j, t->at = gdp_start(up) < to ? s : gdp_parent(up), t->depth = to;
    return 0;
}

/* ---------------------------------------------------- new blocks ------------------------------------------------ */

static bool gdp_store_extends(const gdp_index *x, const gdp_storing *t)
{
    const gdp_segment *s = gdp_at(x, t->at);
    return t->at && !s->children && !s->sealed
        && gdp_cover_alone(GDP_OWN(s->cover), t->slot, t->medium, GDP_OWN(s->end));
}

/* A segment for the new blocks, with its holder, which nobody sees before it has an end. */
static uint32_t gdp_store_grow(gdp_index *x, const gdp_storing *t, uint32_t cutoff)
{
    const uint32_t id = gdp_segment_new(x, t->at, t->depth, t->now_s);
    if (!id || gdp_segment_hold(x, id, t->slot, t->medium, cutoff, t->expires_s)) return id;
    gdp_segment_unmake(x, id);
    return 0;
}

/* Blocks that nobody holds, from chain[i] to the next known one or the end. */
static int gdp_store_new(gdp_index *x, gdp_storing *t)
{
    x->storing = t->at;
    if (t->at) gdp_segment_scrub(x, t->at);
    if (t->at && t->depth < GDP_OWN(gdp_at(x, t->at)->end)) {
        const uint32_t upper = gdp_segment_split(x, t->at, t->depth);
        if (!upper) return GDP_NOMEM;
        t->at = upper;
    }
    const bool soft = t->medium == GDP_PREDICTED, extends = gdp_store_extends(x, t);
    const uint32_t first = t->depth, all = first + (uint32_t)(t->n - t->i);
    const uint32_t id = extends ? t->at : gdp_store_grow(x, t, soft ? all : GDP_FULL);
    if (!id) return GDP_NOMEM;
    int rc = 0;
    x->storing = id;
    for (; t->i < t->n; t->i++, t->depth++) {
        if (t->i + 16 < t->n) gdp_name_fetch(x, gdp_spelt(t->chain[t->i + 16]));
        rc = gdp_name_put(x, gdp_spelt(t->chain[t->i]), id, t->depth, first);
        if (rc < 0) break;
    }
    if (t->depth == first) {
        if (!extends) gdp_segment_unmake(x, id);
        return rc;
    }
    atomic_store_explicit(&gdp_at(x, id)->touched, t->now_s, memory_order_relaxed);
    gdp_segment_publish(x, id, t->depth);
    if (soft && (extends || t->depth < all)
        && !gdp_segment_hold(x, id, t->slot, t->medium, t->depth, t->expires_s)) {
        gdp_at(x, id)->sealed = true; /* its holder's cutoff is not its end */
        rc = GDP_NOMEM;
    }
    if (!soft) x->count.stored += t->depth - first;
    t->at = id;
    return rc;
}

/* ---------------------------------------------------- calls ----------------------------------------------------- */

static int64_t gdp_store_chain(gdp_index *x, gdp_storing *t)
{
    int rc = 0;
    if (t->n > GDP_DEPTH_MAX - t->depth) return GDP_BAD;
    while (t->i < t->n && rc == 0) {
        uint32_t s, depth;
        if (!gdp_segment_alive(x, t->chain[t->i], &s, &depth))
            rc = gdp_store_new(x, t);
        else
            rc = gdp_store_follows(x, t, s, depth) ? gdp_store_run(x, t, s) : GDP_BAD;
    }
    x->storing = 0;
    gdp_segment_tidy(x, t->at);
    if (rc == GDP_NOMEM) x->count.refused += t->n - t->i;
    if (rc == GDP_BAD) x->count.misfits++;
    return rc == GDP_BAD ? GDP_BAD : (int64_t)t->i;
}

int64_t gdp_index_store(gdp_index *x, uint32_t slot, unsigned medium, uint64_t parent, bool first,
                        const uint64_t *chain, size_t n, bool *held, uint32_t now_s)
{
    gdp_storing t = {.slot = slot, .medium = medium, .chain = chain, .n = n, .held = held, .now_s = now_s};
    if (slot >= GDP_INDEX_SLOTS || medium >= GDP_DENSE) return GDP_BAD;
    for (size_t i = 0; held && i < n; i++) held[i] = false;
    gdp_index_make_room(x, n);
    if (!first) {
        if (!gdp_segment_alive(x, parent, &t.at, &t.depth)) {
            x->count.orphans++;
            return GDP_ORPHAN;
        }
        const uint64_t up = GDP_OWN(gdp_at(x, t.at)->up);
        if (!n || chain[0] != parent)
            t.depth++;
        else if (gdp_start(up) == t.depth) /* the block itself, on another medium: the cursor stands before it */
            t.at = gdp_parent(up);
    }
    return gdp_store_chain(x, &t);
}

static void gdp_predict_room(gdp_index *x, size_t n, uint32_t expires_s)
{
    gdp_index_make_room(x, n);
    while (x->count.predicted_blocks + n > x->soft_max && gdp_index_evict_soft(x)) {}
    if (expires_s < x->scan.next_s) x->scan.next_s = expires_s;
}

int64_t gdp_index_predict(gdp_index *x, uint32_t slot, const uint64_t *chain, size_t n, uint32_t now_s,
                          uint32_t expires_s)
{
    gdp_storing t = {.slot = slot, .medium = GDP_PREDICTED, .chain = chain, .n = n, .now_s = now_s,
                     .expires_s = expires_s};
    if (slot >= GDP_INDEX_SLOTS) return GDP_BAD;
    gdp_predict_room(x, n, expires_s);
    return gdp_store_chain(x, &t);
}

int64_t gdp_index_predict_after(gdp_index *x, uint32_t slot, uint64_t parent, const uint64_t *chain, size_t n,
                                uint32_t now_s, uint32_t expires_s)
{
    gdp_storing t = {.slot = slot, .medium = GDP_PREDICTED, .chain = chain, .n = n, .now_s = now_s,
                     .expires_s = expires_s};
    if (slot >= GDP_INDEX_SLOTS) return GDP_BAD;
    gdp_predict_room(x, n, expires_s);
    if (!gdp_segment_alive(x, parent, &t.at, &t.depth)) {
        x->count.orphans++;
        return GDP_ORPHAN;
    }
    t.depth++;
    return gdp_store_chain(x, &t);
}

static int gdp_take_away(gdp_index *x, uint32_t slot, unsigned medium, uint64_t block)
{
    uint32_t s, depth;
    if (!gdp_segment_alive(x, block, &s, &depth)) return 0;
    gdp_index_make_room(x, 0);
    if (!gdp_segment_alive(x, block, &s, &depth)) return 0; /* forgotten for room */
    gdp_segment_scrub(x, s);
    const uint32_t held = gdp_depth_held(x, s, slot, medium, NULL);
    if (held <= depth) return 0;
    x->count.removed += medium < GDP_DENSE;
    if (depth + 1 == GDP_OWN(gdp_at(x, s)->end) && gdp_segment_pop(x, s, slot, medium)) return 1;
    x->storing = s;
    uint32_t upper = s;
    if (depth + 1 < held) {
        upper = gdp_segment_split(x, s, depth + 1);
        if (!upper) x->count.forgotten++, upper = s; /* what is behind the hole goes, too */
    }
    const bool begins = depth == gdp_start(GDP_OWN(gdp_at(x, upper)->up));
    gdp_segment_lower(x, upper, slot, medium, begins ? 0 : depth);
    x->storing = 0;
    gdp_segment_tidy(x, s);
    return 1;
}

int gdp_index_remove(gdp_index *x, uint32_t slot, unsigned medium, uint64_t block)
{
    if (slot >= GDP_INDEX_SLOTS || medium >= GDP_DENSE) return 0;
    /* Who says that it forgot a block does not have it because we sent it there. */
    if (medium == GDP_ON_GPU) gdp_take_away(x, slot, GDP_PREDICTED, block);
    return gdp_take_away(x, slot, medium, block);
}

/* ---------------------------------------------------- questions ------------------------------------------------- */

bool gdp_index_holds(gdp_index *x, uint32_t slot, unsigned medium, uint64_t block)
{
    uint32_t s, depth;
    if (slot >= GDP_INDEX_SLOTS || medium >= GDP_INDEX_MEDIA || !gdp_segment_alive(x, block, &s, &depth)) return false;
    gdp_segment_scrub(x, s);
    return gdp_depth_held(x, s, slot, medium, NULL) > depth;
}

int64_t gdp_index_depth(gdp_index *x, uint64_t block)
{
    uint32_t s, depth;
    return gdp_segment_alive(x, block, &s, &depth) ? (int64_t)depth : -1;
}
