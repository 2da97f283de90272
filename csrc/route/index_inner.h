/* index_inner.h -- the prefix index from inside: three kinds of memory, one file each.
 *
 *     index_table.c    names -> (segment, depth), in shards
 *     index_cover.c    who holds a segment: immutable, interned
 *     index_segment.c  segments: their lists, birth, holders, splits, death
 *     index.c          memory; forgetting at the cap; clearing; what is put off
 *     index_store.c    what a worker's events do to them
 *     index_match.c    what readers do
 *
 * What readers rely on, since they take no lock:
 *
 *   - a segment's start only ever rises (splits), and its end rises, then falls, and never rises again: a segment that
 *     shrank is sealed. Its end is 0 once it died; (parent, start) stay right until no name points at it;
 *   - so of (end, cover, end, up), read in this order, the cover was right for [start, the smaller end) when it was read;
 *   - a bit in a cover means the whole segment. It is extended only by the one who alone has a bit in it. */
#ifndef GDP_INDEX_INNER_H
#define GDP_INDEX_INNER_H

#include "epoch.h"
#include "gdp/index.h"

#define GDP_FULL UINT32_MAX /* cutoff: the whole segment, as a bit; never of predictions */
#define GDP_WORDS (GDP_INDEX_SLOTS / 64)
#define GDP_DENSE 3u /* media with one bit per slot; predictions are entries */
#define GDP_SHARDS_MAX 256u
#define GDP_CHUNK 512u /* segments that are allocated at once */
#define GDP_DEPTH_MAX 0x7fffffffu

/* ---------------------------------------------------- covers ---------------------------------------------------- */

typedef struct {
    uint16_t slot;
    uint8_t medium, unused;
    uint32_t cutoff;  /* holds the depths below it; one at or before the segment's start says nothing */
    uint32_t expires; /* of a prediction */
} gdp_entry_held;

typedef struct gdp_cover {
    gdp_retired head;       /* `next` chains equal hashes while it is interned */
    uint64_t hash;
    uint32_t refs;          /* segments; the writer's */
    uint32_t n_entries;
    uint16_t base, words;   /* bits of slots 64 * base .. 64 * (base + words) */
    uint8_t dense;          /* which media have bits */
    uint8_t media;          /* which media occur at all */
    bool interned;
    uint64_t bits[];        /* words for each medium in `dense`, in order; then the entries */
} gdp_cover;

static inline const uint64_t *gdp_cover_bits(const gdp_cover *c, unsigned medium)
{
    if (!(c->dense >> medium & 1)) return NULL;
    return c->bits + (size_t)c->words * (unsigned)__builtin_popcount(c->dense & ((1u << medium) - 1));
}

static inline const gdp_entry_held *gdp_cover_entries(const gdp_cover *c)
{
    return (const gdp_entry_held *)(const void *)(c->bits + (size_t)c->words * (unsigned)__builtin_popcount(c->dense));
}

/* A cover being made. Words outside lo..hi are not valid. */
typedef struct {
    uint32_t lo, hi; /* words */
    uint64_t bits[GDP_DENSE][GDP_WORDS];
    gdp_entry_held *entries;
    uint32_t n_entries, room;
} gdp_draft;

/* ---------------------------------------------------- segments -------------------------------------------------- */

typedef struct {
    _Alignas(64) _Atomic uint64_t up; /* parent << 32 | start */
    _Atomic(gdp_cover *) cover;       /* NULL: nobody */
    _Atomic uint32_t end;             /* 0: dead */
    _Atomic uint32_t touched;         /* second of the last store or lookup */
    _Atomic uint32_t scrubbed;        /* clearings up to this number are done here */
    uint32_t children;
    bool sealed;                      /* it shrank: names behind its end may still point at it, so it is not extended */
    uint32_t listed;                  /* touched, when it was put into the list */
    uint32_t older, newer;            /* leaves by age, or the dead; 0: none */
    uint32_t list;                    /* 0: in none; else 1 + gdp_list */
    uint64_t died;                    /* the copy of a shard that was under way, once dead; then the epoch */
} gdp_segment;
_Static_assert(sizeof(gdp_segment) == 64, "a segment is a cache line");

typedef enum { GDP_LEAVES, GDP_SOFT_LEAVES, GDP_DEAD, GDP_RESTING, GDP_FREE, GDP_LISTS } gdp_list;

typedef struct {
    uint32_t oldest, newest, n;
} gdp_chain_of_segments;

/* ---------------------------------------------------- names ----------------------------------------------------- */

typedef struct {
    _Atomic uint64_t name;  /* 0: empty; never changes in a table's life */
    _Atomic uint64_t place; /* segment << 32 | depth; 0: nowhere */
} gdp_name;

