/* index_segment.c -- segments and their lists.
 *
 *     free --new--> made --publish--> leaf <--> inner            lists: leaves by age, in two classes (what anybody told
 *       ^                              |                         us, and what is only predicted: soft)
 *       |                            kill
 *       +-- resting <--(all shards --- dead                      resting: no name points at it, a reader still may
 *                       copied)
 */
#include <string.h>

#include "index_inner.h"

/* ---------------------------------------------------- lists ----------------------------------------------------- */

void gdp_list_append(gdp_index *x, uint32_t id, gdp_list list)
{
    gdp_chain_of_segments *l = &x->lists[list];
    gdp_segment *s = gdp_at(x, id);
    s->older = l->newest, s->newer = 0;
    s->list = 1 + (uint32_t)list;
    if (l->newest)
        gdp_at(x, l->newest)->newer = id;
    else
        l->oldest = id;
    l->newest = id;
    l->n++;
}

void gdp_list_remove(gdp_index *x, uint32_t id)
{
    gdp_segment *s = gdp_at(x, id);
    if (!s->list) return;
    gdp_chain_of_segments *l = &x->lists[s->list - 1];
    if (s->older)
        gdp_at(x, s->older)->newer = s->newer;
    else
        l->oldest = s->newer;
    if (s->newer)
        gdp_at(x, s->newer)->older = s->older;
    else
        l->newest = s->older;
    s->list = 0;
    l->n--;
}

static bool gdp_cover_soft(const gdp_cover *c)
{
    return c && c->media == 1u << GDP_PREDICTED;
}

/* Leaves stand in the list of their class, others in none. */
static void gdp_segment_list(gdp_index *x, uint32_t id)
{
    gdp_segment *s = gdp_at(x, id);
    const gdp_list list = gdp_cover_soft(GDP_OWN(s->cover)) ? GDP_SOFT_LEAVES : GDP_LEAVES;
    const bool leaf = id && s->children == 0;
    if (leaf && s->list == 1 + (uint32_t)list) return;
    gdp_list_remove(x, id);
    if (!leaf) return;
    s->listed = GDP_OWN(s->touched);
    gdp_list_append(x, id, list);
}

/* ---------------------------------------------------- birth ----------------------------------------------------- */

static bool gdp_chunk_new(gdp_index *x)
{
    const size_t bytes = sizeof(gdp_segment) * GDP_CHUNK + 64;
    if (x->n_chunks == x->chunks_max) return false;
    void *raw = gdp_index_zeroed(x, bytes, x->count.bytes_max / 24);
    if (!raw) return false;
    void **chunk = (void **)(((uintptr_t)raw + 64) & ~(uintptr_t)63);
    chunk[-1] = raw; /* taken memory is aligned to 16, so there is room */
    x->count.segment_bytes += gdp_arena_cost(bytes);
    GDP_SHOW(x->chunks[x->n_chunks], (gdp_segment *)(void *)chunk);
    x->n_chunks++;
    return true;
}

bool gdp_segments_init(gdp_index *x)
{
    x->n_segments = 1; /* the root: no blocks, start 0, never dies */
    return gdp_chunk_new(x);
}

void gdp_segments_free(gdp_index *x)
{
    for (uint32_t i = 0; i < x->n_chunks; i++) gdp_arena_give(x->arena, ((void **)(void *)GDP_OWN(x->chunks[i]))[-1]);
}

