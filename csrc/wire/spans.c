/* spans.c -- splitting one level of JSON, and texts into turns; the contract is in gdp/spans.h. */
#include "gdp/spans.h"

#include <string.h>

#include "scan.h"

typedef struct {
    const char *begin, *p, *end;
} gdp_cursor;

static gdp_span gdp_since(const gdp_cursor *c, const char *from)
{
    return (gdp_span){(uint32_t)(from - c->begin), (uint32_t)(c->p - from)};
}

static bool gdp_take(gdp_cursor *c, char wanted)
{
    c->p = gdp_scan_blanks(c->p, c->end);
    if (c->p == c->end || *c->p != wanted) return false;
    c->p++;
    return true;
}

/* At a quote: past the string. */
static bool gdp_past_string(gdp_cursor *c)
{
    bool escaped = false;
    c->p = gdp_scan_string(c->p + 1, c->end, &escaped);
    if (c->p == c->end || *c->p != '"') return false;
    c->p++;
    return true;
}

/* At an opening bracket: past its partner. */
static bool gdp_past_brackets(gdp_cursor *c)
{
    size_t depth = 0;
    do {
        c->p = gdp_scan_bracket(c->p, c->end);
        if (c->p == c->end) return false;
        if (*c->p == '"') {
            if (!gdp_past_string(c)) return false;
            continue;
        }
        depth += (*c->p | 0x20) == '{' ? 1 : (size_t)-1;
        c->p++;
    } while (depth);
    return true;
}

/* A number, true, null: up to what can follow a value. */
static bool gdp_past_word(gdp_cursor *c)
{
    const char *from = c->p;
    while (c->p < c->end && !memchr(",]} \t\r\n\":[{", *c->p, 11)) c->p++;
    return c->p > from;
}

static bool gdp_past_value(gdp_cursor *c, gdp_span *value)
{
    c->p = gdp_scan_blanks(c->p, c->end);
    if (c->p == c->end) return false;
    const char *from = c->p;
    const bool good = *from == '"'                   ? gdp_past_string(c)
                      : *from == '{' || *from == '[' ? gdp_past_brackets(c)
                                                     : gdp_past_word(c);
    *value = gdp_since(c, from);
    return good;
}

static bool gdp_past_field(gdp_cursor *c, gdp_field *field)
{
    c->p = gdp_scan_blanks(c->p, c->end);
    if (c->p == c->end || *c->p != '"') return false;
    const char *from = c->p + 1;
    if (!gdp_past_string(c)) return false;
    field->key = gdp_since(c, from);
    field->key.len--; /* the quote */
    return gdp_take(c, ':') && gdp_past_value(c, &field->value);
}

/* Past the end: nothing but blanks may follow. */
static int64_t gdp_finish(gdp_cursor *c, int64_t n)
{
    return gdp_scan_blanks(c->p, c->end) == c->end ? n : GDP_BAD;
}

int64_t gdp_json_fields(const char *json, size_t len, gdp_field *out, size_t max)
{
    gdp_cursor c = {json, json, json + len};
    if (!gdp_take(&c, '{')) return GDP_BAD;
    if (gdp_take(&c, '}')) return gdp_finish(&c, 0);
    for (size_t n = 0;;) {
        if (n == max) return GDP_NOMEM;
        if (!gdp_past_field(&c, &out[n++])) return GDP_BAD;
        if (gdp_take(&c, '}')) return gdp_finish(&c, (int64_t)n);
        if (!gdp_take(&c, ',')) return GDP_BAD;
    }
}

int64_t gdp_json_items(const char *json, size_t len, gdp_span *out, size_t max)
{
    gdp_cursor c = {json, json, json + len};
    if (!gdp_take(&c, '[')) return GDP_BAD;
    if (gdp_take(&c, ']')) return gdp_finish(&c, 0);
    for (size_t n = 0;;) {
        if (n == max) return GDP_NOMEM;
        if (!gdp_past_value(&c, &out[n++])) return GDP_BAD;
        if (gdp_take(&c, ']')) return gdp_finish(&c, (int64_t)n);
        if (!gdp_take(&c, ',')) return GDP_BAD;
    }
}

/* The first `mark` that begins at p or behind, NULL when there is none. By its first byte: marks begin with a rare one
 * ('<', '['), and memmem takes 90 us for 256 KiB of two-byte characters, because half of the bytes are zeros. */
static const char *gdp_find_mark(const char *p, const char *end, const char *mark, size_t mark_len)
{
    while ((size_t)(end - p) >= mark_len) {
        p = memchr(p, mark[0], (size_t)(end - p) - mark_len + 1);
        if (!p || memcmp(p, mark, mark_len) == 0) return p;
        p++;
    }
    return NULL;
}

size_t gdp_text_cuts(const char *text, size_t len, const char *mark, size_t mark_len, size_t unit, size_t least,
                     uint32_t *out, size_t max)
{
    size_t n = 0;
    for (size_t at = least; n < max && at < len;) {
        const char *found = gdp_find_mark(text + at, text + len, mark, mark_len);
        if (!found) break;
        at = (size_t)(found - text);
        if (at % unit) { /* the end of one character and the beginning of another look like the mark */
            at++;
            continue;
        }
        out[n++] = (uint32_t)at;
        at += least;
    }
    return n;
}

static uint64_t gdp_fold(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 gdp_wide;
    const gdp_wide product = (gdp_wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

enum { LANES = 4, ROUND = 16 * LANES };

static void gdp_key_round(const unsigned char *p, const uint64_t *secret, uint64_t *lane)
{
    uint64_t w[2 * LANES];
    memcpy(w, p, ROUND);
    for (int i = 0; i < LANES; i++) lane[i] = gdp_fold(w[2 * i] ^ secret[i], w[2 * i + 1] ^ lane[i]);
}

uint64_t gdp_text_key(const void *bytes, size_t len, uint64_t seed)
{
    static const uint64_t K[LANES] = {0x9e3779b97f4a7c15u, 0xd6e8feb86659fd93u, 0xa0761d6478bd642fu,
                                      0xe7037ed1a0b428dbu};
    const unsigned char *p = bytes;
    uint64_t secret[LANES], lane[LANES];
    for (int i = 0; i < LANES; i++) {
        secret[i] = gdp_fold(seed ^ K[i], K[(i + 1) % LANES]);
        lane[i] = secret[i] ^ len;
    }
    for (size_t left = len; left >= ROUND; left -= ROUND, p += ROUND) gdp_key_round(p, secret, lane);
    if (len % ROUND) {
        unsigned char last[ROUND] = {0};
        memcpy(last, p, len % ROUND);
        gdp_key_round(last, secret, lane);
    }
    const uint64_t a = gdp_fold(lane[0] ^ secret[1], lane[1] ^ secret[2]);
    const uint64_t b = gdp_fold(lane[2] ^ secret[3], lane[3] ^ secret[0]);
    return gdp_fold(a ^ secret[2], b ^ secret[3]);
}
