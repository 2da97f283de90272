/* index_cover.c -- who holds a segment. A cover is built in the draft, looked up among the interned ones, and only then
 * allocated. Those with entries (cutoffs, predictions) are rarely equal to another and are not interned. */
#include <string.h>

#include "index_inner.h"

#define GDP_INTERNED_MIN 64u

/* ---------------------------------------------------- reading --------------------------------------------------- */

uint32_t gdp_cover_cutoff(const gdp_cover *c, uint32_t slot, unsigned medium, uint32_t *expires)
{
    if (!c || !(c->media >> medium & 1)) return 0;
    const uint64_t *bits = gdp_cover_bits(c, medium);
    const uint32_t word = slot / 64;
    if (bits && word >= c->base && word < (uint32_t)c->base + c->words && (bits[word - c->base] >> slot % 64 & 1))
        return GDP_FULL;
    const gdp_entry_held *e = gdp_cover_entries(c);
    for (uint32_t i = 0; i < c->n_entries; i++) {
        if (e[i].slot != slot || e[i].medium != medium) continue;
        if (expires) *expires = e[i].expires;
        return e[i].cutoff;
    }
    return 0;
}

bool gdp_cover_alone(const gdp_cover *c, uint32_t slot, unsigned medium, uint32_t end)
{
    if (!c) return false;
    if (medium == GDP_PREDICTED) return !c->dense && gdp_cover_cutoff(c, slot, medium, NULL) == end;
    return c->dense == 1u << medium && c->words == 1 && c->base == slot / 64 && c->bits[0] == 1ull << slot % 64;
}

uint32_t gdp_cover_top(const gdp_cover *c, uint32_t end)
{
    uint32_t top = 0;
    if (!c) return 0;
    if (c->dense) return end;
    const gdp_entry_held *e = gdp_cover_entries(c);
    for (uint32_t i = 0; i < c->n_entries; i++)
        if (e[i].cutoff > top) top = e[i].cutoff;
    return top < end ? top : end;
}

/* ---------------------------------------------------- drafting -------------------------------------------------- */

void gdp_draft_load(gdp_index *x, const gdp_cover *c)
{
    gdp_draft *d = &x->draft;
    d->lo = d->hi = 0;
    d->n_entries = 0;
    if (!c) return;
    if (c->words) d->lo = c->base, d->hi = (uint32_t)c->base + c->words;
    for (unsigned m = 0; m < GDP_DENSE; m++) {
        const uint64_t *bits = gdp_cover_bits(c, m);
        if (bits)
            memcpy(d->bits[m] + d->lo, bits, sizeof *bits * c->words);
        else
            memset(d->bits[m] + d->lo, 0, sizeof *bits * c->words);
    }
    d->n_entries = c->n_entries; /* the draft has room for those of any cover: covers come from drafts */
    if (c->n_entries) memcpy(d->entries, gdp_cover_entries(c), sizeof *d->entries * c->n_entries);
}

/* Makes a word valid. */
static void gdp_draft_reach(gdp_draft *d, uint32_t word)
{
    if (d->lo == d->hi) d->lo = d->hi = word;
    const uint32_t lo = word < d->lo ? word : d->lo, hi = word >= d->hi ? word + 1 : d->hi;
    for (unsigned m = 0; m < GDP_DENSE; m++) {
        memset(d->bits[m] + lo, 0, sizeof(uint64_t) * (d->lo - lo));
        memset(d->bits[m] + d->hi, 0, sizeof(uint64_t) * (hi - d->hi));
    }
    d->lo = lo, d->hi = hi;
}

static bool gdp_draft_room(gdp_index *x)
{
    gdp_draft *d = &x->draft;
    if (d->n_entries < d->room) return true;
    const uint32_t room = d->room ? d->room * 2 : 16;
    gdp_entry_held *entries = gdp_index_take(x, sizeof *entries * room, 0);
    if (!entries) return false;
    if (d->n_entries) memcpy(entries, d->entries, sizeof *entries * d->n_entries);
    gdp_index_give(x, d->entries, sizeof *entries * d->room);
    d->entries = entries, d->room = room;
    return true;
}

