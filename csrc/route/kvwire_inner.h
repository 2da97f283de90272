/* kvwire_inner.h -- the reader of a payload: msgpack heads one after another, and the fields that are made of them.
 *
 * Every function takes the reader, moves it behind what it read, and returns false when that was wrong (or memory
 * ended); the reason is noted where it is found. */
#ifndef GDP_KVWIRE_INNER_H
#define GDP_KVWIRE_INNER_H

#include <string.h>

#include "gdp/kvwire.h"

typedef struct {
    const uint8_t *p, *end, *base;
    gdp_kv_batch *batch;
    bool starved; /* an allocation failed */
} gdp_reader;

/* ---------------------------------------------------- msgpack --------------------------------------------------- */

typedef enum { MP_NIL, MP_BOOL, MP_UINT, MP_NEGATIVE, MP_FLOAT, MP_STR, MP_BIN, MP_ARRAY, MP_MAP, MP_EXT } gdp_mp_type;

/* One head. `n`: the value of an integer (two's complement), the bits of a float, or how many bytes or items follow. */
typedef struct {
    gdp_mp_type type;
    uint64_t n;
} gdp_head;

bool gdp_mp_wrong(gdp_reader *r, const char *why); /* false */
bool gdp_mp_tagged(gdp_reader *r, uint8_t tag, gdp_head *h);
bool gdp_mp_skip_rest(gdp_reader *r, gdp_head h); /* what hangs on a head that was read */
bool gdp_mp_skip(gdp_reader *r);
bool gdp_mp_skip_n(gdp_reader *r, uint64_t n);

static inline size_t gdp_mp_left(const gdp_reader *r) { return (size_t)(r->end - r->p); }

static inline uint64_t gdp_mp_word(const uint8_t *p) /* eight bytes, big-endian */
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static inline uint64_t gdp_mp_big_endian(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    if (bytes == 8) return gdp_mp_word(p);
    for (unsigned i = 0; i < bytes; i++) v = v << 8 | p[i];
    return v;
}

/* The next head. What it claims to contain fits into what is left: an item takes a byte at least. */
static inline bool gdp_mp_next(gdp_reader *r, gdp_head *h)
{
    if (GDP_UNLIKELY(r->p == r->end)) return gdp_mp_wrong(r, "CutShort");
    const uint8_t tag = *r->p++;
    if (tag < 0x80) {
        *h = (gdp_head){MP_UINT, tag};
    } else if (tag >= 0xe0) {
        *h = (gdp_head){MP_NEGATIVE, (uint64_t)(int64_t)(int8_t)tag};
    } else if (tag >= 0xc0) {
        if (!gdp_mp_tagged(r, tag, h)) return false;
    } else if (tag >= 0xa0) {
        *h = (gdp_head){MP_STR, tag & 0x1fu};
    } else {
        *h = (gdp_head){tag >= 0x90 ? MP_ARRAY : MP_MAP, tag & 0xfu};
    }
    if (h->type < MP_STR) return true;
    if (h->n > gdp_mp_left(r) >> (h->type == MP_MAP)) return gdp_mp_wrong(r, "CutShort");
    return true;
}

static inline gdp_span gdp_mp_take(gdp_reader *r, const gdp_head *h)
{
    const gdp_span s = {(uint32_t)(r->p - r->base), (uint32_t)h->n};
    r->p += h->n;
    return s;
}

/* Room for `more` behind the first n of the items that the pointer at `field` points to; the room grows by half. */
bool gdp_mp_room(gdp_reader *r, void *field, uint32_t *cap, uint32_t n, uint64_t more, size_t size);

#define GDP_ROOM(r, field, more)                                                                  \
    gdp_mp_room(r, &(r)->batch->field, &(r)->batch->field##_cap, (r)->batch->n_##field, more,     \
                sizeof *(r)->batch->field)

/* ---------------------------------------------------- fields ---------------------------------------------------- */

/* memcmp() of a length that is not known before it is called costs more than a field does. */
static inline bool gdp_kv_same(const void *a, const char *b, size_t len)
{
    const char *p = a;
    uint64_t x, y;
    if (len < 8) {
        for (size_t i = 0; i < len; i++)
            if (p[i] != b[i]) return false;
        return true;
    }
    for (size_t at = 0;; at = at + 16 <= len ? at + 8 : len - 8) {
        memcpy(&x, p + at, 8);
        memcpy(&y, b + at, 8);
        if (x != y) return false;
        if (at + 8 == len) return true;
    }
}

static inline bool gdp_kv_spells(const gdp_reader *r, gdp_span s, const char *word)
{
    return s.len == strlen(word) && gdp_kv_same(r->base + s.off, word, s.len);
}

bool gdp_kv_number(gdp_reader *r, uint64_t most, const char *why, uint64_t *out); /* 0 .. most, or nil: *out stays */
bool gdp_kv_text(gdp_reader *r, const char *why, gdp_span *out);                  /* a string, or nil: empty */

typedef bool gdp_kv_field_fn(gdp_reader *r, gdp_kv_event *e);

gdp_kv_field_fn gdp_kv_hashes, gdp_kv_extra_keys;

/* The reader of a field of a map; *hint, which begins as GDP_KV_HINT, says where the next one is looked for first. One
 * of a name that we do not know is passed over. */
#define GDP_KV_HINT SIZE_MAX
gdp_kv_field_fn *gdp_kv_field_named(const gdp_reader *r, gdp_span name, size_t *hint);

/* What stands at place 1, 2, ... of an array event, and how many places are known. */
gdp_kv_field_fn *const *gdp_kv_places(uint8_t kind, uint64_t *known);

#endif
