#include "kv_cases.h"

#include "../test/kvpack.h"
#include "gdp/index.h"
#include "gdp/kvfeed.h"
#include "gdp/load.h"

#define BLOCK 16u
#define ROW 128u
#define ROWS 512u
#define WORKERS 64u
#define PROMPT 2048u
#define TOKENS 131072u

/* ---------------------------------------------------- intake ------------------------------------------------------ */

struct gdp_told_worker {
    gdp_chain_key key;
    gdp_index *index;
    gdp_kvfeed *feed;
    gdp_kv_batch batch;
    gdp_pack stored[ROWS], removed[ROWS];
    uint32_t next;
};

static int store(void *self, uint32_t slot, uint8_t medium, uint64_t parent, bool first, const uint64_t *chain, uint32_t n,
                 bool *held)
{
    return gdp_index_store(self, slot, medium, parent, first, chain, n, held, 1) == n ? 0 : GDP_BAD;
}

static void take_back(void *self, uint32_t slot, uint8_t medium, uint64_t chain)
{
    gdp_index_remove(self, slot, medium, chain);
}

static void clear(void *self, uint32_t slot) { gdp_index_clear(self, slot); }

static void ahead(void *self, const uint64_t *chain, uint32_t n, bool near) { gdp_index_ahead(self, chain, n, near); }

static void pack_row(gdp_told_worker *w, uint32_t row)
{
    uint64_t hashes[ROW], last_first[ROW];
    uint32_t tokens[ROW * BLOCK];
    for (uint32_t i = 0; i < ROW; i++) {
        const uint64_t block = (uint64_t)row * ROW + i;
        hashes[i] = last_first[ROW - 1 - i] = gdp_hash(&block, sizeof block, 1) | 1ull << 62;
    }
    for (uint32_t i = 0; i < ROW * BLOCK; i++) {
        const uint64_t at = (uint64_t)row << 32 | i;
        tokens[i] = (uint32_t)(gdp_hash(&at, sizeof at, 2) % 32000);
    }
    gdp_pack_batch(&w->stored[row], 1);
    gdp_pack_stored(&w->stored[row], &(gdp_pack_block){.hashes = hashes, .n = ROW, .tokens = tokens, .n_tokens = ROW * BLOCK,
                                                       .block_size = BLOCK, .medium = "GPU", .group = 0,
                                                       .kind = "full_attention"});
    gdp_pack_batch(&w->removed[row], 1);
    gdp_pack_removed(&w->removed[row], last_first, ROW, "GPU", 0);
}

static bool take_in(gdp_told_worker *w, const gdp_pack *p)
{
    if (gdp_kv_decode(&w->batch, p->bytes, p->n) != 1) return false;
    return gdp_kvfeed_apply(w->feed, &w->batch, (const char *)p->bytes, 0) == 0;
}

gdp_told_worker *gdp_told_worker_new(void)
{
    gdp_told_worker *w = gdp_alloc(sizeof *w);
    if (!w) return NULL;
    gdp_chain_key_init(&w->key, "bench", 5);
    w->index = gdp_index_new(&(gdp_index_options){.bytes_max = 64u << 20});
    if (w->index)
        w->feed = gdp_kvfeed_new_in(&(gdp_kvfeed_options){.key = &w->key, .model = "bench", .model_len = 5,
                                                          .sink = {w->index, store, take_back, clear, ahead}},
                                    gdp_index_arena(w->index));
    bool right = w->feed != NULL;
    for (uint32_t row = 0; row < ROWS && right; row++) pack_row(w, row), right = take_in(w, &w->stored[row]);
    if (right) return w;
    gdp_told_worker_free(w);
    return NULL;
}

void gdp_told_worker_free(gdp_told_worker *w)
{
    if (!w) return;
    gdp_kvfeed_free(w->feed);
    gdp_index_free(w->index);
    gdp_kv_batch_free(&w->batch);
    for (uint32_t row = 0; row < ROWS; row++) free(w->stored[row].bytes), free(w->removed[row].bytes);
    gdp_free(w);
}

