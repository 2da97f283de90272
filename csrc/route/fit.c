/* fit.c -- see gdp/cost.h: rates learnt online, by recursive least squares that garbage cannot carry away.
 *
 * Prompts take 10 ms or 10 s, so errors are relative: each observation is divided by its prediction. Three walls stand
 * between a bad observation and the rates: it is refused when absurd, its error is clipped at CLIP times the usual one,
 * and theta is kept in [low, high]. Where nothing new is seen forgetting ends at HELD (else P grows without bound and the
 * next observation is believed blindly: at the prior's spread the projected step of 140 decoding requests wandered between
 * 60 and 90 ms while it was 45, and the queue kept requests waiting for seconds). */
#include <math.h>

#include "gdp/cost.h"
#include "minmax.h"

#define FORGET 0.998    /* an observation counts half after 350 more */
#define CLIP 4.0
#define ERROR_PRIOR 0.5 /* relative error before anything was seen */
#define ERROR_MIN 0.05  /* so that what is clipped comes back, however calm it was before */
#define TRUST 100.0     /* prior covariance = TRUST theta^2: ten observations outweigh the prior */
#define HELD 0.01       /* P may grow back to HELD times that: theta may be wrong by its own size */
#define SPAN 1e3        /* theta stays within the prior / SPAN and the prior * SPAN */
#define BIAS_MAX 0.5    /* mean signed error from which on the rates are those of another machine */
#define SECONDS_MAX 1e4
#define OUTPUT_PRIOR 256.0

static double dot(const double *a, const double *b)
{
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

/* Anything from nothing to ten times what theta, or the prior, is. */
static double spread(const gdp_fit *f, int i)
{
    double usual = greater(f->theta[i], f->low[i] * SPAN);
    return TRUST * usual * usual;
}

static void doubt(gdp_fit *f)
{
    for (int i = 0; i < GDP_FIT_TERMS; i++)
        for (int j = 0; j < GDP_FIT_TERMS; j++) f->p[i][j] = i == j ? spread(f, i) : 0;
    f->bias = 0;
}

/* Forgetting makes P grow where nothing new is seen; there it is held, while elsewhere forgetting goes on. P that lost its
 * meaning (rounding), or is sure of itself while all are wrong in the same direction, starts again: it would take
 * thousands of observations to come round. was: its diagonal before. */
static void keep_covariance_sane(gdp_fit *f, const double was[GDP_FIT_TERMS])
{
    double by[GDP_FIT_TERMS];
    bool sane = fabs(f->bias) < BIAS_MAX, grown = false;
    for (int i = 0; i < GDP_FIT_TERMS; i++) {
        sane = sane && f->p[i][i] > 0 && isfinite(f->p[i][i]);
        const double share = sane ? greater(was[i], HELD * spread(f, i)) / f->p[i][i] : 1;
        by[i] = share < 1 ? sqrt(share) : 1;
        grown |= share < 1;
    }
    if (!sane) doubt(f);
    if (!sane || !grown) return;
    for (int i = 0; i < GDP_FIT_TERMS; i++)
        for (int j = 0; j < GDP_FIT_TERMS; j++) f->p[i][j] *= by[i] * by[j];
}

static void fit_init(gdp_fit *f, const double prior[GDP_FIT_TERMS])
{
    *f = (gdp_fit){.error = ERROR_PRIOR};
    for (int i = 0; i < GDP_FIT_TERMS; i++) {
        f->theta[i] = prior[i];
        f->low[i] = prior[i] / SPAN;
        f->high[i] = prior[i] * SPAN;
    }
    doubt(f);
}

static int fit_learn(gdp_fit *f, const double raw[GDP_FIT_TERMS], double seconds)
{
    bool sane = isfinite(seconds) && seconds > 0 && seconds < SECONDS_MAX;
    for (int i = 0; i < GDP_FIT_TERMS; i++) sane = sane && isfinite(raw[i]) && raw[i] >= 0 && raw[i] < 1e9;
    double predicted = sane ? dot(f->theta, raw) : 0;
    if (!sane || !(predicted > 0)) {
        f->refused++;
        return GDP_BAD;
    }
    double x[GDP_FIT_TERMS], px[GDP_FIT_TERMS];
    for (int i = 0; i < GDP_FIT_TERMS; i++) x[i] = raw[i] / predicted;
    double error = seconds / predicted - 1, wide = CLIP * f->error;
    f->error += 0.02 * (lesser(fabs(error), 2 * wide) - f->error);
    if (f->error < ERROR_MIN) f->error = ERROR_MIN;
    error = greater(-wide, lesser(wide, error));
    f->bias += 0.02 * (greater(-1, lesser(1, error)) - f->bias);
    for (int i = 0; i < GDP_FIT_TERMS; i++) px[i] = dot(f->p[i], x);
    const double was[GDP_FIT_TERMS] = {f->p[0][0], f->p[1][1], f->p[2][2]};
    double scale = 1 / (FORGET + dot(px, x));
    for (int i = 0; i < GDP_FIT_TERMS; i++) {
        f->theta[i] = greater(lesser(f->theta[i] + scale * px[i] * error, f->high[i]), f->low[i]);
        for (int j = 0; j < GDP_FIT_TERMS; j++) f->p[i][j] = (f->p[i][j] - scale * px[i] * px[j]) / FORGET;
    }
    keep_covariance_sane(f, was);
    f->n++;
    return 0;
}

/* The priors are those of a middling card: an 8B model on one of them. */
void gdp_rates_init(gdp_rates *r)
{
    static const double prefill[GDP_FIT_TERMS] = {0.005, 0.050, 0.0015}, step[GDP_FIT_TERMS] = {0.008, 0.0005, 0.004};
    *r = (gdp_rates){.output_tokens = OUTPUT_PRIOR};
    fit_init(&r->prefill, prefill);
    fit_init(&r->step, step);
}

int gdp_rates_prefill(gdp_rates *r, double uncached, double attention, double joins, double seconds)
{
    const double x[GDP_FIT_TERMS] = {joins, uncached / 1e3, attention / 1e6};
    return fit_learn(&r->prefill, x, seconds);
}

int gdp_rates_step(gdp_rates *r, double running, double context, double seconds)
{
    const double x[GDP_FIT_TERMS] = {1, running / 10, context / 1e5};
    return fit_learn(&r->step, x, seconds);
}

int gdp_rates_output(gdp_rates *r, double tokens)
{
    if (!isfinite(tokens) || tokens < 0 || tokens > 1e7) return GDP_BAD;
    r->n_output++;
    double weight = r->n_output < 256 ? 1.0 / (double)r->n_output : 1.0 / 256;
    r->output_tokens += weight * (tokens - r->output_tokens);
    return 0;
}

double gdp_prefill_s(const gdp_rates *r, double uncached, double cached)
{
    const double *f = r->prefill.theta;
    return f[0] + f[1] * uncached / 1e3 + f[2] * uncached * (cached + uncached / 2) / 1e6;
}

double gdp_step_s(const gdp_rates *r, double running, double context)
{
    const double *s = r->step.theta;
    return s[0] + s[1] * running / 10 + s[2] * context / 1e5;
}
