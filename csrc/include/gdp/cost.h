/* cost.h -- what a placement costs, in seconds, and the numbers per worker that the cost is made of.
 *
 * For a request with `uncached` prompt tokens to compute on worker w, where b requests decode over `kv` tokens:
 *
 *     queue    prompts that w must compute before this one: the ledger below
 *     prefill  its own: f0 + work, work = f1 uncached + f2 uncached (cached + uncached / 2), plus what other media reload
 *     stall    b work * work / (work + out step): a prompt holds up whoever decodes there; a long hold-up breaks the
 *              promise of many, a short one drowns in the time that they take anyway
 *     decode   out step(b + 1, kv + prompt): its own tokens       step(b, kv) = s0 + s1 b + s2 kv
 *     memory   tokens beyond the KV capacity, at the rate at which finishing requests free them
 *
 *     cost = u queue + v prefill + l_stall stall + l_decode decode + memory
 *
 * v > u because a prompt token computed twice is time taken from whoever comes next; u = v = l = 1 lost to plainer
 * formulas (docs/adr/0004-cost.md has the runs of bench/quality that chose the terms and the weights).
 *
 * Rates f and s are learnt online, one set per worker class, by recursive least squares on relative errors with
 * forgetting. Until then the prior stands for them, a middling card: the same formula, so there is no second cold-start
 * path to keep right.
 *
 * The ledger is two numbers per worker and no list:
 *
 *     booked_s   predicted work of all prompts placed there that have no first token yet. Without f0: that is the wait
 *                for the step under way, which many prompts may share
 *     free_at_s  when, by the clock, w will have computed them
 *
 *       place(p):        free_at = max(free_at, now) + p;  booked += p
 *       first token(p):  booked -= p;  free_at = now + booked     an engine computes prompts one after the other, so a
 *                                                                first token says that the rest is still to be done
 *       backlog(now) = max(free_at - now, floor booked)           late: what is booked and overdue does not vanish
 *
 * Everything here is arithmetic on structs: no clock (`now_s` is an argument, seconds on any steady clock), no lock (the
 * books hold one), no allocation after gdp_tally_new.
 *
 * What a request costs the router itself, place + first token + settle among 256 workers (load.h), in ns of a core on
 * which the calibration loop of bench/micro takes 2,000 (and what it was, in brackets):
 *
 *     which of them may, and what each costs (survey.c)      680    [3,200]
 *     the cheapest, and of equals which                      260      [650]
 *     the cheapest others, and the terms that are shown      150      [100]
 *     learning from its first token and its end              100      [150]
 *     the ledger, three times the lock, the rest             210      [200]
 *                                                          1,400    [4,300]
 *
 * The survey is 120 instructions for four workers, one of them a division. */
#ifndef GDP_COST_H
#define GDP_COST_H

#include "gdp/late.h"
#include "gdp/roster.h"

#define GDP_MEDIA 3 /* GPU, CPU, STORAGE */
#define GDP_FIT_TERMS 3

/* A linear fit y = theta . x, learnt one observation at a time. Never leaves [low, high]. */
typedef struct {
    double theta[GDP_FIT_TERMS];
    double low[GDP_FIT_TERMS], high[GDP_FIT_TERMS];
    double p[GDP_FIT_TERMS][GDP_FIT_TERMS]; /* covariance of theta, in units of (relative error)^2 */
    double error, bias;                     /* running means of |relative error| and of relative error */
    uint64_t n, refused;                    /* observations used, and refused as garbage */
} gdp_fit;

/* What a class of workers (model, GPU, TP) does per second. */
typedef struct {
    gdp_fit prefill; /* x = 1, uncached / 1e3, uncached (cached + uncached / 2) / 1e6;  y = seconds to the first token */
    gdp_fit step;    /* x = 1, running / 10, context tokens / 1e5;                     y = seconds between tokens */
    double output_tokens; /* running mean of what requests of this model produce */
    uint64_t n_output;
} gdp_rates;

void gdp_rates_init(gdp_rates *r);

/* Learn. Garbage (not finite, not positive, absurd) is counted and refused with GDP_BAD. joins: how often a step under
 * way was waited for; 1, however many prompts the step then took in. */
int gdp_rates_prefill(gdp_rates *r, double uncached, double attention, double joins, double seconds);
int gdp_rates_step(gdp_rates *r, double running, double context, double seconds);
int gdp_rates_output(gdp_rates *r, double tokens);

/* Predict. `uncached * (cached + uncached / 2)` is the attention work of a prompt. */
double gdp_prefill_s(const gdp_rates *r, double uncached, double cached);
double gdp_step_s(const gdp_rates *r, double running, double context);

typedef struct {
    double queue, prefill, stall, decode; /* u, v, l_stall, l_decode */
    double floor;                         /* share of booked_s that is still to do when the clock says none is */
    double tie_ratio, tie_s;              /* equal: within max(tie_ratio * least, tie_s) of the least */
    double reload_s[GDP_MEDIA];           /* per token held there, instead of computing it */
} gdp_weights;

void gdp_weights_init(gdp_weights *w); /* the defaults */

