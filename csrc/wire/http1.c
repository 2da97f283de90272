/* http1.c -- heads into offsets; what is refused and why stands in gdp/http1.h. Chunks: chunked.c.
 *
 * A head is read in two passes, so that one that comes a byte at a time stays linear:
 *
 *     1 gdp_head_end    looks for the empty line among the bytes that are new, and refuses a bare LF on the way
 *     2 the parsers     run once, on a head known to be complete: every line ends with CR LF before `end`, so they
 *                       never have to ask whether there is another byte
 *
 * The parsers stop at the first fault and say which; a head is good, or it is refused whole. Values are checked 16
 * bytes at a time, names by a table, well-known names by length and then by folded words. */
#include "gdp/http1.h"

#include "chars.h"
#include "scan.h"

#define GDP_BLANK_LINES_MAX 4 /* before a request line: old clients send one after a POST body */
#define GDP_METHOD_BYTES_MAX 32
#define GDP_NOMINATED_MAX 64 /* names in Connection headers: each is compared with every header */

/* ---------------------------------------------------- the end of a head ----------------------------------------- */

/* Find the empty line of the head that starts at `start`. Offset after it, GDP_MORE, or GDP_BAD for an LF without CR.
 * Only bytes from `seen` on are searched, the test looks back. */
static int64_t gdp_head_end(const char *buf, size_t start, size_t len, size_t seen)
{
    const char *p = buf + (seen > start && seen <= len ? seen : start), *end = buf + len;
    while (p < end && (p = memchr(p, '\n', (size_t)(end - p)))) {
        size_t at = (size_t)(p - buf);
        if (at == start || p[-1] != '\r') return GDP_BAD;
        if (at - start >= 2 && p[-2] == '\n') return (int64_t)at + 1;
        p++;
    }
    return GDP_MORE;
}

/* Skip the empty lines that are tolerated before a request. Offset of the head, or GDP_MORE when the buffer ends with
 * half of one. */
static int64_t gdp_skip_blank_lines(const char *buf, size_t len)
{
    size_t at = 0;
    for (int i = 0; i < GDP_BLANK_LINES_MAX && at < len && buf[at] == '\r'; i++) {
        if (at + 1 == len) return GDP_MORE;
        if (buf[at + 1] != '\n') break;
        at += 2;
    }
    return (int64_t)at;
}

/* ---------------------------------------------------- field lines ----------------------------------------------- */

typedef struct {
    uint8_t len, id;
    char name[22]; /* lower case */
} gdp_known;

/* By length; gdp_known_first[n] is where names of length n begin. */
static const gdp_known gdp_knowns[] = {
    {2, GDP_H_TE, "te"},
    {4, GDP_H_HOST, "host"},
    {4, GDP_H_DATE, "date"},
    {6, GDP_H_EXPECT, "expect"},
    {6, GDP_H_SERVER, "server"},
    {7, GDP_H_TRAILER, "trailer"},
    {7, GDP_H_UPGRADE, "upgrade"},
    {10, GDP_H_CONNECTION, "connection"},
    {10, GDP_H_KEEP_ALIVE, "keep-alive"},
    {11, GDP_H_TRACEPARENT, "traceparent"},
    {11, GDP_H_RETRY_AFTER, "retry-after"},
    {12, GDP_H_CONTENT_TYPE, "content-type"},
    {12, GDP_H_X_REQUEST_ID, "x-request-id"},
    {14, GDP_H_CONTENT_LENGTH, "content-length"},
    {15, GDP_H_X_FORWARDED_FOR, "x-forwarded-for"},
    {16, GDP_H_CONTENT_ENCODING, "content-encoding"},
    {16, GDP_H_X_FORWARDED_HOST, "x-forwarded-host"},
    {16, GDP_H_PROXY_CONNECTION, "proxy-connection"},
    {17, GDP_H_TRANSFER_ENCODING, "transfer-encoding"},
    {17, GDP_H_X_FORWARDED_PROTO, "x-forwarded-proto"},
    {18, GDP_H_PROXY_AUTHENTICATE, "proxy-authenticate"},
    {19, GDP_H_PROXY_AUTHORIZATION, "proxy-authorization"},
};
#define GDP_KNOWN_LEN_MAX 19
static const uint8_t gdp_known_first[GDP_KNOWN_LEN_MAX + 2] = {0, 0, 0, 1,  1,  3,  3,  5,  7,  7, 7,
                                                               9, 11, 13, 13, 14, 15, 18, 20, 21, 22};

