/* index.c -- the prefix index measured: `gdp-bench-index WORKERS BLOCKS SESSIONS` prints one line of JSON.
 *
 * The load is that of a fleet: a quarter of each prompt is one of 20 system prompts, an eighth one of ten tenants of
 * each, the rest is the session's own. Sessions go round the workers, so a system prompt comes to be held by all of
 * them. Prompts are stored as an engine tells of them, 128 blocks at a time.
 *
 * Lookups are of 64 prompts in turn: known to the end (full), known up to their session's part (shared), or not at all
 * (miss); with warm caches, or after 64 MiB were written before every call. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "gdp/index.h"

#define SYSTEMS 20u
#define TENANTS 10u
#define PROMPTS 64u
#define CHUNK 128u
#define FLUSH ((size_t)64 << 20)

typedef struct {
    uint32_t workers, blocks, sessions;
    uint32_t system, tenant; /* blocks of each part */
    gdp_index *index;
    gdp_index_reader *reader;
    uint64_t *prompts; /* PROMPTS rows of `blocks` names */
    uint64_t *session; /* one row */
    uint32_t *reach;
    volatile char *trash;
    uint64_t distinct;
} gdp_fleet;

static double now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static uint64_t name_of(uint64_t kind, uint64_t row, uint64_t block)
{
    uint64_t x = (kind << 60 ^ row << 24 ^ block) + 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

static uint64_t resident_bytes(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%*u %lu", &pages) != 1) pages = 0;
    if (f) fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void prompt_of(const gdp_fleet *f, uint32_t session, uint64_t *row)
{
    const uint64_t u = name_of(7, session, 0) % 1000, v = name_of(7, session, 1) % 1000;
    const uint64_t system = SYSTEMS * u * v / 1000000, tenant = system * TENANTS + name_of(7, session, 2) % TENANTS;
    uint32_t i = 0;
    for (; i < f->system; i++) row[i] = name_of(1, system, i);
    for (; i < f->system + f->tenant; i++) row[i] = name_of(2, tenant, i);
    for (; i < f->blocks; i++) row[i] = name_of(3, session, i);
}

/* ---------------------------------------------------- store ----------------------------------------------------- */

static double store_all(gdp_fleet *f)
{
    double took = 0;
    for (uint32_t s = 0; s < f->sessions; s++) {
        prompt_of(f, s, f->session);
        const double from = now_ns(CLOCK_THREAD_CPUTIME_ID);
        for (uint32_t i = 0; i < f->blocks; i += CHUNK) {
            const uint32_t n = f->blocks - i < CHUNK ? f->blocks - i : CHUNK;
            if (gdp_index_store(f->index, s % f->workers, GDP_ON_GPU, i ? f->session[i - 1] : 0, i == 0, f->session + i, n,
                                NULL, s) != n)
                abort();
        }
        took += now_ns(CLOCK_THREAD_CPUTIME_ID) - from;
    }
    return took / ((double)f->sessions * f->blocks);
}

/* One worker's blocks taken back, the last first, as an engine evicts them. */
static double remove_some(gdp_fleet *f)
{
    double took = 0;
    uint64_t n = 0;
    for (uint32_t s = 0; s < f->sessions && n < 200000; s += 7) {
        prompt_of(f, s, f->session);
        const double from = now_ns(CLOCK_THREAD_CPUTIME_ID);
        for (uint32_t i = f->blocks; i-- > f->system + f->tenant; n++)
            if (gdp_index_remove(f->index, s % f->workers, GDP_ON_GPU, f->session[i]) != 1) abort();
        took += now_ns(CLOCK_THREAD_CPUTIME_ID) - from;
    }
    return took / (double)n;
}

/* ---------------------------------------------------- look up --------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void look_up(gdp_fleet *f, const char *kind, uint32_t keep, bool cold)
{
    enum { CALLS = 4096 };
    static double took[CALLS];
    uint32_t *const columns[GDP_INDEX_MEDIA] = {f->reach};
    const uint32_t calls = cold ? 192 : CALLS;
    uint64_t matched = 0, *rows = malloc(sizeof *rows * PROMPTS * f->blocks);
    for (uint32_t p = 0; p < PROMPTS; p++)
        for (uint32_t i = 0; i < f->blocks; i++)
            rows[p * f->blocks + i] = i < keep ? f->prompts[p * f->blocks + i] : name_of(4, p, i);
    for (uint32_t k = 0; k < calls; k++) {
        const uint64_t *row = rows + (size_t)(k % PROMPTS) * f->blocks;
        if (cold)
            for (size_t i = 0; i < FLUSH; i += 64) f->trash[i]++;
        const double from = now_ns(CLOCK_MONOTONIC);
        gdp_index_match(f->reader, row, f->blocks, f->sessions, f->workers, columns);
        took[k] = now_ns(CLOCK_MONOTONIC) - from;
        for (uint32_t w = 0; w < f->workers; w++) matched += f->reach[w] > 0;
    }
    qsort(took, calls, sizeof *took, by_value);
    printf("\"%s_%s_ns\": %.0f, \"%s_%s_p99_ns\": %.0f, ", kind, cold ? "flushed" : "hot", took[calls / 2], kind,
           cold ? "flushed" : "hot", took[calls * 99 / 100]);
    if (!cold) printf("\"%s_workers\": %.1f, ", kind, (double)matched / calls);
    free(rows);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "gdp-bench-index WORKERS BLOCKS SESSIONS\n");
        return 2;
    }
    gdp_fleet f = {.workers = (uint32_t)atoi(argv[1]), .blocks = (uint32_t)atoi(argv[2]), .sessions = (uint32_t)atoi(argv[3])};
    gdp_index_stats count;
    f.system = f.blocks / 4, f.tenant = f.blocks / 8;
    f.session = malloc(sizeof(uint64_t) * f.blocks);
    f.prompts = malloc(sizeof(uint64_t) * f.blocks * PROMPTS);
    f.reach = malloc(sizeof(uint32_t) * f.workers);
    f.trash = malloc(FLUSH);
    for (uint32_t p = 0; p < PROMPTS; p++)
        prompt_of(&f, (uint32_t)((uint64_t)p * f.sessions / PROMPTS), f.prompts + (size_t)p * f.blocks);
    memset((char *)f.trash, 1, FLUSH);
    const uint64_t before = resident_bytes();
    f.index = gdp_index_new(&(gdp_index_options){.bytes_max = (uint64_t)2 << 30});
    f.reader = gdp_index_reader_new(f.index);
    const double store_ns = store_all(&f);
    const uint64_t resident = resident_bytes() - before;
    gdp_index_count(f.index, &count);
    printf("{\"workers\": %u, \"blocks\": %u, \"sessions\": %u, \"distinct\": %lu, \"segments\": %lu, ", f.workers, f.blocks,
           f.sessions, (unsigned long)count.blocks, (unsigned long)count.segments);
    printf("\"store_ns\": %.1f, \"bytes_per_block\": %.2f, \"resident_per_block\": %.2f, ", store_ns,
           (double)count.bytes / (double)count.blocks, (double)resident / (double)count.blocks);
    for (int cold = 0; cold < 2; cold++) {
        look_up(&f, "full", f.blocks, cold);
        look_up(&f, "shared", f.system + f.tenant, cold);
        look_up(&f, "miss", 0, cold);
    }
    printf("\"remove_ns\": %.1f}\n", remove_some(&f));
    gdp_index_reader_free(f.reader);
    gdp_index_free(f.index);
    free(f.session), free(f.prompts), free(f.reader ? f.reach : NULL), free((char *)f.trash);
    return 0;
}
