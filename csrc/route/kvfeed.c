/* kvfeed.c -- see kvfeed.h. From the bottom up: hashes held, rows of blocks, what an event says of them, events. */
#include "gdp/kvfeed.h"

#include <string.h>

#include "kvfeed_inner.h"

enum { MEDIA = GDP_KV_MEDIA, PIECE = 128, AHEAD = 16 };

/* ------------------------------------------------------ held ---------------------------------------------------- */

static void gdp_feed_starve(gdp_kvfeed *f, bool done) { f->starved |= !done; }

static void gdp_feed_copy(gdp_kvfeed *f, uint64_t key, bool asked)
{
    f->counts.copies++;
    if (!asked) gdp_feed_starve(f, gdp_side_set(&f->copies, key, gdp_side_get(&f->copies, key) + 1));
}

/* A block has lost one of its names; with the last one it leaves the index. */
static void gdp_feed_unname(gdp_kvfeed *f, uint8_t medium, uint64_t chain)
{
    const uint64_t key = gdp_name_key(medium, chain), more = gdp_side_get(&f->names, key);
    if (GDP_UNLIKELY(more))
        gdp_side_set(&f->names, key, more - 1);
    else
        f->sink.remove(f->sink.self, f->slot, medium, chain);
}

/* What holding one hash more has changed: whether it is new, and the block that it no longer means (0: none). */
typedef struct {
    bool fresh;
    uint64_t was;
} gdp_change;

/* False: no memory, and nothing has changed. */
static bool gdp_feed_hold(gdp_kvfeed *f, uint8_t medium, uint64_t mix, uint64_t chain, bool asked, gdp_change *change)
{
    const gdp_holding at = gdp_feed_find(f, medium, mix);
    *change = (gdp_change){!at.held, 0};
    if (!at.held) return gdp_pages_put(&f->held[medium], f->base, mix, chain);
    if (GDP_LIKELY(at.chain == chain)) {
        gdp_feed_copy(f, at.key, asked);
        return true;
    }
    /* another hash in the same place, or the same one with another meaning: then the last one counts */
    *change = (gdp_change){true, at.place ? 0 : at.chain};
    return gdp_side_set(&f->exact, gdp_exact_key(medium, mix), chain ? chain : 1); /* 0 and 1 are one name */
}

/* One copy less; `left`: how many the engine says remain, or -1. */
static void gdp_feed_release(gdp_kvfeed *f, uint8_t medium, gdp_kv_hash hash, int64_t left)
{
    const uint64_t mix = gdp_kv_mix(f->key, hash);
    const gdp_holding at = gdp_feed_find(f, medium, mix);
    if (!at.held) {
        const bool waited = gdp_wait_remove(&f->wait, medium, hash);
        *(waited ? &f->counts.dropped : &f->counts.unknown_removed) += 1;
        return;
    }
    const uint64_t more = gdp_side_get(&f->copies, at.key);
    f->counts.removed++;
    if (left < 0) left = (int64_t)more;
    if (left > 0) {
        gdp_feed_starve(f, gdp_side_set(&f->copies, at.key, (uint64_t)left - 1));
        return;
    }
    if (more) gdp_side_set(&f->copies, at.key, 0);
    if (at.place)
        gdp_pages_take(&f->held[medium], mix, at.place);
    else
        gdp_side_set(&f->exact, at.key, 0);
    gdp_feed_unname(f, medium, at.chain);
}

/* ------------------------------------------------------ rows ---------------------------------------------------- */

/* Tells the sink of blocks whose hashes are held by now. A block that was there under another name has one more. */
static void gdp_feed_tell(gdp_kvfeed *f, uint8_t medium, uint64_t parent, bool first, const uint64_t *chain, uint32_t n,
                          const gdp_change *change)
{
    bool held[PIECE] = {false};
    const int rc = f->sink.store(f->sink.self, f->slot, medium, parent, first, chain, n, held);
    f->counts.stored += n;
    gdp_feed_starve(f, rc != GDP_NOMEM);
    for (uint32_t i = 0; i < n; i++) {
        if (GDP_UNLIKELY(rc >= 0 && held[i] && change[i].fresh)) {
            const uint64_t key = gdp_name_key(medium, chain[i]);
            gdp_feed_starve(f, gdp_side_set(&f->names, key, gdp_side_get(&f->names, key) + 1));
        }
        if (GDP_UNLIKELY(change[i].was)) gdp_feed_unname(f, medium, change[i].was);
    }
}

