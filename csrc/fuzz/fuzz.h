/* fuzz.h -- fuzz targets, for libFuzzer and for our own driver.
 *
 * A target is `int gdp_fuzz_NAME(const uint8_t *data, size_t size)`: it aborts (FUZZ_CHECK) when a promise of the
 * header is broken. With clang -fsanitize=fuzzer and -DGDP_LIBFUZZER=gdp_fuzz_NAME it is a libFuzzer target; in the
 * test binary it is driven by fuzz.c, which needs no special compiler: corpus files, then mutations of them. */
#ifndef GDP_FUZZ_H
#define GDP_FUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gdp/base.h"

typedef int gdp_fuzz_fn(const uint8_t *data, size_t size);

/* Run `target` over fuzz/corpus/NAME/ and then over mutations for that many seconds, each input behind a guard page. */
void gdp_fuzz_drive(const char *name, gdp_fuzz_fn *target, double seconds);

#define FUZZ_CHECK(what)                                                                  \
    do {                                                                                  \
        if (!(what)) {                                                                    \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #what);          \
            abort();                                                                      \
        }                                                                                 \
    } while (0)

#define FUZZ_INSIDE(span, size) FUZZ_CHECK((size_t)(span).off + (span).len <= (size))

#ifdef GDP_LIBFUZZER
int GDP_LIBFUZZER(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return GDP_LIBFUZZER(data, size);
}
#endif

#endif
