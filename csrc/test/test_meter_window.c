/* test_meter_window.c -- windows against a list of everything that was ever observed. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "gdp/meter.h"
#include "test.h"

void gdp_test_meter_window(void);
void gdp_test_meter_clock(void);
void gdp_test_meter_quantile(void);
void gdp_test_meter_storm(void);
void gdp_bench_meter_window(void);

#define S GDP_SECOND_NS

/* One series with a window, as histogram and as counter, and its twin: a list. */
typedef struct {
    uint64_t at;
    double value;
} event;

typedef struct {
    gdp_meter *m;
    gdp_series *spread, *sums;
    gdp_histogram *h;
    gdp_counter *c;
    event *events;
    size_t n, room;
} twin;

static gdp_series *series_of(gdp_meter *m, const char *name, gdp_kind kind, bool window)
{
    const char *why;
    const gdp_family_spec spec = {.name = name, .help = "h", .kind = kind, .window = window};
    gdp_family *f = gdp_meter_family(m, &spec, &why);
    CHECK(f);
    gdp_series *s = gdp_family_series(f, NULL, &why);
    CHECK(s);
    return s;
}

static twin twin_new(uint64_t born_ns)
{
    twin t = {.m = gdp_meter_new(born_ns), .room = 1 << 20};
    CHECK(t.m);
    t.spread = series_of(t.m, "spread", GDP_HISTOGRAM, true);
    t.sums = series_of(t.m, "sums", GDP_COUNTER, true);
    t.h = gdp_series_histogram(t.spread);
    t.c = gdp_series_counter(t.sums);
    t.events = malloc(t.room * sizeof *t.events);
    CHECK(t.h && t.c && t.events);
    return t;
}

static void twin_free(twin *t)
{
    gdp_meter_free(t->m);
    free(t->events);
}

static void observe(twin *t, double value, uint64_t now)
{
    gdp_histogram_observe(t->h, value, now);
    gdp_counter_add(t->c, value, now);
    CHECK(t->n < t->room);
    t->events[t->n++] = (event){now, value};
}

/* What lies surely inside, and what may: the share of the oldest slot is an estimate. */
static void compare(const twin *t, uint64_t now, uint32_t window_s)
{
    const uint64_t from = now > window_s * S ? now - window_s * S : 0, slack = window_s > 118 ? 10 * S : S;
    double least = 0, most = 0, least_sum = 0, most_sum = 0;
    for (size_t i = t->n; i-- > 0;) {
        const event *e = &t->events[i];
        if (e->at + slack < from) break; /* in order of time */
        if (e->at >= (from + slack - 1) / slack * slack) least++, least_sum += e->value;
        if (e->at >= from / slack * slack) most++, most_sum += e->value;
    }
    static gdp_view spread, sums;
    memset(&spread, 0, sizeof spread), memset(&sums, 0, sizeof sums);
    CHECK(gdp_series_view(t->spread, now, window_s, &spread) > 0);
    CHECK(gdp_series_view(t->sums, now, window_s, &sums) > 0);
    CHECK(spread.count >= least - 1e-6 && spread.count <= most + 1e-6);
    CHECK(spread.sum >= least_sum * (1 - 1e-9) && spread.sum <= most_sum * (1 + 1e-9) + 1e-12);
    CHECK(fabs(spread.count - sums.count) < 1e-6 && fabs(spread.sum - sums.sum) <= 1e-9 * most_sum);
}

static void windows_hold_what_the_list_holds(uint64_t born)
{
    twin t = twin_new(born);
    uint64_t random = 13, now = born;
    for (int i = 0; i < 30000; i++) {
        now += gdp_random(&random) % 100 ? gdp_random(&random) % 200000000u : gdp_random(&random) % 60 * S;
        observe(&t, exp2(-12 + 18 * (gdp_random(&random) / 4294967296.0)), now);
        if (i % 10 == 0) {
            const uint64_t later = gdp_random(&random) % 3 ? 0 : gdp_random(&random) % 1000 * S / 3;
            compare(&t, now + later, 1 + gdp_random(&random) % (gdp_random(&random) % 2 ? 30 : 900));
        }
    }
    twin_free(&t);
}

