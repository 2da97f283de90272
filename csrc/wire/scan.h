/* scan.h -- the wide compares that the three wire modules share. Private to csrc/wire.
 *
 * Each function answers "where is the first byte of this kind in [p, end)", or end. They load 16 bytes at a time only
 * while 16 bytes are left and finish byte by byte, so nothing outside [p, end) is ever read, not even harmlessly:
 *
 *     p                                            end
 *     [ 16 ][ 16 ][ 16 ][ 16 ] ... [ 16 ][1][1][1]  |
 *
 * SSE2 is part of x86-64, so it needs no question at run time; AVX2 would need one and is not missed, see
 * gdp_scan_string. Other machines, and builds with -DGDP_SCALAR (the tests run both), take
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
static inline const char *gdp_scan_plain(const char *p, const char *end)
{
#ifdef GDP_SSE2
    for (; end - p >= 16; p += 16) {
        __m128i v = gdp_load(p);
        gdp_mask hit = gdp_bits(_mm_or_si128(_mm_or_si128(gdp_eq(v, '"'), gdp_eq(v, '\\')), gdp_le(v, 0x1f)));
        if (hit) return p + __builtin_ctz(hit);
    }
#endif
    while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20) p++;
    return p;
}

#ifdef GDP_SSE2
/* Bit i of the result: byte i of a 64-byte block is behind an escaping backslash. `slashes` are the backslashes,
 * *carry says that the block before ended with one that escapes. The subtraction flips the parity along each run of
 * backslashes, so that every second one of a run is itself escaped (after Lemire and Keiser's simdjson). */
static inline uint64_t gdp_escaped(uint64_t slashes, uint64_t *carry)
{
    const uint64_t odd = 0xaaaaaaaaaaaaaaaau;
    const uint64_t open = slashes & ~*carry;
    const uint64_t codes = (((open << 1) | odd) - open) ^ odd;
    const uint64_t escaped = codes ^ (slashes | *carry);
    *carry = (codes & slashes) >> 63;
    return escaped;
}

/* Bits of the 64 bytes at p where `test` of a vector v holds. */
#define GDP_BITS64(test)                                                                                              \
    ({                                                                                                                \
        uint64_t bits_ = 0;                                                                                           \
        for (unsigned i_ = 0; i_ < 4; i_++) {                                                                         \
            __m128i v = block[i_];                                                                                    \
            bits_ |= (uint64_t)gdp_bits(test) << (16 * i_);                                                           \
        }                                                                                                             \
        bits_;                                                                                                        \
    })
#endif

/* The byte that ends the JSON string whose inside starts at p: its closing quote, or a control character, which may not
 * be there, or `end`. *escaped is set when there is a backslash before it.
 *
 * Text that is all plain is one OR of four compares per 64 bytes. Where there are backslashes the block is resolved by
 * masks, not by a branch for each: program text has one every 20 to 40 bytes, and each branch would be a wrong guess.
 *
 * PERF(csrc bench "scan: 128 KiB"): 22 GB/s plain, so AVX2 and its dispatch were left out. */
static inline const char *gdp_scan_string(const char *p, const char *end, bool *escaped)
{
#ifdef GDP_SSE2
    uint64_t carry = 0;
    if (end - p >= 16) { /* keys and short values end here */
        __m128i v = gdp_load(p);
        gdp_mask stop = gdp_bits(_mm_or_si128(gdp_eq(v, '"'), gdp_le(v, 0x1f))), slash = gdp_bits(gdp_eq(v, '\\'));
        if (!slash && stop) return p + __builtin_ctz(stop);
        if (!slash) p += 16;
    }
    for (; end - p >= 64; p += 64) {
        const __m128i block[4] = {gdp_load(p), gdp_load(p + 16), gdp_load(p + 32), gdp_load(p + 48)};
        __m128i any = _mm_setzero_si128();
        for (unsigned i = 0; i < 4; i++) {
            __m128i v = block[i];
            any = _mm_or_si128(any, _mm_or_si128(_mm_or_si128(gdp_eq(v, '"'), gdp_eq(v, '\\')), gdp_le(v, 0x1f)));
        }
        if (!gdp_bits(any)) { /* also when the byte before escapes this block's first: that is plain, too */
            carry = 0;
            continue;
        }
        const uint64_t slashes = GDP_BITS64(gdp_eq(v, '\\'));
        const uint64_t hidden = gdp_escaped(slashes, &carry);
        const uint64_t stop = (GDP_BITS64(gdp_eq(v, '"')) & ~hidden) | GDP_BITS64(gdp_le(v, 0x1f));
        if (stop) {
            *escaped |= (slashes & ((stop & -stop) - 1)) != 0;
            return p + __builtin_ctzll(stop);
        }
        *escaped |= slashes != 0;
    }
    if (carry && p < end) { /* the byte at p is escaped */
        if ((unsigned char)*p < 0x20) return p;
        p++;
    }
#endif
    while ((p = gdp_scan_plain(p, end)) < end && *p == '\\') {
        *escaped = true;
        if (end - p < 2 || (unsigned char)p[1] < 0x20) return p + 1;
        p += 2;
    }
    return p;
}

/* First quote or bracket of either kind. '[' and ']' differ from '{' and '}' by the bit 0x20 only. */
static inline const char *gdp_scan_bracket(const char *p, const char *end)
{
    if (p < end && (*p == ',' || *p == ':')) p++; /* in compact JSON it is next, or next but one */
    if (p < end && (*p == '"' || (*p | 0x20) == '{' || (*p | 0x20) == '}')) return p;
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