/* Token of n bytes against a lower-case name, 8 bytes at a time. OR-ing 0x20 folds letters and leaves '-' and digits;
 * no other token character falls on a letter or '-'. */
static bool gdp_fold_equal(const char *token, const char *name, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t a, b;
        memcpy(&a, token + i, 8);
        memcpy(&b, name + i, 8);
        if ((a | 0x2020202020202020u) != b) return false;
    }
    for (; i < n; i++)
        if ((token[i] | 0x20) != name[i]) return false;
    return true;
}

static uint8_t gdp_header_known(const char *name, size_t n)
{
    if (n > GDP_KNOWN_LEN_MAX) return GDP_H_OTHER;
    for (unsigned i = gdp_known_first[n]; i < gdp_known_first[n + 1]; i++)
        if (gdp_fold_equal(name, gdp_knowns[i].name, n)) return gdp_knowns[i].id;
    return GDP_H_OTHER;
}

typedef struct {
    const char *buf;
    gdp_header *headers;
    unsigned max;
    uint16_t n;
    uint32_t ids; /* bit of each gdp_header_id that occurs */
} gdp_fields;

#define GDP_BIT(id) (1u << (id))

/* One field line at *at, which is moved past its CR LF. */
static gdp_http_why gdp_field_line(gdp_fields *f, const char **at, const char *end)
{
    const char *name = *at, *p = name;
    if (*p == ' ' || *p == '\t') return GDP_HTTP_OBS_FOLD;
    while (gdp_char_in(*p, GDP_CHAR_TOKEN)) p++; /* ends: the line's CR is no token character */
    if (p == name || *p != ':') return *p == '\r' && p[1] != '\n' ? GDP_HTTP_BAD_LINE_END : GDP_HTTP_BAD_HEADER_NAME;
    if (f->n >= f->max) return GDP_HTTP_TOO_MANY_HEADERS;

    gdp_header *h = &f->headers[f->n++];
    h->name = gdp_span_of(f->buf, name, p);
    h->id = gdp_header_known(name, (size_t)(p - name));
    h->nominated = false;
    f->ids |= GDP_BIT(h->id);

    for (p++; *p == ' ' || *p == '\t';) p++;
    const char *eol = gdp_scan_control(p, end), *tail = eol;
    if (*eol == '\n' || (*eol == '\r' && eol[1] != '\n')) return GDP_HTTP_BAD_LINE_END;
    if (*eol != '\r') return GDP_HTTP_BAD_HEADER_VALUE;
    while (tail > p && (tail[-1] == ' ' || tail[-1] == '\t')) tail--;
    h->value = gdp_span_of(f->buf, p, tail);
    *at = eol + 2;
    return GDP_HTTP_OK;
}

/* The field lines from p up to the final CR LF of the head. */
static gdp_http_why gdp_field_lines(gdp_fields *f, const char *p, const char *end)
{
    gdp_http_why why = GDP_HTTP_OK;
    while (p < end - 2 && !why) why = gdp_field_line(f, &p, end);
    return why;
}

/* ---------------------------------------------------- framing --------------------------------------------------- */

typedef struct {
    bool chunked, has_length, close, keep_alive;
    unsigned nominated;
    uint64_t length;
} gdp_framing;

/* The next element of a comma list: moves *p past it, gives the element without blanks. False at the end. An empty
 * element counts, so "" has one and "a," has two. */
static bool gdp_list_next(const char **p, const char *end, gdp_span *element, const char *base)
{
    if (*p > end) return false;
    const char *from = *p, *stop = memchr(from, ',', (size_t)(end - from));
    if (!stop) stop = end;
    *p = stop + 1;
    while (from < stop && (*from == ' ' || *from == '\t')) from++;
    while (stop > from && (stop[-1] == ' ' || stop[-1] == '\t')) stop--;
    *element = gdp_span_of(base, from, stop);
    return true;
}

bool gdp_http1_list_has(const char *value, size_t len, const char *token)
{
    const char *p = value;
    size_t n = strlen(token);
    for (gdp_span e; gdp_list_next(&p, value + len, &e, value);)
        if (e.len == n && gdp_same_nocase(value + e.off, token, n)) return true;
    return false;
}

/* 1 to 19 digits and nothing else. */
static bool gdp_length_value(const char *p, size_t n, uint64_t *out)
{
    uint64_t sum = 0;
    if (n == 0 || n > 19) return false;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9') return false;
        sum = sum * 10 + (uint64_t)(p[i] - '0');
    }
    *out = sum;
    return true;
}