static void gdp_feed_join(gdp_kvfeed *f, uint64_t mix, uint64_t chain)
{
    for (gdp_waiter *w = gdp_wait_join(&f->wait, mix), *next; w; w = next) {
        next = w->next;
        w->parent = chain;
        w->next = f->ready;
        f->ready = w;
    }
}

static void gdp_feed_row(gdp_kvfeed *f, const gdp_row *row, uint64_t parent, bool first)
{
    uint64_t mixes[PIECE], chain[PIECE];
    gdp_change change[PIECE];
    for (uint32_t at = 0, n; at < row->n; at += n, first = false, parent = chain[n - 1]) {
        n = row->n - at < PIECE ? row->n - at : PIECE;
        for (uint32_t i = 0; i < n; i++) {
            mixes[i] = gdp_kv_mix(f->key, row->hashes[at + i]);
            gdp_pages_far_ahead(&f->held[row->medium], mixes[i]);
        }
        gdp_chain(f->key, parent, row->tokens + (size_t)at * row->block_size, (size_t)n * row->block_size,
                  row->block_size, row->extras ? row->extras + at : NULL, chain);
        uint32_t kept = 0;
        for (uint32_t i = 0; i < n && i < AHEAD; i++) gdp_pages_ahead(&f->held[row->medium], mixes[i]);
        for (; kept < n; kept++) {
            if (kept + AHEAD < n)
                gdp_pages_ahead(&f->held[row->medium], mixes[kept + AHEAD]);
            else if (kept + AHEAD == n || n < AHEAD)
                if (f->sink.ahead) f->sink.ahead(f->sink.self, chain, n < AHEAD ? n : AHEAD, false);
            if (!gdp_feed_hold(f, row->medium, mixes[kept], chain[kept], row->asked, &change[kept])) break;
        }
        if (kept > 0) gdp_feed_tell(f, row->medium, parent, first, chain, kept, change);
        if (f->wait.oldest)
            for (uint32_t i = 0; i < kept; i++) gdp_feed_join(f, mixes[i], chain[i]);
        if (GDP_UNLIKELY(kept < n)) {
            f->starved = true;
            return;
        }
    }
}

/* Rows whose parents have come, and rows that waited for those. What was removed while it waited leaves only after all
 * are in, as it did in the engine: others may stand behind it. */
static void gdp_feed_ready(gdp_kvfeed *f)
{
    gdp_waiter *done = NULL;
    for (gdp_waiter *w; (w = f->ready); w->next = done, done = w) {
        f->ready = w->next;
        f->counts.joined += w->row.n - w->n_gone;
        gdp_feed_row(f, &w->row, w->parent, false);
    }
    for (gdp_waiter *w = done; w; w = done) {
        for (uint32_t i = 0; i < w->row.n && w->n_gone; i++)
            if (w->gone[i / 8] >> i % 8 & 1) gdp_feed_release(f, w->row.medium, w->row.hashes[i], -1);
        done = w->next;
        gdp_free(w);
    }
}

static void gdp_feed_put_aside(gdp_kvfeed *f, const gdp_row *row, uint64_t parent_mix)
{
    const gdp_wait_result result = gdp_wait_put(&f->wait, row, parent_mix);
    f->counts.waiting += row->n;
    f->counts.dropped += result.dropped + (result.rc == 1 ? 0 : row->n);
    gdp_feed_starve(f, result.rc != GDP_NOMEM);
}

/* ------------------------------------------------------ keys ---------------------------------------------------- */

/* A store event, and what its keys say apart from the tokens. */
typedef struct {
    const gdp_kv_batch *batch;
    const gdp_kv_event *e;
    const char *payload;
    const gdp_kv_extra *lora, *salt; /* keys that belong into the root, or NULL */
} gdp_told;

