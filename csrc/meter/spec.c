/* spec.c -- what a family may be: names that every scraper takes, and bounds that its buckets have. */
#include <string.h>

#include "cells.h"

#define DEFAULT_LO (-18)
#define DEFAULT_OCTAVES 30u
#define RUNGS_MAX 128

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name(const char *s, bool colons)
{
    if (!s || (!is_letter(*s) && !(colons && *s == ':'))) return false;
    for (; *s; s++)
        if (!is_letter(*s) && !(*s >= '0' && *s <= '9') && !(colons && *s == ':')) return false;
    return true;
}

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), n_end = strlen(end);
    return n > n_end && memcmp(s + n - n_end, end, n_end) == 0;
}

/* Suffixes that the page adds itself. */
static bool has_own_suffix(const char *name)
{
    static const char *const own[] = {"_total", "_count", "_sum", "_bucket", "_created", "_info"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (ends_with(name, own[i])) return true;
    return false;
}

static const char *wrong_labels(const gdp_family_spec *spec)
{
    if (spec->n_labels > GDP_LABELS_MAX) return "TooManyLabels: a family has at most 8";
    for (uint32_t i = 0; i < spec->n_labels; i++) {
        const char *label = spec->labels[i];
        if (!is_name(label, false) || strncmp(label, "__", 2) == 0 || !strcmp(label, "le") || !strcmp(label, "quantile"))
            return "BadLabelName: a label is [a-zA-Z_][a-zA-Z0-9_]*, not __*, le or quantile";
        for (uint32_t j = 0; j < i; j++)
            if (!strcmp(label, spec->labels[j])) return "LabelTwice: each label stands once";
    }
    return NULL;
}

int gdp_spec_scale(const gdp_family_spec *spec, gdp_scale *scale)
{
    return spec->octaves ? gdp_scale_init(scale, spec->lo, spec->octaves)
                         : gdp_scale_init(scale, DEFAULT_LO, DEFAULT_OCTAVES);
}

static const char *wrong_scale(const gdp_family_spec *spec)
{
    gdp_scale scale;
    if (gdp_spec_scale(spec, &scale)) return "BadRange: give 1 to 30 powers of two between 2^-64 and 2^64";
    if (!spec->rung_step) return NULL;
    const int lo = 16 * scale.lo, hi = lo + 16 * scale.octaves;
    if (spec->rung_step < 0 || spec->rung_first < lo || spec->rung_last > hi || spec->rung_first > spec->rung_last ||
        (spec->rung_last - spec->rung_first) / spec->rung_step >= RUNGS_MAX)
        return "BadBuckets: classic buckets lie within the range, at most 128, in ascending order";
    return NULL;
}

const char *gdp_spec_wrong(const gdp_meter *m, const gdp_family_spec *spec)
{
    if (!is_name(spec->name, true)) return "BadMetricName: a name is [a-zA-Z_:][a-zA-Z0-9_:]*";
    if (has_own_suffix(spec->name)) return "BadMetricName: _total, _count, _sum, _bucket, _created, _info are added by the page";
    if (!spec->help) return "NoHelp: say what the metric measures";
    if (spec->unit && *spec->unit && (!is_name(spec->unit, true) || !ends_with(spec->name, spec->unit) ||
                                      spec->name[strlen(spec->name) - strlen(spec->unit) - 1] != '_'))
        return "BadUnit: the name ends with _ and the unit";
    if ((unsigned)spec->kind > GDP_HISTOGRAM) return "BadKind: there are counters, gauges and histograms";
    if (spec->window && spec->kind == GDP_GAUGE) return "BadKind: a gauge has no window";
    for (const gdp_family *f = m->families; f; f = f->next)
        if (!strcmp(f->name, spec->name)) return "NameTaken: there is a family of this name";
    const char *why = wrong_labels(spec);
    return why || spec->kind != GDP_HISTOGRAM ? why : wrong_scale(spec);
}
