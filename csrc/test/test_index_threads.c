/* test_index_threads.c -- readers look while the writer writes.
 *
 * The writer keeps, for each block and slot, when it began to be held and when it ceased to be, by a clock that ticks
 * with each operation, and says beforehand what may change. A lookup that began at t may count a block only if it is
 * held or ceased to be after t; and it must count those that were held from before t until now. */
#include <pthread.h>
#include <stdatomic.h>

#include "index_model.h"

#include "test.h"

void gdp_test_index_threads(void);

#define BLOCKS 300u
#define SLOTS 8u
#define READERS 2
#define OPERATIONS 40000u

#define MAY UINT32_MAX /* ceased: any moment now, or it may begin to be held */

typedef struct {
    gdp_index *index;
    _Atomic uint32_t clock;
    _Atomic bool over;
    _Atomic int awake; /* readers that have seen something */
    int32_t parent[BLOCKS];
    uint64_t name[BLOCKS];
    _Atomic uint64_t held[BLOCKS][SLOTS]; /* since << 32 | ceased; since is 0 when it is not held */
} gdp_stage;

static uint32_t way(const gdp_stage *g, int32_t id, uint32_t *ids, uint64_t *names)
{
    uint32_t n = 0, turned[BLOCKS];
    for (; id >= 0; id = g->parent[id]) turned[n++] = (uint32_t)id;
    for (uint32_t i = 0; i < n; i++) ids[i] = turned[n - 1 - i], names[i] = g->name[ids[i]];
    return n;
}

/* ---- the writer ---- */

static void say(gdp_stage *g, uint32_t id, uint32_t slot, uint32_t since, uint32_t ceased)
{
    atomic_store(&g->held[id][slot], (uint64_t)since << 32 | ceased);
}

static uint32_t since(gdp_stage *g, uint32_t id, uint32_t slot)
{
    return (uint32_t)(atomic_load(&g->held[id][slot]) >> 32);
}

static void store(gdp_stage *g, uint32_t slot, const uint32_t *ids, const uint64_t *names, uint32_t from, uint32_t n)
{
    for (uint32_t i = from; i < n; i++)
        if (!since(g, ids[i], slot)) say(g, ids[i], slot, 0, MAY);
    const int64_t stored = gdp_index_store(g->index, slot, GDP_ON_GPU, from ? names[from - 1] : 0, !from, names + from,
                                           n - from, NULL, 1);
    const uint32_t now = atomic_fetch_add(&g->clock, 1) + 1;
    CHECK(stored == n - from || stored == GDP_ORPHAN);
    for (uint32_t i = from; i < n; i++)
        if (!since(g, ids[i], slot)) say(g, ids[i], slot, stored > 0 ? now : 0, stored > 0 ? 0 : now);
}

/* One block, or all of the slot. */
static void let_go(gdp_stage *g, uint32_t slot, uint32_t first, uint32_t end)
{
    for (uint32_t id = first; id < end; id++)
        if (since(g, id, slot)) say(g, id, slot, since(g, id, slot), MAY);
    if (end - first == 1)
        gdp_index_remove(g->index, slot, GDP_ON_GPU, g->name[first]);
    else
        gdp_index_clear(g->index, slot);
    const uint32_t now = atomic_fetch_add(&g->clock, 1) + 1;
    for (uint32_t id = first; id < end; id++)
        if (since(g, id, slot)) say(g, id, slot, 0, now);
}

static void write_once(gdp_stage *g, uint64_t *random)
{
    uint32_t ids[BLOCKS], n;
    uint64_t names[BLOCKS];
    const uint32_t what = gdp_random(random) % 200, slot = gdp_random(random) % SLOTS, id = gdp_random(random) % BLOCKS;
    if (what < 100) {
        n = way(g, (int32_t)id, ids, names);
        store(g, slot, ids, names, gdp_random(random) % 3 ? 0 : gdp_random(random) % n, n);
    } else if (what < 195) {
        let_go(g, slot, id, id + 1);
    } else if (what < 196) {
        let_go(g, slot, 0, BLOCKS);
    } else {
        gdp_index_step(g->index, 1, gdp_random(random) % 64);
    }
}

/* ---- a reader ---- */

static bool was_held(uint64_t held, uint32_t t)
{
    return held >> 32 || (uint32_t)held > t;
}

static bool is_held(uint64_t held, uint32_t t)
{
    return held >> 32 && held >> 32 <= t && !(uint32_t)held;
}

static void *read_all(void *arg)
{
    gdp_stage *g = arg;
    gdp_index_reader *r = gdp_index_reader_new(g->index);
    uint32_t ids[BLOCKS], reach[SLOTS], *const columns[GDP_INDEX_MEDIA] = {reach};
    uint64_t names[BLOCKS], random = (uint64_t)(uintptr_t)r | 1, seen = 0;
    bool counted = false;
    while (!atomic_load(&g->over)) {
        const uint32_t n = way(g, (int32_t)(gdp_random(&random) % BLOCKS), ids, names), t = atomic_load(&g->clock);
        gdp_index_match(r, names, n, 1, SLOTS, columns);
        for (uint32_t s = 0; s < SLOTS; s++) {
            uint32_t i = 0;
            seen += reach[s];
            for (; i < reach[s]; i++)
                if (!was_held(atomic_load(&g->held[ids[i]][s]), t)) abort(); /* counted, though it was not there */
            if (i < n && is_held(atomic_load(&g->held[ids[i]][s]), t)) abort(); /* there all the time, and not counted */
        }
        if (seen > 1000 && !counted) {
            counted = true;
            atomic_fetch_add(&g->awake, 1);
        }
    }
    gdp_index_reader_free(r);
    return NULL;
}

static void readers_see_what_was_true(uint64_t seed)
{
    static gdp_stage g;
    pthread_t threads[READERS];
    uint64_t random = seed;
    memset(&g, 0, sizeof g);
    g.index = gdp_index_new(&(gdp_index_options){.bytes_max = 1u << 20});
    atomic_store(&g.clock, 1);
    for (uint32_t id = 0; id < BLOCKS; id++) {
        g.name[id] = gdp_world_name(id);
        g.parent[id] = id % 100 == 0 ? -1 : (int32_t)(id - 1 - (id % 7 ? 0 : gdp_random(&random) % (id % 100)));
    }
    for (int i = 0; i < READERS; i++) CHECK(pthread_create(&threads[i], NULL, read_all, &g) == 0);
    /* On a busy machine a reader may come late: it goes on until each has seen something, or something is wrong. */
    for (uint32_t i = 0; i < OPERATIONS || (atomic_load(&g.awake) < READERS && i < 1000u * OPERATIONS); i++)
        write_once(&g, &random);
    atomic_store(&g.over, true);
    for (int i = 0; i < READERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(atomic_load(&g.awake) == READERS);
    gdp_index_free(g.index);
}

void gdp_test_index_threads(void)
{
    readers_see_what_was_true(11);
    readers_see_what_was_true(12);
}
