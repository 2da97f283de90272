/* meter.h -- families of series, who writes them, and how they are read.
 *
 *     gdp_meter ── family ── family ── ...              name, help, unit, kind, label names, bounds
 *                    └── series ── series ── ...        one per combination of label values
 *                          └── cell ── cell             one per writing thread
 *
 * A *cell* is where one thread counts: a few loads and stores, no lock, no allocation, nothing shared with another
 * writer. A reader adds up the cells of a series whenever it likes. So a thread makes its cells when it starts and
 * keeps the pointers:
 *
 *     gdp_family *f = gdp_meter_family(m, &spec, &why);
 *     gdp_histogram *h = gdp_series_histogram(gdp_family_series(f, values, &why));
 *     gdp_histogram_observe(h, seconds, now_ns);                              8 ns; with a window 10 ns
 *
 * Families, series and cells are only ever added, and live as long as the meter, so readers follow the lists without a
 * lock. Label sets are bounded: a family refuses series beyond its `series_max`. What has gone (a worker) is hidden
 * from the page, not freed, and shown again when it is back.
 *
 * Bytes (30 octaves): histogram 3.9 KiB, with a window 63.7 KiB; counter 0.1 KiB, with a window 4.2 KiB. Measured by
 * gdp_meter_bytes; tests hold them under 4 and 64 KiB. */
#ifndef GDP_METER_H
#define GDP_METER_H

#include "gdp/meter_hist.h"
#include "gdp/meter_window.h"

#define GDP_LABELS_MAX 8u
#define GDP_SERIES_MAX 1000u  /* of a family, where it does not say otherwise */
#define GDP_OBSERVED_MAX 1e18 /* larger values are taken for this, so that no sum becomes infinite */

typedef struct gdp_meter gdp_meter;
typedef struct gdp_family gdp_family;
typedef struct gdp_series gdp_series;
typedef struct gdp_counter gdp_counter;
typedef struct gdp_gauge gdp_gauge;
typedef struct gdp_histogram gdp_histogram;

typedef enum { GDP_COUNTER, GDP_GAUGE, GDP_HISTOGRAM } gdp_kind;

typedef struct {
    const char *name;  /* base unit at the end; a counter's without _total */
    const char *help;  /* UTF-8 */
    const char *unit;  /* NULL or "": none; else the name ends with _unit */
    gdp_kind kind;
    bool window;       /* counters and histograms: also rates, means, quantiles of the last 1..900 s */
    uint32_t n_labels, series_max; /* 0: GDP_SERIES_MAX */
    const char *labels[GDP_LABELS_MAX];
    /* Histograms. Values from 2^lo to 2^(lo + octaves) are told apart; octaves 0: 2^-18 (3.8 us) to 2^12 (68 min). */
    int lo;
    unsigned octaves;
    /* Classic buckets at 2^(k/16), k from first to last by step; step 0: every power of two from 2^-10 to 2^8 that is
     * within. */
    int rung_first, rung_last, rung_step;
} gdp_family_spec;

/* NULL: out of memory. born_ns: on the clock of the observations; a window does not begin before it. */
gdp_meter *gdp_meter_new(uint64_t born_ns);
void gdp_meter_free(gdp_meter *m);
/* Of all families, series and cells. */
uint64_t gdp_meter_bytes(const gdp_meter *m);

/* NULL, and *why says in one CamelCase word and a sentence what is wrong. Threads may call these three at once. */
gdp_family *gdp_meter_family(gdp_meter *m, const gdp_family_spec *spec, const char **why);
/* The series of these label values (UTF-8, as many as the family has labels): made, or found. */
gdp_series *gdp_family_series(gdp_family *f, const char *const *values, const char **why);
/* A new cell of the series, for one thread. NULL: out of memory, or it is not of this kind. */
gdp_counter *gdp_series_counter(gdp_series *s);
gdp_gauge *gdp_series_gauge(gdp_series *s);
gdp_histogram *gdp_series_histogram(gdp_series *s);
/* Whether the page shows the series. */
void gdp_series_show(gdp_series *s, bool shown);

/* ---- writing: the thread of the cell alone --------------------------------------------------------------------- */

/* by < 0 or not a number: nothing. */
void gdp_counter_add(gdp_counter *c, double by, uint64_t now_ns);
void gdp_gauge_set(gdp_gauge *g, double value);
void gdp_gauge_add(gdp_gauge *g, double by);
/* Less than 0 or not a number: 0. now_ns: ignored without a window. */
void gdp_histogram_observe(gdp_histogram *h, double value, uint64_t now_ns);
/* `times` the same value: the gaps of an event that brought several tokens. */
void gdp_histogram_observe_times(gdp_histogram *h, double value, uint32_t times, uint64_t now_ns);

/* A time that was measured in nanoseconds, into a series of seconds. */
static inline void gdp_histogram_observe_ns(gdp_histogram *h, uint64_t ns, uint64_t now_ns)
{
    gdp_histogram_observe(h, (double)ns * 1e-9, now_ns);
}

/* ---- reading: any thread ---------------------------------------------------------------------------------------- */

const gdp_scale *gdp_series_scale(const gdp_series *s);
/* Counters and gauges: the sum of the cells. Histograms: how many observations. */
double gdp_series_value(const gdp_series *s);
/* Histograms: adds to bucket[scale->buckets] and to *sum; returns how many observations were added. */
uint64_t gdp_series_buckets(const gdp_series *s, uint64_t *bucket, double *sum);
/* Adds what the window (now - window_s, now] holds, so views of several series may be added up. Returns its length
 * in seconds, which is less than window_s while the meter is younger; GDP_BAD where there is no window, or none of that
 * length. */
double gdp_series_view(const gdp_series *s, uint64_t now_ns, uint32_t window_s, gdp_view *into);
/* Within 2.2 % of the value at rank ceil(q * count); NAN of nothing. 0 <= q <= 1. */
double gdp_view_quantile(const gdp_view *v, const gdp_scale *scale, double q);

#endif
