/* openai.c -- one pass over a request's JSON; the essay is in gdp/openai.h.
 *
 * The body of a chat request is a few keys and one long value, `messages`, that is nearly all string:
 *
 *     {"model":"m","messages":[{"role":"user","content":"..................."}],"stream":true}
 *      ^key  ^scalar         ^--- gdp_skip_nested: brackets outside strings ---^ ^key
 *
 * so the cost is that of gdp_scan_string, and the top level may be read carefully. Each known key has a row in a table
 * (name, what to do with the value); unknown keys cost the compare of their length.
 *
 * A key may be written with escapes ("mod\u0065l"), and the worker's parser would take it for `model`: routing by one
 * name and serving another. Such keys are unescaped before they are compared. */
#include "gdp/openai.h"

#include "scan.h"

#define GDP_DEPTH_MAX 256
#define GDP_KEY_MAX 32 /* no key we look for is longer */

typedef struct {
    const char *begin, *p, *end;
    gdp_body *out;
    uint8_t why; /* the first syntax fault */
} gdp_reader;

/* Note the fault at p. Returns GDP_BAD, for `return gdp_fault(...)`. */
static int gdp_fault(gdp_reader *r, const char *p, uint8_t why)
{
    if (!r->why) {
        r->why = why;
        r->out->where = (uint32_t)(p - r->begin);
    }
    return GDP_BAD;
}

static void gdp_blanks(gdp_reader *r)
{
    r->p = gdp_scan_blanks(r->p, r->end);
}

/* Blanks, then `c`. */
static int gdp_expect(gdp_reader *r, char c)
{
    gdp_blanks(r);
    if (r->p == r->end || *r->p != c) return gdp_fault(r, r->p, GDP_JSON_SYNTAX);
    r->p++;
    return 0;
}

/* ---------------------------------------------------- skipping values ------------------------------------------- */

/* At a quote: past the string. *inside is what stands between the quotes, *escaped whether it has a backslash. */
static int gdp_string(gdp_reader *r, gdp_span *inside, bool *escaped)
{
    const char *from = ++r->p;
    *escaped = false;
    const char *p = gdp_scan_string(from, r->end, escaped);
    if (p == r->end || *p != '"') return gdp_fault(r, p, GDP_JSON_SYNTAX);
    *inside = gdp_span_of(r->begin, from, p);
    r->p = p + 1;
    return 0;
}

/* At an opening bracket: past its partner. One bit per level tells which bracket must close it: 32 bytes for 256. */
static int gdp_skip_nested(gdp_reader *r)
{
    uint64_t curly[GDP_DEPTH_MAX / 64] = {0};
    unsigned depth = 0;
    gdp_span inside;
    bool escaped;
    for (;;) {
        r->p = gdp_scan_bracket(r->p, r->end);
        if (r->p == r->end) return gdp_fault(r, r->p, GDP_JSON_SYNTAX);
        const char c = *r->p;
        if (c == '"') {
            if (gdp_string(r, &inside, &escaped)) return GDP_BAD;
        } else if (c == '{' || c == '[') {
            if (depth == GDP_DEPTH_MAX - 1) return gdp_fault(r, r->p, GDP_JSON_TOO_DEEP); /* the body is a level too */
            uint64_t bit = (uint64_t)1 << (depth & 63);
            curly[depth >> 6] = c == '{' ? curly[depth >> 6] | bit : curly[depth >> 6] & ~bit;
            depth++;
            r->p++;
        } else {
            depth--; /* never below 0: we return at 0 */
            if ((curly[depth >> 6] >> (depth & 63) & 1) != (c == '}')) return gdp_fault(r, r->p, GDP_JSON_SYNTAX);
            r->p++;
            if (depth == 0) return 0;
        }
    }
}

static bool gdp_digits(gdp_reader *r)
{
    const char *from = r->p;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9') r->p++;
    return r->p > from;
}

