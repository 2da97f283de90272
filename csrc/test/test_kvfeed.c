/* test_kvfeed.c -- one behaviour of engines after another, told to a feed whose sink is a list of what is held. */
#include "gdp/kvfeed.h"
#include "kvpack.h"
#include "kvsink.h"
#include "test.h"

#include "../route/kvfeed_inner.h"

void gdp_test_kvfeed_copies(void);
void gdp_test_kvfeed_asked(void);
void gdp_test_kvfeed_remaining_copies(void);
void gdp_test_kvfeed_cleared(void);
void gdp_test_kvfeed_waits(void);
void gdp_test_kvfeed_waits_within_its_cap(void);
void gdp_test_kvfeed_groups(void);
void gdp_test_kvfeed_media(void);
void gdp_test_kvfeed_scopes(void);
void gdp_test_kvfeed_two_names(void);
void gdp_test_kvfeed_meeting_hashes(void);
void gdp_test_kvfeed_memory(void);
void gdp_test_kvfeed_drop(void);
void gdp_oom_kvfeed(void);
void gdp_bench_kvfeed(void);

enum { SIZE = 4, BLOCKS = 8 };

/* A feed, its sink, and a prompt of eight blocks whose hashes are 100, 101, ... */
typedef struct {
    gdp_chain_key key;
    gdp_kvsink sink;
    gdp_kvfeed *feed;
    gdp_kv_batch batch;
    gdp_pack pack;
    uint64_t hashes[BLOCKS], chain[BLOCKS];
    uint32_t tokens[BLOCKS * SIZE];
} gdp_scene_kv;

static void gdp_prompt_chain(const gdp_scene_kv *s, const char *lora, const char *salt, const uint64_t *extras,
                             uint64_t *out)
{
    const gdp_scope scope = {"m", lora, salt, 1, strlen(lora), strlen(salt), SIZE};
    gdp_chain(&s->key, gdp_chain_root(&s->key, &scope), s->tokens, BLOCKS * SIZE, SIZE, extras, out);
}

static gdp_scene_kv *gdp_kv_begin(uint32_t blocks, uint32_t waiting_max)
{
    gdp_scene_kv *s = calloc(1, sizeof *s);
    CHECK(s != NULL);
    gdp_chain_key_init(&s->key, STR("secret"));
    for (uint32_t i = 0; i < BLOCKS * SIZE; i++) s->tokens[i] = i * i;
    for (uint32_t i = 0; i < BLOCKS; i++) s->hashes[i] = 100 + i;
    gdp_prompt_chain(s, "", "", NULL, s->chain);
    s->feed = gdp_kvfeed_new(&(gdp_kvfeed_options){7, &s->key, "m", 1, gdp_kvsink_of(&s->sink), blocks, waiting_max});
    return s;
}

static void gdp_kv_end(gdp_scene_kv *s)
{
    gdp_kvfeed_free(s->feed);
    gdp_kv_batch_free(&s->batch);
    gdp_kvsink_free(&s->sink);
    free(s->pack.bytes);
    free(s);
}

static int gdp_kv_apply(gdp_scene_kv *s, uint32_t flags)
{
    const int64_t got = gdp_kv_decode(&s->batch, s->pack.bytes, s->pack.n);
    if (got == GDP_NOMEM) return GDP_NOMEM;
    CHECK(got >= 0);
    return gdp_kvfeed_apply(s->feed, &s->batch, (const char *)s->pack.bytes, flags);
}

/* Blocks [from, to) of the prompt, with `more` about them. */
static gdp_pack_block gdp_blocks(const gdp_scene_kv *s, uint32_t from, uint32_t to)
{
    return (gdp_pack_block){.hashes = s->hashes + from, .n = to - from, .parent = from ? s->hashes + from - 1 : NULL,
                            .tokens = s->tokens + from * SIZE, .n_tokens = (to - from) * SIZE, .block_size = SIZE,
                            .medium = "GPU", .group = -1};
}

static int gdp_kv_told(gdp_scene_kv *s, const gdp_pack_block *block, uint32_t flags)
{
    gdp_pack_batch(&s->pack, 1);
    gdp_pack_stored(&s->pack, block);
    return gdp_kv_apply(s, flags);
}

static int gdp_kv_store(gdp_scene_kv *s, uint32_t from, uint32_t to, uint32_t flags)
{
    const gdp_pack_block block = gdp_blocks(s, from, to);
    return gdp_kv_told(s, &block, flags);
}

static int gdp_kv_remove(gdp_scene_kv *s, uint32_t from, uint32_t to, const char *medium)
{
    gdp_pack_batch(&s->pack, 1);
    gdp_pack_removed(&s->pack, s->hashes + from, to - from, medium, -1);
    return gdp_kv_apply(s, 0);
}

