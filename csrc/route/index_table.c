/* index_table.c -- names to places, in shards that are copied when they are full. A copy leaves out the names of blocks
 * that are not alive, and sets right those that point below where they are.
 *
 * A search begins at a line of the cache, four names, and goes on by lines: at 13/16 full it looks at 1.5 of them for a
 * name that is new. A copy visits names in the order of their homes (both tables have that order, but for those that had
 * to go on to another line), so it writes where it wrote last, and hardly branches.
 *
 * The budget of a new name: a miss, asked for 16 names ahead, and 140 instructions; growth on top of it copies 4.5 names for
 * each that is put, 85 instructions each. In paired runs, copies in order took 10 % off the intake of a prefill, their
 * loop in registers another 9, growing at 13/16 and not at 3/4 another 11. */
#include <string.h>

#include "index_inner.h"

#if defined(__SSE2__) && !defined(GDP_SCALAR)
#define GDP_SSE2 1
#include <emmintrin.h>
#endif

#define GDP_ALIGN 256u
#define GDP_GROWTH 5u /* classes: a quarter, or a little more */

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
    gdp_table *t = gdp_index_zeroed(x, bytes, spare);
    if (!t) return NULL;
    t->head.raw = t, t->head.bytes = gdp_arena_cost(bytes);
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
        const unsigned class = i * GDP_GROWTH / x->n_shards;
        gdp_name *names;
        gdp_table *t = gdp_table_new(x, gdp_table_size(class), 0, &names);
        if (!t) return false;
        gdp_table_swap(x, i, t, names, class, 0);
    }
    return true;
}

