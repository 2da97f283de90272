/* meter.c -- families and series: see gdp/meter.h. */
#include <stdio.h>
#include <string.h>

#include "cells.h"
#include "shared.h"

/* ---- making ---------------------------------------------------------------------------------------------------- */

gdp_meter *gdp_meter_new(uint64_t born_ns)
{
    gdp_meter *m = gdp_alloc(sizeof *m);
    if (!m) return NULL;
    if (pthread_mutex_init(&m->adding, NULL)) {
        gdp_free(m);
        return NULL;
    }
    m->born_ns = born_ns;
    m->bytes = sizeof *m;
    return m;
}

static char *copied(gdp_family *f, const char *s)
{
    const size_t n = strlen(s) + 1;
    char *copy = gdp_alloc(n);
    if (copy) memcpy(copy, s, n);
    f->meter->bytes += n;
    return copy;
}

/* 0.5 and 0.00138107: a power of two in full, others to six digits, as the bound is irrational. */
static void write_bound(char text[28], double bound, bool exact)
{
    snprintf(text, 28, exact ? "%.17g" : "%.6g", bound);
    for (char *c = text; *c; c++)
        if (*c == ',') *c = '.'; /* whatever the locale */
    if (!strpbrk(text, ".e")) strcat(text, ".0");
}

static int clamped(int k, const gdp_scale *s)
{
    const int hi = s->lo + s->octaves;
    return k < s->lo ? s->lo : k > hi ? hi : k;
}

static bool make_rungs(gdp_family *f, const gdp_family_spec *spec)
{
    int first = spec->rung_first, last = spec->rung_last, step = spec->rung_step;
    if (!step) { /* latencies from 1 ms to 256 s; what begins at 1 and counts, to its end */
        first = 16 * clamped(-10, &f->scale);
        last = 16 * (f->scale.lo < 0 ? clamped(8, &f->scale) : clamped(64, &f->scale));
        step = 16;
    }
    f->n_rungs = (uint32_t)((last - first) / step) + 1;
    f->rungs = gdp_alloc(f->n_rungs * sizeof *f->rungs);
    if (!f->rungs) return false;
    f->meter->bytes += f->n_rungs * sizeof *f->rungs;
    for (uint32_t i = 0; i < f->n_rungs; i++) {
        const int k = first + (int)i * step;
        f->rungs[i].bucket = (uint32_t)(k - 16 * f->scale.lo);
        write_bound(f->rungs[i].text, gdp_scale_bound(&f->scale, f->rungs[i].bucket), k % 16 == 0);
    }
    return true;
}

static bool furnish(gdp_family *f, const gdp_family_spec *spec)
{
    f->kind = spec->kind;
    f->window = spec->window;
    f->n_labels = spec->n_labels;
    f->series_max = spec->series_max ? spec->series_max : GDP_SERIES_MAX;
    f->n_name = (uint32_t)strlen(spec->name);
    f->name = copied(f, spec->name);
    f->help = copied(f, spec->help);
    f->unit = copied(f, spec->unit ? spec->unit : "");
    bool all = f->name && f->help && f->unit;
    for (uint32_t i = 0; i < f->n_labels; i++) all = (f->labels[i] = copied(f, spec->labels[i])) && all;
    if (!all || f->kind != GDP_HISTOGRAM) return all;
    gdp_spec_scale(spec, &f->scale);
    return make_rungs(f, spec);
}

static void free_family(gdp_family *f)
{
    for (gdp_series *s = f->series, *next; s; s = next) {
        next = s->next;
        for (gdp_cell *c = s->cells, *after; c; c = after) {
            after = c->next;
            gdp_free(c);
        }
        gdp_free(s);
    }
    for (uint32_t i = 0; i < f->n_labels; i++) gdp_free(f->labels[i]);
    gdp_free(f->name);
    gdp_free(f->help);
    gdp_free(f->unit);
    gdp_free(f->rungs);
    gdp_free(f);
}

static gdp_family *add_family(gdp_meter *m, const gdp_family_spec *spec, const char **why)
{
    if ((*why = gdp_spec_wrong(m, spec))) return NULL;
    const uint64_t before = m->bytes;
    gdp_family *f = gdp_alloc(sizeof *f);
    if (f) f->meter = m;
    m->bytes += sizeof *f;
    if (!f || !furnish(f, spec)) {
        if (f) free_family(f);
        m->bytes = before;
        *why = "OutOfMemory";
        return NULL;
    }
    GDP_RELEASE(m->last ? &m->last->next : &m->families, f);
    return m->last = f;
}

gdp_family *gdp_meter_family(gdp_meter *m, const gdp_family_spec *spec, const char **why)
{
    pthread_mutex_lock(&m->adding);
    gdp_family *f = add_family(m, spec, why);
    pthread_mutex_unlock(&m->adding);
    return f;
}

/* ---- series ---------------------------------------------------------------------------------------------------- */

/* The labels as on the page into `to`, which may be NULL; their length. */
static size_t write_labels(const gdp_family *f, const char *const *values, char *to)
{
    size_t n = 0;
#define PUT(c) ((void)(to && (to[n] = (c))), n++)
    for (uint32_t i = 0; i < f->n_labels; i++) {
        if (i) PUT(',');
        for (const char *c = f->labels[i]; *c; c++) PUT(*c);
        PUT('='), PUT('"');
        for (const char *c = values[i]; *c; c++) {
            if (*c == '\\' || *c == '"' || *c == '\n') PUT('\\');
            PUT(*c == '\n' ? 'n' : *c);
        }
        PUT('"');
    }
#undef PUT
    return n;
}

static gdp_series *known(const gdp_family *f, const gdp_series *wanted)
{
    for (gdp_series *s = f->series; s; s = s->next)
        if (s->n_text == wanted->n_text && !memcmp(s->text, wanted->text, s->n_text)) return s;
    return NULL;
}

static gdp_series *add_series(gdp_family *f, const char *const *values, const char **why)
{
    const size_t n = write_labels(f, values, NULL);
    gdp_series *s = n < UINT32_MAX ? gdp_alloc(sizeof *s + n) : NULL;
    *why = "OutOfMemory";
    if (!s) return NULL;
    s->family = f;
    s->n_text = (uint32_t)write_labels(f, values, s->text);
    gdp_series *found = known(f, s);
    if (found || f->n_series == f->series_max) {
        gdp_free(s);
        *why = "TooManySeries: the family is full; give it more series_max, or fewer label values";
        return found;
    }
    f->n_series++;
    GDP_NOTE(&f->meter->bytes, f->meter->bytes + sizeof *s + n);
    GDP_RELEASE(f->last ? &f->last->next : &f->series, s);
    return f->last = s;
}

gdp_series *gdp_family_series(gdp_family *f, const char *const *values, const char **why)
{
    pthread_mutex_lock(&f->meter->adding);
    gdp_series *s = add_series(f, values, why);
    pthread_mutex_unlock(&f->meter->adding);
    return s;
}

void gdp_series_show(gdp_series *s, bool shown)
{
    GDP_NOTE(&s->hidden, !shown);
}

/* ---- the whole ------------------------------------------------------------------------------------------------- */

uint64_t gdp_meter_bytes(const gdp_meter *m)
{
    return GDP_LOOK(&m->bytes);
}

void gdp_meter_free(gdp_meter *m)
{
    if (!m) return;
    for (gdp_family *f = m->families, *next; f; f = next) {
        next = f->next;
        free_family(f);
    }
    pthread_mutex_destroy(&m->adding);
    gdp_free(m);
}
