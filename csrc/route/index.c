/* index.c -- the index as a whole: its memory, what it forgets at the cap, clearings, and the pass that does what was
 * put off.
 *
 * The cap is kept by order of rank. Tables stop growing a sixteenth below it, segments a 24th, covers a 32nd; what is
 * left is for copies of shards, without which nothing could be given back. A leaf that is forgotten frees its cover at
 * once, its names when their shards are copied, its segment when all of them were. */
#include <string.h>

#include "index_inner.h"

#define GDP_BYTES_MIN ((uint64_t)1 << 20)
#define GDP_BLOCK_BYTES 28u      /* about what a block takes, for the share of predictions */
#define GDP_EXPIRY_PAUSE_S 2u    /* between passes that look for predictions that ended */
#define GDP_CHANCES 256u         /* leaves that are passed over for one that is forgotten; a bound on how long it takes */

/* ---------------------------------------------------- memory ---------------------------------------------------- */

void *gdp_index_take(gdp_index *x, size_t bytes, size_t spare)
{
    const size_t heap = gdp_arena_cost(bytes);
    if (x->count.bytes + heap + spare > x->count.bytes_max) {
        gdp_index_collect(x);
        if (x->count.bytes + heap + spare > x->count.bytes_max) return NULL;
    }
    void *p = gdp_arena_take(x->arena, bytes);
    if (p) x->count.bytes += heap;
    return p;
}

void *gdp_index_zeroed(gdp_index *x, size_t bytes, size_t spare)
{
    void *p = gdp_index_take(x, bytes, spare);
    return p ? memset(p, 0, bytes) : NULL;
}

void gdp_index_give(gdp_index *x, void *p, size_t bytes)
{
    if (!p) return;
    x->count.bytes -= gdp_arena_cost(bytes);
    gdp_arena_give(x->arena, p);
}

void gdp_index_collect(gdp_index *x)
{
    if (x->epoch.first) x->count.bytes -= gdp_epoch_collect(&x->epoch);
}

/* The oldest leaf of a list, unless a lookup passed it since it was put there: that one is the youngest now. */
static bool gdp_list_evict(gdp_index *x, gdp_list list)
{
    const uint32_t all = x->lists[list].n;
    for (uint32_t n = 0; n < all; n++) {
        const uint32_t id = x->lists[list].oldest;
        gdp_segment *s = gdp_at(x, id);
        const uint32_t touched = GDP_OWN(s->touched);
        if ((touched == s->listed || n >= GDP_CHANCES) && id != x->storing) {
            const uint32_t parent = gdp_parent(GDP_OWN(s->up));
            x->count.evicted += GDP_OWN(s->end) - gdp_start(GDP_OWN(s->up));
            gdp_segment_kill(x, id);
            gdp_segment_tidy(x, parent);
            return true;
        }
        gdp_list_remove(x, id);
        s->listed = touched;
        gdp_list_append(x, id, list);
    }
    return false;
}

bool gdp_index_evict_soft(gdp_index *x)
{
    return gdp_list_evict(x, GDP_SOFT_LEAVES);
}

bool gdp_index_evict(gdp_index *x)
{
    return gdp_list_evict(x, GDP_LEAVES) || gdp_list_evict(x, GDP_SOFT_LEAVES);
}

/* Forgetting goes ahead of need and in step with storing, two blocks for one, so that no store waits for many to go:
 * tables that cannot grow are kept at 5/8, and 5/16 of the segments on their way from death to use. */
void gdp_index_make_room(gdp_index *x, size_t blocks)
{
    const uint64_t full = x->count.bytes_max - x->count.bytes_max / 32, end = x->deaths + 2 * blocks + 8;
    if (!gdp_table_grows(x))
        while (x->count.blocks + blocks > x->capacity / 8 * 5 && x->deaths < end && gdp_index_evict(x)) {}
    for (unsigned i = 0; i < 2 && gdp_segments_scarce(x) && gdp_index_evict(x); i++) {}
    for (unsigned tries = 0; tries < 4 && x->count.bytes + 4096 > full; tries++) { /* covers */
        for (unsigned i = 0; i < 8 && gdp_index_evict(x); i++) {}
        gdp_names_sweep(x);
        gdp_index_collect(x);
    }
}

/* ---------------------------------------------------- life ------------------------------------------------------ */

static void gdp_index_measure(gdp_index *x, const gdp_index_options *options)
{
    const uint64_t max = options && options->bytes_max > GDP_BYTES_MIN ? options->bytes_max : GDP_BYTES_MIN;
    const uint64_t percent = options && options->predicted_pct ? options->predicted_pct : 10;
    unsigned bits = 6;
    while (bits < 8 && max >> (15 + bits)) bits++;
    x->n_shards = 1u << bits;
    x->shift = 64 - bits;
    x->count.bytes_max = max;
    x->soft_max = max / GDP_BLOCK_BYTES * (percent < 100 ? percent : 100) / 100;
    const uint64_t chunks = max / (sizeof(gdp_segment) * GDP_CHUNK) + 1;
    x->chunks_max = chunks < UINT32_MAX / GDP_CHUNK ? (uint32_t)chunks : UINT32_MAX / GDP_CHUNK;
    x->scan.next_s = UINT32_MAX;
}

gdp_index *gdp_index_new(const gdp_index_options *options)
{
    void *raw = gdp_alloc(sizeof(gdp_index) + 64);
    if (!raw) return NULL;
    gdp_index *x = (gdp_index *)(((uintptr_t)raw + 63) & ~(uintptr_t)63);
    x->raw = raw;
    gdp_index_measure(x, options);
    x->arena = gdp_arena_new();
    gdp_epoch_init(&x->epoch, x->arena);
    x->count.bytes = gdp_arena_cost(sizeof(gdp_index) + 64);
    x->chunks = gdp_alloc(sizeof *x->chunks * x->chunks_max); /* from the heap, which has zeroes without touching them */
    x->count.bytes += gdp_arena_cost(sizeof *x->chunks * x->chunks_max);
    if (!x->arena || !x->chunks || !gdp_names_init(x) || !gdp_segments_init(x)) {
        gdp_index_free(x);
        return NULL;
    }
    return x;
}