/* A number by JSON's grammar. */
static int gdp_skip_number(gdp_reader *r)
{
    if (*r->p == '-') r->p++;
    const char *first = r->p;
    if (!gdp_digits(r) || (*first == '0' && r->p - first > 1)) return gdp_fault(r, first, GDP_JSON_SYNTAX);
    if (r->p < r->end && *r->p == '.') {
        r->p++;
        if (!gdp_digits(r)) return gdp_fault(r, r->p, GDP_JSON_SYNTAX);
    }
    if (r->p < r->end && (*r->p | 0x20) == 'e') {
        r->p++;
        if (r->p < r->end && (*r->p == '+' || *r->p == '-')) r->p++;
        if (!gdp_digits(r)) return gdp_fault(r, r->p, GDP_JSON_SYNTAX);
    }
    return 0;
}

static bool gdp_skip_text(gdp_reader *r, const char *text, size_t n)
{
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, text, n) != 0) return false;
    r->p += n;
    return true;
}

/* A number, true, false, null, and what Python's json takes besides: the worker may refuse NaN, it is not ours to. */
static int gdp_skip_word(gdp_reader *r)
{
    bool good = false;
    switch (*r->p) {
    case 't': good = gdp_skip_text(r, GDP_LIT("true")); break;
    case 'f': good = gdp_skip_text(r, GDP_LIT("false")); break;
    case 'n': good = gdp_skip_text(r, GDP_LIT("null")); break;
    case 'N': good = gdp_skip_text(r, GDP_LIT("NaN")); break;
    case 'I': good = gdp_skip_text(r, GDP_LIT("Infinity")); break;
    case '-': return gdp_skip_text(r, GDP_LIT("-Infinity")) ? 0 : gdp_skip_number(r);
    default: return gdp_skip_number(r);
    }
    return good ? 0 : gdp_fault(r, r->p, GDP_JSON_SYNTAX);
}

/* A value of the top level or of stream_options. */
typedef struct {
    gdp_span span; /* of a string: between the quotes; else as written */
    char first;    /* its first character: '"', '{', '[', 't', 'f', 'n', ... */
    bool escaped;
    const char *text;
} gdp_value;

/* Past one value of any kind. */
static int gdp_value_read(gdp_reader *r, gdp_value *v)
{
    gdp_blanks(r);
    if (r->p == r->end) return gdp_fault(r, r->p, GDP_JSON_SYNTAX);
    const char *from = r->p;
    v->first = *from;
    v->escaped = false;
    v->text = from;
    if (*from == '"') return gdp_string(r, &v->span, &v->escaped);
    if (*from == '{' || *from == '[' ? gdp_skip_nested(r) : gdp_skip_word(r)) return GDP_BAD;
    v->span = gdp_span_of(r->begin, from, r->p);
    return 0;
}

/* ---------------------------------------------------- an object's members --------------------------------------- */

typedef int gdp_member(gdp_reader *r, const char *key, size_t n);

/* A key, unescaped into room when it has escapes. *n is 0 when it is longer than any that we know. */
static int gdp_key_read(gdp_reader *r, char room[GDP_KEY_MAX], const char **key, size_t *n)
{
    gdp_span inside;
    bool escaped;
    gdp_blanks(r);
    if (r->p == r->end || *r->p != '"') return gdp_fault(r, r->p, GDP_JSON_SYNTAX);
    if (gdp_string(r, &inside, &escaped)) return GDP_BAD;
    *key = r->begin + inside.off;
    *n = inside.len;
    if (GDP_LIKELY(!escaped)) return 0;
    int64_t plain = gdp_openai_unescape(*key, *n, room, GDP_KEY_MAX);
    *key = room;
    *n = plain > 0 ? (size_t)plain : 0;
    return 0;
}

/* At '{': walk the members, `member` reads each value. Returns past '}'. */
static int gdp_object_walk(gdp_reader *r, gdp_member *member)
{
    char room[GDP_KEY_MAX];
    const char *key;
    size_t n;
    r->p++;
    gdp_blanks(r);
    if (r->p < r->end && *r->p == '}') return r->p++, 0;
    for (;;) {
        if (gdp_key_read(r, room, &key, &n) || gdp_expect(r, ':') || member(r, key, n)) return GDP_BAD;
        gdp_blanks(r);
        if (r->p < r->end && *r->p == '}') return r->p++, 0;
        if (gdp_expect(r, ',')) return GDP_BAD;
    }
}

