/* arena.c -- see gdp/arena.h: two-level segregated fit in regions of large pages. */
#include "gdp/arena.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define GDP_HIDE(p, bytes) __asan_poison_memory_region(p, bytes)
#define GDP_BARE(p, bytes) __asan_unpoison_memory_region(p, bytes)
#define GDP_OF_FREE __attribute__((no_sanitize_address)) /* reads what stands in free blocks */
#else
#define GDP_HIDE(p, bytes) ((void)(p), (void)(bytes))
#define GDP_BARE(p, bytes) ((void)(p), (void)(bytes))
#define GDP_OF_FREE
#endif

#define GDP_LARGE ((size_t)2 << 20) /* a page, where there are any */
#define GDP_REGION_MIN ((size_t)64 << 10)
#define GDP_BLOCK_MIN 32u
#define GDP_BINS 512u /* up to 2^39 bytes */

#define GDP_WIDE 4096u /* bytes from which on a block lies in the other pool */

enum { FREE = 1, BELOW_FREE = 2, FIRST = 4, WIDE = 8, KEPT = BELOW_FREE | FIRST | WIDE, FLAGS = 15 };

/* `below` is the last word of the block before, and says how large that is, if it is free; else it is that one's. What
 * is taken begins at `next`. The end of a region is a block of no bytes. */
typedef struct gdp_block {
    size_t below, head;
    struct gdp_block *next, *prev; /* of the list, while it is free */
} gdp_block;
#define GDP_HEAD offsetof(gdp_block, next)

typedef struct gdp_region {
    struct gdp_region *next, **at; /* at: what points at it */
    size_t bytes;
    bool mapped;
} gdp_region;
_Static_assert(sizeof(gdp_region) == 32, "blocks are aligned to 16");

/* Small blocks and wide ones keep apart: a small one in the gap that a table left would part it for long. */
typedef struct {
    gdp_region *regions;
    size_t bytes, free_bytes;
    uint64_t filled[GDP_BINS / 64];
    gdp_block *bins[GDP_BINS];
} gdp_pool;

struct gdp_arena {
    gdp_pool small, wide;
};

/* ----------------------------------------------------- blocks --------------------------------------------------- */

GDP_OF_FREE static inline size_t gdp_block_size(const gdp_block *b) { return b->head & ~(size_t)FLAGS; }

static inline gdp_block *gdp_block_at(gdp_block *b, size_t offset)
{
    return (gdp_block *)(void *)((char *)b + offset);
}

/* The list of blocks of `size`: those below 256 bytes by 16s, then 16 to each power of two. */
static inline unsigned gdp_bin_of(size_t size)
{
    const size_t units = size / 16;
    if (units < 16) return (unsigned)units;
    const unsigned power = 63u - (unsigned)__builtin_clzll(units);
    return (power - 3) * 16 + (unsigned)(units >> (power - 4) & 15);
}

/* The first list all of whose blocks have `size`. */
static inline unsigned gdp_bin_above(size_t size)
{
    const size_t units = size / 16;
    if (units < 16) return (unsigned)units;
    const unsigned power = 63u - (unsigned)__builtin_clzll(units);
    return gdp_bin_of(size + (((size_t)16 << (power - 4)) - 16));
}

GDP_OF_FREE static void gdp_block_list(gdp_pool *a, gdp_block *b)
{
    const unsigned bin = gdp_bin_of(gdp_block_size(b));
    b->prev = NULL;
    b->next = a->bins[bin];
    if (b->next) b->next->prev = b;
    a->bins[bin] = b;
    a->filled[bin / 64] |= 1ull << bin % 64;
    a->free_bytes += gdp_block_size(b);
}

GDP_OF_FREE static void gdp_block_unlist(gdp_pool *a, gdp_block *b)
{
    const unsigned bin = gdp_bin_of(gdp_block_size(b));
    if (b->next) b->next->prev = b->prev;
    if (b->prev)
        b->prev->next = b->next;
    else if (!(a->bins[bin] = b->next))
        a->filled[bin / 64] &= ~(1ull << bin % 64);
    a->free_bytes -= gdp_block_size(b);
}

/* A free block of `size`, listed and seen by the next one. Its flags stay. */
GDP_OF_FREE static void gdp_block_free(gdp_pool *a, gdp_block *b, size_t size)
{
    gdp_block *next = gdp_block_at(b, size);
    b->head = size | (b->head & KEPT) | FREE;
    next->below = size;
    next->head |= BELOW_FREE;
    gdp_block_list(a, b);
}

GDP_OF_FREE static gdp_block *gdp_bin_search(const gdp_pool *a, size_t size)
{
    const unsigned bin = gdp_bin_above(size);
    if (bin >= GDP_BINS) return NULL;
    uint64_t filled = a->filled[bin / 64] & ~0ull << bin % 64;
    for (unsigned word = bin / 64; !filled; filled = a->filled[word])
        if (++word == GDP_BINS / 64) return NULL;
        else if (a->filled[word]) return a->bins[word * 64 + (unsigned)__builtin_ctzll(a->filled[word])];
    return a->bins[bin / 64 * 64 + (unsigned)__builtin_ctzll(filled)];
}

/* ----------------------------------------------------- regions -------------------------------------------------- */

/* Aligned to a large page: twice as much is asked for, and what is around it is given back. */
static void *gdp_region_map(size_t bytes)
{
    char *raw = mmap(NULL, bytes + GDP_LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED) return NULL;
    const size_t before = -(uintptr_t)raw & (GDP_LARGE - 1);
    if (before) munmap(raw, before);
    munmap(raw + before + bytes, GDP_LARGE - before);
    (void)madvise(raw + before, bytes, MADV_HUGEPAGE); /* or small ones, where the kernel has no others */
    return raw + before;
}

