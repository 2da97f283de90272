/* kvfeed_side.c -- a small map for what is rare: copies, hashes that meet, second names of a block, parents awaited. */
#include "kvfeed_inner.h"

static inline uint32_t gdp_side_home(const gdp_side *s, uint64_t key)
{
    return (uint32_t)((key ^ key >> 32) * 0x9e3779b97f4a7c15u >> 32) & s->mask;
}

/* The cell of a key, or the empty one where it would be. There is always an empty one. */
static uint32_t gdp_side_seek(const gdp_side *s, uint64_t key)
{
    uint32_t at = gdp_side_home(s, key);
    while (s->cells[at].value && s->cells[at].key != key) at = (at + 1) & s->mask;
    return at;
}

uint64_t gdp_side_get(const gdp_side *s, uint64_t key) { return s->n ? s->cells[gdp_side_seek(s, key)].value : 0; }

static bool gdp_side_resize(gdp_side *s, uint32_t cells)
{
    gdp_side wide = {.cells = gdp_alloc(cells * sizeof *s->cells), .n = s->n, .mask = cells - 1};
    if (!wide.cells) return false;
    for (uint32_t i = 0; s->cells && i <= s->mask; i++)
        if (s->cells[i].value) wide.cells[gdp_side_seek(&wide, s->cells[i].key)] = s->cells[i];
    gdp_free(s->cells);
    *s = wide;
    return true;
}

/* Closes the hole: what stands behind it and could stand in it moves up. */
static void gdp_side_take(gdp_side *s, uint32_t hole)
{
    s->n--;
    for (uint32_t at = hole;;) {
        at = (at + 1) & s->mask;
        if (!s->cells[at].value) break;
        const uint32_t home = gdp_side_home(s, s->cells[at].key);
        if (((at - home) & s->mask) < ((at - hole) & s->mask)) continue;
        s->cells[hole] = s->cells[at];
        hole = at;
    }
    s->cells[hole].value = 0;
    if (s->n == 0) gdp_side_free(s);
    else if (s->mask > 63 && s->n < s->mask / 8) gdp_side_resize(s, (s->mask + 1) / 4);
}

bool gdp_side_set(gdp_side *s, uint64_t key, uint64_t value)
{
    if (value && (!s->cells || s->n >= s->mask / 4 * 3))
        if (!gdp_side_resize(s, s->cells ? 2 * (s->mask + 1) : 16) && (!s->cells || s->n >= s->mask)) return false;
    if (!s->cells) return true;
    const uint32_t at = gdp_side_seek(s, key);
    const bool there = s->cells[at].value != 0;
    if (value) {
        s->cells[at] = (struct gdp_side_cell){key, value};
        s->n += !there;
    } else if (there) {
        gdp_side_take(s, at);
    }
    return true;
}

size_t gdp_side_bytes(const gdp_side *s) { return s->cells ? (s->mask + (size_t)1) * sizeof *s->cells : 0; }

void gdp_side_free(gdp_side *s)
{
    gdp_free(s->cells);
    *s = (gdp_side){0};
}