/* Transfer-Encoding: "chunked" and nothing else is understood. A list of other codings that is well formed, with
 * chunked at most at its end, is unknown (501); the rest is wrong (400). */
static gdp_http_why gdp_coding_value(const char *value, size_t len)
{
    const char *p = value;
    unsigned count = 0;
    bool chunked = false;
    for (gdp_span e; gdp_list_next(&p, value + len, &e, value); count++) {
        if (chunked || e.len == 0) return GDP_HTTP_BAD_TRANSFER_ENCODING;
        for (uint32_t i = 0; i < e.len; i++)
            if (!gdp_char_in(value[e.off + i], GDP_CHAR_TOKEN)) return GDP_HTTP_BAD_TRANSFER_ENCODING;
        chunked = e.len == 7 && gdp_same_nocase(value + e.off, "chunked", 7);
    }
    return chunked && count == 1 ? GDP_HTTP_OK : GDP_HTTP_UNKNOWN_CODING;
}

/* Connection: close and keep-alive are options, every other word nominates a header. A message's framing and host
 * cannot be nominated away. */
static gdp_http_why gdp_connection_value(const gdp_fields *f, const gdp_header *connection, gdp_framing *out)
{
    const char *p = f->buf + connection->value.off, *end = p + connection->value.len;
    for (gdp_span e; gdp_list_next(&p, end, &e, f->buf);) {
        const char *word = f->buf + e.off;
        if (e.len == 5 && gdp_same_nocase(word, "close", 5)) {
            out->close = true;
        } else if (e.len == 10 && gdp_same_nocase(word, "keep-alive", 10)) {
            out->keep_alive = true;
        } else if (e.len) {
            if (++out->nominated > GDP_NOMINATED_MAX) return GDP_HTTP_BAD_HEADER_VALUE;
            for (unsigned i = 0; i < f->n; i++) {
                gdp_header *h = &f->headers[i];
                if (h->id == GDP_H_HOST || h->id == GDP_H_CONTENT_LENGTH || h->id == GDP_H_TRANSFER_ENCODING) continue;
                if (h->name.len == e.len && gdp_same_nocase(f->buf + h->name.off, word, e.len)) h->nominated = true;
            }
        }
    }
    return GDP_HTTP_OK;
}

/* How long the message is and what becomes of the connection, from the headers that decide it. */
static gdp_http_why gdp_framing_read(const gdp_fields *f, uint8_t minor, gdp_framing *out)
{
    const uint32_t both = GDP_BIT(GDP_H_CONTENT_LENGTH) | GDP_BIT(GDP_H_TRANSFER_ENCODING);
    memset(out, 0, sizeof *out);
    if (!(f->ids & (both | GDP_BIT(GDP_H_CONNECTION)))) return GDP_HTTP_OK;
    if ((f->ids & both) == both) return GDP_HTTP_LENGTH_AND_CHUNKED;

    gdp_http_why why = GDP_HTTP_OK;
    for (unsigned i = 0; i < f->n && !why; i++) {
        const gdp_header *h = &f->headers[i];
        const char *value = f->buf + h->value.off;
        if (h->id == GDP_H_CONTENT_LENGTH) {
            if (out->has_length || !gdp_length_value(value, h->value.len, &out->length))
                return GDP_HTTP_BAD_CONTENT_LENGTH;
            out->has_length = true;
        } else if (h->id == GDP_H_TRANSFER_ENCODING) {
            if (out->chunked || minor == 0) return GDP_HTTP_BAD_TRANSFER_ENCODING;
            why = gdp_coding_value(value, h->value.len);
            out->chunked = true;
        } else if (h->id == GDP_H_CONNECTION) {
            why = gdp_connection_value(f, h, out);
        }
    }
    return why;
}

static bool gdp_framing_stays(const gdp_framing *f, uint8_t minor)
{
    return !f->close && (minor == 1 || f->keep_alive);
}

/* ---------------------------------------------------- request --------------------------------------------------- */

static uint8_t gdp_method_of(const char *p, size_t n)
{
    static const char names[GDP_METHOD_OTHER][8] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"};
    for (uint8_t i = 0; i < GDP_METHOD_OTHER; i++)
        if (strlen(names[i]) == n && memcmp(p, names[i], n) == 0) return i;
    return GDP_METHOD_OTHER;
}

