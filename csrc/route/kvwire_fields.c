/* kvwire_fields.c -- what stands in an event: hashes, token ids, names, one reader per field.
 *
 * The loop over token ids is what the time goes into: ids are 1, 2, 3 or 5 bytes, mostly 3, and the branches are
 * ordered so. With AVX2, eight of three bytes are read in a step, up to the first that is of another length: that
 * and hashes of nine bytes read at once halved the time of a prefill's blocks (33 ns to 18). */
#include <strings.h>

#include "kvwire_inner.h"

#if defined(__x86_64__) && !defined(GDP_SCALAR)
#define GDP_AVX2 1
#include <immintrin.h>
#endif

/* ---------------------------------------------------- values ---------------------------------------------------- */

static bool gdp_hash_value(gdp_reader *r, const gdp_head *h, gdp_kv_hash *out)
{
    if (h->type == MP_UINT || h->type == MP_NEGATIVE) {
        *out = (gdp_kv_hash){h->n, 0};
        return true;
    }
    if (h->type != MP_BIN || h->n == 0) return gdp_mp_wrong(r, "NotAHash");
    *out = (gdp_kv_hash){0, 0};
    for (size_t at = 0; at < h->n; at += 16) { /* 16 bytes at a time, the pieces over each other */
        const size_t rest = h->n - at < 16 ? (size_t)h->n - at : 16, high = rest > 8 ? rest - 8 : 0;
        out->hi ^= gdp_mp_big_endian(r->p + at, (unsigned)high);
        out->lo ^= gdp_mp_big_endian(r->p + at + high, (unsigned)(rest - high));
    }
    r->p += h->n;
    return true;
}

bool gdp_kv_hashes(gdp_reader *r, gdp_kv_event *e)
{
    gdp_kv_batch *b = r->batch;
    gdp_head h;
    if (!gdp_mp_next(r, &h)) return false;
    if (h.type != MP_ARRAY) return gdp_mp_wrong(r, "HashesNotAnArray");
    if (!GDP_ROOM(r, hashes, h.n)) return false;
    e->hash_at = b->n_hashes;
    e->n_hashes = (uint32_t)h.n;
    for (uint32_t i = 0; i < e->n_hashes; i++) {
        if (GDP_LIKELY(r->end - r->p >= 9 && *r->p == 0xcf)) {
            b->hashes[b->n_hashes++] = (gdp_kv_hash){gdp_mp_word(r->p + 1), 0};
            r->p += 9;
        } else if (!gdp_mp_next(r, &h) || !gdp_hash_value(r, &h, &b->hashes[b->n_hashes++])) {
            return false;
        }
    }
    return true;
}

static bool gdp_parent(gdp_reader *r, gdp_kv_event *e)
{
    gdp_head h;
    if (!gdp_mp_next(r, &h)) return false;
    e->has_parent = h.type != MP_NIL;
    return !e->has_parent || gdp_hash_value(r, &h, &e->parent);
}

/* One token id by the long way: any integer of 32 bits, of either sign (placeholders of embeddings are negative). */
static bool gdp_token(gdp_reader *r, uint32_t *out)
{
    gdp_head h;
    if (!gdp_mp_next(r, &h)) return false;
    if (h.type != MP_UINT && h.type != MP_NEGATIVE) return gdp_mp_wrong(r, "NotATokenId");
    /* Of a MP_UINT above INT64_MAX the signed value would be a small negative one. */
    if (h.type == MP_UINT ? h.n > UINT32_MAX : (int64_t)h.n < INT32_MIN) return gdp_mp_wrong(r, "TokenIdOutOfRange");
    *out = (uint32_t)h.n;
    return true;
}

/* Ids at *p, to *out. Both stay where something is to be read by the long way, or the payload's end is near. */
static void gdp_short_ids(const uint8_t **from, const uint8_t *end, uint32_t **to, uint32_t *stop)
{
    const uint8_t *p = *from;
    uint32_t *out = *to;
    while (out < stop && end - p >= 5) {
        if (GDP_LIKELY(*p == 0xcd)) {
            *out++ = (uint32_t)p[1] << 8 | p[2];
            p += 3;
        } else if (*p < 0x80) {
            *out++ = *p++;
        } else if (*p == 0xce) {
            *out++ = (uint32_t)gdp_mp_big_endian(p + 1, 4);
            p += 5;
        } else if (*p == 0xcc) {
            *out++ = p[1];
            p += 2;
        } else {
            break;
        }
    }
    *from = p, *to = out;
}

