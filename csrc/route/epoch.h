/* epoch.h -- when may memory be freed that a reader may still be looking at? When every reader that might has left.
 *
 *     reader                            writer
 *     enter: seat = now                 swap the pointer; retire the old thing, stamped with `now`
 *     look around                       now += 1
 *     leave: seat = 0                   free what is stamped older than the oldest seat
 *
 * Pointers to what may be retired are swapped and read in the default order (sequential), so that a reader whose seat
 * the writer saw empty sees the new pointer. Readers pay two stores to a cache line of their own. Retired things are
 * chained through their own first bytes, so retiring never needs memory. One writer. */
#ifndef GDP_EPOCH_H
#define GDP_EPOCH_H

#include <stdatomic.h>

#include "gdp/arena.h"

#define GDP_SEATS 64u

typedef struct {
    _Alignas(64) _Atomic uint64_t since; /* 0: not looking */
    _Atomic bool taken;
    void *owner;
} gdp_seat;

/* What every retirable thing begins with. */
typedef struct gdp_retired {
    struct gdp_retired *next;
    uint64_t when;
    void *raw; /* what to free */
    size_t bytes;
} gdp_retired;

typedef struct {
    _Atomic uint64_t now;
    gdp_arena *arena; /* that retired things came from */
    gdp_retired *first, *last;
    uint32_t waiting; /* retired since the last collection */
    gdp_seat seats[GDP_SEATS];
} gdp_epoch;

void gdp_epoch_init(gdp_epoch *e, gdp_arena *arena);
gdp_seat *gdp_epoch_sit(gdp_epoch *e, void *owner); /* NULL: all taken */
void gdp_epoch_stand(gdp_seat *seat);

static inline void gdp_epoch_enter(const gdp_epoch *e, gdp_seat *seat)
{
    /* An exchange, because what follows must not be read before the seat is seen as taken. */
    atomic_exchange(&seat->since, atomic_load(&e->now));
}

static inline void gdp_epoch_leave(gdp_seat *seat)
{
    atomic_store_explicit(&seat->since, 0, memory_order_release);
}

void gdp_epoch_retire(gdp_epoch *e, gdp_retired *thing);
/* Ends the epoch. What was stamped before the returned one is seen by nobody. */
uint64_t gdp_epoch_turn(gdp_epoch *e);
/* Frees what nobody sees; returns its bytes. */
size_t gdp_epoch_collect(gdp_epoch *e);

#endif