/* ---------------------------------------------------- the fields we know ---------------------------------------- */

typedef enum {
    GDP_F_MODEL,
    GDP_F_STREAM,
    GDP_F_OPTIONS,
    GDP_F_N,
    GDP_F_BEST_OF,
    GDP_F_MAX_COMPLETION,
    GDP_F_MAX_TOKENS,
    GDP_F_MAX_OUTPUT,
    GDP_F_PRIORITY,
    GDP_F_SALT,
    GDP_F_PREVIOUS,
    GDP_F_KV,
    GDP_F_MESSAGES,
    GDP_F_PROMPT,
    GDP_F_TOOLS,
    GDP_F_COUNT
} gdp_field;

/* By length; gdp_field_first[n] is where names of length n begin. */
#define GDP_FIELD_LEN_MAX 21
static const struct {
    char name[23];
    uint8_t field;
} gdp_field_names[] = {
    {"n", GDP_F_N},
    {"model", GDP_F_MODEL},
    {"tools", GDP_F_TOOLS},
    {"stream", GDP_F_STREAM},
    {"prompt", GDP_F_PROMPT},
    {"best_of", GDP_F_BEST_OF},
    {"messages", GDP_F_MESSAGES},
    {"priority", GDP_F_PRIORITY},
    {"max_tokens", GDP_F_MAX_TOKENS},
    {"cache_salt", GDP_F_SALT},
    {"stream_options", GDP_F_OPTIONS},
    {"max_output_tokens", GDP_F_MAX_OUTPUT},
    {"kv_transfer_params", GDP_F_KV},
    {"previous_response_id", GDP_F_PREVIOUS},
    {"max_completion_tokens", GDP_F_MAX_COMPLETION},
};
static const uint8_t gdp_field_first[GDP_FIELD_LEN_MAX + 2] = {0, 0,  1,  1,  1,  1,  3,  5,  6,  8,  8, 10,
                                                               10, 10, 10, 11, 11, 11, 12, 13, 13, 14, 15};

/* What only counts when the whole body has been read, because a later duplicate replaces it. */
typedef struct {
    gdp_reader r; /* first: members get a gdp_reader */
    const char *bad_model, *bad_stream;
    bool many[3]; /* n, best_of, prompt */
    int64_t max[3];
} gdp_scan;

static gdp_field gdp_field_of(const char *key, size_t n)
{
    if (n > GDP_FIELD_LEN_MAX) return GDP_F_COUNT;
    for (unsigned i = gdp_field_first[n]; i < gdp_field_first[n + 1]; i++)
        if (memcmp(key, gdp_field_names[i].name, n) == 0) return (gdp_field)gdp_field_names[i].field;
    return GDP_F_COUNT;
}

/* The integer that the value is, clamped to int64. False for anything else, 5.0 and 1e3 too. */
static bool gdp_value_int(const gdp_value *v, int64_t *out)
{
    const bool minus = v->first == '-';
    uint64_t sum = 0;
    if (v->first == '"' || v->span.len == (uint32_t)minus) return false;
    for (uint32_t i = minus; i < v->span.len; i++) {
        if (v->text[i] < '0' || v->text[i] > '9') return false;
        const uint64_t digit = (uint64_t)(v->text[i] - '0');
        sum = sum > (INT64_MAX - digit) / 10 ? INT64_MAX : sum * 10 + digit;
    }
    *out = minus ? -(int64_t)sum : (int64_t)sum;
    return true;
}

static uint8_t gdp_value_tri(const gdp_value *v)
{
    return v->first == 't' ? GDP_TRI_TRUE : v->first == 'f' || v->first == 'n' ? GDP_TRI_FALSE : GDP_TRI_OTHER;
}