void gdp_index_free(gdp_index *x)
{
    if (!x) return;
    gdp_epoch_collect(&x->epoch);
    gdp_names_free(x);
    gdp_covers_free(x);
    gdp_segments_free(x);
    gdp_arena_give(x->arena, GDP_OWN(x->clearings));
    gdp_arena_free(x->arena);
    gdp_free(x->chunks);
    gdp_free(x->raw);
}

gdp_index_reader *gdp_index_reader_new(gdp_index *x)
{
    return (gdp_index_reader *)(void *)gdp_epoch_sit(&x->epoch, x);
}

void gdp_index_reader_free(gdp_index_reader *reader)
{
    gdp_epoch_stand((gdp_seat *)(void *)reader);
}

gdp_arena *gdp_index_arena(gdp_index *x) { return x->arena; }

void gdp_index_count(gdp_index *x, gdp_index_stats *out)
{
    *out = x->count;
}

/* ---------------------------------------------------- clearing -------------------------------------------------- */

static size_t gdp_clearings_bytes(uint32_t n)
{
    return sizeof(gdp_clearings) + n * sizeof(gdp_clearing);
}

/* The clearings that are newer than `done`, and none of `slot`; with room for one more. */
static gdp_clearings *gdp_clearings_copy(gdp_index *x, uint32_t done, uint32_t slot)
{
    const gdp_clearings *old = GDP_OWN(x->clearings);
    const uint32_t room = old ? old->n + 1 : 1;
    gdp_clearings *c = gdp_index_zeroed(x, gdp_clearings_bytes(room), 0);
    if (!c) return NULL;
    c->head.raw = c, c->head.bytes = gdp_arena_cost(gdp_clearings_bytes(room));
    for (uint32_t i = 0; old && i < old->n; i++)
        if (old->of[i].number > done && old->of[i].slot != slot) c->of[c->n++] = old->of[i];
    c->newest = x->clear_number;
    return c;
}

static void gdp_clearings_swap(gdp_index *x, gdp_clearings *c)
{
    gdp_clearings *old = GDP_OWN(x->clearings);
    atomic_store(&x->clearings, c);
    if (old) gdp_epoch_retire(&x->epoch, &old->head);
    gdp_index_collect(x);
}

static void gdp_segment_settle_all(gdp_index *x, uint32_t slot)
{
    for (uint32_t id = 1; id < x->n_segments; id++) {
        if (!GDP_OWN(gdp_at(x, id)->end)) continue;
        gdp_segment_scrub(x, id);
        gdp_segment_clear(x, id, slot);
        gdp_segment_tidy(x, id);
    }
}

void gdp_index_clear(gdp_index *x, uint32_t slot)
{
    if (slot >= GDP_INDEX_SLOTS) return;
    gdp_clearings *c = gdp_clearings_copy(x, 0, slot);
    if (!c) {
        gdp_segment_settle_all(x, slot); /* no memory to put it off */
        return;
    }
    c->newest = ++x->clear_number;
    c->of[c->n++] = (gdp_clearing){slot, c->newest};
    gdp_clearings_swap(x, c);
}

/* ---------------------------------------------------- what was put off ------------------------------------------ */

static bool gdp_scan_due(const gdp_index *x, uint32_t now_s)
{
    if (GDP_OWN(x->clearings)) return true;
    return now_s >= x->scan.next_s && now_s - x->scan.begun_s >= GDP_EXPIRY_PAUSE_S;
}

static void gdp_scan_begin(gdp_index *x, uint32_t now_s)
{
    x->scan = (gdp_scan){.running = true, .at = 1, .number = x->clear_number, .begun_s = now_s,
                         .next_s = UINT32_MAX, .soon_s = UINT32_MAX};
}

static void gdp_scan_end(gdp_index *x)
{
    const gdp_clearings *c = GDP_OWN(x->clearings);
    x->scan.running = false;
    if (x->scan.soon_s < x->scan.next_s) x->scan.next_s = x->scan.soon_s;
    if (!c) return;
    if (c->newest <= x->scan.number) {
        gdp_clearings_swap(x, NULL);
    } else {
        gdp_clearings *left = gdp_clearings_copy(x, x->scan.number, GDP_INDEX_SLOTS);
        if (left) gdp_clearings_swap(x, left);
    }
}

size_t gdp_index_step(gdp_index *x, uint32_t now_s, size_t budget)
{
    if (x->used - x->count.blocks > x->used / 4 + 64u * x->n_shards) gdp_names_sweep(x);
    if (!x->scan.running) {
        gdp_index_collect(x);
        if (!gdp_scan_due(x, now_s)) return 0;
        gdp_scan_begin(x, now_s);
    }
    for (; budget > 0 && x->scan.at < x->n_segments; budget--, x->scan.at++) {
        const uint32_t id = x->scan.at;
        if (!GDP_OWN(gdp_at(x, id)->end)) continue;
        gdp_segment_scrub(x, id);
        const uint32_t soon_s = gdp_segment_expire(x, id, now_s);
        if (soon_s < x->scan.soon_s) x->scan.soon_s = soon_s;
        gdp_segment_tidy(x, id);
    }
    if (x->scan.at < x->n_segments) return x->n_segments - x->scan.at;
    gdp_scan_end(x);
    return GDP_OWN(x->clearings) ? x->n_segments : 0;
}
