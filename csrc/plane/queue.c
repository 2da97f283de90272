/* queue.c -- parked requests, each with a deadline.
 *
 * Two kinds wait here: all workers full (limits: queue_length, queue_wait), and no worker ready (no_worker_ns; tried
 * again when a table is published, a circuit turns half open, or 100 ms have passed).
 *
 *     q_head -> all of this loop, by arrival -> q_tail
 *     lanes     one per model whose workers are full: whose turn it is there, by the rules of late.h
 *
 * A booking that is freed anywhere, or a first token, sets `pump` on the loop whose head has waited longest, so that
 * order holds over threads too (by heads: within a few microseconds). Room also comes by time alone, as predicted work
 * is done: while requests wait in lanes they are looked at every LOOK_AGAIN. */
#include "inner.h"

#define TRY_AGAIN (100 * MS)
#define LOOK_AGAIN (10 * MS)
#define ROOM 64u

/* Those who wait for the workers of one model. */
struct gdp_lane {
    uint64_t model; /* hash of its name */
    gdp_late *late; /* NULL: was never used */
    gdp_exchange **who; /* by ticket */
    uint32_t room, ready;
    double least_backlog_s;
};

static double now_s(const gdp_loop *l) { return (double)l->now * 1e-9; }

/* ---- lanes ---------------------------------------------------------------------------------------------------------- */

static gdp_lane *lane_of(const gdp_loop *l, uint64_t model) {
    for (uint32_t i = 0; i < l->n_lanes; i++)
        if (l->lanes[i].model == model && gdp_late_waiting(l->lanes[i].late)) return &l->lanes[i];
    return NULL;
}

static gdp_lane *lane_new(gdp_loop *l, uint64_t model) {
    for (uint32_t i = 0; i < l->n_lanes; i++)
        if (!gdp_late_waiting(l->lanes[i].late)) {
            l->lanes[i].model = model;
            return &l->lanes[i];
        }
    gdp_lane *lanes = gdp_resize(l->lanes, (l->n_lanes + 1) * sizeof *lanes);
    if (!lanes) return NULL;
    l->lanes = lanes;
    gdp_lane made = {.model = model, .late = gdp_late_new(ROOM), .who = gdp_alloc(ROOM * sizeof *made.who), .room = ROOM};
    if (!made.late || !made.who) {
        gdp_late_free(made.late);
        gdp_free(made.who);
        return NULL;
    }
    lanes[l->n_lanes] = made;
    return &lanes[l->n_lanes++];
}

static int lane_grow(gdp_lane *lane) {
    uint32_t room = lane->room * 2;
    gdp_late *late = gdp_late_grow(lane->late, room);
    if (!late) return GDP_NOMEM;
    lane->late = late;
    gdp_exchange **who = gdp_resize(lane->who, room * sizeof *who);
    if (!who) return GDP_NOMEM;
    for (uint32_t i = lane->room; i < room; i++) who[i] = NULL;
    lane->who = who;
    lane->room = room;
    return 0;
}

static int lane_join(gdp_loop *l, gdp_exchange *x) {
    const model *m = exchange_model(l, x);
    uint64_t hash = m ? m->hash : 0;
    gdp_lane *lane = lane_of(l, hash);
    if (!lane) lane = lane_new(l, hash);
    if (!lane) return GDP_NOMEM;
    uint32_t ticket = 0;
    if (gdp_late_waiting(lane->late) >= lane->room && lane_grow(lane) < 0) return GDP_NOMEM;
    while (lane->who[ticket]) ticket++; /* PERF: as many as wait; free ones are near the front */
    if (!x->deadline_s) x->deadline_s = (double)x->arrival * 1e-9 + x->ttft_s + x->work_s;
    gdp_late_push(lane->late, ticket, (double)x->arrival * 1e-9, x->deadline_s, x->work_s);
    lane->who[ticket] = x;
    x->lane = (uint32_t)(lane - l->lanes);
    x->ticket = ticket;
    return 0;
}

static void lane_leave(gdp_loop *l, gdp_exchange *x) {
    if (x->ticket == GDP_NO_TICKET) return;
    gdp_lane *lane = &l->lanes[x->lane];
    gdp_late_take(lane->late, x->ticket);
    lane->who[x->ticket] = NULL;
    x->ticket = GDP_NO_TICKET;
}

void queue_free(gdp_loop *l) {
    for (uint32_t i = 0; i < l->n_lanes; i++) {
        gdp_late_free(l->lanes[i].late);
        gdp_free(l->lanes[i].who);
    }
    gdp_free(l->lanes);
}