/* Steady load: the rate is the rate, for every window, at every moment of a second. */
static void a_steady_rate_has_no_steps(void)
{
    twin t = twin_new(0);
    uint64_t now = 0;
    for (int i = 0; i < 1000 * 100; i++) observe(&t, 0.02, now += S / 100);
    for (uint32_t w = 1; w <= 900; w++)
        for (int step = 0; step < 3; step++) {
            gdp_view v = {.count = 0};
            const double span = gdp_series_view(t.sums, now, w, &v);
            CHECK(span == w && fabs(v.count / span - 100) <= 1.01);
        }
    twin_free(&t);
}

void gdp_test_meter_window(void)
{
    windows_hold_what_the_list_holds(0);
    windows_hold_what_the_list_holds(123456789 * S + 5);
    windows_hold_what_the_list_holds((1ull << 32) * S - 3000 * S); /* the 32-bit stamps turn over on the way */
    a_steady_rate_has_no_steps();
}

/* ---- clocks -------------------------------------------------------------------------------------------------------- */

static double count_of(const twin *t, uint64_t now, uint32_t window_s)
{
    static gdp_view v;
    memset(&v, 0, sizeof v);
    CHECK(gdp_series_view(t->spread, now, window_s, &v) > 0);
    static gdp_view sums;
    memset(&sums, 0, sizeof sums);
    CHECK(gdp_series_view(t->sums, now, window_s, &sums) > 0 && sums.count == v.count);
    return v.count;
}

static void an_idle_window_is_empty_without_being_cleared(void)
{
    twin t = twin_new(0);
    for (uint64_t s = 0; s < 2000; s++) observe(&t, 1, s * S);
    CHECK(count_of(&t, 2000 * S, 900) == 900);
    CHECK(count_of(&t, 2900 * S, 900) == 0 && count_of(&t, 100000 * S, 900) == 0);
    observe(&t, 1, 100000 * S);
    CHECK(count_of(&t, 100000 * S, 900) == 1);
    gdp_histogram_observe_ns(t.h, S / 2, 100000 * S), gdp_counter_add(t.c, 0.5, 100000 * S);
    CHECK(count_of(&t, 100000 * S, 1) == 2);
    CHECK(count_of(&t, 100000 * S + S - 1, 1) == 2 && count_of(&t, 100002 * S, 1) == 0);
    twin_free(&t);
}

static void a_clock_that_is_a_little_late_counts_in_the_open_second(void)
{
    twin t = twin_new(0);
    observe(&t, 1, 1000 * S);
    gdp_histogram_observe(t.h, 1, 998 * S), gdp_counter_add(t.c, 1, 998 * S);
    CHECK(count_of(&t, 1000 * S, 60) == 2);
    CHECK(count_of(&t, 990 * S, 60) == 2); /* so may a reader's be */
    twin_free(&t);
}

static void a_clock_that_goes_back_begins_anew(void)
{
    twin t = twin_new(0);
    for (uint64_t s = 5000; s < 6000; s++) observe(&t, 1, s * S);
    observe(&t, 1, 3000 * S);
    CHECK(count_of(&t, 3000 * S, 900) == 1);
    /* and when the time of the old slots comes again, they do not */
    for (uint64_t s = 3001; s < 5990; s += 500) observe(&t, 1, s * S);
    CHECK(count_of(&t, 5999 * S, 120) == 0 && count_of(&t, 5999 * S, 900) < 3);
    CHECK(gdp_series_value(t.spread) == 1000 + 1 + 6); /* what was counted stays counted */
    twin_free(&t);
}

