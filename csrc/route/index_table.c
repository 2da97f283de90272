/* index_table.c -- names to places, in shards that are copied when they are full. A copy leaves out the names of blocks
 * that are not alive, and sets right those that point below where they are. */
#include <string.h>

#include "index_inner.h"

#define GDP_ALIGN 256u

/* ---------------------------------------------------- one table ------------------------------------------------- */

static unsigned gdp_class_for(uint64_t size)
{
    unsigned class = 0;
    while (class < 255 && gdp_table_size(class) < size) class++;
    return class;
}

static size_t gdp_table_bytes(uint32_t size)
{
    return sizeof(gdp_table) + GDP_ALIGN + (size_t)size * sizeof(gdp_name);
}

static gdp_table *gdp_table_new(gdp_index *x, uint32_t size, size_t spare, gdp_name **names)
{
    const size_t bytes = gdp_table_bytes(size);
    gdp_table *t = gdp_index_take(x, bytes, spare);
    if (!t) return NULL;
    t->head.raw = t, t->head.bytes = gdp_heap_bytes(bytes);
    *names = (gdp_name *)(((uintptr_t)(t + 1) + GDP_ALIGN - 1) & ~(uintptr_t)(GDP_ALIGN - 1));
    x->count.table_bytes += t->head.bytes;
    return t;
}

/* Readers see the new table from here on. */
static void gdp_table_swap(gdp_index *x, unsigned i, gdp_table *table, gdp_name *names, unsigned class, uint32_t used)
{
    gdp_shard *s = &x->shard[i];
    gdp_table *old = s->table;
    x->used += used;
    x->used -= s->used;
    x->capacity += gdp_table_size(class);
    x->capacity -= s->size;
    *s = (gdp_shard){table, names, gdp_table_size(class), used, ++x->n_copies, x->deaths};
    atomic_store(&x->shards[i], (uint64_t)(uintptr_t)names | class);
    if (!old) return;
    x->count.table_bytes -= old->head.bytes;
    x->count.copies++;
    gdp_epoch_retire(&x->epoch, &old->head);
    gdp_index_collect(x);
}

bool gdp_names_init(gdp_index *x)
{
    for (unsigned i = 0; i < x->n_shards; i++) {
        gdp_name *names;
        gdp_table *t = gdp_table_new(x, gdp_table_size(0), 0, &names);
        if (!t) return false;
        gdp_table_swap(x, i, t, names, 0, 0);
    }
    return true;
}

void gdp_names_free(gdp_index *x)
{
    for (unsigned i = 0; i < x->n_shards; i++)
        if (x->shard[i].table) gdp_free(x->shard[i].table->head.raw);
}

/* ---------------------------------------------------- places ---------------------------------------------------- */

/* Up to the segment that has this depth; false when it died or ends before. */
static bool gdp_place_alive(const gdp_index *x, uint64_t place, uint32_t *segment)
{
    const uint32_t depth = (uint32_t)place;
    uint32_t id = (uint32_t)(place >> 32);
    if (!id) return false;
    const gdp_segment *s = gdp_at(x, id);
    for (uint64_t up = GDP_OWN(s->up); gdp_start(up) > depth; up = GDP_OWN(s->up))
        id = gdp_parent(up), s = gdp_at(x, id);
    *segment = id;
    return depth < GDP_OWN(s->end);
}

static gdp_name *gdp_name_seek(const gdp_index *x, uint64_t name, unsigned *shard, bool *found)
{
    gdp_name *at = gdp_name_slot(x, name);
    *shard = (unsigned)((name * GDP_SPREAD) >> x->shift);
    gdp_name *const from = x->shard[*shard].names, *const to = from + x->shard[*shard].size;
    for (;; at = at + 1 == to ? from : at + 1) {
        const uint64_t there = GDP_OWN(at->name);
        *found = there == name;
        if (*found || !there) return at;
    }
}

bool gdp_name_alive(gdp_index *x, uint64_t name, uint32_t *segment, uint32_t *depth)
{
    unsigned shard;
    bool found;
    gdp_name *at = gdp_name_seek(x, name, &shard, &found);
    const uint64_t place = found ? GDP_OWN(at->place) : 0;
    *depth = (uint32_t)place;
    if (!gdp_place_alive(x, place, segment)) return false;
    if (*segment != (uint32_t)(place >> 32)) atomic_store(&at->place, gdp_pair(*segment, *depth));
    return true;
}

void gdp_name_fetch(const gdp_index *x, uint64_t name)
{
    __builtin_prefetch(gdp_name_slot(x, name));
}

bool gdp_table_grows(const gdp_index *x)
{
    const uint64_t shard = x->capacity / x->n_shards * sizeof(gdp_name);
    return x->count.bytes + x->count.bytes_max / 16 + shard * 5 / 4 + GDP_ALIGN <= x->count.bytes_max;
}

/* Over 3/4: is it time for a copy? If it cannot grow, not before an eighth of the names is dead, if deaths spread evenly,
 * or before 7/8. */
static bool gdp_shard_full(const gdp_index *x, const gdp_shard *s)
{
    if (gdp_table_grows(x) || s->used >= s->size / 8 * 7) return true;
    return x->deaths - s->deaths >= (uint64_t)(s->used / 8) * x->n_shards;
}