/* Past the characters of set `set`. Ends at the latest at the line's CR, which is in no set. */
static const char *gdp_skip_set(const char *p, uint8_t set)
{
    while (gdp_char_in(*p, set)) p++;
    return p;
}

/* Split the target [p, end) into path and query: "/path?query", "*", or "http://authority/path?query". When an absolute
 * target has no path, the path is the "/" before the authority, so that it is always a real one. */
static gdp_http_why gdp_target_split(const char *p, const char *end, gdp_request *out)
{
    const char *base = p - out->target.off, *path = p;
    if (*p == '*' && end - p == 1) {
        out->path = out->target;
        return out->method_id == GDP_OPTIONS ? GDP_HTTP_OK : GDP_HTTP_BAD_TARGET;
    }
    if (*p != '/') {
        if (end - p < 8 || !gdp_same_nocase(p, "http://", 7)) return GDP_HTTP_BAD_TARGET;
        path = gdp_skip_set(p + 7, GDP_CHAR_HOST);
        if (path == p + 7 || (path < end && *path != '/' && *path != '?')) return GDP_HTTP_BAD_TARGET;
    }
    const char *mark = memchr(path, '?', (size_t)(end - path));
    const char *stop = mark ? mark : end;
    out->path = path < stop ? gdp_span_of(base, path, stop) : gdp_span_of(base, p + 6, p + 7);
    if (mark) out->query = gdp_span_of(base, mark + 1, end);
    return GDP_HTTP_OK;
}

/* "HTTP/1.d" of exactly 8 bytes at p; the minor version goes to *minor. Another version that is well formed is
 * GDP_HTTP_BAD_VERSION, what is no version is `otherwise`. There are at least 2 more bytes (CR LF). */
static gdp_http_why gdp_version_read(const char *p, const char *end, uint8_t *minor, gdp_http_why otherwise)
{
    if (end - p < 8 || memcmp(p, "HTTP/", 5) != 0 || p[6] != '.') return otherwise;
    if (p[5] < '0' || p[5] > '9' || p[7] < '0' || p[7] > '9') return otherwise;
    *minor = p[7] != '0';
    return p[5] == '1' ? GDP_HTTP_OK : GDP_HTTP_BAD_VERSION;
}

/* method SP target SP version CR LF. *at is moved past it. */
static gdp_http_why gdp_request_line(const char *buf, const char **at, const char *end, gdp_request *out)
{
    const char *method = *at, *p = gdp_skip_set(method, GDP_CHAR_TOKEN);
    if (p == method || *p == '\r') return GDP_HTTP_BAD_REQUEST_LINE;
    if (*p != ' ' || p - method > GDP_METHOD_BYTES_MAX) return GDP_HTTP_BAD_METHOD;
    out->method = gdp_span_of(buf, method, p);
    out->method_id = gdp_method_of(method, out->method.len);

    const char *target = ++p;
    p = gdp_skip_set(target, GDP_CHAR_TARGET);
    if (p == target || *p == '\r') return GDP_HTTP_BAD_REQUEST_LINE;
    if (*p != ' ') return GDP_HTTP_BAD_TARGET;
    out->target = gdp_span_of(buf, target, p);

    gdp_http_why why = gdp_version_read(p + 1, end, &out->minor, GDP_HTTP_BAD_REQUEST_LINE);
    if (why) return why;
    p += 9;
    if (p[0] != '\r') return GDP_HTTP_BAD_REQUEST_LINE;
    if (p[1] != '\n') return GDP_HTTP_BAD_LINE_END;
    *at = p + 2;
    return gdp_target_split(target, target + out->target.len, out);
}

static bool gdp_host_good(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!gdp_char_in(p[i], GDP_CHAR_HOST)) return false;
    return n > 0;
}

/* Host and Expect: what only requests have. */
static gdp_http_why gdp_request_headers(const gdp_fields *f, gdp_request *out)
{
    unsigned hosts = 0;
    bool expects = false;
    for (unsigned i = 0; i < f->n; i++) {
        const gdp_header *h = &f->headers[i];
        const char *value = f->buf + h->value.off;
        if (h->id == GDP_H_HOST) {
            if (++hosts > 1 || !gdp_host_good(value, h->value.len)) return GDP_HTTP_BAD_HOST;
        } else if (h->id == GDP_H_EXPECT) {
            if (h->value.len != 12 || !gdp_same_nocase(value, "100-continue", 12)) return GDP_HTTP_BAD_EXPECT;
            expects = true;
        }
    }
    out->expect_continue = expects && out->minor == 1; /* RFC 9110 10.1.1: a 1.0 client did not mean it */
    return hosts == 1 || out->minor == 0 ? GDP_HTTP_OK : GDP_HTTP_BAD_HOST;
}

