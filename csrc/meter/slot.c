/* slot.c -- see gdp/meter_slot.h. */
#include "gdp/meter_slot.h"

#include <assert.h>
#include <string.h>

#define GROUP 16u
#define GROUPS ((GDP_BUCKETS_MAX + GROUP - 1) / GROUP)
#define SPAN 4u /* neighbours that are one in a coarse group */
#define EXACT 16u   /* counts below this are their own code */
#define CODES 0xffu /* the largest code */
#define COUNT_MAX (31u << 14)

static_assert(sizeof(gdp_slot) == 224, "256 of them must leave room for the rest within 64 KiB");
static_assert(GROUPS * GROUP <= GDP_SLOT_ROOM && GROUPS <= 32, "groups are bits of a word");
static_assert(GROUPS * (2 + GROUP / SPAN) <= GDP_SLOT_BYTES, "all coarse fits");

/* ---- counts as 4 + 4 bit floats: m, then (16 + m) << (e - 1) ------------------------------------------------- */

#define ROW(e) 16 << e, 17 << e, 18 << e, 19 << e, 20 << e, 21 << e, 22 << e, 23 << e, \
               24 << e, 25 << e, 26 << e, 27 << e, 28 << e, 29 << e, 30 << e, 31 << e
/* PERF: a table of doubles; shifting and converting took 1.9 ns per bucket, this 0.6. */
static const double DECODED[256] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
    ROW(0), ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7),
    ROW(8), ROW(9), ROW(10), ROW(11), ROW(12), ROW(13), ROW(14)};
#undef ROW

/* The nearest code; 0 only for 0. */
static uint8_t encoded(uint32_t count)
{
    if (count < EXACT) return (uint8_t)count;
    unsigned e = 27u - (unsigned)__builtin_clz(count); /* count >> e is 16..31 */
    uint64_t rounded = (uint64_t)count + ((1u << e) >> 1);
    if (rounded >> (e + 5)) e++;
    const uint64_t code = (uint64_t)(e + 1) << 4 | (rounded >> e & 15u);
    return code > CODES ? CODES : (uint8_t)code;
}

/* ---- packing ------------------------------------------------------------------------------------------------- */

/* PERF: a series is packed once a second, and most groups are empty: 1.7 us a slot without this look at the whole. */
static uint32_t in_group(const uint32_t *counts, uint32_t n, uint32_t g, uint32_t *any)
{
    const uint32_t end = n - g * GROUP < GROUP ? n - g * GROUP : GROUP;
    *any = 0;
    for (uint32_t i = 0; i < end; i++) *any |= counts[g * GROUP + i];
    return end;
}

/* Which buckets hold something, 16 to a word; the number of words. *any: all counts, or-ed together. */
static uint32_t masks_of(const uint32_t *counts, uint32_t n, uint16_t masks[GROUPS], uint32_t *any)
{
    const uint32_t groups = (n + GROUP - 1) / GROUP;
    *any = 0;
    for (uint32_t g = 0; g < groups; g++) {
        uint32_t here, end = in_group(counts, n, g, &here);
        unsigned mask = 0;
        for (uint32_t i = 0; here && i < end; i++) mask |= (unsigned)(counts[g * GROUP + i] != 0) << i;
        masks[g] = (uint16_t)mask;
        *any |= here;
    }
    return groups;
}

/* The bits of each four neighbours, or-ed into their first. */
static unsigned folded(unsigned mask)
{
    mask |= mask >> 1;
    mask |= mask >> 2;
    return mask & 0x1111u;
}

static uint32_t bits(unsigned mask)
{
    return (uint32_t)__builtin_popcount(mask);
}

/* Counts of so many buckets from `at`, as one. */
static uint64_t together(const uint32_t *counts, uint32_t n, uint32_t at, uint32_t span)
{
    uint64_t sum = 0;
    for (uint32_t i = at; i < at + span && i < n; i++) sum += counts[i];
    return sum;
}

/* The group in which the least lies, of those that are not coarse yet and would become shorter; GROUPS: none. */
static uint32_t next_coarse(const uint32_t *counts, uint32_t n, const uint16_t *masks, uint32_t groups, uint32_t coarse)
{
    uint32_t found = GROUPS;
    uint64_t least = UINT64_MAX;
    for (uint32_t g = 0; g < groups; g++) {
        if ((coarse >> g & 1u) || bits(folded(masks[g])) == bits(masks[g])) continue;
        const uint64_t total = together(counts, n, g * GROUP, GROUP);
        if (total < least) least = total, found = g;
    }
    return found;
}

