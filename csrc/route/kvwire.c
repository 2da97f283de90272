/* kvwire.c -- see kvwire.h. Events and batches; what they are made of stands in kvwire_fields.c and kvwire_extras.c,
 * and how it is spelt in kvwire_msgpack.c. */
#include "kvwire_inner.h"

/* ---------------------------------------------------- events ---------------------------------------------------- */

enum { GDP_KV_UNKNOWN = 3 };

static bool gdp_type(gdp_reader *r, uint8_t *kind)
{
    gdp_span s;
    if (!gdp_kv_text(r, "NoEventType", &s)) return false;
    *kind = gdp_kv_spells(r, s, "BlockStored")        ? GDP_KV_STORED
            : gdp_kv_spells(r, s, "BlockRemoved")     ? GDP_KV_REMOVED
            : gdp_kv_spells(r, s, "AllBlocksCleared") ? GDP_KV_CLEARED
                                                      : GDP_KV_UNKNOWN;
    return s.len > 0 || gdp_mp_wrong(r, "NoEventType");
}

static bool gdp_array_event(gdp_reader *r, uint64_t n, gdp_kv_event *e)
{
    static const uint8_t least[] = {5, 2, 1};
    if (n == 0) return gdp_mp_wrong(r, "NoEventType");
    if (!gdp_type(r, &e->kind)) return false;
    if (e->kind == GDP_KV_UNKNOWN) return gdp_mp_skip_n(r, n - 1);
    if (n < least[e->kind]) return gdp_mp_wrong(r, "EventTooShort");
    uint64_t known, i = 1;
    gdp_kv_field_fn *const *places = gdp_kv_places(e->kind, &known);
    for (; i < n && i <= known; i++)
        if (!places[i - 1](r, e)) return false;
    return gdp_mp_skip_n(r, n - i);
}

/* The type of a map event, wherever it stands: only then is it known what the other fields may be. */
static bool gdp_map_type(gdp_reader *r, uint64_t n, uint8_t *kind)
{
    for (; n > 0; n--) {
        gdp_head h;
        if (!gdp_mp_next(r, &h)) return false;
        if (h.type == MP_STR) {
            const gdp_span name = gdp_mp_take(r, &h);
            if (gdp_kv_spells(r, name, "type")) return gdp_type(r, kind);
        } else if (!gdp_mp_skip_rest(r, h)) {
            return false;
        }
        if (!gdp_mp_skip(r)) return false;
    }
    return gdp_mp_wrong(r, "NoEventType");
}

static bool gdp_map_event(gdp_reader *r, uint64_t n, gdp_kv_event *e)
{
    const uint8_t *from = r->p;
    if (!gdp_map_type(r, n, &e->kind)) return false;
    r->p = from;
    if (e->kind == GDP_KV_UNKNOWN) return gdp_mp_skip_n(r, 2 * n);
    bool hashes = false;
    for (size_t hint = GDP_KV_HINT; n > 0; n--) {
        gdp_head h;
        if (!gdp_mp_next(r, &h)) return false;
        gdp_kv_field_fn *read = NULL;
        if (h.type == MP_STR)
            read = gdp_kv_field_named(r, gdp_mp_take(r, &h), &hint);
        else if (!gdp_mp_skip_rest(r, h))
            return false;
        hashes |= read == gdp_kv_hashes;
        if (!(read ? read(r, e) : gdp_mp_skip(r))) return false;
    }
    return hashes || e->kind == GDP_KV_CLEARED || gdp_mp_wrong(r, "NoHashes");
}

static bool gdp_event_read(gdp_reader *r)
{
    gdp_kv_batch *b = r->batch;
    gdp_head h;
    if (!gdp_mp_next(r, &h) || !GDP_ROOM(r, events, 1)) return false;
    gdp_kv_event *e = &b->events[b->n_events];
    *e = (gdp_kv_event){.full = true, .group = GDP_KV_NO_GROUP, .lora_id = -1};
    if (h.type != MP_ARRAY && h.type != MP_MAP) return gdp_mp_wrong(r, "NotAnEvent");
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
    if (!gdp_mp_next(r, &h)) return false;
    if (h.type == MP_FLOAT)
        memcpy(&r->batch->ts, &h.n, 8);
    else if (h.type == MP_UINT)
        r->batch->ts = (double)h.n;
    return gdp_mp_skip_rest(r, h);
}

static bool gdp_events(gdp_reader *r)
{
    gdp_kv_batch *b = r->batch;
    gdp_head h;
    if (!gdp_mp_next(r, &h)) return false;
    if (h.type != MP_ARRAY) return gdp_mp_wrong(r, "EventsNotAnArray");
    b->n_events = b->n_unknown = 0; /* a map may name them twice: the last one counts */
    for (uint64_t n = h.n; n > 0; n--)
        if (!gdp_event_read(r)) return false;
    return true;
}

static bool gdp_rank(gdp_reader *r)
{
    uint64_t n = UINT64_MAX;
    if (!gdp_kv_number(r, INT32_MAX, "BadRank", &n)) return false;
    r->batch->rank = n == UINT64_MAX ? -1 : (int32_t)n;
    return true;
}

static bool gdp_array_batch(gdp_reader *r, uint64_t n)
{
    if (n < 2) return gdp_mp_wrong(r, "BatchTooShort");
    if (!gdp_ts(r) || !gdp_events(r)) return false;
    return n == 2 || (gdp_rank(r) && gdp_mp_skip_n(r, n - 3));
}

static bool gdp_map_batch(gdp_reader *r, uint64_t n)
{
    bool events = false;
    for (; n > 0; n--) {
        gdp_span name;
        bool right;
        if (!gdp_kv_text(r, "BadBatchKey", &name)) return false;
        if (gdp_kv_spells(r, name, "ts"))
            right = gdp_ts(r);
        else if (gdp_kv_spells(r, name, "events"))
            right = gdp_events(r), events = true;
        else
            right = gdp_kv_spells(r, name, "data_parallel_rank") ? gdp_rank(r) : gdp_mp_skip(r);
        if (!right) return false;
    }
    return events || gdp_mp_wrong(r, "NoEvents");
}

static bool gdp_payload(gdp_reader *r, size_t len)
{
    gdp_head h;
    if (len > GDP_KV_PAYLOAD_MAX) return gdp_mp_wrong(r, "PayloadTooLong");
    if (!gdp_mp_next(r, &h)) return false;
    if (h.type != MP_ARRAY && h.type != MP_MAP) return gdp_mp_wrong(r, "NotABatch");
    if (!(h.type == MP_ARRAY ? gdp_array_batch : gdp_map_batch)(r, h.n)) return false;
    return r->p == r->end || gdp_mp_wrong(r, "TrailingBytes");
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