static void a_clock_that_jumps_ahead_leaves_old_slots_behind(void)
{
    twin t = twin_new(0);
    for (uint64_t s = 0; s < 300; s++) observe(&t, 1, s * S);
    observe(&t, 1, (1ull << 32) * S + 300 * S); /* stamps alone could not tell */
    CHECK(count_of(&t, (1ull << 32) * S + 300 * S, 900) == 1);
    twin_free(&t);
}

static void a_young_meter_divides_by_its_age(void)
{
    twin t = twin_new(100 * S);
    for (unsigned i = 0; i < 50; i++) observe(&t, 1, 100 * S + i * S / 10);
    gdp_view v = {.count = 0};
    CHECK(gdp_series_view(t.sums, 105 * S, 60, &v) == 5 && v.count == 50);
    CHECK(gdp_series_view(t.sums, 100 * S + 1, 60, &v) == 1); /* not by nothing */
    CHECK(gdp_series_view(t.sums, 99 * S, 60, &v) == 1);
    CHECK(gdp_series_view(t.sums, 105 * S, 0, &v) == GDP_BAD && gdp_series_view(t.sums, 105 * S, 901, &v) == GDP_BAD);
    twin_free(&t);
}

static void counts_stop_at_their_end(void)
{
    twin t = twin_new(0);
    for (int i = 0; i < 3; i++) gdp_histogram_observe_times(t.h, 1, UINT32_MAX, 5 * S);
    gdp_histogram_observe_times(t.h, 2, 1, 5 * S);
    static gdp_view v;
    memset(&v, 0, sizeof v);
    CHECK(gdp_series_view(t.spread, 5 * S, 10, &v) > 0 && v.count == UINT32_MAX + 1.0);
    gdp_histogram_observe_times(t.h, 1, UINT32_MAX, 6 * S);
    gdp_histogram_observe_times(t.h, 1, 7, 17 * S);
    memset(&v, 0, sizeof v);
    CHECK(gdp_series_view(t.spread, 17 * S, 20, &v) > 0 && fabs(v.count / (2.0 * UINT32_MAX) - 1) < 0.51);
    CHECK(gdp_series_value(t.spread) == 4.0 * UINT32_MAX + 8); /* 64 bits do not */
    twin_free(&t);
}

void gdp_test_meter_clock(void)
{
    an_idle_window_is_empty_without_being_cleared();
    a_clock_that_is_a_little_late_counts_in_the_open_second();
    a_clock_that_goes_back_begins_anew();
    a_clock_that_jumps_ahead_leaves_old_slots_behind();
    a_young_meter_divides_by_its_age();
    counts_stop_at_their_end();
}

/* ---- quantiles ------------------------------------------------------------------------------------------------------ */

typedef double draw(uint64_t *random, unsigned i);

static double uniform(uint64_t *random)
{
    return (gdp_random(random) + 0.5) / 4294967296.0;
}

static double normal(uint64_t *random)
{
    return sqrt(-2 * log(uniform(random))) * cos(6.283185307179586 * uniform(random));
}

