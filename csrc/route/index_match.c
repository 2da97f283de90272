/* index_match.c -- the lookup: search, climb, fold.
 *
 * Search: is chain[i] known is one probe, and known at i means known before i. A round asks eight depths at once, so
 * that a round costs one cache miss and not eight; the end of the segment that was hit is the best guess for the next.
 *
 * Climb: from the deepest known block to the root, noting (cover, start, end) of each segment. The order of the reads is
 * the whole of the synchronisation; why it suffices stands in index_inner.h.
 *
 * Fold: from the root down, one set of slots per column of the answer: those that hold everything so far. */
#include <string.h>

#include "index_inner.h"

#define GDP_PROBES 8u
#define GDP_APART __attribute__((noinline)) /* a cold lookup waits for its code, too: 64 B of it per cache miss */
#define GDP_PATH 128u /* segments of one climb; a longer way takes another one */

typedef struct {
    const gdp_cover *cover;
    uint32_t start, limit; /* what the cover is right for */
    uint32_t scrubbed;
    bool cut;              /* nobody holds what is behind it */
} gdp_stretch;

typedef struct {
    const gdp_index *x;
    const uint64_t *chain;
    const gdp_clearings *clearings;
    uint32_t now_s;
    uint32_t segment, known; /* the segment that has chain[known - 1] */
    uint32_t done;           /* depths that are folded */
    uint32_t n, first;       /* of path: a ring, filled from the deepest to the root */
    gdp_stretch path[GDP_PATH];
} gdp_lookup;

/* One column of the answer, and the slots that hold everything up to `done`. */
typedef struct {
    uint32_t *reach;
    uint8_t media;           /* holding it on any of these will do */
    uint32_t lo, hi;         /* words that may have a bit */
    uint64_t still[GDP_WORDS];
} gdp_column;

/* ---------------------------------------------------- search ---------------------------------------------------- */

static inline uint64_t gdp_spelt(uint64_t name) { return name ? name : 1; }

/* Is chain[i] alive at depth i? Tells its segment, and where that ends. */
static GDP_APART bool gdp_probe(const gdp_lookup *l, uint32_t i, uint32_t *segment, uint32_t *end)
{
    const uint64_t place = gdp_name_find(l->x, gdp_spelt(l->chain[i]));
    uint32_t id = (uint32_t)(place >> 32);
    if (!id || (uint32_t)place != i) return false;
    for (;;) {
        const gdp_segment *s = gdp_at(l->x, id);
        const uint32_t e = atomic_load_explicit(&s->end, memory_order_acquire);
        const uint64_t up = atomic_load_explicit(&s->up, memory_order_acquire);
        if (gdp_start(up) <= i) {
            if (i >= e) return false;
            *segment = id, *end = e;
            return true;
        }
        id = gdp_parent(up);
    }
}

/* The depths to ask next: lo are known, none from hi on. Both ends are among them: most prompts end at one. */
static uint32_t gdp_guess(uint32_t lo, uint32_t hi, uint32_t at[GDP_PROBES])
{
    const uint32_t last = hi - lo - 1, n = last < GDP_PROBES ? last + 1 : GDP_PROBES;
    for (uint32_t k = 0; k < n; k++) at[k] = lo + (n < GDP_PROBES ? k : (uint32_t)((uint64_t)last * k / (GDP_PROBES - 1)));
    return n;
}

static void gdp_search(gdp_lookup *l, uint32_t hi)
{
    uint32_t lo = 0, end = 0, at[GDP_PROBES], asked, k;
    for (bool by_end = false; lo < hi; by_end = !by_end && k > 0 && end > lo && end <= hi) {
        if (by_end)
            at[0] = end - 1, at[1] = end, asked = end < hi ? 2 : 1;
        else
            asked = gdp_guess(lo, hi, at);
        for (k = 0; k < asked; k++) __builtin_prefetch(gdp_name_slot(l->x, gdp_spelt(l->chain[at[k]])));
        for (k = asked; k > 0 && !gdp_probe(l, at[k - 1], &l->segment, &end); k--) {}
        if (k < asked) hi = at[k];
        if (k == 0) continue;
        lo = at[k - 1] + 1;
        const gdp_segment *s = gdp_at(l->x, l->segment); /* where the climb begins, while the next round waits */
        __builtin_prefetch(atomic_load_explicit(&s->cover, memory_order_relaxed));
        __builtin_prefetch(gdp_at(l->x, gdp_parent(atomic_load_explicit(&s->up, memory_order_relaxed))));
    }
    l->known = lo;
}

/* ---------------------------------------------------- climb ----------------------------------------------------- */