#ifdef GDP_AVX2
/* Eight ids of three bytes in a step. What is written behind the first of another length is written again. */
__attribute__((target("avx2"))) static void gdp_wide_ids(const uint8_t **from, const uint8_t *end, uint32_t **to,
                                                         uint32_t *stop)
{
    const __m256i tag = _mm256_set1_epi8((char)0xcd);
    const __m256i order = _mm256_setr_epi8(2, 1, -1, -1, 5, 4, -1, -1, 8, 7, -1, -1, 11, 10, -1, -1,
                                           2, 1, -1, -1, 5, 4, -1, -1, 8, 7, -1, -1, 11, 10, -1, -1);
    const uint8_t *p = *from;
    uint32_t *out = *to;
    while (stop - out >= 8 && end - p >= 28) {
        const __m128i low = _mm_loadu_si128((const __m128i *)(const void *)p);
        const __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(p + 12));
        const __m256i ids = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
        const uint32_t tags = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(ids, tag));
        const uint32_t others = ~tags & 0x02490249u; /* bytes 0, 3, 6, 9 of each half */
        _mm256_storeu_si256((__m256i *)(void *)out, _mm256_shuffle_epi8(ids, order));
        if (GDP_LIKELY(!others)) {
            p += 24;
            out += 8;
            continue;
        }
        const uint32_t at = (uint32_t)__builtin_ctz(others), n = at / 16 * 4 + at % 16 / 3;
        p += 3 * n;
        out += n;
        const uint8_t *const before = p;
        gdp_short_ids(&p, end, &out, out + 1);
        if (p == before) break;
    }
    *from = p, *to = out;
}
#endif

static void gdp_ids(const uint8_t **from, const uint8_t *end, uint32_t **to, uint32_t *stop)
{
#ifdef GDP_AVX2
    if (__builtin_cpu_supports("avx2")) gdp_wide_ids(from, end, to, stop);
#endif
    gdp_short_ids(from, end, to, stop);
}

static bool gdp_tokens(gdp_reader *r, gdp_kv_event *e)
{
    gdp_kv_batch *b = r->batch;
    gdp_head h;
    e->n_tokens = 0;
    if (!gdp_mp_next(r, &h)) return false;
    if (h.type == MP_NIL) return true;
    if (h.type != MP_ARRAY) return gdp_mp_wrong(r, "TokensNotAnArray");
    if (!GDP_ROOM(r, tokens, h.n)) return false;
    e->token_at = b->n_tokens;
    e->n_tokens = (uint32_t)h.n;
    uint32_t *out = b->tokens + b->n_tokens, *const stop = out + h.n;
    b->n_tokens += e->n_tokens;
    while (out < stop) {
        gdp_ids(&r->p, r->end, &out, stop);
        if (out < stop && !gdp_token(r, out++)) return false;
    }
    return true;
}

/* An integer of 0 .. most, or nil (then *out stays). */
bool gdp_kv_number(gdp_reader *r, uint64_t most, const char *why, uint64_t *out)
{
    gdp_head h;
    if (!gdp_mp_next(r, &h)) return false;
    if (h.type == MP_NIL) return true;
    if (h.type != MP_UINT || h.n > most) return gdp_mp_wrong(r, why);
    *out = h.n;
    return true;
}

static bool gdp_block_size(gdp_reader *r, gdp_kv_event *e)
{
    uint64_t n = 0;
    if (!gdp_kv_number(r, INT32_MAX, "BadBlockSize", &n)) return false;
    e->block_size = (uint32_t)n;
    return true;
}

static bool gdp_group(gdp_reader *r, gdp_kv_event *e)
{
    uint64_t n = UINT64_MAX;
    if (!gdp_kv_number(r, INT32_MAX, "BadGroup", &n)) return false;
    e->group = n == UINT64_MAX ? GDP_KV_NO_GROUP : (int32_t)n;
    return true;
}

/* A string, or nil: then the span is empty. */
bool gdp_kv_text(gdp_reader *r, const char *why, gdp_span *out)
{
    gdp_head h;
    *out = (gdp_span){0, 0};
    if (!gdp_mp_next(r, &h)) return false;
    if (h.type == MP_NIL) return true;
    if (h.type != MP_STR) return gdp_mp_wrong(r, why);
    *out = gdp_mp_take(r, &h);
    return true;
}

/* Capitals have changed between connectors. */
static bool gdp_names(const gdp_reader *r, gdp_span s, const char *word)
{
    return s.len == strlen(word) && strncasecmp((const char *)r->base + s.off, word, s.len) == 0;
}

static bool gdp_medium(gdp_reader *r, gdp_kv_event *e)
{
    gdp_span s;
    if (!gdp_kv_text(r, "BadMedium", &s)) return false;
    if (s.len == 0 || gdp_kv_spells(r, s, "GPU") || gdp_names(r, s, "GPU"))
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
    if (!gdp_mp_next(r, &h)) return false;
    if (h.type == MP_UINT) e->lora_id = h.n > INT32_MAX ? INT32_MAX : (int32_t)h.n;
    return gdp_mp_skip_rest(r, h);
}

