/* roster.h -- who may be chosen, as columns: what a choice reads of 256 workers is 6 KiB in a row, not a line of each of
 * 256 records.
 *
 * Made once when control publishes a table, for each model. A run is the workers of one class, which share rates, by slot.
 * It is filled up to whole rows of GDP_ROW places; a place that is only there to fill has room for nobody. So the loops
 * over places have no rest, and where the slots of a row follow one another their numbers are read where they stand, a
 * vector at a time. Other rows are gathered first.
 *
 *     places  | a a a a a a a a | a a a . . . . . | b b b b b b b b | b . . . . . . . |
 *     runs    |       class 0, 11 workers         |        class 3, 9 workers         | */
#ifndef GDP_ROSTER_H
#define GDP_ROSTER_H

#include "gdp/base.h"

#define GDP_ROW 8u /* doubles in a cache line */
#define GDP_CLASSES 64 /* of workers: each learns rates of its own */

typedef struct {
    uint32_t begin, n, end; /* places: begin + n are workers, end is that of the last row */
    uint16_t class_of;
} gdp_run;

typedef struct {
    uint32_t n;      /* workers */
    uint32_t places; /* that the columns have */
    uint32_t n_runs;
    gdp_run run[GDP_CLASSES];
    double *limit;   /* requests that it may have, INFINITY: any number, 0: a place that fills */
    uint64_t *key;   /* for rendezvous */
    uint32_t *slot;  /* of a place that fills: the first of its run */
    uint32_t *index; /* of the caller's own */
    uint8_t *stand;  /* by row: how many workers it has when their slots follow one another, else 0 */
} gdp_roster;

gdp_roster *gdp_roster_empty(uint32_t room); /* for so many workers; NULL when out of memory */
void gdp_roster_free(gdp_roster *r);

/* Fill it: clear, then for each class begin, add its workers, end. A class begins once. */
void gdp_roster_clear(gdp_roster *r);
void gdp_roster_begin(gdp_roster *r, uint16_t class_of);
void gdp_roster_add(gdp_roster *r, uint32_t slot, uint32_t index, uint64_t key, uint32_t max_inflight);
void gdp_roster_end(gdp_roster *r);

#endif
