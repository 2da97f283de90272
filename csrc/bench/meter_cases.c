#include "meter_cases.h"

#include <math.h>
#include <string.h>

#include "gdp/meter.h"

#define VALUES 1024u
#define LIFE_S 1000u

struct gdp_metered {
    gdp_meter *meter;
    gdp_series *spread, *sums;
    gdp_histogram *histogram;
    gdp_counter *counter;
    double values[VALUES];
    uint64_t now_ns, step_ns;
    uint32_t next;
};

static double uniform(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(*state >> 33) + 0.5) / 2147483648.0;
}

static gdp_series *series_of(gdp_meter *m, const char *name, gdp_kind kind, bool window) {
    const char *why;
    const gdp_family_spec spec = {.name = name, .help = "", .kind = kind, .window = window};
    gdp_family *f = gdp_meter_family(m, &spec, &why);
    return f ? gdp_family_series(f, NULL, &why) : NULL;
}

static bool furnish(gdp_metered *x, bool window) {
    x->meter = gdp_meter_new(0);
    if (!x->meter) return false;
    x->spread = series_of(x->meter, "spread", GDP_HISTOGRAM, window);
    x->sums = series_of(x->meter, "sums", GDP_COUNTER, window);
    if (!x->spread || !x->sums) return false;
    x->histogram = gdp_series_histogram(x->spread);
    x->counter = gdp_series_counter(x->sums);
    return x->histogram && x->counter;
}

gdp_metered *gdp_metered_new(bool window, uint32_t per_second) {
    uint64_t state = 1;
    gdp_metered *x = gdp_alloc(sizeof *x);
    if (!x) return NULL;
    if (!furnish(x, window)) {
        gdp_metered_free(x);
        return NULL;
    }
    for (uint32_t i = 0; i < VALUES; i++) {
        const double radius = sqrt(-2 * log(uniform(&state)));
        x->values[i] = exp(-4 + radius * cos(6.283185307179586 * uniform(&state)));
    }
    x->step_ns = GDP_SECOND_NS / per_second;
    for (uint32_t i = 0; i < per_second * LIFE_S; i++) {
        gdp_case_meter_observe(x, 1);
        gdp_counter_add(x->counter, 3, x->now_ns);
    }
    return x;
}

void gdp_metered_free(gdp_metered *x) {
    if (!x) return;
    gdp_meter_free(x->meter);
    gdp_free(x);
}

uint64_t gdp_case_meter_observe(gdp_metered *x, uint32_t rounds) {
    for (uint32_t r = 0; r < rounds; r++)
        gdp_histogram_observe(x->histogram, x->values[x->next++ % VALUES], x->now_ns += x->step_ns);
    return x->now_ns; /* reading the series back would cost as much as a hundred rounds */
}

uint64_t gdp_case_meter_add(gdp_metered *x, uint32_t rounds) {
    for (uint32_t r = 0; r < rounds; r++) gdp_counter_add(x->counter, 3, x->now_ns += x->step_ns);
    return x->now_ns;
}

uint64_t gdp_case_meter_quantile(gdp_metered *x, uint32_t window_s, uint32_t rounds) {
    double sum = 0;
    for (uint32_t r = 0; r < rounds; r++) {
        gdp_view v = {.count = 0};
        if (gdp_series_view(x->spread, x->now_ns, window_s, &v) < window_s) return 0;
        sum += gdp_view_quantile(&v, gdp_series_scale(x->spread), 0.99);
    }
    return sum > 0 ? (uint64_t)(sum * 1e6) : 0;
}

uint64_t gdp_case_meter_rate(gdp_metered *x, uint32_t window_s, uint32_t rounds) {
    double sum = 0;
    for (uint32_t r = 0; r < rounds; r++) {
        gdp_view v;
        v.count = v.sum = 0;
        const double span_s = gdp_series_view(x->sums, x->now_ns, window_s, &v);
        if (span_s < window_s) return 0;
        sum += v.sum / span_s;
    }
    return 1 + (uint64_t)sum;
}