int gdp_name_put(gdp_index *x, uint64_t name, uint32_t segment, uint32_t depth, uint32_t since)
{
    unsigned shard;
    bool found;
    gdp_name *at = gdp_name_seek(x, name, &shard, &found);
    const uint64_t place = gdp_pair(segment, depth);
    uint32_t other;
    if (found) {
        const uint64_t old = GDP_OWN(at->place);
        if (gdp_place_alive(x, old, &other)) return GDP_BAD;
        if ((uint32_t)(old >> 32) == segment && (uint32_t)old >= since && (uint32_t)old < depth) return GDP_BAD;
        atomic_store(&at->place, place);
        return 0;
    }
    const gdp_shard *s = &x->shard[shard];
    if (GDP_UNLIKELY(s->used >= s->size / 4 * 3) && gdp_shard_full(x, s)) {
        gdp_names_copy(x, shard, true);
        if (s->used >= s->size / 16 * 15) return GDP_NOMEM;
        at = gdp_name_seek(x, name, &shard, &found);
        if (found) return gdp_name_put(x, name, segment, depth, since);
    }
    atomic_store_explicit(&at->place, place, memory_order_relaxed);
    GDP_SHOW(at->name, name);
    x->shard[shard].used++;
    x->used++;
    return 0;
}

/* ---------------------------------------------------- copies ---------------------------------------------------- */

/* A name that is kept though its block is not alive: it is just being stored. */
static bool gdp_name_kept(const gdp_index *x, uint64_t place, uint32_t *segment)
{
    if (gdp_place_alive(x, place, segment)) return true;
    *segment = (uint32_t)(place >> 32);
    return *segment && *segment == x->storing && (uint32_t)place >= GDP_OWN(gdp_at(x, *segment)->end);
}

static void gdp_names_insert(gdp_index *x, gdp_name *to, uint32_t size, uint64_t name, uint64_t place)
{
    const uint64_t spread = name * GDP_SPREAD;
    uint32_t at = (uint32_t)(((unsigned __int128)(spread << (64 - x->shift)) * size) >> 64);
    while (GDP_OWN(to[at].name))
        if (++at == size) at = 0;
    atomic_store_explicit(&to[at].place, place, memory_order_relaxed);
    atomic_store_explicit(&to[at].name, name, memory_order_relaxed);
}

/* What a copy looks up for each name is where its segment is: asked for ahead. */
static void gdp_place_fetch(const gdp_index *x, const gdp_shard *s, uint32_t i)
{
    if (i < s->size) __builtin_prefetch(gdp_at(x, (uint32_t)(GDP_OWN(s->names[i].place) >> 32)));
}

static uint32_t gdp_shard_kept(const gdp_index *x, const gdp_shard *s)
{
    uint32_t n = 0, segment;
    if (s->deaths == x->deaths) return s->used;
    for (uint32_t i = 0; i < s->size; i++) {
        gdp_place_fetch(x, s, i + 8);
        n += GDP_OWN(s->names[i].name) && gdp_name_kept(x, GDP_OWN(s->names[i].place), &segment);
    }
    return n;
}

/* At the cap: until an eighth of this shard's names are dead, if deaths spread evenly. */
static void gdp_shard_relieve(gdp_index *x, const gdp_shard *s)
{
    const uint64_t want = (uint64_t)(s->used / 8 + 1) * x->n_shards;
    while (x->deaths - s->deaths < want)
        if (!gdp_index_evict(x)) break;
}

static uint32_t gdp_names_gather(gdp_index *x, const gdp_shard *s, gdp_name *names, uint32_t size)
{
    const bool check = s->deaths != x->deaths;
    uint32_t used = 0, segment;
    for (uint32_t i = 0; i < s->size; i++) {
        const uint64_t name = GDP_OWN(s->names[i].name);
        uint64_t place = name ? GDP_OWN(s->names[i].place) : 0;
        if (check) gdp_place_fetch(x, s, i + 8);
        if (!place) continue;
        if (check) {
            if (!gdp_name_kept(x, place, &segment)) continue;
            place = gdp_pair(segment, (uint32_t)place);
        }
        gdp_names_insert(x, names, size, name, place);
        used++;
    }
    return used;
}

/* A table that is 5/8 full when it has what is kept, so that it grows by a fifth. How many that will be is guessed from
 * the whole index, and counted only where all of them would not find room. */
static gdp_table *gdp_table_fit(gdp_index *x, const gdp_shard *s, bool grow, unsigned *class, gdp_name **names)
{
    const uint64_t guess = s->deaths == x->deaths ? s->used : s->used * x->count.blocks / (x->used + 1);
    if (!grow && guess >= s->size / 2) return NULL;
    *class = gdp_class_for(guess * 8 / 5 + 2);
    if (gdp_table_size(*class) < s->used + s->used / 8 + 2)
        *class = gdp_class_for((uint64_t)gdp_shard_kept(x, s) * 8 / 5 + 2);
    const uint32_t size = gdp_table_size(*class);
    return gdp_table_new(x, size, size > s->size ? x->count.bytes_max / 16 : 0, names);
}

bool gdp_names_copy(gdp_index *x, unsigned shard, bool grow)
{
    const gdp_shard *s = &x->shard[shard];
    unsigned class;
    gdp_name *names;
    gdp_table *t = gdp_table_fit(x, s, grow, &class, &names);
    if (!t) {
        if (grow) gdp_shard_relieve(x, s);
        class = gdp_class_for(s->size);
        t = gdp_table_new(x, s->size, 0, &names);
    }
    if (!t) return false;
    const uint32_t used = gdp_names_gather(x, s, names, gdp_table_size(class));
    gdp_table_swap(x, shard, t, names, class, used);
    return true;
}

bool gdp_names_sweep(gdp_index *x)
{
    unsigned oldest = 0;
    for (unsigned i = 1; i < x->n_shards; i++)
        if (x->shard[i].copied < x->shard[oldest].copied) oldest = i;
    return gdp_names_copy(x, oldest, false);
}