static inline const char *gdp_text_at(const gdp_told *t, gdp_span s) { return s.len ? t->payload + s.off : ""; }

/* The adapter is a block's first key, if it has one. */
static bool gdp_is_lora(const gdp_told *t, const gdp_kv_extra *k)
{
    const gdp_span name = t->e->lora;
    if (k->kind != GDP_KEY_BARE) return k->kind == GDP_KEY_LORA;
    if (k != t->batch->extras + t->e->extra_at && k[-1].block == k->block) return false;
    return k->id.len == name.len && memcmp(gdp_text_at(t, k->id), gdp_text_at(t, name), name.len) == 0;
}

/* The adapter stands on every block, the salt on the first one of a prompt. Untagged, the first string of a block is the
 * adapter if it is called so; else, on a first block, the last one is the salt. (An image's name, untagged and alone
 * there, is taken for a salt: it keeps the prompt apart from all others just as well.) */
static gdp_told gdp_told_of(const gdp_kv_batch *batch, const gdp_kv_event *e, const char *payload)
{
    gdp_told t = {batch, e, payload, NULL, NULL};
    const gdp_kv_extra *keys = batch->extras + e->extra_at;
    for (uint32_t i = 0; !e->has_parent && i < e->n_extras && keys[i].block == 0; i++) {
        const bool tagged = t.salt && t.salt->kind == GDP_KEY_SALT;
        if (gdp_is_lora(&t, &keys[i]))
            t.lora = &keys[i];
        else if (keys[i].kind == GDP_KEY_SALT || (keys[i].kind == GDP_KEY_BARE && !tagged))
            t.salt = &keys[i];
    }
    return t;
}

/* An adapter that has only a number (before 0.14) is none that a request could name, and not the base model either. */
static uint64_t gdp_told_root(const gdp_kvfeed *f, const gdp_told *t)
{
    gdp_span lora = t->e->lora.len || !t->lora ? t->e->lora : t->lora->id;
    char number[5] = {0};
    const gdp_span salt = t->salt ? t->salt->id : (gdp_span){0, 0};
    gdp_scope scope = {f->model,           gdp_text_at(t, lora), gdp_text_at(t, salt), f->model_len, lora.len, salt.len,
                       t->e->block_size};
    if (lora.len == 0 && t->e->lora_id > 0) {
        memcpy(number + 1, &t->e->lora_id, 4);
        scope.lora = number;
        scope.lora_len = sizeof number;
    }
    return gdp_chain_root(f->key, &scope);
}

static bool gdp_in_root(const gdp_told *t, const gdp_kv_extra *k) { return k == t->salt || gdp_is_lora(t, k); }

static uint64_t gdp_told_extra(const gdp_kvfeed *f, const gdp_told *t, const gdp_kv_extra *k, uint64_t extra)
{
    static const uint8_t kinds[] = {GDP_EXTRA_MM,   GDP_EXTRA_SALT,   GDP_EXTRA_MM,
                                    GDP_EXTRA_SALT, GDP_EXTRA_EMBEDS, GDP_EXTRA_OTHER}; /* by gdp_kv_key_kind */
    return gdp_chain_extra(f->key, extra, (gdp_extra_kind)kinds[k->kind], gdp_text_at(t, k->id), k->id.len, k->offset);
}

/* One value per block, for gdp_chain(); *out is NULL where no block has keys of its own. False: no memory. */
static bool gdp_told_extras(const gdp_kvfeed *f, const gdp_told *t, uint64_t **out)
{
    const gdp_kv_extra *keys = t->batch->extras + t->e->extra_at;
    *out = NULL;
    for (uint32_t i = 0; i < t->e->n_extras; i++) {
        if (gdp_in_root(t, &keys[i]) || keys[i].block >= t->e->n_hashes) continue;
        if (!*out && !(*out = gdp_alloc(t->e->n_hashes * sizeof **out))) return false;
        (*out)[keys[i].block] = gdp_told_extra(f, t, &keys[i], (*out)[keys[i].block]);
    }
    return true;
}

