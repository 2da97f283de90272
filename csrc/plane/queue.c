/* queue.c -- parked requests: first in, first out, each with a deadline.
 *
 * One list per loop, in order of arrival. A booking that is freed anywhere sets `pump` on the loop whose head has waited
 * longest, so that order holds over threads too (by heads: within a few microseconds). A request whose model is full
 * does not hold up those behind it that want another model.
 *
 * Two kinds wait here: all workers busy (limits: queue_length, queue_wait), and no worker ready (no_worker_ns; tried
 * again when a table is published, a circuit turns half open, or 100 ms have passed). */
#include "inner.h"

#define TRY_AGAIN (100 * MS)

static void show_oldest(gdp_loop *l) {
    uint32_t i = l->index < 63 ? l->index : 63;
    atomic_store(&l->plane->oldest_wait[i], l->q_head ? (int64_t)l->q_head->queued_at : 0);
}

void queue_park(gdp_loop *l, gdp_exchange *x, bool no_worker) {
    if (!x->parked_at) x->parked_at = l->now;
    if (!no_worker) x->no_worker_since = 0;
    x->no_worker = no_worker;
    x->n_tried = 0;
    x->park_until = no_worker ? x->no_worker_since + l->set->no_worker_ns : x->parked_at + l->set->queue_wait_ns;
    x->try_at = l->now + TRY_AGAIN;
    if (x->queued) {
        exchange_deadline(l, x);
        return;
    }
    int64_t waiting = atomic_fetch_add(&l->plane->waiting, 1);
    if (waiting >= l->set->queue_length) {
        atomic_fetch_sub(&l->plane->waiting, 1);
        exchange_end(l, x, no_worker ? GDP_R_NO_READY_WORKER : GDP_R_QUEUE_FULL);
        return;
    }
    COUNT(l, queued, 1);
    x->queued = true;
    x->queued_at = l->now;
    x->q_next = NULL;
    x->q_prev = l->q_tail;
    if (l->q_tail)
        l->q_tail->q_next = x;
    else
        l->q_head = x;
    l->q_tail = x;
    l->q_len++;
    show_oldest(l);
    /* Another thread may have freed a booking after we found none and before we were seen to wait: look again. */
    if (l->plane->n_loops > 1) atomic_store(&l->pump, 1);
    exchange_phase(l, x, PH_QUEUED);
}

/* Between a booking's end and the pump at the end of this turn, a newcomer must not take what was freed. */
bool queue_goes_first(const gdp_loop *l, const gdp_exchange *x) {
    return !x->queued && !x->n_tried && l->q_head && atomic_load_explicit(&l->pump, memory_order_relaxed) &&
           atomic_load_explicit(&l->plane->waiting, memory_order_relaxed) < l->set->queue_length;
}

void queue_leave(gdp_loop *l, gdp_exchange *x) {
    if (!x->queued) return;
    if (l->q_cursor == x) l->q_cursor = x->q_next;
    x->queued = false;
    *(x->q_prev ? &x->q_prev->q_next : &l->q_head) = x->q_next;
    *(x->q_next ? &x->q_next->q_prev : &l->q_tail) = x->q_prev;
    x->q_next = x->q_prev = NULL;
    l->q_len--;
    atomic_fetch_sub(&l->plane->waiting, 1);
    show_oldest(l);
}

/* Models that were found full in this pass; what waits behind them for the same model is passed over. */
typedef struct {
    const void *model[16];
    unsigned n;
} full_set;

static bool known_full(const full_set *f, const void *m) {
    for (unsigned i = 0; i < f->n; i++)
        if (f->model[i] == m) return true;
    return false;
}

void queue_pump(gdp_loop *l) {
    full_set full = {.n = 0};
    l->q_cursor = l->q_head;
    while (l->q_cursor) {
        gdp_exchange *x = l->q_cursor;
        const void *m = exchange_model(l, x);
        l->q_cursor = x->q_next;
        if (m && known_full(&full, m)) {
            x->try_at = l->now + TRY_AGAIN; /* looked at with the one before it */
            continue;
        }
        if (x->no_worker && l->now < x->try_at && !l->q_all) continue;
        exchange_place(l, x);
        if (x->queued && full.n < 16) full.model[full.n++] = m;
    }
    l->q_all = false;
}

uint64_t queue_next_try(const gdp_loop *l, uint64_t probe) {
    uint64_t next = probe;
    for (const gdp_exchange *x = l->q_head; x; x = x->q_next)
        if (x->no_worker && (!next || x->try_at < next)) next = x->try_at;
    return next;
}

/* Lets the loop pump whose head has waited longest of those that came after `since`. */
static void wake_next(gdp_loop *l, int64_t since) {
    gdp_plane *p = l->plane;
    if (GDP_LIKELY(!atomic_load_explicit(&p->waiting, memory_order_relaxed))) return;
    uint32_t who = UINT32_MAX;
    int64_t oldest = 0;
    for (uint32_t i = 0; i < p->n_loops && i < 64; i++) {
        int64_t at = atomic_load_explicit(&p->oldest_wait[i], memory_order_relaxed);
        if (at > since && (who == UINT32_MAX || at < oldest)) {
            who = i;
            oldest = at;
        }
    }
    if (who == UINT32_MAX) return;
    atomic_store(&p->loops[who].pump, 1);
    if (who != l->index) loop_wake(&p->loops[who]);
}

void queue_freed(gdp_loop *l) { wake_next(l, 0); }

void queue_pass_on(gdp_loop *l, int64_t since) {
    if (l->plane->n_loops > 1) wake_next(l, since);
}
