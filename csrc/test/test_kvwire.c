/* test_kvwire.c -- events in every form a release has sent, cut at every byte, and what must not be taken for one. */
#include "gdp/kvwire.h"
#include "kvpack.h"
#include "test.h"

void gdp_test_kvwire_arrays(void);
void gdp_test_kvwire_maps(void);
void gdp_test_kvwire_extra_keys(void);
void gdp_test_kvwire_refused(void);
void gdp_test_kvwire_keeps_little(void);
void gdp_oom_kvwire(void);
void gdp_bench_kvwire(void);

/* 0.9.2, as recorded: a store with a parent and a large token id, then a removal. */
static const char gdp_092[] =
    "\x93\xcb\x41\xd9\x54\xfc\x40\x20\x00\x00\x92\x96\xab\x42\x6c\x6f\x63\x6b\x53\x74\x6f\x72\x65\x64\x91\x05\xcf\xff"
    "\xee\xdd\xcc\xbb\xaa\x99\x88\x94\xcd\x01\x2c\xce\x00\x01\x11\x70\x01\x02\x04\x07\x92\xac\x42\x6c\x6f\x63\x6b\x52"
    "\x65\x6d\x6f\x76\x65\x64\x91\xcf\x11\x22\x33\x44\x55\x66\x77\x88\x00";

/* Decodes behind both walls; every shorter piece is refused. */
static int64_t gdp_read(gdp_kv_batch *b, const void *bytes, size_t n)
{
    for (size_t cut = 0; cut < n && n < 4096; cut++)
        CHECK(gdp_kv_decode(b, gdp_walled(bytes, cut, cut % 2), cut) == GDP_BAD && b->why && b->n_events == 0);
    CHECK(gdp_kv_decode(b, gdp_walled(bytes, n, false), n) == gdp_kv_decode(b, gdp_walled(bytes, n, true), n));
    return gdp_kv_decode(b, bytes, n);
}

void gdp_test_kvwire_arrays(void)
{
    gdp_kv_batch b = {0};
    CHECK(gdp_read(&b, STR(gdp_092)) == 2);
    const gdp_kv_event *e = b.events;
    CHECK(b.ts == 1700000000.5 && b.rank == 0 && b.n_unknown == 0);
    CHECK(e[0].kind == GDP_KV_STORED && e[0].has_parent && e[0].parent.lo == 0xffeeddccbbaa9988u && !e[0].parent.hi);
    CHECK(e[0].n_hashes == 1 && b.hashes[e[0].hash_at].lo == 5 && e[0].block_size == 4 && e[0].n_tokens == 4);
    CHECK(b.tokens[e[0].token_at] == 300 && b.tokens[e[0].token_at + 1] == 70000 && b.tokens[e[0].token_at + 3] == 2);
    CHECK(e[0].medium == GDP_KV_GPU && e[0].full && !e[0].told && e[0].group == GDP_KV_NO_GROUP && !e[0].lora.len);
    CHECK(e[1].kind == GDP_KV_REMOVED && e[1].n_hashes == 1 && b.hashes[e[1].hash_at].lo == 0x1122334455667788u);

    /* longer than any release knows, negative and byte hashes, other media and kinds, two-item batch */
    gdp_pack p = {0};
    gdp_pack_batch(&p, 3);
    gdp_pack_array(&p, 14), gdp_pack_text(&p, "BlockStored"), gdp_pack_array(&p, 3);
    gdp_pack_number(&p, 0xff, 0, 0), gdp_pack_number(&p, 0xd3, (uint64_t)-2, 8);
    gdp_pack_bin(&p, "\1\2\3\4\5\6\7\10\11\12", 10);
    gdp_pack_bin(&p, "0123456789abcdefghijklmnopqrstuv", 32), gdp_pack_array(&p, 0), gdp_pack_uint(&p, 0);
    gdp_pack_uint(&p, 3), gdp_pack_text(&p, "cpu"), gdp_pack_text(&p, "ad"), gdp_pack_nil(&p), gdp_pack_uint(&p, 2);
    gdp_pack_text(&p, "mamba"), gdp_pack_uint(&p, 128);
    gdp_pack_map(&p, 1), gdp_pack_uint(&p, 1), gdp_pack_array(&p, 0), gdp_pack_uint(&p, 9);
    gdp_pack_array(&p, 3), gdp_pack_text(&p, "BlockMoved"), gdp_pack_uint(&p, 1), gdp_pack_nil(&p);
    gdp_pack_array(&p, 1), gdp_pack_text(&p, "AllBlocksCleared");
    CHECK(gdp_read(&b, p.bytes, p.n) == 2 && b.n_unknown == 1 && b.rank == -1);
    e = b.events;
    CHECK(b.hashes[0].lo == UINT64_MAX && b.hashes[1].lo == (uint64_t)-2 && b.hashes[1].hi == 0);
    CHECK(b.hashes[2].lo == 0x030405060708090au && b.hashes[2].hi == 0x0102);
    CHECK(e->parent.lo == (0x3839616263646566u ^ 0x6f70717273747576u));
    CHECK(e->parent.hi == (0x3031323334353637u ^ 0x6768696a6b6c6d6eu) && e->lora_id == 3);
    CHECK(e->n_tokens == 0 && e->block_size == 0 && e->medium == GDP_KV_CPU && e->group == 2 && e->told && !e->full);
    CHECK(e->lora.len == 2 && memcmp(p.bytes + e->lora.off, "ad", 2) == 0 && e[1].kind == GDP_KV_CLEARED);
    gdp_kv_batch_free(&b);
    free(p.bytes);
}