/* Numbers per worker slot. Read them, change them through the calls below. */
typedef struct {
    uint32_t slots;
    uint32_t pitch; /* from one array to the next, in doubles */
    /* What is read to choose: GDP_SEEN columns, this one first, in this order. */
    double *inflight; /* of the books: booked and not settled, by any policy; stays when the slot is reset */
    double *free_at_s, *booked_s; /* the ledger */
    double *running;              /* requests past their first token */
    double *waiting;              /* requests placed, before it */
    double *context;              /* prompt and expected output tokens of both */
    double *kv_tokens;            /* unique tokens that they pin, as far as we know */
    double *kv_capacity;          /* INFINITY: not known, never full */
    uint64_t *key;                /* for rendezvous */
    uint16_t *class_of;           /* which gdp_rates */
    /* For learning: integrals over time of running, context and computed prompt seconds, and the last first token. */
    double *seen_s, *sum_running, *sum_context, *computed_s;
    double *first_s, *lot_s, *lot_tokens, *lot_attention, *lot_prompts, *lot_booked_s;
    double *cost;       /* of the last survey, by place; INFINITY: may not be chosen */
    double *low;        /* the least of each row of those */
    double *cached;     /* tokens, by place */
    uint32_t *equal;    /* scratch: places that cost the same */
    gdp_roster *roster; /* scratch, for who comes with a mere list */
    double *rows;       /* the memory of all columns */
} gdp_tally;

#define GDP_SEEN 8

gdp_tally *gdp_tally_new(uint32_t slots); /* NULL when out of memory */
void gdp_tally_free(gdp_tally *t);
/* A slot gets a new worker: nothing booked. */
void gdp_tally_reset(gdp_tally *t, uint32_t slot, uint16_t class_of, uint64_t key, double kv_capacity);
/* The engine's own account, from a scrape: pinned tokens. Bookings made since are added by the calls below. */
void gdp_tally_scraped(gdp_tally *t, uint32_t slot, double kv_tokens);
double gdp_tally_backlog_s(const gdp_tally *t, const gdp_weights *w, uint32_t slot, double now_s);

/* What is asked for. reach[m][slot]: leading blocks that slot holds in media 0..m (so reach[0] <= reach[1] <= reach[2]);
 * NULL: as the medium before, and with reach[0] NULL nothing is held anywhere. */
typedef struct {
    uint32_t prompt_tokens, block_tokens;
    double output_tokens; /* expected */
    const uint32_t *reach[GDP_MEDIA];
    const uint64_t *chain; /* the prompt's blocks, for the tie-break; may be NULL */
    uint32_t blocks;
    uint64_t salt; /* tie-break of a prompt without a new block */
} gdp_ask;

typedef struct {
    uint32_t slot;
    uint32_t cached_tokens; /* over all media */
    double queue_s, prefill_s, stall_s, decode_s, memory_s; /* unweighted */
    double work_s; /* of prefill_s: what those behind it will wait for */
    double total; /* weighted */
} gdp_terms;

/* The terms of some candidates: what /explain shows, and to the last bit what the choices below compare. */
void gdp_cost_terms(const gdp_tally *t, const gdp_rates *rates, const gdp_weights *w, const gdp_ask *ask,
                    const uint32_t *slots, uint32_t n, double now_s, gdp_terms *out);

/* Who of the roster may be chosen. limits: as roster->limit, or a stricter column. rule NULL: who has room. Otherwise
 * late.h's rule for a prompt of so many tokens, with the backlog by the floor of `usual`. */
typedef struct {
    const double *limits;
    const gdp_late_rule *rule;
    const gdp_weights *usual;
    double prompt;
} gdp_doors;

typedef struct {
    uint32_t fit, open; /* may be chosen; of these, with no more than full_s of work */
    double least;       /* cost */
} gdp_survey;

/* Looks at all workers of the roster and leaves in t->cost by place what each costs, INFINITY where its door is shut and
 * only there. A laden one, which would bear one more after more than full_s of work, may be chosen for what it costs;
 * with ask NULL it is shut, too, and the others cost nothing. */
gdp_survey gdp_cost_survey(gdp_tally *t, const gdp_rates *rates, const gdp_weights *w, const gdp_ask *ask,
                           const gdp_roster *roster, const gdp_doors *doors, double now_s);

/* After a survey: the place of the cheapest, ties by the most cached tokens, then by rendezvous hash of the first block
 * beyond the deepest match of any that may be chosen, so a new prefix goes to the same worker from every frontend. Some
 * must be fit. `tied`: how many were equal. */
uint32_t gdp_cost_cheapest(gdp_tally *t, const gdp_weights *w, const gdp_ask *ask, const gdp_roster *roster, double least,
                           uint32_t *tied);

/* Both for a mere list of slots, all of them open. Returns an index into slots, GDP_BAD when n is 0. */
int gdp_cost_choose(gdp_tally *t, const gdp_rates *rates, const gdp_weights *w, const gdp_ask *ask,
                    const uint32_t *slots, uint32_t n, double now_s, gdp_terms *chosen, uint32_t *tied);

/* A placement as the ledger knows it; lives in the exchange. */
typedef struct {
    uint32_t slot;
    uint8_t state; /* 0 none, 1 waiting, 2 running */
    bool unseen;   /* running since it was placed, as far as we know */
    double prefill_s, uncached, cached, context, kv, placed_s, first_s;
    double sum_running, sum_context, computed_s; /* the slot's integrals at the first token */
} gdp_lot;

void gdp_tally_place(gdp_tally *t, gdp_lot *lot, const gdp_ask *ask, const gdp_terms *terms, double now_s);
/* Its first token will not be seen (no stream): the clock alone says when its prompt is computed, and nothing is learnt
 * of its times. In place of gdp_tally_first, at once. */
void gdp_tally_unseen(gdp_tally *t, gdp_lot *lot, double now_s);
/* First token: the rest of the ledger starts now, and the class's prefill rates learn from how long this one took. */
void gdp_tally_first(gdp_tally *t, gdp_rates *rates, gdp_lot *lot, double now_s);
/* The end, whatever it was; call once. tokens: produced, for learning; 0 or 1: learns nothing of the step. */
void gdp_tally_end(gdp_tally *t, gdp_rates *rates, gdp_lot *lot, double tokens, double now_s);

#endif
