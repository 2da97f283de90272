/* late.c -- see gdp/late.h: who is next, and who stands aside. */
#include "gdp/late.h"

#define NOBODY UINT32_MAX

enum { AWAY, IN_TIME, DEMOTED, LINES };

typedef struct {
    double arrival_s, deadline_s, work_s;
    uint32_t before, after;
    uint8_t line;
} waiter;

typedef struct {
    uint32_t head, tail, n;
    double work_s;
} line;

struct gdp_late {
    uint32_t room;
    double guarded_s; /* when the guard served last */
    line lines[LINES];
    waiter of[];
};

void gdp_late_rule_init(gdp_late_rule *r)
{
    *r = (gdp_late_rule){.full_s = 0.6, .ttft_slo_s = 2, .itl_slo_s = 0.060, .hold = 1.03, .demote_s = 1.7,
                         .guard_s = 180, .guard_every_s = 1};
}

bool gdp_late_bears(const gdp_late_rule *r, uint32_t inflight, uint32_t max_inflight, double step_s)
{
    if (!inflight) return true;
    return !(max_inflight && inflight >= max_inflight) && step_s <= r->hold * r->itl_slo_s;
}

bool gdp_late_open(const gdp_late_rule *r, double backlog_s, uint32_t inflight, uint32_t max_inflight, double step_s)
{
    return gdp_late_bears(r, inflight, max_inflight, step_s) && (!inflight || backlog_s <= r->full_s);
}

gdp_late *gdp_late_new(uint32_t room)
{
    gdp_late *q = gdp_alloc(sizeof *q + sizeof(waiter) * room);
    if (!q) return NULL;
    q->room = room;
    q->guarded_s = -1e300;
    for (unsigned i = 0; i < LINES; i++) q->lines[i] = (line){NOBODY, NOBODY, 0, 0};
    return q;
}

gdp_late *gdp_late_grow(gdp_late *q, uint32_t room)
{
    gdp_late *grown = gdp_resize(q, sizeof *q + sizeof(waiter) * room);
    if (!grown) return NULL;
    for (uint32_t i = grown->room; i < room; i++) grown->of[i] = (waiter){0};
    grown->room = room;
    return grown;
}

void gdp_late_free(gdp_late *q)
{
    gdp_free(q);
}

static void leave(gdp_late *q, uint32_t ticket)
{
    waiter *w = &q->of[ticket];
    line *l = &q->lines[w->line];
    if (w->before == NOBODY) l->head = w->after;
    else q->of[w->before].after = w->after;
    if (w->after == NOBODY) l->tail = w->before;
    else q->of[w->after].before = w->before;
    l->work_s = --l->n ? l->work_s - w->work_s : 0;
    w->line = AWAY;
}

/* By arrival. The place is looked for from the end: nearly always it is the end. */
static void join(gdp_late *q, uint32_t ticket, uint8_t to)
{
    waiter *w = &q->of[ticket];
    line *l = &q->lines[to];
    uint32_t before = l->tail;
    while (before != NOBODY && q->of[before].arrival_s > w->arrival_s) before = q->of[before].before;
    w->before = before;
    w->after = before == NOBODY ? l->head : q->of[before].after;
    if (before == NOBODY) l->head = ticket;
    else q->of[before].after = ticket;
    if (w->after == NOBODY) l->tail = ticket;
    else q->of[w->after].before = ticket;
    w->line = to;
    l->n++;
    l->work_s += w->work_s;
}

int gdp_late_push(gdp_late *q, uint32_t ticket, double arrival_s, double deadline_s, double work_s)
{
    if (ticket >= q->room || q->of[ticket].line != AWAY) return GDP_BAD;
    q->of[ticket] = (waiter){.arrival_s = arrival_s, .deadline_s = deadline_s, .work_s = work_s > 0 ? work_s : 0};
    join(q, ticket, IN_TIME);
    return 0;
}

int gdp_late_take(gdp_late *q, uint32_t ticket)
{
    if (ticket >= q->room || q->of[ticket].line == AWAY) return GDP_BAD;
    leave(q, ticket);
    return 0;
}

static void demote(gdp_late *q, uint32_t ticket)
{
    leave(q, ticket);
    join(q, ticket, DEMOTED);
}

/* A scan, not a heap: a request is demoted once at most, and the line is short while it is worth serving. */
uint32_t gdp_late_relieve(gdp_late *q, const gdp_late_rule *r, uint32_t ready, double least_backlog_s)
{
    line *l = &q->lines[IN_TIME];
    uint32_t demoted = 0;
    if (r->fifo || !ready) return 0;
    while (l->n > 1 && l->work_s / ready + least_backlog_s > r->demote_s) {
        uint32_t largest = l->head;
        for (uint32_t i = l->head; i != NOBODY; i = q->of[i].after)
            if (q->of[i].work_s > q->of[largest].work_s) largest = i;
        demote(q, largest);
        demoted++;
    }
    return demoted;
}

static bool guarded(const gdp_late *q, const gdp_late_rule *r, uint32_t ticket, double now_s)
{
    const waiter *w = &q->of[ticket];
    return w->line == DEMOTED && now_s - w->arrival_s > r->guard_s && now_s - q->guarded_s >= r->guard_every_s;
}

int gdp_late_next(const gdp_late *q, const gdp_late_rule *r, double now_s)
{
    uint32_t in_time = q->lines[IN_TIME].head, demoted = q->lines[DEMOTED].head;
    if (demoted != NOBODY && (in_time == NOBODY || guarded(q, r, demoted, now_s))) return (int)demoted;
    return in_time == NOBODY ? GDP_MORE : (int)in_time;
}

bool gdp_late_agree(gdp_late *q, const gdp_late_rule *r, uint32_t ticket, double now_s, double first_s)
{
    const waiter *w = &q->of[ticket];
    if (guarded(q, r, ticket, now_s)) q->guarded_s = now_s;
    if (r->fifo || w->line == DEMOTED || first_s <= w->deadline_s) return true;
    demote(q, ticket);
    return false;
}

uint32_t gdp_late_waiting(const gdp_late *q)
{
    return q->lines[IN_TIME].n + q->lines[DEMOTED].n;
}

uint32_t gdp_late_demoted(const gdp_late *q)
{
    return q->lines[DEMOTED].n;
}

double gdp_late_work_s(const gdp_late *q)
{
    return q->lines[IN_TIME].work_s;
}
