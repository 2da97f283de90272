/* kvfeed_pages.c -- hashes held, 12 bytes each: sorted pages of 64 entries or so, see kvfeed.h and kvfeed_inner.h.
 *
 * A find reads a tag or two next to where it should be, and one chain; an insert moves half a page, 400 bytes. Pages
 * grow by an eighth and give back what is more than half empty. When they hold 128 on average, all are cut in two; if
 * memory does not suffice for that they just go on growing. */
#include <string.h>

#include "kvfeed_inner.h"

enum { PAGE = 64, PAGE_MOST = 2 * PAGE, BASE_LEAST = 4, BASE_MOST = 20, BITS_MOST = 26 };

typedef struct {
    gdp_page *page;
    uint32_t tag, guess;
} gdp_spot;

uint8_t gdp_pages_base(uint32_t blocks)
{
    uint8_t base = BASE_LEAST;
    while (base < BASE_MOST && blocks >> base > PAGE) base++;
    return base;
}

static inline gdp_spot gdp_spot_of(const gdp_pages *p, uint64_t mix)
{
    gdp_page *page = &p->pages[mix >> (64 - p->bits)];
    const uint64_t share = (uint32_t)(mix >> (32 - p->bits)); /* of the page's range of tags, in 2^-32 */
    return (gdp_spot){page, (uint32_t)(mix >> (32 - p->base)), (uint32_t)(share * page->n >> 32)};
}

/* Where the tag is, or would be. */
static inline uint32_t gdp_page_search(gdp_spot s)
{
    if (s.page->n == 0) return 0;
    const uint32_t *tags = gdp_page_tags(s.page);
    uint32_t i = s.guess;
    while (i < s.page->n && tags[i] < s.tag) i++;
    while (i > 0 && tags[i - 1] >= s.tag) i--;
    return i;
}

uint64_t *gdp_pages_find(const gdp_pages *p, uint64_t mix)
{
    if (p->n == 0) return NULL;
    const gdp_spot s = gdp_spot_of(p, mix);
    const uint32_t i = gdp_page_search(s);
    return i < s.page->n && gdp_page_tags(s.page)[i] == s.tag ? &s.page->chains[i] : NULL;
}

void gdp_pages_ahead(const gdp_pages *p, uint64_t mix)
{
    if (p->n == 0) return;
    const gdp_spot s = gdp_spot_of(p, mix);
    if (!s.page->cap) return;
    __builtin_prefetch(gdp_page_tags(s.page) + s.guess, 1);
    __builtin_prefetch(s.page->chains + s.guess, 1);
}

/* ----------------------------------------------------- rooms ---------------------------------------------------- */

/* Another room for a page, of `cap` entries. */
static bool gdp_page_fit(gdp_pages *p, gdp_page *page, uint32_t cap)
{
    gdp_page fit = {.n = page->n, .cap = cap};
    if (cap > 0) {
        fit.chains = gdp_resize(NULL, cap * (sizeof(uint64_t) + sizeof(uint32_t)));
        if (!fit.chains) return false;
    }
    if (page->n > 0) {
        memcpy(fit.chains, page->chains, page->n * sizeof(uint64_t));
        memcpy(gdp_page_tags(&fit), gdp_page_tags(page), page->n * sizeof(uint32_t));
    }
    gdp_free(page->chains);
    p->bytes += (size_t)cap * 12;
    p->bytes -= (size_t)page->cap * 12;
    *page = fit;
    return true;
}

static inline uint32_t gdp_page_room(uint32_t n) { return n + n / 8 + 3; }

static bool gdp_pages_begin(gdp_pages *p, uint8_t base)
{
    const size_t bytes = sizeof(gdp_page) << base;
    p->pages = gdp_alloc(bytes);
    if (!p->pages) return false;
    p->base = p->bits = base;
    p->bytes = bytes;
    return true;
}

/* ---------------------------------------------------- doubling -------------------------------------------------- */

/* The upper part of a page, from entry `from` on, in a room of its own. */
static bool gdp_page_upper(const gdp_page *page, uint32_t from, gdp_page *upper)
{
    const uint32_t n = page->n - from;
    *upper = (gdp_page){.n = n, .cap = n ? gdp_page_room(n) : 0};
    if (n == 0) return true;
    upper->chains = gdp_resize(NULL, (size_t)upper->cap * 12);
    if (!upper->chains) return false;
    memcpy(upper->chains, page->chains + from, n * sizeof(uint64_t));
    memcpy(gdp_page_tags(upper), gdp_page_tags(page) + from, n * sizeof(uint32_t));
    return true;
}

