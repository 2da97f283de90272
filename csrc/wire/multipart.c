/* multipart.c -- the two form fields of an upload that a router must know (gdp/openai.h).
 *
 *     --BOUNDARY CR LF
 *     Content-Disposition: form-data; name="model" CR LF
 *     CR LF
 *     whisper-1 CR LF
 *     --BOUNDARY--
 *
 * Parts are found by a search for CR LF "--" BOUNDARY, which skips an audio file of megabytes at memory speed; only
 * headers of parts are read. Everything stays where it is. */
#define _GNU_SOURCE /* memmem: linear, whatever the boundary is */
#include "gdp/openai.h"

#include "scan.h"

#define GDP_BOUNDARY_MAX 70 /* RFC 2046 5.1.1 */

typedef struct {
    const char *p, *end;
} gdp_text;

static const char *gdp_skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t')) p++;
    return p;
}

/* The next `; name=value` of a header value: moves t past it. *name and *value are slices, without quotes. 0, GDP_MORE
 * at the end, GDP_BAD. */
static int gdp_parameter(gdp_text *t, gdp_text *name, gdp_text *value)
{
    const char *p = gdp_skip_space(t->p, t->end);
    if (p == t->end) return GDP_MORE;
    if (*p != ';') return GDP_BAD;
    name->p = p = gdp_skip_space(p + 1, t->end);
    if (p == t->end) return GDP_MORE; /* a semicolon at the end */
    while (p < t->end && *p != '=' && *p != ';') p++;
    if (p == t->end || *p != '=') return GDP_BAD;
    name->end = p++;
    if (p < t->end && *p == '"') {
        value->p = ++p;
        while (p < t->end && *p != '"') p += *p == '\\' && t->end - p > 1 ? 2 : 1;
        if (p == t->end) return GDP_BAD;
        value->end = p++;
    } else {
        value->p = p;
        while (p < t->end && *p != ';' && *p != ' ' && *p != '\t') p++;
        value->end = p;
    }
    t->p = p;
    return 0;
}

/* Without case, for what belongs to MIME; field names are compared as they are. */
static bool gdp_named(const gdp_text *t, const char *text)
{
    return (size_t)(t->end - t->p) == strlen(text) && gdp_same_nocase(t->p, text, strlen(text));
}

static bool gdp_field_is(const gdp_text *t, const char *text)
{
    return (size_t)(t->end - t->p) == strlen(text) && memcmp(t->p, text, strlen(text)) == 0;
}

/* Skip the first word of a header value (its type), when it is `type`. */
static bool gdp_typed(gdp_text *t, const char *type)
{
    size_t n = strlen(type);
    t->p = gdp_skip_space(t->p, t->end);
    if ((size_t)(t->end - t->p) < n || !gdp_same_nocase(t->p, type, n)) return false;
    t->p += n;
    return t->p == t->end || *t->p == ';' || *t->p == ' ' || *t->p == '\t';
}

/* CR LF "--" boundary into mark; its length, or GDP_BAD. */
static int gdp_boundary(const char *type, size_t len, char mark[GDP_BOUNDARY_MAX + 4])
{
    gdp_text t = {type, type + len}, name, value;
    if (!gdp_typed(&t, "multipart/form-data")) return GDP_BAD;
    while (gdp_parameter(&t, &name, &value) == 0) {
        if (!gdp_named(&name, "boundary")) continue;
        size_t n = (size_t)(value.end - value.p);
        if (n == 0 || n > GDP_BOUNDARY_MAX) return GDP_BAD;
        memcpy(mark, "\r\n--", 4);
        memcpy(mark + 4, value.p, n);
        return (int)n + 4;
    }
    return GDP_BAD;
}

/* Read the header lines of a part at *p, up to and past its empty line. *field is the name of its form field, empty
 * when it has none or is a file. */
static int gdp_part_head(const char **p, const char *end, gdp_text *field)
{
    *field = (gdp_text){*p, *p};
    for (;;) {
        const char *line = *p, *eol = memmem(line, (size_t)(end - line), "\r\n", 2);
        if (!eol) return GDP_BAD;
        *p = eol + 2;
        if (eol == line) return 0;
        const char *colon = memchr(line, ':', (size_t)(eol - line));
        if (!colon) return GDP_BAD;
        gdp_text header = {line, colon}, t = {colon + 1, eol}, name, value;
        if (!gdp_named(&header, "content-disposition")) continue;
        if (!gdp_typed(&t, "form-data")) return GDP_BAD;
        bool file = false;
        int more;
        while ((more = gdp_parameter(&t, &name, &value)) == 0) {
            if (gdp_named(&name, "name")) *field = value;
            if (gdp_named(&name, "filename")) file = true;
        }
        if (more == GDP_BAD) return GDP_BAD;
        if (file) *field = (gdp_text){line, line};
    }
}

/* After a boundary: 1 when it is the last ("--"), 0 when a part follows, GDP_BAD. Moves *p past it. */
static int gdp_boundary_tail(const char **p, const char *end)
{
    if (end - *p >= 2 && memcmp(*p, "--", 2) == 0) return 1;
    *p = gdp_skip_space(*p, end);
    if (end - *p < 2 || memcmp(*p, "\r\n", 2) != 0) return GDP_BAD;
    *p += 2;
    return 0;
}

int gdp_multipart_scan(const char *type, size_t type_len, const char *body, size_t len, gdp_span *model, bool *stream)
{
    char mark[GDP_BOUNDARY_MAX + 4];
    bool found = false;
    *model = (gdp_span){0, 0};
    *stream = false;
    const int n = gdp_boundary(type, type_len, mark);
    if (n < 0 || len > UINT32_MAX) return GDP_BAD;

    const char *p = body, *end = body + len;
    if (len >= 2 && memcmp(p, "\r\n", 2) == 0) p += 2;
    if (end - p < n - 2 || memcmp(p, mark + 2, (size_t)n - 2) != 0) return GDP_BAD;
    p += n - 2;
    for (int last; (last = gdp_boundary_tail(&p, end)) != 1;) {
        if (last < 0) return GDP_BAD;
        const char *stop = memmem(p - 2, (size_t)(end - p) + 2, mark, (size_t)n); /* p - 2: the boundary line's end */
        gdp_text field;
        /* A part without a body ends with its empty line, whose CR LF belongs to the boundary (RFC 2046 5.1.1). */
        if (!stop || stop < p || gdp_part_head(&p, stop + 2, &field)) return GDP_BAD;
        const char *value_end = stop < p ? p : stop;
        if (gdp_field_is(&field, "model")) {
            *model = gdp_span_of(body, p, value_end);
            found = true;
        } else if (gdp_field_is(&field, "stream")) {
            gdp_text value = {p, value_end};
            *stream = gdp_named(&value, "true");
        }
        p = stop + n;
    }
    return found ? 0 : GDP_MORE;
}
