/* late.h -- the queue before the workers: whom to place next, and whom to let wait.
 *
 * While some worker is open (backlog <= full_s and below its cap) requests pass straight through. When all are full they
 * wait here, unplaced, so that each is placed with what is known when its turn comes, and so that one that cannot be
 * saved any more does not take the place of one that can:
 *
 *        push                      next: oldest that can still meet its TTFT
 *     ---------> [ in time: by arrival ] ------------------------------------> place
 *                   | too late for its deadline, when its turn comes
 *                   | largest first, while the predicted backlog > demote_s
 *                   v
 *                [ demoted: by arrival ] ----- only when nobody in time waits -> place
 *                   | older than guard_s: first of all, one per guard_every_s
 *                   +----------------------------------------------------------> place
 *
 * Nothing is rejected here. `fifo` leaves only the waiting. What it costs the longest prompts is real and is measured
 * (bench/quality: attainment of the longest decile).
 *
 * A pure structure: no clock, no lock; time is an argument in seconds. Tickets are the caller's numbers 0..room-1 (the
 * index of an exchange in its pool), so push and take are O(1) and there is no search by id. */
#ifndef GDP_LATE_H
#define GDP_LATE_H

#include "gdp/base.h"

typedef struct {
    double full_s;        /* 0.6: a worker with more predicted backlog is full */
    double ttft_slo_s;    /* 2: TTFT promised, on top of the prompt's own unloaded seconds */
    double itl_slo_s;     /* 0.060: mean time between tokens promised */
    double hold;          /* 1.03: a worker whose step would pass hold * itl_slo_s is full */
    double demote_s;      /* 1.7: from this predicted backlog on the largest is demoted */
    double guard_s;       /* 180: a demoted request older than this goes first ... */
    double guard_every_s; /* 1: ... one in this time */
    bool fifo;            /* wait, but never demote */
} gdp_late_rule;

void gdp_late_rule_init(gdp_late_rule *r);

/* Who may be chosen? While no worker is open, none: wait here. While one is, whoever bears one more: the cost knows what
 * a wait behind a full worker's backlog is worth against a prefix that it holds, and may choose it. (Among the open ones
 * alone 12.8 % of a busy trace's tokens were found, not 14.8, and p95 TTFT was 2.24 s, not 2.19: docs/adr/0004-cost.md.)
 *
 * May a worker get one more? step_s: projected time between its tokens after the join. A worker with nothing to do is
 * open whatever its step: a request that cannot meet its promise anywhere is still served. */
bool gdp_late_bears(const gdp_late_rule *r, uint32_t inflight, uint32_t max_inflight, double step_s);
/* ... and its backlog is short. */
bool gdp_late_open(const gdp_late_rule *r, double backlog_s, uint32_t inflight, uint32_t max_inflight, double step_s);

typedef struct gdp_late gdp_late;

gdp_late *gdp_late_new(uint32_t room); /* NULL when out of memory */
gdp_late *gdp_late_grow(gdp_late *q, uint32_t room); /* the same with more room, elsewhere; NULL: no memory, q stays */
void gdp_late_free(gdp_late *q);

/* deadline_s: when its first token is due. work_s: predicted seconds of its uncached prompt. GDP_BAD: the ticket is out of
 * range or waits already. */
int gdp_late_push(gdp_late *q, uint32_t ticket, double arrival_s, double deadline_s, double work_s);
/* Leaves: placed, or its client is gone. GDP_BAD when it does not wait. */
int gdp_late_take(gdp_late *q, uint32_t ticket);

/* Demote by size while queued work / ready workers + least_backlog_s > demote_s. Returns how many. */
uint32_t gdp_late_relieve(gdp_late *q, const gdp_late_rule *r, uint32_t ready, double least_backlog_s);

/* Whose turn it is; it stays in the queue. GDP_MORE when nobody waits. */
int gdp_late_next(const gdp_late *q, const gdp_late_rule *r, double now_s);

/* The one whose turn it is would have its first token at first_s: place it (true), or has it been demoted in favour of
 * others (false: ask gdp_late_next again)? */
bool gdp_late_agree(gdp_late *q, const gdp_late_rule *r, uint32_t ticket, double now_s, double first_s);

uint32_t gdp_late_waiting(const gdp_late *q);
uint32_t gdp_late_demoted(const gdp_late *q);
double gdp_late_work_s(const gdp_late *q); /* of those in time */

#endif
