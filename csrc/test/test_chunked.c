/* test_chunked.c -- chunked bodies, good and bad, whole and one byte at a time, behind walls. */
#include "gdp/http1.h"
#include "test.h"

void gdp_test_chunked(void);
void gdp_test_chunked_runs(void);
void gdp_test_chunked_limits(void);

typedef struct {
    const char *payload; /* NULL: refused */
    bool done;
    size_t left; /* bytes after the end that are not consumed */
    const char *body;
    size_t len;
} gdp_chunk_case;

#define DONE(payload, left, text) {payload, true, left, text, sizeof(text) - 1}
#define OPEN(payload, text) {payload, false, 0, text, sizeof(text) - 1}
#define BAD(text) {NULL, false, 0, text, sizeof(text) - 1}
#define END "0\r\n\r\n"

static const gdp_chunk_case gdp_chunk_cases[] = {
    DONE("", 0, END),
    DONE("hello", 0, "5\r\nhello\r\n" END),
    DONE("hello", 3, "5\r\nhello\r\n" END "GET"),
    DONE("ab", 0, "1\r\na\r\n1\r\nb\r\n" END),
    DONE("a", 0, "000000000000001\r\na\r\n" END),
    DONE("abcdefghijklmnopqrstuvwxyz", 0, "1A\r\nabcdefghijklmnopqrstuvwxyz\r\n" END),
    DONE("abcdefghij", 0, "a\r\nabcdefghij\r\n" END),
    DONE("", 0, "000\r\n\r\n"),
    DONE("", 0, "0;x\r\n\r\n"),
    DONE("a", 0, "1;x=y\r\na\r\n" END),
    DONE("a", 0, "1;x=\"y z\"\r\na\r\n" END),
    DONE("a", 0, "1;\r\na\r\n" END),
    DONE("a", 0, "1; \tx\x80\r\na\r\n" END),
    DONE("\r\n", 0, "2\r\n\r\n\r\n" END),
    DONE("0\r\n\r\n", 0, "5\r\n0\r\n\r\n\r\n" END),
    DONE("", 0, "0\r\nA: b\r\n\r\n"),
    DONE("", 0, "0\r\nA:\r\nB: \t \r\n\r\n"),
    DONE("", 0, "0\r\nA: \x80\xff\r\n\r\n"),
    DONE("x", 5, "1\r\nx\r\n" END END),
    OPEN("", ""),
    OPEN("", "5"),
    OPEN("", "5;"),
    OPEN("", "5;abc"),
    OPEN("", "5\r"),
    OPEN("", "5\r\n"),
    OPEN("he", "5\r\nhe"),
    OPEN("hello", "5\r\nhello"),
    OPEN("hello", "5\r\nhello\r"),
    OPEN("hello", "5\r\nhello\r\n"),
    OPEN("hello", "5\r\nhello\r\n0"),
    OPEN("hello", "5\r\nhello\r\n0\r\n"),
    OPEN("hello", "5\r\nhello\r\n0\r\n\r"),
    OPEN("", "0\r\nA"),
    OPEN("", "0\r\nA:"),
    OPEN("", "0\r\nA: b\r"),
    OPEN("", "0\r\nA: b\r\n"),
    OPEN("", "fffffffffffffff\r\n"),
    OPEN("a", "fffffffffffffff\r\na"),
    BAD("\r\n"),
    BAD("\n"),
    BAD(" 5\r\nhello\r\n"),
    BAD("+5\r\nhello\r\n"),
    BAD("-1\r\n"),
    BAD("0x5\r\nhello\r\n"),
    BAD("g\r\n"),
    BAD(";x\r\n"),
    BAD("5 \r\nhello\r\n"),
    BAD("5\t;x\r\nhello\r\n"),
    BAD("5\nhello\r\n"),
    BAD("5\r\rhello"),
    BAD("5\rhello"),
    BAD("5,5\r\nhello"),
    BAD("0000000000000001\r\na\r\n"),
    BAD("ffffffffffffffff\r\n"),
    BAD("10000000000000000\r\n"),
    BAD("5;a\nhello"),
    BAD("5;a\0\r\nhello"),
    BAD("5;\x7f\r\nhello"),
    BAD("5;a\rb\r\nhello"),
    BAD("5\r\nhellox"),
    BAD("5\r\nhello\n"),
    BAD("5\r\nhello\r\r"),
    BAD("5\r\nhello\rx"),
    BAD("5\r\nhello5\r\n"),
    BAD("5\r\nhello\r\n\r\n"),
    BAD("0\r\n\n"),
    BAD("0\n\r\n"),
    BAD("0\r\n\rx"),
    BAD("0\r\n A: b\r\n\r\n"),
    BAD("0\r\n: b\r\n\r\n"),
    BAD("0\r\nA b: c\r\n\r\n"),
    BAD("0\r\nA : c\r\n\r\n"),
    BAD("0\r\nA\r\n\r\n"),
    BAD("0\r\nA: b\n\r\n"),
    BAD("0\r\nA: b\rc\r\n\r\n"),
    BAD("0\r\nA: \0\r\n\r\n"),
    BAD("0\r\nA: b\r\n c\r\n\r\n"),
    BAD("0\r\n(: b\r\n\r\n"),
};

