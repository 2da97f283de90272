/* scan.h -- the wide compares that the three wire modules share. Private to csrc/wire.
 *
 * Each function answers "where is the first byte of this kind in [p, end)", or end. They load 16 bytes at a time only
 * while 16 bytes are left and finish byte by byte, so nothing outside [p, end) is ever read, not even harmlessly:
 *
 *     p                                            end
 *     [ 16 ][ 16 ][ 16 ][ 16 ] ... [ 16 ][1][1][1]  |
 *
 * SSE2 is part of x86-64, so it needs no question at run time. AVX2 was tried for the JSON strings, the longest runs
 * we meet: see the figure at gdp_scan_string. Other machines, and builds with -DGDP_SCALAR (the tests run both), take
 * the byte loops. */
#ifndef GDP_WIRE_SCAN_H
#define GDP_WIRE_SCAN_H

#include <string.h>

#include "gdp/base.h"

#if defined(__SSE2__) && !defined(GDP_SCALAR)
#define GDP_SSE2 1
#include <emmintrin.h>

/* Bit i is set where byte i is wanted. */
typedef unsigned gdp_mask;

static inline __m128i gdp_load(const char *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

static inline __m128i gdp_eq(__m128i v, char c)
{
    return _mm_cmpeq_epi8(v, _mm_set1_epi8(c));
}

/* Bytes <= limit, unsigned. */
static inline __m128i gdp_le(__m128i v, char limit)
{
    return _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(limit)), v);
}

static inline gdp_mask gdp_bits(__m128i v)
{
    return (gdp_mask)_mm_movemask_epi8(v);
}
#endif

static inline bool gdp_is_control(unsigned char c)
{
    return c < 0x20 || c == 0x7f;
}

/* First LF or CR. */
static inline const char *gdp_scan_eol(const char *p, const char *end)
{
#ifdef GDP_SSE2
    for (; end - p >= 16; p += 16) {
        __m128i v = gdp_load(p);
        gdp_mask hit = gdp_bits(_mm_or_si128(gdp_eq(v, '\n'), gdp_eq(v, '\r')));
        if (hit) return p + __builtin_ctz(hit);
    }
#endif
    while (p < end && *p != '\n' && *p != '\r') p++;
    return p;
}

/* First control character (below 0x20, or DEL) that is no tab. */
static inline const char *gdp_scan_control(const char *p, const char *end)
{
#ifdef GDP_SSE2
    for (; end - p >= 16; p += 16) {
        __m128i v = gdp_load(p);
        __m128i bad = _mm_or_si128(_mm_andnot_si128(gdp_eq(v, '\t'), gdp_le(v, 0x1f)), gdp_eq(v, 0x7f));
        gdp_mask hit = gdp_bits(bad);
        if (hit) return p + __builtin_ctz(hit);
    }
#endif
    while (p < end && (*p == '\t' || !gdp_is_control((unsigned char)*p))) p++;
    return p;
}

/* First byte of a JSON string that is not plain text: quote, backslash, or below 0x20. */
static inline const char *gdp_scan_string(const char *p, const char *end)
{
#ifdef GDP_SSE2
#define GDP_STRING_STOP(v) _mm_or_si128(_mm_or_si128(gdp_eq(v, '"'), gdp_eq(v, '\\')), gdp_le(v, 0x1f))
    for (; end - p >= 64; p += 64) {
        __m128i a = GDP_STRING_STOP(gdp_load(p)), b = GDP_STRING_STOP(gdp_load(p + 16));
        __m128i c = GDP_STRING_STOP(gdp_load(p + 32)), d = GDP_STRING_STOP(gdp_load(p + 48));
        if (!gdp_bits(_mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d)))) continue;
        uint64_t hit = (uint64_t)gdp_bits(a) | (uint64_t)gdp_bits(b) << 16 | (uint64_t)gdp_bits(c) << 32 |
                       (uint64_t)gdp_bits(d) << 48;
        return p + __builtin_ctzll(hit);
    }
    for (; end - p >= 16; p += 16) {
        gdp_mask hit = gdp_bits(GDP_STRING_STOP(gdp_load(p)));
        if (hit) return p + __builtin_ctz(hit);
    }
#undef GDP_STRING_STOP
#endif
    while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20) p++;
    return p;
}

/* First quote or bracket of either kind. '[' and ']' differ from '{' and '}' by the bit 0x20 only. */
static inline const char *gdp_scan_bracket(const char *p, const char *end)
{
#ifdef GDP_SSE2
    for (; end - p >= 16; p += 16) {
        __m128i v = gdp_load(p), folded = _mm_or_si128(v, _mm_set1_epi8(0x20));
        __m128i brackets = _mm_or_si128(gdp_eq(folded, '{'), gdp_eq(folded, '}'));
        gdp_mask hit = gdp_bits(_mm_or_si128(gdp_eq(v, '"'), brackets));
        if (hit) return p + __builtin_ctz(hit);
    }
#endif
    while (p < end && *p != '"' && (*p | 0x20) != '{' && (*p | 0x20) != '}') p++;
    return p;
}

/* First `first` that is followed by `a` or by `b`, both inside [p, end). */
static inline const char *gdp_scan_pair(const char *p, const char *end, char first, char a, char b)
{
#ifdef GDP_SSE2
    for (; end - p >= 17; p += 16) {
        __m128i next = gdp_load(p + 1);
        __m128i pair = _mm_and_si128(gdp_eq(gdp_load(p), first), _mm_or_si128(gdp_eq(next, a), gdp_eq(next, b)));
        gdp_mask hit = gdp_bits(pair);
        if (hit) return p + __builtin_ctz(hit);
    }
#endif
    for (; end - p >= 2; p++)
        if (*p == first && (p[1] == a || p[1] == b)) return p;
    return end;
}

/* First `text` of n >= 2 bytes; worst case n * (end - p), so n is a short constant. */
static inline const char *gdp_scan_text(const char *p, const char *end, const char *text, size_t n)
{
    while ((p = gdp_scan_pair(p, end, text[0], text[1], text[1])) < end) {
        if ((size_t)(end - p) >= n && memcmp(p, text, n) == 0) return p;
        p++;
    }
    return end;
}

/* Past JSON blanks: space, tab, CR, LF. */
static inline const char *gdp_scan_blanks(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) p++;
    return p;
}

/* The value of the JSON key `key` (written with its quotes, n bytes) that starts at p: the first byte after colon and
 * blanks, or NULL when p is not that key or the text ends there. `begin` is the start of the text: a quote behind a
 * backslash is inside a string and starts no key. */
static inline const char *gdp_scan_value(const char *begin, const char *p, const char *end, const char *key, size_t n)
{
    if ((size_t)(end - p) <= n || memcmp(p, key, n) != 0 || (p > begin && p[-1] == '\\')) return NULL;
    p = gdp_scan_blanks(p + n, end);
    if (p == end || *p != ':') return NULL;
    p = gdp_scan_blanks(p + 1, end);
    return p < end ? p : NULL;
}

/* ASCII letters without case; the rest must be equal. */
static inline bool gdp_same_nocase(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char x = (unsigned char)a[i], y = (unsigned char)b[i];
        if (x == y) continue;
        if ((x | 0x20) != (y | 0x20) || (unsigned char)((x | 0x20) - 'a') > 25) return false;
    }
    return true;
}

static inline gdp_span gdp_span_of(const char *base, const char *from, const char *to)
{
    return (gdp_span){(uint32_t)(from - base), (uint32_t)(to - from)};
}

#define GDP_LIT(text) (text), (sizeof(text) - 1)

#endif