/* Dead ones that no name points at any more rest for an epoch; those that rested are free. */
static void gdp_segments_settle(gdp_index *x)
{
    if (x->copied_known != x->n_copies) {
        x->copied_known = x->n_copies;
        x->copied_all = UINT64_MAX;
        for (unsigned i = 0; i < x->n_shards; i++)
            if (x->shard[i].copied < x->copied_all) x->copied_all = x->shard[i].copied;
    }
    while (x->lists[GDP_DEAD].oldest && gdp_at(x, x->lists[GDP_DEAD].oldest)->died < x->copied_all) {
        const uint32_t id = x->lists[GDP_DEAD].oldest;
        gdp_list_remove(x, id);
        gdp_at(x, id)->died = GDP_OWN(x->epoch.now);
        gdp_list_append(x, id, GDP_RESTING);
    }
    if (!x->lists[GDP_RESTING].oldest) return;
    const uint64_t oldest = gdp_epoch_turn(&x->epoch);
    while (x->lists[GDP_RESTING].oldest && gdp_at(x, x->lists[GDP_RESTING].oldest)->died < oldest) {
        const uint32_t id = x->lists[GDP_RESTING].oldest;
        gdp_list_remove(x, id);
        gdp_list_append(x, id, GDP_FREE);
    }
}

static uint32_t gdp_segments_waiting(const gdp_index *x)
{
    return x->lists[GDP_DEAD].n + x->lists[GDP_RESTING].n;
}

bool gdp_segments_scarce(const gdp_index *x)
{
    const size_t more = sizeof(gdp_segment) * GDP_CHUNK + x->count.bytes_max / 24 + x->count.bytes_max / 16;
    return x->count.bytes + more > x->count.bytes_max
        && x->lists[GDP_FREE].n + gdp_segments_waiting(x) < x->count.segments / 16 * 5;
}

/* The dead are used again only when every shard was copied after their death. Shards that fill up see to that; but when
 * many wait, copies are paid for by each segment that is taken: a round of them per eighth of the living. `Many` is also a
 * share of the blocks, a quarter of a byte for each: where few long segments live and die (prompts in a full cache), rounds
 * by the number of segments alone were most of the work. */
static void gdp_segments_recycle(gdp_index *x)
{
    const uint64_t round = x->count.segments / 8 + x->count.blocks / 512 + 64;
    x->sweep_credit += x->n_shards;
    while (x->sweep_credit >= round && gdp_names_sweep(x)) x->sweep_credit -= round;
    if (x->sweep_credit >= round) x->sweep_credit = 0; /* no memory for copies now */
    if (!x->lists[GDP_FREE].n) gdp_segments_settle(x);
}

/* At the cap, and none is free, though room was made: the dear way. */
static bool gdp_segments_wring(gdp_index *x)
{
    const uint32_t want = (uint32_t)(x->count.segments / 16 + 1);
    while (gdp_segments_waiting(x) < want && gdp_index_evict(x)) {}
    for (unsigned i = 0; i < x->n_shards && gdp_names_sweep(x); i++) {}
    gdp_segments_settle(x);
    gdp_segments_settle(x); /* once more, for those that came to rest by the first */
    return x->lists[GDP_FREE].n > 0;
}

static uint32_t gdp_segment_take(gdp_index *x)
{
    if (gdp_segments_waiting(x) > x->count.segments / 16 * 3 + x->count.blocks / 256 + 64) gdp_segments_recycle(x);
    if (!x->lists[GDP_FREE].n && x->n_segments == x->n_chunks * GDP_CHUNK && !gdp_chunk_new(x)
        && !gdp_segments_wring(x))
        return 0;
    const uint32_t id = x->lists[GDP_FREE].oldest;
    if (!id) return x->n_segments++;
    gdp_list_remove(x, id);
    return id;
}

uint32_t gdp_segment_new(gdp_index *x, uint32_t parent, uint32_t start, uint32_t now_s)
{
    const uint32_t id = gdp_segment_take(x);
    if (!id) return 0;
    gdp_segment *s = gdp_at(x, id);
    atomic_store_explicit(&s->up, gdp_pair(parent, start), memory_order_relaxed);
    atomic_store_explicit(&s->cover, NULL, memory_order_relaxed);
    atomic_store_explicit(&s->end, 0, memory_order_relaxed);
    atomic_store_explicit(&s->touched, now_s, memory_order_relaxed);
    atomic_store_explicit(&s->scrubbed, x->clear_number, memory_order_relaxed);
    s->children = 0;
    s->sealed = false;
    gdp_at(x, parent)->children++;
    gdp_segment_list(x, parent);
    x->count.segments++;
    return id;
}