/* The sink has exactly blocks [from, to) of the prompt. */
static bool gdp_kv_has(const gdp_scene_kv *s, uint8_t medium, uint32_t from, uint32_t to)
{
    for (uint32_t i = 0; i < BLOCKS; i++)
        if (gdp_kvsink_has(&s->sink, medium, s->chain[i]) != (from <= i && i < to)) return false;
    return true;
}

static const gdp_kvfeed_counts *gdp_counts(const gdp_scene_kv *s) { return gdp_kvfeed_counted(s->feed); }

/* ---------------------------------------------------- counting -------------------------------------------------- */

/* A prompt of whole blocks computes its last one again: two copies, two removals. */
void gdp_test_kvfeed_copies(void)
{
    gdp_scene_kv *s = gdp_kv_begin(0, 0);
    CHECK(gdp_kv_store(s, 0, 3, 0) == 0 && gdp_kv_has(s, 0, 0, 3) && gdp_kvfeed_held(s->feed) == 3);
    CHECK(gdp_kv_store(s, 2, 3, 0) == 0 && gdp_kv_store(s, 2, 3, 0) == 0 && gdp_counts(s)->copies == 2);
    uint64_t chain = 0;
    CHECK(gdp_kvfeed_find(s->feed, 0, (gdp_kv_hash){102, 0}, &chain) == 3 && chain == s->chain[2]);
    CHECK(gdp_kv_remove(s, 2, 3, "GPU") == 0 && gdp_kv_has(s, 0, 0, 3));
    CHECK(gdp_kv_remove(s, 2, 3, NULL) == 0 && gdp_kv_has(s, 0, 0, 3));
    CHECK(gdp_kv_remove(s, 2, 3, "gpu") == 0 && gdp_kv_has(s, 0, 0, 2) && gdp_kvfeed_held(s->feed) == 2);
    CHECK(gdp_kv_remove(s, 2, 3, "GPU") == 0 && gdp_kv_has(s, 0, 0, 2) && gdp_counts(s)->unknown_removed == 1);
    CHECK(gdp_kvfeed_find(s->feed, 0, (gdp_kv_hash){102, 0}, &chain) == 0);
    CHECK(gdp_kv_remove(s, 0, 2, "GPU") == 0 && gdp_kv_has(s, 0, 0, 0) && gdp_counts(s)->removed == 5);
    gdp_kv_end(s);
}

/* A report that we asked for heals what was lost and adds no copies: nothing will be removed for it. */
void gdp_test_kvfeed_asked(void)
{
    gdp_scene_kv *s = gdp_kv_begin(0, 0);
    gdp_kv_store(s, 0, 1, 0);
    CHECK(gdp_kv_store(s, 3, 4, 0) == 0 && gdp_kv_has(s, 0, 0, 1) && gdp_counts(s)->waiting == 1);
    CHECK(gdp_kv_store(s, 0, 3, GDP_KV_ASKED) == 0 && gdp_kv_has(s, 0, 0, 4) && gdp_counts(s)->joined == 1);
    CHECK(gdp_kv_store(s, 0, 3, GDP_KV_ASKED) == 0 && gdp_kv_remove(s, 0, 4, "GPU") == 0 && gdp_kv_has(s, 0, 0, 0));
    gdp_kv_end(s);
}

void gdp_test_kvfeed_remaining_copies(void)
{
    gdp_scene_kv *s = gdp_kv_begin(0, 0);
    for (int i = 0; i < 3; i++) gdp_kv_store(s, 0, 2, 0);
    static const uint64_t left[][2] = {{4, 1}, {0, 1}}; /* what the engine says counts, not what we counted */
    static const uint32_t then[][2] = {{4, 1}, {0, 1}};
    for (int i = 0; i < 2; i++) {
        gdp_pack_batch(&s->pack, 1), gdp_pack_map(&s->pack, 3);
        gdp_pack_text(&s->pack, "type"), gdp_pack_text(&s->pack, "BlockRemoved");
        gdp_pack_text(&s->pack, "block_hashes"), gdp_pack_array(&s->pack, 2);
        gdp_pack_uint(&s->pack, 100), gdp_pack_uint(&s->pack, 101);
        gdp_pack_text(&s->pack, "remaining_copy_counts"), gdp_pack_array(&s->pack, 2);
        gdp_pack_uint(&s->pack, left[i][0]), gdp_pack_uint(&s->pack, left[i][1]);
        uint64_t chain;
        CHECK(gdp_kv_apply(s, 0) == 0);
        for (uint32_t k = 0; k < 2; k++)
            CHECK(gdp_kvfeed_find(s->feed, 0, (gdp_kv_hash){100 + k, 0}, &chain) == then[i][k]);
    }
    CHECK(gdp_kv_has(s, 0, 1, 2));
    gdp_kv_end(s);
}

