/* fuzz.c -- a small mutating driver, for machines without libFuzzer.
 *
 * It knows nothing of coverage. What makes up for it: the corpus is near everything interesting, mutations insert the
 * bytes that matter to the grammars (quotes, CR, LF, brackets, digits), and each input touches a guard page. The seed
 * is fixed, so a failure comes back; the input that crashed is printed by the next run with the same seconds or more. */
#define _GNU_SOURCE
#include "fuzz.h"

#include <dirent.h>
#include <time.h>

#include "test.h"

#define GDP_INPUT_MAX 4096
#define GDP_CORPUS_MAX 256

typedef struct {
    size_t size;
    uint8_t bytes[GDP_INPUT_MAX];
} gdp_input;

static size_t gdp_corpus_load(const char *name, gdp_input *corpus)
{
    char path[512];
    size_t n = 0;
    const char *root = getenv("GDP_CORPUS");
    snprintf(path, sizeof path, "%s/%s", root ? root : "fuzz/corpus", name);
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && n < GDP_CORPUS_MAX && (e = readdir(dir));) {
        if (e->d_name[0] == '.') continue;
        char file[1024];
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        FILE *f = fopen(file, "rb");
        if (!f) continue;
        corpus[n].size = fread(corpus[n].bytes, 1, GDP_INPUT_MAX, f);
        fclose(f);
        n++;
    }
    if (dir) closedir(dir);
    return n;
}

/* Change one thing: replace, insert, delete, repeat a stretch, or take the tail of another input. */
static void gdp_mutate(gdp_input *in, const gdp_input *other, uint64_t *seed)
{
    static const char spice[] = "\r\n\"\\{}[]:,; \t0159aAfF\0\x7f\x80\xff-+.#@*/";
    const size_t at = in->size ? gdp_random(seed) % in->size : 0;
    const size_t room = GDP_INPUT_MAX - in->size;
    size_t n = 1 + gdp_random(seed) % 8;
    switch (gdp_random(seed) % 6) {
    case 0:
        if (in->size) in->bytes[at] = (uint8_t)gdp_random(seed);
        break;
    case 1:
        if (in->size) in->bytes[at] = (uint8_t)spice[gdp_random(seed) % (sizeof spice - 1)];
        break;
    case 2:
        if (!room) break;
        memmove(in->bytes + at + 1, in->bytes + at, in->size - at);
        in->bytes[at] = (uint8_t)spice[gdp_random(seed) % (sizeof spice - 1)];
        in->size++;
        break;
    case 3:
        if (n > in->size - at) n = in->size - at;
        memmove(in->bytes + at, in->bytes + at + n, in->size - at - n);
        in->size -= n;
        break;
    case 4:
        n = gdp_random(seed) % 64;
        if (n > in->size - at) n = in->size - at;
        if (n > room) n = room;
        memmove(in->bytes + at + n, in->bytes + at, in->size - at);
        in->size += n;
        break;
    default:
        if (at >= other->size) break;
        memcpy(in->bytes + at, other->bytes + at, other->size - at);
        in->size = other->size;
    }
}

static void gdp_fuzz_one(gdp_fuzz_fn *target, const gdp_input *in, unsigned long round)
{
    char *walled = gdp_walled(in->bytes, in->size, round % 2 == 0);
    (void)target((const uint8_t *)walled, in->size);
    gdp_checks++;
}

void gdp_fuzz_drive(const char *name, gdp_fuzz_fn *target, double seconds)
{
    gdp_input *corpus = calloc(GDP_CORPUS_MAX + 1, sizeof *corpus), *work = malloc(sizeof *work);
    if (!corpus || !work) abort();
    size_t n = gdp_corpus_load(name, corpus);
    uint64_t seed = 20260101;
    unsigned long round = 0;
    for (size_t i = 0; i < n; i++)
        for (int side = 0; side < 2; side++) gdp_fuzz_one(target, &corpus[i], round++);
    struct timespec from, now;
    clock_gettime(CLOCK_MONOTONIC, &from);
    do {
        for (int i = 0; i < 200; i++) {
            const size_t pick = n ? n : 1;
            *work = corpus[gdp_random(&seed) % pick];
            for (unsigned k = 1 + gdp_random(&seed) % 6; k > 0; k--)
                gdp_mutate(work, &corpus[gdp_random(&seed) % pick], &seed);
            gdp_fuzz_one(target, work, round++);
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((double)(now.tv_sec - from.tv_sec) + (double)(now.tv_nsec - from.tv_nsec) / 1e9 < seconds);
    printf("    %zu corpus files, %lu inputs\n", n, round);
    free(work);
    free(corpus);
}
