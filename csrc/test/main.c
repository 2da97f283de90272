/* main.c -- one binary, several questions:
 *
 *     gdp_test [--units] [NAME...]   do the modules do what their headers say?  (the default)
 *     gdp_test --oom  [NAME...]      ... when the first, the second, ... allocation fails?
 *     gdp_test --fuzz SECONDS [NAME...]  ... for corpus and mutated input, behind guard pages?
 *     gdp_test --bench [NAME...]     how long do they take?
 *
 * registry.h is generated from the definitions in test_*.c and fuzz_*.c. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"
#include "test.h"

unsigned long gdp_checks;

#define test(name) void gdp_test_##name(void);
#define oom(name) void gdp_oom_##name(void);
#define bench(name) void gdp_bench_##name(void);
#define fuzz(name) int gdp_fuzz_##name(const uint8_t *data, size_t size);
#include "registry.h"
#undef test
#undef oom
#undef bench
#undef fuzz

typedef struct {
    const char *kind, *name;
    void (*run)(void);
    gdp_fuzz_fn *fuzz;
} gdp_entry;

static const gdp_entry gdp_entries[] = {
#define test(name) {"--units", #name, gdp_test_##name, NULL},
#define oom(name) {"--oom", #name, gdp_oom_##name, NULL},
#define bench(name) {"--bench", #name, gdp_bench_##name, NULL},
#define fuzz(name) {"--fuzz", #name, NULL, gdp_fuzz_##name},
#include "registry.h"
#undef test
#undef oom
#undef bench
#undef fuzz
};
#define GDP_ENTRIES (sizeof gdp_entries / sizeof gdp_entries[0])

/* ---------------------------------------------------- checks ---------------------------------------------------- */

static const char *gdp_case_label;

void gdp_case(const char *label)
{
    gdp_case_label = label;
}

void gdp_check_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: not true: %s\n", file, line, what);
    if (gdp_case_label) fprintf(stderr, "    case: %s\n", gdp_case_label);
    abort();
}

uint32_t gdp_random(uint64_t *state)
{
    uint64_t x = *state ? *state : 88172645463325252u;
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    *state = x;
    return (uint32_t)(x >> 32);
}

/* ---------------------------------------------------- walls ----------------------------------------------------- */

/* [wall][ room ......... ][wall], grown when a copy does not fit. */
typedef struct {
    char *room;
    size_t size;
} gdp_room;

static void gdp_room_fit(gdp_room *r, size_t need)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (r->room && r->size >= need) return;
    if (r->room) munmap(r->room - page, r->size + 2 * page);
    r->size = (need / page + 1) * page;
    char *all = mmap(NULL, r->size + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED || mprotect(all + page, r->size, PROT_READ | PROT_WRITE) != 0) abort();
    r->room = all + page;
}

char *gdp_walled(const void *data, size_t len, bool back)
{
    static gdp_room rooms[2];
    gdp_room *r = &rooms[back];
    gdp_room_fit(r, len);
    char *at = back ? r->room + r->size - len : r->room;
    if (len) memcpy(at, data, len);
    return at;
}

/* ---------------------------------------------------- timing ---------------------------------------------------- */

static double gdp_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

double gdp_bench_ns(gdp_bench_fn *fn, void *arg)
{
    double best = 1e18;
    long calls = 1;
    for (int round = 0; round < 40; round++) {
        double from = gdp_now_ns();
        for (long i = 0; i < calls; i++) fn(arg);
        double took = gdp_now_ns() - from;
        if (took < 2e5 && round < 30) {
            calls *= 2;
            continue;
        }
        if (took / (double)calls < best) best = took / (double)calls;
    }
    return best;
}

void gdp_bench_row(const char *name, size_t bytes, double ns)
{
    printf("  %-44s %8zu B %10.1f ns %8.2f GB/s\n", name, bytes, ns, (double)bytes / ns);
}

/* ---------------------------------------------------- modes ----------------------------------------------------- */

/* Run `fn` with its nth allocation failing, for n = 0, 1, ... until a run needs no more than n. */
static void gdp_run_oom(void (*fn)(void))
{
    for (long n = 0; n < 100000; n++) {
        gdp_alloc_fail_after(n);
        fn();
        void *probe = gdp_alloc(1); /* works: the run did not use its allocations up */
        gdp_alloc_fail_after(-1);
        if (probe) {
            gdp_free(probe);
            return;
        }
    }
    fprintf(stderr, "more than 100000 allocations\n");
    abort();
}

static bool gdp_wanted(const char *name, char **names, int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0) return true;
    return n == 0;
}

static bool gdp_is_known(const char *name)
{
    for (size_t i = 0; i < GDP_ENTRIES; i++)
        if (strcmp(gdp_entries[i].name, name) == 0) return true;
    return false;
}

int main(int argc, char **argv)
{
    const char *kind = "--units";
    double seconds = 0;
    int at = 1, ran = 0;
    if (at < argc && argv[at][0] == '-') kind = argv[at++];
    const bool fuzz = strcmp(kind, "--fuzz") == 0;
    if (fuzz && at < argc) seconds = atof(argv[at++]);
    for (int i = at; i < argc; i++) {
        if (gdp_is_known(argv[i])) continue;
        fprintf(stderr, "nothing is called %s\n", argv[i]);
        return 2;
    }
    for (size_t i = 0; i < GDP_ENTRIES; i++) {
        const gdp_entry *e = &gdp_entries[i];
        if (strcmp(e->kind, kind) != 0 || !gdp_wanted(e->name, argv + at, argc - at)) continue;
        gdp_case(NULL);
        printf("%s %s\n", kind + 2, e->name);
        fflush(stdout);
        ran++;
        if (fuzz)
            gdp_fuzz_drive(e->name, e->fuzz, seconds);
        else if (strcmp(kind, "--oom") == 0)
            gdp_run_oom(e->run);
        else
            e->run();
    }
    if (ran == 0) {
        fprintf(stderr, "nothing to run: gdp_test [--units | --oom | --fuzz SECONDS | --bench] [NAME...]\n");
        return 2;
    }
    printf("%d passed, %lu checks\n", ran, gdp_checks);
    return 0;
}
