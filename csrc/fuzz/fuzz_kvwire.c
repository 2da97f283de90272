/* fuzz_kvwire.c -- payloads of KV events: what is read lies inside, and feeds count what they are told.
 *
 * Several payloads may stand in one input, one behind the other with two bytes of length and one of flags in front, so
 * that a feed sees stores, removals and clearings in a row. The sink only counts: at no time may it hold more blocks than
 * the feed holds hashes, and when everything is dropped it must hold nothing. */
#include "fuzz.h"
#include "gdp/kvfeed.h"

int gdp_fuzz_kvwire(const uint8_t *data, size_t size);

/* Blocks per medium, in a small table of those held: a model would be the feed once more. */
typedef struct {
    struct {
        uint64_t chain;
        uint8_t medium;
    } held[4096];
    size_t n;
    bool full; /* the table: from here on only calls are made */
} gdp_fuzz_sink;

static size_t gdp_fuzz_at(const gdp_fuzz_sink *s, uint8_t medium, uint64_t chain)
{
    size_t i = 0;
    while (i < s->n && (s->held[i].chain != chain || s->held[i].medium != medium)) i++;
    return i;
}

static int gdp_fuzz_store(void *self, uint32_t slot, uint8_t medium, uint64_t parent, bool first, const uint64_t *chain,
                          uint32_t n, bool *held)
{
    gdp_fuzz_sink *s = self;
    (void)parent, (void)first;
    FUZZ_CHECK(slot == 3 && medium < 3 && n > 0);
    for (uint32_t i = 0; i < n; i++) {
        held[i] = gdp_fuzz_at(s, medium, chain[i]) < s->n;
        if (held[i]) continue;
        s->full |= s->n == sizeof s->held / sizeof s->held[0];
        if (s->full) return GDP_BAD;
        s->held[s->n].chain = chain[i];
        s->held[s->n++].medium = medium;
    }
    return 0;
}

static void gdp_fuzz_remove(void *self, uint32_t slot, uint8_t medium, uint64_t chain)
{
    gdp_fuzz_sink *s = self;
    const size_t i = gdp_fuzz_at(s, medium, chain);
    FUZZ_CHECK(slot == 3 && (i < s->n || s->full));
    if (i < s->n) s->held[i] = s->held[--s->n];
}

static void gdp_fuzz_clear(void *self, uint32_t slot)
{
    FUZZ_CHECK(slot == 3);
    ((gdp_fuzz_sink *)self)->n = 0;
}

static void gdp_fuzz_ahead(void *self, const uint64_t *chain, uint32_t n, bool near)
{
    (void)near;
    FUZZ_CHECK(self && n > 0 && n <= 128);
    for (uint32_t i = 0; i < n; i++) FUZZ_CHECK(*(const volatile uint64_t *)&chain[i] == chain[i]); /* it may be read */
}

static void gdp_fuzz_event(const gdp_kv_batch *b, const gdp_kv_event *e, size_t size)
{
    FUZZ_CHECK(e->kind <= GDP_KV_CLEARED && e->medium <= GDP_KV_ELSEWHERE && (e->full || e->told));
    FUZZ_CHECK((uint64_t)e->hash_at + e->n_hashes <= b->n_hashes && (uint64_t)e->token_at + e->n_tokens <= b->n_tokens);
    FUZZ_CHECK((uint64_t)e->extra_at + e->n_extras <= b->n_extras && (uint64_t)e->copy_at + e->n_copies <= b->n_copies);
    FUZZ_INSIDE(e->lora, size);
    for (uint32_t i = 0; i < e->n_extras; i++) {
        FUZZ_INSIDE(b->extras[e->extra_at + i].id, size);
        FUZZ_CHECK(b->extras[e->extra_at + i].kind <= GDP_KEY_OTHER);
        FUZZ_CHECK(i == 0 || b->extras[e->extra_at + i - 1].block <= b->extras[e->extra_at + i].block);
    }
}

static void gdp_fuzz_payload(gdp_kv_batch *b, gdp_kvfeed *feed, const uint8_t *payload, size_t size, uint32_t flags)
{
    const int64_t got = gdp_kv_decode(b, payload, size);
    FUZZ_CHECK(got >= 0 ? got == b->n_events && !b->why : got == GDP_BAD && b->why && b->at <= size && !b->n_events);
    FUZZ_CHECK(b->n_events + b->n_unknown <= size && b->n_tokens <= size && b->n_hashes <= size);
    FUZZ_CHECK(gdp_kv_batch_bytes(b) <= (1u << 20) + 512 * size);
    for (int64_t i = 0; i < got; i++) gdp_fuzz_event(b, &b->events[i], size);
    FUZZ_CHECK(gdp_kvfeed_apply(feed, b, (const char *)payload, flags) == 0);
}

int gdp_fuzz_kvwire(const uint8_t *data, size_t size)
{
    static gdp_fuzz_sink sink;
    gdp_chain_key key;
    gdp_kv_batch batch = {0};
    sink.n = 0, sink.full = false;
    gdp_chain_key_init(&key, "fuzz", 4);
    gdp_arena *arena = gdp_arena_new();
    gdp_kvfeed *feed = gdp_kvfeed_new_in(&(gdp_kvfeed_options){
        3, &key, "m", 1, {&sink, gdp_fuzz_store, gdp_fuzz_remove, gdp_fuzz_clear, gdp_fuzz_ahead}, 1, 512}, arena);
    FUZZ_CHECK(arena != NULL && feed != NULL);
    for (size_t at = 0; at + 3 <= size;) {
        size_t len = (size_t)data[at] << 8 | data[at + 1];
        const uint32_t flags = data[at + 2] & GDP_KV_ASKED;
        at += 3;
        if (len > size - at) len = size - at;
        gdp_fuzz_payload(&batch, feed, data + at, len, flags);
        FUZZ_CHECK(sink.n <= gdp_kvfeed_held(feed));
        at += len;
    }
    const gdp_kvfeed_counts *c = gdp_kvfeed_counted(feed);
    FUZZ_CHECK(c->waiting >= c->joined + c->dropped && gdp_kvfeed_bytes(feed) < 65536 + 64 * size);
    while (gdp_kvfeed_drop(feed, 3) > 0) FUZZ_CHECK(sink.n <= gdp_kvfeed_held(feed));
    FUZZ_CHECK(sink.n == 0 && c->waiting == c->joined + c->dropped);
    gdp_kvfeed_free(feed);
    gdp_arena_free(arena);
    gdp_kv_batch_free(&batch);
    return 0;
}