typedef struct {
    char payload[8192];
    size_t n, read;
    bool bad, done;
} gdp_decoded;

/* Decode in steps of `step` bytes, each behind a wall. */
static void gdp_decode(const char *body, size_t len, size_t step, gdp_decoded *out)
{
    gdp_chunked c = {0};
    memset(out, 0, sizeof *out);
    while (out->read < len && !c.done) {
        size_t n = len - out->read < step ? len - out->read : step, used = 0;
        const char *piece = gdp_walled(body + out->read, n, true);
        while (used < n && !c.done) {
            gdp_span data;
            int64_t got = gdp_chunked_next(&c, piece + used, n - used, &data);
            if (got < 0) {
                out->bad = true;
                return;
            }
            CHECK(got > 0 && (size_t)got <= n - used && data.off + data.len <= (size_t)got);
            memcpy(out->payload + out->n, piece + used + data.off, data.len);
            out->n += data.len;
            used += (size_t)got;
        }
        out->read += used;
    }
    out->done = c.done;
    gdp_span data;
    CHECK(!c.done || gdp_chunked_next(&c, "x", 1, &data) == 0);
}

void gdp_test_chunked(void)
{
    static gdp_decoded got;
    for (size_t i = 0; i < sizeof gdp_chunk_cases / sizeof gdp_chunk_cases[0]; i++) {
        const gdp_chunk_case *c = &gdp_chunk_cases[i];
        gdp_case(c->body);
        for (size_t step = 1; step <= c->len + 1; step++) {
            gdp_decode(c->body, c->len, step, &got);
            CHECK(got.bad == (c->payload == NULL));
            if (got.bad) continue;
            CHECK(got.done == c->done && got.read == c->len - c->left);
            CHECK(got.n == strlen(c->payload) && memcmp(got.payload, c->payload, got.n) == 0);
        }
    }
    gdp_case(NULL);
    CHECK(sizeof gdp_chunk_cases / sizeof gdp_chunk_cases[0] >= 60);
}

void gdp_test_chunked_runs(void)
{
    static const char body[] = "5\r\nhello\r\n3\r\nabc\r\n0\r\n\r\n";
    gdp_chunked c = {0};
    gdp_span data;
    CHECK(gdp_chunked_next(&c, body, 6, &data) == 6 && data.off == 3 && data.len == 3 && !c.boundary && c.left == 2);
    CHECK(gdp_chunked_next(&c, body + 6, 2, &data) == 2 && data.len == 2 && !c.boundary);
    CHECK(gdp_chunked_next(&c, body + 8, 2, &data) == 2 && data.len == 0 && c.boundary);
    CHECK(gdp_chunked_next(&c, body + 10, sizeof body - 11, &data) == 8 && data.off == 3 && data.len == 3 && c.boundary);
    CHECK(gdp_chunked_next(&c, body + 18, sizeof body - 19, &data) == 5 && c.done && c.boundary && data.len == 0);
    gdp_chunked d = {0}; /* a CR LF that was left over is taken with the next chunk */
    CHECK(gdp_chunked_next(&d, body, 8, &data) == 8 && !d.boundary);
    CHECK(gdp_chunked_next(&d, body + 8, sizeof body - 9, &data) == 10 && data.off == 5 && data.len == 3 && d.boundary);
}

void gdp_test_chunked_limits(void)
{
    static char body[9000];
    static gdp_decoded got;
    for (size_t line = 255; line <= 257; line++) { /* "0;xxx" of so many bytes */
        memset(body, 'x', sizeof body);
        memcpy(body, "0;", 2);
        memcpy(body + line, "\r\n\r\n", 4);
        gdp_decode(body, line + 4, line + 4, &got);
        CHECK(got.bad == (line > 256) && got.done == (line <= 256));
    }
    for (size_t trailer = 8191; trailer <= 8193; trailer++) { /* all trailer lines, with the empty one */
        memset(body, 'x', sizeof body);
        memcpy(body, "0\r\nx:", 5);
        memcpy(body + 3 + trailer - 4, "\r\n\r\n", 4);
        gdp_decode(body, 3 + trailer, 1000, &got);
        CHECK(got.bad == (trailer > 8192) && got.done == (trailer <= 8192));
    }
}