void gdp_test_kvwire_maps(void)
{
    static const uint64_t hashes[] = {1, UINT64_MAX};
    static const uint32_t tokens[] = {0, 127, 128, 255, 256, 65535, 65536, UINT32_MAX};
    gdp_kv_batch b = {0};
    gdp_pack p = {0};
    gdp_pack_batch(&p, 5);
    gdp_pack_stored(&p, &(gdp_pack_block){.hashes = hashes, .n = 2, .tokens = tokens, .n_tokens = 8, .block_size = 4,
                                          .medium = "GPU", .lora = "ad", .salt = "salt", .kind = "sink_full_attention"});
    gdp_pack_map(&p, 5); /* removal: other order, an unknown key, a key that is no string, copies */
    gdp_pack_text(&p, "remaining_copy_counts"), gdp_pack_array(&p, 2), gdp_pack_uint(&p, 1), gdp_pack_uint(&p, 0);
    gdp_pack_text(&p, "locality"), gdp_pack_map(&p, 1), gdp_pack_nil(&p), gdp_pack_array(&p, 0);
    gdp_pack_nil(&p), gdp_pack_nil(&p);
    gdp_pack_text(&p, "type"), gdp_pack_text(&p, "BlockRemoved");
    gdp_pack_text(&p, "block_hashes"), gdp_pack_array(&p, 2), gdp_pack_uint(&p, 1), gdp_pack_uint(&p, 2);
    gdp_pack_cleared(&p);
    gdp_pack_map(&p, 2), gdp_pack_text(&p, "token_ids"), gdp_pack_uint(&p, 1);
    gdp_pack_text(&p, "type"), gdp_pack_text(&p, "BlockMoved");
    gdp_pack_map(&p, 4), gdp_pack_text(&p, "type"), gdp_pack_text(&p, "BlockStored"); /* a field twice, lookahead */
    for (unsigned i = 1; i < 3; i++) {
        gdp_pack_text(&p, "block_hashes"), gdp_pack_array(&p, i);
        for (unsigned k = 0; k < i; k++) gdp_pack_uint(&p, 10 * i + k);
    }
    gdp_pack_text(&p, "lookahead_token_ids"), gdp_pack_array(&p, 1), gdp_pack_uint(&p, 4);
    CHECK(gdp_read(&b, p.bytes, p.n) == 4 && b.n_unknown == 1);
    const gdp_kv_event *e = b.events;
    CHECK(e[0].n_hashes == 2 && b.hashes[1].lo == UINT64_MAX && e[0].n_tokens == 8 && e[0].full && e[0].told);
    CHECK(memcmp(b.tokens, tokens, sizeof tokens) == 0 && e[0].n_extras == 2 && e[0].group == 0 && !e[0].has_parent);
    CHECK(b.extras[0].kind == GDP_KEY_BARE && b.extras[1].kind == GDP_KEY_BARE && b.extras[1].id.len == 4);
    CHECK(e[1].kind == GDP_KV_REMOVED && e[1].n_copies == 2 && b.copies[e[1].copy_at] == 1 && e[1].n_hashes == 2);
    CHECK(e[2].kind == GDP_KV_CLEARED);
    CHECK(e[3].n_hashes == 2 && b.hashes[e[3].hash_at + 1].lo == 21 && e[3].n_lookahead == 1 && e[3].n_tokens == 0);

    /* the batch as a map */
    p.n = 0;
    gdp_pack_map(&p, 4), gdp_pack_text(&p, "data_parallel_rank"), gdp_pack_uint(&p, 3), gdp_pack_text(&p, "new");
    gdp_pack_nil(&p), gdp_pack_text(&p, "events"), gdp_pack_array(&p, 1), gdp_pack_cleared(&p);
    gdp_pack_text(&p, "ts"), gdp_pack_uint(&p, 7);
    CHECK(gdp_read(&b, p.bytes, p.n) == 1 && b.rank == 3 && b.ts == 7);
    gdp_kv_batch_free(&b);
    free(p.bytes);
}

