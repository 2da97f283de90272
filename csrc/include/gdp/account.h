/* account.h -- what the requests for one model and of one class add up to, counted by one I/O thread.
 *
 *     Python                                   I/O thread
 *     Meter: families, labels, help            x->account->time[GDP_A_TTFT] = a cell of this thread alone
 *     series(model, slo_class) ── cells ───>   gdp_histogram_observe_ns(cell, ns, now): 8 ns, no lock
 *
 * Python names the series and opens a cell of each for every thread (gdp_plane_account); the threads write when things
 * happen, not when a request ends, so a rate of the last second is one of the last second. Any cell may be NULL. */
#ifndef GDP_ACCOUNT_H
#define GDP_ACCOUNT_H

#include "gdp/meter.h"

/* Counters. Tokens as the worker counted them, at the end, but for OUTPUT: each event counts one when it passes, and
 * the end adds what is missing. Stages in seconds, at the end: see gdp_record. */
typedef enum {
    GDP_A_ARRIVED, GDP_A_ENDED, GDP_A_PROMPT, GDP_A_CACHED, GDP_A_UNCACHED, GDP_A_OUTPUT,
    GDP_A_WORK,   /* expected seconds of uncached prompts placed */
    GDP_A_JUDGED, /* streams whose first token came; of these: first token in time, mean gap in time, both */
    GDP_A_KEPT_TTFT, GDP_A_KEPT_ITL, GDP_A_KEPT,
    GDP_A_TOKENISE, GDP_A_QUEUE, GDP_A_PLACE, GDP_A_PREFILL, GDP_A_DECODE,
    GDP_A_COUNTS
} gdp_account_count;
/* Histograms, in seconds. */
typedef enum { GDP_A_TTFT, GDP_A_GAP, GDP_A_WAIT, GDP_A_DURATION, GDP_A_CONNECT, GDP_A_TIMES } gdp_account_time;
/* Gauges: requests that wait for a worker, and tokens of their prompts. */
typedef enum { GDP_A_WAITING, GDP_A_WAITING_TOKENS, GDP_A_LEVELS } gdp_account_level;

typedef struct {
    gdp_counter *count[GDP_A_COUNTS];
    gdp_histogram *time[GDP_A_TIMES];
    gdp_gauge *level[GDP_A_LEVELS];
} gdp_account;

static inline void gdp_account_add(const gdp_account *a, gdp_account_count what, double by, uint64_t now_ns)
{
    if (a && a->count[what]) gdp_counter_add(a->count[what], by, now_ns);
}

static inline void gdp_account_observe(const gdp_account *a, gdp_account_time what, uint64_t ns, uint64_t now_ns)
{
    if (a && a->time[what]) gdp_histogram_observe_ns(a->time[what], ns, now_ns);
}

static inline void gdp_account_move(const gdp_account *a, gdp_account_level what, double by)
{
    if (a && a->level[what]) gdp_gauge_add(a->level[what], by);
}

#endif
