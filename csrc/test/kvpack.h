/* kvpack.h -- writes KV events as the releases do, for tests and benches of what reads them. */
#ifndef GDP_KVPACK_H
#define GDP_KVPACK_H

#include "test.h"

typedef struct {
    uint8_t *bytes;
    size_t n, cap;
} gdp_pack;

static inline void gdp_pack_bytes(gdp_pack *p, const void *bytes, size_t n)
{
    if (p->n + n > p->cap) {
        p->cap = 2 * (p->n + n);
        p->bytes = realloc(p->bytes, p->cap);
        if (!p->bytes) abort();
    }
    memcpy(p->bytes + p->n, bytes, n);
    p->n += n;
}

/* A tag and a number of `bytes` bytes, big-endian; tag < 0: the number alone. */
static inline void gdp_pack_number(gdp_pack *p, int tag, uint64_t v, int bytes)
{
    uint8_t out[9];
    int n = 0;
    if (tag >= 0) out[n++] = (uint8_t)tag;
    while (bytes-- > 0) out[n++] = (uint8_t)(v >> 8 * bytes);
    gdp_pack_bytes(p, out, (size_t)n);
}

static inline void gdp_pack_uint(gdp_pack *p, uint64_t v)
{
    if (v < 0x80)
        gdp_pack_number(p, (int)v, 0, 0);
    else if (v <= 0xff)
        gdp_pack_number(p, 0xcc, v, 1);
    else if (v <= 0xffff)
        gdp_pack_number(p, 0xcd, v, 2);
    else if (v <= 0xffffffffu)
        gdp_pack_number(p, 0xce, v, 4);
    else
        gdp_pack_number(p, 0xcf, v, 8);
}

static inline void gdp_pack_nil(gdp_pack *p) { gdp_pack_number(p, 0xc0, 0, 0); }

static inline void gdp_pack_array(gdp_pack *p, size_t n)
{
    if (n < 16)
        gdp_pack_number(p, 0x90 | (int)n, 0, 0);
    else if (n < 65536)
        gdp_pack_number(p, 0xdc, n, 2);
    else
        gdp_pack_number(p, 0xdd, n, 4);
}

static inline void gdp_pack_map(gdp_pack *p, size_t n) { gdp_pack_number(p, 0x80 | (int)n, 0, 0); }

static inline void gdp_pack_text(gdp_pack *p, const char *text)
{
    const size_t n = strlen(text);
    if (n < 32)
        gdp_pack_number(p, 0xa0 | (int)n, 0, 0);
    else
        gdp_pack_number(p, 0xd9, n, 1);
    gdp_pack_bytes(p, text, n);
}

static inline void gdp_pack_bin(gdp_pack *p, const void *bytes, size_t n)
{
    gdp_pack_number(p, 0xc4, n, 1);
    gdp_pack_bytes(p, bytes, n);
}

/* [ts, [ ... n events follow */
static inline void gdp_pack_batch(gdp_pack *p, size_t n_events)
{
    p->n = 0;
    gdp_pack_array(p, 2);
    gdp_pack_number(p, 0xcb, 0x41d954fc40200000u, 8);
    gdp_pack_array(p, n_events);
}

typedef struct {
    const uint64_t *hashes;
    size_t n;
    const uint64_t *parent; /* NULL: nil */
    const uint32_t *tokens;
    size_t n_tokens;
    uint32_t block_size;
    const char *medium, *lora, *salt; /* NULL: nil */
    int group;                        /* -1: not told */
    const char *kind;                 /* NULL: not told */
} gdp_pack_block;

static inline void gdp_pack_word(gdp_pack *p, const char *text)
{
    if (text)
        gdp_pack_text(p, text);
    else
        gdp_pack_nil(p);
}

/* {"type": "BlockStored", ...} as since 0.24. */
static inline void gdp_pack_stored(gdp_pack *p, const gdp_pack_block *b)
{
    gdp_pack_map(p, 8u + (b->salt != NULL) + (b->group >= 0) + (b->kind != NULL));
    gdp_pack_text(p, "type"), gdp_pack_text(p, "BlockStored");
    gdp_pack_text(p, "block_hashes"), gdp_pack_array(p, b->n);
    for (size_t i = 0; i < b->n; i++) gdp_pack_uint(p, b->hashes[i]);
    gdp_pack_text(p, "parent_block_hash");
    if (b->parent)
        gdp_pack_uint(p, *b->parent);
    else
        gdp_pack_nil(p);
    gdp_pack_text(p, "token_ids"), gdp_pack_array(p, b->n_tokens);
    for (size_t i = 0; i < b->n_tokens; i++) gdp_pack_uint(p, b->tokens[i]);
    gdp_pack_text(p, "block_size"), gdp_pack_uint(p, b->block_size);
    gdp_pack_text(p, "lora_id"), gdp_pack_nil(p);
    gdp_pack_text(p, "medium"), gdp_pack_word(p, b->medium);
    gdp_pack_text(p, "lora_name"), gdp_pack_word(p, b->lora);
    if (b->salt) {
        gdp_pack_text(p, "extra_keys"), gdp_pack_array(p, 1), gdp_pack_array(p, 1u + (b->lora != NULL));
        if (b->lora) gdp_pack_text(p, b->lora);
        gdp_pack_text(p, b->salt);
    }
    if (b->group >= 0) gdp_pack_text(p, "group_idx"), gdp_pack_uint(p, (uint64_t)b->group);
    if (b->kind) gdp_pack_text(p, "kv_cache_spec_kind"), gdp_pack_text(p, b->kind);
}

static inline void gdp_pack_removed(gdp_pack *p, const uint64_t *hashes, size_t n, const char *medium, int group)
{
    gdp_pack_map(p, 3u + (group >= 0));
    gdp_pack_text(p, "type"), gdp_pack_text(p, "BlockRemoved");
    gdp_pack_text(p, "block_hashes"), gdp_pack_array(p, n);
    for (size_t i = 0; i < n; i++) gdp_pack_uint(p, hashes[i]);
    gdp_pack_text(p, "medium"), gdp_pack_word(p, medium);
    if (group >= 0) gdp_pack_text(p, "group_idx"), gdp_pack_uint(p, (uint64_t)group);
}

static inline void gdp_pack_cleared(gdp_pack *p)
{
    gdp_pack_map(p, 1);
    gdp_pack_text(p, "type"), gdp_pack_text(p, "AllBlocksCleared");
}

#endif