void gdp_names_free(gdp_index *x)
{
    for (unsigned i = 0; i < x->n_shards; i++)
        if (x->shard[i].table) gdp_arena_give(x->arena, x->shard[i].table->head.raw);
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

/* Of the four places of a line: a bit for each whose name may be this one, or none. */
static inline unsigned gdp_line_maybe(const gdp_name *line, uint64_t name)
{
#ifdef GDP_SSE2
    const __m128i *of = (const __m128i *)(const void *)line; /* the lower halves of the names tell nearly all apart */
    const __m128i low = _mm_unpacklo_epi32(_mm_load_si128(of), _mm_load_si128(of + 1));
    const __m128i high = _mm_unpacklo_epi32(_mm_load_si128(of + 2), _mm_load_si128(of + 3));
    const __m128i four = _mm_unpacklo_epi64(low, high);
    const __m128i maybe = _mm_or_si128(_mm_cmpeq_epi32(four, _mm_set1_epi32((int)(uint32_t)name)),
                                       _mm_cmpeq_epi32(four, _mm_setzero_si128()));
    return (unsigned)_mm_movemask_ps(_mm_castsi128_ps(maybe));
#else
    unsigned bits = 0;
    for (unsigned i = 0; i < 4; i++) {
        const uint64_t there = GDP_OWN(line[i].name);
        bits |= (unsigned)(there == name || !there) << i;
    }
    return bits;
#endif
}

/* Where a name stands, or would. The writer's: what it reads, nobody else writes. */
static gdp_name *gdp_name_seek(const gdp_index *x, uint64_t name, unsigned *shard, bool *found)
{
    *shard = (unsigned)((name * GDP_SPREAD) >> x->shift);
    const uint64_t table = GDP_OWN(x->shards[*shard]);
    const uint32_t size = gdp_table_size(table & 255u);
    gdp_name *const names = (gdp_name *)(uintptr_t)(table & ~(uint64_t)255);
    for (uint32_t at = gdp_name_home(x, name, size);; at = at + 4 == size ? 0 : at + 4) {
        gdp_name *const line = names + at;
        for (unsigned maybe = gdp_line_maybe(line, name); maybe; maybe &= maybe - 1) {
            gdp_name *const place = line + __builtin_ctz(maybe);
            const uint64_t there = GDP_OWN(place->name);
            *found = there == name;
            if (GDP_LIKELY(*found || !there)) return place;
        }
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

void gdp_index_ahead(const gdp_index *x, const uint64_t *chain, size_t n, bool near)
{
    for (size_t i = 0; i < n; i++) {
        const uint64_t name = chain[i] ? chain[i] : 1;
        if (near)
            __builtin_prefetch(gdp_at(x, (uint32_t)(gdp_name_find(x, name) >> 32)));
        else
            gdp_name_fetch(x, name);
    }
}

bool gdp_table_grows(const gdp_index *x)
{
    const uint64_t shard = x->capacity / x->n_shards * sizeof(gdp_name);
    return x->count.bytes + x->count.bytes_max / 16 + shard * 5 / 4 + GDP_ALIGN <= x->count.bytes_max;
}

/* Over 13/16: is it time for a copy? If it cannot grow, not before an eighth of the names is dead, if deaths spread evenly,
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
    if (GDP_UNLIKELY(s->used >= s->size / 16 * 13) && gdp_shard_full(x, s)) {
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

/* A table being filled by names nearly in the order of their homes, as another table has them: nearly all go behind the
 * one before or to their home, whichever is later, and that takes no look at the table and no guess of the processor. */
typedef struct {
    gdp_name *names;
    uint32_t size, used;
    uint32_t next; /* nothing stands here or behind it */
    uint32_t run;  /* no place is empty from here to `next` */
} gdp_filling;

static inline gdp_filling gdp_names_insert(const gdp_index *x, gdp_filling f, uint64_t name, uint64_t place)
{
    const uint32_t home = gdp_name_home(x, name, f.size);
    uint32_t at = home > f.next ? home : f.next;
    if (GDP_UNLIKELY(home < f.run || at == f.size))
        for (at = home; GDP_OWN(f.names[at].name);)
            if (++at == f.size) at = 0;
    f.run = home > f.next ? home : f.run;
    f.next = at < f.next ? f.next : at + 1;
    f.used++;
    atomic_store_explicit(&f.names[at].place, place, memory_order_relaxed);
    atomic_store_explicit(&f.names[at].name, name, memory_order_relaxed);
    return f;
}

/* Names in [from, to) of the shard. Which places are filled is found out first: as branches they would be guessed. */
static gdp_filling gdp_names_pour(const gdp_index *x, const gdp_shard *s, uint32_t from, uint32_t to, gdp_filling f)
{
    enum { PIECE = 128 };
    const bool check = s->deaths != x->deaths;
    const gdp_name *const names = s->names;
    uint32_t filled[PIECE + 1], n, segment;
    for (; from < to; from += PIECE) {
        const uint32_t end = to - from < PIECE ? to : from + PIECE;
        n = 0;
        for (uint32_t i = from; i < end; i++) filled[n] = i, n += GDP_OWN(names[i].place) != 0;
        for (uint32_t k = 0; k < n; k++) {
            const gdp_name *of = &names[filled[k]];
            uint64_t place = GDP_OWN(of->place);
            if (check) {
                gdp_place_fetch(x, s, filled[k] + 8);
                if (!gdp_name_kept(x, place, &segment)) continue;
                place = gdp_pair(segment, (uint32_t)place);
            }
            f = gdp_names_insert(x, f, GDP_OWN(of->name), place);
        }
    }
    return f;
}

/* From an empty place on, and round: those that went over the end come last, as their homes do. */
static uint32_t gdp_names_gather(gdp_index *x, const gdp_shard *s, gdp_name *names, uint32_t size)
{
    gdp_filling f = {.names = names, .size = size};
    uint32_t start = 0;
    while (start < s->size && GDP_OWN(s->names[start].name)) start++;
    f = gdp_names_pour(x, s, start, s->size, f);
    return gdp_names_pour(x, s, 0, start, f).used;
}

/* A table that is 16/25 full when it has what is kept. How many that will be is guessed, as if deaths spread evenly, and
 * counted only where all of them would not find room. Tables that just grow do so by as many classes as the first ones
 * are apart, so they stay out of step for ever: the memory that one leaves is there for the next, and no second sees all
 * 256 of them copied. */
static gdp_table *gdp_table_fit(gdp_index *x, const gdp_shard *s, bool grow, unsigned *class, gdp_name **names)
{
    const uint64_t died = (x->deaths - s->deaths) / x->n_shards, guess = died < s->used ? s->used - died : 0;
    if (!grow && guess >= s->size / 2) return NULL;
    *class = guess == s->used && grow ? gdp_class_for(s->size) + GDP_GROWTH : gdp_class_for(guess * 25 / 16 + 2);
    if (*class > 255) *class = 255;
    if (gdp_table_size(*class) < s->used + s->used / 8 + 2)
        *class = gdp_class_for((uint64_t)gdp_shard_kept(x, s) * 25 / 16 + 2);
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
