/* test_arena.c -- the arena against a list of what was taken: nothing overlaps, nothing is written by others, all that
 * is given back is used again. */
#include "gdp/arena.h"
#include "test.h"

void gdp_test_arena(void);
void gdp_test_arena_regions(void);
void gdp_oom_arena(void);
void gdp_bench_arena(void);

enum { TAKEN = 2000 };

typedef struct {
    unsigned char *p;
    size_t bytes;
    unsigned char mark;
} gdp_taken;

static size_t some_size(uint64_t *seed)
{
    const uint32_t kind = gdp_random(seed) % 100;
    return kind < 60 ? gdp_random(seed) % 400 : kind < 97 ? gdp_random(seed) % 20000 : gdp_random(seed) % 300000;
}

static void give_back(gdp_arena *a, gdp_taken *t, size_t *used)
{
    for (size_t i = 0; i < t->bytes; i++)
        if (t->p[i] != t->mark) CHECK(!"nobody else writes here");
    *used -= gdp_arena_cost(t->bytes);
    gdp_arena_give(a, t->p);
    t->p = NULL;
}

void gdp_test_arena(void)
{
    static gdp_taken taken[TAKEN];
    gdp_arena *a = gdp_arena_new();
    uint64_t seed = 7;
    size_t used = 0, most = 0;
    CHECK(a != NULL);
    for (uint32_t n = 0; n < 60000; n++) {
        gdp_taken *t = &taken[gdp_random(&seed) % TAKEN];
        if (t->p) {
            give_back(a, t, &used);
            continue;
        }
        t->bytes = some_size(&seed);
        t->p = gdp_arena_take(a, t->bytes);
        t->mark = (unsigned char)n;
        CHECK(t->p != NULL && (uintptr_t)t->p % 16 == 0);
        memset(t->p, t->mark, t->bytes);
        used += gdp_arena_cost(t->bytes);
        most = used > most ? used : most;
        CHECK(gdp_arena_bytes(a) >= used);
    }
    CHECK(gdp_arena_bytes(a) < most * 3 / 2);
    for (uint32_t i = 0; i < TAKEN; i++)
        if (taken[i].p) give_back(a, &taken[i], &used);
    CHECK(used == 0 && gdp_arena_bytes(a) < 8u << 20); /* the rest went back to the system */
    gdp_arena_free(a);
}

/* A small one stays small; what is larger than any region gets one of its own; a free region is used before a new one. */
void gdp_test_arena_regions(void)
{
    gdp_arena *a = gdp_arena_new();
    CHECK(gdp_arena_bytes(a) == 0);
    void *small = gdp_arena_take(a, 100);
    CHECK(small && gdp_arena_bytes(a) == 64u << 10);
    char *large = gdp_arena_take(a, 40u << 20);
    CHECK(large && gdp_arena_bytes(a) >= 40u << 20 && gdp_arena_bytes(a) < 48u << 20);
    large[0] = large[(40u << 20) - 1] = 1;
    const size_t bytes = gdp_arena_bytes(a);
    gdp_arena_give(a, large);
    CHECK((large = gdp_arena_take(a, 30u << 20)) && gdp_arena_bytes(a) <= bytes);
    gdp_arena_give(a, large);
    gdp_arena_give(a, small);
    gdp_arena_give(a, NULL);
    gdp_arena_free(a);
    gdp_arena_free(NULL);
    void *heap = gdp_arena_take(NULL, 5); /* no arena: the heap */
    CHECK(heap != NULL && gdp_arena_bytes(NULL) == 0);
    gdp_arena_give(NULL, heap);
}

void gdp_oom_arena(void)
{
    gdp_arena *a = gdp_arena_new();
    void *p = a ? gdp_arena_take(a, 1000) : NULL, *q = a ? gdp_arena_take(a, 5u << 20) : NULL;
    if (p) memset(p, 1, 1000);
    if (a) gdp_arena_give(a, q), gdp_arena_give(a, p);
    gdp_arena_free(a);
}

typedef struct {
    gdp_arena *arena;
    void *held[512];
    uint64_t seed;
} gdp_churn;

static void take_and_give(void *arg)
{
    gdp_churn *c = arg;
    void **at = &c->held[gdp_random(&c->seed) % 512];
    gdp_arena_give(c->arena, *at);
    *at = gdp_arena_take(c->arena, 300 + gdp_random(&c->seed) % 400);
}

void gdp_bench_arena(void)
{
    gdp_churn c = {.arena = gdp_arena_new(), .seed = 3};
    gdp_bench_row("arena: give and take, 300 to 700 bytes", 0, gdp_bench_ns(take_and_give, &c));
    for (uint32_t i = 0; i < 512; i++) gdp_arena_give(c.arena, c.held[i]);
    gdp_arena_free(c.arena);
    c = (gdp_churn){.seed = 3};
    gdp_bench_row("the same, from the heap", 0, gdp_bench_ns(take_and_give, &c));
    for (uint32_t i = 0; i < 512; i++) gdp_arena_give(NULL, c.held[i]);
}