typedef struct {
    gdp_retired head;
} gdp_table;

typedef struct {
    gdp_table *table;
    gdp_name *names;
    uint32_t size, used;
    uint64_t copied; /* number of the copy that made it */
    uint64_t deaths; /* of blocks, when it was copied */
} gdp_shard;

/* ---------------------------------------------------- clearings ------------------------------------------------- */

typedef struct {
    uint32_t slot, number;
} gdp_clearing;

/* Cleared slots whose leftovers are still about. Immutable, swapped. */
typedef struct {
    gdp_retired head;
    uint32_t n, newest;
    gdp_clearing of[];
} gdp_clearings;

/* The pass over all segments that does what was put off. */
typedef struct {
    bool running;
    uint32_t at;             /* the next segment */
    uint32_t number;         /* clearings up to this one are done when the pass ends */
    uint32_t next_s, soon_s; /* when the next prediction ends: known before this pass, and found by it */
    uint32_t begun_s;
} gdp_scan;

struct gdp_index {
    void *raw;
    gdp_arena *arena;
    _Atomic uint64_t shards[GDP_SHARDS_MAX]; /* names, aligned to 256, | size class: what readers need of a shard */
    unsigned shift;                          /* 64 - log2(shards) */
    unsigned n_shards;
    _Atomic(gdp_segment *) *chunks;
    _Atomic(gdp_clearings *) clearings;
    gdp_epoch epoch;

    /* The writer's own. */
    gdp_shard shard[GDP_SHARDS_MAX];
    uint32_t n_chunks, chunks_max, n_segments; /* segment 0 is the root */
    gdp_chain_of_segments lists[GDP_LISTS];
    gdp_cover **interned;
    uint32_t interned_size;
    gdp_draft draft;
    uint32_t storing;        /* the segment that is being worked on: not evicted, and names being put into it are kept */
    uint32_t clear_number;   /* of the newest clearing */
    gdp_scan scan;
    uint64_t n_copies, copied_all, copied_known;
    uint64_t deaths, used;   /* blocks that died, names in all shards */
    uint64_t capacity;       /* ... and places for them */
    uint64_t soft_max;       /* blocks that only predictions hold */
    uint64_t sweep_credit;
    gdp_index_stats count;
};

struct gdp_index_reader {
    gdp_seat seat;
};

static inline gdp_segment *gdp_at(const gdp_index *x, uint32_t id)
{
    return &atomic_load_explicit(&x->chunks[id / GDP_CHUNK], memory_order_acquire)[id % GDP_CHUNK];
}

static inline uint32_t gdp_start(uint64_t up) { return (uint32_t)up; }
static inline uint32_t gdp_parent(uint64_t up) { return (uint32_t)(up >> 32); }
static inline uint64_t gdp_pair(uint32_t high, uint32_t low) { return (uint64_t)high << 32 | low; }

/* The writer reads its own writes. */
#define GDP_OWN(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define GDP_SHOW(field, value) atomic_store_explicit(&(field), (value), memory_order_release)

/* index.c */
void *gdp_index_take(gdp_index *x, size_t bytes, size_t spare); /* not zeroed; NULL past the cap less `spare` */
void *gdp_index_zeroed(gdp_index *x, size_t bytes, size_t spare);
void gdp_index_give(gdp_index *x, void *p, size_t bytes);
void gdp_index_collect(gdp_index *x);
bool gdp_index_evict(gdp_index *x); /* one leaf; false: there is none */
bool gdp_index_evict_soft(gdp_index *x);
void gdp_index_make_room(gdp_index *x, size_t blocks); /* before an operation that may bring so many new ones */

/* index_table.c */
static inline uint32_t gdp_table_size(unsigned class) { return (16u + (class & 15u)) << (class >> 4) << 2; }
#define GDP_SPREAD 0x9E3779B97F4A7C15u

/* Where the search for a name begins in a table: at a line of four names, in the order of what is left of the hash. */
static inline uint32_t gdp_name_home(const gdp_index *x, uint64_t name, uint32_t size)
{
    return (uint32_t)(((unsigned __int128)(name * GDP_SPREAD << (64 - x->shift)) * (size / 4)) >> 64) * 4;
}

static inline gdp_name *gdp_name_slot(const gdp_index *x, uint64_t name)
{
    const uint64_t shard = atomic_load(&x->shards[name * GDP_SPREAD >> x->shift]);
    return (gdp_name *)(uintptr_t)(shard & ~(uint64_t)255) + gdp_name_home(x, name, gdp_table_size(shard & 255u));
}