/* Notes what lies behind `done`; of a long way the part next to it. */
static void gdp_climb(gdp_lookup *l)
{
    uint32_t id = l->segment, limit = l->known, n = 0;
    while (id && limit > l->done) {
        gdp_segment *s = gdp_at(l->x, id);
        const uint32_t scrubbed = atomic_load_explicit(&s->scrubbed, memory_order_acquire);
        const gdp_cover *cover = atomic_load(&s->cover); /* in one order with the seat: see epoch.h */
        const uint32_t end = atomic_load_explicit(&s->end, memory_order_acquire);
        const uint64_t up = atomic_load_explicit(&s->up, memory_order_acquire);
        const uint32_t start = gdp_start(up) > l->done ? gdp_start(up) : l->done;
        id = gdp_parent(up);
        if (gdp_start(up) >= limit) continue; /* split since: what was asked for is above */
        __builtin_prefetch(cover);
        if (cover) __builtin_prefetch((const char *)cover + 64);
        if (atomic_load_explicit(&s->touched, memory_order_relaxed) != l->now_s)
            atomic_store_explicit(&s->touched, l->now_s, memory_order_relaxed);
        const uint32_t right = end < limit ? (end > start ? end : start) : limit;
        l->path[n++ % GDP_PATH] = (gdp_stretch){cover, start, right, scrubbed, right < limit};
        limit = start;
    }
    l->n = n < GDP_PATH ? n : GDP_PATH;
    l->first = n;
}

/* ---------------------------------------------------- fold ------------------------------------------------------ */

/* reach[64 * word + i] = depth for the bits i of `of`. Many at once without branches: they go four or eight in a step. */
static GDP_APART void gdp_column_write(gdp_column *c, uint32_t word, uint64_t of, uint32_t depth, uint32_t slots)
{
    uint32_t *reach = c->reach + 64 * word;
    if (64 * (word + 1) > slots || __builtin_popcountll(of) < 12) {
        for (; of; of &= of - 1) reach[__builtin_ctzll(of)] = depth;
        return;
    }
    for (; of; of >>= 8, reach += 8) {
        const uint32_t bits = (uint32_t)of & 255u;
        for (unsigned k = 0; k < 8; k++) reach[k] = bits & 1u << k ? depth : reach[k];
    }
}

static bool gdp_was_cleared(const gdp_lookup *l, const gdp_stretch *s, uint32_t slot)
{
    const gdp_clearings *c = l->clearings;
    if (!c || c->newest <= s->scrubbed) return false;
    for (uint32_t i = 0; i < c->n; i++)
        if (c->of[i].slot == slot && c->of[i].number > s->scrubbed) return true;
    return false;
}

/* The entry's depth, if it counts in this column. */
static uint32_t gdp_entry_depth(const gdp_lookup *l, const gdp_stretch *s, const gdp_column *c,
                                const gdp_entry_held *e, uint32_t slots)
{
    if (!(c->media >> e->medium & 1) || e->slot >= slots) return 0;
    if (e->medium == GDP_PREDICTED && e->expires <= l->now_s) return 0;
    return gdp_was_cleared(l, s, e->slot) ? 0 : e->cutoff;
}

/* What bits alone do not say of the whole stretch: clearings that are not done here, and entries. */
static GDP_APART void gdp_stretch_correct(const gdp_lookup *l, const gdp_stretch *s, const gdp_column *c, uint32_t slots,
                                          uint64_t full[GDP_WORDS])
{
    const gdp_clearings *cleared = l->clearings;
    if (cleared && cleared->newest > s->scrubbed)
        for (uint32_t i = 0; i < cleared->n; i++)
            if (cleared->of[i].number > s->scrubbed)
                full[cleared->of[i].slot / 64] &= ~(1ull << cleared->of[i].slot % 64);
    const gdp_entry_held *e = gdp_cover_entries(s->cover);
    for (uint32_t i = 0; i < s->cover->n_entries; i++)
        if (gdp_entry_depth(l, s, c, &e[i], slots) >= s->limit) full[e[i].slot / 64] |= 1ull << e[i].slot % 64;
}

/* Those who dropped out in this stretch, but hold a part of it. */
static GDP_APART void gdp_stretch_parts(const gdp_lookup *l, const gdp_stretch *s, gdp_column *c, uint32_t slots,
                                        const uint64_t drop[GDP_WORDS])
{
    const gdp_entry_held *e = gdp_cover_entries(s->cover);
    for (uint32_t i = 0; i < s->cover->n_entries; i++) {
        const uint32_t depth = gdp_entry_depth(l, s, c, &e[i], slots), w = e[i].slot / 64;
        if (depth <= s->start || w < c->lo || w >= c->hi || !(drop[w] >> e[i].slot % 64 & 1)) continue;
        if (depth > c->reach[e[i].slot]) c->reach[e[i].slot] = depth;
    }
}