/* ----------------------------------------------------- events --------------------------------------------------- */

static bool gdp_feed_follows(const gdp_kvfeed *f, const gdp_kv_event *e)
{
    const bool group = e->group == GDP_KV_NO_GROUP || f->group == GDP_KV_NO_GROUP || e->group == f->group;
    return group && e->full && e->medium < MEDIA;
}

/* A store without tokens: hashes that we know from elsewhere are there, too. */
static void gdp_feed_also(gdp_kvfeed *f, const gdp_kv_batch *batch, const gdp_kv_event *e, bool asked)
{
    for (uint32_t i = 0; i < e->n_hashes; i++) {
        const uint64_t mix = gdp_kv_mix(f->key, batch->hashes[e->hash_at + i]);
        uint64_t chain;
        gdp_change change;
        if (!gdp_feed_chain(f, e->medium, mix, &chain))
            f->counts.unknown_hash++;
        else if (gdp_feed_hold(f, e->medium, mix, chain, asked, &change))
            gdp_feed_tell(f, e->medium, chain, false, &chain, 1, &change);
        else
            f->starved = true;
    }
}

static void gdp_feed_blocks(gdp_kvfeed *f, const gdp_told *t, bool asked)
{
    const gdp_kv_event *e = t->e;
    const gdp_kv_batch *b = t->batch;
    uint64_t *extras, parent;
    if (!gdp_told_extras(f, t, &extras)) {
        f->starved = true;
        return;
    }
    const gdp_row row = {e->medium, asked, e->n_hashes, e->block_size, b->hashes + e->hash_at, b->tokens + e->token_at,
                         extras};
    const uint64_t mix = e->has_parent ? gdp_kv_mix(f->key, e->parent) : 0;
    if (!e->has_parent)
        gdp_feed_row(f, &row, gdp_told_root(f, t), true);
    else if (gdp_feed_chain(f, e->medium, mix, &parent))
        gdp_feed_row(f, &row, parent, false);
    else
        gdp_feed_put_aside(f, &row, mix);
    gdp_feed_ready(f);
    gdp_free(extras);
}

static void gdp_feed_stored(gdp_kvfeed *f, const gdp_told *t, bool asked)
{
    const gdp_kv_event *e = t->e;
    if (e->n_tokens == 0) {
        gdp_feed_also(f, t->batch, e, asked);
        return;
    }
    if ((uint64_t)e->n_hashes * e->block_size != e->n_tokens || e->block_size < f->block_size) {
        f->counts.uneven++;
        return;
    }
    f->block_size = e->block_size;
    if (e->group != GDP_KV_NO_GROUP) f->group = e->group;
    gdp_feed_blocks(f, t, asked);
}

static void gdp_feed_removed(gdp_kvfeed *f, const gdp_kv_batch *batch, const gdp_kv_event *e)
{
    const uint32_t *left = e->n_copies == e->n_hashes ? batch->copies + e->copy_at : NULL;
    for (uint32_t i = 0; i < e->n_hashes; i++) {
        if (e->n_hashes > 1 && i % GDP_KV_FORESEEN == 0) gdp_feed_foresee(f, batch, e, i);
        gdp_feed_release(f, e->medium, batch->hashes[e->hash_at + i], left ? (int64_t)left[i] : -1);
    }
}

int gdp_kvfeed_apply(gdp_kvfeed *f, const gdp_kv_batch *batch, const char *payload, uint32_t flags)
{
    f->starved = false;
    gdp_feed_begin(f, batch);
    for (uint32_t i = 0; i < batch->n_events; i++) {
        const gdp_kv_event *e = &batch->events[i];
        gdp_feed_ahead(f, batch, i);
        if (e->kind == GDP_KV_CLEARED) {
            gdp_kvfeed_clear(f);
        } else if (!gdp_feed_follows(f, e)) {
            f->counts.other_groups++;
        } else if (e->kind == GDP_KV_STORED) {
            const gdp_told told = gdp_told_of(batch, e, payload);
            gdp_feed_stored(f, &told, flags & GDP_KV_ASKED);
        } else {
            gdp_feed_removed(f, batch, e);
        }
    }
    return f->starved ? GDP_NOMEM : 0;
}

