/* hist.h -- a log-linear histogram of nanoseconds: 64 cells per power of two, so a quantile is true to 0.8 %. */
#ifndef GDP_BENCH_HIST_H
#define GDP_BENCH_HIST_H

#include <stdint.h>

#define GDP_HIST_CELLS (64 * 59)

typedef struct gdp_hist {
    uint64_t n, sum, max;
    uint64_t cell[GDP_HIST_CELLS];
} gdp_hist;

void gdp_hist_add(gdp_hist *h, uint64_t value);
double gdp_hist_quantile(const gdp_hist *h, double q); /* 0 when nothing was added */

#endif
