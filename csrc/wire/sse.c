/* sse.c -- where events end and what is in them; the essay is in gdp/sse.h.
 *
 * Two steps, so that an event of megabytes that comes in pieces is searched once:
 *
 *     1 gdp_event_end     looks for the empty line, resuming where the last call stopped
 *     2 gdp_event_read    walks the lines of a complete event, and of data lines looks at the keys that matter
 *
 * The common event is one data line. Its end is found by one pass of 16-byte compares for CR and LF, its keys by a
 * second for `"u` and `"f`, which hits once (finish_reason) in an ordinary chat event. */
#include "gdp/sse.h"

#include "scan.h"

/* ---------------------------------------------------- the end of an event ---------------------------------------- */

/* Past the line end at p (CR, LF or CRLF), or NULL when a CR is the last byte that we have. */
static const char *gdp_line_next(const char *p, const char *end)
{
    if (*p == '\n') return p + 1;
    if (p + 1 == end) return NULL;
    return p + (p[1] == '\n' ? 2 : 1);
}

/* Past the first empty line of [buf, end), or NULL. *first is the end of the first line when the search began there,
 * else NULL.
 *
 * Resuming: up to `seen` there was no empty line. Line ends just before it may be the first half of one, so the search
 * steps back over them (at most "\r\n\r") and starts at a byte that is in the middle of a line, or at buf. */
static const char *gdp_event_end(const char *buf, const char *end, size_t seen, const char **first)
{
    const char *p = buf + seen;
    while (p > buf && (p[-1] == '\n' || p[-1] == '\r')) p--;
    const char *line = p == buf ? buf : NULL; /* NULL: started somewhere before p, so it is not empty */
    bool whole = p == buf;
    *first = NULL;
    while ((p = gdp_scan_eol(p, end)) < end) {
        if (whole && !*first) *first = p;
        const char *next = gdp_line_next(p, end);
        if (!next) return NULL;
        if (p == line) return next;
        line = p = next;
    }
    return NULL;
}

/* ---------------------------------------------------- what is in it ---------------------------------------------- */

/* `"choices":[]` anywhere: the event that include_usage adds. */
static bool gdp_data_no_choices(const char *from, const char *end)
{
    for (const char *p = from; (p = gdp_scan_text(p, end, GDP_LIT("\"choices\""))) < end; p++) {
        const char *value = gdp_scan_value(from, p, end, GDP_LIT("\"choices\""));
        if (!value || *value != '[') continue;
        value = gdp_scan_blanks(value + 1, end);
        if (value < end && *value == ']') return true;
    }
    return false;
}

/* The keys of one data line that change what the plane does. */
static void gdp_data_keys(const char *from, const char *end, gdp_event *out)
{
    const char *value;
    for (const char *p = from; (p = gdp_scan_pair(p, end, '"', 'u', 'f')) < end; p++) {
        if (p[1] == 'f') {
            value = gdp_scan_value(from, p, end, GDP_LIT("\"finish_reason\""));
            if (value && *value != 'n') out->finish = true;
        } else {
            value = gdp_scan_value(from, p, end, GDP_LIT("\"usage\""));
            if (value && *value == '{') out->usage = true;
        }
    }
    if (GDP_UNLIKELY(out->usage) && gdp_data_no_choices(from, end)) out->usage_only = true;
}

/* `{"error": x` with x other than null. */
static bool gdp_data_error(const char *from, const char *end)
{
    const char *p = gdp_scan_blanks(from, end);
    if (p == end || *p != '{') return false;
    p = gdp_scan_blanks(p + 1, end);
    if (p == end || p[0] != '"') return false;
    const char *value = gdp_scan_value(from, p, end, GDP_LIT("\"error\""));
    return value && *value != 'n';
}

static bool gdp_text_is(const char *from, const char *end, const char *text, size_t n)
{
    return (size_t)(end - from) == n && memcmp(from, text, n) == 0;
}

/* The value of line [p, eol) when its field is `field`, else NULL. One space after the colon is not part of it. */
static const char *gdp_line_value(const char *p, const char *eol, const char *field, size_t n)
{
    if ((size_t)(eol - p) < n || memcmp(p, field, n) != 0) return NULL;
    p += n;
    if (p == eol) return p; /* a field without colon has an empty value */
    if (*p != ':') return NULL;
    p++;
    return p < eol && *p == ' ' ? p + 1 : p;
}

/* Kind by the first data line; an error name wins over it. */
static void gdp_event_data(const char *buf, const char *value, const char *eol, bool first, gdp_event *out)
{
    if (first) {
        out->data = gdp_span_of(buf, value, eol);
        out->kind = GDP_EV_DATA;
        if (gdp_text_is(value, eol, GDP_LIT("[DONE]")))
            out->kind = GDP_EV_DONE;
        else if (gdp_data_error(value, eol))
            out->kind = GDP_EV_ERROR;
    }
    gdp_data_keys(value, eol, out);
}

/* Read the lines of the complete event [buf, end). `eol` is the end of its first line, or NULL when not known. */
static void gdp_event_read(const char *buf, const char *end, const char *eol, gdp_event *out)
{
    bool has_data = false;
    for (const char *p = buf; p < end;) {
        if (!eol) eol = gdp_scan_eol(p, end);
        const char *value;
        if (*p == 'd' && (value = gdp_line_value(p, eol, GDP_LIT("data")))) {
            gdp_event_data(buf, value, eol, !has_data, out);
            has_data = true;
        } else if (*p == 'e' && (value = gdp_line_value(p, eol, GDP_LIT("event")))) {
            out->name = gdp_span_of(buf, value, eol);
        }
        p = eol < end ? gdp_line_next(eol, end) : end;
        if (!p) break; /* cannot be: a complete event ends with a line end */
        eol = NULL;
    }
    const char *name = buf + out->name.off, *name_end = name + out->name.len;
    if (out->name.len && (gdp_text_is(name, name_end, GDP_LIT("error")) ||
                          gdp_text_is(name, name_end, GDP_LIT("response.failed"))))
        out->kind = GDP_EV_ERROR;
}

int64_t gdp_sse_next(const char *buf, size_t len, size_t seen, gdp_event *out)
{
    memset(out, 0, sizeof *out);
    const char *first;
    const char *end = gdp_event_end(buf, buf + len, seen < len ? seen : len, &first);
    if (!end) return GDP_MORE;
    gdp_event_read(buf, end, first, out);
    return end - buf;
}

/* ---------------------------------------------------- fingerprint ------------------------------------------------ */

gdp_span gdp_sse_fingerprint(const char *event, size_t len)
{
    const char *end = event + len;
    for (const char *p = event; (p = gdp_scan_text(p, end, GDP_LIT("\"system_fingerprint\""))) < end; p++) {
        const char *value = gdp_scan_value(event, p, end, GDP_LIT("\"system_fingerprint\""));
        if (!value || *value != '"') continue;
        bool escaped = false;
        const char *quote = gdp_scan_string(value + 1, end, &escaped);
        if (quote < end && *quote == '"') return gdp_span_of(event, p, quote + 1);
    }
    return (gdp_span){0, 0};
}
