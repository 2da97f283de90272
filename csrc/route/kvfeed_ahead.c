/* kvfeed_ahead.c -- the misses of events that come soon, taken at once.
 *
 * A block that comes alone, or goes, is four misses in a row: the page's address, its tags, the block's name in the index,
 * the segment that this points at. A batch has many such events, so each of them is looked at four times before its turn,
 * a few events apart, and asks for what the look before has found:
 *
 *     stage 0        1                 2                       3                      turn
 *     page's address tags and chains   chain; name in index    segment
 *
 * A store needs the same of its parent, and of its own block, whose chain follows from the parent's: it is computed twice,
 * which costs less than to keep it. Blocks in a row are seen to by their row (gdp_feed_row), removals in a row here, too. */
#include "kvfeed_inner.h"

enum { STAGES = 4, APART = 3 };

/* One hash of a page that is needed soon. `near`: by its chain, what the sink has. */
static void gdp_hash_ahead(const gdp_kvfeed *f, uint8_t medium, uint64_t mix, unsigned stage)
{
    const gdp_pages *held = &f->held[medium];
    const uint64_t *chain;
    if (stage == 0)
        gdp_pages_far_ahead(held, mix);
    else if (stage == 1)
        gdp_pages_ahead(held, mix);
    else if (f->sink.ahead && (chain = gdp_pages_find(held, mix)))
        f->sink.ahead(f->sink.self, chain, 1, stage == 3);
}

/* A block that comes alone. It is held by nobody, mostly: then its chain follows from its parent's. */
static void gdp_store_ahead(const gdp_kvfeed *f, const gdp_kv_batch *batch, const gdp_kv_event *e, unsigned stage)
{
    if (e->has_parent) gdp_hash_ahead(f, e->medium, gdp_kv_mix(f->key, e->parent), stage);
    if (e->n_hashes != 1) return;
    const uint64_t mix = gdp_kv_mix(f->key, batch->hashes[e->hash_at]);
    if (stage < 2) {
        gdp_hash_ahead(f, e->medium, mix, stage);
    } else if (stage == 2 && f->sink.ahead && e->has_parent && e->n_tokens == e->block_size && e->n_extras == 0) {
        const uint64_t *parent = gdp_pages_find(&f->held[e->medium], gdp_kv_mix(f->key, e->parent));
        uint64_t chain;
        if (!parent || !e->block_size) return;
        gdp_chain(f->key, *parent, batch->tokens + e->token_at, e->n_tokens, e->block_size, NULL, &chain);
        f->sink.ahead(f->sink.self, &chain, 1, false);
    }
}

static void gdp_event_ahead(const gdp_kvfeed *f, const gdp_kv_batch *batch, uint32_t i, unsigned stage)
{
    if (i >= batch->n_events) return;
    const gdp_kv_event *e = &batch->events[i];
    if (e->medium >= GDP_KV_MEDIA || e->n_hashes == 0) return;
    if (e->kind == GDP_KV_STORED)
        gdp_store_ahead(f, batch, e, stage);
    else if (e->kind == GDP_KV_REMOVED && e->n_hashes == 1)
        gdp_hash_ahead(f, e->medium, gdp_kv_mix(f->key, batch->hashes[e->hash_at]), stage);
}

void gdp_feed_begin(const gdp_kvfeed *f, const gdp_kv_batch *batch)
{
    for (unsigned stage = 0; stage < STAGES; stage++)
        for (uint32_t i = 0; i < (STAGES - stage) * APART && i < batch->n_events; i++) gdp_event_ahead(f, batch, i, stage);
}

void gdp_feed_ahead(const gdp_kvfeed *f, const gdp_kv_batch *batch, uint32_t at)
{
    for (unsigned stage = 0; stage < STAGES; stage++) gdp_event_ahead(f, batch, at + (STAGES - stage) * APART, stage);
}

void gdp_feed_foresee(const gdp_kvfeed *f, const gdp_kv_batch *batch, const gdp_kv_event *e, uint32_t i)
{
    uint64_t mixes[GDP_KV_FORESEEN];
    const uint32_t n = e->n_hashes - i < GDP_KV_FORESEEN ? e->n_hashes - i : GDP_KV_FORESEEN;
    for (uint32_t k = 0; k < n; k++) mixes[k] = gdp_kv_mix(f->key, batch->hashes[e->hash_at + i + k]);
    for (unsigned stage = 0; stage < STAGES; stage++)
        for (uint32_t k = 0; k < n; k++) gdp_hash_ahead(f, e->medium, mixes[k], stage);
}
