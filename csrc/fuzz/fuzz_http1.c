/* fuzz_http1.c -- heads: offsets stay inside, and a head in two pieces is the same head. */
#include "fuzz.h"
#include "gdp/http1.h"

int gdp_fuzz_http1(const uint8_t *data, size_t size);

static void gdp_check_headers(const gdp_header *headers, unsigned n, int head)
{
    for (unsigned i = 0; i < n; i++) {
        FUZZ_INSIDE(headers[i].name, (size_t)head);
        FUZZ_INSIDE(headers[i].value, (size_t)head);
        FUZZ_CHECK(headers[i].name.len > 0 && headers[i].id <= GDP_H_HOP_LAST);
    }
}

static int gdp_check_request(const char *p, size_t size, size_t cut)
{
    static gdp_request whole, piece;
    int got = gdp_http1_request(p, size, 0, 100, &whole);
    FUZZ_CHECK(got == GDP_MORE || (got == GDP_BAD && whole.why) || (got > 0 && (size_t)got <= size && !whole.why));
    if (got > 0) {
        FUZZ_INSIDE(whole.method, (size_t)got);
        FUZZ_INSIDE(whole.target, (size_t)got);
        FUZZ_INSIDE(whole.path, (size_t)got);
        FUZZ_INSIDE(whole.query, (size_t)got);
        FUZZ_CHECK(whole.path.len > 0 && (p[whole.path.off] == '/' || p[whole.path.off] == '*'));
        FUZZ_CHECK(!(whole.chunked && whole.has_length) && whole.n_headers <= 100);
        gdp_check_headers(whole.headers, whole.n_headers, got);
    }
    int early = gdp_http1_request(p, cut, 0, 100, &piece);
    if (got > 0) FUZZ_CHECK(early == (cut < (size_t)got ? GDP_MORE : got));
    if (got == GDP_MORE) FUZZ_CHECK(early == GDP_MORE);
    if (early == GDP_MORE) {
        FUZZ_CHECK(gdp_http1_request(p, size, cut, 100, &piece) == got && piece.why == whole.why);
        FUZZ_CHECK(got < 0 || (piece.n_headers == whole.n_headers && piece.length == whole.length));
    }
    return got;
}

static void gdp_check_response(const char *p, size_t size, size_t cut)
{
    static gdp_response whole, piece;
    int got = gdp_http1_response(p, size, 0, &whole);
    FUZZ_CHECK(got == GDP_MORE || (got == GDP_BAD && whole.why) || (got > 0 && (size_t)got <= size && !whole.why));
    if (got > 0) {
        FUZZ_INSIDE(whole.reason, (size_t)got);
        FUZZ_CHECK(whole.status >= 100 && whole.status <= 599 && !(whole.chunked && whole.has_length));
        gdp_check_headers(whole.headers, whole.n_headers, got);
    }
    int early = gdp_http1_response(p, cut, 0, &piece);
    if (got > 0) FUZZ_CHECK(early == (cut < (size_t)got ? GDP_MORE : got));
    if (early == GDP_MORE) FUZZ_CHECK(gdp_http1_response(p, size, cut, &piece) == got && piece.why == whole.why);
}

int gdp_fuzz_http1(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data;
    const size_t cut = size ? (data[0] * 31u + data[size - 1] * 7u + size / 2) % size : 0;
    gdp_check_request(p, size, cut);
    gdp_check_response(p, size, cut);
    (void)gdp_http1_list_has(p, size, "close");
    return 0;
}