/* Clearings come late and twice, in the batch of the next store; what stands before them goes, what follows stays. */
void gdp_test_kvfeed_cleared(void)
{
    gdp_scene_kv *s = gdp_kv_begin(0, 0);
    const gdp_pack_block first = gdp_blocks(s, 0, 4), after = gdp_blocks(s, 0, 2), lost = gdp_blocks(s, 6, 8);
    gdp_kv_told(s, &first, 0), gdp_kv_told(s, &first, 0), gdp_kv_told(s, &lost, 0);
    gdp_pack_batch(&s->pack, 4);
    gdp_pack_stored(&s->pack, &first), gdp_pack_cleared(&s->pack), gdp_pack_cleared(&s->pack);
    gdp_pack_stored(&s->pack, &after);
    CHECK(gdp_kv_apply(s, 0) == 0 && gdp_kv_has(s, 0, 0, 2) && gdp_kvfeed_held(s->feed) == 2);
    CHECK(gdp_counts(s)->cleared == 2 && gdp_counts(s)->dropped == 2 && s->sink.cleared == 2);
    CHECK(gdp_kv_remove(s, 1, 2, "GPU") == 0 && gdp_kv_has(s, 0, 0, 1)); /* the copies went, too */
    gdp_kvfeed_clear(s->feed);
    CHECK(gdp_kv_has(s, 0, 0, 0) && gdp_kvfeed_held(s->feed) == 0 && gdp_kvfeed_bytes(s->feed) < 1024);
    gdp_kv_end(s);
}

/* ---------------------------------------------------- waiting --------------------------------------------------- */

void gdp_test_kvfeed_waits(void)
{
    gdp_scene_kv *s = gdp_kv_begin(0, 0);
    gdp_kv_store(s, 6, 8, 0), gdp_kv_store(s, 3, 4, 0), gdp_kv_store(s, 4, 6, 0), gdp_kv_store(s, 4, 6, 0);
    CHECK(gdp_kv_has(s, 0, 0, 0) && gdp_counts(s)->waiting == 7 && gdp_kvfeed_held(s->feed) == 0);
    gdp_kv_remove(s, 7, 8, "GPU"); /* removed while it waits */
    gdp_kv_remove(s, 7, 8, "GPU"); /* once */
    CHECK(gdp_counts(s)->dropped == 1 && gdp_counts(s)->unknown_removed == 1);
    CHECK(gdp_kv_store(s, 0, 2, 0) == 0 && gdp_kv_has(s, 0, 0, 2));
    CHECK(gdp_kv_store(s, 2, 3, 0) == 0 && gdp_kv_has(s, 0, 0, 7) && gdp_counts(s)->joined == 6);
    CHECK(gdp_kv_remove(s, 5, 7, "GPU") == 0 && gdp_kv_has(s, 0, 0, 6)); /* block 5 had come twice */
    CHECK(gdp_kv_remove(s, 5, 6, "GPU") == 0 && gdp_kv_has(s, 0, 0, 5));
    gdp_kv_store(s, 7, 8, 0);
    gdp_kv_remove(s, 7, 8, "GPU"); /* nothing of the row is left: it is gone before its parent comes */
    CHECK(gdp_kv_store(s, 5, 7, 0) == 0 && gdp_kv_has(s, 0, 0, 7) && gdp_counts(s)->dropped == 2);
    gdp_kv_end(s);
}

void gdp_test_kvfeed_waits_within_its_cap(void)
{
    gdp_scene_kv *s = gdp_kv_begin(0, 1000);
    uint64_t parents[200];
    for (uint32_t i = 0; i < 200; i++) { /* always the same block, behind parents that never were */
        gdp_pack_block block = gdp_blocks(s, 1, 2);
        parents[i] = 5000 + i / 3;
        block.parent = &parents[i];
        CHECK(gdp_kv_told(s, &block, 0) == 0 && gdp_kvfeed_bytes(s->feed) < sizeof(gdp_kvfeed_counts) + 2600);
    }
    const uint64_t left = gdp_counts(s)->waiting - gdp_counts(s)->dropped;
    CHECK(gdp_counts(s)->waiting == 200 && left > 2 && left < 8);
    gdp_pack_block block = gdp_blocks(s, 0, 1); /* the youngest are those that are left */
    block.hashes = &parents[199];
    CHECK(gdp_kv_told(s, &block, 0) == 0 && gdp_counts(s)->joined == 2 && gdp_kv_has(s, 0, 0, 2));
    gdp_scene_kv *tiny = gdp_kv_begin(0, 100); /* a row larger than all room */
    CHECK(gdp_kv_store(tiny, 1, 8, 0) == 0 && gdp_counts(tiny)->dropped == 7 && gdp_counts(tiny)->waiting == 7);
    gdp_kv_end(tiny);
    gdp_kv_end(s);
}

/* ---------------------------------------------------- what counts ----------------------------------------------- */