void gdp_test_kvwire_extra_keys(void)
{
    gdp_kv_batch b = {0};
    gdp_pack p = {0};
    gdp_pack_batch(&p, 1), gdp_pack_map(&p, 3), gdp_pack_text(&p, "type"), gdp_pack_text(&p, "BlockStored");
    gdp_pack_text(&p, "block_hashes"), gdp_pack_array(&p, 0), gdp_pack_text(&p, "extra_keys"), gdp_pack_array(&p, 3);
    gdp_pack_nil(&p);
    gdp_pack_array(&p, 7);
    gdp_pack_text(&p, "bare");
    gdp_pack_array(&p, 2), gdp_pack_text(&p, "id"), gdp_pack_uint(&p, 7);
    gdp_pack_array(&p, 3), gdp_pack_text(&p, "mm"), gdp_pack_text(&p, "id"), gdp_pack_number(&p, 0xff, 0, 0);
    gdp_pack_array(&p, 3), gdp_pack_text(&p, "lora"), gdp_pack_text(&p, "ad"), gdp_pack_text(&p, "/path");
    gdp_pack_array(&p, 2), gdp_pack_text(&p, "cache_salt"), gdp_pack_text(&p, "s");
    gdp_pack_array(&p, 2), gdp_pack_text(&p, "prompt_embeds"), gdp_pack_bin(&p, "xy", 2);
    gdp_pack_array(&p, 2), gdp_pack_text(&p, "new"), gdp_pack_array(&p, 1), gdp_pack_uint(&p, 1);
    gdp_pack_bin(&p, "digest", 6);
    CHECK(gdp_read(&b, p.bytes, p.n) == 1);
    static const uint8_t kinds[] = {GDP_KEY_BARE, GDP_KEY_MM,     GDP_KEY_MM,    GDP_KEY_LORA,
                                    GDP_KEY_SALT, GDP_KEY_EMBEDS, GDP_KEY_OTHER, GDP_KEY_EMBEDS};
    static const uint32_t lens[] = {4, 2, 2, 2, 1, 2, 7, 6};
    CHECK(b.events[0].n_extras == 8 && b.extras[1].offset == 7 && b.extras[2].offset == -1);
    for (int i = 0; i < 8; i++)
        CHECK(b.extras[i].kind == kinds[i] && b.extras[i].id.len == lens[i] && b.extras[i].block == (i < 7 ? 1 : 2));
    gdp_kv_batch_free(&b);
    free(p.bytes);
}

void gdp_test_kvwire_refused(void)
{
    static const struct {
        const char *why, *bytes;
        size_t n;
    } cases[] = {
#define WRONG(why, text) {why, text, sizeof(text) - 1}
        WRONG("CutShort", ""),
        WRONG("NotABatch", "\x01"),
        WRONG("ReservedByte", "\xc1"),
        WRONG("BatchTooShort", "\x91\x01"),
        WRONG("EventsNotAnArray", "\x92\x01\x01"),
        WRONG("NotAnEvent", "\x92\x01\x91\x01"),
        WRONG("NoEventType", "\x92\x01\x91\x90"),
        WRONG("NoEventType", "\x92\x01\x91\x91\x01"),
        WRONG("NoEventType", "\x92\x01\x91\x81\xa1x\x01"),
        WRONG("TrailingBytes", "\x92\x01\x90\x00"),
        WRONG("NoEvents", "\x81\xa2ts\x01"),
        WRONG("BadBatchKey", "\x81\x01\x01"),
        WRONG("BadRank", "\x93\x01\x90\xff"),
        WRONG("CutShort", "\x92\x01\xdd\xff\xff\xff\xff"),
        WRONG("CutShort", "\x92\x01\x91\xdf\x7f\xff\xff\xff\xa1"),
#undef WRONG
    };
    gdp_kv_batch b = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gdp_case(cases[i].why);
        CHECK(gdp_kv_decode(&b, gdp_walled(cases[i].bytes, cases[i].n, true), cases[i].n) == GDP_BAD);
        CHECK(strcmp(b.why, cases[i].why) == 0 && b.n_events == 0);
    }
    gdp_case(NULL);
    /* one field wrong in an event that is right, behind one that was read */
    static const struct {
        const char *why, *field;
        uint8_t value;
    } fields[] = {
        {"HashesNotAnArray", "block_hashes", 0x01}, {"NotAHash", "parent_block_hash", 0xa0},
        {"TokensNotAnArray", "token_ids", 0x01},    {"BadBlockSize", "block_size", 0xff},
        {"BadMedium", "medium", 0x01},              {"BadLoraName", "lora_name", 0x01},
        {"ExtraKeysNotAnArray", "extra_keys", 0x01}, {"BadGroup", "group_idx", 0xff},
        {"BadKind", "kv_cache_spec_kind", 0x01},    {"NoHashes", "medium", 0xc0},
    };
    gdp_pack p = {0};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        gdp_case(fields[i].why);
        gdp_pack_batch(&p, 2), gdp_pack_cleared(&p), gdp_pack_map(&p, 2), gdp_pack_text(&p, "type");
        gdp_pack_text(&p, "BlockStored"), gdp_pack_text(&p, fields[i].field);
        gdp_pack_number(&p, fields[i].value, 0, 0);
        CHECK(gdp_kv_decode(&b, p.bytes, p.n) == GDP_BAD && strcmp(b.why, fields[i].why) == 0 && b.n_events == 0);
    }
    gdp_case("EventTooShort");
    gdp_pack_batch(&p, 1), gdp_pack_array(&p, 1), gdp_pack_text(&p, "BlockRemoved");
    CHECK(gdp_kv_decode(&b, p.bytes, p.n) == GDP_BAD && strcmp(b.why, "EventTooShort") == 0);
    gdp_case(NULL);
    CHECK(gdp_kv_decode(&b, "", (size_t)GDP_KV_PAYLOAD_MAX + 1) == GDP_BAD && strcmp(b.why, "PayloadTooLong") == 0);
    free(p.bytes);
    gdp_kv_batch_free(&b);
}

