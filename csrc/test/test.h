/* test.h -- the whole test framework: a check that says where it failed, and rooms with walls.
 *
 * A file test/test_NAME.c defines any of
 *
 *     void gdp_test_NAME(void);     unit tests; the Makefile finds the definition, there is no list to keep
 *     void gdp_oom_NAME(void);      run once for every allocation it makes, that one and all later ones failing
 *     void gdp_bench_NAME(void);    timings, printed by `--bench`
 *
 * and test/../fuzz/fuzz_NAME.c defines `int gdp_fuzz_NAME(const uint8_t *, size_t)`. */
#ifndef GDP_TEST_H
#define GDP_TEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gdp/base.h"

/* One case among many: what it was is printed when a CHECK after it fails. NULL: none. */
void gdp_case(const char *label);

void gdp_check_failed(const char *file, int line, const char *what);
extern unsigned long gdp_checks;

#define CHECK(what)                                                      \
    do {                                                                 \
        gdp_checks++;                                                    \
        if (!(what)) gdp_check_failed(__FILE__, __LINE__, #what);        \
    } while (0)

/* A copy of data[0..len) that touches an unmapped page: behind its last byte (back), or before its first (!back). One
 * byte too far is a crash. Two rooms are kept, so a front and a back copy may live at once; the next copy of the same
 * kind replaces it. */
char *gdp_walled(const void *data, size_t len, bool back);

/* A fixed sequence for tests: xorshift. */
uint32_t gdp_random(uint64_t *state);

/* Nanoseconds of one call: the best of several rounds, because noise only adds. */
typedef void gdp_bench_fn(void *arg);
double gdp_bench_ns(gdp_bench_fn *fn, void *arg);
void gdp_bench_row(const char *name, size_t bytes, double ns);

#define STR(text) (text), (sizeof(text) - 1)

#endif