/* Which groups must be coarse, so that all fit. */
static uint32_t coarse_groups(const uint32_t *counts, uint32_t n, const uint16_t *masks, uint32_t groups)
{
    uint32_t bytes = 0, coarse = 0;
    for (uint32_t g = 0; g < groups; g++)
        if (masks[g]) bytes += 2 + bits(masks[g]);
    while (bytes > GDP_SLOT_BYTES) {
        const uint32_t g = next_coarse(counts, n, masks, groups, coarse);
        coarse |= 1u << g;
        bytes -= bits(masks[g]) - bits(folded(masks[g]));
    }
    return coarse;
}

/* By how much to scale, so that the largest fits a code. any: all counts, or-ed together. */
static unsigned fitting_shift(const uint32_t *counts, uint32_t n, uint32_t coarse, uint32_t any)
{
    uint64_t most = 0;
    unsigned shift = 0;
    if ((uint64_t)any * SPAN <= COUNT_MAX) return 0;
    for (uint32_t i = 0; i < n; i += SPAN) {
        const bool one = coarse >> i / GROUP & 1u;
        for (uint32_t k = i; k < i + SPAN && k < n; k += one ? SPAN : 1) {
            const uint64_t count = together(counts, n, k, one ? SPAN : 1);
            if (count > most) most = count;
        }
    }
    while (most >> shift > COUNT_MAX) shift++;
    return shift;
}

void gdp_slot_pack(gdp_slot *slot, const uint32_t *counts, uint32_t n)
{
    uint16_t masks[GROUPS];
    uint32_t any, at = 0;
    assert(n <= GDP_BUCKETS_MAX);
    const uint32_t groups = masks_of(counts, n, masks, &any), coarse = coarse_groups(counts, n, masks, groups);
    const unsigned shift = fitting_shift(counts, n, coarse, any);
    const uint64_t half = (1ull << shift) >> 1;
    uint64_t total = 0;
    memset(slot, 0, sizeof *slot);
    for (uint32_t g = 0; g < groups; g++) {
        const unsigned span = coarse >> g & 1u ? SPAN : 1;
        unsigned mask = span > 1 ? folded(masks[g]) : masks[g];
        if (!mask) continue;
        slot->groups |= 1u << g;
        slot->bytes[at++] = (uint8_t)mask;
        slot->bytes[at++] = (uint8_t)(mask >> 8);
        for (; mask; mask &= mask - 1) {
            const uint64_t count = together(counts, n, g * GROUP + (unsigned)__builtin_ctz(mask), span);
            const uint64_t scaled = (count + half) >> shift;
            slot->bytes[at++] = encoded(scaled ? (uint32_t)scaled : 1);
            total += count;
        }
    }
    assert(at <= GDP_SLOT_BYTES);
    slot->coarse = coarse;
    slot->shift = (uint8_t)shift;
    slot->count = total > UINT32_MAX ? UINT32_MAX : (uint32_t)total;
}

/* ---- unpacking ----------------------------------------------------------------------------------------------- */

/* One group; returns where the next begins. */
static uint32_t add_group(const uint8_t *bytes, uint32_t at, unsigned mask, double each, double *group)
{
    if (mask == 0xffff && at + GROUP <= GDP_SLOT_BYTES) {
        for (unsigned i = 0; i < GROUP; i++) group[i] += each * DECODED[bytes[at + i]];
        return at + GROUP;
    }
    for (; mask && at < GDP_SLOT_BYTES; mask &= mask - 1)
        group[(unsigned)__builtin_ctz(mask)] += each * DECODED[bytes[at++]];
    return at;
}

static uint32_t add_coarse(const uint8_t *bytes, uint32_t at, unsigned mask, double each, double *group)
{
    for (mask &= 0x1111u; mask && at < GDP_SLOT_BYTES; mask &= mask - 1) {
        double *bucket = group + (unsigned)__builtin_ctz(mask);
        const double count = each * DECODED[bytes[at++]] / SPAN;
        for (unsigned i = 0; i < SPAN; i++) bucket[i] += count;
    }
    return at;
}

void gdp_slot_unpack(const gdp_slot *slot, double weight, double into[GDP_SLOT_ROOM])
{
    const double each = weight * (double)(1ull << (slot->shift & 31u));
    uint32_t at = 0;
    for (uint32_t groups = slot->groups; groups && at + 2 <= GDP_SLOT_BYTES; groups &= groups - 1) {
        const unsigned g = (unsigned)__builtin_ctz(groups);
        const unsigned mask = slot->bytes[at] | (unsigned)slot->bytes[at + 1] << 8;
        at = slot->coarse >> g & 1u ? add_coarse(slot->bytes, at + 2, mask, each, into + GROUP * g)
                                    : add_group(slot->bytes, at + 2, mask, each, into + GROUP * g);
    }
}