bool gdp_draft_set(gdp_index *x, uint32_t slot, unsigned medium, uint32_t cutoff, uint32_t expires)
{
    gdp_draft *d = &x->draft;
    const uint32_t word = slot / 64;
    const uint64_t bit = 1ull << slot % 64;
    uint32_t at = 0;
    while (at < d->n_entries && (d->entries[at].slot != slot || d->entries[at].medium != medium)) at++;
    if (medium < GDP_DENSE && word >= d->lo && word < d->hi) d->bits[medium][word] &= ~bit;
    if (cutoff == 0 || (cutoff == GDP_FULL && medium < GDP_DENSE)) {
        if (at < d->n_entries) d->entries[at] = d->entries[--d->n_entries];
        if (cutoff) gdp_draft_reach(d, word), d->bits[medium][word] |= bit;
        return true;
    }
    if (at == d->n_entries) {
        if (!gdp_draft_room(x)) return false;
        d->n_entries++;
    }
    d->entries[at] = (gdp_entry_held){.slot = (uint16_t)slot, .medium = (uint8_t)medium, .cutoff = cutoff,
                                      .expires = expires};
    return true;
}

/* Cuts off empty words, and says which media have bits. */
static uint8_t gdp_draft_trim(gdp_draft *d)
{
    uint64_t any[GDP_DENSE] = {0};
    uint8_t dense = 0;
    while (d->lo < d->hi && !(d->bits[0][d->lo] | d->bits[1][d->lo] | d->bits[2][d->lo])) d->lo++;
    while (d->hi > d->lo && !(d->bits[0][d->hi - 1] | d->bits[1][d->hi - 1] | d->bits[2][d->hi - 1])) d->hi--;
    for (unsigned m = 0; m < GDP_DENSE; m++) {
        for (uint32_t w = d->lo; w < d->hi; w++) any[m] |= d->bits[m][w];
        if (any[m]) dense |= (uint8_t)(1u << m);
    }
    return dense;
}

/* ---------------------------------------------------- interning ------------------------------------------------- */

static uint64_t gdp_draft_hash(const gdp_draft *d, uint8_t dense)
{
    uint64_t h = (gdp_pair(d->lo, d->hi) ^ dense) * GDP_SPREAD;
    for (unsigned m = 0; m < GDP_DENSE; m++)
        if (dense >> m & 1)
            for (uint32_t w = d->lo; w < d->hi; w++) {
                const unsigned __int128 p = (unsigned __int128)(h ^ d->bits[m][w]) * 0xD6E8FEB86659FD93u;
                h = (uint64_t)p ^ (uint64_t)(p >> 64) ^ w;
            }
    return h;
}

static bool gdp_draft_is(const gdp_draft *d, uint8_t dense, const gdp_cover *c)
{
    if (c->dense != dense || c->base != d->lo || c->words != d->hi - d->lo) return false;
    for (unsigned m = 0; m < GDP_DENSE; m++)
        if (dense >> m & 1 && memcmp(d->bits[m] + d->lo, gdp_cover_bits(c, m), sizeof(uint64_t) * c->words) != 0)
            return false;
    return true;
}

/* Twice the buckets when there are more covers than buckets. Without memory, chains get longer. */
static void gdp_interned_grow(gdp_index *x)
{
    const uint32_t size = x->interned_size ? x->interned_size * 2 : GDP_INTERNED_MIN;
    gdp_cover **grown = gdp_index_zeroed(x, sizeof *grown * size, x->count.bytes_max / 16);
    if (!grown) return;
    for (uint32_t i = 0; i < x->interned_size; i++)
        for (gdp_cover *c = x->interned[i], *next; c; c = next) {
            next = (gdp_cover *)(void *)c->head.next;
            c->head.next = (gdp_retired *)(void *)grown[c->hash & (size - 1)];
            grown[c->hash & (size - 1)] = c;
        }
    gdp_index_give(x, x->interned, sizeof *grown * x->interned_size);
    x->interned = grown, x->interned_size = size;
}