void gdp_segment_unmake(gdp_index *x, uint32_t id)
{
    gdp_segment *s = gdp_at(x, id);
    const uint32_t parent = gdp_parent(GDP_OWN(s->up));
    gdp_segment_cover(x, id, NULL);
    gdp_list_append(x, id, GDP_FREE);
    x->count.segments--;
    gdp_at(x, parent)->children--;
    gdp_segment_list(x, parent);
}

void gdp_segment_end(gdp_index *x, uint32_t id, uint32_t end)
{
    gdp_segment *s = gdp_at(x, id);
    const uint32_t old = GDP_OWN(s->end), from = old ? old : gdp_start(GDP_OWN(s->up));
    const uint64_t more = (uint64_t)end - from; /* may be less than nothing: wraps, and so do the sums */
    x->count.blocks += more;
    if (gdp_cover_soft(GDP_OWN(s->cover))) x->count.predicted_blocks += more;
    GDP_SHOW(s->end, end);
}

void gdp_segment_publish(gdp_index *x, uint32_t id, uint32_t end)
{
    gdp_segment_end(x, id, end);
    gdp_segment_list(x, id);
}

/* ---------------------------------------------------- holders --------------------------------------------------- */

void gdp_segment_cover(gdp_index *x, uint32_t id, gdp_cover *cover)
{
    gdp_segment *s = gdp_at(x, id);
    gdp_cover *old = GDP_OWN(s->cover);
    const uint32_t end = GDP_OWN(s->end), length = end ? end - gdp_start(GDP_OWN(s->up)) : 0;
    if (gdp_cover_soft(old)) x->count.predicted_blocks -= length;
    if (gdp_cover_soft(cover)) x->count.predicted_blocks += length;
    atomic_store(&s->cover, cover);
    gdp_cover_drop(x, old);
    if (s->list) gdp_segment_list(x, id);
}

bool gdp_segment_hold(gdp_index *x, uint32_t id, uint32_t slot, unsigned medium, uint32_t cutoff, uint32_t expires)
{
    gdp_segment *s = gdp_at(x, id);
    gdp_cover *cover;
    gdp_draft_load(x, GDP_OWN(s->cover));
    if (!gdp_draft_set(x, slot, medium, cutoff, expires) || !gdp_draft_cover(x, &cover)) return false;
    gdp_segment_cover(x, id, cover);
    return true;
}

/* What was drafted, or, without memory for it, nobody: fewer holders, never too many. */
static void gdp_segment_redraft(gdp_index *x, uint32_t id)
{
    gdp_cover *cover = NULL;
    if (!gdp_draft_cover(x, &cover)) x->count.forgotten++;
    gdp_segment_cover(x, id, cover);
}

static void gdp_draft_clear_slot(gdp_draft *d, uint32_t slot)
{
    uint32_t kept = 0;
    if (slot / 64 >= d->lo && slot / 64 < d->hi)
        for (unsigned m = 0; m < GDP_DENSE; m++) d->bits[m][slot / 64] &= ~(1ull << slot % 64);
    for (uint32_t i = 0; i < d->n_entries; i++)
        if (d->entries[i].slot != slot) d->entries[kept++] = d->entries[i];
    d->n_entries = kept;
}

void gdp_segment_scrub(gdp_index *x, uint32_t id)
{
    gdp_segment *s = gdp_at(x, id);
    const uint32_t done = GDP_OWN(s->scrubbed);
    if (GDP_LIKELY(done == x->clear_number)) return;
    const gdp_clearings *c = GDP_OWN(x->clearings);
    if (c && c->newest > done && GDP_OWN(s->cover)) {
        gdp_draft_load(x, GDP_OWN(s->cover));
        for (uint32_t i = 0; i < c->n; i++)
            if (c->of[i].number > done) gdp_draft_clear_slot(&x->draft, c->of[i].slot);
        gdp_segment_redraft(x, id);
    }
    GDP_SHOW(s->scrubbed, x->clear_number);
}