/* A count of choices: what is no integer may be one for the worker ("2", 2.0), so it may mean many. */
static bool gdp_value_many(const gdp_value *v, int32_t *n)
{
    int64_t count = 1;
    bool whole = gdp_value_int(v, &count);
    if (count > INT32_MAX) count = INT32_MAX;
    if (count < INT32_MIN) count = INT32_MIN;
    *n = (int32_t)count;
    return whole ? count > 1 : v->first != 'n';
}

static int64_t gdp_value_limit(const gdp_value *v)
{
    int64_t limit;
    return gdp_value_int(v, &limit) && limit >= 0 ? limit : -1;
}

/* True for a list whose first item is a string or a list: a batch of prompts. */
static bool gdp_value_batch(const gdp_value *v)
{
    if (v->first != '[') return false;
    const char *p = gdp_scan_blanks(v->text + 1, v->text + v->span.len);
    return *p == '"' || *p == '[';
}

static gdp_span gdp_value_text(const gdp_value *v)
{
    return v->first == '"' ? v->span : (gdp_span){0, 0};
}

/* One member of stream_options. */
static int gdp_member_option(gdp_reader *r, const char *key, size_t n)
{
    gdp_value v;
    if (gdp_value_read(r, &v)) return GDP_BAD;
    r->out->options_empty = false;
    if (n == 13 && memcmp(key, "include_usage", n) == 0) {
        r->out->include_usage = gdp_value_tri(&v);
        r->out->include_value = gdp_span_of(r->begin, v.text, r->p);
    } else if (n == 22 && memcmp(key, "continuous_usage_stats", n) == 0) {
        r->out->continuous_usage = gdp_value_tri(&v);
    }
    return 0;
}

/* stream_options: an object is walked, anything else is only named. */
static int gdp_options_read(gdp_reader *r)
{
    gdp_body *out = r->out;
    gdp_value v;
    gdp_blanks(r);
    out->include_usage = out->continuous_usage = GDP_TRI_ABSENT;
    out->include_value = (gdp_span){0, 0};
    const char *from = r->p;
    const bool object = from < r->end && *from == '{';
    out->options_empty = object;
    if (object ? gdp_object_walk(r, gdp_member_option) : gdp_value_read(r, &v)) return GDP_BAD;
    out->options = object ? GDP_OPT_OBJECT : v.first == 'n' ? GDP_OPT_NULL : GDP_OPT_OTHER;
    out->options_value = gdp_span_of(r->begin, from, r->p);
    return 0;
}

static void gdp_field_store(gdp_scan *s, gdp_field field, const gdp_value *v)
{
    gdp_body *out = s->r.out;
    int32_t ignored;
    switch (field) {
    case GDP_F_MODEL:
        s->bad_model = v->first == '"' || v->first == 'n' ? NULL : v->text;
        out->has_model = v->first == '"';
        out->model_escaped = v->escaped;
        out->model = gdp_value_text(v);
        break;
    case GDP_F_STREAM:
        s->bad_stream = v->first == 't' || v->first == 'f' || v->first == 'n' ? NULL : v->text;
        out->stream = v->first == 't';
        break;
    case GDP_F_N: s->many[0] = gdp_value_many(v, &out->n); break;
    case GDP_F_BEST_OF: s->many[1] = gdp_value_many(v, &ignored); break;
    case GDP_F_MAX_COMPLETION: s->max[0] = gdp_value_limit(v); break;
    case GDP_F_MAX_TOKENS: s->max[1] = gdp_value_limit(v); break;
    case GDP_F_MAX_OUTPUT: s->max[2] = gdp_value_limit(v); break;
    case GDP_F_PRIORITY:
        out->priority = 0;
        out->has_priority = gdp_value_int(v, &out->priority);
        break;
    case GDP_F_SALT: out->cache_salt = gdp_value_text(v); break;
    case GDP_F_PREVIOUS: out->previous_id = gdp_value_text(v); break;
    case GDP_F_KV: out->kv_transfer = gdp_span_of(s->r.begin, v->text, s->r.p); break;
    case GDP_F_MESSAGES: out->messages = gdp_span_of(s->r.begin, v->text, s->r.p); break;
    case GDP_F_PROMPT:
        out->prompt = gdp_span_of(s->r.begin, v->text, s->r.p);
        s->many[2] = gdp_value_batch(v);
        break;
    case GDP_F_TOOLS: out->tools = gdp_span_of(s->r.begin, v->text, s->r.p); break;
    default: break;
    }
}

