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

size_t gdp_text_cuts(const char *text, size_t len, const char *mark, size_t mark_len, size_t least, uint32_t *out,
                     size_t max)
{
    size_t n = 0, from = 0;
    while (n < max && len - from > least) {
        const char *found = memmem(text + from + least, len - from - least, mark, mark_len);
        if (!found) break;
        from = (size_t)(found - text);
        out[n++] = (uint32_t)from;
    }
    return n;
}
