/* test_recall.c -- prompts remembered: found, bounded, and lost in order of age; from several threads at once. */
#include "gdp/recall.h"

#include <pthread.h>

#include "test.h"

void gdp_test_recall(void);
void gdp_test_recall_threads(void);
void gdp_oom_recall(void);
void gdp_bench_recall(void);

enum { ENTRY = 48 }; /* bytes of an entry besides its chain, at least */

static void put(gdp_recall *r, uint64_t key, uint32_t n, size_t bytes_max)
{
    uint64_t chain[64];
    for (uint32_t i = 0; i < n; i++) chain[i] = key * 1000 + i;
    gdp_recall_put(r, key, &(gdp_recalled){chain, n, n * 16 + 3, 16}, bytes_max);
}

/* Whether `key` is there; then it must be as put() puts it. From any thread, so without CHECK, which counts. */
static bool has(gdp_recall *r, uint64_t key, uint32_t n)
{
    gdp_recalled told;
    if (!gdp_recall_find(r, key, &told)) return false;
    if (told.n != n || told.prompt_tokens != n * 16 + 3 || told.block_tokens != 16) abort();
    for (uint32_t i = 0; i < told.n; i++)
        if (told.chain[i] != key * 1000 + i) abort();
    gdp_free(told.chain);
    return true;
}

static void the_least_recently_used_goes_first(void)
{
    gdp_case(__func__);
    gdp_recall *r = gdp_recall_new();
    const size_t three = 3 * (ENTRY + 4 * 8) + 60;
    const uint64_t a = 5, b = a + (1u << 16), c = a + (2u << 16), d = 6; /* three of one bucket */
    CHECK(!has(r, a, 4) && gdp_recall_bytes(r) == 0);
    put(r, a, 4, three);
    put(r, b, 4, three);
    put(r, c, 4, three);
    CHECK(has(r, c, 4) && has(r, b, 4) && has(r, a, 4));
    put(r, d, 4, three); /* the oldest is c now */
    CHECK(!has(r, c, 4) && has(r, a, 4) && has(r, b, 4) && has(r, d, 4));
    CHECK(gdp_recall_bytes(r) <= three);
    put(r, d, 2, three); /* it is here already */
    CHECK(has(r, d, 4));
    put(r, 7, 64, 100); /* does not fit; the bound counts at once, for all */
    CHECK(!has(r, 7, 64) && gdp_recall_bytes(r) <= 100);
    put(r, 8, 0, three); /* shorter than a block */
    CHECK(has(r, 8, 0));
    put(r, 9, 1, 0);
    CHECK(!has(r, 8, 0) && gdp_recall_bytes(r) == 0);
    gdp_recall_free(r);
    gdp_recall_free(NULL);
}

typedef struct {
    gdp_recall *r;
    uint64_t seed;
} worker;

static void *storm(void *arg)
{
    worker *w = arg;
    for (int i = 0; i < 20000; i++) {
        const uint64_t key = gdp_random(&w->seed) % 300 * 65536 + gdp_random(&w->seed) % 3;
        const uint32_t n = (uint32_t)(key >> 16) % 64;
        if (gdp_random(&w->seed) % 3)
            (void)has(w->r, key, n);
        else
            put(w->r, key, n, 20000);
    }
    return NULL;
}

void gdp_test_recall(void)
{
    the_least_recently_used_goes_first();
}

void gdp_test_recall_threads(void)
{
    gdp_case(__func__);
    pthread_t thread[3];
    worker w[3];
    gdp_recall *r = gdp_recall_new();
    for (unsigned i = 0; i < 3; i++) {
        w[i] = (worker){r, 100 + i};
        CHECK(pthread_create(&thread[i], NULL, storm, &w[i]) == 0);
    }
    for (unsigned i = 0; i < 3; i++) pthread_join(thread[i], NULL);
    CHECK(gdp_recall_bytes(r) <= 20000 && gdp_recall_bytes(r) > 10000);
    gdp_recall_free(r);
}

void gdp_oom_recall(void)
{
    gdp_recall *r = gdp_recall_new();
    if (!r) return;
    put(r, 1, 3, 4096);
    put(r, 2, 3, 4096);
    (void)has(r, 1, 3);
    (void)has(r, 2, 3);
    gdp_recall_free(r);
}

static void look_up(void *arg)
{
    gdp_recalled told;
    if (gdp_recall_find(arg, 1, &told)) gdp_free(told.chain);
}

void gdp_bench_recall(void)
{
    gdp_recall *r = gdp_recall_new();
    put(r, 1, 64, 4096);
    gdp_bench_row("recall, 1,024 tokens", 64 * 8, gdp_bench_ns(look_up, r));
    gdp_recall_free(r);
}
