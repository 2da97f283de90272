/* fuzz_prompt.c -- a name depends on the bytes and the seed alone, and only an object has one. */
#include "fuzz.h"
#include "gdp/prompt.h"
#include "gdp/spans.h"

int gdp_fuzz_prompt(const uint8_t *data, size_t size);

int gdp_fuzz_prompt(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data;
    gdp_field field[64];
    const uint64_t key = gdp_prompt_key(p, size, 1);
    FUZZ_CHECK(key == gdp_prompt_key(p, size, 1));
    const int64_t n = gdp_json_fields(p, size, field, 64);
    FUZZ_CHECK(!key || n > 0);
    for (int64_t i = 0; i < n && key; i++) {
        const gdp_span name = field[i].key;
        FUZZ_CHECK(!memchr(p + name.off, '\\', name.len));
        FUZZ_CHECK(name.len != 6 || memcmp(p + name.off, "suffix", 6) != 0);
    }
    return 0;
}
