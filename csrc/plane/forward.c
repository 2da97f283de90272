/* forward.c -- a client's head as the worker gets it.
 *
 * Headers pass as they came, names and order included. Left out are those that belong to one connection (RFC 9110 7.6.1,
 * and what Connection nominates), those of the body's framing (the worker always gets a Content-Length), and those that
 * are written anew: Host, X-Request-Id, traceparent when there is none, X-Forwarded-For with the client appended; and
 * x-data-parallel-rank where ranks are workers of their own (upstream.c writes the chosen one). */
#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "inner.h"

static uint64_t next_random(gdp_loop *l) {
    uint64_t x = l->random ? l->random : l->now ^ gdp_hash(&l, sizeof l, l->plane->seed);
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    l->random = x;
    return x * 0x2545f4914f6cdd1dull;
}

static void put_hex(char *out, uint64_t v) {
    for (int i = 15; i >= 0; i--, v >>= 4) out[i] = "0123456789abcdef"[v & 15];
}

size_t mint_id(gdp_loop *l, char out[GDP_ID_TEXT]) {
    put_hex(out, next_random(l));
    put_hex(out + 16, next_random(l));
    return 32;
}

typedef struct {
    gdp_loop *l;
    buf *out;
    bool failed;
} writer;

static void put(writer *w, const char *bytes, size_t n) {
    if (!w->failed && buf_add(w->l, w->out, bytes, n) < 0) w->failed = true;
}

static void put_text(writer *w, const char *text) { put(w, text, strlen(text)); }

static void put_header(writer *w, const char *name, const char *value, size_t n) {
    put_text(w, name);
    put(w, value, n);
    put_text(w, "\r\n");
}

const gdp_header *header_of(const gdp_request *r, uint8_t id) {
    for (unsigned i = 0; i < r->n_headers; i++)
        if (r->headers[i].id == id) return &r->headers[i];
    return NULL;
}

static bool is_forwarded(const gdp_header *h) {
    if (h->nominated || (h->id >= GDP_H_HOP_FIRST && h->id <= GDP_H_HOP_LAST)) return false;
    switch (h->id) {
    case GDP_H_HOST:
    case GDP_H_CONTENT_LENGTH:
    case GDP_H_TRANSFER_ENCODING: /* a chunked body goes on with a length */
    case GDP_H_EXPECT:
    case GDP_H_X_REQUEST_ID:
    case GDP_H_X_FORWARDED_FOR:
    case GDP_H_X_FORWARDED_PROTO:
    case GDP_H_X_FORWARDED_HOST: return false;
    default: return true;
    }
}

static bool names_rank(const gdp_header *h, const char *bytes) {
    static const char NAME[] = "x-data-parallel-rank";
    return h->name.len == sizeof NAME - 1 && strncasecmp(bytes + h->name.off, NAME, sizeof NAME - 1) == 0;
}

static void put_forwarded(writer *w, const gdp_conn *c, const char *bytes, const gdp_request *r) {
    char ip[INET6_ADDRSTRLEN] = "";
    inet_ntop(c->family6 ? AF_INET6 : AF_INET, c->peer, ip, sizeof ip);
    put_text(w, "x-forwarded-for: ");
    for (unsigned i = 0; i < r->n_headers; i++) {
        const gdp_header *h = &r->headers[i];
        if (h->id != GDP_H_X_FORWARDED_FOR || !h->value.len) continue;
        put(w, bytes + h->value.off, h->value.len);
        put_text(w, ", ");
    }
    put_header(w, "", ip, strlen(ip));
    const gdp_header *proto = header_of(r, GDP_H_X_FORWARDED_PROTO), *host = header_of(r, GDP_H_X_FORWARDED_HOST);
    if (!host) host = header_of(r, GDP_H_HOST);
    if (proto)
        put_header(w, "x-forwarded-proto: ", bytes + proto->value.off, proto->value.len);
    else
        put_text(w, "x-forwarded-proto: http\r\n");
    if (host) put_header(w, "x-forwarded-host: ", bytes + host->value.off, host->value.len);
}

/* The head for the worker, but for the lines that depend on the worker and on the splice (upstream.c adds them). */
int forward_head(gdp_loop *l, gdp_exchange *x, const char *bytes, const gdp_request *r) {
    writer w = {l, &x->head, false};
    char trace[64];
    buf_reserve(l, &x->head, (size_t)r->headers[r->n_headers ? r->n_headers - 1 : 0].value.off + 512);
    put(&w, bytes + r->method.off, r->method.len);
    put_text(&w, " ");
    put(&w, bytes + r->path.off, r->path.len);
    if (r->query.len) {
        put_text(&w, "?");
        put(&w, bytes + r->query.off, r->query.len);
    }
    put_text(&w, " HTTP/1.1\r\n");
    for (unsigned i = 0; i < r->n_headers; i++) {
        const gdp_header *h = &r->headers[i];
        if (!is_forwarded(h) || (l->table->ranked && names_rank(h, bytes))) continue;
        if (h->id == GDP_H_CONTENT_TYPE) x->content_type = (gdp_span){x->head.len + h->name.len + 2, h->value.len};
        put(&w, bytes + h->name.off, h->name.len);
        put_text(&w, ": ");
        put_header(&w, "", bytes + h->value.off, h->value.len);
    }
    put_header(&w, "x-request-id: ", x->id, x->id_len);
    if (!header_of(r, GDP_H_TRACEPARENT)) {
        memcpy(trace, "00-", 3);
        put_hex(trace + 3, next_random(l));
        put_hex(trace + 19, next_random(l));
        trace[35] = '-';
        put_hex(trace + 36, next_random(l) | 1);
        memcpy(trace + 52, "-01", 3);
        put_header(&w, "traceparent: ", trace, 55);
    }
    put_forwarded(&w, x->client, bytes, r);
    x->head_len = x->head.len;
    return w.failed ? GDP_NOMEM : 0;
}