static gdp_cover *gdp_interned_find(const gdp_index *x, uint64_t hash, uint8_t dense)
{
    if (!x->interned_size) return NULL;
    gdp_cover *c = x->interned[hash & (x->interned_size - 1)];
    while (c && (c->hash != hash || !gdp_draft_is(&x->draft, dense, c))) c = (gdp_cover *)(void *)c->head.next;
    return c;
}

static void gdp_cover_intern(gdp_index *x, gdp_cover *c)
{
    if (x->count.covers >= x->interned_size) gdp_interned_grow(x);
    if (!x->interned_size) return;
    gdp_cover **bucket = &x->interned[c->hash & (x->interned_size - 1)];
    c->head.next = (gdp_retired *)(void *)*bucket;
    *bucket = c;
    c->interned = true;
}

static void gdp_cover_forget(gdp_index *x, gdp_cover *c)
{
    gdp_cover **at = &x->interned[c->hash & (x->interned_size - 1)];
    while (*at != c) at = (gdp_cover **)(void *)&(*at)->head.next;
    *at = (gdp_cover *)(void *)c->head.next;
    c->interned = false;
}

/* ---------------------------------------------------- life ------------------------------------------------------ */

static gdp_cover *gdp_cover_make(gdp_index *x, uint8_t dense, uint64_t hash)
{
    const gdp_draft *d = &x->draft;
    const uint32_t words = d->hi - d->lo;
    const size_t n_bits = (size_t)words * (unsigned)__builtin_popcount(dense);
    const size_t bytes = sizeof(gdp_cover) + sizeof(uint64_t) * n_bits + sizeof *d->entries * d->n_entries;
    gdp_cover *c = gdp_index_zeroed(x, bytes, x->count.bytes_max / 32);
    if (!c) return NULL;
    c->head.raw = c, c->head.bytes = gdp_arena_cost(bytes);
    c->hash = hash, c->refs = 1;
    c->base = (uint16_t)d->lo, c->words = (uint16_t)words;
    c->dense = c->media = dense;
    c->n_entries = d->n_entries;
    uint64_t *to = c->bits;
    for (unsigned m = 0; m < GDP_DENSE; m++)
        if (dense >> m & 1) memcpy(to, d->bits[m] + d->lo, sizeof *to * words), to += words;
    if (d->n_entries) memcpy(to, d->entries, sizeof *d->entries * d->n_entries);
    for (uint32_t i = 0; i < d->n_entries; i++) c->media |= (uint8_t)(1u << d->entries[i].medium);
    x->count.covers++;
    x->count.cover_bytes += c->head.bytes;
    return c;
}

bool gdp_draft_cover(gdp_index *x, gdp_cover **out)
{
    gdp_draft *d = &x->draft;
    const uint8_t dense = gdp_draft_trim(d);
    *out = NULL;
    if (!dense && !d->n_entries) return true;
    if (!dense) d->lo = d->hi = 0;
    const bool shared = d->n_entries == 0;
    const uint64_t hash = shared ? gdp_draft_hash(d, dense) : 0;
    gdp_cover *c = shared ? gdp_interned_find(x, hash, dense) : NULL;
    if (c) {
        c->refs++;
    } else {
        c = gdp_cover_make(x, dense, hash);
        if (!c) return false;
        if (shared) gdp_cover_intern(x, c);
    }
    *out = c;
    return true;
}

void gdp_cover_keep(gdp_cover *c)
{
    if (c) c->refs++;
}

void gdp_cover_drop(gdp_index *x, gdp_cover *c)
{
    if (!c || --c->refs > 0) return;
    if (c->interned) gdp_cover_forget(x, c);
    x->count.covers--;
    x->count.cover_bytes -= c->head.bytes;
    gdp_epoch_retire(&x->epoch, &c->head);
    if (x->epoch.waiting >= 256) gdp_index_collect(x);
}

void gdp_covers_free(gdp_index *x)
{
    for (uint32_t id = 1; id < x->n_segments; id++) {
        gdp_cover *c = GDP_OWN(gdp_at(x, id)->cover);
        if (c && --c->refs == 0) gdp_arena_give(x->arena, c);
    }
    gdp_arena_give(x->arena, x->interned);
    gdp_arena_give(x->arena, x->draft.entries);
}
