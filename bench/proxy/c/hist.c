#include "hist.h"

#define SUB 64u /* cells per power of two */

static unsigned cell_of(uint64_t value) {
    if (value < SUB) return (unsigned)value;
    unsigned shift = 57u - (unsigned)__builtin_clzll(value);
    return (shift + 1) * SUB + (unsigned)((value >> shift) - SUB);
}

static uint64_t middle_of(unsigned cell) {
    if (cell < SUB) return cell;
    unsigned shift = cell / SUB - 1;
    return ((uint64_t)(cell % SUB + SUB) << shift) + ((UINT64_C(1) << shift) >> 1);
}

void gdp_hist_add(gdp_hist *h, uint64_t value) {
    h->n++;
    h->sum += value;
    if (value > h->max) h->max = value;
    h->cell[cell_of(value)]++;
}

double gdp_hist_quantile(const gdp_hist *h, double q) {
    uint64_t below = 0, wanted = (uint64_t)(q * (double)h->n);
    for (unsigned i = 0; i < GDP_HIST_CELLS; i++) {
        below += h->cell[i];
        if (below > wanted) {
            uint64_t value = middle_of(i);
            return (double)(value < h->max ? value : h->max);
        }
    }
    return (double)h->max;
}