static uint32_t gdp_page_cut(const gdp_page *page, uint32_t bit)
{
    uint32_t low = 0, high = page->n;
    while (low < high) {
        const uint32_t mid = (low + high) / 2;
        if (gdp_page_tags(page)[mid] & bit)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

static void gdp_pages_double(gdp_pages *p)
{
    const size_t n = (size_t)1 << p->bits;
    const uint32_t bit = 1u << (31 - (p->bits - p->base));
    gdp_page *pages = gdp_resize(NULL, 2 * n * sizeof *pages);
    if (!pages) return;
    for (size_t i = 0; i < n; i++) {
        pages[2 * i] = p->pages[i];
        if (gdp_page_upper(&p->pages[i], gdp_page_cut(&p->pages[i], bit), &pages[2 * i + 1])) continue;
        while (i-- > 0) gdp_free(pages[2 * i + 1].chains);
        gdp_free(pages);
        return; /* as it was */
    }
    gdp_free(p->pages);
    p->pages = pages;
    p->bits++;
    p->bytes += n * sizeof *pages;
    for (size_t i = 0; i < n; i++) {
        p->bytes += (size_t)pages[2 * i + 1].cap * 12;
        pages[2 * i].n -= pages[2 * i + 1].n;
        gdp_page_fit(p, &pages[2 * i], gdp_page_room(pages[2 * i].n)); /* or it stays as large as it was */
    }
}

/* ---------------------------------------------------- changes --------------------------------------------------- */

bool gdp_pages_put(gdp_pages *p, uint8_t base, uint64_t mix, uint64_t chain)
{
    if (!p->pages && !gdp_pages_begin(p, base)) return false;
    if (GDP_UNLIKELY(p->n >> p->bits >= PAGE_MOST && p->bits < BITS_MOST)) gdp_pages_double(p);
    const gdp_spot s = gdp_spot_of(p, mix);
    gdp_page *page = s.page;
    if (page->n == page->cap && !gdp_page_fit(p, page, gdp_page_room(page->n))) return false;
    uint32_t *tags = gdp_page_tags(page);
    const uint32_t i = gdp_page_search(s), above = page->n - i;
    memmove(tags + i + 1, tags + i, above * sizeof *tags);
    memmove(page->chains + i + 1, page->chains + i, above * sizeof *page->chains);
    tags[i] = s.tag;
    page->chains[i] = chain;
    page->n++;
    p->n++;
    return true;
}

void gdp_pages_take(gdp_pages *p, uint64_t mix)
{
    const gdp_spot s = gdp_spot_of(p, mix);
    gdp_page *page = s.page;
    uint32_t *tags = gdp_page_tags(page);
    const uint32_t i = gdp_page_search(s), above = page->n - i - 1;
    memmove(tags + i, tags + i + 1, above * sizeof *tags);
    memmove(page->chains + i, page->chains + i + 1, above * sizeof *page->chains);
    page->n--;
    p->n--;
    if (page->cap - page->n > page->n / 2 + 16) gdp_page_fit(p, page, page->n ? gdp_page_room(page->n) : 0);
}

bool gdp_pages_any(gdp_pages *p, uint64_t *mix, uint64_t *chain)
{
    if (p->n == 0) return false;
    while (p->pages[p->any &= ((size_t)1 << p->bits) - 1].n == 0) p->any++;
    const gdp_page *page = &p->pages[p->any];
    const uint32_t last = page->n - 1; /* nothing moves when it goes */
    const uint64_t base = p->any >> (p->bits - p->base);
    *mix = (base << 32 | gdp_page_tags(page)[last]) << (32 - p->base);
    *chain = page->chains[last];
    return true;
}

void gdp_pages_free(gdp_pages *p)
{
    if (p->pages)
        for (size_t i = 0; i < (size_t)1 << p->bits; i++) gdp_free(p->pages[i].chains);
    gdp_free(p->pages);
    *p = (gdp_pages){0};
}
