/* roster.c -- see gdp/roster.h. One allocation: the columns stand behind the struct, the widest first. */
#include "gdp/roster.h"

#include <math.h>

gdp_roster *gdp_roster_empty(uint32_t room)
{
    const uint32_t classes = room < GDP_CLASSES ? room : GDP_CLASSES;
    const size_t places = room + (size_t)classes * (GDP_ROW - 1), rows = places / GDP_ROW + 1;
    gdp_roster *r = gdp_alloc(sizeof *r + places * (sizeof(double) + sizeof(uint64_t) + 2 * sizeof(uint32_t)) + rows);
    if (!r) return NULL;
    r->limit = (double *)(void *)(r + 1);
    r->key = (uint64_t *)(void *)(r->limit + places);
    r->slot = (uint32_t *)(void *)(r->key + places);
    r->index = r->slot + places;
    r->stand = (uint8_t *)(r->index + places);
    return r;
}

void gdp_roster_free(gdp_roster *r)
{
    gdp_free(r);
}

void gdp_roster_clear(gdp_roster *r)
{
    r->n = r->places = r->n_runs = 0;
}

void gdp_roster_begin(gdp_roster *r, uint16_t class_of)
{
    r->run[r->n_runs++] = (gdp_run){.begin = r->places, .end = r->places, .class_of = class_of};
}

static void put(gdp_roster *r, uint32_t slot, uint32_t index, uint64_t key, double limit)
{
    const uint32_t place = r->places++;
    r->slot[place] = slot;
    r->index[place] = index;
    r->key[place] = key;
    r->limit[place] = limit;
}

void gdp_roster_add(gdp_roster *r, uint32_t slot, uint32_t index, uint64_t key, uint32_t max_inflight)
{
    put(r, slot, index, key, max_inflight ? (double)max_inflight : INFINITY);
    r->run[r->n_runs - 1].n++;
    r->n++;
}

static uint8_t stand(const uint32_t *slots, uint32_t n)
{
    for (uint32_t k = 1; k < n; k++)
        if (slots[k] != slots[0] + k) return 0;
    return (uint8_t)n;
}

void gdp_roster_end(gdp_roster *r)
{
    gdp_run *run = &r->run[r->n_runs - 1];
    const uint32_t full = r->places;
    while (r->places % GDP_ROW) put(r, r->slot[run->begin], r->index[run->begin], 0, 0);
    run->end = r->places;
    for (uint32_t i = run->begin; i < full; i += GDP_ROW)
        r->stand[i / GDP_ROW] = stand(r->slot + i, full - i < GDP_ROW ? full - i : GDP_ROW);
}
