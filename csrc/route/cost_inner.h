/* cost_inner.h -- what cost.c and survey.c share: the numbers that a cost is made of. */
#ifndef GDP_COST_INNER_H
#define GDP_COST_INNER_H

#include <float.h>
#include <math.h>
#include <string.h>

#include "gdp/cost.h"
#include "minmax.h"

#define GDP_INLINE static inline __attribute__((always_inline))

/* What is the same for every candidate of one class. */
typedef struct {
    double f0, f1, f2, s0, s1, s2;
    double prompt, output;
    double queue, prefill, stall, decode;
} common;

static inline common common_of(const gdp_rates *r, const gdp_weights *w, const gdp_ask *ask)
{
    const double *f = r->prefill.theta, *s = r->step.theta;
    return (common){
        f[0], f[1] / 1e3, f[2] / 1e6, s[0], s[1] / 10, s[2] / 1e5,
        ask->prompt_tokens, ask->output_tokens, w->queue, w->prefill, w->stall, w->decode,
    };
}

/* Where the prefix is held. */
typedef struct {
    const uint32_t *reach[GDP_MEDIA]; /* each as the medium before where the asker gave none; or all NULL */
    double block_tokens, most;        /* most: all but the last of the prompt, the engine always computes one */
    double cpu_s, storage_s;          /* per token reloaded from there */
    bool media;                       /* more than the GPU's */
} holding;

static inline holding holding_of(const gdp_ask *ask, const gdp_weights *w)
{
    holding h = {
        .reach = {ask->reach[0], ask->reach[1], ask->reach[2]}, .block_tokens = ask->block_tokens,
        .most = ask->prompt_tokens ? (double)((ask->prompt_tokens - 1) / ask->block_tokens) * ask->block_tokens : 0,
        .cpu_s = w->reload_s[1], .storage_s = w->reload_s[2], .media = ask->reach[1] || ask->reach[2],
    };
    for (unsigned m = 1; m < GDP_MEDIA; m++)
        if (!h.reach[m]) h.reach[m] = h.reach[m - 1];
    return h;
}

/* What is held where nobody asks. */
static const uint32_t GDP_NOTHING[GDP_ROW] = {0};

/* Numbers of some workers, in columns: GDP_SEEN of them from `at` on, and what they hold. */
typedef struct {
    const double *at;
    size_t pitch;
    const uint32_t *reach[GDP_MEDIA];
} view;

#endif