/* Of a hybrid model the first group of full attention is followed; all groups use the same hashes. */
void gdp_test_kvfeed_groups(void)
{
    gdp_scene_kv *s = gdp_kv_begin(0, 0);
    gdp_pack_block block = gdp_blocks(s, 0, 4);
    block.group = 1, block.kind = "sliding_window", block.n = 2; /* masked blocks: tokens span more than the hashes */
    gdp_kv_told(s, &block, 0);
    block.kind = "mamba", block.group = 2, block.n = 0;
    gdp_kv_told(s, &block, 0);
    CHECK(gdp_counts(s)->other_groups == 2 && gdp_kvfeed_held(s->feed) == 0);
    block = gdp_blocks(s, 0, 4);
    block.group = 3, block.kind = "mla_attention";
    gdp_kv_told(s, &block, 0);
    block.group = 4, block.kind = "full_attention";
    gdp_kv_told(s, &block, 0);
    CHECK(gdp_kv_has(s, 0, 0, 4) && gdp_counts(s)->copies == 0 && gdp_counts(s)->other_groups == 3);
    gdp_pack_batch(&s->pack, 2); /* removals tell the group and not the kind */
    gdp_pack_removed(&s->pack, s->hashes, 4, "GPU", 1);
    gdp_pack_removed(&s->pack, s->hashes + 3, 1, "GPU", 3);
    CHECK(gdp_kv_apply(s, 0) == 0 && gdp_kv_has(s, 0, 0, 3));
    block = gdp_blocks(s, 3, 4); /* hashes and tokens that do not fit; less than a block; no block size */
    block.group = 3, block.n_tokens = SIZE - 1;
    gdp_kv_told(s, &block, 0);
    block.block_size = SIZE - 1;
    gdp_kv_told(s, &block, 0);
    block.block_size = 0;
    gdp_kv_told(s, &block, 0);
    block.n = 0;
    gdp_kv_told(s, &block, 0);
    CHECK(gdp_counts(s)->uneven == 4 && gdp_kv_has(s, 0, 0, 3));
    gdp_kvfeed_clear(s->feed); /* after which another group may be the first */
    block = gdp_blocks(s, 0, 4);
    block.group = 4;
    CHECK(gdp_kv_told(s, &block, 0) == 0 && gdp_kv_has(s, 0, 0, 4));
    gdp_kv_end(s);
}

/* Blocks that are copied to host memory or storage are announced there by hash alone. */
void gdp_test_kvfeed_media(void)
{
    gdp_scene_kv *s = gdp_kv_begin(0, 0);
    gdp_pack_block also = {.hashes = s->hashes, .n = 4, .medium = "CPU", .group = -1};
    CHECK(gdp_kv_told(s, &also, 0) == 0 && gdp_counts(s)->unknown_hash == 4 && gdp_kvfeed_held(s->feed) == 0);
    gdp_kv_store(s, 0, 3, 0);
    CHECK(gdp_kv_told(s, &also, 0) == 0 && gdp_counts(s)->unknown_hash == 5);
    CHECK(gdp_kv_has(s, GDP_KV_GPU, 0, 3) && gdp_kv_has(s, GDP_KV_CPU, 0, 3) && gdp_kvfeed_held(s->feed) == 6);
    CHECK(gdp_kv_remove(s, 0, 3, "GPU") == 0 && gdp_kv_has(s, GDP_KV_GPU, 0, 0) && gdp_kv_has(s, GDP_KV_CPU, 0, 3));
    also.medium = "disk", also.n = 1;
    CHECK(gdp_kv_told(s, &also, 0) == 0 && gdp_kv_has(s, GDP_KV_STORAGE, 0, 1)); /* known from the host's memory */
    CHECK(gdp_kv_store(s, 3, 4, 0) == 0 && gdp_kvsink_has(&s->sink, GDP_KV_GPU, s->chain[3])); /* ... as a parent is */
    gdp_pack_block told = gdp_blocks(s, 4, 6); /* an offloader that tells the tokens */
    told.medium = "cpu";
    CHECK(gdp_kv_told(s, &told, 0) == 0 && gdp_kvsink_has(&s->sink, GDP_KV_CPU, s->chain[5]));
    CHECK(gdp_kv_told(s, &also, 0) == 0 && gdp_counts(s)->copies == 1);
    also.medium = "NVME-OF";
    CHECK(gdp_kv_told(s, &also, 0) == 0 && gdp_counts(s)->other_groups == 1);
    CHECK(gdp_kv_remove(s, 0, 1, "NVME-OF") == 0 && gdp_counts(s)->other_groups == 2);
    gdp_kv_remove(s, 0, 1, "STORAGE");
    CHECK(gdp_kv_remove(s, 0, 1, "STORAGE") == 0 && gdp_kv_has(s, GDP_KV_STORAGE, 0, 0));
    gdp_kv_end(s);
}