uint64_t gdp_case_kv_intake(gdp_told_worker *w, uint32_t rounds)
{
    for (uint32_t r = 0; r < rounds; r++) {
        const uint32_t row = w->next++ % ROWS;
        if (!take_in(w, &w->removed[row]) || !take_in(w, &w->stored[row])) return 0;
        if (row == 0) gdp_index_step(w->index, 1, 256);
    }
    gdp_index_stats now;
    gdp_index_count(w->index, &now);
    return gdp_kvfeed_held(w->feed) == ROWS * ROW && now.blocks == ROWS * ROW;
}

/* ---------------------------------------------------- lookup ------------------------------------------------------ */

struct gdp_known_prompts {
    gdp_chain_key key;
    gdp_index *index;
    gdp_index_reader *reader;
    uint64_t *prompts; /* WORKERS rows */
    uint32_t *tokens;
    uint64_t *names;
    uint32_t next;
};

static bool learn(gdp_known_prompts *k)
{
    for (uint32_t w = 0; w < WORKERS; w++) {
        uint64_t *prompt = k->prompts + w * PROMPT;
        for (uint64_t i = 0; i < PROMPT; i++) {
            const uint64_t block = i < PROMPT / 4 ? i : (uint64_t)(w + 1) << 32 | i;
            prompt[i] = gdp_hash(&block, sizeof block, 3);
        }
        if (gdp_index_store(k->index, w, GDP_ON_GPU, 0, true, prompt, PROMPT, NULL, 1) != PROMPT) return false;
    }
    for (uint32_t i = 0; i < TOKENS; i++) k->tokens[i] = (uint32_t)(gdp_hash(&i, sizeof i, 4) % 32000);
    return true;
}

gdp_known_prompts *gdp_known_prompts_new(void)
{
    gdp_known_prompts *k = gdp_alloc(sizeof *k);
    if (!k) return NULL;
    gdp_chain_key_init(&k->key, "bench", 5);
    k->index = gdp_index_new(&(gdp_index_options){.bytes_max = 64u << 20});
    k->reader = k->index ? gdp_index_reader_new(k->index) : NULL;
    k->prompts = gdp_alloc(sizeof *k->prompts * WORKERS * PROMPT);
    k->tokens = gdp_alloc(sizeof *k->tokens * TOKENS);
    k->names = gdp_alloc(sizeof *k->names * TOKENS / BLOCK);
    if (k->reader && k->prompts && k->tokens && k->names && learn(k)) return k;
    gdp_known_prompts_free(k);
    return NULL;
}

void gdp_known_prompts_free(gdp_known_prompts *k)
{
    if (!k) return;
    gdp_index_reader_free(k->reader);
    gdp_index_free(k->index);
    gdp_free(k->prompts);
    gdp_free(k->tokens);
    gdp_free(k->names);
    gdp_free(k);
}

uint64_t gdp_case_kv_lookup(gdp_known_prompts *k, uint32_t rounds)
{
    uint32_t reach[WORKERS], *const columns[GDP_INDEX_MEDIA] = {reach};
    uint64_t sum = 0;
    for (uint32_t r = 0; r < rounds; r++) {
        const uint32_t w = k->next++ % WORKERS;
        if (gdp_index_match(k->reader, k->prompts + w * PROMPT, PROMPT, 1, WORKERS, columns) != PROMPT) return 0;
        if (reach[w] != PROMPT || reach[(w + 1) % WORKERS] != PROMPT / 4) return 0;
        sum += reach[w];
    }
    return sum;
}

uint64_t gdp_case_kv_names(gdp_known_prompts *k, uint32_t rounds)
{
    uint64_t sum = 1;
    for (uint32_t r = 0; r < rounds; r++) {
        if (gdp_chain(&k->key, r, k->tokens, TOKENS, BLOCK, NULL, k->names) != TOKENS / BLOCK) return 0;
        sum |= k->names[TOKENS / BLOCK - 1];
    }
    return sum;
}
