/* kvwire.c -- see kvwire.h. From the bottom up: msgpack heads, values, fields, events, the batch.
 *
 * Every function takes the reader, moves it behind what it read, and returns false when that was wrong (or memory ended);
 * the reason is noted where it is found. The loop over token ids is what the time goes into: ids are 1, 2, 3 or 5 bytes,
 * mostly 3, and the branches are ordered so. */
#include "gdp/kvwire.h"

#include <string.h>
#include <strings.h>

typedef struct {
    const uint8_t *p, *end, *base;
    gdp_kv_batch *batch;
    bool starved; /* an allocation failed */
} gdp_reader;

static bool gdp_wrong(gdp_reader *r, const char *why)
{
    r->batch->why = why;
    r->batch->at = (uint32_t)(r->p - r->base);
    return false;
}

/* ---------------------------------------------------- msgpack --------------------------------------------------- */

typedef enum { MP_NIL, MP_BOOL, MP_UINT, MP_NEGATIVE, MP_FLOAT, MP_STR, MP_BIN, MP_ARRAY, MP_MAP, MP_EXT } gdp_mp_type;

/* One head. `n`: the value of an integer (two's complement), the bits of a float, or how many bytes or items follow. */
typedef struct {
    gdp_mp_type type;
    uint64_t n;
} gdp_head;

static inline size_t gdp_left(const gdp_reader *r) { return (size_t)(r->end - r->p); }

static uint64_t gdp_big_endian(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++) v = v << 8 | p[i];
    return v;
}

/* 0xc0 .. 0xdf: what it is, and how many bytes of number follow the tag. Ext heads have a byte of type behind them. */
static const struct {
    uint8_t type, bytes;
} gdp_tags[32] = {
    {MP_NIL, 0},   {0xff, 0},     {MP_BOOL, 0},  {MP_BOOL, 0},     {MP_BIN, 1},      {MP_BIN, 2},
    {MP_BIN, 4},   {MP_EXT, 1},   {MP_EXT, 2},   {MP_EXT, 4},      {MP_FLOAT, 4},    {MP_FLOAT, 8},
    {MP_UINT, 1},  {MP_UINT, 2},  {MP_UINT, 4},  {MP_UINT, 8},     {MP_NEGATIVE, 1}, {MP_NEGATIVE, 2},
    {MP_NEGATIVE, 4}, {MP_NEGATIVE, 8}, {MP_EXT, 0}, {MP_EXT, 0},  {MP_EXT, 0},      {MP_EXT, 0},
    {MP_EXT, 0},   {MP_STR, 1},   {MP_STR, 2},   {MP_STR, 4},      {MP_ARRAY, 2},    {MP_ARRAY, 4},
    {MP_MAP, 2},   {MP_MAP, 4},
};