static double log_normal(uint64_t *random, unsigned i) { return (void)i, exp(-1 + normal(random)); }
static double bimodal(uint64_t *random, unsigned i) { return (i % 10 ? 0.03 : 8) * exp(0.2 * normal(random)); }
static double constant(uint64_t *random, unsigned i) { return (void)random, (void)i, 0.0201; }
static double geometric(uint64_t *random, unsigned i) { return (void)i, exp2(-17 + 28 * uniform(random)); }
/* Just above one bound, just under the next: the worst for a bucket's middle. */
static double on_edges(uint64_t *random, unsigned i)
{
    return nextafter(exp2((double)(gdp_random(random) % 160) / 16 - 6), i % 2 ? 100 : 0);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The value at a rank that may be off by a share of the smaller side: counts in slots are within 1/32. */
static void near_exact(const double *sorted, size_t n, double q, double got, double value_off, double rank_off)
{
    const double side = (q < 0.5 ? q : 1 - q) * rank_off;
    const double low = fmax(ceil((q - side) * (double)n) - 1, 0), high = fmax(ceil((q + side) * (double)n) - 1, 0);
    const double least = sorted[(size_t)low], most = sorted[high < (double)n ? (size_t)high : n - 1];
    CHECK(got >= least * (1 - value_off) && got <= most * (1 + value_off));
}

static void quantiles(const char *name, draw *next, unsigned per_second, double value_off)
{
    static const double qs[] = {0, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1};
    const uint64_t born = 780 * S; /* where ten seconds begin: no slot is in the window by a share */
    gdp_case(name);
    twin t = twin_new(born);
    uint64_t random = 17;
    const unsigned n = 600 * per_second;
    double *sorted = malloc(n * sizeof *sorted);
    CHECK(sorted);
    for (unsigned i = 0; i < n; i++) observe(&t, next(&random, i), born + i * (S / per_second));
    const uint64_t now = t.events[n - 1].at / S * S + S - 1;
    static const unsigned windows[] = {1, 7, 60, 600};
    for (size_t w = 0; w < 4; w++) {
        size_t held = 0;
        for (size_t i = 0; i < n; i++)
            if (t.events[i].at + windows[w] * S > now) sorted[held++] = t.events[i].value;
        qsort(sorted, held, sizeof *sorted, ascending);
        static gdp_view v;
        memset(&v, 0, sizeof v);
        CHECK(gdp_series_view(t.spread, now, windows[w], &v) > 0);
        for (size_t i = 0; i < sizeof qs / sizeof *qs; i++)
            near_exact(sorted, held, qs[i], gdp_view_quantile(&v, gdp_series_scale(t.spread), qs[i]), value_off,
                       1 / 32.0 + 1.0 / (double)held);
    }
    free(sorted);
    twin_free(&t);
    gdp_case(NULL);
}

void gdp_test_meter_quantile(void)
{
    quantiles("log-normal", log_normal, 1000, 0.0219);
    quantiles("log-normal, few", log_normal, 3, 0.0219);
    quantiles("bimodal", bimodal, 1000, 0.0219);
    quantiles("constant", constant, 100, 0.0219);
    quantiles("edges of buckets", on_edges, 500, 0.0219);
    quantiles("all there is", geometric, 1000, 0.19); /* 28 octaves in each second: packed coarser */
    gdp_view none = {.count = 0};
    gdp_scale s;
    gdp_scale_init(&s, -18, 30);
    CHECK(isnan(gdp_view_quantile(&none, &s, 0.5)));
}

/* ---- storm: two writers and a reader ------------------------------------------------------------------------------- */

#define TURNS 200000u

typedef struct {
    gdp_histogram *h;
    gdp_counter *c;
    _Atomic uint64_t *clock;
} writer;

/* Every observation is 1, so whatever a reader sees, the sum and the count must agree. */
static void *write_on(void *arg)
{
    writer *w = arg;
    for (unsigned i = 0; i < TURNS; i++) {
        const uint64_t now = atomic_fetch_add(w->clock, S / 50); /* a second in 50 calls: closing all the time */
        gdp_histogram_observe(w->h, 1, now);
        gdp_counter_add(w->c, 1, now);
    }
    return NULL;
}

static void read_once(gdp_series *spread, gdp_series *sums, uint64_t now, double *before)
{
    static gdp_view v;
    memset(&v, 0, sizeof v);
    CHECK(gdp_series_view(spread, now, 60, &v) == 60);
    double held = 0;
    for (uint32_t i = 0; i < GDP_BUCKETS_MAX; i++) held += v.bucket[i];
    /* Never torn. The few that were noted between two loads may show in one of the figures only; a writer that was
     * not let run for long may have its clock late, so nothing is said of how many there are. */
    CHECK(fabs(v.sum - v.count) <= 120 && fabs(held - v.count) <= 0.04 * v.count + 120);
    memset(&v, 0, sizeof v);
    CHECK(gdp_series_view(sums, now, 60, &v) == 60 && fabs(v.sum - v.count) <= 120);
    const double value = gdp_series_value(spread);
    CHECK(value >= *before);
    *before = value;
}

void gdp_test_meter_storm(void)
{
    _Atomic uint64_t clock = 1000 * S;
    gdp_meter *m = gdp_meter_new(0);
    gdp_series *spread = series_of(m, "spread", GDP_HISTOGRAM, true), *sums = series_of(m, "sums", GDP_COUNTER, true);
    pthread_t threads[2];
    writer w[2];
    for (int i = 0; i < 2; i++) {
        w[i] = (writer){gdp_series_histogram(spread), gdp_series_counter(sums), &clock};
        CHECK(pthread_create(&threads[i], NULL, write_on, &w[i]) == 0);
    }
    double seen = 0;
    while (seen < 2.0 * TURNS) read_once(spread, sums, atomic_load(&clock), &seen);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    CHECK(gdp_series_value(spread) == 2.0 * TURNS && gdp_series_value(sums) == 2.0 * TURNS);
    gdp_meter_free(m);
}

/* ---- cost ---------------------------------------------------------------------------------------------------------- */

typedef struct {
    twin t;
    uint64_t now;
    double values[1024];
    unsigned i;
    uint32_t window_s;
    double got;
    gdp_view view;
} load;

static void observe_plain(void *arg)
{
    load *l = arg;
    gdp_histogram_observe(l->t.h, l->values[l->i++ % 1024], l->now += 100000);
}

static void add_plain(void *arg)
{
    load *l = arg;
    gdp_counter_add(l->t.c, l->values[l->i++ % 1024], l->now += 100000);
}

static void ask_quantile(void *arg)
{
    load *l = arg;
    memset(&l->view, 0, sizeof l->view);
    gdp_series_view(l->t.spread, l->now, l->window_s, &l->view);
    l->got = gdp_view_quantile(&l->view, gdp_series_scale(l->t.spread), 0.99);
}

static void ask_rate(void *arg)
{
    load *l = arg;
    l->view.count = l->view.sum = 0;
    l->got = l->view.count / gdp_series_view(l->t.sums, l->now, l->window_s, &l->view);
}

void gdp_bench_meter_window(void)
{
    static load l;
    uint64_t random = 19;
    l.t = twin_new(0);
    for (unsigned i = 0; i < 1024; i++) l.values[i] = exp(-4 + normal(&random));
    gdp_series *plain = series_of(l.t.m, "plain", GDP_HISTOGRAM, false);
    gdp_histogram *windowed = l.t.h;
    l.t.h = gdp_series_histogram(plain);
    gdp_bench_row("histogram_observe", 0, gdp_bench_ns(observe_plain, &l));
    l.t.h = windowed;
    gdp_bench_row("histogram_observe, windowed, 10,000/s", 0, gdp_bench_ns(observe_plain, &l));
    gdp_bench_row("counter_add, windowed", 0, gdp_bench_ns(add_plain, &l));
    for (unsigned i = 0; i < 900 * 1000; i++)
        gdp_counter_add(l.t.c, 1, l.now), gdp_histogram_observe(l.t.h, exp(-4 + normal(&random)), l.now += S / 1000);
    static const uint32_t windows[] = {10, 60, 300, 900};
    for (size_t w = 0; w < 4; w++) {
        char name[64];
        l.window_s = windows[w];
        snprintf(name, sizeof name, "quantile of %u s, 1,000/s", windows[w]);
        gdp_bench_row(name, 0, gdp_bench_ns(ask_quantile, &l));
        snprintf(name, sizeof name, "rate of %u s", windows[w]);
        gdp_bench_row(name, 0, gdp_bench_ns(ask_rate, &l));
    }
    twin_free(&l.t);
}