/* A complete request head [p, end). */
static gdp_http_why gdp_request_read(const char *buf, const char *p, const char *end, unsigned max, gdp_request *out)
{
    gdp_http_why why = gdp_request_line(buf, &p, end, out);
    if (why) return why;
    gdp_fields fields = {buf, out->headers, max < GDP_HEADERS_MAX ? max : GDP_HEADERS_MAX, 0, 0};
    why = gdp_field_lines(&fields, p, end);
    out->n_headers = fields.n;
    if (why) return why;
    gdp_framing framing;
    why = gdp_framing_read(&fields, out->minor, &framing);
    if (why) return why;
    out->keep_alive = gdp_framing_stays(&framing, out->minor);
    out->chunked = framing.chunked;
    out->has_length = framing.has_length;
    out->length = framing.length;
    return gdp_request_headers(&fields, out);
}

int gdp_http1_request(const char *buf, size_t len, size_t seen, unsigned max_headers, gdp_request *out)
{
    memset(out, 0, offsetof(gdp_request, headers));
    if (len > INT32_MAX) return out->why = GDP_HTTP_HEAD_TOO_LARGE, GDP_BAD;
    int64_t start = gdp_skip_blank_lines(buf, len);
    if (start < 0 || (size_t)start == len) return GDP_MORE;
    if (!gdp_char_in(buf[start], GDP_CHAR_TOKEN)) { /* say so before the rest is awaited: TLS on a plain port */
        out->why = buf[start] == '\n' ? GDP_HTTP_BAD_LINE_END : GDP_HTTP_BAD_REQUEST_LINE;
        return GDP_BAD;
    }
    int64_t end = gdp_head_end(buf, (size_t)start, len, seen);
    if (end == GDP_MORE) return GDP_MORE;
    if (end < 0) return out->why = GDP_HTTP_BAD_LINE_END, GDP_BAD;
    out->why = (uint8_t)gdp_request_read(buf, buf + start, buf + end, max_headers, out);
    return out->why ? GDP_BAD : (int)end;
}

/* ---------------------------------------------------- response -------------------------------------------------- */

/* version SP status [SP [reason]] CR LF. *at is moved past it. */
static gdp_http_why gdp_status_line(const char *buf, const char **at, const char *end, gdp_response *out)
{
    const char *p = *at;
    gdp_http_why why = gdp_version_read(p, end, &out->minor, GDP_HTTP_BAD_STATUS_LINE);
    if (why) return why;
    p += 8;
    if (end - p < 6 || p[0] != ' ' || p[1] < '1' || p[1] > '5') return GDP_HTTP_BAD_STATUS_LINE;
    if (p[2] < '0' || p[2] > '9' || p[3] < '0' || p[3] > '9') return GDP_HTTP_BAD_STATUS_LINE;
    out->status = (uint16_t)((p[1] - '0') * 100 + (p[2] - '0') * 10 + (p[3] - '0'));
    p += 4;
    if (*p != ' ' && *p != '\r') return GDP_HTTP_BAD_STATUS_LINE;
    const char *reason = *p == ' ' ? p + 1 : p;
    p = gdp_scan_control(reason, end);
    if (*p != '\r') return *p == '\n' ? GDP_HTTP_BAD_LINE_END : GDP_HTTP_BAD_STATUS_LINE;
    if (p[1] != '\n') return GDP_HTTP_BAD_LINE_END;
    out->reason = gdp_span_of(buf, reason, p);
    *at = p + 2;
    return GDP_HTTP_OK;
}

/* True when a Content-Type value is `type`, whatever its parameters. */
static bool gdp_type_is(const char *value, size_t len, const char *type, size_t n)
{
    if (len < n || !gdp_same_nocase(value, type, n)) return false;
    return len == n || value[n] == ';' || value[n] == ' ' || value[n] == '\t';
}

