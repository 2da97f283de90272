/* meter_scale.h -- which bucket a value falls into: log-linear, 16 buckets per power of two.
 *
 *     bucket    0          1                2                       16          17 ...      16*octaves     16*octaves+1
 *     holds  [0, low]  (low, low*r]  (low*r, low*r^2]  ...  (.., 2*low]  (2*low, ..       (.., high]       (high, inf)
 *
 * with r = 2^(1/16), low = 2^lo. In the unit of the series (seconds, tokens) every bound is a bound of Prometheus'
 * native histograms of schema 4, so those need no re-bucketing, and a classic bucket whose bound is one of these
 * counts exactly. A bucket is 4.4 % wide: its geometric middle is within 2.2 % of all it holds.
 *
 * An octave comes from the exponent of the double, the step inside it from the top 7 bits of the mantissa (a table)
 * and one compare with the next bound: exact, no log(). An observation takes 4.4 ns; 5.6 with a search of the bounds. */
#ifndef GDP_METER_SCALE_H
#define GDP_METER_SCALE_H

#include <string.h>

#include "gdp/base.h"

#define GDP_SCALE_STEPS 16u /* schema 4 */
#define GDP_SCALE_OCTAVES 30u
#define GDP_BUCKETS_MAX (GDP_SCALE_OCTAVES * GDP_SCALE_STEPS + 2u)

typedef struct {
    double low, high;
    int16_t lo;       /* low is 2^lo */
    uint16_t octaves; /* high is 2^(lo + octaves) */
    uint32_t buckets; /* 16 * octaves + 2 */
} gdp_scale;

/* -64 <= lo, lo + octaves <= 64, 1 <= octaves <= 30, else GDP_BAD. */
int gdp_scale_init(gdp_scale *s, int lo, unsigned octaves);
/* Upper bound of a bucket; infinity for the last. */
double gdp_scale_bound(const gdp_scale *s, unsigned bucket);
/* What stands for the values of a bucket: 0 for the first, the geometric middle, `high` for the last. */
double gdp_scale_value(const gdp_scale *s, unsigned bucket);

extern const uint8_t gdp_scale_step[128];  /* bounds within an octave under a mantissa with these top bits */
extern const uint64_t gdp_scale_edge[17]; /* mantissa of 2^(k/16); the last is out of reach */

/* value: not NaN. */
static inline unsigned gdp_scale_bucket(const gdp_scale *s, double value)
{
    uint64_t bits;
    if (!(value > s->low)) return 0;
    if (value > s->high) return s->buckets - 1;
    memcpy(&bits, &value, sizeof bits);
    const uint64_t mantissa = bits & ((1ull << 52) - 1);
    const unsigned octave = (unsigned)((int)(bits >> 52) - 1023 - s->lo), step = gdp_scale_step[mantissa >> 45];
    return octave * GDP_SCALE_STEPS + step + (mantissa > gdp_scale_edge[step]);
}

#endif