/* One member of the body. */
static int gdp_member_body(gdp_reader *r, const char *key, size_t n)
{
    gdp_field field = gdp_field_of(key, n);
    if (field == GDP_F_OPTIONS) return gdp_options_read(r);
    gdp_value v;
    if (gdp_value_read(r, &v)) return GDP_BAD;
    gdp_field_store((gdp_scan *)r, field, &v);
    return 0;
}

/* The body from first to last byte. */
static int gdp_body_walk(gdp_reader *r)
{
    gdp_blanks(r);
    if (r->p == r->end) return gdp_fault(r, r->p, GDP_JSON_EMPTY);
    if (*r->p != '{') return gdp_fault(r, r->p, GDP_JSON_NOT_OBJECT);
    r->out->open = gdp_span_of(r->begin, r->p, r->p + 1);
    if (gdp_object_walk(r, gdp_member_body)) return GDP_BAD;
    gdp_blanks(r);
    return r->p == r->end ? 0 : gdp_fault(r, r->p, GDP_JSON_SYNTAX);
}

int gdp_openai_scan(const char *body, size_t len, gdp_body *out)
{
    memset(out, 0, sizeof *out);
    out->n = 1;
    out->max_tokens = -1;
    gdp_scan s = {{body, body, body + len, out, GDP_JSON_OK}, NULL, NULL, {false, false, false}, {-1, -1, -1}};
    if (len > UINT32_MAX)
        (void)gdp_fault(&s.r, body, GDP_JSON_SYNTAX);
    else if (gdp_body_walk(&s.r) == 0) {
        if (s.bad_model)
            (void)gdp_fault(&s.r, s.bad_model, GDP_JSON_BAD_MODEL);
        else if (s.bad_stream)
            (void)gdp_fault(&s.r, s.bad_stream, GDP_JSON_BAD_STREAM);
    }
    out->why = s.r.why;
    out->many = s.many[0] || s.many[1] || s.many[2];
    for (unsigned i = 0; i < 3 && out->max_tokens < 0; i++) out->max_tokens = s.max[i];
    return out->why ? GDP_BAD : 0;
}

int gdp_openai_splice_usage(const gdp_body *body, gdp_splice *out)
{
    static const char whole[] = "\"stream_options\":{\"include_usage\":true},", object[] = "{\"include_usage\":true}";
    static const char only[] = "\"include_usage\":true", member[] = "\"include_usage\":true,", yes[] = "true";
    if (!body->stream || body->continuous_usage > GDP_TRI_FALSE) return 0;
    switch (body->options) {
    case GDP_OPT_ABSENT: *out = (gdp_splice){body->open.off + 1, 0, whole, sizeof whole - 1}; return 1;
    case GDP_OPT_NULL:
        *out = (gdp_splice){body->options_value.off, body->options_value.len, object, sizeof object - 1};
        return 1;
    case GDP_OPT_OBJECT: break;
    default: return 0;
    }
    if (body->include_usage == GDP_TRI_FALSE)
        *out = (gdp_splice){body->include_value.off, body->include_value.len, yes, sizeof yes - 1};
    else if (body->include_usage == GDP_TRI_ABSENT && body->options_empty)
        *out = (gdp_splice){body->options_value.off + 1, 0, only, sizeof only - 1};
    else if (body->include_usage == GDP_TRI_ABSENT)
        *out = (gdp_splice){body->options_value.off + 1, 0, member, sizeof member - 1};
    else
        return 0;
    return 1;
}