/* Where a name is; 0 when it is nowhere. For readers, too. */
static inline uint64_t gdp_name_find(const gdp_index *x, uint64_t name)
{
    const uint64_t shard = atomic_load(&x->shards[name * GDP_SPREAD >> x->shift]);
    const uint32_t size = gdp_table_size(shard & 255u);
    gdp_name *const names = (gdp_name *)(uintptr_t)(shard & ~(uint64_t)255);
    for (uint32_t at = gdp_name_home(x, name, size);;) {
        const uint64_t there = atomic_load_explicit(&names[at].name, memory_order_acquire);
        if (there == name) return atomic_load(&names[at].place);
        if (!there) return 0;
        if (++at == size) at = 0;
    }
}

bool gdp_names_init(gdp_index *x);
void gdp_names_free(gdp_index *x);
/* 0, GDP_NOMEM, or GDP_BAD: the name is alive already, or stands in `segment` from `since` on. */
int gdp_name_put(gdp_index *x, uint64_t name, uint32_t segment, uint32_t depth, uint32_t since);
/* Where a living block is, after climbing; false: not alive. Sets the name right in passing. */
bool gdp_name_alive(gdp_index *x, uint64_t name, uint32_t *segment, uint32_t *depth);
bool gdp_names_copy(gdp_index *x, unsigned shard, bool grow);
bool gdp_names_sweep(gdp_index *x); /* copies the shard that waited longest */
bool gdp_table_grows(const gdp_index *x); /* is there memory for larger tables? */
void gdp_name_fetch(const gdp_index *x, uint64_t name); /* into the cache */

/* index_cover.c */
uint32_t gdp_cover_cutoff(const gdp_cover *c, uint32_t slot, unsigned medium, uint32_t *expires); /* 0: none */
/* Holds all of it, and nobody else has a bit in it. */
bool gdp_cover_alone(const gdp_cover *c, uint32_t slot, unsigned medium, uint32_t end);
uint32_t gdp_cover_top(const gdp_cover *c, uint32_t end); /* the first depth that nobody holds */
void gdp_draft_load(gdp_index *x, const gdp_cover *c);
bool gdp_draft_set(gdp_index *x, uint32_t slot, unsigned medium, uint32_t cutoff, uint32_t expires);
bool gdp_draft_cover(gdp_index *x, gdp_cover **out); /* takes a reference */
void gdp_cover_keep(gdp_cover *c);
void gdp_cover_drop(gdp_index *x, gdp_cover *c);

void gdp_covers_free(gdp_index *x);

/* index_segment.c */
uint32_t gdp_segment_new(gdp_index *x, uint32_t parent, uint32_t start, uint32_t now_s); /* 0: no memory; end = 0 */
void gdp_segment_unmake(gdp_index *x, uint32_t id);                    /* one that nobody ever saw */
void gdp_segment_publish(gdp_index *x, uint32_t id, uint32_t end);    /* gives it its end, and its place in a list */
void gdp_segment_end(gdp_index *x, uint32_t id, uint32_t end);
uint32_t gdp_segment_split(gdp_index *x, uint32_t id, uint32_t at);   /* the new upper part; 0: no memory */
void gdp_segment_cover(gdp_index *x, uint32_t id, gdp_cover *cover);  /* takes over the reference */
bool gdp_segment_hold(gdp_index *x, uint32_t id, uint32_t slot, unsigned medium, uint32_t cutoff, uint32_t expires);
void gdp_segment_scrub(gdp_index *x, uint32_t id);
uint32_t gdp_segment_expire(gdp_index *x, uint32_t id, uint32_t now_s); /* when the next of its predictions ends */
void gdp_segment_clear(gdp_index *x, uint32_t id, uint32_t slot);
/* Forgets the last block, where the slot alone holds all; how engines evict, so it is worth a way of its own. */
bool gdp_segment_pop(gdp_index *x, uint32_t id, uint32_t slot, unsigned medium);
void gdp_segment_lower(gdp_index *x, uint32_t id, uint32_t slot, unsigned medium, uint32_t cutoff); /* always can */
bool gdp_segments_init(gdp_index *x);
void gdp_segments_free(gdp_index *x);
bool gdp_segments_scarce(const gdp_index *x); /* no memory for more, and too few on their way back to use */
void gdp_segment_tidy(gdp_index *x, uint32_t id); /* forgets what nobody holds at its end, and so on upwards */
void gdp_segment_kill(gdp_index *x, uint32_t id);
void gdp_list_remove(gdp_index *x, uint32_t id);
void gdp_list_append(gdp_index *x, uint32_t id, gdp_list list);

#endif