static bool gdp_tagged(gdp_reader *r, uint8_t tag, gdp_head *h)
{
    const uint8_t type = gdp_tags[tag - 0xc0].type, bytes = gdp_tags[tag - 0xc0].bytes;
    if (type == 0xff) return gdp_wrong(r, "ReservedByte");
    if (gdp_left(r) < bytes) return gdp_wrong(r, "CutShort");
    h->type = (gdp_mp_type)type;
    h->n = gdp_big_endian(r->p, bytes);
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

/* The next head. What it claims to contain fits into what is left: an item takes a byte at least. */
static inline bool gdp_next(gdp_reader *r, gdp_head *h)
{
    if (GDP_UNLIKELY(r->p == r->end)) return gdp_wrong(r, "CutShort");
    const uint8_t tag = *r->p++;
    if (tag < 0x80) {
        *h = (gdp_head){MP_UINT, tag};
    } else if (tag >= 0xe0) {
        *h = (gdp_head){MP_NEGATIVE, (uint64_t)(int64_t)(int8_t)tag};
    } else if (tag >= 0xc0) {
        if (!gdp_tagged(r, tag, h)) return false;
    } else if (tag >= 0xa0) {
        *h = (gdp_head){MP_STR, tag & 0x1fu};
    } else {
        *h = (gdp_head){tag >= 0x90 ? MP_ARRAY : MP_MAP, tag & 0xfu};
    }
    if (h->type < MP_STR) return true;
    if (h->n > gdp_left(r) >> (h->type == MP_MAP)) return gdp_wrong(r, "CutShort");
    return true;
}

static inline bool gdp_is_bytes(const gdp_head *h)
{
    return h->type == MP_STR || h->type == MP_BIN || h->type == MP_EXT;
}

static inline gdp_span gdp_take(gdp_reader *r, const gdp_head *h)
{
    const gdp_span s = {(uint32_t)(r->p - r->base), (uint32_t)h->n};
    r->p += h->n;
    return s;
}

/* What hangs on a head that was read: items are counted, not descended into, so depth costs nothing. */
static bool gdp_skip_rest(gdp_reader *r, gdp_head h)
{
    for (uint64_t left = 1;;) {
        if (gdp_is_bytes(&h)) r->p += h.n;
        if (h.type == MP_ARRAY) left += h.n;
        if (h.type == MP_MAP) left += 2 * h.n;
        if (--left == 0) return true;
        if (!gdp_next(r, &h)) return false;
    }
}

static bool gdp_skip(gdp_reader *r)
{
    gdp_head h;
    return gdp_next(r, &h) && gdp_skip_rest(r, h);
}

static bool gdp_skip_n(gdp_reader *r, uint64_t n)
{
    while (n-- > 0)
        if (!gdp_skip(r)) return false;
    return true;
}

/* ---------------------------------------------------- arrays ---------------------------------------------------- */

/* Room for `more` behind the first n of the items that the pointer at `field` points to; the room grows by half. */
static bool gdp_room(gdp_reader *r, void *field, uint32_t *cap, uint32_t n, uint64_t more, size_t size)
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

#define GDP_ROOM(r, field, more)                                                                  \
    gdp_room(r, &(r)->batch->field, &(r)->batch->field##_cap, (r)->batch->n_##field, more,        \
             sizeof *(r)->batch->field)

/* ---------------------------------------------------- values ---------------------------------------------------- */

static bool gdp_hash_value(gdp_reader *r, const gdp_head *h, gdp_kv_hash *out)
{
    if (h->type == MP_UINT || h->type == MP_NEGATIVE) {
        *out = (gdp_kv_hash){h->n, 0};
        return true;
    }
    if (h->type != MP_BIN || h->n == 0) return gdp_wrong(r, "NotAHash");
    *out = (gdp_kv_hash){0, 0};
    for (size_t at = 0; at < h->n; at += 16) { /* 16 bytes at a time, the pieces over each other */
        const size_t rest = h->n - at < 16 ? (size_t)h->n - at : 16, high = rest > 8 ? rest - 8 : 0;
        out->hi ^= gdp_big_endian(r->p + at, (unsigned)high);
        out->lo ^= gdp_big_endian(r->p + at + high, (unsigned)(rest - high));
    }
    r->p += h->n;
    return true;
}

static bool gdp_hashes(gdp_reader *r, gdp_kv_event *e)
{
    gdp_kv_batch *b = r->batch;
    gdp_head h;
    if (!gdp_next(r, &h)) return false;
    if (h.type != MP_ARRAY) return gdp_wrong(r, "HashesNotAnArray");
    if (!GDP_ROOM(r, hashes, h.n)) return false;
    e->hash_at = b->n_hashes;
    e->n_hashes = (uint32_t)h.n;
    for (uint32_t i = 0; i < e->n_hashes; i++)
        if (!gdp_next(r, &h) || !gdp_hash_value(r, &h, &b->hashes[b->n_hashes++])) return false;
    return true;
}

static bool gdp_parent(gdp_reader *r, gdp_kv_event *e)
{
    gdp_head h;
    if (!gdp_next(r, &h)) return false;
    e->has_parent = h.type != MP_NIL;
    return !e->has_parent || gdp_hash_value(r, &h, &e->parent);
}

/* One token id by the long way: any integer of 32 bits, of either sign (placeholders of embeddings are negative). */
static bool gdp_token(gdp_reader *r, uint32_t *out)
{
    gdp_head h;
    if (!gdp_next(r, &h)) return false;
    const int64_t v = (int64_t)h.n;
    if (h.type != MP_UINT && h.type != MP_NEGATIVE) return gdp_wrong(r, "NotATokenId");
    if (v < INT32_MIN || v > UINT32_MAX) return gdp_wrong(r, "TokenIdOutOfRange");
    *out = (uint32_t)v;
    return true;
}

static bool gdp_tokens(gdp_reader *r, gdp_kv_event *e)
{
    gdp_kv_batch *b = r->batch;
    gdp_head h;
    e->n_tokens = 0;
    if (!gdp_next(r, &h)) return false;
    if (h.type == MP_NIL) return true;
    if (h.type != MP_ARRAY) return gdp_wrong(r, "TokensNotAnArray");
    if (!GDP_ROOM(r, tokens, h.n)) return false;
    e->token_at = b->n_tokens;
    e->n_tokens = (uint32_t)h.n;
    uint32_t *out = b->tokens + b->n_tokens, *const stop = out + h.n;
    b->n_tokens += e->n_tokens;
    const uint8_t *p = r->p;
    while (out < stop) {
        if (GDP_UNLIKELY(r->end - p < 5)) break;
        if (GDP_LIKELY(*p == 0xcd)) {
            *out++ = (uint32_t)p[1] << 8 | p[2];
            p += 3;
        } else if (*p < 0x80) {
            *out++ = *p++;
        } else if (*p == 0xce) {
            *out++ = (uint32_t)gdp_big_endian(p + 1, 4);
            p += 5;
        } else if (*p == 0xcc) {
            *out++ = p[1];
            p += 2;
        } else {
            r->p = p;
            if (!gdp_token(r, out++)) return false;
            p = r->p;
        }
    }
    for (r->p = p; out < stop; out++)
        if (!gdp_token(r, out)) return false;
    return true;
}

/* An integer of 0 .. most, or nil (then *out stays). */
static bool gdp_number(gdp_reader *r, uint64_t most, const char *why, uint64_t *out)
{
    gdp_head h;
    if (!gdp_next(r, &h)) return false;
    if (h.type == MP_NIL) return true;
    if (h.type != MP_UINT || h.n > most) return gdp_wrong(r, why);
    *out = h.n;
    return true;
}

static bool gdp_block_size(gdp_reader *r, gdp_kv_event *e)
{
    uint64_t n = 0;
    if (!gdp_number(r, INT32_MAX, "BadBlockSize", &n)) return false;
    e->block_size = (uint32_t)n;
    return true;
}

static bool gdp_group(gdp_reader *r, gdp_kv_event *e)
{
    uint64_t n = UINT64_MAX;
    if (!gdp_number(r, INT32_MAX, "BadGroup", &n)) return false;
    e->group = n == UINT64_MAX ? GDP_KV_NO_GROUP : (int32_t)n;
    return true;
}

/* A string, or nil: then the span is empty. */
static bool gdp_text(gdp_reader *r, const char *why, gdp_span *out)
{
    gdp_head h;
    *out = (gdp_span){0, 0};
    if (!gdp_next(r, &h)) return false;
    if (h.type == MP_NIL) return true;
    if (h.type != MP_STR) return gdp_wrong(r, why);
    *out = gdp_take(r, &h);
    return true;
}

/* memcmp() of a length that is not known before it is called costs more than a field does. */
static inline bool gdp_same(const void *a, const char *b, size_t len)
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

static inline bool gdp_spells(const gdp_reader *r, gdp_span s, const char *word)
{
    return s.len == strlen(word) && gdp_same(r->base + s.off, word, s.len);
}

/* Capitals have changed between connectors. */
static bool gdp_names(const gdp_reader *r, gdp_span s, const char *word)
{
    return s.len == strlen(word) && strncasecmp((const char *)r->base + s.off, word, s.len) == 0;
}

static bool gdp_medium(gdp_reader *r, gdp_kv_event *e)
{
    gdp_span s;
    if (!gdp_text(r, "BadMedium", &s)) return false;
    if (s.len == 0 || gdp_spells(r, s, "GPU") || gdp_names(r, s, "GPU"))
        e->medium = GDP_KV_GPU;
    else if (gdp_names(r, s, "CPU"))
        e->medium = GDP_KV_CPU;
    else
        e->medium = gdp_names(r, s, "STORAGE") || gdp_names(r, s, "DISK") ? GDP_KV_STORAGE : GDP_KV_ELSEWHERE;
    return true;
}

static bool gdp_lora_id(gdp_reader *r, gdp_kv_event *e)
{
    gdp_head h;
    if (!gdp_next(r, &h)) return false;
    if (h.type == MP_UINT) e->lora_id = h.n > INT32_MAX ? INT32_MAX : (int32_t)h.n;
    return gdp_skip_rest(r, h);
}

static bool gdp_lora(gdp_reader *r, gdp_kv_event *e) { return gdp_text(r, "BadLoraName", &e->lora); }

/* Kinds whose blocks are the prefix itself. A window or a state is needed only at its end. */
static bool gdp_spec_kind(gdp_reader *r, gdp_kv_event *e)
{
    gdp_span s;
    if (!gdp_text(r, "BadKind", &s)) return false;
    e->told = s.len > 0;
    e->full = !e->told || gdp_spells(r, s, "full_attention") || gdp_spells(r, s, "mla_attention") ||
              gdp_spells(r, s, "sink_full_attention");
    return true;
}

static bool gdp_lookahead(gdp_reader *r, gdp_kv_event *e)
{
    gdp_head h;
    if (!gdp_next(r, &h)) return false;
    e->n_lookahead = h.type == MP_ARRAY ? (uint32_t)h.n : 0;
    return gdp_skip_rest(r, h);
}

/* A field of the future: read if it is what the proposal says, passed over if not. */
static bool gdp_copies(gdp_reader *r, gdp_kv_event *e)
{
    gdp_kv_batch *b = r->batch;
    gdp_head h;
    e->n_copies = 0;
    if (!gdp_next(r, &h)) return false;
    if (h.type != MP_ARRAY) return gdp_skip_rest(r, h);
    if (!GDP_ROOM(r, copies, h.n)) return false;
    const uint32_t at = b->n_copies;
    const uint64_t n = h.n;
    bool numbers = true;
    for (uint64_t i = 0; i < n; i++) {
        if (!gdp_next(r, &h)) return false;
        numbers &= h.type == MP_UINT;
        b->copies[b->n_copies++] = h.n > UINT32_MAX ? UINT32_MAX : (uint32_t)h.n;
        if (!gdp_skip_rest(r, h)) return false;
    }
    e->copy_at = at;
    e->n_copies = numbers ? (uint32_t)n : 0;
    return true;
}

/* -------------------------------------------------- extra keys -------------------------------------------------- */

/* ("lora", name, path) ("mm", id, offset) ("cache_salt", salt) ("prompt_embeds", digest), or (id, offset) untagged. The
 * reader stands behind the array's head; whatever else it holds is passed over. */
static bool gdp_tuple(gdp_reader *r, uint64_t n, gdp_kv_extra *key)
{
    gdp_span texts[2] = {{0, 0}, {0, 0}};
    unsigned n_texts = 0;
    bool number = false;
    for (uint64_t i = 0; i < n; i++) {
        gdp_head h;
        if (!gdp_next(r, &h)) return false;
        if (h.type == MP_STR || h.type == MP_BIN) {
            const gdp_span s = gdp_take(r, &h);
            if (n_texts == i && n_texts < 2) texts[n_texts++] = s;
            continue;
        }
        if ((h.type == MP_UINT || h.type == MP_NEGATIVE) && !number && i == n_texts && i + 1 == n) {
            number = true;
            key->offset = (int64_t)h.n;
        } else if (!gdp_skip_rest(r, h)) {
            return false;
        }
    }
    if (n == 2 && number && n_texts == 1) {
        key->kind = GDP_KEY_MM;
        key->id = texts[0];
    } else if (n_texts == 2) {
        const gdp_kv_key_kind kind = gdp_spells(r, texts[0], "lora")            ? GDP_KEY_LORA
                                     : gdp_spells(r, texts[0], "mm")            ? GDP_KEY_MM
                                     : gdp_spells(r, texts[0], "cache_salt")    ? GDP_KEY_SALT
                                     : gdp_spells(r, texts[0], "prompt_embeds") ? GDP_KEY_EMBEDS
                                                                                : GDP_KEY_OTHER;
        if (kind == GDP_KEY_OTHER) return true;
        key->kind = (uint8_t)kind;
        key->id = texts[1];
    }
    return true;
}

static bool gdp_extra_key(gdp_reader *r, uint32_t block)
{
    gdp_kv_batch *b = r->batch;
    const uint8_t *from = r->p;
    gdp_head h;
    if (!gdp_next(r, &h) || !GDP_ROOM(r, extras, 1)) return false;
    gdp_kv_extra key = {.block = block, .kind = GDP_KEY_OTHER, .offset = -1};
    if (h.type == MP_STR || h.type == MP_BIN) {
        key.kind = h.type == MP_STR ? GDP_KEY_BARE : GDP_KEY_EMBEDS;
        key.id = gdp_take(r, &h);
    } else if (h.type == MP_ARRAY ? !gdp_tuple(r, h.n, &key) : !gdp_skip_rest(r, h)) {
        return false;
    }
    if (key.kind == GDP_KEY_OTHER) { /* its bytes as they stand: two of them are equal when they are */
        key.id = (gdp_span){(uint32_t)(from - r->base), (uint32_t)(r->p - from)};
        key.offset = -1;
    }
    b->extras[b->n_extras++] = key;
    return true;
}

static bool gdp_extra_keys(gdp_reader *r, gdp_kv_event *e)
{
    gdp_head h;
    e->extra_at = r->batch->n_extras;
    e->n_extras = 0;
    if (!gdp_next(r, &h)) return false;
    if (h.type == MP_NIL) return true;
    if (h.type != MP_ARRAY) return gdp_wrong(r, "ExtraKeysNotAnArray");
    const uint64_t n = h.n;
    for (uint32_t block = 0; block < n; block++) {
        const uint8_t *from = r->p;
        if (!gdp_next(r, &h)) return false;
        if (h.type == MP_NIL) continue;
        uint64_t keys = h.n;
        if (h.type != MP_ARRAY) r->p = from, keys = 1; /* a key that is not in an array of keys */
        while (keys-- > 0)
            if (!gdp_extra_key(r, block)) return false;
    }
    e->n_extras = r->batch->n_extras - e->extra_at;
    return true;
}

/* ---------------------------------------------------- fields ---------------------------------------------------- */

static bool gdp_pass(gdp_reader *r, gdp_kv_event *e)
{
    (void)e;
    return gdp_skip(r);
}

typedef bool gdp_field_fn(gdp_reader *, gdp_kv_event *);

/* In the order in which maps have them, so that the next one is found at once. */
static const struct {
    const char *name;
    uint32_t len;
    gdp_field_fn *read;
} gdp_fields[] = {
#define FIELD(name, read) {name, sizeof(name) - 1, read}
    FIELD("type", gdp_pass),
    FIELD("block_hashes", gdp_hashes),
    FIELD("parent_block_hash", gdp_parent),
    FIELD("token_ids", gdp_tokens),
    FIELD("block_size", gdp_block_size),
    FIELD("lora_id", gdp_lora_id),
    FIELD("medium", gdp_medium),
    FIELD("lora_name", gdp_lora),
    FIELD("extra_keys", gdp_extra_keys),
    FIELD("group_idx", gdp_group),
    FIELD("kv_cache_spec_kind", gdp_spec_kind),
    FIELD("lookahead_token_ids", gdp_lookahead),
    FIELD("remaining_copy_counts", gdp_copies),
#undef FIELD
};
#define GDP_FIELDS (sizeof gdp_fields / sizeof gdp_fields[0])

/* What stands at place 1, 2, ... of an array event. */
static gdp_field_fn *const gdp_stored_places[] = {gdp_hashes, gdp_parent, gdp_tokens,     gdp_block_size, gdp_lora_id,
                                                  gdp_medium, gdp_lora,   gdp_extra_keys, gdp_group,      gdp_spec_kind};
static gdp_field_fn *const gdp_removed_places[] = {gdp_hashes, gdp_medium, gdp_group};

/* The reader of a field; *hint is where it was found and where the next one is looked for. */
static gdp_field_fn *gdp_field(const gdp_reader *r, gdp_span name, size_t *hint)
{
    for (size_t i = 0; i < GDP_FIELDS; i++) {
        const size_t at = (*hint + 1 + i) % GDP_FIELDS;
        if (gdp_fields[at].len != name.len ||
            !gdp_same(r->base + name.off, gdp_fields[at].name, name.len))
            continue;
        *hint = at;
        return gdp_fields[at].read;
    }
    return gdp_pass;
}

/* ---------------------------------------------------- events ---------------------------------------------------- */

enum { GDP_KV_UNKNOWN = 3 };

static bool gdp_type(gdp_reader *r, uint8_t *kind)
{
    gdp_span s;
    if (!gdp_text(r, "NoEventType", &s)) return false;
    *kind = gdp_spells(r, s, "BlockStored")        ? GDP_KV_STORED
            : gdp_spells(r, s, "BlockRemoved")     ? GDP_KV_REMOVED
            : gdp_spells(r, s, "AllBlocksCleared") ? GDP_KV_CLEARED
                                                   : GDP_KV_UNKNOWN;
    return s.len > 0 || gdp_wrong(r, "NoEventType");
}

static bool gdp_array_event(gdp_reader *r, uint64_t n, gdp_kv_event *e)
{
    static const uint8_t least[] = {5, 2, 1};
    if (n == 0) return gdp_wrong(r, "NoEventType");
    if (!gdp_type(r, &e->kind)) return false;
    if (e->kind == GDP_KV_UNKNOWN) return gdp_skip_n(r, n - 1);
    if (n < least[e->kind]) return gdp_wrong(r, "EventTooShort");
    gdp_field_fn *const *places = e->kind == GDP_KV_STORED ? gdp_stored_places : gdp_removed_places;
    const uint64_t known = e->kind == GDP_KV_STORED    ? sizeof gdp_stored_places / sizeof *places
                           : e->kind == GDP_KV_REMOVED ? sizeof gdp_removed_places / sizeof *places
                                                       : 0;
    uint64_t i = 1;
    for (; i < n && i <= known; i++)
        if (!places[i - 1](r, e)) return false;
    return gdp_skip_n(r, n - i);
}

/* The type of a map event, wherever it stands: only then is it known what the other fields may be. */
static bool gdp_map_type(gdp_reader *r, uint64_t n, uint8_t *kind)
{
    for (; n > 0; n--) {
        gdp_head h;
        if (!gdp_next(r, &h)) return false;
        if (h.type == MP_STR) {
            const gdp_span name = gdp_take(r, &h);
            if (gdp_spells(r, name, "type")) return gdp_type(r, kind);
        } else if (!gdp_skip_rest(r, h)) {
            return false;
        }
        if (!gdp_skip(r)) return false;
    }
    return gdp_wrong(r, "NoEventType");
}

static bool gdp_map_event(gdp_reader *r, uint64_t n, gdp_kv_event *e)
{
    const uint8_t *from = r->p;
    if (!gdp_map_type(r, n, &e->kind)) return false;
    r->p = from;
    if (e->kind == GDP_KV_UNKNOWN) return gdp_skip_n(r, 2 * n);
    bool hashes = false;
    for (size_t hint = GDP_FIELDS - 1; n > 0; n--) {
        gdp_head h;
        if (!gdp_next(r, &h)) return false;
        gdp_field_fn *read = gdp_pass;
        if (h.type == MP_STR)
            read = gdp_field(r, gdp_take(r, &h), &hint);
        else if (!gdp_skip_rest(r, h))
            return false;
        hashes |= read == gdp_hashes;
        if (!read(r, e)) return false;
    }
    return hashes || e->kind == GDP_KV_CLEARED || gdp_wrong(r, "NoHashes");
}

static bool gdp_event_read(gdp_reader *r)
{
    gdp_kv_batch *b = r->batch;
    gdp_head h;
    if (!gdp_next(r, &h) || !GDP_ROOM(r, events, 1)) return false;
    gdp_kv_event *e = &b->events[b->n_events];
    *e = (gdp_kv_event){.full = true, .group = GDP_KV_NO_GROUP, .lora_id = -1};
    if (h.type != MP_ARRAY && h.type != MP_MAP) return gdp_wrong(r, "NotAnEvent");
    if (!(h.type == MP_ARRAY ? gdp_array_event : gdp_map_event)(r, h.n, e)) return false;
    if (e->kind == GDP_KV_UNKNOWN)
        b->n_unknown++;
    else
        b->n_events++;
    return true;
}

/* ---------------------------------------------------- batches --------------------------------------------------- */

static bool gdp_ts(gdp_reader *r)
{
    gdp_head h;
    if (!gdp_next(r, &h)) return false;
    if (h.type == MP_FLOAT)
        memcpy(&r->batch->ts, &h.n, 8);
    else if (h.type == MP_UINT)
        r->batch->ts = (double)h.n;
    return gdp_skip_rest(r, h);
}

static bool gdp_events(gdp_reader *r)
{
    gdp_kv_batch *b = r->batch;
    gdp_head h;
    if (!gdp_next(r, &h)) return false;
    if (h.type != MP_ARRAY) return gdp_wrong(r, "EventsNotAnArray");
    b->n_events = b->n_unknown = 0; /* a map may name them twice: the last one counts */
    for (uint64_t n = h.n; n > 0; n--)
        if (!gdp_event_read(r)) return false;
    return true;
}

static bool gdp_rank(gdp_reader *r)
{
    uint64_t n = UINT64_MAX;
    if (!gdp_number(r, INT32_MAX, "BadRank", &n)) return false;
    r->batch->rank = n == UINT64_MAX ? -1 : (int32_t)n;
    return true;
}

static bool gdp_array_batch(gdp_reader *r, uint64_t n)
{
    if (n < 2) return gdp_wrong(r, "BatchTooShort");
    if (!gdp_ts(r) || !gdp_events(r)) return false;
    return n == 2 || (gdp_rank(r) && gdp_skip_n(r, n - 3));
}

static bool gdp_map_batch(gdp_reader *r, uint64_t n)
{
    bool events = false;
    for (; n > 0; n--) {
        gdp_span name;
        bool right;
        if (!gdp_text(r, "BadBatchKey", &name)) return false;
        if (gdp_spells(r, name, "ts"))
            right = gdp_ts(r);
        else if (gdp_spells(r, name, "events"))
            right = gdp_events(r), events = true;
        else
            right = gdp_spells(r, name, "data_parallel_rank") ? gdp_rank(r) : gdp_skip(r);
        if (!right) return false;
    }
    return events || gdp_wrong(r, "NoEvents");
}

static bool gdp_payload(gdp_reader *r, size_t len)
{
    gdp_head h;
    if (len > GDP_KV_PAYLOAD_MAX) return gdp_wrong(r, "PayloadTooLong");
    if (!gdp_next(r, &h)) return false;
    if (h.type != MP_ARRAY && h.type != MP_MAP) return gdp_wrong(r, "NotABatch");
    if (!(h.type == MP_ARRAY ? gdp_array_batch : gdp_map_batch)(r, h.n)) return false;
    return r->p == r->end || gdp_wrong(r, "TrailingBytes");
}

int64_t gdp_kv_decode(gdp_kv_batch *batch, const void *payload, size_t len)
{
    enum { KEPT = 4 << 20 }; /* bytes of arrays that are kept whatever comes */
    const size_t bytes = gdp_kv_batch_bytes(batch);
    if (bytes > KEPT && bytes / 256 > len) gdp_kv_batch_free(batch);
    batch->n_events = batch->n_hashes = batch->n_tokens = batch->n_extras = batch->n_copies = batch->n_unknown = 0;
    batch->ts = 0;
    batch->rank = -1;
    batch->why = NULL;
    batch->at = 0;
    gdp_reader r = {.p = payload, .end = (const uint8_t *)payload + len, .base = payload, .batch = batch};
    if (gdp_payload(&r, len)) return batch->n_events;
    batch->n_events = 0;
    return r.starved ? GDP_NOMEM : GDP_BAD;
}

size_t gdp_kv_batch_bytes(const gdp_kv_batch *b)
{
    return b->events_cap * sizeof *b->events + b->hashes_cap * sizeof *b->hashes + b->tokens_cap * sizeof *b->tokens +
           b->extras_cap * sizeof *b->extras + b->copies_cap * sizeof *b->copies;
}

void gdp_kv_batch_free(gdp_kv_batch *batch)
{
    gdp_free(batch->events);
    gdp_free(batch->hashes);
    gdp_free(batch->tokens);
    gdp_free(batch->extras);
    gdp_free(batch->copies);
    *batch = (gdp_kv_batch){0};
}
