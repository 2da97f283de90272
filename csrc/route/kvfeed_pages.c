/* kvfeed_pages.c -- hashes held, 12 bytes each: pages of 64 entries or so, see kvfeed.h and kvfeed_inner.h.
 *
 * A page is searched from end to end, four tags at a time: 64 of them are four lines of cache in a row. In return a new
 * entry goes to the end and the last one fills a gap. (Sorted pages, searched by interpolation, read one line and then
 * moved half a page: with 64 workers, whose pages are not in the cache, a store and a removal took 520 ns and not 290.)
 * Pages grow by an eighth and give back what is more than half empty. When they hold 128 on average, all are parted in
 * two; if memory does not suffice for that they just go on growing. */
#include <string.h>

#include "kvfeed_inner.h"

#if defined(__SSE2__) && !defined(GDP_SCALAR)
#define GDP_SSE2 1
#include <emmintrin.h>
#endif

enum { PAGE = 64, PAGE_MOST = 2 * PAGE, BASE_LEAST = 4, BASE_MOST = 20, BITS_MOST = 26, LINE = 64 / sizeof(uint32_t) };

uint8_t gdp_pages_base(uint32_t blocks)
{
    uint8_t base = BASE_LEAST;
    while (base < BASE_MOST && blocks >> base > PAGE) base++;
    return base;
}

static inline gdp_page *gdp_page_of(const gdp_pages *p, uint64_t mix) { return &p->pages[mix >> (64 - p->bits)]; }

static inline uint32_t gdp_page_tag(const gdp_pages *p, uint64_t mix) { return (uint32_t)(mix >> (32 - p->base)); }

/* Where the tag is; n: nowhere. */
static inline uint32_t gdp_page_search(const gdp_page *page, uint32_t tag)
{
    const uint32_t *tags = page->tags, n = page->n;
#ifdef GDP_SSE2
    const __m128i wanted = _mm_set1_epi32((int)tag);
    for (uint32_t i = 0; i < n; i += 4) { /* rooms are made for multiples of four */
        const __m128i four = _mm_loadu_si128((const __m128i *)(const void *)(tags + i));
        const int found = _mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(four, wanted)));
        if (GDP_LIKELY(!found)) continue;
        i += (uint32_t)__builtin_ctz((unsigned)found);
        return i < n ? i : n;
    }
#else
    for (uint32_t i = 0; i < n; i++)
        if (tags[i] == tag) return i;
#endif
    return n;
}

uint64_t *gdp_pages_find(const gdp_pages *p, uint64_t mix)
{
    if (p->n == 0) return NULL;
    const gdp_page *page = gdp_page_of(p, mix);
    if (page->n == 0) return NULL;
    const uint32_t i = gdp_page_search(page, gdp_page_tag(p, mix));
    return i < page->n ? gdp_page_chains(page) + i : NULL;
}

void gdp_pages_far_ahead(const gdp_pages *p, uint64_t mix)
{
    if (p->n > 0) __builtin_prefetch(gdp_page_of(p, mix));
}

void gdp_pages_ahead(const gdp_pages *p, uint64_t mix)
{
    if (p->n == 0) return;
    const gdp_page *page = gdp_page_of(p, mix);
    if (page->n == 0) return;
    for (uint32_t i = 0; i <= page->n; i += LINE) __builtin_prefetch(page->tags + i, 1);
    __builtin_prefetch(gdp_page_chains(page) + page->n, 1);
}

/* ----------------------------------------------------- rooms ---------------------------------------------------- */

/* Another room for a page, of `cap` entries. */
static bool gdp_page_fit(gdp_pages *p, gdp_page *page, uint32_t cap)
{
    gdp_page fit = {.n = page->n, .cap = cap};
    if (cap > 0) {
        fit.tags = gdp_arena_take(p->arena, cap * (sizeof(uint64_t) + sizeof(uint32_t)));
        if (!fit.tags) return false;
    }
    if (page->n > 0) {
        memcpy(fit.tags, page->tags, page->n * sizeof(uint32_t));
        memcpy(gdp_page_chains(&fit), gdp_page_chains(page), page->n * sizeof(uint64_t));
    }
    gdp_arena_give(p->arena, page->tags);
    p->bytes += (size_t)cap * 12;
    p->bytes -= (size_t)page->cap * 12;
    *page = fit;
    return true;
}

static inline uint32_t gdp_page_room(uint32_t n) { return (n + n / 8 + 4) & ~3u; }

static bool gdp_pages_begin(gdp_pages *p, uint8_t base)
{
    const size_t bytes = sizeof(gdp_page) << base;
    p->pages = gdp_arena_take(p->arena, bytes);
    if (!p->pages) return false;
    memset(p->pages, 0, bytes);
    p->base = p->bits = base;
    p->bytes = bytes;
    return true;
}

