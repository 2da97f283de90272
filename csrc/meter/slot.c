/* slot.c -- see gdp/meter_slot.h. */
#include "gdp/meter_slot.h"

#include <assert.h>
#include <string.h>

#define GROUP 16u
#define GROUPS ((GDP_BUCKETS_MAX + GROUP - 1) / GROUP)
#define LEVELS 3u
#define EXACT 16u   /* counts below this are their own code */
#define CODES 0xffu /* the largest code */
#define COUNT_MAX (31u << 14)

static_assert(sizeof(gdp_slot) == 224, "256 of them must leave room for the rest within 64 KiB");
static_assert(GROUPS * GROUP <= GDP_SLOT_ROOM && GROUPS <= 32, "groups are bits of a word");
static_assert(GROUPS * (2 + GROUP / 4) <= GDP_SLOT_BYTES, "level 2 always fits");

/* Bits of a group's mask that may be set: the first bucket of each 2^level. */
static const uint16_t HEADS[4] = {0xffff, 0x5555, 0x1111, 0x0101};

/* ---- counts as 4 + 4 bit floats: m, then (16 + m) << (e - 1) ------------------------------------------------- */

#define ROW(e) 16 << e, 17 << e, 18 << e, 19 << e, 20 << e, 21 << e, 22 << e, 23 << e, \
               24 << e, 25 << e, 26 << e, 27 << e, 28 << e, 29 << e, 30 << e, 31 << e
/* PERF: a table of doubles; shifting and converting took 1.9 ns per bucket, this 0.9. */
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

/* PERF: a series is packed once a second, and most groups are empty: 1.7 us without a look at the whole group first. */
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

/* The bits of each 2^level neighbours, or-ed into their first. */
static unsigned folded(unsigned mask, unsigned level)
{
    for (unsigned l = 0; l < level; l++) mask |= mask >> (1u << l);
    return mask & HEADS[level];
}

static unsigned fitting_level(const uint16_t *masks, uint32_t groups)
{
    for (unsigned level = 0; level < LEVELS - 1; level++) {
        uint32_t bytes = 0;
        for (uint32_t g = 0; g < groups; g++)
            if (masks[g]) bytes += 2 + (uint32_t)__builtin_popcount(folded(masks[g], level));
        if (bytes <= GDP_SLOT_BYTES) return level;
    }
    return LEVELS - 1;
}

/* Counts of so many buckets from `at`, as one. */
static uint64_t together(const uint32_t *counts, uint32_t n, uint32_t at, uint32_t span)
{
    if (span == 1) return counts[at];
    uint64_t sum = 0;
    for (uint32_t i = at; i < at + span && i < n; i++) sum += counts[i];
    return sum;
}

/* By how much to scale, so that the largest fits a code. */
static unsigned fitting_shift(const uint32_t *counts, uint32_t n, uint32_t span, uint32_t any)
{
    uint64_t most = 0;
    if ((uint64_t)any * span <= COUNT_MAX) return 0; /* no count is larger than all of them or-ed */
    for (uint32_t i = 0; i < n; i += span) {
        const uint64_t count = together(counts, n, i, span);
        if (count > most) most = count;
    }
    unsigned shift = 0;
    while (most >> shift > COUNT_MAX) shift++;
    return shift;
}

void gdp_slot_pack(gdp_slot *slot, const uint32_t *counts, uint32_t n)
{
    uint16_t masks[GROUPS];
    assert(n <= GDP_BUCKETS_MAX);
    uint32_t any;
    const uint32_t groups = masks_of(counts, n, masks, &any);
    const unsigned level = fitting_level(masks, groups), span = 1u << level;
    const unsigned shift = fitting_shift(counts, n, span, any);
    const uint64_t half = (1ull << shift) >> 1;
    uint64_t total = 0;
    uint32_t at = 0;
    memset(slot, 0, sizeof *slot);
    for (uint32_t g = 0; g < groups; g++) {
        unsigned mask = folded(masks[g], level);
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
    slot->level = (uint8_t)level;
    slot->shift = (uint8_t)shift;
    slot->count = total > UINT32_MAX ? UINT32_MAX : (uint32_t)total;
}

/* ---- unpacking ----------------------------------------------------------------------------------------------- */

/* One group at level 0, which nearly all are; returns where the next begins. */
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

static uint32_t add_coarse(const uint8_t *bytes, uint32_t at, unsigned mask, unsigned span, double each, double *group)
{
    for (; mask && at < GDP_SLOT_BYTES; mask &= mask - 1) {
        double *bucket = group + (unsigned)__builtin_ctz(mask);
        const double count = each * DECODED[bytes[at++]];
        for (unsigned i = 0; i < span; i++) bucket[i] += count;
    }
    return at;
}

void gdp_slot_unpack(const gdp_slot *slot, double weight, double into[GDP_SLOT_ROOM])
{
    const unsigned level = slot->level & 3u, span = 1u << level;
    const double each = weight * (double)(1ull << (slot->shift & 31u)) / (double)span;
    uint32_t at = 0;
    for (uint32_t groups = slot->groups; groups && at + 2 <= GDP_SLOT_BYTES; groups &= groups - 1) {
        double *group = into + GROUP * (unsigned)__builtin_ctz(groups);
        const unsigned mask = (slot->bytes[at] | (unsigned)slot->bytes[at + 1] << 8) & HEADS[level];
        at = level ? add_coarse(slot->bytes, at + 2, mask, span, each, group)
                   : add_group(slot->bytes, at + 2, mask, each, group);
    }
}
