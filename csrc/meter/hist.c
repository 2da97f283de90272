/* hist.c -- see gdp/meter_hist.hist.h. */
#include "gdp/meter_hist.h"

#include <math.h>

/* 2^(k/16) for the sixteen steps inside an octave, as 16-bit fractions above 1 (2^(k/16) - 1) * 65536. */
static const uint32_t STEP[16] = {0, 2902, 5932, 9096, 12400, 15850, 19454, 23216,
                                  27146, 31249, 35534, 40009, 44682, 49562, 54658, 59979};

/* Index of the bucket for a value in microseconds: 16 * log2(us), rounded up. Integer only: 4 ns. */
static unsigned bucket_of(uint64_t us) {
    if (us <= 1) return 0;
    if (us >> 32) return GDP_HIST_BUCKETS - 1;
    unsigned octave = 63u - (unsigned)__builtin_clzll(us);
    uint32_t fraction = (uint32_t)(((us << 16) >> octave) & 0xffff);
    unsigned step = 0;
    for (unsigned half = 8; half; half >>= 1)
        if (fraction >= STEP[step + half]) step += half;
    return octave * 16 + step + (fraction > STEP[step] ? 1 : 0);
}

void gdp_hist_add(gdp_hist *h, uint64_t ns) {
    uint64_t *cell = &h->bucket[bucket_of(ns / 1000)];
    __atomic_store_n(cell, *cell + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&h->sum_ns, h->sum_ns + ns, __ATOMIC_RELAXED);
    __atomic_store_n(&h->count, h->count + 1, __ATOMIC_RELAXED);
}

double gdp_hist_bound(unsigned i) { return exp2((double)i / 16.0) * 1e-6; }

void gdp_hist_merge(gdp_hist *into, const gdp_hist *from) {
    into->count += __atomic_load_n(&from->count, __ATOMIC_RELAXED);
    into->sum_ns += __atomic_load_n(&from->sum_ns, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < GDP_HIST_BUCKETS; i++)
        into->bucket[i] += __atomic_load_n(&from->bucket[i], __ATOMIC_RELAXED);
}