/* A million nested arrays, and arrays that claim more than there is, cost nothing; a giant payload is not remembered. */
void gdp_test_kvwire_keeps_little(void)
{
    const size_t n = 8u << 20;
    uint8_t *deep = malloc(n);
    gdp_kv_batch b = {0};
    CHECK(deep != NULL);
    memset(deep, 0x91, n);
    deep[n - 1] = 0x01;
    deep[0] = 0x92, deep[1] = 0x01; /* [1, [[[[...]]]]]: an event whose type is an array */
    CHECK(gdp_kv_decode(&b, deep, n) == GDP_BAD && gdp_kv_batch_bytes(&b) < 16384);
    gdp_pack p = {0};
    gdp_pack_batch(&p, 1), gdp_pack_array(&p, 2), gdp_pack_text(&p, "BlockRemoved");
    gdp_pack_number(&p, 0xdd, 1u << 20, 4);
    for (uint32_t i = 0; i < 1u << 20; i++) gdp_pack_uint(&p, i & 0x7f);
    CHECK(gdp_kv_decode(&b, p.bytes, p.n) == 1 && gdp_kv_batch_bytes(&b) >= (16u << 20));
    CHECK(gdp_kv_decode(&b, "\x92\x01\x90", 3) == 0 && gdp_kv_batch_bytes(&b) == 0);
    free(p.bytes);
    free(deep);
    gdp_kv_batch_free(&b);
}

void gdp_oom_kvwire(void)
{
    gdp_kv_batch b = {0};
    const int64_t got = gdp_kv_decode(&b, STR(gdp_092));
    CHECK(got == 2 || (got == GDP_NOMEM && b.n_events == 0));
    gdp_kv_batch_free(&b);
}

/* ----------------------------------------------------- timing ---------------------------------------------------- */

typedef struct {
    gdp_kv_batch batch;
    gdp_pack pack;
} gdp_kvwire_bench;

static void gdp_kvwire_run(void *arg)
{
    gdp_kvwire_bench *b = arg;
    if (gdp_kv_decode(&b->batch, b->pack.bytes, b->pack.n) <= 0) abort();
}

void gdp_bench_kvwire(void)
{
    static uint32_t tokens[64 * 16];
    static uint64_t hashes[64];
    uint64_t seed = 5;
    gdp_kvwire_bench b = {0};
    for (int i = 0; i < 64; i++) hashes[i] = (uint64_t)gdp_random(&seed) << 32 | gdp_random(&seed);
    for (int i = 0; i < 64 * 16; i++) tokens[i] = gdp_random(&seed) % (gdp_random(&seed) % 4 ? 20000 : 128000);
    for (unsigned blocks = 1; blocks <= 64; blocks *= blocks < 4 ? 4 : 16) {
        char name[64];
        gdp_pack_batch(&b.pack, 1);
        gdp_pack_stored(&b.pack, &(gdp_pack_block){.hashes = hashes, .n = blocks, .parent = hashes, .tokens = tokens,
                                                   .n_tokens = 16 * blocks, .block_size = 16, .medium = "GPU",
                                                   .kind = "full_attention"});
        snprintf(name, sizeof name, "kvwire store of %u blocks, ns per block", blocks);
        gdp_bench_row(name, b.pack.n / blocks, gdp_bench_ns(gdp_kvwire_run, &b) / blocks);
    }
    gdp_kv_batch_free(&b.batch);
    free(b.pack.bytes);
}