/* ----------------------------------------------------- scopes --------------------------------------------------- */

/* {"type": "BlockStored", ...} of all eight blocks, with these extra keys for the first two blocks. */
static void gdp_kv_pack_keyed(gdp_scene_kv *s, const char *lora, int lora_id, const char *keys[2][3])
{
    gdp_pack *p = &s->pack;
    gdp_pack_batch(p, 1), gdp_pack_map(p, 6);
    gdp_pack_text(p, "type"), gdp_pack_text(p, "BlockStored");
    gdp_pack_text(p, "block_hashes"), gdp_pack_array(p, BLOCKS);
    for (uint32_t i = 0; i < BLOCKS; i++) gdp_pack_uint(p, s->hashes[i]);
    gdp_pack_text(p, "token_ids"), gdp_pack_array(p, BLOCKS * SIZE);
    for (uint32_t i = 0; i < BLOCKS * SIZE; i++) gdp_pack_uint(p, s->tokens[i]);
    gdp_pack_text(p, "block_size"), gdp_pack_uint(p, SIZE);
    if (lora_id >= 0)
        gdp_pack_text(p, "lora_id"), gdp_pack_uint(p, (uint64_t)lora_id);
    else
        gdp_pack_text(p, "lora_name"), gdp_pack_word(p, lora);
    gdp_pack_text(p, "extra_keys"), gdp_pack_array(p, 2);
    for (int i = 0; i < 2; i++) {
        size_t n = 0;
        while (n < 3 && keys[i][n]) n++;
        if (n == 0) gdp_pack_nil(p);
        if (n > 0) gdp_pack_array(p, n);
        for (size_t k = 0; k < n; k++) { /* "tag:text" is a tuple */
            const char *colon = strchr(keys[i][k], ':');
            if (!colon) {
                gdp_pack_text(p, keys[i][k]);
                continue;
            }
            char tag[16] = {0};
            memcpy(tag, keys[i][k], (size_t)(colon - keys[i][k]));
            gdp_pack_array(p, 2), gdp_pack_text(p, tag), gdp_pack_text(p, colon + 1);
        }
    }
}

static void gdp_kv_store_keyed(gdp_scene_kv *s, const char *lora, int lora_id, const char *keys[2][3])
{
    gdp_kvfeed_clear(s->feed);
    gdp_kv_pack_keyed(s, lora, lora_id, keys);
    CHECK(gdp_kv_apply(s, 0) == 0 && s->sink.n == BLOCKS);
}

/* The chain of a prompt, computed from its tokens and its scope, is what the events of an engine say. */
void gdp_test_kvfeed_scopes(void)
{
    gdp_scene_kv *s = gdp_kv_begin(0, 0);
    static const char *none[2][3] = {{NULL}}, *salted[2][3] = {{"tenant"}}, *both[2][3] = {{"ad", "tenant"}, {"ad"}};
    static const char *tagged[2][3] = {{"lora:ad", "cache_salt:tenant"}, {"lora:ad"}}, *alike[2][3] = {{"ad", "ad"}};
    static const struct {
        const char *lora, *salt;
        const char *(*keys)[3];
    } cases[] = {{"", "", none},          {"ad", "", none},       {"", "tenant", salted},
                 {"ad", "tenant", both},  {"ad", "tenant", tagged}, {"ad", "ad", alike}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gdp_prompt_chain(s, cases[i].lora, cases[i].salt, NULL, s->chain);
        gdp_kv_store_keyed(s, cases[i].lora[0] ? cases[i].lora : NULL, -1, (const char *(*)[3])cases[i].keys);
        CHECK(gdp_kv_has(s, 0, 0, BLOCKS));
    }
    gdp_kv_store_keyed(s, NULL, -1, tagged); /* tags suffice where there is no name */
    gdp_prompt_chain(s, "ad", "tenant", NULL, s->chain);
    CHECK(gdp_kv_has(s, 0, 0, BLOCKS));

    static const char *image[2][3] = {{NULL}, {"mm:picture"}}, *bare[2][3] = {{"a", "b"}, {"picture"}};
    uint64_t extras[BLOCKS] = {0};
    extras[1] = gdp_chain_extra(&s->key, 0, GDP_EXTRA_MM, STR("picture"), -1);
    gdp_prompt_chain(s, "", "", extras, s->chain);
    gdp_kv_store_keyed(s, NULL, -1, image);
    CHECK(gdp_kv_has(s, 0, 0, BLOCKS));
    extras[0] = gdp_chain_extra(&s->key, 0, GDP_EXTRA_MM, STR("a"), -1);
    gdp_prompt_chain(s, "", "b", extras, s->chain);
    gdp_kv_store_keyed(s, NULL, -1, bare);
    CHECK(gdp_kv_has(s, 0, 0, BLOCKS));

    gdp_kv_store_keyed(s, NULL, 0, none);
    gdp_prompt_chain(s, "", "", NULL, s->chain);
    CHECK(gdp_kv_has(s, 0, 0, BLOCKS));
    gdp_kv_store_keyed(s, NULL, 1, none); /* an adapter that has only a number: not the base model, nor another one */
    const uint64_t numbered = s->sink.items[0].chain;
    CHECK(gdp_kv_has(s, 0, 0, 0));
    gdp_kv_store_keyed(s, NULL, 2, none);
    CHECK(gdp_kv_has(s, 0, 0, 0) && s->sink.items[0].chain != numbered);
    gdp_kv_end(s);
}