void gdp_segment_clear(gdp_index *x, uint32_t id, uint32_t slot)
{
    gdp_draft_load(x, GDP_OWN(gdp_at(x, id)->cover));
    gdp_draft_clear_slot(&x->draft, slot);
    gdp_segment_redraft(x, id);
}

void gdp_segment_lower(gdp_index *x, uint32_t id, uint32_t slot, unsigned medium, uint32_t cutoff)
{
    uint32_t expires = 0;
    if (medium == GDP_PREDICTED) gdp_cover_cutoff(GDP_OWN(gdp_at(x, id)->cover), slot, medium, &expires);
    gdp_draft_load(x, GDP_OWN(gdp_at(x, id)->cover));
    if (!gdp_draft_set(x, slot, medium, cutoff, expires)) {
        x->count.forgotten++;
        (void)gdp_draft_set(x, slot, medium, 0, 0);
    }
    gdp_segment_redraft(x, id);
}

uint32_t gdp_segment_expire(gdp_index *x, uint32_t id, uint32_t now_s)
{
    const gdp_cover *c = GDP_OWN(gdp_at(x, id)->cover);
    gdp_draft *d = &x->draft;
    uint32_t kept = 0, soon_s = UINT32_MAX;
    if (!c || !(c->media >> GDP_PREDICTED & 1)) return soon_s;
    gdp_draft_load(x, c);
    for (uint32_t i = 0; i < c->n_entries; i++) {
        const gdp_entry_held e = d->entries[i];
        if (e.medium == GDP_PREDICTED && e.expires <= now_s) continue;
        if (e.medium == GDP_PREDICTED && e.expires < soon_s) soon_s = e.expires;
        d->entries[kept++] = e;
    }
    if (kept == d->n_entries) return soon_s;
    x->count.expired += d->n_entries - kept; /* a prediction counts once for each segment it spans */
    d->n_entries = kept;
    gdp_segment_redraft(x, id);
    return soon_s;
}

/* ---------------------------------------------------- split ----------------------------------------------------- */

/* The drafted holders of [start, end), as those of the part above `at`. */
static void gdp_draft_above(gdp_index *x, uint32_t at)
{
    gdp_draft *d = &x->draft;
    for (uint32_t i = 0; i < d->n_entries;) {
        gdp_entry_held *e = &d->entries[i];
        if (e->cutoff >= at && e->medium < GDP_DENSE) {
            (void)gdp_draft_set(x, e->slot, e->medium, GDP_FULL, 0); /* a bit for it, and another entry in its place */
        } else {
            if (e->cutoff > at) e->cutoff = at;
            i++;
        }
    }
}

static void gdp_draft_below(gdp_draft *d, uint32_t at)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < d->n_entries; i++)
        if (d->entries[i].cutoff > at) d->entries[kept++] = d->entries[i];
    d->n_entries = kept;
}

