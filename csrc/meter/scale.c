/* scale.c -- see gdp/meter_scale.h. */
#include "gdp/meter_scale.h"

#include <math.h>

/* The doubles nearest to 2^(k/16), as Prometheus has them. */
const uint64_t gdp_scale_edge[17] = {
    0x0, 0xb5586cf9890f, 0x172b83c7d517b, 0x2387a6e756238, 0x306fe0a31b715, 0x3dea64c123422,
    0x4bfdad5362a27, 0x5ab07dd485429, 0x6a09e667f3bcd, 0x7a11473eb0187, 0x8ace5422aa0db, 0x9c49182a3f090,
    0xae89f995ad3ad, 0xc199bdd85529c, 0xd5818dcfba487, 0xea4afa2a490da, 0x10000000000000,
};

/* step[t]: how many of these are under t/128. The next one is the only one that may lie within the same 1/128. */
const uint8_t gdp_scale_step[128] = {
    0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4,
    4, 5, 5, 5, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7, 8, 8,
    8, 8, 8, 8, 8, 8, 9, 9, 9, 9, 9, 9, 9, 9, 10, 10, 10, 10, 10, 10, 10, 10, 11, 11,
    11, 11, 11, 11, 11, 11, 11, 12, 12, 12, 12, 12, 12, 12, 12, 12, 13, 13, 13, 13, 13, 13, 13, 13,
    13, 14, 14, 14, 14, 14, 14, 14, 14, 14, 14, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 16, 16,
    16, 16, 16, 16, 16, 16, 16, 16,
};

int gdp_scale_init(gdp_scale *s, int lo, unsigned octaves)
{
    if (lo < -64 || octaves < 1 || octaves > GDP_SCALE_OCTAVES || lo + (int)octaves > 64) return GDP_BAD;
    s->lo = (int16_t)lo;
    s->octaves = (uint16_t)octaves;
    s->buckets = octaves * GDP_SCALE_STEPS + 2;
    s->low = ldexp(1, lo);
    s->high = ldexp(1, lo + (int)octaves);
    return 0;
}

double gdp_scale_bound(const gdp_scale *s, unsigned bucket)
{
    if (bucket + 1 >= s->buckets) return INFINITY;
    const uint64_t bits = 1023ull << 52 | gdp_scale_edge[bucket % GDP_SCALE_STEPS];
    double within;
    memcpy(&within, &bits, sizeof within);
    return ldexp(within, s->lo + (int)(bucket / GDP_SCALE_STEPS));
}

double gdp_scale_value(const gdp_scale *s, unsigned bucket)
{
    if (bucket == 0) return 0;
    if (bucket + 1 >= s->buckets) return s->high;
    return sqrt(gdp_scale_bound(s, bucket - 1) * gdp_scale_bound(s, bucket));
}
