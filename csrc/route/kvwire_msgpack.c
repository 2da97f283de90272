/* kvwire_msgpack.c -- msgpack: heads by a table of tags, items passed over without descending. */
#include "kvwire_inner.h"

bool gdp_mp_wrong(gdp_reader *r, const char *why)
{
    r->batch->why = why;
    r->batch->at = (uint32_t)(r->p - r->base);
    return false;
}

/* 0xc0 .. 0xdf: what it is, and how many bytes of number follow the tag. Ext heads have a byte of type behind them. */
static const struct {
    uint8_t type, bytes;
} gdp_tags[32] = {
    {MP_NIL, 0},      {0xff, 0},        {MP_BOOL, 0},     {MP_BOOL, 0},
    {MP_BIN, 1},      {MP_BIN, 2},      {MP_BIN, 4},      {MP_EXT, 1},
    {MP_EXT, 2},      {MP_EXT, 4},      {MP_FLOAT, 4},    {MP_FLOAT, 8},
    {MP_UINT, 1},     {MP_UINT, 2},     {MP_UINT, 4},     {MP_UINT, 8},
    {MP_NEGATIVE, 1}, {MP_NEGATIVE, 2}, {MP_NEGATIVE, 4}, {MP_NEGATIVE, 8},
    {MP_EXT, 0},      {MP_EXT, 0},      {MP_EXT, 0},      {MP_EXT, 0},
    {MP_EXT, 0},      {MP_STR, 1},      {MP_STR, 2},      {MP_STR, 4},
    {MP_ARRAY, 2},    {MP_ARRAY, 4},    {MP_MAP, 2},      {MP_MAP, 4},
};

bool gdp_mp_tagged(gdp_reader *r, uint8_t tag, gdp_head *h)
{
    const uint8_t type = gdp_tags[tag - 0xc0].type, bytes = gdp_tags[tag - 0xc0].bytes;
    if (type == 0xff) return gdp_mp_wrong(r, "ReservedByte");
    if (gdp_mp_left(r) < bytes) return gdp_mp_wrong(r, "CutShort");
    h->type = (gdp_mp_type)type;
    h->n = gdp_mp_big_endian(r->p, bytes);
    r->p += bytes;
    if (type == MP_NEGATIVE) { /* signed: extend; a positive one is no different from an unsigned */
        const unsigned shift = 64u - 8u * bytes;
        h->n = (uint64_t)((int64_t)(h->n << shift) >> shift);
        if ((int64_t)h->n >= 0) h->type = MP_UINT;
    } else if (type == MP_EXT) {
        if (bytes == 0) h->n = 1u << (tag - 0xd4); /* fixext 1, 2, 4, 8, 16 */
        h->n += 1;
    } else if (type == MP_FLOAT && bytes == 4) {
        const uint32_t bits = (uint32_t)h->n;
        float narrow;
        memcpy(&narrow, &bits, 4);
        const double wide = (double)narrow;
        memcpy(&h->n, &wide, 8);
    }
    return true;
}

static inline bool gdp_mp_is_bytes(const gdp_head *h)
{
    return h->type == MP_STR || h->type == MP_BIN || h->type == MP_EXT;
}

/* What hangs on a head that was read: items are counted, not descended into, so depth costs nothing. */
bool gdp_mp_skip_rest(gdp_reader *r, gdp_head h)
{
    for (uint64_t left = 1;;) {
        if (gdp_mp_is_bytes(&h)) r->p += h.n;
        if (h.type == MP_ARRAY) left += h.n;
        if (h.type == MP_MAP) left += 2 * h.n;
        if (--left == 0) return true;
        if (!gdp_mp_next(r, &h)) return false;
    }
}

bool gdp_mp_skip(gdp_reader *r)
{
    gdp_head h;
    return gdp_mp_next(r, &h) && gdp_mp_skip_rest(r, h);
}

bool gdp_mp_skip_n(gdp_reader *r, uint64_t n)
{
    while (n-- > 0)
        if (!gdp_mp_skip(r)) return false;
    return true;
}

bool gdp_mp_room(gdp_reader *r, void *field, uint32_t *cap, uint32_t n, uint64_t more, size_t size)
{
    if (GDP_LIKELY(n + more <= *cap)) return true;
    uint64_t want = n + more + n / 2;
    if (want < 64) want = 64;
    void *items;
    memcpy(&items, field, sizeof items);
    items = want > UINT32_MAX ? NULL : gdp_resize(items, want * size);
    if (!items) {
        r->starved = true;
        return false;
    }
    memcpy(field, &items, sizeof items);
    *cap = (uint32_t)want;
    return true;
}