uint32_t gdp_segment_split(gdp_index *x, uint32_t id, uint32_t at)
{
    gdp_segment *low = gdp_at(x, id);
    gdp_segment_scrub(x, id); /* a pass that has been where the upper part will stand would miss it */
    const uint32_t start = gdp_start(GDP_OWN(low->up)), parent = gdp_parent(GDP_OWN(low->up));
    gdp_cover *cover = GDP_OWN(low->cover), *above;
    gdp_draft_load(x, cover);
    for (uint32_t i = 0; i < x->draft.n_entries; i++)
        if (x->draft.entries[i].medium == GDP_PREDICTED && x->draft.entries[i].expires < x->scan.next_s)
            x->scan.next_s = x->draft.entries[i].expires;
    if (x->draft.n_entries) {
        gdp_draft_above(x, at);
        if (!gdp_draft_cover(x, &above)) return 0;
    } else {
        gdp_cover_keep(above = cover);
    }
    const uint32_t high = gdp_segment_new(x, parent, start, GDP_OWN(low->touched));
    if (!high) {
        gdp_cover_drop(x, above);
        return 0;
    }
    gdp_segment *h = gdp_at(x, high);
    gdp_at(x, parent)->children--; /* the upper part takes the lower one's place */
    h->children = 1;
    atomic_store_explicit(&h->cover, above, memory_order_relaxed);
    if (gdp_cover_soft(above)) x->count.predicted_blocks += at - start;
    if (gdp_cover_soft(cover)) x->count.predicted_blocks -= at - start;
    GDP_SHOW(h->end, at);
    atomic_store(&low->up, gdp_pair(high, at)); /* from here on readers see two */
    if (!cover || !cover->n_entries) return high;
    gdp_draft_load(x, cover);
    gdp_draft_below(&x->draft, at);
    gdp_cover *below;
    if (gdp_draft_cover(x, &below)) gdp_segment_cover(x, id, below); /* else: cutoffs above its start, which say nothing */
    return high;
}

/* ---------------------------------------------------- death ----------------------------------------------------- */

void gdp_segment_kill(gdp_index *x, uint32_t id)
{
    gdp_segment *s = gdp_at(x, id);
    const uint32_t start = gdp_start(GDP_OWN(s->up)), parent = gdp_parent(GDP_OWN(s->up));
    x->deaths += GDP_OWN(s->end) - start;
    gdp_segment_end(x, id, start);
    GDP_SHOW(s->end, 0);
    gdp_segment_cover(x, id, NULL);
    gdp_list_remove(x, id);
    s->died = x->n_copies;
    gdp_list_append(x, id, GDP_DEAD);
    x->count.segments--;
    gdp_at(x, parent)->children--;
    gdp_segment_list(x, parent);
}

/* Nobody holds what is behind `end`. Who held up to there holds all of it now. */
static void gdp_segment_shrink(gdp_index *x, uint32_t id, uint32_t end)
{
    gdp_segment *s = gdp_at(x, id);
    gdp_cover *cover = GDP_OWN(s->cover);
    x->deaths += GDP_OWN(s->end) - end;
    s->sealed = true;
    gdp_segment_end(x, id, end); /* before the cover: see index_inner.h */
    if (!cover->n_entries) return;
    gdp_draft_load(x, GDP_OWN(s->cover));
    gdp_draft_above(x, end);
    if (gdp_draft_cover(x, &cover)) gdp_segment_cover(x, id, cover); /* else: cutoffs at its end, which say the same */
}

bool gdp_segment_pop(gdp_index *x, uint32_t id, uint32_t slot, unsigned medium)
{
    const gdp_segment *s = gdp_at(x, id);
    const uint32_t end = GDP_OWN(s->end);
    const gdp_cover *c = GDP_OWN(s->cover);
    if (s->children || c->n_entries || end - gdp_start(GDP_OWN(s->up)) < 2 || !gdp_cover_alone(c, slot, medium, end))
        return false;
    gdp_segment_shrink(x, id, end - 1);
    return true;
}

void gdp_segment_tidy(gdp_index *x, uint32_t id)
{
    while (id && id != x->storing) {
        gdp_segment *s = gdp_at(x, id);
        const uint32_t end = GDP_OWN(s->end), parent = gdp_parent(GDP_OWN(s->up));
        if (s->children || !end) return;
        const uint32_t top = gdp_cover_top(GDP_OWN(s->cover), end);
        if (top > gdp_start(GDP_OWN(s->up))) {
            if (top < end) gdp_segment_shrink(x, id, top);
            return;
        }
        gdp_segment_kill(x, id);
        id = parent;
    }
}
