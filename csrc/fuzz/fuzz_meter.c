/* fuzz_meter.c -- a life of observations, pauses and clocks that jump, against plain sums; any bytes as a slot.
 *
 * A byte is an operation and what it needs follows it. The model is a list of the last observations: what a window may
 * hold is bounded by what the list says of it, give or take its oldest slot. */
#include <math.h>

#include "fuzz.h"
#include "gdp/meter.h"

int gdp_fuzz_meter(const uint8_t *data, size_t size);

#define S GDP_SECOND_NS
#define EVENTS 512

typedef struct {
    const uint8_t *at, *end;
    gdp_series *spread, *sums;
    gdp_histogram *h;
    gdp_counter *c;
    uint64_t now, began; /* began: when the clock last went back */
    struct {
        uint64_t at;
        double value;
    } events[EVENTS];
    size_t n;
    double total;
    bool odd; /* something that a counter refuses and a histogram takes for 0 */
} life;

static uint32_t take(life *l, unsigned bytes)
{
    uint32_t v = 0;
    for (; bytes && l->at < l->end; bytes--) v = v << 8 | *l->at++;
    return v;
}

static gdp_series *series_of(gdp_meter *m, const char *name, gdp_kind kind)
{
    const char *why;
    const gdp_family_spec spec = {.name = name, .help = "h", .kind = kind, .window = true};
    gdp_family *f = gdp_meter_family(m, &spec, &why);
    FUZZ_CHECK(f);
    return gdp_family_series(f, NULL, &why);
}

static void observe(life *l)
{
    const int e = (int)(take(l, 1) % 60) - 36; /* far below the lowest bucket to far above the highest */
    const double value = ldexp(1 + take(l, 2) / 65536.0, e);
    gdp_histogram_observe(l->h, value, l->now);
    gdp_counter_add(l->c, value, l->now);
    if (l->n < EVENTS) {
        l->events[l->n].at = l->now;
        l->events[l->n++].value = value;
    }
    l->total++;
}

/* Odd values change nothing that is counted in sums, and never make one infinite. */
static void observe_odd(life *l)
{
    static const double odd[] = {NAN, INFINITY, -INFINITY, -0.0, 5e-324, 1.7e308};
    const double value = odd[take(l, 1) % (sizeof odd / sizeof *odd)];
    gdp_view v = {.count = 0};
    gdp_histogram_observe(l->h, value, l->now);
    gdp_counter_add(l->c, value, l->now);
    FUZZ_CHECK(gdp_series_view(l->sums, l->now, 900, &v) > 0 && isfinite(v.sum));
    FUZZ_CHECK(isfinite(gdp_series_value(l->sums)));
    l->total++;
    l->odd = true; /* and these are not in the list */
}

static void compare(life *l, uint32_t window_s)
{
    const uint64_t from = l->now > window_s * S ? l->now - window_s * S : 0, slack = window_s > 118 ? 10 * S : S;
    double least = 0, most = 0;
    gdp_view v = {.count = 0}, sums = {.count = 0};
    FUZZ_CHECK(gdp_series_view(l->spread, l->now, window_s, &v) > 0);
    FUZZ_CHECK(gdp_series_view(l->sums, l->now, window_s, &sums) > 0);
    if (l->odd) return;
    FUZZ_CHECK(fabs(v.count - sums.count) <= 1e-6 * (1 + l->total));
    if (l->total > EVENTS || from < l->began) return;
    for (size_t i = 0; i < l->n; i++) {
        if (l->events[i].at >= (from + slack - 1) / slack * slack) least++;
        if (l->events[i].at >= from / slack * slack) most++;
    }
    FUZZ_CHECK(v.count >= least - 1e-6 && v.count <= most + 1e-6);
}

static void ask(life *l)
{
    const uint32_t window_s = 1 + take(l, 2) % GDP_WINDOW_MAX_S;
    gdp_view v = {.count = 0};
    FUZZ_CHECK(gdp_series_view(l->spread, l->now, window_s, &v) > 0);
    double before = 0;
    for (unsigned i = 0; i <= 10; i++) {
        const double q = gdp_view_quantile(&v, gdp_series_scale(l->spread), i / 10.0);
        FUZZ_CHECK(isnan(q) ? v.count < 1e-6 : q >= before && q <= gdp_series_scale(l->spread)->high);
        if (!isnan(q)) before = q;
    }
    compare(l, window_s);
}

static void pass_time(life *l, unsigned operation)
{
    if (operation == 3) l->now += take(l, 2) * (S / 1000);
    if (operation == 4) l->now += take(l, 2) * S;
    if (operation == 5 && l->now > 400 * S) { /* back: what the window holds until it is over is not the list's */
        l->now -= 3 * S + take(l, 1) * S;
        l->n = 0;
        l->began = l->now + 3 * S;
        observe(l);
    }
    if (operation == 6) l->now += (uint64_t)take(l, 3) * S;
}

static void read_as_slot(const uint8_t *data, size_t size)
{
    static double into[GDP_SLOT_ROOM];
    gdp_slot slot;
    if (size < sizeof slot) return;
    memcpy(&slot, data, sizeof slot);
    memset(into, 0, sizeof into);
    gdp_slot_unpack(&slot, 1, into);
    double all = 0;
    for (size_t i = 0; i < GDP_SLOT_ROOM; i++) all += into[i];
    FUZZ_CHECK(all >= 0 && isfinite(all));
}

int gdp_fuzz_meter(const uint8_t *data, size_t size)
{
    static life l;
    gdp_meter *m = gdp_meter_new(0);
    FUZZ_CHECK(m);
    l = (life){.at = data, .end = data + size, .now = 5000 * S, .spread = series_of(m, "a", GDP_HISTOGRAM)};
    l.sums = series_of(m, "b", GDP_COUNTER);
    l.h = gdp_series_histogram(l.spread);
    l.c = gdp_series_counter(l.sums);
    FUZZ_CHECK(l.h && l.c);
    while (l.at < l.end) {
        const unsigned operation = *l.at++ % 8;
        if (operation < 2) observe(&l);
        if (operation == 2) ask(&l);
        if (operation >= 3 && operation < 7) pass_time(&l, operation);
        if (operation == 7) observe_odd(&l);
    }
    FUZZ_CHECK(gdp_series_value(l.spread) == l.total);
    gdp_meter_free(m);
    read_as_slot(data, size);
    return 0;
}
