/* fuzz_spans.c -- spans inside, in order, apart; what was split can be split again by itself; cuts stand at marks. */
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
    uint32_t cuts[MOST];
    const size_t unit = size < 2 ? 1 : (size_t)1 << data[1] % 3, whole = size / unit * unit;
    const size_t n_mark = size < 2 ? 0 : unit * (1 + data[0] % 3), least = unit * (size < 2 ? 1 : 1 + data[1] % 9);
    if (n_mark && n_mark <= whole) {
        const size_t found = gdp_text_cuts(p, whole, p, n_mark, unit, least, cuts, MOST);
        for (size_t i = 0; i < found; i++) {
            FUZZ_CHECK(cuts[i] % unit == 0 && cuts[i] + n_mark <= whole && memcmp(p + cuts[i], p, n_mark) == 0);
            FUZZ_CHECK(cuts[i] >= (i ? cuts[i - 1] : 0) + least);
        }
        uint32_t again[MOST]; /* the beginning alone has the same cuts */
        const size_t some = found ? gdp_text_cuts(p, cuts[found - 1] + n_mark, p, n_mark, unit, least, again, MOST) : 0;
        FUZZ_CHECK(some == found && memcmp(again, cuts, found * sizeof *cuts) == 0);
    }
    return 0;
}