/* ---------------------------------------------------- doubling -------------------------------------------------- */

/* Entries whose tag has the bit, in a room of their own; the page keeps them until all pages are parted. */
static bool gdp_page_upper(const gdp_pages *p, const gdp_page *page, uint32_t bit, gdp_page *upper)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < page->n; i++) n += (page->tags[i] & bit) != 0;
    *upper = (gdp_page){.cap = n ? gdp_page_room(n) : 0};
    if (n == 0) return true;
    upper->tags = gdp_arena_take(p->arena, (size_t)upper->cap * 12);
    if (!upper->tags) return false;
    for (uint32_t i = 0; i < page->n; i++) {
        if (!(page->tags[i] & bit)) continue;
        upper->tags[upper->n] = page->tags[i];
        gdp_page_chains(upper)[upper->n++] = gdp_page_chains(page)[i];
    }
    return true;
}

static void gdp_page_lower(gdp_page *page, uint32_t bit)
{
    if (page->n == 0) return;
    uint32_t n = 0;
    uint64_t *chains = gdp_page_chains(page);
    for (uint32_t i = 0; i < page->n; i++) {
        if (page->tags[i] & bit) continue;
        page->tags[n] = page->tags[i];
        chains[n++] = chains[i];
    }
    page->n = n;
}

static void gdp_pages_double(gdp_pages *p)
{
    const size_t n = (size_t)1 << p->bits;
    const uint32_t bit = 1u << (31 - (p->bits - p->base));
    gdp_page *pages = gdp_arena_take(p->arena, 2 * n * sizeof *pages);
    if (!pages) return;
    for (size_t i = 0; i < n; i++) {
        pages[2 * i] = p->pages[i];
        if (gdp_page_upper(p, &p->pages[i], bit, &pages[2 * i + 1])) continue;
        while (i-- > 0) gdp_arena_give(p->arena, pages[2 * i + 1].tags);
        gdp_arena_give(p->arena, pages);
        return; /* as it was */
    }
    gdp_arena_give(p->arena, p->pages);
    p->pages = pages;
    p->bits++;
    p->bytes += n * sizeof *pages;
    for (size_t i = 0; i < n; i++) {
        p->bytes += (size_t)pages[2 * i + 1].cap * 12;
        gdp_page_lower(&pages[2 * i], bit);
        gdp_page_fit(p, &pages[2 * i], gdp_page_room(pages[2 * i].n)); /* or it stays as large as it was */
    }
}

/* ---------------------------------------------------- changes --------------------------------------------------- */

bool gdp_pages_put(gdp_pages *p, uint8_t base, uint64_t mix, uint64_t chain)
{
    if (!p->pages && !gdp_pages_begin(p, base)) return false;
    if (GDP_UNLIKELY(p->n >> p->bits >= PAGE_MOST && p->bits < BITS_MOST)) gdp_pages_double(p);
    gdp_page *page = gdp_page_of(p, mix);
    if (page->n == page->cap && !gdp_page_fit(p, page, gdp_page_room(page->n))) return false;
    page->tags[page->n] = gdp_page_tag(p, mix);
    gdp_page_chains(page)[page->n++] = chain;
    p->n++;
    return true;
}

void gdp_pages_take(gdp_pages *p, uint64_t mix, uint64_t *chain)
{
    gdp_page *page = gdp_page_of(p, mix);
    uint64_t *chains = gdp_page_chains(page);
    p->n--;
    page->tags[chain - chains] = page->tags[--page->n];
    *chain = chains[page->n];
    if (page->cap - page->n > page->n / 2 + 16) gdp_page_fit(p, page, page->n ? gdp_page_room(page->n) : 0);
}

uint64_t *gdp_pages_any(gdp_pages *p, uint64_t *mix)
{
    if (p->n == 0) return NULL;
    while (p->pages[p->any &= ((size_t)1 << p->bits) - 1].n == 0) p->any++;
    const gdp_page *page = &p->pages[p->any];
    const uint32_t last = page->n - 1;
    const uint64_t base = p->any >> (p->bits - p->base);
    *mix = (base << 32 | page->tags[last]) << (32 - p->base);
    return gdp_page_chains(page) + last;
}

void gdp_pages_free(gdp_pages *p)
{
    if (p->pages)
        for (size_t i = 0; i < (size_t)1 << p->bits; i++) gdp_arena_give(p->arena, p->pages[i].tags);
    gdp_arena_give(p->arena, p->pages);
    *p = (gdp_pages){.arena = p->arena};
}