/* Who holds the whole stretch, in the words lo..hi. */
static void gdp_stretch_full(const gdp_stretch *s, const gdp_column *c, uint64_t full[GDP_WORDS])
{
    const gdp_cover *v = s->cover;
    for (uint32_t w = c->lo; w < c->hi; w++) full[w] = 0;
    if (!v) return;
    const uint32_t lo = v->base > c->lo ? v->base : c->lo;
    const uint32_t end = (uint32_t)v->base + v->words, hi = end < c->hi ? end : c->hi;
    const uint64_t *bits = v->bits;
    for (uint32_t left = v->dense; left; left &= left - 1, bits += v->words)
        if (c->media & left & -left)
            for (uint32_t w = lo; w < hi; w++) full[w] |= bits[w - v->base];
}

static GDP_APART void gdp_fold_stretch(const gdp_lookup *l, const gdp_stretch *s, gdp_column *c, uint32_t slots)
{
    uint64_t drop[GDP_WORDS];
    uint32_t lo = c->hi, hi = c->lo;
    const bool odd = s->cover && (s->cover->n_entries || (l->clearings && l->clearings->newest > s->scrubbed));
    gdp_stretch_full(s, c, drop);
    if (odd) gdp_stretch_correct(l, s, c, slots, drop);
    for (uint32_t w = c->lo; w < c->hi; w++) {
        const uint64_t full = drop[w];
        drop[w] = c->still[w] & ~full;
        c->still[w] &= full;
        if (drop[w]) gdp_column_write(c, w, drop[w], s->start, slots);
        if (!c->still[w]) continue;
        if (s->cut) gdp_column_write(c, w, c->still[w], s->limit, slots);
        lo = w < lo ? w : lo, hi = w + 1;
    }
    if (odd) gdp_stretch_parts(l, s, c, slots, drop);
    c->lo = lo, c->hi = s->cut || lo > hi ? lo : hi;
}

static void gdp_fold(gdp_lookup *l, gdp_column *columns, unsigned n_columns, uint32_t slots)
{
    bool more = l->known > 0;
    while (more) {
        gdp_climb(l);
        for (uint32_t k = 1; k <= l->n; k++) {
            const gdp_stretch *s = &l->path[(l->first - k) % GDP_PATH];
            for (unsigned i = 0; i < n_columns; i++)
                if (columns[i].lo < columns[i].hi) gdp_fold_stretch(l, s, &columns[i], slots);
        }
        const gdp_stretch *last = &l->path[(l->first - l->n) % GDP_PATH];
        more = l->n > 0 && !last->cut && last->limit > l->done && last->limit < l->known;
        if (l->n) l->done = last->limit;
    }
    for (unsigned i = 0; i < n_columns; i++)
        for (uint32_t w = columns[i].lo; w < columns[i].hi; w++)
            gdp_column_write(&columns[i], w, columns[i].still[w], l->done, slots);
}

/* ---------------------------------------------------- call ------------------------------------------------------ */

static void gdp_column_begin(gdp_column *c, uint32_t *reach, unsigned medium, uint32_t slots)
{
    static const uint8_t media[GDP_INDEX_MEDIA] = {1u << GDP_ON_GPU, 1u << GDP_ON_GPU | 1u << GDP_ON_CPU, 7u,
                                                   1u << GDP_ON_GPU | 1u << GDP_PREDICTED};
    c->reach = reach, c->media = media[medium];
    c->lo = 0, c->hi = (slots + 63) / 64;
    memset(c->still, 0xff, sizeof *c->still * c->hi);
    if (slots % 64) c->still[c->hi - 1] = (1ull << slots % 64) - 1;
}

size_t gdp_index_match(gdp_index_reader *reader, const uint64_t *chain, size_t n, uint32_t now_s, uint32_t slots,
                       uint32_t *const reach[GDP_INDEX_MEDIA])
{
    gdp_seat *seat = (gdp_seat *)(void *)reader;
    gdp_column columns[GDP_INDEX_MEDIA];
    gdp_lookup l;
    unsigned n_columns = 0;
    const uint32_t used = slots < GDP_INDEX_SLOTS ? slots : GDP_INDEX_SLOTS;
    for (unsigned m = 0; m < GDP_INDEX_MEDIA; m++) {
        if (!reach[m]) continue;
        gdp_column_begin(&columns[n_columns++], reach[m], m, used);
        if (slots > used) memset(reach[m] + used, 0, sizeof *reach[m] * (slots - used));
    }
    l.x = seat->owner, l.chain = chain, l.now_s = now_s, l.done = 0;
    gdp_epoch_enter(&((gdp_index *)seat->owner)->epoch, seat);
    l.clearings = atomic_load(&l.x->clearings);
    gdp_search(&l, n < GDP_DEPTH_MAX ? (uint32_t)n : GDP_DEPTH_MAX);
    gdp_fold(&l, columns, n_columns, used);
    gdp_epoch_leave(seat);
    return l.known;
}
