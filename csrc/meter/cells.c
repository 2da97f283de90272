/* cells.c -- writing into a cell, and adding up the cells of a series: see gdp/meter.h. */
#include "cells.h"

#include <math.h>

#include "shared.h"

/* ---- making -------------------------------------------------------------------------------------------------- */

/* Readers may find it from now on. */
static void *publish(gdp_series *s, gdp_cell *cell, size_t bytes)
{
    gdp_meter *m = s->family->meter;
    pthread_mutex_lock(&m->adding);
    cell->next = s->cells;
    GDP_RELEASE(&s->cells, cell);
    GDP_NOTE(&m->bytes, m->bytes + bytes);
    pthread_mutex_unlock(&m->adding);
    return cell;
}

gdp_counter *gdp_series_counter(gdp_series *s)
{
    if (s->family->kind != GDP_COUNTER) return NULL;
    const size_t bytes = sizeof(gdp_counter) + (s->family->window ? sizeof(gdp_flow) : 0);
    gdp_counter *c = gdp_alloc(bytes);
    if (!c) return NULL;
    if (s->family->window) c->flow = (gdp_flow *)(c + 1);
    return publish(s, &c->cell, bytes);
}

gdp_gauge *gdp_series_gauge(gdp_series *s)
{
    gdp_gauge *g = s->family->kind == GDP_GAUGE ? gdp_alloc(sizeof *g) : NULL;
    return g ? publish(s, &g->cell, sizeof *g) : NULL;
}

gdp_histogram *gdp_series_histogram(gdp_series *s)
{
    const gdp_family *f = s->family;
    if (f->kind != GDP_HISTOGRAM) return NULL;
    const size_t own = sizeof(gdp_histogram) + f->scale.buckets * sizeof(uint64_t);
    const size_t bytes = own + (f->window ? gdp_window_bytes(f->scale.buckets) : 0);
    gdp_histogram *h = gdp_alloc(bytes);
    if (!h) return NULL;
    h->scale = &f->scale;
    if (f->window) {
        h->window = (gdp_window *)((char *)h + own);
        h->window->buckets = f->scale.buckets;
    }
    return publish(s, &h->cell, bytes);
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

static void flow_add(gdp_flow *f, double value, uint64_t now_ns)
{
    const uint64_t second = now_ns / GDP_SECOND_NS;
    if (GDP_UNLIKELY(second != f->second)) gdp_flow_turn(f, second);
    GDP_NOTE(&f->open.count, gdp_plus(f->open.count, 1));
    gdp_note_f64(&f->open.sum, f->open.sum + value);
}

void gdp_counter_add(gdp_counter *c, double by, uint64_t now_ns)
{
    if (!(by >= 0)) return;
    if (by > GDP_OBSERVED_MAX) by = GDP_OBSERVED_MAX;
    gdp_note_f64(&c->value, c->value + by);
    if (c->flow) flow_add(c->flow, by, now_ns);
}

void gdp_gauge_set(gdp_gauge *g, double value)
{
    gdp_note_f64(&g->value, value);
}

void gdp_gauge_add(gdp_gauge *g, double by)
{
    gdp_note_f64(&g->value, g->value + by);
}

/* `n` times the same value, in one bucket. */
static void window_add(gdp_window *w, unsigned bucket, double value, uint32_t n, uint64_t now_ns)
{
    const uint64_t second = now_ns / GDP_SECOND_NS;
    if (GDP_UNLIKELY(second != w->second)) gdp_window_turn(w, second);
    GDP_NOTE(&w->counts[bucket], gdp_plus(w->counts[bucket], n));
    gdp_note_f64(&w->sum, w->sum + value * n);
}

void gdp_histogram_observe_times(gdp_histogram *h, double value, uint32_t times, uint64_t now_ns)
{
    if (!(value > 0)) value = 0;
    if (value > GDP_OBSERVED_MAX) value = GDP_OBSERVED_MAX;
    const unsigned i = gdp_scale_bucket(h->scale, value);
    GDP_NOTE(&h->bucket[i], h->bucket[i] + times);
    gdp_note_f64(&h->sum, h->sum + value * times);
    if (h->window) window_add(h->window, i, value, times, now_ns);
}

void gdp_histogram_observe(gdp_histogram *h, double value, uint64_t now_ns)
{
    gdp_histogram_observe_times(h, value, 1, now_ns);
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

const gdp_scale *gdp_series_scale(const gdp_series *s)
{
    return &s->family->scale;
}

uint64_t gdp_series_buckets(const gdp_series *s, uint64_t *bucket, double *sum)
{
    uint64_t count = 0;
    if (s->family->kind != GDP_HISTOGRAM) return 0;
    for (const gdp_cell *c = GDP_ACQUIRE(&s->cells); c; c = c->next) {
        const gdp_histogram *h = (const gdp_histogram *)c;
        for (uint32_t i = 0; i < h->scale->buckets; i++) {
            const uint64_t n = GDP_LOOK(&h->bucket[i]);
            bucket[i] += n;
            count += n;
        }
        *sum += gdp_look_f64(&h->sum);
    }
    return count;
}

double gdp_series_value(const gdp_series *s)
{
    double value = 0;
    if (s->family->kind == GDP_HISTOGRAM) {
        uint64_t bucket[GDP_BUCKETS_MAX] = {0};
        return (double)gdp_series_buckets(s, bucket, &value);
    }
    for (const gdp_cell *c = GDP_ACQUIRE(&s->cells); c; c = c->next)
        value += gdp_look_f64(s->family->kind == GDP_COUNTER ? &((const gdp_counter *)c)->value
                                                            : &((const gdp_gauge *)c)->value);
    return value;
}

double gdp_series_view(const gdp_series *s, uint64_t now_ns, uint32_t window_s, gdp_view *into)
{
    const gdp_family *f = s->family;
    const uint64_t age_ns = now_ns > f->meter->born_ns ? now_ns - f->meter->born_ns : 0;
    if (!f->window || window_s < 1 || window_s > GDP_WINDOW_MAX_S) return GDP_BAD;
    for (const gdp_cell *c = GDP_ACQUIRE(&s->cells); c; c = c->next) {
        if (f->kind == GDP_COUNTER)
            gdp_flow_look(((const gdp_counter *)c)->flow, now_ns, window_s, into);
        else
            gdp_window_look(((const gdp_histogram *)c)->window, now_ns, window_s, into);
    }
    /* Less than a second of life says nothing of a rate. */
    if (age_ns >= window_s * GDP_SECOND_NS) return window_s;
    return age_ns > GDP_SECOND_NS ? (double)age_ns / 1e9 : 1;
}

/* In four sums: one would wait for itself. */
static double held(const gdp_view *v)
{
    double a = 0, b = 0, c = 0, d = 0;
    for (uint32_t i = 0; i < GDP_SLOT_ROOM; i += 4)
        a += v->bucket[i], b += v->bucket[i + 1], c += v->bucket[i + 2], d += v->bucket[i + 3];
    return a + b + (c + d);
}

double gdp_view_quantile(const gdp_view *v, const gdp_scale *scale, double q)
{
    const double total = held(v), half = total > 1 ? 0.5 : total / 2;
    if (!(total > 0)) return NAN;
    double rank = q * total * (1 - 1e-12), seen = 0; /* 0.07 of 100 is the 7th, though 0.07 * 100 > 7 */
    if (rank < half) rank = half; /* the least and the greatest are observations, not shares of one */
    if (rank > total - half) rank = total - half;
    uint32_t i = 0;
    while (i + 1 < scale->buckets && (seen += v->bucket[i]) < rank) i++;
    return gdp_scale_value(scale, i);
}
