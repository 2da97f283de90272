/* meter_cases.h -- what is measured, in loops: see cases.h. */
#ifndef GDP_BENCH_METER_CASES_H
#define GDP_BENCH_METER_CASES_H

#include <stdbool.h>
#include <stdint.h>

/* One series under steady load: so many observations a second of a log-normal (median 18 ms), for 1,000 s. */
typedef struct gdp_metered gdp_metered;
gdp_metered *gdp_metered_new(bool window, uint32_t per_second); /* NULL: out of memory */
void gdp_metered_free(gdp_metered *x);

/* Loops; 0 when a question was not answered. */
uint64_t gdp_case_meter_observe(gdp_metered *x, uint32_t rounds); /* seconds end meanwhile */
uint64_t gdp_case_meter_add(gdp_metered *x, uint32_t rounds);
uint64_t gdp_case_meter_quantile(gdp_metered *x, uint32_t window_s, uint32_t rounds);
uint64_t gdp_case_meter_rate(gdp_metered *x, uint32_t window_s, uint32_t rounds);

#endif