/* ----------------------------------------------------- hashes --------------------------------------------------- */

/* A hash that covers tokens behind its block: one block, two names. It stays until both are gone. */
void gdp_test_kvfeed_two_names(void)
{
    gdp_scene_kv *s = gdp_kv_begin(0, 0);
    static const uint64_t second[] = {200, 201, 202};
    gdp_pack_block block = gdp_blocks(s, 0, 3);
    gdp_kv_store(s, 0, 3, 0);
    block.hashes = second;
    gdp_kv_told(s, &block, 0);
    CHECK(gdp_kvfeed_held(s->feed) == 6 && gdp_kv_has(s, 0, 0, 3) && gdp_counts(s)->copies == 0);
    CHECK(gdp_kv_remove(s, 0, 3, "GPU") == 0 && gdp_kv_has(s, 0, 0, 3));
    gdp_pack_batch(&s->pack, 1);
    gdp_pack_removed(&s->pack, second + 1, 2, "GPU", -1);
    CHECK(gdp_kv_apply(s, 0) == 0 && gdp_kv_has(s, 0, 0, 1) && gdp_kvfeed_held(s->feed) == 1);
    gdp_kv_end(s);
}

typedef struct {
    uint64_t place, hash;
} gdp_placed;

static int gdp_by_place(const void *a, const void *b)
{
    const uint64_t x = ((const gdp_placed *)a)->place, y = ((const gdp_placed *)b)->place;
    return (x > y) - (x < y);
}

/* Hashes that have the same place in the pages, found by trying a million, are told apart. */
void gdp_test_kvfeed_meeting_hashes(void)
{
    enum { TRIED = 1 << 20 };
    gdp_scene_kv *s = gdp_kv_begin(1, 0);
    gdp_placed *all = malloc(TRIED * sizeof *all);
    CHECK(all != NULL);
    for (uint64_t i = 0; i < TRIED; i++) {
        const gdp_kv_hash hash = {i, 0};
        all[i] = (gdp_placed){gdp_pages_place(4, gdp_kv_mix(&s->key, hash)), i};
    }
    qsort(all, TRIED, sizeof *all, gdp_by_place);
    int met = 0;
    for (uint32_t i = 1; i < TRIED; i++) {
        if (all[i].place != all[i - 1].place) continue;
        const bool turned = met++ % 2;
        s->hashes[0] = all[i].hash, s->hashes[1] = all[i - 1].hash;
        gdp_kv_store(s, 0, 3, 0), gdp_kv_store(s, 1, 2, 0);
        uint64_t first, second;
        CHECK(gdp_kvfeed_held(s->feed) == 3 && gdp_kv_has(s, 0, 0, 3));
        CHECK(gdp_kvfeed_find(s->feed, 0, (gdp_kv_hash){s->hashes[0], 0}, &first) == 1 && first == s->chain[0]);
        CHECK(gdp_kvfeed_find(s->feed, 0, (gdp_kv_hash){s->hashes[1], 0}, &second) == 2 && second == s->chain[1]);
        gdp_kv_remove(s, turned, 1 + turned, "GPU");
        CHECK(gdp_kv_has(s, 0, turned ? 0 : 1, 3)); /* the second one has a copy left */
        gdp_kv_remove(s, 1, 2, "GPU");
        CHECK(gdp_kvsink_has(&s->sink, 0, s->chain[0]) == turned && gdp_kvfeed_held(s->feed) == 2);
        CHECK(gdp_kvsink_has(&s->sink, 0, s->chain[1]) == !turned);
        gdp_kvfeed_drop(s->feed, 100);
        CHECK(gdp_kv_has(s, 0, 0, 0) && s->sink.n == 0);
    }
    CHECK(met > 2);
    free(all);
    gdp_kv_end(s);
}

/* ----------------------------------------------------- memory --------------------------------------------------- */

static uint64_t gdp_scattered(uint64_t i) { return i * 0x9e3779b97f4a7c15u; }

