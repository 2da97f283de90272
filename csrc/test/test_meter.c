/* test_meter.c -- histogram buckets against the logarithm that they stand for. */
#include "gdp/meter.h"

#include <math.h>

#include "test.h"

void gdp_test_meter(void);
void gdp_bench_meter(void);

static unsigned bucket_hit(uint64_t us) {
    static gdp_hist h;
    memset(&h, 0, sizeof h);
    gdp_hist_add(&h, us * 1000);
    CHECK(h.count == 1 && h.sum_ns == us * 1000);
    for (unsigned i = 0; i < GDP_HIST_BUCKETS; i++)
        if (h.bucket[i]) return i;
    return GDP_HIST_BUCKETS;
}

void gdp_test_meter(void)
{
    uint64_t random = 11;
    for (int i = 0; i < 60000; i++) {
        uint64_t us = i < 40000 ? (uint64_t)i : ((uint64_t)gdp_random(&random) >> (gdp_random(&random) % 30)) + 1;
        unsigned k = bucket_hit(us);
        double exact = us > 1 ? log2((double)us) * 16 : 0;
        /* (bound below, bound above]; the table has 16 bits, so next to a bound it may be one off */
        CHECK(k < GDP_HIST_BUCKETS && (double)k >= exact - 0.01 && (double)k < exact + 1.01);
    }
    CHECK(bucket_hit(1ull << 32) == GDP_HIST_BUCKETS - 1 && bucket_hit(1ull << 40) == GDP_HIST_BUCKETS - 1);
    CHECK(fabs(gdp_hist_bound(160) - 1024e-6) < 1e-12);
    static gdp_hist a, b;
    gdp_hist_add(&a, 5000), gdp_hist_add(&b, 5000), gdp_hist_add(&b, 9000000);
    gdp_hist_merge(&a, &b);
    CHECK(a.count == 3 && a.sum_ns == 9010000);
}

static void bench_add(void *arg) {
    static uint64_t ns = 1;
    gdp_hist_add(arg, ns = (ns * 5 + 12345) & 0xffffffffff);
}

void gdp_bench_meter(void)
{
    static gdp_hist h;
    gdp_bench_row("hist_add", 0, gdp_bench_ns(bench_add, &h));
}
