/* kvfeed_inner.h -- what a feed remembers: hashes held (pages), what is rare (sides), rows without parents (the wait).
 *
 * Every hash is mixed with the secret to 64 bits first, so nobody can make hashes meet. Pages look at the upper bits of
 * the mix, whose number never changes while there are more and more pages:
 *
 *     mix   | base: 4 .. 20 bits | tag: 32 bits            | not looked at |
 *           | page number, base + k bits |                                      k: how often the pages were doubled
 *           |<------------- place: names an entry -------->|
 *
 * So a page that is parted in two is parted by the next bit of its tags. */
#ifndef GDP_KVFEED_INNER_H
#define GDP_KVFEED_INNER_H

#include "gdp/kvfeed.h"

static inline uint64_t gdp_kv_fold(uint64_t x, uint64_t y)
{
    __extension__ typedef unsigned __int128 wide;
    const wide product = (wide)x * y;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t gdp_kv_mix(const gdp_chain_key *key, gdp_kv_hash hash)
{
    return gdp_kv_fold(gdp_kv_fold(hash.lo ^ key->root, key->extra) ^ hash.hi, key->step | 1);
}

static inline bool gdp_kv_equal(gdp_kv_hash a, gdp_kv_hash b) { return a.lo == b.lo && a.hi == b.hi; }

/* ----------------------------------------------------- pages ---------------------------------------------------- */

typedef struct {
    uint32_t *tags; /* [cap], and behind them the chains, [cap], in any order: one allocation */
    uint32_t n, cap;
} gdp_page;

/* The hashes held on one medium. Zeroed: empty, and without a directory until the first one comes. */
typedef struct {
    gdp_page *pages;
    gdp_arena *arena;
    uint8_t base, bits; /* of the mix: at first, and now */
    size_t n, bytes, any; /* any: pages before this one are empty, or have been looked at */
} gdp_pages;

static inline uint64_t *gdp_page_chains(const gdp_page *page) /* rooms are of multiples of four: they are aligned */
{
    return (uint64_t *)(void *)(page->tags + page->cap);
}

/* What names an entry among all of its medium. */
static inline uint64_t gdp_pages_place(uint8_t base, uint64_t mix) { return mix >> (32 - base); }

uint8_t gdp_pages_base(uint32_t blocks); /* for about that many entries */

/* The chain under a mix, or NULL; good until the next change. */
uint64_t *gdp_pages_find(const gdp_pages *pages, uint64_t mix);
bool gdp_pages_put(gdp_pages *pages, uint8_t base, uint64_t mix, uint64_t chain); /* not there yet; false: no memory */
void gdp_pages_take(gdp_pages *pages, uint64_t mix, uint64_t *chain);              /* as found */
uint64_t *gdp_pages_any(gdp_pages *pages, uint64_t *mix);                          /* some entry; NULL: there is none */
void gdp_pages_ahead(const gdp_pages *pages, uint64_t mix);                        /* it will be asked for soon */
void gdp_pages_far_ahead(const gdp_pages *pages, uint64_t mix);                    /* ... and ahead() before that */
void gdp_pages_free(gdp_pages *pages);

/* ----------------------------------------------------- sides ---------------------------------------------------- */

/* A map from 64 bits to 64 bits that are not 0: open addressing, 16 bytes a cell. Zeroed: empty. */
typedef struct {
    struct gdp_side_cell {
        uint64_t key, value;
    } *cells;
    uint32_t n, mask; /* cells - 1 */
} gdp_side;

uint64_t gdp_side_get(const gdp_side *side, uint64_t key);             /* 0: not there */
bool gdp_side_set(gdp_side *side, uint64_t key, uint64_t value);       /* 0 takes it away; false: no memory */
size_t gdp_side_bytes(const gdp_side *side);
void gdp_side_free(gdp_side *side);

/* ---------------------------------------------------- the wait -------------------------------------------------- */

/* Blocks in a row, as a store announces them. */
typedef struct {
    uint8_t medium;
    bool asked;
    uint32_t n, block_size;
    const gdp_kv_hash *hashes;
    const uint32_t *tokens;
    const uint64_t *extras; /* one per block, or NULL */
} gdp_row;

/* A row whose parent is not known. Its arrays lie behind it. Bit i of `gone`: block i was removed meanwhile. */
typedef struct gdp_waiter {
    struct gdp_waiter *older, *newer; /* all that wait */
    struct gdp_waiter *next;          /* the same parent; or the list of those whose parent came */
    uint64_t parent;                  /* its mix; its chain when it came */
    size_t bytes;
    uint32_t n_gone;
    gdp_row row;
    uint8_t *gone;
} gdp_waiter;

typedef struct {
    gdp_waiter *oldest, *newest;
    gdp_side parents; /* mix -> the newest that waits for it */
    size_t bytes, bytes_max;
} gdp_wait;

/* Blocks that had to go for the row's sake, and whether it is in. `row->extras` is copied. */
typedef struct {
    int rc; /* 1: waits; 0: larger than all room; GDP_NOMEM */
    uint32_t dropped;
} gdp_wait_result;

gdp_wait_result gdp_wait_put(gdp_wait *wait, const gdp_row *row, uint64_t parent_mix);
/* Those who wait for that parent, oldest first, no longer in the wait; NULL: nobody. The caller frees each. */
gdp_waiter *gdp_wait_join(gdp_wait *wait, uint64_t parent_mix);
bool gdp_wait_remove(gdp_wait *wait, uint8_t medium, gdp_kv_hash hash); /* true: a block of that name waited */
uint32_t gdp_wait_clear(gdp_wait *wait);                                /* how many blocks waited */
size_t gdp_wait_bytes(const gdp_wait *wait);

/* ----------------------------------------------------- feeds ---------------------------------------------------- */

#define GDP_KV_MEDIA 3 /* that are followed */

struct gdp_kvfeed {
    const gdp_chain_key *key;
    gdp_kv_sink sink;
    uint32_t slot, block_size; /* block_size: the largest seen */
    int32_t group;             /* that is followed; GDP_KV_NO_GROUP until one is */
    uint8_t base;
    bool starved;         /* an event of this batch could not be kept */
    gdp_pages held[GDP_KV_MEDIA];
    gdp_side exact;       /* hashes whose place in the pages another one has: mix -> chain */
    gdp_side copies;      /* of an entry, beyond the first */
    gdp_side names;       /* of a chain, beyond the first: hashes that mean the same block */
    gdp_wait wait;
    gdp_waiter *ready;    /* their parents came */
    gdp_kvfeed_counts counts;
    size_t model_len;
    char model[];
};

/* Where a hash is held: in the pages at `place`, or in `exact` (NULL). `key` names it in `copies`. */
typedef struct {
    bool held;
    uint64_t *place, key, chain;
} gdp_holding;

static inline uint64_t gdp_exact_key(uint8_t medium, uint64_t mix)
{
    return (mix + medium * 0x9e3779b97f4a7c15u) | 1ull << 63;
}

static inline uint64_t gdp_name_key(uint8_t medium, uint64_t chain) { return chain + medium * 0x9e3779b97f4a7c15u; }

static inline uint64_t gdp_page_key(const gdp_kvfeed *f, uint8_t medium, uint64_t mix)
{
    return gdp_pages_place(f->base, mix) | (uint64_t)medium << 60;
}

static inline gdp_holding gdp_feed_find(const gdp_kvfeed *f, uint8_t medium, uint64_t mix)
{
    if (GDP_UNLIKELY(f->exact.n)) {
        const uint64_t key = gdp_exact_key(medium, mix), chain = gdp_side_get(&f->exact, key);
        if (chain) return (gdp_holding){true, NULL, key, chain};
    }
    uint64_t *place = gdp_pages_find(&f->held[medium], mix);
    return (gdp_holding){place != NULL, place, gdp_page_key(f, medium, mix), place ? *place : 0};
}

/* A chain that is known under this hash on any medium, first on `medium`. */
static inline bool gdp_feed_chain(const gdp_kvfeed *f, uint8_t medium, uint64_t mix, uint64_t *chain)
{
    for (uint8_t i = 0; i < GDP_KV_MEDIA; i++) {
        const gdp_holding at = gdp_feed_find(f, (uint8_t)((medium + i) % GDP_KV_MEDIA), mix);
        if (!at.held) continue;
        *chain = at.chain;
        return true;
    }
    return false;
}

/* ----------------------------------------------------- ahead ---------------------------------------------------- */

/* kvfeed_ahead.c: events that come soon are looked at before, so that what they need is in the cache. */
#define GDP_KV_FORESEEN 32u
void gdp_feed_begin(const gdp_kvfeed *f, const gdp_kv_batch *batch);
void gdp_feed_ahead(const gdp_kvfeed *f, const gdp_kv_batch *batch, uint32_t at); /* event `at` is the next */
/* So many removals of one event, from its i-th on. */
void gdp_feed_foresee(const gdp_kvfeed *f, const gdp_kv_batch *batch, const gdp_kv_event *e, uint32_t i);

#endif
