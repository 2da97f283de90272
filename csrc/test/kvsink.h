/* kvsink.h -- an index that is a list: what a feed says is held, looked up by going through all of it. Beside it the real
 * one may stand, and then must know the same. */
#ifndef GDP_KVSINK_H
#define GDP_KVSINK_H

#include "gdp/index.h"
#include "gdp/kvfeed.h"
#include "test.h"

typedef struct {
    struct gdp_kvsink_item {
        uint8_t medium;
        uint64_t chain;
    } *items;
    size_t n, cap;
    uint64_t cleared;
    bool blind; /* remembers nothing, for tests of size and speed */
    gdp_index *index;
} gdp_kvsink;

static inline size_t gdp_kvsink_at(const gdp_kvsink *s, uint8_t medium, uint64_t chain)
{
    size_t i = 0;
    while (i < s->n && (s->items[i].chain != chain || s->items[i].medium != medium)) i++;
    return i;
}

static inline bool gdp_kvsink_has(const gdp_kvsink *s, uint8_t medium, uint64_t chain)
{
    return gdp_kvsink_at(s, medium, chain) < s->n;
}

static inline int gdp_kvsink_store(void *self, uint32_t slot, uint8_t medium, uint64_t parent, bool first,
                                   const uint64_t *chain, uint32_t n, bool *held)
{
    gdp_kvsink *s = self;
    CHECK(slot == 7 && medium < 3 && n > 0);
    if (s->index) CHECK(gdp_index_store(s->index, slot, medium, parent, first, chain, n, NULL, 1) == n);
    if (s->blind) return 0;
    if (!first) { /* the parent, or the block itself, is known to be somewhere */
        bool known = false;
        for (uint8_t m = 0; m < 3; m++) known |= gdp_kvsink_has(s, m, parent);
        CHECK(known && (parent != chain[0] || n == 1));
    }
    for (uint32_t i = 0; i < n; i++) {
        CHECK(!held[i]);
        held[i] = gdp_kvsink_has(s, medium, chain[i]);
        if (held[i]) continue;
        if (s->n == s->cap) {
            s->cap = 2 * s->cap + 64;
            s->items = realloc(s->items, s->cap * sizeof *s->items);
            if (!s->items) abort();
        }
        s->items[s->n++] = (struct gdp_kvsink_item){medium, chain[i]};
    }
    return 0;
}

static inline void gdp_kvsink_remove(void *self, uint32_t slot, uint8_t medium, uint64_t chain)
{
    gdp_kvsink *s = self;
    CHECK(slot == 7);
    if (s->index) CHECK(gdp_index_remove(s->index, slot, medium, chain) == 1);
    if (s->blind) return;
    const size_t i = gdp_kvsink_at(s, medium, chain);
    CHECK(i < s->n); /* never what is not held */
    s->items[i] = s->items[--s->n];
}

static inline void gdp_kvsink_clear(void *self, uint32_t slot)
{
    gdp_kvsink *s = self;
    CHECK(slot == 7);
    s->n = 0;
    s->cleared++;
    if (s->index) gdp_index_clear(s->index, slot);
}

static inline void gdp_kvsink_ahead(void *self, const uint64_t *chain, uint32_t n, bool near)
{
    const gdp_kvsink *s = self;
    CHECK(n > 0);
    if (s->index) gdp_index_ahead(s->index, chain, n, near);
}

static inline gdp_kv_sink gdp_kvsink_of(gdp_kvsink *s)
{
    return (gdp_kv_sink){s, gdp_kvsink_store, gdp_kvsink_remove, gdp_kvsink_clear, gdp_kvsink_ahead};
}

static inline void gdp_kvsink_free(gdp_kvsink *s)
{
    free(s->items);
    *s = (gdp_kvsink){0};
}

#endif