/* ---- to wait, and to go ------------------------------------------------------------------------------------------------ */

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
    if (no_worker) lane_leave(l, x);
    if (!no_worker && x->ticket == GDP_NO_TICKET && lane_join(l, x) < 0) {
        exchange_end(l, x, GDP_R_OUT_OF_MEMORY);
        return;
    }
    if (x->queued) {
        exchange_deadline(l, x);
        return;
    }
    int64_t waiting = atomic_fetch_add(&l->plane->waiting, 1);
    if (waiting >= l->set->queue_length) {
        atomic_fetch_sub(&l->plane->waiting, 1);
        lane_leave(l, x);
        exchange_end(l, x, no_worker ? GDP_R_NO_READY_WORKER : GDP_R_QUEUE_FULL);
        return;
    }
    COUNT(l, queued, 1);
    x->queued = true;
    ledger_wait(x, true);
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

void queue_busy(gdp_loop *l, gdp_exchange *x, const gdp_placement *found) {
    x->work_s = found->work_s;
    queue_park(l, x, false);
    if (x->ticket == GDP_NO_TICKET) return; /* it was refused */
    gdp_lane *lane = &l->lanes[x->lane];
    lane->ready = found->n_usable;
    lane->least_backlog_s = found->least_backlog_s;
}

/* A newcomer must not take what is free for one that waits. */
bool queue_goes_first(const gdp_loop *l, const gdp_exchange *x) {
    const model *m = exchange_model(l, x);
    if (x->queued || x->n_tried || !l->n_lanes || !m || !lane_of(l, m->hash)) return false;
    return atomic_load_explicit(&l->plane->waiting, memory_order_relaxed) < l->set->queue_length;
}

void queue_leave(gdp_loop *l, gdp_exchange *x) {
    lane_leave(l, x);
    if (!x->queued) return;
    if (l->q_cursor == x) l->q_cursor = x->q_next;
    x->queued = false;
    ledger_wait(x, false);
    *(x->q_prev ? &x->q_prev->q_next : &l->q_head) = x->q_next;
    *(x->q_next ? &x->q_next->q_prev : &l->q_tail) = x->q_prev;
    x->q_next = x->q_prev = NULL;
    l->q_len--;
    atomic_fetch_sub(&l->plane->waiting, 1);
    show_oldest(l);
}

/* Whose turn it is, until the model is full again. */
static void lane_pump(gdp_loop *l, uint32_t i) {
    const gdp_late_rule *rule = &l->set->late;
    gdp_late_rule fifo = *rule;
    fifo.fifo = true;
    if (!l->set->late_on) rule = &fifo;
    COUNT(l, demoted, gdp_late_relieve(l->lanes[i].late, rule, l->lanes[i].ready, l->lanes[i].least_backlog_s));
    /* A request that was placed may be back in its lane at once: no connection could be made, for want of descriptors or
     * memory of ours, and the other workers are full. It is looked at again in a later turn. */
    for (uint32_t looks = 2 * gdp_late_waiting(l->lanes[i].late); looks; looks--) {
        int ticket = gdp_late_next(l->lanes[i].late, rule, now_s(l));
        if (ticket < 0) return;
        gdp_exchange *x = l->lanes[i].who[ticket];
        gdp_placing result = place_by(l, x, rule->fifo ? 0 : x->deadline_s); /* lanes may move in here */
        if (result == GDP_ALL_BUSY) return;
        if (result != GDP_TOO_LATE) continue;
        if (!gdp_late_agree(l->lanes[i].late, rule, (uint32_t)ticket, now_s(l), now_s(l) + 1e9)) {
            COUNT(l, demoted, 1);
            continue;
        }
        if (place_by(l, x, 0) == GDP_ALL_BUSY) return;
    }
}

void queue_pump(gdp_loop *l) {
    for (uint32_t i = 0; i < l->n_lanes; i++)
        if (gdp_late_waiting(l->lanes[i].late)) lane_pump(l, i);
    l->q_cursor = l->q_head;
    while (l->q_cursor) {
        gdp_exchange *x = l->q_cursor;
        l->q_cursor = x->q_next;
        if (x->no_worker && (l->now >= x->try_at || l->q_all)) exchange_place(l, x);
    }
    l->q_all = false;
}

uint64_t queue_next_try(const gdp_loop *l, uint64_t probe) {
    uint64_t next = probe, soon = l->now + LOOK_AGAIN;
    for (uint32_t i = 0; i < l->n_lanes; i++)
        if (gdp_late_waiting(l->lanes[i].late) && (!next || soon < next)) next = soon;
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