/* Rows of 64 blocks named by a count. */
static void gdp_kv_row(gdp_scene_kv *s, uint64_t from, bool removed)
{
    static const uint32_t tokens[64 * SIZE];
    uint64_t hashes[64];
    for (uint64_t i = 0; i < 64; i++) hashes[i] = gdp_scattered(from + i);
    gdp_pack_batch(&s->pack, 1);
    if (removed)
        gdp_pack_removed(&s->pack, hashes, 64, "GPU", -1);
    else
        gdp_pack_stored(&s->pack, &(gdp_pack_block){.hashes = hashes, .n = 64, .tokens = tokens, .n_tokens = 64 * SIZE,
                                                    .block_size = SIZE, .medium = "GPU", .group = -1});
    CHECK(gdp_kv_apply(s, 0) == 0);
}

/* 12 to 14 bytes per hash, for a few and for many more than were expected, and little when they went. */
void gdp_test_kvfeed_memory(void)
{
    enum { MOST = 200000 };
    gdp_scene_kv *s = gdp_kv_begin(4096, 0);
    s->sink.blind = true;
    uint64_t n = 0, chain;
    for (uint64_t mark = 4096; n < MOST; mark *= 2) {
        for (; n < mark; n += 64) gdp_kv_row(s, n, false);
        CHECK(gdp_kvfeed_held(s->feed) == n);
        for (uint64_t i = 0; i < n; i++) {
            const gdp_kv_hash hash = {gdp_scattered(i), 0};
            CHECK(gdp_kvfeed_find(s->feed, 0, hash, &chain) == 1);
        }
        const double each = (double)(gdp_kvfeed_bytes(s->feed) - 1024) / (double)n;
        if (getenv("GDP_SHOW")) printf("    %.2f bytes per hash of %u\n", each, (unsigned)n);
        CHECK(each < 14.5);
    }
    for (uint64_t i = n / 10 / 64 * 64; i < n; i += 64) gdp_kv_row(s, i, true);
    const size_t left = gdp_kvfeed_held(s->feed);
    CHECK(left == n / 10 / 64 * 64 && gdp_kvfeed_bytes(s->feed) < left * 40);
    gdp_kv_end(s);
}

void gdp_test_kvfeed_drop(void)
{
    gdp_scene_kv *s = gdp_kv_begin(1, 0);
    static const uint64_t second[] = {300, 301};
    gdp_pack_block twice = gdp_blocks(s, 0, 2), also = {.hashes = s->hashes, .n = 2, .medium = "CPU", .group = -1};
    twice.hashes = second;
    gdp_kv_store(s, 0, 6, 0), gdp_kv_store(s, 0, 6, 0), gdp_kv_told(s, &twice, 0), gdp_kv_told(s, &also, 0);
    gdp_kv_store(s, 7, 8, 0);
    CHECK(gdp_kvfeed_held(s->feed) == 10);
    for (size_t left = 10; left > 0; left--) {
        CHECK(gdp_kvfeed_held(s->feed) == left && gdp_kvfeed_drop(s->feed, 1) == left - 1);
        for (uint32_t i = 0; i < BLOCKS; i++) { /* what is still held is in the sink, and nothing else */
            uint64_t chain;
            const bool one = gdp_kvfeed_find(s->feed, 0, (gdp_kv_hash){100 + i, 0}, &chain) > 0;
            const bool other = i < 2 && gdp_kvfeed_find(s->feed, 0, (gdp_kv_hash){300 + i, 0}, &chain) > 0;
            CHECK(gdp_kvsink_has(&s->sink, 0, s->chain[i]) == (one || other));
        }
    }
    CHECK(s->sink.n == 0 && s->sink.cleared == 1 && gdp_counts(s)->dropped == 1);
    CHECK(gdp_kv_store(s, 0, 3, 0) == 0 && gdp_kv_has(s, 0, 0, 3)); /* it may be used again */
    gdp_kv_end(s);
}

/* Whatever could not be kept, the index is never told of a block that is not held. */
static void gdp_kv_no_more_than_held(const gdp_scene_kv *s)
{
    size_t entries = 0;
    for (uint8_t medium = 0; medium < 3; medium++) {
        for (uint64_t hash = 100; hash < 208; hash++) {
            uint64_t chain;
            entries += gdp_kvfeed_find(s->feed, medium, (gdp_kv_hash){hash, 0}, &chain) > 0;
        }
        for (uint32_t i = 0; i < BLOCKS; i++) {
            uint64_t chain;
            const bool one = gdp_kvfeed_find(s->feed, medium, (gdp_kv_hash){100 + i, 0}, &chain) > 0;
            const bool other = gdp_kvfeed_find(s->feed, medium, (gdp_kv_hash){200 + i, 0}, &chain) > 0;
            CHECK(!gdp_kvsink_has(&s->sink, medium, s->chain[i]) || one || other);
        }
    }
    CHECK(entries == gdp_kvfeed_held(s->feed) && s->sink.n <= entries);
}