static size_t gdp_region_size(const gdp_pool *a, size_t need)
{
    const size_t all = need + sizeof(gdp_region) + GDP_HEAD + need / 16; /* the search rounds up */
    size_t bytes = GDP_REGION_MIN;
    if (all > GDP_LARGE / 2 || a->bytes >= GDP_LARGE) {
        const size_t want = all > a->bytes / 8 ? all : a->bytes / 8;
        return (want + GDP_LARGE - 1) & ~(GDP_LARGE - 1);
    }
    while (bytes < all || bytes < a->bytes) bytes *= 2;
    return bytes;
}

GDP_OF_FREE static bool gdp_region_new(gdp_pool *a, size_t need, size_t flags)
{
    const size_t bytes = gdp_region_size(a, need), size = bytes - sizeof(gdp_region) - GDP_HEAD;
    const bool mapped = bytes >= GDP_LARGE;
    gdp_region *r = mapped ? gdp_region_map(bytes) : gdp_resize(NULL, bytes);
    if (!r) return false;
    *r = (gdp_region){a->regions, &a->regions, bytes, mapped};
    if (r->next) r->next->at = &r->next;
    a->regions = r;
    a->bytes += bytes;
    gdp_block *first = (gdp_block *)(void *)(r + 1);
    first->head = FIRST | flags;
    gdp_block_at(first, size)->head = 0;
    gdp_block_free(a, first, size);
    GDP_HIDE(first, size);
    return true;
}

/* Of which nothing is taken. It stays where the arena would have too little left. */
GDP_OF_FREE static void gdp_region_drop(gdp_pool *a, gdp_block *first)
{
    gdp_region *r = (gdp_region *)(void *)first - 1;
    if (a->bytes - r->bytes < GDP_LARGE || a->free_bytes <= a->bytes / 4) return;
    gdp_block_unlist(a, first);
    *r->at = r->next;
    if (r->next) r->next->at = r->at;
    a->bytes -= r->bytes;
    GDP_BARE(r, r->bytes);
    if (r->mapped)
        munmap(r, r->bytes);
    else
        gdp_free(r);
}

/* ------------------------------------------------------ calls --------------------------------------------------- */

gdp_arena *gdp_arena_new(void) { return gdp_alloc(sizeof(gdp_arena)); }

GDP_OF_FREE static void gdp_pool_free(gdp_pool *a)
{
    for (gdp_region *r = a->regions, *next; r; r = next) {
        const gdp_block *first = (gdp_block *)(void *)(r + 1);
        assert(first->head & FREE && gdp_block_size(first) == r->bytes - sizeof *r - GDP_HEAD);
        next = r->next;
        GDP_BARE(r, r->bytes);
        (void)first;
        if (r->mapped)
            munmap(r, r->bytes);
        else
            gdp_free(r);
    }
}

void gdp_arena_free(gdp_arena *a)
{
    if (!a) return;
    gdp_pool_free(&a->small);
    gdp_pool_free(&a->wide);
    gdp_free(a);
}

GDP_OF_FREE static void *gdp_pool_take(gdp_pool *a, size_t bytes, size_t flags)
{
    const size_t size = gdp_arena_cost(bytes);
    gdp_block *b = gdp_bin_search(a, size);
    if (!b) {
        if (!gdp_region_new(a, size, flags)) return NULL;
        b = gdp_bin_search(a, size);
    }
    gdp_block_unlist(a, b);
    const size_t all = gdp_block_size(b), rest = all - size;
    if (rest >= GDP_BLOCK_MIN) {
        gdp_block *upper = gdp_block_at(b, size);
        upper->head = flags;
        gdp_block_free(a, upper, rest);
        b->head = size | (b->head & KEPT);
    } else {
        b->head &= ~(size_t)FREE;
        gdp_block_at(b, all)->head &= ~(size_t)BELOW_FREE;
    }
    GDP_BARE(&b->next, bytes);
    return &b->next;
}

void *gdp_arena_take(gdp_arena *a, size_t bytes)
{
    if (!a) return gdp_resize(NULL, bytes);
    if (gdp_alloc_refused()) return NULL;
    return bytes < GDP_WIDE ? gdp_pool_take(&a->small, bytes, 0) : gdp_pool_take(&a->wide, bytes, WIDE);
}

GDP_OF_FREE static void gdp_pool_give(gdp_pool *a, gdp_block *b)
{
    assert(!(b->head & FREE));
    size_t size = gdp_block_size(b);
    gdp_block *next = gdp_block_at(b, size);
    GDP_HIDE(&b->next, size - sizeof b->head);
    if (next->head & FREE) {
        gdp_block_unlist(a, next);
        size += gdp_block_size(next);
    }
    if (b->head & BELOW_FREE) {
        b = gdp_block_at(b, (size_t)0 - b->below);
        gdp_block_unlist(a, b);
        size += gdp_block_size(b);
    }
    gdp_block_free(a, b, size);
    if (b->head & FIRST && gdp_block_at(b, size)->head == BELOW_FREE) gdp_region_drop(a, b);
}

GDP_OF_FREE void gdp_arena_give(gdp_arena *a, void *p)
{
    if (!a || !p) {
        gdp_free(p);
        return;
    }
    gdp_block *b = gdp_block_at(p, (size_t)0 - GDP_HEAD);
    gdp_pool_give(b->head & WIDE ? &a->wide : &a->small, b);
}

size_t gdp_arena_bytes(const gdp_arena *a) { return a ? a->small.bytes + a->wide.bytes : 0; }
