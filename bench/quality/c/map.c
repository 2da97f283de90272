/* map.c -- see map.h. */
#include "map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t spread(uint64_t x)
{
    x = (x ^ (x >> 31)) * 0x9e3779b97f4a7c15ull;
    return x ^ (x >> 29);
}

static entry *room(uint64_t n)
{
    entry *slots = calloc(n, sizeof *slots);
    if (!slots) {
        fprintf(stderr, "NoMemory: %llu map entries; run fewer simulations at once\n", (unsigned long long)n);
        exit(1);
    }
    return slots;
}

void map_init(map *m)
{
    m->mask = 255;
    m->n = 0;
    m->slots = room(m->mask + 1);
}

void map_clear(map *m)
{
    memset(m->slots, 0, (m->mask + 1) * sizeof *m->slots);
    m->n = 0;
}

static uint64_t place_of(const map *m, uint64_t key)
{
    uint64_t i = spread(key) & m->mask;
    while (m->slots[i].key && m->slots[i].key != key) i = (i + 1) & m->mask;
    return i;
}

entry *map_find(const map *m, uint64_t key)
{
    entry *e = &m->slots[place_of(m, key)];
    return e->key ? e : NULL;
}

static void grow(map *m)
{
    map bigger = {.mask = m->mask * 2 + 1, .n = m->n};
    bigger.slots = room(bigger.mask + 1);
    for (uint64_t i = 0; i <= m->mask; i++)
        if (m->slots[i].key) bigger.slots[place_of(&bigger, m->slots[i].key)] = m->slots[i];
    free(m->slots);
    *m = bigger;
}

entry *map_add(map *m, uint64_t key)
{
    uint64_t i = place_of(m, key);
    if (m->slots[i].key) return &m->slots[i];
    if (m->n * 2 >= m->mask) {
        grow(m);
        i = place_of(m, key);
    }
    m->n++;
    m->slots[i].key = key;
    return &m->slots[i];
}

void map_remove(map *m, uint64_t key)
{
    uint64_t hole = place_of(m, key);
    if (!m->slots[hole].key) return;
    m->n--;
    for (uint64_t i = (hole + 1) & m->mask; m->slots[i].key; i = (i + 1) & m->mask) {
        uint64_t home = spread(m->slots[i].key) & m->mask;
        if (((i - home) & m->mask) >= ((i - hole) & m->mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole] = (entry){0};
}
