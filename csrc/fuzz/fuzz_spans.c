/* fuzz_spans.c -- spans inside, in order, apart; and what was split can be split again by itself. */
#include "fuzz.h"
#include "gdp/spans.h"

int gdp_fuzz_spans(const uint8_t *data, size_t size);

enum { MOST = 32 };

int gdp_fuzz_spans(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data;
    gdp_span items[MOST], inner[MOST];
    gdp_field fields[MOST];
    int64_t n = gdp_json_items(p, size, items, MOST);
    FUZZ_CHECK(n <= MOST && (n >= 0 || n == GDP_BAD || n == GDP_NOMEM));
    for (int64_t i = 0; i < n; i++) {
        FUZZ_INSIDE(items[i], size);
        FUZZ_CHECK(items[i].len > 0 && (i == 0 || items[i].off > items[i - 1].off + items[i - 1].len));
        int64_t m = gdp_json_items(p + items[i].off, items[i].len, inner, MOST);
        FUZZ_CHECK(m < 0 || p[items[i].off] == '[');
    }
    n = gdp_json_fields(p, size, fields, MOST);
    FUZZ_CHECK(n <= MOST && (n >= 0 || n == GDP_BAD || n == GDP_NOMEM));
    for (int64_t i = 0; i < n; i++) {
        FUZZ_INSIDE(fields[i].key, size);
        FUZZ_INSIDE(fields[i].value, size);
        FUZZ_CHECK(fields[i].value.off > fields[i].key.off + fields[i].key.len && fields[i].value.len > 0);
        FUZZ_CHECK(i == 0 || fields[i].key.off > fields[i - 1].value.off + fields[i - 1].value.len);
    }
    return 0;
}
