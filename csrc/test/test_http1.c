/* test_http1.c -- heads, good and bad, one line each; every one behind a wall, in front and behind, whole and cut at
 * every byte. */
#include "gdp/http1.h"
#include "test.h"

void gdp_test_http1(void);
void gdp_test_http1_fields(void);
void gdp_test_http1_limits(void);
void gdp_test_http1_lists(void);

typedef struct {
    int want; /* 1: good; GDP_MORE; or minus 100 minus the gdp_http_why */
    const char *head;
    size_t len;
} gdp_head_case;

#define GOOD(text) {1, text, sizeof(text) - 1}
#define MORE(text) {GDP_MORE, text, sizeof(text) - 1}
#define BAD(why, text) {-100 - GDP_HTTP_##why, text, sizeof(text) - 1}
#define H "Host: a\r\n"
#define GET "GET / HTTP/1.1\r\n"
#define POST "POST /x HTTP/1.1\r\n" H

static const gdp_head_case gdp_requests[] = {
    /* request lines */
    GOOD(GET H "\r\n"),
    GOOD("POST /v1/chat/completions?x=1&y HTTP/1.1\r\n" H "\r\n"),
    GOOD("OPTIONS * HTTP/1.1\r\n" H "\r\n"),
    GOOD("GET http://a/b?c HTTP/1.1\r\n" H "\r\n"),
    GOOD("GET HTTP://a:80 HTTP/1.1\r\n" H "\r\n"),
    GOOD("GET http://[::1]:80?q HTTP/1.1\r\n" H "\r\n"),
    GOOD("GET / HTTP/1.0\r\n\r\n"),
    GOOD("GET / HTTP/1.2\r\n" H "\r\n"),
    GOOD("GET / HTTP/1.9\r\n" H "\r\n"),
    GOOD("m!#$%&'*+-.^_`|~Z9 / HTTP/1.1\r\n" H "\r\n"),
    GOOD("get / HTTP/1.1\r\n" H "\r\n"),
    GOOD("GET /\"<>\\^`{|}[]~!$&'()*+,;=:@%41 HTTP/1.1\r\n" H "\r\n"),
    GOOD("GET //..//x HTTP/1.1\r\n" H "\r\n"),
    GOOD("\r\n" GET H "\r\n"),
    GOOD("\r\n\r\n\r\n\r\n" GET H "\r\n"),
    BAD(BAD_REQUEST_LINE, "\r\n\r\n\r\n\r\n\r\n" GET H "\r\n"),
    BAD(BAD_LINE_END, "\n" GET H "\r\n"),
    BAD(BAD_REQUEST_LINE, "\rGET / HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_REQUEST_LINE, " GET / HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_REQUEST_LINE, "\x16\x03\x01\x02"),
    BAD(BAD_REQUEST_LINE, "GET\r\n" H "\r\n"),
    BAD(BAD_REQUEST_LINE, "GET /\r\n" H "\r\n"),
    BAD(BAD_REQUEST_LINE, "GET  / HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_REQUEST_LINE, "GET /  HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_REQUEST_LINE, "GET / HTTP/1.1 \r\n" H "\r\n"),
    BAD(BAD_REQUEST_LINE, "GET / x HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_REQUEST_LINE, "GET / http/1.1\r\n" H "\r\n"),
    BAD(BAD_REQUEST_LINE, "GET / HTTP/1\r\n" H "\r\n"),
    BAD(BAD_REQUEST_LINE, "GET / HTTP/1.10\r\n" H "\r\n"),
    BAD(BAD_REQUEST_LINE, "GET / HTTP/1,1\r\n" H "\r\n"),
    BAD(BAD_REQUEST_LINE, "GET / HTTP/a.b\r\n" H "\r\n"),
    BAD(BAD_REQUEST_LINE, "GET / ICY/1.1\r\n" H "\r\n"),
    BAD(BAD_VERSION, "GET / HTTP/2.0\r\n" H "\r\n"),
    BAD(BAD_VERSION, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    BAD(BAD_VERSION, "GET / HTTP/0.9\r\n" H "\r\n"),
    BAD(BAD_METHOD, "G\tET / HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_METHOD, "G(T / HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_METHOD, "GE\0T / HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_METHOD, "GET\t/ HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_METHOD, "G\xc3\x89T / HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_METHOD, "MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM / HTTP/1.1\r\n" H "\r\n"),
    GOOD("MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM / HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_TARGET, "GET x HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_TARGET, "GET ?x HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_TARGET, "GET * HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_TARGET, "OPTIONS ** HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_TARGET, "CONNECT a:443 HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_TARGET, "GET https://a/ HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_TARGET, "GET ftp://a/ HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_TARGET, "GET http:// HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_TARGET, "GET http:///x HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_TARGET, "GET http://?x HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_TARGET, "GET http://u@a/ HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_TARGET, "GET http://u:p@a/ HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_TARGET, "GET http://a\\b/ HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_TARGET, "GET /a#b HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_TARGET, "GET /\x01 HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_TARGET, "GET /\0 HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_TARGET, "GET /\x7f HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_TARGET, "GET /\xc3\xa9 HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_TARGET, "GET /\tHTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_REQUEST_LINE, "GET /\rX HTTP/1.1\r\n" H "\r\n"),
    BAD(BAD_LINE_END, "GET / HTTP/1.1\r\r\n" H "\r\n"),
    /* line ends */
    BAD(BAD_LINE_END, "GET / HTTP/1.1\nHost: a\r\n\r\n"),
    BAD(BAD_LINE_END, GET "Host: a\n\r\n"),
    BAD(BAD_LINE_END, GET H "\n"),
    BAD(BAD_LINE_END, GET H "A: b\n\n"),
    BAD(BAD_LINE_END, GET "Host: a\r\r\n\r\n"),
    BAD(BAD_LINE_END, GET H "A: b\rC: d\r\n\r\n"),
    BAD(BAD_LINE_END, GET H "A\r: b\r\n\r\n"),
    /* header lines */
    GOOD(GET H "A:\r\n\r\n"),
    GOOD(GET H "A: \t \r\n\r\n"),
    GOOD(GET H "A:b\tc\t\r\n\r\n"),
    GOOD(GET H "A: \x80\xff\r\n\r\n"),
    GOOD(GET H "1_~!: :::\r\n\r\n"),
    BAD(OBS_FOLD, GET " " H "\r\n"),
    BAD(OBS_FOLD, GET H " folded\r\n\r\n"),
    BAD(OBS_FOLD, GET H "A: b\r\n\tc\r\n\r\n"),
    BAD(BAD_HEADER_NAME, GET H "A : b\r\n\r\n"),
    BAD(BAD_HEADER_NAME, GET H "A\t: b\r\n\r\n"),
    BAD(BAD_HEADER_NAME, GET H ": b\r\n\r\n"),
    BAD(BAD_HEADER_NAME, GET H "A\r\n\r\n"),
    BAD(BAD_HEADER_NAME, GET H "A b: c\r\n\r\n"),
    BAD(BAD_HEADER_NAME, GET H "A\0: c\r\n\r\n"),
    BAD(BAD_HEADER_NAME, GET H "A\x7f: c\r\n\r\n"),
    BAD(BAD_HEADER_NAME, GET H "\xc3\xa9: c\r\n\r\n"),
    BAD(BAD_HEADER_NAME, GET H "(A): c\r\n\r\n"),
    BAD(BAD_HEADER_VALUE, GET H "A: \0\r\n\r\n"),
    BAD(BAD_HEADER_VALUE, GET H "A: \x0b\r\n\r\n"),
    BAD(BAD_HEADER_VALUE, GET H "A: b\x7f\r\n\r\n"),
    BAD(BAD_HEADER_VALUE, GET H "A: bbbbbbbbbbbbbbbbbbbbbbbbb\x1f\r\n\r\n"),
    /* Host */
    BAD(BAD_HOST, GET "\r\n"),
    BAD(BAD_HOST, GET "Host:\r\n\r\n"),
    BAD(BAD_HOST, GET H H "\r\n"),
    BAD(BAD_HOST, GET H "hOST: b\r\n\r\n"),
    BAD(BAD_HOST, GET "Host: a b\r\n\r\n"),
    BAD(BAD_HOST, GET "Host: u@a\r\n\r\n"),
    BAD(BAD_HOST, GET "Host: a/b\r\n\r\n"),
    BAD(BAD_HOST, GET "Host: a,b\r\n\r\n"),
    BAD(BAD_HOST, GET "Host: a?b\r\n\r\n"),
    BAD(BAD_HOST, GET "Host: a\\b\r\n\r\n"),
    BAD(BAD_HOST, GET "Host: \xc3\xa9\r\n\r\n"),
    BAD(BAD_HOST, "GET / HTTP/1.0\r\n" H H "\r\n"),
    GOOD(GET "Host: [2001:db8::1]:8000\r\n\r\n"),
    GOOD(GET "host:a.b-c_d:1\r\n\r\n"),
    /* Content-Length */
    GOOD(POST "Content-Length: 0\r\n\r\n"),
    GOOD(POST "content-length:\t007 \r\n\r\n"),
    GOOD(POST "Content-Length: 9999999999999999999\r\n\r\n"),
    BAD(BAD_CONTENT_LENGTH, POST "Content-Length: 10000000000000000000\r\n\r\n"),
    BAD(BAD_CONTENT_LENGTH, POST "Content-Length: 00000000000000000001\r\n\r\n"),
    BAD(BAD_CONTENT_LENGTH, POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
    BAD(BAD_CONTENT_LENGTH, POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"),
    BAD(BAD_CONTENT_LENGTH, POST "Content-Length: 5,5\r\n\r\n"),
    BAD(BAD_CONTENT_LENGTH, POST "Content-Length: 5 5\r\n\r\n"),
    BAD(BAD_CONTENT_LENGTH, POST "Content-Length: +5\r\n\r\n"),
    BAD(BAD_CONTENT_LENGTH, POST "Content-Length: -5\r\n\r\n"),
    BAD(BAD_CONTENT_LENGTH, POST "Content-Length: 0x5\r\n\r\n"),
    BAD(BAD_CONTENT_LENGTH, POST "Content-Length: 5.0\r\n\r\n"),
    BAD(BAD_CONTENT_LENGTH, POST "Content-Length:\r\n\r\n"),
    /* Transfer-Encoding */
    GOOD(POST "Transfer-Encoding: chunked\r\n\r\n"),
    GOOD(POST "transfer-encoding:CHUNKED\r\n\r\n"),
    BAD(LENGTH_AND_CHUNKED, POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
    BAD(LENGTH_AND_CHUNKED, POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
    BAD(LENGTH_AND_CHUNKED, POST "Transfer-Encoding: x y\r\nContent-Length: z\r\n\r\n"),
    BAD(BAD_TRANSFER_ENCODING, POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
    BAD(BAD_TRANSFER_ENCODING, POST "Transfer-Encoding: chunked, chunked\r\n\r\n"),
    BAD(BAD_TRANSFER_ENCODING, POST "Transfer-Encoding: chunked, gzip\r\n\r\n"),
    BAD(BAD_TRANSFER_ENCODING, POST "Transfer-Encoding: chunked,\r\n\r\n"),
    BAD(BAD_TRANSFER_ENCODING, POST "Transfer-Encoding: ,chunked\r\n\r\n"),
    BAD(BAD_TRANSFER_ENCODING, POST "Transfer-Encoding:\r\n\r\n"),
    BAD(BAD_TRANSFER_ENCODING, POST "Transfer-Encoding: \"chunked\"\r\n\r\n"),
    BAD(BAD_TRANSFER_ENCODING, POST "Transfer-Encoding: chunked;q=1\r\n\r\n"),
    BAD(BAD_TRANSFER_ENCODING, POST "Transfer-Encoding: chun ked\r\n\r\n"),
    BAD(BAD_TRANSFER_ENCODING, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    BAD(BAD_HEADER_VALUE, POST "Transfer-Encoding: \x0b" "chunked\r\n\r\n"),
    BAD(UNKNOWN_CODING, POST "Transfer-Encoding: gzip, chunked\r\n\r\n"),
    BAD(UNKNOWN_CODING, POST "Transfer-Encoding: gzip\r\n\r\n"),
    BAD(UNKNOWN_CODING, POST "Transfer-Encoding: identity\r\n\r\n"),
    BAD(UNKNOWN_CODING, POST "Transfer-Encoding: xchunked\r\n\r\n"),
    BAD(UNKNOWN_CODING, POST "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"),
    GOOD(POST "Transfer_Encoding: x\r\nContent-Length: 1\r\n\r\n"),
    /* Expect, Connection */
    GOOD(POST "Expect: 100-Continue\r\n\r\n"),
    BAD(BAD_EXPECT, POST "Expect: 200-ok\r\n\r\n"),
    BAD(BAD_EXPECT, POST "Expect:\r\n\r\n"),
    GOOD(GET H "Connection: close\r\n\r\n"),
    GOOD(GET H "Connection: , ,x,\r\n\r\n"),
    /* not complete */
    MORE(""),
    MORE("\r"),
    MORE("\r\n"),
    MORE("\r\n\r\n\r\n\r\n"),
    MORE("G"),
    MORE(GET),
    MORE(GET H),
    MORE(GET H "\r"),
};

static const gdp_head_case gdp_responses[] = {
    GOOD("HTTP/1.1 200 OK\r\n\r\n"),
    GOOD("HTTP/1.1 200 \r\n\r\n"),
    GOOD("HTTP/1.1 200\r\n\r\n"),
    GOOD("HTTP/1.0 599 a b\tc \xff\r\nA: b\r\n\r\n"),
    GOOD("HTTP/1.7 100 Continue\r\n\r\n"),
    GOOD("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nHost: a\r\nHost: b\r\nExpect: x\r\n\r\n"),
    BAD(BAD_STATUS_LINE, "HTTP/1.1 99 x\r\n\r\n"),
    BAD(BAD_STATUS_LINE, "HTTP/1.1 099 x\r\n\r\n"),
    BAD(BAD_STATUS_LINE, "HTTP/1.1 600 x\r\n\r\n"),
    BAD(BAD_STATUS_LINE, "HTTP/1.1 20a x\r\n\r\n"),
    BAD(BAD_STATUS_LINE, "HTTP/1.1 2000 x\r\n\r\n"),
    BAD(BAD_STATUS_LINE, "HTTP/1.1  200 x\r\n\r\n"),
    BAD(BAD_STATUS_LINE, "HTTP/1.1\r\n\r\n"),
    BAD(BAD_STATUS_LINE, "HTTP/1.1 200 a\x01\r\n\r\n"),
    BAD(BAD_LINE_END, "HTTP/1.1 200 a\rb\r\n\r\n"),
    BAD(BAD_LINE_END, "HTTP/1.1 200 OK\n\n"),
    BAD(BAD_STATUS_LINE, "\r\nHTTP/1.1 200 OK\r\n\r\n"),
    BAD(BAD_STATUS_LINE, "HTTQ"),
    BAD(BAD_STATUS_LINE, "{\"error\":1}"),
    BAD(BAD_VERSION, "HTTP/2.0 200 OK\r\n\r\n"),
    BAD(LENGTH_AND_CHUNKED, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
    BAD(BAD_CONTENT_LENGTH, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"),
    BAD(UNKNOWN_CODING, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"),
    BAD(OBS_FOLD, "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n"),
    MORE(""),
    MORE("HTT"),
    MORE("HTTP/1.1 200 OK\r\n"),
    MORE("HTTP/1.1 200 OK\r\n\r"),
};

typedef int gdp_head_fn(const char *buf, size_t len, size_t seen, uint8_t *why);

static int gdp_as_request(const char *buf, size_t len, size_t seen, uint8_t *why)
{
    gdp_request q;
    int got = gdp_http1_request(buf, len, seen, GDP_HEADERS_MAX, &q);
    *why = q.why;
    return got;
}

static int gdp_as_response(const char *buf, size_t len, size_t seen, uint8_t *why)
{
    gdp_response q;
    int got = gdp_http1_response(buf, len, seen, &q);
    *why = q.why;
    return got;
}

/* The case itself at both walls; then, resumed after each prefix that wants more. */
static void gdp_head_run(const gdp_head_case *c, gdp_head_fn *parse)
{
    uint8_t why;
    gdp_case(c->head);
    for (int back = 0; back < 2; back++) {
        int got = parse(gdp_walled(c->head, c->len, back), c->len, 0, &why);
        CHECK(c->want == 1 ? got == (int)c->len : c->want == GDP_MORE ? got == GDP_MORE : got == GDP_BAD);
        if (c->want <= -100) CHECK(why == -100 - c->want);
    }
    for (size_t cut = 0; cut < c->len; cut++) {
        int early = parse(gdp_walled(c->head, cut, true), cut, 0, &why);
        CHECK(c->want <= -100 ? early < 0 : early == GDP_MORE);
        if (early != GDP_MORE) continue;
        int got = parse(gdp_walled(c->head, c->len, true), c->len, cut, &why);
        CHECK(c->want == 1 ? got == (int)c->len : c->want == GDP_MORE ? got == GDP_MORE : got == GDP_BAD);
    }
    gdp_case(NULL);
}

void gdp_test_http1(void)
{
    for (size_t i = 0; i < sizeof gdp_requests / sizeof gdp_requests[0]; i++) gdp_head_run(&gdp_requests[i], gdp_as_request);
    for (size_t i = 0; i < sizeof gdp_responses / sizeof gdp_responses[0]; i++)
        gdp_head_run(&gdp_responses[i], gdp_as_response);
    CHECK(sizeof gdp_requests / sizeof gdp_requests[0] + sizeof gdp_responses / sizeof gdp_responses[0] >= 120);
}

static bool gdp_is(const char *base, gdp_span span, const char *text)
{
    return span.len == strlen(text) && memcmp(base + span.off, text, span.len) == 0;
}

void gdp_test_http1_fields(void)
{
    gdp_request q;
    gdp_response r;
    static const char full[] =
        "\r\nPOST http://h:1/p/q?x=1?y HTTP/1.1\r\nHoSt: h:1\r\nConnection: X-Hop , Host,content-length\r\n"
        "x-hop:  v w \t\r\nContent-Length: 18446744073\r\nExpect: 100-continue\r\nProxy-Connection: a\r\n\r\nrest";
    CHECK(gdp_http1_request(STR(full), 0, 64, &q) == (int)sizeof full - 5);
    CHECK(gdp_is(full, q.method, "POST") && q.method_id == GDP_POST && q.minor == 1);
    CHECK(gdp_is(full, q.target, "http://h:1/p/q?x=1?y") && gdp_is(full, q.path, "/p/q") && gdp_is(full, q.query, "x=1?y"));
    CHECK(q.keep_alive && q.expect_continue && q.has_length && !q.chunked && q.length == 18446744073u);
    CHECK(q.n_headers == 6 && q.headers[0].id == GDP_H_HOST && !q.headers[0].nominated);
    CHECK(gdp_is(full, q.headers[2].name, "x-hop") && gdp_is(full, q.headers[2].value, "v w") && q.headers[2].nominated);
    CHECK(q.headers[3].id == GDP_H_CONTENT_LENGTH && !q.headers[3].nominated);
    CHECK(q.headers[5].id == GDP_H_PROXY_CONNECTION && q.headers[5].id >= GDP_H_HOP_FIRST);

    static const char bare[] = "GET http://h?q HTTP/1.0\r\nExpect: 100-continue\r\n\r\n";
    CHECK(gdp_http1_request(STR(bare), 0, 64, &q) > 0);
    CHECK(gdp_is(bare, q.path, "/") && gdp_is(bare, q.query, "q") && !q.keep_alive && !q.expect_continue);

    static const char old[] = "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nKeep-Alive: 5\r\n\r\n";
    CHECK(gdp_http1_request(STR(old), 0, 64, &q) > 0 && q.keep_alive && q.headers[1].id == GDP_H_KEEP_ALIVE);
    static const char both[] = GET H "Connection: keep-alive, CLOSE\r\n\r\n";
    CHECK(gdp_http1_request(STR(both), 0, 64, &q) > 0 && !q.keep_alive);

    static const char sse[] = "HTTP/1.1 503 Busy\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n"
                              "Retry-After: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
    CHECK(gdp_http1_response(STR(sse), 0, &r) == (int)sizeof sse - 1);
    CHECK(r.status == 503 && gdp_is(sse, r.reason, "Busy") && r.event_stream && !r.json && r.chunked && r.keep_alive);
    CHECK(r.headers[1].id == GDP_H_RETRY_AFTER);
    static const char json[] = "HTTP/1.0 200\r\ncontent-type:application/json\r\ncontent-length: 2\r\n\r\n";
    CHECK(gdp_http1_response(STR(json), 0, &r) > 0 && r.json && !r.event_stream && !r.keep_alive && r.length == 2);
    static const char almost[] = "HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\n\r\n";
    CHECK(gdp_http1_response(STR(almost), 0, &r) > 0 && !r.json);
    for (int why = 0; why <= GDP_HTTP_BAD_CHUNK + 1; why++)
        CHECK(gdp_http1_status((gdp_http_why)why) >= 400 && gdp_http1_text((gdp_http_why)why)[0]);
}

void gdp_test_http1_limits(void)
{
    char head[16384];
    gdp_request q;
    for (unsigned n = 126; n <= 130; n++) {
        size_t len = (size_t)sprintf(head, GET H);
        for (unsigned i = 1; i < n; i++) len += (size_t)sprintf(head + len, "x-%u: y\r\n", i);
        len += (size_t)sprintf(head + len, "\r\n");
        int got = gdp_http1_request(gdp_walled(head, len, true), len, 0, 1000, &q);
        CHECK(n <= GDP_HEADERS_MAX ? got == (int)len : got == GDP_BAD && q.why == GDP_HTTP_TOO_MANY_HEADERS);
        CHECK(gdp_http1_request(head, len, 0, n - 1, &q) == GDP_BAD && q.why == GDP_HTTP_TOO_MANY_HEADERS);
    }
    for (unsigned words = 64; words <= 65; words++) {
        size_t len = (size_t)sprintf(head, GET H "Connection: close");
        for (unsigned i = 0; i < words; i++) len += (size_t)sprintf(head + len, ",w%u", i);
        len += (size_t)sprintf(head + len, "\r\n\r\n");
        CHECK((gdp_http1_request(head, len, 0, 64, &q) > 0) == (words == 64));
    }
}

void gdp_test_http1_lists(void)
{
    CHECK(gdp_http1_list_has(STR("keep-alive, Close"), "close"));
    CHECK(gdp_http1_list_has(STR(" \tclose\t"), "CLOSE"));
    CHECK(gdp_http1_list_has(STR("a,,close"), "close"));
    CHECK(!gdp_http1_list_has(STR("closed, xclose, clos e"), "close"));
    CHECK(!gdp_http1_list_has(STR(""), "close"));
    CHECK(!gdp_http1_list_has(gdp_walled("clos", 4, true), 4, "close"));
}
