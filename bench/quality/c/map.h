/* map.h -- block hash -> two numbers; open addressing, backward-shift deletion. Keys are never 0. */
#ifndef GDP_QUALITY_MAP_H
#define GDP_QUALITY_MAP_H

#include <stdint.h>

typedef struct {
    uint64_t key;
    uint32_t index; /* engine: the block; router: 1 while the engine's events say that it is there */
    uint32_t refs;
    double until; /* router: believed to be there until then, without an event */
} entry;

typedef struct {
    entry *slots;
    uint64_t mask, n;
} map;

void map_init(map *m);
void map_clear(map *m);
entry *map_find(const map *m, uint64_t key); /* NULL: not there */
entry *map_add(map *m, uint64_t key);        /* found or made, zeroed when made; valid until the next add or remove */
void map_remove(map *m, uint64_t key);

#endif