/* ------------------------------------------------------ life ---------------------------------------------------- */

gdp_kvfeed *gdp_kvfeed_new(const gdp_kvfeed_options *o) { return gdp_kvfeed_new_in(o, NULL); }

gdp_kvfeed *gdp_kvfeed_new_in(const gdp_kvfeed_options *o, gdp_arena *arena)
{
    gdp_kvfeed *f = gdp_alloc(sizeof *f + o->model_len);
    if (!f) return NULL;
    f->key = o->key;
    f->sink = o->sink;
    f->slot = o->slot;
    for (int medium = 0; medium < MEDIA; medium++) f->held[medium].arena = arena;
    f->group = GDP_KV_NO_GROUP;
    f->base = gdp_pages_base(o->blocks ? o->blocks : 65536);
    f->wait.bytes_max = o->waiting_max ? o->waiting_max : 65536;
    f->model_len = o->model_len;
    if (o->model_len) memcpy(f->model, o->model, o->model_len);
    return f;
}

static void gdp_feed_forget(gdp_kvfeed *f)
{
    for (int medium = 0; medium < MEDIA; medium++) gdp_pages_free(&f->held[medium]);
    gdp_side_free(&f->exact);
    gdp_side_free(&f->copies);
    gdp_side_free(&f->names);
    f->counts.dropped += gdp_wait_clear(&f->wait);
    f->group = GDP_KV_NO_GROUP;
    f->block_size = 0;
}

void gdp_kvfeed_clear(gdp_kvfeed *f)
{
    gdp_feed_forget(f);
    f->counts.cleared++;
    f->sink.clear(f->sink.self, f->slot);
}

size_t gdp_kvfeed_drop(gdp_kvfeed *f, size_t budget)
{
    f->counts.dropped += gdp_wait_clear(&f->wait);
    for (uint8_t medium = 0; medium < MEDIA; medium++) {
        uint64_t mix, *place;
        for (; budget > 0 && (place = gdp_pages_any(&f->held[medium], &mix)); budget--) {
            const uint64_t chain = *place;
            gdp_side_set(&f->copies, gdp_page_key(f, medium, mix), 0);
            gdp_pages_take(&f->held[medium], mix, place);
            gdp_feed_unname(f, medium, chain);
        }
    }
    size_t left = 0;
    for (int medium = 0; medium < MEDIA; medium++) left += f->held[medium].n;
    if (left > 0) return left + f->exact.n;
    gdp_feed_forget(f);
    f->sink.clear(f->sink.self, f->slot);
    return 0;
}

void gdp_kvfeed_free(gdp_kvfeed *f)
{
    if (!f) return;
    gdp_feed_forget(f);
    gdp_free(f);
}

size_t gdp_kvfeed_held(const gdp_kvfeed *f)
{
    size_t n = f->exact.n;
    for (int medium = 0; medium < MEDIA; medium++) n += f->held[medium].n;
    return n;
}

size_t gdp_kvfeed_bytes(const gdp_kvfeed *f)
{
    size_t bytes = sizeof *f + f->model_len + gdp_wait_bytes(&f->wait);
    bytes += gdp_side_bytes(&f->exact) + gdp_side_bytes(&f->copies) + gdp_side_bytes(&f->names);
    for (int medium = 0; medium < MEDIA; medium++) bytes += f->held[medium].bytes;
    return bytes;
}

const gdp_kvfeed_counts *gdp_kvfeed_counted(const gdp_kvfeed *f) { return &f->counts; }

uint32_t gdp_kvfeed_find(const gdp_kvfeed *f, uint8_t medium, gdp_kv_hash hash, uint64_t *chain)
{
    const gdp_holding at = gdp_feed_find(f, medium, gdp_kv_mix(f->key, hash));
    if (!at.held) return 0;
    *chain = at.chain;
    return 1 + (uint32_t)gdp_side_get(&f->copies, at.key);
}
