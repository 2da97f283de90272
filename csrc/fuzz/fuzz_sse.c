/* fuzz_sse.c -- events: spans inside, ends at line ends, and an event in two pieces is the same event. */
#include "fuzz.h"
#include "gdp/sse.h"

int gdp_fuzz_sse(const uint8_t *data, size_t size);

static bool gdp_same_event(const gdp_event *a, const gdp_event *b)
{
    return a->kind == b->kind && a->finish == b->finish && a->usage == b->usage && a->usage_only == b->usage_only &&
           a->data.off == b->data.off && a->data.len == b->data.len && a->name.off == b->name.off &&
           a->name.len == b->name.len;
}

int gdp_fuzz_sse(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data;
    gdp_span print = gdp_sse_fingerprint(p, size);
    FUZZ_INSIDE(print, size);
    for (size_t at = 0; at < size;) {
        gdp_event whole, piece;
        const size_t left = size - at, cut = (data[at] * 31u + left / 2) % left;
        int64_t got = gdp_sse_next(p + at, left, 0, &whole);
        int64_t early = gdp_sse_next(p + at, cut, 0, &piece);
        if (early == GDP_MORE) {
            FUZZ_CHECK(gdp_sse_next(p + at, left, cut, &piece) == got);
            FUZZ_CHECK(got < 0 || gdp_same_event(&whole, &piece));
        } else {
            FUZZ_CHECK(early == got && gdp_same_event(&whole, &piece));
        }
        if (got == GDP_MORE) break;
        FUZZ_CHECK(got > 0 && (size_t)got <= left);
        FUZZ_CHECK(p[at + (size_t)got - 1] == '\n' || p[at + (size_t)got - 1] == '\r');
        FUZZ_INSIDE(whole.data, (size_t)got);
        FUZZ_INSIDE(whole.name, (size_t)got);
        FUZZ_CHECK(!whole.usage_only || whole.usage);
        at += (size_t)got;
    }
    return 0;
}
