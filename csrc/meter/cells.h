/* cells.h -- what a family, a series and a cell are made of; only csrc/meter looks inside. */
#ifndef GDP_METER_CELLS_H
#define GDP_METER_CELLS_H

#include <pthread.h>

#include "gdp/meter.h"

typedef struct gdp_cell gdp_cell;
struct gdp_cell {
    gdp_cell *next;
};

struct gdp_counter {
    gdp_cell cell;
    double value;
    gdp_flow *flow; /* NULL: no window */
};

struct gdp_gauge {
    gdp_cell cell;
    double value;
};

struct gdp_histogram {
    gdp_cell cell;
    const gdp_scale *scale;
    gdp_window *window; /* NULL: none */
    double sum;
    uint64_t bucket[]; /* the count is their sum, so that it agrees with them */
};

struct gdp_series {
    gdp_series *next;
    gdp_family *family;
    gdp_cell *cells;
    uint32_t n_text;
    bool hidden;
    char text[]; /* model="m",class="gold" with values escaped, as it stands on the page */
};

/* One bound of the classic histogram, as text. */
typedef struct {
    uint32_t bucket; /* the last one under it */
    char text[28];
} gdp_rung;

struct gdp_family {
    gdp_family *next;
    gdp_meter *meter;
    gdp_series *series, *last;
    gdp_kind kind;
    bool window;
    uint32_t n_labels, n_series, series_max, n_name, n_rungs;
    char *name, *help, *unit; /* help: raw */
    char *labels[GDP_LABELS_MAX];
    gdp_scale scale;
    gdp_rung *rungs;
};

struct gdp_meter {
    pthread_mutex_t adding; /* readers need none */
    gdp_family *families, *last;
    uint64_t born_ns, bytes;
};

/* NULL, or a CamelCase word and a sentence. */
const char *gdp_spec_wrong(const gdp_meter *m, const gdp_family_spec *spec);
int gdp_spec_scale(const gdp_family_spec *spec, gdp_scale *scale);

#endif