static bool gdp_lora(gdp_reader *r, gdp_kv_event *e) { return gdp_kv_text(r, "BadLoraName", &e->lora); }

/* Kinds whose blocks are the prefix itself. A window or a state is needed only at its end. */
static bool gdp_spec_kind(gdp_reader *r, gdp_kv_event *e)
{
    gdp_span s;
    if (!gdp_kv_text(r, "BadKind", &s)) return false;
    e->told = s.len > 0;
    e->full = !e->told || gdp_kv_spells(r, s, "full_attention") || gdp_kv_spells(r, s, "mla_attention") ||
              gdp_kv_spells(r, s, "sink_full_attention");
    return true;
}

static bool gdp_lookahead(gdp_reader *r, gdp_kv_event *e)
{
    gdp_head h;
    if (!gdp_mp_next(r, &h)) return false;
    e->n_lookahead = h.type == MP_ARRAY ? (uint32_t)h.n : 0;
    return gdp_mp_skip_rest(r, h);
}

/* A field of the future: read if it is what the proposal says, passed over if not. */
static bool gdp_copies(gdp_reader *r, gdp_kv_event *e)
{
    gdp_kv_batch *b = r->batch;
    gdp_head h;
    e->n_copies = 0;
    if (!gdp_mp_next(r, &h)) return false;
    if (h.type != MP_ARRAY) return gdp_mp_skip_rest(r, h);
    if (!GDP_ROOM(r, copies, h.n)) return false;
    const uint32_t at = b->n_copies;
    const uint64_t n = h.n;
    bool numbers = true;
    for (uint64_t i = 0; i < n; i++) {
        if (!gdp_mp_next(r, &h)) return false;
        numbers &= h.type == MP_UINT;
        b->copies[b->n_copies++] = h.n > UINT32_MAX ? UINT32_MAX : (uint32_t)h.n;
        if (!gdp_mp_skip_rest(r, h)) return false;
    }
    e->copy_at = at;
    e->n_copies = numbers ? (uint32_t)n : 0;
    return true;
}

/* ---------------------------------------------------- fields ---------------------------------------------------- */

static bool gdp_kv_pass(gdp_reader *r, gdp_kv_event *e)
{
    (void)e;
    return gdp_mp_skip(r);
}

/* In the order in which maps have them, so that the next one is found at once. */
static const struct {
    const char *name;
    uint32_t len;
    gdp_kv_field_fn *read;
} gdp_fields[] = {
#define FIELD(name, read) {name, sizeof(name) - 1, read}
    FIELD("type", gdp_kv_pass),
    FIELD("block_hashes", gdp_kv_hashes),
    FIELD("parent_block_hash", gdp_parent),
    FIELD("token_ids", gdp_tokens),
    FIELD("block_size", gdp_block_size),
    FIELD("lora_id", gdp_lora_id),
    FIELD("medium", gdp_medium),
    FIELD("lora_name", gdp_lora),
    FIELD("extra_keys", gdp_kv_extra_keys),
    FIELD("group_idx", gdp_group),
    FIELD("kv_cache_spec_kind", gdp_spec_kind),
    FIELD("lookahead_token_ids", gdp_lookahead),
    FIELD("remaining_copy_counts", gdp_copies),
#undef FIELD
};
#define GDP_FIELDS (sizeof gdp_fields / sizeof gdp_fields[0])

static gdp_kv_field_fn *const gdp_stored_places[] = {
    gdp_kv_hashes, gdp_parent, gdp_tokens,        gdp_block_size, gdp_lora_id,
    gdp_medium,    gdp_lora,   gdp_kv_extra_keys, gdp_group,      gdp_spec_kind,
};
static gdp_kv_field_fn *const gdp_removed_places[] = {gdp_kv_hashes, gdp_medium, gdp_group};

gdp_kv_field_fn *gdp_kv_field_named(const gdp_reader *r, gdp_span name, size_t *hint)
{
    for (size_t i = 0; i < GDP_FIELDS; i++) {
        const size_t at = (*hint + 1 + i) % GDP_FIELDS; /* maps have them in this order */
        if (gdp_fields[at].len != name.len || !gdp_kv_same(r->base + name.off, gdp_fields[at].name, name.len)) continue;
        *hint = at;
        return gdp_fields[at].read;
    }
    return gdp_kv_pass;
}

gdp_kv_field_fn *const *gdp_kv_places(uint8_t kind, uint64_t *known)
{
    *known = kind == GDP_KV_STORED    ? sizeof gdp_stored_places / sizeof *gdp_stored_places
             : kind == GDP_KV_REMOVED ? sizeof gdp_removed_places / sizeof *gdp_removed_places
                                      : 0;
    return kind == GDP_KV_STORED ? gdp_stored_places : gdp_removed_places;
}
