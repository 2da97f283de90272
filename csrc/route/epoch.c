#include "epoch.h"

void gdp_epoch_init(gdp_epoch *e, gdp_arena *arena)
{
    e->arena = arena;
    atomic_init(&e->now, 1);
}

gdp_seat *gdp_epoch_sit(gdp_epoch *e, void *owner)
{
    for (unsigned i = 0; i < GDP_SEATS; i++) {
        bool free_seat = false;
        if (!atomic_compare_exchange_strong(&e->seats[i].taken, &free_seat, true)) continue;
        e->seats[i].owner = owner;
        return &e->seats[i];
    }
    return NULL;
}

void gdp_epoch_stand(gdp_seat *seat)
{
    if (seat) atomic_store(&seat->taken, false);
}

void gdp_epoch_retire(gdp_epoch *e, gdp_retired *thing)
{
    thing->next = NULL;
    thing->when = atomic_load_explicit(&e->now, memory_order_relaxed);
    if (e->last)
        e->last->next = thing;
    else
        e->first = thing;
    e->last = thing;
    e->waiting++;
}

uint64_t gdp_epoch_turn(gdp_epoch *e)
{
    uint64_t oldest = atomic_fetch_add(&e->now, 1) + 1;
    for (unsigned i = 0; i < GDP_SEATS; i++) {
        const uint64_t since = atomic_load(&e->seats[i].since);
        if (since && since < oldest) oldest = since;
    }
    return oldest;
}

size_t gdp_epoch_collect(gdp_epoch *e)
{
    const uint64_t oldest = gdp_epoch_turn(e);
    size_t bytes = 0;
    while (e->first && e->first->when < oldest) {
        gdp_retired *thing = e->first;
        e->first = thing->next;
        if (!e->first) e->last = NULL;
        bytes += thing->bytes;
        gdp_arena_give(e->arena, thing->raw);
    }
    e->waiting = 0;
    return bytes;
}