void gdp_oom_kvfeed(void)
{
    static const uint64_t second[] = {200, 201, 202};
    static const char *image[2][3] = {{NULL}, {"mm:picture"}};
    gdp_scene_kv *s = gdp_kv_begin(1, 4096);
    for (int step = 0; s->feed && step < 12; step++) {
        gdp_pack_block twice = gdp_blocks(s, 0, 3), also = {.hashes = s->hashes, .n = 6, .medium = "CPU", .group = -1};
        twice.hashes = second;
        switch (step) {
        case 0: gdp_kv_store(s, 4, 8, 0); break;
        case 1: gdp_kv_store(s, 0, 3, 0); break;
        case 2: gdp_kv_told(s, &twice, 0); break;
        case 3: gdp_kv_store(s, 3, 4, 0); break;
        case 4: gdp_kv_store(s, 0, 3, 0); break;
        case 5: gdp_kv_told(s, &also, 0); break;
        case 6: gdp_kv_store(s, 7, 8, 0); break;
        case 7: gdp_kv_remove(s, 2, 8, "GPU"); break;
        case 8: gdp_kv_remove(s, 0, 8, "CPU"); break;
        case 9: gdp_kv_remove(s, 0, 3, "GPU"); break;
        case 10: gdp_kv_pack_keyed(s, NULL, -1, image), gdp_kv_apply(s, 0); continue; /* other chains from here on */
        default: gdp_kvfeed_clear(s->feed); CHECK(s->sink.n == 0);
        }
        gdp_kv_no_more_than_held(s);
    }
    gdp_kv_end(s);
}

/* ----------------------------------------------------- timing ---------------------------------------------------- */

/* Payloads of one request's prompt each, 32 blocks of token ids as texts have them. The worker holds 65,536 blocks:
 * either it fills from nothing again and again, or every block stored has one removed before it, by an event of its
 * own. The sink does nothing, or is the index. */
enum { HELD = 65536, ROW = 32, STEPS = HELD / ROW };

typedef struct {
    gdp_scene_kv *scene;
    gdp_pack steps[STEPS];
    uint32_t at;
    bool fills;
} gdp_kvfeed_bench;

static void gdp_kvfeed_step(void *arg)
{
    gdp_kvfeed_bench *b = arg;
    const gdp_pack *p = &b->steps[b->at++ % STEPS];
    if (b->fills && b->at % STEPS == 1) gdp_kvfeed_clear(b->scene->feed);
    if (gdp_kv_decode(&b->scene->batch, p->bytes, p->n) <= 0) abort();
    gdp_kvfeed_apply(b->scene->feed, &b->scene->batch, (const char *)p->bytes, 0);
}

static void gdp_bench_pack(gdp_pack *p, uint64_t from, uint32_t block_size, bool removed, uint64_t *seed)
{
    static uint32_t tokens[ROW * 64];
    uint64_t hashes[ROW];
    for (uint32_t i = 0; i < ROW * block_size; i++)
        tokens[i] = gdp_random(seed) % (gdp_random(seed) % 8 ? 20000 : 128000);
    for (uint64_t i = 0; i < ROW; i++) hashes[i] = gdp_scattered(from + i);
    gdp_pack_batch(p, 1 + (removed ? ROW : 0));
    for (uint64_t i = ROW; i > 0 && removed; i--) gdp_pack_removed(p, &hashes[i - 1], 1, "GPU", 0); /* the last first */
    gdp_pack_stored(p, &(gdp_pack_block){.hashes = hashes, .n = ROW, .tokens = tokens, .n_tokens = ROW * block_size,
                                         .block_size = block_size, .medium = "GPU", .group = 0,
                                         .kind = "full_attention"});
}

void gdp_bench_kvfeed(void)
{
    static gdp_kvfeed_bench b;
    uint64_t seed = 9;
    for (int row = 0; row < 12; row++) {
        const uint32_t block_size = 16u << row % 3;
        b = (gdp_kvfeed_bench){.scene = gdp_kv_begin(HELD, 0), .fills = row % 6 < 3};
        b.scene->sink.blind = true;
        if (row >= 6) b.scene->sink.index = gdp_index_new(&(gdp_index_options){.bytes_max = 64u << 20});
        for (uint64_t i = 0; i < STEPS; i++) gdp_bench_pack(&b.steps[i], i * ROW, block_size, !b.fills, &seed);
        for (int i = 0; i < STEPS; i++) gdp_kvfeed_step(&b);
        char name[80];
        snprintf(name, sizeof name, "kvfeed%s, %u tokens stored%s", row < 6 ? "" : " and index", block_size,
                 b.fills ? "" : " and removed");
        gdp_bench_row(name, b.steps[0].n / ROW, gdp_bench_ns(gdp_kvfeed_step, &b) / ROW);
        for (int i = 0; i < STEPS; i++) free(b.steps[i].bytes);
        if (b.scene->sink.index) gdp_index_free(b.scene->sink.index);
        gdp_kv_end(b.scene);
    }
}
