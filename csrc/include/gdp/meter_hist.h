/* meter_hist.h -- a histogram of fixed shape for one thread's own use: no series, no window.
 *
 * Bucket i holds values in (2^((i-1)/16), 2^(i/16)] microseconds-from-1, kept for 1 us .. 2^32 us (71 min); what is
 * outside falls into the first or last bucket. One writer per histogram; readers copy with relaxed loads, so a copy
 * may be a few observations apart between its fields, never torn within one. */
#ifndef GDP_METER_HIST_H
#define GDP_METER_HIST_H

#include "gdp/base.h"

#define GDP_HIST_BUCKETS (32 * 16 + 1)

typedef struct {
    uint64_t count;
    uint64_t sum_ns;
    uint64_t bucket[GDP_HIST_BUCKETS];
} gdp_hist;

void gdp_hist_add(gdp_hist *h, uint64_t ns);
/* Upper bound of bucket i in seconds. */
double gdp_hist_bound(unsigned i);
/* Add `from` (being written by its owner) into `into`. */
void gdp_hist_merge(gdp_hist *into, const gdp_hist *from);

#endif
