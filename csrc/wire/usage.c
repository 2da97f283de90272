/* usage.c -- the parts of gdp/openai.h that read text which is not a request body: a string's escapes, and the few
 * facts that a worker's answer must tell (its usage, its id).
 *
 * Answers are not parsed. Within JSON an unescaped `"usage":` can only be a key, so a search for those bytes finds it,
 * in a whole answer, in one event, or in the tail of an answer whose beginning has gone by. */
#include "gdp/openai.h"

#include "scan.h"

/* ---------------------------------------------------- escapes --------------------------------------------------- */

/* Four hex digits at p, or -1. */
static int32_t gdp_hex4(const char *p, const char *end)
{
    int32_t sum = 0;
    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int32_t digit = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
        if (digit < 0) return -1;
        sum = sum << 4 | digit;
    }
    return sum;
}

/* The code point of the escape whose letter is at *p; moves *p past it. -1: no such escape, NUL, half a pair. */
static int32_t gdp_escape(const char **p, const char *end)
{
    static const char letters[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    if (*p == end) return -1;
    const char c = *(*p)++;
    if (c != 'u') {
        const char *at = memchr(letters, c, sizeof letters - 1);
        return at ? values[at - letters] : -1;
    }
    int32_t high = gdp_hex4(*p, end);
    if (high <= 0 || (high >= 0xdc00 && high < 0xe000)) return -1;
    *p += 4;
    if (high < 0xd800 || high > 0xdbff) return high;
    if (end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u') return -1;
    int32_t low = gdp_hex4(*p + 2, end);
    if (low < 0xdc00 || low > 0xdfff) return -1;
    *p += 6;
    return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

/* UTF-8 of a code point into four bytes; how many were used. */
static unsigned gdp_utf8(int32_t code, char out[4])
{
    const uint32_t c = (uint32_t)code;
    const unsigned n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (unsigned i = 0; i < n; i++) {
        uint32_t bits = c >> (6 * (n - 1 - i));
        out[i] = (char)(i == 0 ? lead[n] | bits : 0x80 | (bits & 0x3f));
    }
    return n;
}

int64_t gdp_openai_unescape(const char *in, size_t len, char *out, size_t out_size)
{
    const char *p = in, *end = in + len;
    size_t used = 0;
    while (p < end) {
        const char *stop = gdp_scan_plain(p, end);
        size_t run = (size_t)(stop - p);
        if (run > out_size - used) return GDP_MORE;
        if (run) memcpy(out + used, p, run);
        used += run;
        p = stop;
        if (p == end) break;
        if (*p++ != '\\') return GDP_BAD;
        char bytes[4];
        int32_t code = gdp_escape(&p, end);
        if (code < 0) return GDP_BAD;
        unsigned n = gdp_utf8(code, bytes);
        if (n > out_size - used) return GDP_MORE;
        memcpy(out + used, bytes, n);
        used += n;
    }
    return (int64_t)used;
}

/* ---------------------------------------------------- usage ----------------------------------------------------- */

/* Past the string that starts with the quote at p, or NULL when it is cut off. */
static const char *gdp_past_string(const char *p, const char *end)
{
    bool escaped = false;
    p = gdp_scan_string(p + 1, end, &escaped);
    return p < end && *p == '"' ? p + 1 : NULL;
}

/* Past the object that starts with the brace at p, or NULL when it is cut off. */
static const char *gdp_past_object(const char *p, const char *end)
{
    unsigned depth = 0;
    while ((p = gdp_scan_bracket(p, end)) < end) {
        if (*p == '"') {
            if (!(p = gdp_past_string(p, end))) return NULL;
            continue;
        }
        depth = *p == '{' || *p == '[' ? depth + 1 : depth - 1;
        p++;
        if (depth == 0) return p;
    }
    return NULL;
}

/* A count at p: 1 to 18 digits, then no digit and no fraction. -1 otherwise. */
static int64_t gdp_count_at(const char *p, const char *end)
{
    int64_t sum = 0;
    const char *from = p;
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        if (p - from == 18) return -1;
        sum = sum * 10 + (*p - '0');
    }
    return p == from || (p < end && (*p == '.' || (*p | 0x20) == 'e')) ? -1 : sum;
}

/* Where the value of the key [key, key+n) goes, or NULL. `inner`: the key is in a details object. */
static int64_t *gdp_usage_slot(gdp_usage *out, const char *key, size_t n, bool inner)
{
#define GDP_IS(text) (n == sizeof(text) - 1 && memcmp(key, text, n) == 0)
    if (inner) return GDP_IS("cached_tokens") ? &out->cached : NULL;
    if (GDP_IS("prompt_tokens") || GDP_IS("input_tokens")) return &out->prompt;
    if (GDP_IS("completion_tokens") || GDP_IS("output_tokens")) return &out->output;
    return GDP_IS("cache_read_input_tokens") ? &out->cached : NULL;
}

static bool gdp_usage_details(const char *key, size_t n)
{
    return GDP_IS("prompt_tokens_details") || GDP_IS("input_tokens_details");
#undef GDP_IS
}

/* Read the complete usage object [p, end), whose brackets are balanced. Keys at its first level, and those of the two
 * details objects, count. */
static void gdp_usage_read(const char *p, const char *end, gdp_usage *out)
{
    unsigned depth = 0, details = 0; /* details: the depth inside a details object, 0 when in none */
    while (p < end && (p = gdp_scan_bracket(p, end)) < end) {
        if (*p != '"') {
            depth = *p == '{' || *p == '[' ? depth + 1 : depth - 1;
            if (depth < details) details = 0;
            p++;
            continue;
        }
        const char *key = p + 1, *past = gdp_past_string(p, end);
        if (!past) return;
        const size_t n = (size_t)(past - 1 - key);
        p = gdp_scan_blanks(past, end);
        if (p == end || *p != ':') continue; /* a string that is a value */
        p = gdp_scan_blanks(p + 1, end);
        if (depth == 1 && p < end && *p == '{' && gdp_usage_details(key, n)) details = 2;
        int64_t *slot = depth == 1 || depth == details ? gdp_usage_slot(out, key, n, depth != 1) : NULL;
        int64_t count = slot ? gdp_count_at(p, end) : -1;
        if (count >= 0) *slot = count;
    }
}

int gdp_openai_usage(const char *json, size_t len, gdp_usage *out)
{
    const char *end = json + len, *last = NULL;
    for (const char *p = json; (p = gdp_scan_text(p, end, GDP_LIT("\"usage\""))) < end; p++) {
        const char *value = gdp_scan_value(json, p, end, GDP_LIT("\"usage\""));
        if (value && *value == '{') last = value;
    }
    const char *past = last ? gdp_past_object(last, end) : NULL;
    if (!past) return GDP_MORE;
    gdp_usage_read(last, past, out);
    return 0;
}

/* ---------------------------------------------------- id -------------------------------------------------------- */

gdp_span gdp_openai_response_id(const char *json, size_t len)
{
    const char *end = json + len;
    for (const char *p = json; (p = gdp_scan_text(p, end, GDP_LIT("\"id\""))) < end; p++) {
        const char *value = gdp_scan_value(json, p, end, GDP_LIT("\"id\""));
        if (!value || end - value < 6 || memcmp(value, "\"resp_", 6) != 0) continue;
        const char *past = gdp_past_string(value, end);
        return past ? gdp_span_of(json, value + 1, past - 1) : (gdp_span){0, 0};
    }
    return (gdp_span){0, 0};
}