/* A complete response head [buf, end). */
static gdp_http_why gdp_response_read(const char *buf, const char *end, gdp_response *out)
{
    const char *p = buf;
    gdp_http_why why = gdp_status_line(buf, &p, end, out);
    if (why) return why;
    gdp_fields fields = {buf, out->headers, GDP_HEADERS_MAX, 0, 0};
    why = gdp_field_lines(&fields, p, end);
    out->n_headers = fields.n;
    if (why) return why;
    gdp_framing framing;
    why = gdp_framing_read(&fields, out->minor, &framing);
    if (why) return why;
    out->keep_alive = gdp_framing_stays(&framing, out->minor);
    out->chunked = framing.chunked;
    out->has_length = framing.has_length;
    out->length = framing.length;
    for (unsigned i = 0; i < fields.n; i++) {
        const gdp_header *h = &out->headers[i];
        if (h->id != GDP_H_CONTENT_TYPE) continue;
        out->event_stream = gdp_type_is(buf + h->value.off, h->value.len, GDP_LIT("text/event-stream"));
        out->json = gdp_type_is(buf + h->value.off, h->value.len, GDP_LIT("application/json"));
    }
    return GDP_HTTP_OK;
}

int gdp_http1_response(const char *buf, size_t len, size_t seen, gdp_response *out)
{
    memset(out, 0, offsetof(gdp_response, headers));
    if (len > INT32_MAX) return out->why = GDP_HTTP_HEAD_TOO_LARGE, GDP_BAD;
    if (memcmp(buf, "HTTP/", len < 5 ? len : 5) != 0) return out->why = GDP_HTTP_BAD_STATUS_LINE, GDP_BAD;
    int64_t end = gdp_head_end(buf, 0, len, seen);
    if (end == GDP_MORE) return GDP_MORE;
    if (end < 0) return out->why = GDP_HTTP_BAD_LINE_END, GDP_BAD;
    out->why = (uint8_t)gdp_response_read(buf, buf + end, out);
    return out->why ? GDP_BAD : (int)end;
}

/* ---------------------------------------------------- words ----------------------------------------------------- */

int gdp_http1_status(gdp_http_why why)
{
    switch (why) {
    case GDP_HTTP_TOO_MANY_HEADERS:
    case GDP_HTTP_HEAD_TOO_LARGE: return 431;
    case GDP_HTTP_BAD_VERSION: return 505;
    case GDP_HTTP_UNKNOWN_CODING: return 501;
    case GDP_HTTP_BAD_EXPECT: return 417;
    default: return 400;
    }
}

const char *gdp_http1_text(gdp_http_why why)
{
    static const char *const texts[] = {
        [GDP_HTTP_OK] = "ok",
        [GDP_HTTP_BAD_REQUEST_LINE] = "the request line is not: method, target, HTTP/1.1",
        [GDP_HTTP_BAD_METHOD] = "the method is not a token of at most 32 characters",
        [GDP_HTTP_BAD_TARGET] = "the target is not a path, an absolute http URL, or * with OPTIONS",
        [GDP_HTTP_BAD_VERSION] = "the HTTP version is not 1.0 or 1.1",
        [GDP_HTTP_BAD_HEADER_NAME] = "a header name is not a token followed by a colon",
        [GDP_HTTP_BAD_HEADER_VALUE] = "a header value has a control character or too many words",
        [GDP_HTTP_BAD_LINE_END] = "a line does not end with CR LF",
        [GDP_HTTP_OBS_FOLD] = "a header is folded over several lines",
        [GDP_HTTP_TOO_MANY_HEADERS] = "there are too many headers",
        [GDP_HTTP_HEAD_TOO_LARGE] = "the head is too large",
        [GDP_HTTP_BAD_HOST] = "there must be exactly one Host header with a host in it",
        [GDP_HTTP_BAD_CONTENT_LENGTH] = "Content-Length must occur once and be digits",
        [GDP_HTTP_LENGTH_AND_CHUNKED] = "Content-Length and Transfer-Encoding exclude each other",
        [GDP_HTTP_BAD_TRANSFER_ENCODING] = "Transfer-Encoding must be chunked, once, and not in HTTP/1.0",
        [GDP_HTTP_UNKNOWN_CODING] = "the transfer coding is not known; use chunked",
        [GDP_HTTP_BAD_EXPECT] = "the only expectation known is 100-continue",
        [GDP_HTTP_BAD_STATUS_LINE] = "the status line is not: HTTP/1.1, a status from 100 to 599, a reason",
        [GDP_HTTP_BAD_CHUNK] = "the chunked body is malformed",
    };
    return (size_t)why < sizeof texts / sizeof texts[0] && texts[why] ? texts[why] : "malformed HTTP";
}
